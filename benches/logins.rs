//! Logins at a gateway in a process of its own, with a webhook on loopback that is asked each time.
//!
//! `cargo bench --bench logins`
//!
//! The client is russh's, with curve25519, ed25519 and AES-GCM; client, webhook and gateway share
//! the machine. Printed: logins a second at eight at a time and the gateway's processor time for
//! each, the time until a thousand connections that come at once are in, and the memory of idle
//! sessions.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::async_yields_async,
    reason = "a program that measures: it reads the clock and stops when something is wrong"
)]

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::secret::Secret;
use russh::client::{self, Handle};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Preferred, cipher, kex};
use russh_sftp::client::RawSftpSession;
use serde_json::json;
use tokio::task::JoinSet;

#[path = "../tests/gateway_process/mod.rs"]
mod gateway_process;

use gateway_process::GatewayProcess;

const USER: &str = "bench";
const PASSWORD: &str = "tidal-fern-41";
const AT_ONCE: usize = 8;
const LOGINS: usize = 4_000;
const CROWD: usize = 1_000;

#[derive(Debug, Clone, Copy)]
enum Way {
    Key,
    Password,
}

#[tokio::main]
async fn main() {
    let seed = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32]));
    let key = Arc::new(PrivateKey::new(seed, "bench").unwrap());
    let line = key.public_key().to_openssh().unwrap();
    let answer = json!({
        "mappings": [{"entry": "/", "target": "/bucket/bench"}],
        "publicKeys": [line],
    });
    let password = Secret::new(PASSWORD.to_owned());
    let webhook = BundledWebhook::start(USER, password, answer).await.unwrap();
    let gateway = start_gateway(&webhook.url()).await;
    for way in [Way::Key, Way::Password] {
        // The first ones warm up.
        in_turns(&gateway, &key, way, LOGINS / 8).await;
        let (began, cpu) = (Instant::now(), cpu_of(&gateway));
        in_turns(&gateway, &key, way, LOGINS).await;
        let (took, cpu) = (began.elapsed(), cpu_of(&gateway) - cpu);
        println!(
            "{way:?}: {:.0} logins/s, {:.2} ms of processor time each",
            count(LOGINS) / took.as_secs_f64(),
            cpu.as_secs_f64() * 1_000.0 / count(LOGINS)
        );
    }
    crowd(&gateway, &key).await;
}

/// Logs in and out again, eight at a time.
async fn in_turns(gateway: &GatewayProcess, key: &Arc<PrivateKey>, way: Way, logins: usize) {
    let begun = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (address, key, begun) = (gateway.address, Arc::clone(key), Arc::clone(&begun));
        tasks.spawn(async move {
            while begun.fetch_add(1, Ordering::Relaxed) < logins {
                drop(login(address, &key, way).await);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Lets everybody come at once, and stay.
async fn crowd(gateway: &GatewayProcess, key: &Arc<PrivateKey>) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, began) = (gateway.resident_kib(), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..CROWD {
        let (address, key) = (gateway.address, Arc::clone(key));
        tasks.spawn(async move { login(address, &key, Way::Key).await });
    }
    let guests = tasks.join_all().await;
    println!(
        "{CROWD} at once: all in after {:.2} s",
        began.elapsed().as_secs_f64()
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = (gateway.resident_kib() - before) / CROWD;
    let mut sessions = Vec::new();
    for guest in &guests {
        let channel = guest.channel_open_session().await.unwrap();
        channel.request_subsystem(true, "sftp").await.unwrap();
        let session = RawSftpSession::new(channel.into_stream());
        session.init().await.unwrap();
        sessions.push(session);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let with_sftp = (gateway.resident_kib() - before) / CROWD;
    println!("idle: {idle} KiB each, {with_sftp} KiB with an SFTP session");
}

async fn login(address: SocketAddr, key: &Arc<PrivateKey>, way: Way) -> Handle<Trusting> {
    let config = client::Config {
        preferred: Preferred {
            kex: Cow::Borrowed(&[kex::CURVE25519]),
            cipher: Cow::Borrowed(&[cipher::AES_128_GCM]),
            ..Preferred::default()
        },
        nodelay: true,
        ..client::Config::default()
    };
    let connected = client::connect(Arc::new(config), address, Trusting).await;
    let mut handle = connected.unwrap();
    let answer = match way {
        Way::Key => {
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
            handle.authenticate_publickey(USER, key).await
        }
        Way::Password => handle.authenticate_password(USER, PASSWORD).await,
    };
    assert!(answer.unwrap().success());
    handle
}

/// Trusts every server.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn start_gateway(webhook: &str) -> GatewayProcess {
    GatewayProcess::start(&[
        ("PORTCULLIS_IDENTITY_URL", &webhook),
        ("PORTCULLIS_STORAGE_ENDPOINT", &"http://127.0.0.1:9"),
        ("PORTCULLIS_STORAGE_ACCESS_KEY_ID", &"bench"),
        ("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", &"bench"),
        ("PORTCULLIS_LIMITS_UNAUTHENTICATED_CONNECTIONS_MAX", &"2000"),
        ("PORTCULLIS_LIMITS_CONNECTIONS_PER_SOURCE_MAX", &"2000"),
        ("PORTCULLIS_LIMITS_CONNECTIONS_PER_USER_MAX", &"2000"),
    ])
    .await
}

/// Returns the processor time so far, in user and system mode.
fn cpu_of(gateway: &GatewayProcess) -> Duration {
    // In hundredths of a second everywhere on Linux.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u32>().unwrap();
    TICK * (ticks(11) + ticks(12))
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
const fn count(logins: usize) -> f64 {
    logins as f64
}
