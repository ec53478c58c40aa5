//! Connections to S3 that die while nobody uses them.
//!
//! Between the store and its S3 stands a relay whose connections can be killed. No time-out of the
//! store ends within a test: what waits for a dead connection never gets its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use embedded_s3::EmbeddedS3;
use portcullis::limits;
use portcullis::storage::s3::{S3Store, Settings, Timeouts};
use portcullis::storage::{
    ByteRange, GetObject, ListQuery, Location, ObjectStore as _, PartNumber, Precondition,
    PutObject, StorageErrorKind, UploadPart,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::common::stores::{bucket, checksum, collect, new_object, s3_settings};

const BUCKET: &str = "bucket";

/// How a connection dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// What is sent is taken, and never answered.
    Silent,
    /// It is closed as soon as something is sent.
    Closed,
}

/// Passes bytes on between clients and a server.
struct Relay {
    endpoint: String,
    /// How often connections were killed, and how the last time.
    killed: watch::Sender<(usize, Death)>,
    accepted: Arc<AtomicUsize>,
    /// Requests that dead connections took.
    swallowed: Arc<AtomicUsize>,
}

impl Relay {
    async fn before(server: &str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            killed: watch::Sender::new((0, Death::Silent)),
            accepted: Arc::default(),
            swallowed: Arc::default(),
        };
        let killed = relay.killed.clone();
        let (accepted, swallowed) = (relay.accepted.clone(), relay.swallowed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(&server).await.unwrap();
                let killed = killed.subscribe();
                tokio::spawn(pass(client, server, killed, swallowed.clone()));
            }
        });
        relay
    }

    /// Kills every connection there is; new ones live.
    fn kill(&self, death: Death) {
        self.killed
            .send_modify(|(times, how)| (*times, *how) = (*times + 1, death));
    }

    fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    mut killed: watch::Receiver<(usize, Death)>,
    swallowed: Arc<AtomicUsize>,
) {
    tokio::select! {
        // The kill is seen before what is sent after it.
        biased;
        changed = killed.changed() => if changed.is_err() { return },
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
    }
    drop(server);
    let mut taken = [0; 64 * 1024];
    let mut requests = 0;
    while let Ok(1..) = client.read(&mut taken).await {
        if requests == 0 {
            swallowed.fetch_add(1, Ordering::SeqCst);
        }
        requests += 1;
        if killed.borrow().1 == Death::Closed {
            break;
        }
    }
    drop(client.shutdown().await);
}

struct Stage {
    s3: EmbeddedS3,
    relay: Relay,
    store: S3Store,
}

impl Stage {
    async fn start() -> Self {
        let s3 = EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec![BUCKET.to_owned()],
            log_requests: true,
            ..embedded_s3::Settings::default()
        })
        .await
        .unwrap();
        let relay = Relay::before(&s3.endpoint()).await;
        let never = Duration::from_secs(3_600);
        let settings = Settings {
            timeouts: Timeouts {
                call: never,
                payload: never,
                store_work: never,
                body_idle: never,
                ..Timeouts::default()
            },
            ..s3_settings(relay.endpoint.clone(), s3.access_key(), s3.secret_key())
        };
        let store = S3Store::connect(settings).await.unwrap();
        s3.put(BUCKET, "a", "content");
        Self { s3, relay, store }
    }

    async fn put(&self, key: &str) -> Result<(), StorageErrorKind> {
        let put = PutObject {
            object: &new_object(),
            checksum: checksum(b"content"),
            condition: &Precondition::None,
        };
        let content = Bytes::from_static(b"content");
        let stored = within(self.store.put(&at(key), content, put)).await;
        stored.map(drop).map_err(|error| error.kind)
    }
}

fn at(key: &str) -> Location {
    Location {
        bucket: bucket(BUCKET),
        key: portcullis::storage::Key::parse(key).unwrap(),
    }
}

/// Bounds every wait: a test that hangs must fail.
async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), waiting)
        .await
        .expect("took too long")
}

