//! What the process takes at its peak while many work, and what is left of it when they have gone:
//! the gateway is a process of its own, whose resident memory is read, with the memory that it
//! has by default.
//!
//! `cargo test --release --test load_memory -- --include-ignored --nocapture` prints what was
//! measured.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that also prints what it measured"
)]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use embedded_s3::EmbeddedS3;
use futures_util::future::join_all;
use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::limits::{CONNECTION_BYTES, Limits, PROCESS_BYTES};
use portcullis::secret::Secret;
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::{Preferred, cipher, kex};
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use serde_json::json;
use tokio::time::{sleep, timeout};

mod gateway_process;

use gateway_process::GatewayProcess;

const USER: &str = "alice";
const PASSWORD: &str = "correct horse";
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const CONNECTIONS: usize = 10;
const SESSIONS_EACH: usize = 5;
const UPLOADS_EACH: usize = 10;

/// 500 files at once: 767 MiB when parts were taken beside the memory that is set for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_uploads_at_once_stay_within_what_is_configured() {
    let gateway = Gateway::start().await;
    gateway.upload_at_once(512 * KIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "2 GiB"]
async fn five_hundred_uploads_of_four_mib_stay_within_what_is_configured() {
    let gateway = Gateway::start().await;
    gateway.upload_at_once(4 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_process_gives_back_what_it_took_under_load() {
    let gateway = Gateway::start().await;
    gateway.is_given_back_after(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "several GiB"]
async fn an_idle_process_gives_back_what_it_took_under_much_load() {
    let gateway = Gateway::start().await;
    gateway.is_given_back_after(8).await;
}

/// The gateway's process and the S3 behind it, ended with this value.
struct Gateway {
    process: GatewayProcess,
    s3: EmbeddedS3,
    _webhook: BundledWebhook,
}

/// A connection with its sessions.
struct Client {
    sessions: Vec<RawSftpSession>,
    handle: client::Handle<Trusting>,
}

impl Gateway {
    async fn start() -> Self {
        let webhook = BundledWebhook::start(
            USER,
            Secret::new(PASSWORD.to_owned()),
            json!({"mappings": [{"entry": "/", "target": "/bucket/home"}]}),
        );
        let webhook = webhook.await.unwrap();
        let settings = embedded_s3::Settings {
            buckets: vec!["bucket".to_owned()],
            ..embedded_s3::Settings::default()
        };
        let s3 = EmbeddedS3::start(settings).await.unwrap();
        let process = GatewayProcess::start(&[
            ("PORTCULLIS_IDENTITY_URL", &webhook.url()),
            ("PORTCULLIS_STORAGE_ENDPOINT", &s3.endpoint()),
            ("PORTCULLIS_STORAGE_ACCESS_KEY_ID", &s3.access_key()),
            ("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", &s3.secret_key()),
            // However slow this machine is now.
            ("PORTCULLIS_IDENTITY_CONNECT_TIMEOUT_MS", &"300000"),
            ("PORTCULLIS_IDENTITY_TOTAL_TIMEOUT_MS", &"300000"),
            ("PORTCULLIS_STORAGE_CONNECT_TIMEOUT_MS", &"300000"),
            ("PORTCULLIS_STORAGE_CALL_TIMEOUT_MS", &"300000"),
            ("PORTCULLIS_LIMITS_HELLO_TIMEOUT_SECONDS", &"600"),
            ("PORTCULLIS_LIMITS_LOGIN_GRACE_SECONDS", &"600"),
            ("PORTCULLIS_LIMITS_KEEPALIVE_INTERVAL_SECONDS", &"600"),
            ("PORTCULLIS_LIMITS_GATE_TIMEOUT_SECONDS", &"3600"),
            ("PORTCULLIS_LIMITS_UPLOAD_RATE_BYTES_MIN", &"0"),
        ])
        .await;
        Self {
            process,
            s3,
            _webhook: webhook,
        }
    }

    async fn login(&self) -> Client {
        let config = client::Config {
            preferred: Preferred {
                kex: Cow::Borrowed(&[kex::CURVE25519]),
                cipher: Cow::Borrowed(&[cipher::AES_128_GCM]),
                ..Preferred::default()
            },
            nodelay: true,
            ..client::Config::default()
        };
        let connected = client::connect(Arc::new(config), self.process.address, Trusting).await;
        let mut handle = connected.unwrap();
        let answer = handle.authenticate_password(USER, PASSWORD).await;
        assert!(answer.unwrap().success());
        let sessions = Vec::new();
        Client { sessions, handle }
    }

    async fn client(&self, sessions: usize) -> Client {
        let mut client = self.login().await;
        for _ in 0..sessions {
            let channel = client.handle.channel_open_session().await.unwrap();
            channel.request_subsystem(true, "sftp").await.unwrap();
            let session = RawSftpSession::new(channel.into_stream());
            session.set_timeout(600);
            session.init().await.unwrap();
            client.sessions.push(session);
        }
        client
    }

    /// Uploads 500 files that are all open at once; asserts the peak.
    async fn upload_at_once(&self, bytes: usize) {
        let before = self.resident();
        let working = async {
            let clients = join_all((0..CONNECTIONS).map(|_| self.client(SESSIONS_EACH))).await;
            let sessions = clients.iter().flat_map(|client| &client.sessions);
            let files = sessions.enumerate().map(|(at, session)| {
                let names = (0..UPLOADS_EACH).map(move |number| format!("/{at}-{number}"));
                put(session, names.collect(), bytes)
            });
            join_all(files).await;
        };
        let most = self.most_resident(working).await;
        let files = CONNECTIONS * SESSIONS_EACH * UPLOADS_EACH;
        println!(
            "{files} × {} KiB: {} MiB, {} MiB before",
            bytes / KIB,
            most / MIB,
            before / MIB
        );
        assert_eq!(self.s3.keys("bucket").len(), files);
        let limits = Limits::default();
        let pools = limits.upload_memory_bytes_max + limits.session_memory_bytes_max;
        let others = u64::try_from(CONNECTIONS).unwrap() * CONNECTION_BYTES + PROCESS_BYTES;
        assert!(most <= usize::try_from(pools + others).unwrap(), "{most}");
    }

    /// Lets clients upload, download, list and log in, and waits until little is left of it.
    async fn is_given_back_after(&self, times: usize) {
        let content = Bytes::from(vec![7; 16 * MIB * times]);
        for number in 0..8 {
            let key = format!("home/big{number}");
            self.s3.put("bucket", &key, content.clone());
        }
        for number in 0..10_000 {
            let key = format!("home/many/{number:05}");
            self.s3.put("bucket", &key, Bytes::new());
        }
        // What a first client brings up stays: code, threads, connections to S3.
        let client = self.client(1).await;
        put(
            client.sessions.first().unwrap(),
            vec!["/first".to_owned()],
            MIB,
        )
        .await;
        drop(client);
        let idle = self.settled().await;
        let working = async {
            let uploads = 64 * times;
            self.work(uploads, 25 * times, &content).await;
        };
        let most = self.most_resident(working).await;
        let allowed = idle + idle / 2;
        let left = async {
            while self.resident() > allowed {
                sleep(Duration::from_millis(200)).await;
            }
        };
        let gone = timeout(Duration::from_secs(120), left).await;
        println!(
            "idle {} KiB, at most {} KiB, after it {} KiB",
            idle / KIB,
            most / KIB,
            self.resident() / KIB
        );
        assert!(gone.is_ok(), "{} of {idle}", self.resident());
    }

    /// Eight clients, each of which does everything.
    async fn work(&self, uploads: usize, logins: usize, content: &Bytes) {
        let eight = (0..8).map(|number| async move {
            let client = self.client(1).await;
            let session = client.sessions.first().unwrap();
            let name = |at| format!("/up{number}-{at}");
            let each = uploads.div_ceil(8).max(1);
            put(session, (0..each).map(name).collect(), 4 * MIB).await;
            get(session, &format!("/big{number}"), content.len()).await;
            assert!(list(session, "/many").await >= 10_000);
            for _ in 0..logins {
                drop(self.login().await);
            }
        });
        join_all(eight).await;
    }

    /// Waits until the process does not get smaller any more, and returns what it has.
    async fn settled(&self) -> usize {
        let mut least = self.resident();
        let mut quiet = 0;
        while quiet < 15 {
            sleep(Duration::from_secs(1)).await;
            let now = self.resident();
            quiet = if now < least { 0 } else { quiet + 1 };
            least = least.min(now);
        }
        self.resident()
    }

    /// Returns the most that the process has while something is done.
    async fn most_resident(&self, doing: impl Future<Output = ()>) -> usize {
        let mut most = 0;
        let watching = async {
            loop {
                most = most.max(self.resident());
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = doing => {}
            () = watching => {}
        }
        most.max(self.resident())
    }

    fn resident(&self) -> usize {
        self.process.resident_kib() * KIB
    }
}

/// Opens all files of these names, writes a piece to each in turn, and closes them.
async fn put(session: &RawSftpSession, names: Vec<String>, bytes: usize) {
    const PIECE: usize = 32 * KIB;
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let opened = names
        .iter()
        .map(|name| session.open(name, flags, FileAttributes::empty()));
    let opened = join_all(opened).await;
    let handles: Vec<_> = opened.into_iter().map(|one| one.unwrap().handle).collect();
    let files = handles.iter().map(|handle| async move {
        for at in (0..bytes).step_by(PIECE) {
            let offset = u64::try_from(at).unwrap();
            session.write(handle, offset, vec![7; PIECE]).await.unwrap();
        }
        session.close(handle).await.unwrap();
    });
    join_all(files).await;
}

/// Reads a whole file, several pieces at once.
async fn get(session: &RawSftpSession, name: &str, bytes: usize) {
    const PIECE: usize = 128 * KIB;
    let opened = session.open(name, OpenFlags::READ, FileAttributes::empty());
    let handle = opened.await.unwrap().handle;
    let handle = &handle;
    for at in (0..bytes).step_by(8 * PIECE) {
        let pieces = (at..bytes.min(at + 8 * PIECE)).step_by(PIECE);
        let pieces = pieces.map(|at| async move {
            let (offset, length) = (u64::try_from(at).unwrap(), u32::try_from(PIECE).unwrap());
            let data = session.read(handle, offset, length).await.unwrap();
            assert_eq!(data.data.len(), PIECE);
        });
        join_all(pieces).await;
    }
    session.close(handle).await.unwrap();
}

/// Lists a directory and returns how many names it has.
async fn list(session: &RawSftpSession, name: &str) -> usize {
    let handle = session.opendir(name).await.unwrap().handle;
    let mut names = 0;
    while let Ok(page) = session.readdir(&handle).await {
        names += page.files.len();
    }
    session.close(&handle).await.unwrap();
    names
}

/// Trusts every server.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}
