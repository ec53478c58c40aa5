//! Bodies of AWS's API are on the process's account of bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use portcullis::admin::{Admin, AdminLimits, Aws, AwsKey, Scope, Servers};
use portcullis::budget::Budget;
use portcullis::clock::SystemClock;
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::secret::Secret;
use portcullis::storage::credentials::Own;
use portcullis::storage::memory::MemoryStore;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::common::signed::signed;

const KEY: (&str, &str) = ("AKIDALL", "hazel-7");
const ACCOUNT_BYTES: u64 = 4 << 20;
const TARGET: &str = "TransferService.ListServers";

/// A port for AWS's tools on which nothing times out.
struct Port {
    address: SocketAddr,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    serving: JoinSet<()>,
}

impl Port {
    async fn open() -> Self {
        let hour = Duration::from_secs(3_600);
        let limits = AdminLimits {
            head_timeout: hour,
            connection_age_max: hour,
            ..AdminLimits::for_aws()
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let admin = Admin::bind(any, limits).await.unwrap();
        let address = admin.local_addr().unwrap();
        let budget = Budget::new(&Limits {
            session_memory_bytes_max: ACCOUNT_BYTES,
            ..Limits::default()
        });
        let key = AwsKey {
            access_key_id: KEY.0.into(),
            secret_access_key: Secret::new(KEY.1.to_owned()),
            scope: Scope::All,
        };
        let servers = Servers {
            all: Vec::new(),
            stores: Arc::new(Own::new(Arc::new(MemoryStore::new(&[])))),
            blocks: Arc::default(),
            clock: Arc::new(SystemClock),
        };
        let metrics = Arc::new(Metrics::default());
        let aws = Aws::new(vec![key], servers, Arc::clone(&metrics), budget.account());
        let mut serving = JoinSet::new();
        let stop = CancellationToken::new();
        serving.spawn(admin.serve_aws(Arc::new(aws), None, Arc::clone(&metrics), stop));
        Self {
            address,
            budget,
            metrics,
            serving,
        }
    }

    /// Sends a head that announces so many bytes, and the body as far as it is given.
    async fn send(&self, body: &str, announced: usize) -> TcpStream {
        let host = self.address.to_string();
        let (time, authorization) = signed(KEY, &host, TARGET, body, 0);
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-type: application/x-amz-json-1.1\r\nx-amz-target: {TARGET}\r\n\
             x-amz-date: {time}\r\nauthorization: {authorization}\r\n\
             content-length: {announced}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A refusal may come before all of it is sent.
        drop(stream.write_all(body.as_bytes()).await);
        stream
    }

    fn taken(&self) -> u64 {
        self.budget.account().taken_bytes()
    }

    async fn until_taken(&self, is_enough: impl Fn(u64) -> bool) {
        while !is_enough(self.taken()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn answered(mut stream: TcpStream) -> (String, Value) {
    let mut text = Vec::new();
    drop(stream.read_to_end(&mut text).await);
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let body = serde_json::from_str(body).unwrap_or_default();
    (head.to_owned(), body)
}

#[tokio::test]
async fn what_has_come_of_a_body_is_counted_and_what_is_announced_is_not() {
    let port = Port::open().await;
    let small = "{\"MaxResults\":";
    let one = port.send(small, 60_000).await;
    port.until_taken(|taken| taken > 0).await;
    assert!(port.taken() < 10_000, "{}", port.taken());
    let large = "x".repeat(300_000);
    let other = port.send(&large, 3 << 20).await;
    port.until_taken(|taken| taken >= 300_000).await;
    assert!(port.taken() < 700_000, "{}", port.taken());
    drop((one, other));
    port.until_taken(|taken| taken == 0).await;
}

#[tokio::test]
async fn slow_large_bodies_take_half_of_the_account_and_the_next_is_told_to_try_again() {
    let mut port = Port::open().await;
    let body = "x".repeat(900_000);
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(Box::pin(answered(port.send(&body, 3 << 20).await)));
    }
    // The others wait for the rest of their bodies.
    let ((head, answer), _, waiting) = select_all(slow).await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert_eq!(answer["__type"], "ThrottlingException", "{answer}");
    assert!(
        answer["Message"].as_str().unwrap().contains("try again"),
        "{answer}"
    );
    assert!(port.taken() <= ACCOUNT_BYTES / 2, "{}", port.taken());
    let counted = "portcullis_api_requests_total{operation=\"other\",outcome=\"refused\"}";
    let metrics = port.metrics.encode();
    let line = metrics.lines().find(|line| line.starts_with(counted));
    assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");

    // Who tries again when they are gone is answered, also with a large body.
    drop(waiting);
    port.until_taken(|taken| taken == 0).await;
    let padded = format!("{{{}}}", " ".repeat(200_000));
    let (head, answer) = answered(port.send(&padded, padded.len()).await).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {answer}");
    assert_eq!(answer["Servers"], serde_json::json!([]));
    port.until_taken(|taken| taken == 0).await;
    port.serving.abort_all();
}