/// Reads once, kills the connection and reads again.
async fn reads_after(death: Death, operation: &str) {
    let stage = Stage::start().await;
    let store = &stage.store;
    within(store.head(&at("a"))).await.unwrap();
    stage.relay.kill(death);
    match operation {
        "HeadObject" => drop(within(store.head(&at("a"))).await.unwrap()),
        "ListObjectsV2" => {
            let query = ListQuery::first("a");
            let page = within(store.list(&bucket(BUCKET), &query)).await.unwrap();
            assert_eq!(page.objects.len(), 1);
        }
        _ => {
            let get = GetObject {
                range: Some(ByteRange { start: 0, end: 4 }),
                etag: None,
            };
            let body = within(store.get(&at("a"), get)).await.unwrap();
            assert_eq!(collect(body).await.unwrap(), b"cont"[..]);
        }
    }
    let before = usize::from(operation == "HeadObject");
    let arrived = stage.s3.count(operation) - before;
    assert_eq!(arrived, 1, "{death:?} {operation}");
}

#[tokio::test]
async fn a_read_over_a_dead_connection_is_answered_over_another() {
    for death in [Death::Silent, Death::Closed] {
        tokio::join!(
            reads_after(death, "HeadObject"),
            reads_after(death, "ListObjectsV2"),
            reads_after(death, "GetObject"),
        );
    }
}

#[tokio::test]
async fn many_reads_over_dead_connections_are_all_answered() {
    let stage = Stage::start().await;
    let reads = || async {
        let (one, two) = (at("a"), at("a"));
        let store = &stage.store;
        let (one, two) = (store.head(&one), store.head(&two));
        let (one, two) = within(async { tokio::join!(one, two) }).await;
        one.unwrap();
        two.unwrap();
    };
    reads().await;
    stage.relay.kill(Death::Silent);
    reads().await;
    // A machine that stands still for seconds has a read sent twice.
    assert!(stage.s3.count("HeadObject") >= 4);
}

#[tokio::test]
async fn a_change_after_a_pause_takes_a_new_connection() {
    let stage = Stage::start().await;
    stage.put("b").await.unwrap();
    stage.relay.kill(Death::Silent);
    tokio::time::sleep(limits::S3_CONNECTION_RECENT + Duration::from_millis(500)).await;
    stage.put("c").await.unwrap();
    assert_eq!(stage.relay.swallowed(), 0);
    assert_eq!(stage.relay.accepted(), 2);
    assert_eq!(stage.s3.count("PutObject"), 2);
}

#[tokio::test]
async fn a_change_whose_connection_was_closed_is_sent_once() {
    let stage = Stage::start().await;
    stage.put("b").await.unwrap();
    stage.relay.kill(Death::Closed);
    let outcome = stage.put("c").await;
    // On a slow machine the connection was left alone since it had been idle.
    let sent = stage.relay.swallowed() + stage.s3.count("PutObject") - 1;
    assert_eq!(sent, 1, "{outcome:?}");
    let arrived = stage.s3.object(BUCKET, "c").is_some();
    match outcome {
        Ok(()) => assert!(arrived),
        Err(kind) => {
            assert_eq!(kind, StorageErrorKind::OutcomeUnknown);
            assert!(!arrived);
        }
    }
}

#[tokio::test]
async fn a_part_whose_connection_was_closed_is_sent_again_at_once() {
    let stage = Stage::start().await;
    let store = &stage.store;
    let upload = within(store.create(&at("b"), &new_object())).await.unwrap();
    stage.relay.kill(Death::Closed);
    let part = UploadPart {
        upload: &upload,
        number: PartNumber(1),
        checksum: checksum(b"content"),
    };
    let content = Bytes::from_static(b"content");
    within(store.part(&at("b"), content, part)).await.unwrap();
    assert_eq!(stage.s3.count("UploadPart"), 1);
    within(store.abort(&at("b"), &upload)).await.unwrap();
}
