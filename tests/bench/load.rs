//! A native client that loads an SFTP server, for `compare.py`: the client library of the probe,
//! with curve25519, a key and AES-GCM.
//!
//! ```text
//! load HOST:PORT USER KEY_FILE WORKLOAD FOLDER NUMBER...
//! load webhook USER PUBLIC_KEY_FILE TARGET
//! ```
//!
//! Each session has a folder of its own below FOLDER, named by its number.
//!
//! Prints one JSON object: what was moved (`units`) in how many `seconds`, from when everybody had
//! logged in, and what is peculiar to the workload. `webhook` prints the URL of an identity
//! provider for one user and serves it until its input ends.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a program that measures: it reads the clock and stops when something is wrong"
)]

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::secret::Secret;
use russh_original::client::{self, Handle};
use russh_original::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh_original::{Preferred, cipher, kex};
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The most that is asked of a server that tells its limits, and of one that does not.
const REQUEST_BYTES: usize = 255 * 1024;
const REQUEST_BYTES_UNTOLD: usize = 32 * 1024;
/// Under way for one large file: enough for 100 ms and 300 MiB/s.
const LARGE_IN_FLIGHT_BYTES: usize = 32 << 20;
/// The same for one of many.
const IN_FLIGHT_BYTES: usize = 4 << 20;
const WINDOW_BYTES: u32 = 64 << 20;
const SMALL_BYTES: usize = 4 * 1024;

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|w| w != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["webhook", user, key, target] => webhook(user, key, target).await,
        [address, user, key, workload, folder, ref numbers @ ..] => {
            let key = Arc::new(russh_original::keys::load_secret_key(key, None).unwrap());
            let at = At {
                address: address.to_owned(),
                user: user.to_owned(),
                key,
                folder: folder.to_owned(),
            };
            let numbers: Vec<usize> = numbers.iter().map(|word| word.parse().unwrap()).collect();
            println!("{}", run(&Arc::new(at), workload, &numbers).await);
        }
        _ => println!(
            "{}",
            json!({"error": "see the head of tests/bench/load.rs"})
        ),
    }
}

async fn webhook(user: &str, key: &str, target: &str) {
    let key = std::fs::read_to_string(key).unwrap();
    let answer = json!({
        "mappings": [{"entry": "/", "target": target}],
        "publicKeys": [key.trim()],
    });
    let webhook = BundledWebhook::start(user, Secret::new("unused".to_owned()), answer);
    let webhook = webhook.await.unwrap();
    println!("{}", webhook.url());
    until_input_ends().await;
}

async fn until_input_ends() {
    let wait = || std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    tokio::task::spawn_blocking(wait).await.unwrap();
}

async fn run(at: &Arc<At>, workload: &str, numbers: &[usize]) -> Value {
    match (workload, numbers) {
        ("put-small", &[sessions, in_flight, files]) => {
            let seats = seats(at, sessions).await;
            each(&seats, in_flight, files, |seat, n| async move {
                seat.put(&seat.small(n), SMALL_BYTES, 0).await;
            })
            .await
        }
        // Names for listings.
        ("put-empty", &[sessions, in_flight, files]) => {
            let seats = seats(at, sessions).await;
            each(&seats, in_flight, files, |seat, n| async move {
                seat.put(&seat.small(n), 0, 0).await;
            })
            .await
        }
        ("get-small", &[sessions, in_flight, files]) => {
            let seats = seats(at, sessions).await;
            each(&seats, in_flight, files, |seat, n| async move {
                seat.get(&seat.small(n), SMALL_BYTES, 0).await;
            })
            .await
        }
        // Of names that were listed just before.
        ("stat", &[sessions, in_flight, files, stats]) => {
            let seats = seats(at, sessions).await;
            for seat in &seats {
                assert_eq!(seat.list().await, files);
            }
            each(&seats, in_flight, stats, move |seat, n| async move {
                let attrs = seat.sftp.stat(seat.small(n % files)).await.unwrap();
                assert_eq!(attrs.attrs.size, Some(SMALL_BYTES as u64));
            })
            .await
        }
        ("put-large", &[sessions, mib]) => {
            let seats = seats(at, sessions).await;
            let done = each(&seats, 1, 1, move |seat, _| async move {
                seat.put(&seat.large(), mib << 20, LARGE_IN_FLIGHT_BYTES)
                    .await;
            });
            times(done.await, mib)
        }
        ("get-large", &[sessions, mib]) => {
            let seats = seats(at, sessions).await;
            let done = each(&seats, 1, 1, move |seat, _| async move {
                seat.get(&seat.large(), mib << 20, LARGE_IN_FLIGHT_BYTES)
                    .await;
            });
            times(done.await, mib)
        }
        ("list", &[names]) => list(at, names).await,
        ("at-once", &[sessions, mib]) => at_once(at, sessions, mib).await,
        ("paced", &[sessions, seconds]) => paced(at, sessions, seconds).await,
        ("logins", &[at_once, count]) => logins(at, at_once, count).await,
        ("idle", &[sessions]) => idle(at, sessions).await,
        _ => json!({"error": format!("no workload {workload} with {} numbers", numbers.len())}),
    }
}

