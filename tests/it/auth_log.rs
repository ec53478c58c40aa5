//! What is written down about logins, and what never is.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::auth::{AuthSettings, Authenticator, ConnectionAuth, ThrottleSettings};
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::idp::metered::Metered;
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::common::clock::FakeClock;
use crate::common::login::{
    Bench, Records, allowed, alone, listed_key, other_key, try_password, with,
};
use crate::common::provider::RecordingProvider;
use crate::common::stores::no_stores;

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Returns what is logged meanwhile, at every level.
pub(crate) async fn logged<T>(work: impl Future<Output = T>) -> (T, String) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let outcome = work.await;
    drop(guard);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    (outcome, text)
}

#[tokio::test]
async fn each_attempt_is_one_line_without_secrets() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let bench = Bench::new(allowed());
    let mut connection = bench.connect();
    // A provider that repeats the password in its answer.
    bench.provider.then(
        200,
        json!({"allow": false, "reason": "bad password walnut-39"}),
    );
    try_password(&mut connection, "ann", "walnut-39").await;
    bench.provider.then(200, json!({"allow": true}));
    try_password(&mut connection, "ann\u{1b}[31m", "walnut-39").await;
    try_password(&mut connection, "ann", "walnut-39").await;
    connection.key_offered("ann", &other_key(1)).await;
    connection.key_proved("ann", &listed_key()).await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("walnut-39"), "{text}");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let audit: Vec<_> = lines
        .iter()
        .filter(|line| line["target"] == "portcullis::audit")
        .map(|line| {
            let fields = &line["fields"];
            let word = |value: &Value| value.as_str().unwrap().to_owned();
            (
                word(&line["level"]),
                word(&fields["message"]),
                word(&fields["verdict"]),
            )
        })
        .collect();
    let line = |level: &str, message: &str, verdict: &str| {
        (level.to_owned(), message.to_owned(), verdict.to_owned())
    };
    assert_eq!(
        audit,
        [
            line("INFO", "login refused", "denied"),
            line("INFO", "login refused", "denied"),
            line("WARN", "login refused", "invalid"),
            line("INFO", "login allowed", "allowed"),
        ]
    );
    let last = &lines.last().unwrap()["fields"];
    assert_eq!(last["user"], "ann");
    assert_eq!(last["method"], "publickey");
    assert_eq!(last["source_ip"], "192.0.2.7");
    assert_eq!(last["session_id"], "c1");
    assert_eq!(
        last["fingerprint"],
        "SHA256:qH8baHrA5X0qCBovKCZyM02Q7TFtK4GMqVgOo4TZJAE"
    );
    assert_eq!(last["request_id"], "c1-3");
    assert!(last["duration_ms"].is_u64());
}

#[tokio::test]
async fn the_line_of_a_refused_login_names_the_provider() {
    let provider = RecordingProvider::new(json!({"allow": false}));
    let metrics = Arc::new(Metrics::default());
    let clock = Arc::new(FakeClock::new());
    let staff = Arc::new(Metered::new(
        "staff",
        provider.clone(),
        metrics,
        clock.clone(),
    ));
    let limits = Limits {
        refusal_delay: Duration::ZERO,
        ..Limits::default()
    };
    let shared = alone(ThrottleSettings::default(), Arc::new(Records::default()));
    let settings = AuthSettings::default();
    let judge = Authenticator::new(
        staff,
        no_stores(),
        settings,
        shared,
        Arc::new(limits),
        clock,
    );
    let source = "192.0.2.7".parse().unwrap();
    let mut connection =
        ConnectionAuth::new(Arc::new(judge), source, "c1".into(), SystemClock.now());
    let mut refused = async |password: &str| {
        let (_, log) = logged(try_password(&mut connection, "ann", password)).await;
        let line = log.lines().find(|line| line.contains("login refused"));
        let line: Value = serde_json::from_str(line.unwrap()).unwrap();
        let fields = &line["fields"];
        (fields["reason"].clone(), fields["provider"].clone())
    };
    let by_staff = |reason: &str| (json!(reason), json!("staff"));
    assert_eq!(refused("wrong").await, by_staff("not-allowed"));
    // It let the user in, but from elsewhere.
    provider.answer_from_now_on(with("networks", json!(["203.0.113.0/24"])));
    assert_eq!(refused("right").await, by_staff("source-not-in-networks"));
    // Nobody was asked.
    assert_eq!(refused(" ").await, (json!("password-blank"), Value::Null));
}
