//! Connections that a load balancer passes on, with and without a header that says whose they are.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::log::Log;
use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 22\r\n";

/// A header of version 2: command, family, and what follows.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// Names 192.0.2.`host`, with fields behind the addresses.
fn from_host(host: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, host, 10, 0, 0, 1, 0x9c, 0x40, 0, 22];
    v2(
        0x21,
        0x11,
        &[&addresses[..], &[0x04, 0, 200], &[0; 200]].concat(),
    )
}

fn required(trusted: &str) -> ProxyProtocol {
    ProxyProtocol::Required {
        trusted: vec![trusted.parse().unwrap()],
    }
}

async fn server(proxy: ProxyProtocol) -> Server {
    Server::behind(proxy, |_| {}, AuthSettings::default()).await
}

async fn connected(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    tcp
}

/// Exchanges keys over a connection that begins with these bytes.
async fn begins(server: &Server, header: &[u8]) -> Option<client::Handle<Trusting>> {
    let tcp = connected(server, header).await;
    let trusting = Trusting(server.farewell.clone());
    let config = Arc::new(client::Config::default());
    client::connect_stream(config, tcp, trusting).await.ok()
}

/// Logs in over a connection that begins with these bytes.
async fn logs_in(server: &Server, header: &[u8]) -> Option<client::Handle<Trusting>> {
    let mut handle = begins(server, header).await?;
    let answer = handle.authenticate_password(USER, PASSWORD).await.ok()?;
    answer.success().then_some(handle)
}

/// Sends bytes and returns what is said before the end.
async fn said_to(server: &Server, bytes: &[u8]) -> String {
    let mut tcp = connected(server, bytes).await;
    let mut said = Vec::new();
    drop(within(tcp.read_to_end(&mut said)).await);
    text(&said)
}

