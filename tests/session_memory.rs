//! What clients can make a session hold that ask and do not listen: the gateway is a process of its
//! own, whose resident memory is read while they do, and S3 another one's.
//!
//! `cargo test --release --test session_memory -- --nocapture` prints what was measured.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that also prints what it measured"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use embedded_s3::EmbeddedS3;
use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::secret::Secret;
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

mod gateway_process;
#[expect(dead_code, reason = "the integration tests use all of it")]
#[path = "it/ssh/raw.rs"]
mod raw;
#[expect(dead_code, reason = "the integration tests use all of it")]
#[path = "it/common/tls.rs"]
mod tls;

use gateway_process::GatewayProcess;
use raw::{RawClient, string};
use tls::Authority;

const USER: &str = "alice";
const PASSWORD: &str = "correct horse";
const MIB: usize = 1024 * 1024;
const READ_AHEAD: usize = 32 * MIB;
const ACCOUNT: usize = 8 * MIB;
/// What the process may take beside both: ten sessions have 640 calls to S3 under way, each on a
/// connection with its buffers; 47 to 58 MiB where compilers keep the processors busy.
const CONSTANT: usize = 64 * MIB;

const OPEN: u8 = 3;
const READ: u8 = 5;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), waiting)
        .await
        .expect("took too long")
}

/// Encodes one SFTP request.
fn request(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    string([&[kind][..], &id.to_be_bytes(), body].concat())
}

fn open(id: u32, path: &str) -> Vec<u8> {
    let body = [&string(path)[..], &[0, 0, 0, 1], &[0, 0, 0, 0]].concat();
    request(OPEN, id, &body)
}

fn read(id: u32, handle: u32, offset: u64, length: u32) -> Vec<u8> {
    let handle = string(format!("{handle:08x}"));
    let body = [&handle[..], &offset.to_be_bytes(), &length.to_be_bytes()].concat();
    request(READ, id, &body)
}

/// A client with one SFTP session that sends and does not listen, until it wants to.
struct Deaf {
    client: RawClient,
    channels: Vec<[u8; 4]>,
}

impl Deaf {
    async fn login(gateway: &Gateway, sessions: usize) -> Self {
        let mut client = RawClient::user(gateway.address).await;
        let mut channels = Vec::new();
        for _ in 0..sessions {
            let (channel, _) = client.open_sftp().await;
            client.send_data(channel, [0, 0, 0, 5, 1, 0, 0, 0, 3]).await;
            assert_eq!(client.receive().await.unwrap()[0], raw::CHANNEL_DATA);
            channels.push(channel);
        }
        Self { client, channels }
    }

    /// Sends requests on each channel, in packets of a moderate size.
    async fn send(&mut self, requests: &[u8]) {
        for channel in self.channels.clone() {
            for packet in requests.chunks(16 * 1024) {
                self.client.send_data(channel, packet).await;
            }
        }
    }