/// The same where each unit was `of` others.
fn times(mut done: Value, of: usize) -> Value {
    done["units"] = json!(done["units"].as_u64().unwrap() * of as u64);
    done
}

/// Lets each session do something `count` times, `in_flight` of them at a time.
async fn each<W, F>(seats: &[Arc<Seat>], in_flight: usize, count: usize, what: W) -> Value
where
    W: Fn(Arc<Seat>, usize) -> F + Copy + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    for seat in seats {
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..in_flight {
            let (seat, next) = (Arc::clone(seat), Arc::clone(&next));
            tasks.spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        break;
                    }
                    what(Arc::clone(&seat), n).await;
                }
            });
        }
    }
    all(tasks).await;
    json!({"units": count * seats.len(), "seconds": began.elapsed().as_secs_f64()})
}

async fn list(at: &Arc<At>, names: usize) -> Value {
    let seat = Seat::take(at, 0).await;
    let began = Instant::now();
    assert_eq!(seat.list().await, names);
    json!({"units": names, "seconds": began.elapsed().as_secs_f64()})
}

/// Uploads that all begin together; tells how much longer the slowest took than the fastest.
async fn at_once(at: &Arc<At>, sessions: usize, mib: usize) -> Value {
    let seats = seats(at, sessions).await;
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    for seat in &seats {
        let seat = Arc::clone(seat);
        tasks.spawn(async move {
            seat.put(&seat.large(), mib << 20, IN_FLIGHT_BYTES).await;
            began.elapsed()
        });
    }
    let mut took = tasks.join_all().await;
    took.sort_unstable();
    let (first, last) = (took[0].as_secs_f64(), took[sessions - 1].as_secs_f64());
    json!({"units": sessions * mib, "seconds": last, "slowest_by_fastest": last / first})
}

/// Small uploads at a steady pace, one a second for each session; tells how long they take.
async fn paced(at: &Arc<At>, sessions: usize, seconds: usize) -> Value {
    let seats = seats(at, sessions).await;
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    for (n, seat) in seats.iter().enumerate() {
        let seat = Arc::clone(seat);
        let offset =
            Duration::from_secs(1) * u32::try_from(n).unwrap() / u32::try_from(sessions).unwrap();
        tasks.spawn(async move {
            let mut each = Vec::new();
            for second in 0..seconds {
                let due = began + offset + Duration::from_secs(second as u64);
                tokio::time::sleep_until(due.into()).await;
                let started = Instant::now();
                seat.put(&seat.small(second), 64 * 1024, 0).await;
                each.push(started.elapsed());
            }
            each
        });
    }
    let mut took: Vec<Duration> = tasks.join_all().await.concat();
    took.sort_unstable();
    let percentile = |of: usize| took[took.len() * of / 100].as_secs_f64() * 1_000.0;
    json!({
        "units": took.len(),
        "seconds": began.elapsed().as_secs_f64(),
        "p50_ms": percentile(50),
        "p99_ms": percentile(99),
    })
}

async fn logins(at: &Arc<At>, at_once: usize, count: usize) -> Value {
    let (began, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let (at, next) = (Arc::clone(at), Arc::clone(&next));
        tasks.spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < count {
                drop(at.login().await);
            }
        });
    }
    all(tasks).await;
    json!({"units": count, "seconds": began.elapsed().as_secs_f64()})
}

/// Sessions that do nothing; the one who started this measures the server until the input ends.
async fn idle(at: &Arc<At>, sessions: usize) -> Value {
    let began = Instant::now();
    let seats = seats(at, sessions).await;
    println!("{}", json!({"ready": seats.len()}));
    until_input_ends().await;
    json!({"units": seats.len(), "seconds": began.elapsed().as_secs_f64()})
}

