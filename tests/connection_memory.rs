//! What a connection costs, and the worst that a client can make the SSH layer hold: the gateway is
//! a process of its own, whose resident memory is read.
//!
//! `cargo test --release --test connection_memory -- --include-ignored --nocapture` prints the
//! figures of docs/performance.md.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that also prints what it measured"
)]

use std::net::SocketAddr;
use std::time::Duration;

use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::secret::Secret;
use serde_json::json;
use tokio::time::{sleep, timeout};

mod gateway_process;
#[expect(dead_code, reason = "the integration tests use all of it")]
#[path = "it/ssh/raw.rs"]
mod raw;

use gateway_process::GatewayProcess;
use raw::{RawClient, string};

const CHANNEL_EOF: u8 = 96;
const CHANNEL_CLOSE: u8 = 97;
const USER: &str = "alice";
const PASSWORD: &str = "correct horse";
const SMALL_CROWD: usize = 100;
const LARGE_CROWD: usize = 2_000;
/// What the account may have beside the connections.
const ACCOUNT_KIB: usize = 4 * 1024;
/// What a connection with one SFTP session may cost beside the account.
const CONNECTION_KIB_MAX: usize = 128;
/// The same for each further session.
const SESSION_KIB_MAX: usize = 24;

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), waiting)
        .await
        .expect("took too long")
}

/// What a client does; afterwards it stays.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Exchanges keys.
    BeforeLogin,
    LoggedIn,
    IdleSession,
    /// Has moved a MiB each way, and listened.
    IdleAfterWork,
    TenSessions,
    /// Opens a channel and ends its session, over and over.
    ManySessions,
    /// Announces the longest packet, and sends most of it.
    ClaimsPacket,
    /// Sends requests that are answered, and reads nothing.
    NeverListens,
}

impl Act {
    const ALL: [Self; 8] = [
        Self::BeforeLogin,
        Self::LoggedIn,
        Self::IdleSession,
        Self::IdleAfterWork,
        Self::TenSessions,
        Self::ManySessions,
        Self::ClaimsPacket,
        Self::NeverListens,
    ];

    async fn play(self, address: SocketAddr) -> RawClient {
        match self {
            Self::BeforeLogin => RawClient::connect(address).await,
            Self::LoggedIn => RawClient::user(address).await,
            Self::IdleSession => session(address).await.0,
            Self::IdleAfterWork => {
                let (mut client, channel) = session(address).await;
                grow(&mut client, channel).await;
                let (mut sent, mut received) = (0, 0);
                while sent < 1 << 20 {
                    client.send_data(channel, realpath()).await;
                    sent += realpath().len();
                    // Each answer says the name twice.
                    while received < 2 * sent - sent / 100 {
                        received += client.receive().await.unwrap().len();
                    }
                }
                client
            }
            Self::TenSessions => {
                let (mut client, _) = session(address).await;
                for _ in 1..10 {
                    begin(&mut client).await;
                }
                client
            }
            Self::ManySessions => {
                let (mut client, _) = session(address).await;
                for _ in 0..100 {
                    let channel = begin(&mut client).await;
                    client.send(&[&[CHANNEL_EOF][..], &channel].concat()).await;
                    while client.receive().await.unwrap()[0] != CHANNEL_CLOSE {}
                }
                client
            }
            Self::ClaimsPacket => {
                let (mut client, _) = session(address).await;
                let packet = client.sealed(&vec![2; 48 * 1024]);
                client.push(&packet[..packet.len() - 1_000]).await;
                client
            }
            Self::NeverListens => {
                let (mut client, _) = session(address).await;
                let ping = [&[raw::GLOBAL_REQUEST][..], &string("ping"), &[1]].concat();
                while stuff(&mut client, &ping, 3_000).await {}
                client
            }
        }
    }
}

/// Logs in and begins an SFTP session.
async fn session(address: SocketAddr) -> (RawClient, [u8; 4]) {
    let mut client = RawClient::user(address).await;
    let channel = begin(&mut client).await;
    (client, channel)
}

async fn begin(client: &mut RawClient) -> [u8; 4] {
    let (channel, _) = client.open_sftp().await;
    client.send_data(channel, [0, 0, 0, 5, 1, 0, 0, 0, 3]).await;
    assert_eq!(client.receive().await.unwrap()[0], raw::CHANNEL_DATA);
    channel
}

