//! What the operator reads about a connection.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// Keeps what is logged on this thread while it lives.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
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
