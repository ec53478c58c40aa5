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
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::secret::Secret;
use russh::client::{self, Handle};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Preferred, cipher, kex};
use russh_sftp::client::RawSftpSession;
use serde_json::json;
use tokio::task::JoinSet;

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
    let gateway = Gateway::start(&webhook.url()).await;
    for way in [Way::Key, Way::Password] {
        // The first ones warm up.
        in_turns(&gateway, &key, way, LOGINS / 8).await;
        let (began, cpu) = (Instant::now(), gateway.cpu());
        in_turns(&gateway, &key, way, LOGINS).await;
        let (took, cpu) = (began.elapsed(), gateway.cpu() - cpu);
        println!(
            "{way:?}: {:.0} logins/s, {:.2} ms of processor time each",
            count(LOGINS) / took.as_secs_f64(),
            cpu.as_secs_f64() * 1_000.0 / count(LOGINS)
        );
    }
    crowd(&gateway, &key).await;
}

/// Logs in and out again, eight at a time.
async fn in_turns(gateway: &Gateway, key: &Arc<PrivateKey>, way: Way, logins: usize) {
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
async fn crowd(gateway: &Gateway, key: &Arc<PrivateKey>) {
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

/// The gateway's process, ended with this value.
struct Gateway {
    process: Child,
    address: SocketAddr,
    _state: tempfile::TempDir,
}

impl Gateway {
    async fn start(webhook: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let host_key = state.path().join("host_key");
        let seed = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[9; 32]));
        let key = PrivateKey::new(seed, "host").unwrap();
        std::fs::write(&host_key, key.to_openssh(LineEnding::LF).unwrap()).unwrap();
        let own = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&host_key, own).unwrap();
        let log_path = state.path().join("log");
        let log = std::fs::File::create(&log_path).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .arg("serve")
            .env("PORTCULLIS_LISTEN", "127.0.0.1:0")
            .env("PORTCULLIS_HOST_KEY_FILES", &host_key)
            .env("PORTCULLIS_IDENTITY_URL", webhook)
            .env("PORTCULLIS_ADMIN_LISTEN", "off")
            .env("PORTCULLIS_STORAGE_ENDPOINT", "http://127.0.0.1:9")
            .env("PORTCULLIS_STORAGE_ACCESS_KEY_ID", "bench")
            .env("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", "bench")
            .env("PORTCULLIS_LIMITS_UNAUTHENTICATED_CONNECTIONS_MAX", "2000")
            .env("PORTCULLIS_LIMITS_CONNECTIONS_PER_SOURCE_MAX", "2000")
            .env("PORTCULLIS_LIMITS_CONNECTIONS_PER_USER_MAX", "2000")
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn();
        let mut process = process.unwrap();
        let address = loop {
            if let Some(address) = listening(&std::fs::read_to_string(&log_path).unwrap()) {
                break address;
            }
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway did not start: {ended:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self {
            process,
            address,
            _state: state,
        }
    }

    /// Returns the processor time so far, in user and system mode.
    fn cpu(&self) -> Duration {
        // In hundredths of a second everywhere on Linux.
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u32>().unwrap();
        TICK * (ticks(11) + ticks(12))
    }

    fn resident_kib(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.process.id())).unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Finds the address in the gateway's log.
fn listening(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("\"listening\""))?;
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line["address"].as_str()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
const fn count(logins: usize) -> f64 {
    logins as f64
}