    /// Listens until one packet has come that says so much of file data, and returns that.
    async fn first_data(&mut self, length: usize) -> Vec<u8> {
        let mut streams: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        loop {
            let packet = within(self.client.receive()).await.unwrap();
            if packet[0] != raw::CHANNEL_DATA {
                continue;
            }
            let stream = streams.entry(packet[1..5].to_vec()).or_default();
            stream.extend_from_slice(&packet[9..]);
            let mut rest = &stream[..];
            while rest.len() >= 4 {
                let size = u32::from_be_bytes(rest[..4].try_into().unwrap());
                let Some(one) = rest.get(4..4 + usize::try_from(size).unwrap()) else {
                    break;
                };
                if one[0] == 103 {
                    assert_eq!(one.len(), 9 + length);
                    return one[9..].to_vec();
                }
                rest = &rest[4 + one.len()..];
            }
        }
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

const CLIENTS: usize = 50;

/// Fifty clients ask for 16 MiB each: 957 MiB when data that nobody took stayed.
#[tokio::test]
async fn clients_that_ask_for_a_file_and_do_not_listen_hold_little() {
    let gateway = Gateway::start().await;
    let most = gateway.most_of_clients_that_do_not_listen().await;
    assert!(most <= READ_AHEAD + ACCOUNT + CLIENTS * MIB, "{most}");
}

/// The same where S3's bytes come in many small pieces, each with a buffer.
#[tokio::test]
async fn nor_do_they_hold_more_where_s3_is_asked_over_tls() {
    let gateway = Gateway::start_with(true).await;
    let most = gateway.most_of_clients_that_do_not_listen().await;
    assert!(most <= READ_AHEAD + ACCOUNT + CLIENTS * MIB, "{most}");
}

/// 2,560 directories of one connection: 2,487 MiB when OPENDIR kept a page of names.
#[tokio::test]
async fn directories_that_nobody_reads_hold_next_to_nothing() {
    let gateway = Gateway::start().await;
    for number in 0..1_200 {
        let key = format!("home/d/{number:0>900}");
        gateway.s3.put("bucket", &key, Bytes::new());
    }
    let before = gateway.warm().await;
    let mut requests = Vec::new();
    for id in 0..256 {
        requests.extend(request(OPENDIR, id, &string("/d")));
    }
    let mut deaf = Deaf::login(&gateway, 10).await;
    deaf.send(&requests).await;
    let opened = gateway.most_resident_until("ListObjectsV2", 2_560).await - before;
    requests.clear();
    for id in 0..256 {
        let handle = string(format!("{id:08x}"));
        requests.extend(request(READDIR, id, &handle));
    }
    deaf.send(&requests).await;
    let most = gateway.most_resident(Duration::from_secs(6)).await - before;
    println!(
        "2,560 directories: {} KiB, then {} KiB",
        opened / 1024,
        most / 1024
    );
    assert!(opened.max(most) <= ACCOUNT + CONSTANT, "{most}");
}

/// 2,500 files of one connection: 1,394 MiB when each could fetch half a MiB without memory.
#[tokio::test]
async fn files_whose_bytes_nobody_takes_hold_next_to_nothing() {
    let gateway = Gateway::start().await;
    let content = pattern(4 * MIB);
    gateway
        .s3
        .put("bucket", "home/f", Bytes::from(content.clone()));
    let before = gateway.warm().await;
    let mut requests = Vec::new();
    for id in 0..250 {
        requests.extend(open(id, "/f"));
    }
    let mut deaf = Deaf::login(&gateway, 10).await;
    deaf.send(&requests).await;
    // Those without memory for their first bytes only ask what there is.
    gateway.most_resident_until("HeadObject", 2_300).await;
    sleep(Duration::from_secs(2)).await;
    requests.clear();
    for handle in 0..250 {
        requests.extend(read(handle * 2, handle, 0, 255 * 1024));
        requests.extend(read(handle * 2 + 1, handle, 2 << 20, 255 * 1024));
    }
    deaf.send(&requests).await;
    let most = gateway.most_resident(Duration::from_secs(6)).await - before;
    println!("2,500 files: {} KiB", most / 1024);
    assert!(most <= READ_AHEAD + ACCOUNT + CONSTANT, "{most}");
    let got = deaf.first_data(255 * 1024).await;
    assert!(got == content[..got.len()]);
}

/// The gateway's process and the S3 behind it, ended with this value.
struct Gateway {
    process: GatewayProcess,
    address: SocketAddr,
    s3: EmbeddedS3,
    _webhook: BundledWebhook,
    _front: Option<Front>,
}

impl Gateway {
    async fn start() -> Self {
        Self::start_with(false).await
    }

    async fn start_with(encrypted: bool) -> Self {
        let webhook = BundledWebhook::start(
            USER,
            Secret::new(PASSWORD.to_owned()),
            json!({"mappings": [{"entry": "/", "target": "/bucket/home"}]}),
        );
        let webhook = webhook.await.unwrap();
        let settings = embedded_s3::Settings {
            buckets: vec!["bucket".to_owned()],
            log_requests: true,
            ..embedded_s3::Settings::default()
        };
        let s3 = EmbeddedS3::start(settings).await.unwrap();
        let front = if encrypted {
            Some(Front::before(&s3.endpoint()).await)
        } else {
            None
        };
        let endpoint = front
            .as_ref()
            .map_or_else(|| s3.endpoint(), Front::endpoint);
        let (ahead, account) = (READ_AHEAD.to_string(), ACCOUNT.to_string());
        let url = webhook.url();
        let (access_key, secret_key) = (s3.access_key(), s3.secret_key());
        let mut settings: Vec<(&str, &dyn AsRef<OsStr>)> = vec![
            ("PORTCULLIS_IDENTITY_URL", &url),
            ("PORTCULLIS_STORAGE_ENDPOINT", &endpoint),
            ("PORTCULLIS_STORAGE_ACCESS_KEY_ID", &access_key),
            ("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", &secret_key),
            ("PORTCULLIS_LIMITS_DOWNLOAD_MEMORY_BYTES_MAX", &ahead),
            ("PORTCULLIS_LIMITS_SESSION_MEMORY_BYTES_MAX", &account),
        ];
        if let Some(front) = &front {
            settings.push(("PORTCULLIS_STORAGE_CA_FILE", &front.ca));
        }
        let process = GatewayProcess::start(&settings).await;
        Self {
            address: process.address,
            process,
            s3,
            _webhook: webhook,
            _front: front,
        }
    }

    /// Has fifty clients ask for a file of 16 MiB, and returns the most that the process has for
    /// them.
    async fn most_of_clients_that_do_not_listen(&self) -> usize {
        let content = pattern(16 * MIB);
        self.s3
            .put("bucket", "home/f", Bytes::from(content.clone()));
        let before = self.warm().await;
        let mut requests = open(0, "/f");
        let length = 255 * 1024;
        let mut deaf = Vec::new();
        for _ in 0..CLIENTS {
            let mut one = Deaf::login(self, 1).await;
            one.send(&requests).await;
            deaf.push(one);
        }
        sleep(Duration::from_secs(1)).await;
        requests.clear();
        for number in 0..65 {
            let offset = u64::from(number) * u64::from(length);
            requests.extend(read(number, 0, offset, length));
        }
        for one in &mut deaf {
            one.send(&requests).await;
        }
        let most = self.most_resident(Duration::from_secs(5)).await - before;
        println!("{CLIENTS} × 16 MiB: {} KiB each", most / CLIENTS / 1024);
        let got = deaf[7].first_data(usize::try_from(length).unwrap()).await;
        assert!(got == content[..got.len()]);
        most
    }

    /// Brings up what stays for all, and returns what the process has then.
    async fn warm(&self) -> usize {
        let mut one = Deaf::login(self, 1).await;
        one.send(&request(OPENDIR, 1, &string("/"))).await;
        sleep(Duration::from_secs(1)).await;
        self.resident()
    }

    /// Returns the most that the process has within some time.
    async fn most_resident(&self, time: Duration) -> usize {
        let mut most = 0;
        for _ in 0..100 {
            most = most.max(self.resident());
            sleep(time / 100).await;
        }
        most
    }

    /// Returns the most that the process has until S3 had so many calls.
    async fn most_resident_until(&self, operation: &str, calls: usize) -> usize {
        let mut most = 0;
        let all = async {
            while self.s3.count(operation) < calls {
                most = most.max(self.resident());
                sleep(Duration::from_millis(20)).await;
            }
        };
        within(all).await;
        most
    }

    fn resident(&self) -> usize {
        self.process.resident_kib() * 1024
    }
}

/// TLS before S3, ended with this value.
struct Front {
    port: u16,
    ca: tempfile::TempPath,
    _serving: JoinSet<()>,
}

impl Front {
    async fn before(endpoint: &str) -> Self {
        let authority = Authority::new();
        let ca = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&ca, authority.pem()).unwrap();
        let acceptor = authority.acceptor("127.0.0.1");
        let behind = endpoint.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                connections.spawn(async move {
                    // Either side may go first.
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(&behind).await.unwrap();
                    copy_bidirectional(&mut client, &mut server)
                        .await
                        .unwrap_or_default();
                });
            }
        });
        Self {
            port,
            ca,
            _serving: serving,
        }
    }

    fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}