async fn until(mut done: impl FnMut() -> bool) {
    within(async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_required_header_names_the_source() {
    let (log, _guard) = Log::begin();
    let server = server(required("127.0.0.0/8")).await;
    let six = [
        [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
        [0; 16],
    ]
    .concat();
    let six = v2(0x21, 0x21, &[&six[..], &[0x9c, 0x40, 0, 22]].concat());
    let nobody = v2(0x21, 0x00, b"");
    for (header, source, version) in [
        (V1, "192.0.2.7", "v1"),
        (&from_host(8), "192.0.2.8", "v2"),
        (&six, "2001:db8::7", "v2"),
        // An address that is not told is the balancer's.
        (&nobody, "127.0.0.1", "v2"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1", "v1"),
    ] {
        let user = within(logs_in(&server, header)).await.expect(source);
        assert_eq!(
            server.provider.sources.lock().unwrap().pop(),
            Some(source.parse().unwrap())
        );
        drop(user);
        server.idle().await;
        let applied = format!("proxy_protocol_{version}_header=\"applied\"");
        for line in ["login allowed", "disconnected"] {
            let lines = log.lines(line);
            let last = lines.last().unwrap();
            for part in [
                &*format!("source_ip={source}"),
                &applied,
                "proxy_ip=127.0.0.1",
            ] {
                assert!(last.contains(part), "{part} in {last}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_said_before_the_header() {
    let server = server(required("127.0.0.1")).await;
    let header = from_host(7);
    let (first, last) = header.split_at(20);
    let mut tcp = connected(&server, first).await;
    let mut one = [0; 1];
    let early = timeout(Duration::from_millis(100), tcp.read_exact(&mut one)).await;
    assert!(early.is_err(), "the version line came before the header");
    tcp.write_all(last).await.unwrap();
    within(tcp.read_exact(&mut one)).await.unwrap();
    assert_eq!(&one, b"S");
}

#[tokio::test]
async fn a_header_that_cannot_be_used_ends_the_connection_without_a_word() {
    let (log, _guard) = Log::begin();
    let server = server(required("127.0.0.1")).await;
    let huge = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    let long_line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    let lying = v2(0x21, 0x21, &[0; 12]);
    let bad: [&[u8]; 6] = [
        b"SSH-2.0-direct\r\n",
        b"GET / HTTP/1.1\r\n",
        &huge,
        &long_line,
        &lying,
        b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
    ];
    for bytes in bad {
        assert_eq!(said_to(&server, bytes).await, "");
    }
    // One that is cut.
    drop(connected(&server, &from_host(7)[..30]).await);
    until(|| server.ssh.tally().without_proxy_header_total == 7).await;
    // A second one is the client's own.
    let twice = [from_host(7), from_host(8)].concat();
    let said = said_to(&server, &twice).await;
    assert!(said.starts_with("SSH-2.0-"), "{said}");
    server.idle().await;
    let lines = log.lines("reason=\"proxy-header\"");
    assert_eq!(lines.len(), 1, "lines are summed: {lines:?}");
    assert!(lines[0].contains("no PROXY header"), "{lines:?}");
    let lines = log.lines("reason=\"not-ssh\"");
    assert!(lines[0].contains("source_ip=192.0.2.7"), "{lines:?}");
    assert!(within(logs_in(&server, V1)).await.is_some());
}

#[tokio::test]
async fn from_elsewhere_nobody_is_believed() {
    let (log, _guard) = Log::begin();
    let server = server(required("192.0.2.0/24")).await;
    for bytes in [V1, b"", b"SSH-2.0-x\r\n"] {
        assert_eq!(said_to(&server, bytes).await, "");
    }
    let tally = server.ssh.tally();
    assert_eq!((tally.untrusted_total, tally.accepted_total), (3, 0));
    let lines = log.lines("reason=\"proxy-untrusted\"");
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test]
async fn an_ignored_header_is_passed_over_and_not_believed() {
    let (log, _guard) = Log::begin();
    let server = server(ProxyProtocol::Ignore).await;
    let lying = v2(0x2f, 0xff, &[9; 40]);
    for (header, noted) in [(&from_host(7)[..], true), (&lying, true), (b"", false)] {
        let user = within(logs_in(&server, header)).await.unwrap();
        let source = server.provider.sources.lock().unwrap().pop();
        assert_eq!(source, Some("127.0.0.1".parse().unwrap()));
        drop(user);
        server.idle().await;
        let lines = log.lines("login allowed");
        let last = lines.last().unwrap();
        let ignored = last.contains("proxy_protocol_v2_header=\"ignored\"");
        assert_eq!(ignored, noted, "{last}");
    }
    // The version line does not wait for a header.
    let mut silent = connected(&server, b"").await;
    within(silent.read_exact(&mut [0; 8])).await.unwrap();
    drop(silent);
    for bytes in [V1, &[from_host(7), from_host(8)].concat()] {
        let said = said_to(&server, bytes).await;
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    server.idle().await;
    assert!(server.ended().contains(&("not-ssh", 2)));
}

#[tokio::test]
async fn without_the_setting_a_header_is_no_ssh() {
    let server = server(ProxyProtocol::Off).await;
    for header in [V1, &from_host(7)] {
        assert!(logs_in(&server, header).await.is_none());
    }
}

#[tokio::test]
async fn health_checks_of_a_balancer_are_counted_and_leave_no_line() {
    let (log, _guard) = Log::begin();
    let local = v2(0x20, 0x00, b"");
    let host = from_host(7);
    let version = [&local[..], b"SSH-2.0-check\r\n"].concat();
    let checks: [(ProxyProtocol, &[&[u8]]); 3] = [
        (ProxyProtocol::Off, &[b""]),
        (ProxyProtocol::Ignore, &[b"", &local, &host]),
        (required("127.0.0.1"), &[b"", &local, &host, &version]),
    ];
    for (proxy, kinds) in checks {
        let server = server(proxy).await;
        for check in 0..200 {
            drop(connected(&server, kinds[check % kinds.len()]).await);
        }
        until(|| server.ssh.tally().without_data_total == 200).await;
        server.idle().await;
    }
    let loud: Vec<_> = [" INFO ", " WARN ", "ERROR "]
        .map(|level| log.lines(level))
        .concat();
    assert!(loud.is_empty(), "{loud:?}");
}

#[tokio::test]
async fn bounds_of_a_source_are_those_of_the_client_behind_the_balancer() {
    let few = |limits: &mut Limits| limits.connections_per_source_max = 1;
    let server = Server::behind(required("127.0.0.1"), few, AuthSettings::default()).await;
    let first = within(logs_in(&server, &from_host(7))).await;
    let other = within(logs_in(&server, &from_host(8))).await;
    assert!(first.is_some() && other.is_some());
    assert_eq!(said_to(&server, &from_host(7)).await, "");
    assert_eq!(server.ssh.tally().refused_total, 1);

    // Of the places before login, the client that holds most gives one up.
    let few = |limits: &mut Limits| limits.unauthenticated_connections_max = 3;
    let server = Server::behind(required("127.0.0.1"), few, AuthSettings::default()).await;
    let mut bad = Vec::new();
    for _ in 0..3 {
        let mut tcp = connected(&server, &from_host(7)).await;
        within(tcp.read_exact(&mut [0; 8])).await.unwrap();
        bad.push(tcp);
    }
    assert!(within(logs_in(&server, &from_host(8))).await.is_some());
    assert_eq!(server.ssh.tally().displaced_total, 1);
    within(bad[0].read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test]
async fn silent_connections_behind_the_balancer_keep_nobody_out() {
    let (log, _guard) = Log::begin();
    // The bounds on places are the defaults; the silent ones are to last.
    let patient = |limits: &mut Limits| {
        limits.hello_timeout = Duration::from_secs(100);
        limits.login_grace = Duration::from_secs(100);
    };
    let server = Server::behind(required("127.0.0.1"), patient, AuthSettings::default()).await;
    let places = Limits::default().unauthenticated_connections_max;
    let under_way = within(begins(&server, &from_host(7))).await;
    let mut silent = Vec::new();
    for _ in 0..places {
        silent.push(connected(&server, b"").await);
    }
    // The first of them made room for the last.
    until(|| server.ssh.tally().displaced_total == 1).await;
    assert_eq!(within(silent[0].read(&mut [0; 1])).await.unwrap(), 0);
    let mut users = Vec::new();
    for host in 10..20 {
        users.extend(within(logs_in(&server, &from_host(host))).await);
        silent.push(connected(&server, b"").await);
    }
    assert_eq!(users.len(), 10);
    let mut under_way = under_way.unwrap();
    let answer = within(under_way.authenticate_password(USER, PASSWORD)).await;
    assert!(answer.unwrap().success());
    assert_eq!(server.ssh.tally().refused_total, 0);
    let lines = log.lines("connection closed to make room for another network");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("source_ip=127.0.0.1"), "{lines:?}");
}
