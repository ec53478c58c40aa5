//! What the operator reads about a connection.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::raw::{CHANNEL_FAILURE, REQUEST_FAILURE, RawClient};
use super::*;

/// Keeps what is logged on this thread while it lives.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        crate::common::suite_log::begin();
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Keeps what the product logs with this filter, the lines of libraries included.
    pub(super) fn filtered(filter: &str) -> (Self, tracing::subscriber::DefaultGuard) {
        crate::common::suite_log::begin();
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(portcullis::telemetry::parse_filter(filter).unwrap())
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, subscriber.set_default())
    }

    /// The lines that contain `needle`.
    pub(super) fn lines(&self, needle: &str) -> Vec<String> {
        text(&self.0.lock().unwrap())
            .lines()
            .filter(|line| line.contains(needle))
            .map(str::to_owned)
            .collect()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn silent_after(server: &Server, bytes: &[u8]) {
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    drop(within(tcp.read_to_end(&mut Vec::new())).await);
    server.idle().await;
}

#[tokio::test]
async fn a_connection_without_login_leaves_one_line_with_its_reason() {
    let (log, _guard) = Log::begin();
    let closed = "connection closed before login";

    let quick = Server::with_limits(|limits| {
        limits.hello_timeout = Duration::from_millis(30);
        limits.login_grace = Duration::from_millis(600);
    })
    .await;
    silent_after(&quick, b"").await;
    assert!(log.lines(closed)[0].contains("reason=\"hello-timeout\""));
    silent_after(&quick, b"GET /\r\n").await;
    assert!(log.lines(closed)[1].contains("reason=\"not-ssh\""));

    let patient = Server::with_limits(|limits| {
        limits.login_grace = Duration::from_millis(600);
    })
    .await;
    drop(within(patient.connect().await).await);
    patient.idle().await;
    let lines = log.lines(closed);
    assert!(lines[2].contains("reason=\"login-grace\""), "{lines:?}");
    let mut brief = TcpStream::connect(patient.address).await.unwrap();
    brief.write_all(b"SSH-2.0-brief\r\n").await.unwrap();
    drop(brief);
    within(async {
        while log.lines(closed).len() < 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(log.lines(closed)[3].contains("reason=\"client-closed\""));
}

#[tokio::test]
async fn a_user_leaves_one_line_with_totals_and_the_password_none() {
    let (log, _guard) = Log::begin();
    let server = Server::start().await;
    let output = server.echo(&[], &[7; 100_000]).await;
    assert_eq!(output.stdout.len(), 100_000);
    server.idle().await;
    let lines = log.lines("DISCONNECTED");
    let [line] = &*lines else {
        panic!("{lines:?}");
    };
    assert!(line.contains("user=\"alice\""), "{line}");
    assert!(line.contains("reason=\"client-closed\""), "{line}");
    assert!(line.contains("session_id=\""), "{line}");
    let bytes_in = line.split("bytes_in=").nth(1).unwrap();
    let bytes_in: u64 = bytes_in.split(' ').next().unwrap().parse().unwrap();
    assert!(bytes_in > 100_000, "{line}");
    assert!(log.lines(PASSWORD).is_empty());
}

/// A client does, as often as it likes, what the SSH library has a warning for.
async fn oddities(server: &Server) {
    let mut client = RawClient::user(server.address).await;
    let channel = client.open_channel().await;
    for name in [
        "simple@putty.projects.tartarus.org",
        "winadj@putty.projects.tartarus.org",
        &"x".repeat(30_000),
    ] {
        client.channel_request(channel, name, false).await;
        for _ in 0..10 {
            client.channel_request(channel, name, true).await;
            let answer = client.receive().await.unwrap();
            assert_eq!(answer, [CHANNEL_FAILURE, 0, 0, 0, 0]);
        }
    }
    for _ in 0..10 {
        client.send(&[REQUEST_FAILURE]).await;
    }
    drop(client);
    server.idle().await;
}

#[tokio::test]
async fn a_client_cannot_fill_the_log() {
    let (log, guard) = Log::filtered("info");
    let server = Server::start().await;
    oddities(&server).await;
    assert_eq!(log.lines(" WARN "), [""; 0]);
    assert_eq!(log.lines(" ERROR "), [""; 0]);
    let info = log.lines(" INFO ");
    assert!(info.len() < 5, "{info:?}");
    assert_eq!(log.lines("russh"), [""; 0]);
    drop(guard);

    // Who wants to read the library's lines, reads in each whose connection it is about.
    let (log, _guard) = Log::filtered("info,russh=debug");
    oddities(&server).await;
    let lines = log.lines("unknown channel request");
    assert_eq!(lines.len(), 33);
    for line in lines {
        assert!(line.contains("session_id=\""));
        assert!(line.contains("user=\"alice\""));
    }
}

#[tokio::test]
async fn what_is_not_sftp_leaves_a_line_and_a_count() {
    let (log, _guard) = Log::begin();
    let server = Server::start().await;
    let client = server.user().await;
    for command in ["scp -t /in", "mysql -psecret"] {
        let mut channel = client.channel_open_session().await.unwrap();
        channel.exec(true, command).await.unwrap();
        while within(channel.wait()).await.is_some() {}
    }
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "netconf").await.unwrap();
    while !matches!(
        within(channel.wait()).await,
        Some(russh::ChannelMsg::Failure)
    ) {}
    channel.request_shell(true).await.unwrap();
    while within(channel.wait()).await.is_some() {}
    let forwarded = client.channel_open_direct_tcpip("localhost", 80, "localhost", 1);
    assert!(forwarded.await.is_err());

    let lines = log.lines("operation refused");
    let expected = [
        "operation=\"exec\" reason=\"sftp-only\" what=\"scp\"",
        "operation=\"exec\" reason=\"sftp-only\" what=\"mysql\"",
        "operation=\"subsystem\" reason=\"sftp-only\" what=\"netconf\"",
        "operation=\"shell\" reason=\"sftp-only\"",
        "operation=\"port-forward\" reason=\"sftp-only\"",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{line}");
        assert!(line.contains("user=\"alice\""), "{line}");
        assert!(line.contains("source_ip=127.0.0.1"), "{line}");
    }
    assert!(log.lines("secret").is_empty());
    let scraped = server.metrics.encode();
    for (operation, count) in [("exec", 2), ("subsystem", 1), ("shell", 1)] {
        let name = "portcullis_operations_refused_total";
        let line = format!("{name}{{operation=\"{operation}\",reason=\"sftp-only\"}} {count}\n");
        assert!(scraped.contains(&line), "{line}{scraped}");
    }
}

#[tokio::test]
async fn every_line_of_a_user_names_the_clients_software() {
    let (log, _guard) = Log::begin();
    let server = Server::start().await;
    drop(server.user().await);
    server.idle().await;
    for message in ["login allowed", "DISCONNECTED"] {
        let lines = log.lines(message);
        let [line] = &*lines else {
            panic!("{message}: {lines:?}");
        };
        assert!(line.contains("client=\"SSH-2.0-"), "{line}");
    }
}

#[tokio::test]
async fn a_scanner_leaves_a_line_and_a_sum() {
    let (log, _guard) = Log::begin();
    let mut server = Server::start().await;
    for _ in 0..30 {
        silent_after(&server, b"GET /\r\n").await;
    }
    assert_eq!(log.lines("closed before login").len(), 1);
    server.stop.cancel();
    server.drained().await;
    let lines = log.lines("more connections closed before login");
    let [line] = &*lines else {
        panic!("{lines:?}");
    };
    for part in [
        "source_ip=127.0.0.1",
        "connections=29",
        "reasons=\"not-ssh:29\"",
    ] {
        assert!(line.contains(part), "{line}");
    }
}