/// Tells the gateway that the client takes as much as it likes.
async fn grow(client: &mut RawClient, channel: [u8; 4]) {
    let adjust = [&[raw::CHANNEL_WINDOW_ADJUST][..], &channel, &[8, 0, 0, 0]];
    client.send(&adjust.concat()).await;
}

/// Requests for the real path of long names, which come back longer: 30 KiB.
fn realpath() -> Vec<u8> {
    let body = [&[16, 0, 0, 0, 1][..], &string("a".repeat(2_000))].concat();
    string(body).repeat(15)
}

/// Sends a packet so often; says whether the gateway took it all.
async fn stuff(client: &mut RawClient, payload: &[u8], times: usize) -> bool {
    let mut packets = Vec::new();
    for _ in 0..times {
        packets.extend(client.sealed(payload));
    }
    let pushed = timeout(Duration::from_millis(300), client.push(&packets)).await;
    pushed.is_ok()
}

/// Lets so many clients do something and returns what each costs, in KiB.
async fn cost(act: Act, clients: usize) -> usize {
    let webhook = BundledWebhook::start(
        USER,
        Secret::new(PASSWORD.to_owned()),
        json!({"mappings": [{"entry": "/", "target": "/bucket/home"}]}),
    );
    let webhook = webhook.await.unwrap();
    let gateway = start_gateway(&webhook.url()).await;
    // What the first ones bring up stays for all.
    drop(Act::IdleSession.play(gateway.address).await);
    sleep(Duration::from_secs(1)).await;
    let before = gateway.resident_kib();
    let mut crowd = Vec::new();
    while crowd.len() < clients {
        let several = (0..20).map(|_| act.play(gateway.address));
        crowd.extend(futures_util::future::join_all(several).await);
    }
    sleep(Duration::from_secs(3)).await;
    let grown = gateway.resident_kib().saturating_sub(before);
    let gone = count(&gateway, "\"disconnected\"") - 1;
    println!(
        "{act:?} × {clients}: {} KiB each, {gone} were cut",
        grown / clients
    );
    grown
}

async fn check(clients: usize) {
    let mut wrong = Vec::new();
    for act in Act::ALL {
        let kib = cost(act, clients).await;
        let further = if let Act::TenSessions = act { 9 } else { 0 };
        let each = CONNECTION_KIB_MAX + further * SESSION_KIB_MAX;
        if kib > clients * each + ACCOUNT_KIB {
            wrong.push(format!("{act:?}: {kib} KiB"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn two_hundred_clients_cost_what_is_said_of_them() {
    check(SMALL_CROWD).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn two_thousand_clients_cost_what_is_said_of_them() {
    check(LARGE_CROWD).await;
}

async fn start_gateway(webhook: &str) -> GatewayProcess {
    let account = (ACCOUNT_KIB * 1024).to_string();
    GatewayProcess::start(&[
        ("PORTCULLIS_IDENTITY_URL", &webhook),
        ("PORTCULLIS_STORAGE_ENDPOINT", &"http://127.0.0.1:9"),
        ("PORTCULLIS_STORAGE_ACCESS_KEY_ID", &"test"),
        ("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", &"test"),
        ("PORTCULLIS_LIMITS_UNAUTHENTICATED_CONNECTIONS_MAX", &"2100"),
        ("PORTCULLIS_LIMITS_CONNECTIONS_MAX", &"2100"),
        ("PORTCULLIS_LIMITS_CONNECTIONS_PER_SOURCE_MAX", &"2100"),
        ("PORTCULLIS_LIMITS_CONNECTIONS_PER_USER_MAX", &"2100"),
        ("PORTCULLIS_LIMITS_SESSIONS_PER_USER_MAX", &"30000"),
        ("PORTCULLIS_LIMITS_LOGIN_GRACE_SECONDS", &"600"),
        ("PORTCULLIS_LIMITS_KEEPALIVE_INTERVAL_SECONDS", &"600"),
        ("PORTCULLIS_LIMITS_SESSION_MEMORY_BYTES_MAX", &account),
    ])
    .await
}

/// Counts the lines of its log that hold a text.
fn count(gateway: &GatewayProcess, text: &str) -> usize {
    let log = gateway.log();
    log.lines().filter(|line| line.contains(text)).count()
}