async fn all(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Logs in, sixteen at a time.
async fn seats(at: &Arc<At>, sessions: usize) -> Vec<Arc<Seat>> {
    let (mut tasks, mut seats) = (JoinSet::new(), Vec::new());
    for number in 0..sessions {
        if tasks.len() >= 16 {
            seats.extend(tasks.join_next().await.map(Result::unwrap));
        }
        let at = Arc::clone(at);
        tasks.spawn(async move { Arc::new(Seat::take(&at, number).await) });
    }
    seats.extend(tasks.join_all().await);
    seats
}

/// Where to go, and as whom.
struct At {
    address: String,
    user: String,
    key: Arc<PrivateKey>,
    folder: String,
}

impl At {
    async fn login(&self) -> Handle<Trusting> {
        let config = client::Config {
            preferred: Preferred {
                kex: Cow::Borrowed(&[kex::CURVE25519]),
                cipher: Cow::Borrowed(&[cipher::AES_128_GCM]),
                ..Preferred::default()
            },
            window_size: WINDOW_BYTES,
            nodelay: true,
            ..client::Config::default()
        };
        let connected = client::connect(Arc::new(config), self.address.as_str(), Trusting).await;
        let mut handle = connected.unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&self.key), None);
        let answer = handle.authenticate_publickey(self.user.as_str(), key).await;
        assert!(answer.unwrap().success());
        handle
    }
}

/// One session, with a folder of its own.
struct Seat {
    folder: String,
    request_bytes: usize,
    sftp: RawSftpSession,
    _connection: Handle<Trusting>,
}

impl Seat {
    async fn take(at: &At, number: usize) -> Self {
        let connection = at.login().await;
        let channel = connection.channel_open_session().await.unwrap();
        channel.request_subsystem(true, "sftp").await.unwrap();
        let config = Config {
            request_timeout_secs: 600,
            ..Config::default()
        };
        let sftp = RawSftpSession::new_with_config(channel.into_stream(), config);
        sftp.init().await.unwrap();
        let folder = format!("{}/{number}", at.folder);
        // It is there the second time.
        drop(sftp.mkdir(folder.as_str(), FileAttributes::empty()).await);
        let told = sftp.limits().await.ok();
        let most = told.and_then(|limits| usize::try_from(limits.max_read_len).ok());
        Self {
            folder,
            request_bytes: most.map_or(REQUEST_BYTES_UNTOLD, |most| most.min(REQUEST_BYTES)),
            sftp,
            _connection: connection,
        }
    }

    fn small(&self, n: usize) -> String {
        format!("{}/{n:07}", self.folder)
    }

    fn large(&self) -> String {
        format!("{}/large", self.folder)
    }

    /// Returns how many names its folder has.
    async fn list(&self) -> usize {
        let handle = self
            .sftp
            .opendir(self.folder.as_str())
            .await
            .unwrap()
            .handle;
        let mut names = 0;
        while let Ok(page) = self.sftp.readdir(handle.as_str()).await {
            let own = page
                .files
                .iter()
                .filter(|f| f.filename != "." && f.filename != "..");
            names += own.count();
        }
        self.sftp.close(handle).await.unwrap();
        names
    }

    async fn put(&self, path: &str, bytes: usize, in_flight_bytes: usize) {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let handle = self.open(path, flags).await;
        let data = vec![b'p'; self.request_bytes.min(bytes)];
        let write = |at: usize| {
            let data = data[..self.request_bytes.min(bytes - at)].to_vec();
            let writing = self.sftp.write(handle.as_str(), at as u64, data);
            async { drop(writing.await.unwrap()) }
        };
        self.pipelined(bytes, in_flight_bytes, write).await;
        self.sftp.close(handle.as_str()).await.unwrap();
    }

    async fn get(&self, path: &str, bytes: usize, in_flight_bytes: usize) {
        let handle = self.open(path, OpenFlags::READ).await;
        let read = |at: usize| {
            let wanted = self.request_bytes.min(bytes - at);
            let length = u32::try_from(wanted).unwrap();
            let reading = self.sftp.read(handle.as_str(), at as u64, length);
            async move { assert_eq!(reading.await.unwrap().data.len(), wanted) }
        };
        self.pipelined(bytes, in_flight_bytes, read).await;
        self.sftp.close(handle.as_str()).await.unwrap();
    }

    /// Does one request after the other, so many bytes of them at a time, or just one.
    async fn pipelined<F: Future>(
        &self,
        bytes: usize,
        in_flight_bytes: usize,
        request: impl Fn(usize) -> F,
    ) {
        let offsets = (0..bytes).step_by(self.request_bytes);
        let at_a_time = (in_flight_bytes / self.request_bytes).max(1);
        let mut requests = stream::iter(offsets.map(request)).buffered(at_a_time);
        while requests.next().await.is_some() {}
    }

    async fn open(&self, path: &str, flags: OpenFlags) -> String {
        let opened = self.sftp.open(path, flags, FileAttributes::empty()).await;
        opened.unwrap().handle
    }
}

/// Trusts every server.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh_original::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}
