//! Clients that say too little, too late or too much.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::*;

const TENS: Duration = Duration::from_millis(50);

/// Sends bytes and returns everything the gateway says before it closes.
async fn said_to(server: &Server, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    // A reset is a close, too.
    drop(within(tcp.read_to_end(&mut said)).await);
    text(&said)
}

#[tokio::test]
async fn what_is_not_ssh_is_closed_after_our_version_line() {
    let server = Server::start().await;
    let said = said_to(&server, b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(said.starts_with("SSH-2.0-Portcullis_"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let endless = vec![b'x'; 4_000];
    said_to(&server, &[b"SSH-2.0-", &*endless].concat()).await;
    server.idle().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let server = Server::with_limits(|limits| limits.hello_timeout = TENS).await;
    for hello in [
        &b""[..],
        b"SSH-2.",
        b"SSH-2.0-slow\r\n",
        b"SSH-2.0-slow\r\n\0\0",
    ] {
        said_to(&server, hello).await;
    }
    server.idle().await;
}

#[tokio::test]
async fn login_must_come_within_its_grace() {
    let server = Server::with_limits(|limits| limits.login_grace = TENS * 60).await;
    let client = server.connect().await;
    drop(within(client).await);
    server.idle().await;

    let user = server.user().await;
    tokio::time::sleep(TENS * 64).await;
    assert!(
        user.channel_open_session().await.is_ok(),
        "the grace is over, but the user is in"
    );
}

#[tokio::test]
async fn an_idle_user_is_told_goodbye() {
    let server = Server::with_limits(|limits| limits.idle_timeout = TENS * 4).await;
    let user = server.user().await;
    assert_eq!(server.farewell().await, "idle for too long");
    drop(within(user).await);
    server.idle().await;
}

#[tokio::test]
async fn a_client_that_takes_no_output_is_cut() {
    let server = Server::with_limits(|limits| limits.stalled_output_timeout = TENS * 2).await;
    let config = client::Config {
        channel_buffer_size: 1,
        ..client::Config::default()
    };
    let mut client = server.connect_with(config).await;
    let answer = client.authenticate_password(USER, PASSWORD).await.unwrap();
    assert!(answer.success());
    let channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(false, "sftp").await.unwrap();
    channel.data_bytes("flood").await.unwrap();
    server.idle().await;
}

#[tokio::test]
async fn a_byte_flood_before_login_ends_with_the_protocol() {
    let server = Server::start().await;
    let hello = [&b"SSH-2.0-x\r\n"[..], &[0xff; 70_000]].concat();
    said_to(&server, &hello).await;
    server.idle().await;
}

#[tokio::test]
async fn connections_over_a_cap_are_closed_at_once() {
    for adjust in [
        (|limits| limits.connections_max = 1) as fn(&mut Limits),
        |limits| limits.connections_per_source_max = 1,
    ] {
        let server = Server::with_limits(adjust).await;
        let first = server.user().await;
        assert_eq!(said_to(&server, b"").await, "");
        assert_eq!(server.ssh.tally().refused_total, 1);
        drop(first);
        server.idle().await;
        let again = server.user().await;
        assert_eq!(server.ssh.tally().unauthenticated, 0);
        drop(again);
    }
}
