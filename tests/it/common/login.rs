//! Logins against a provider that records what it was asked.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::auth::{
    AttemptObserver, AttemptRecord, AuthSettings, Authenticator, ConnectionAuth, Lockout,
    OfferedKey, Outcome, Shared, ThrottleSettings,
};
use portcullis::clock::Clock as _;
use portcullis::idp::breaker::Guarded;
use portcullis::idp::history::LoginHistory;
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::secret::Secret;
use serde_json::{Value, json};

use super::clock::FakeClock;
use super::provider::RecordingProvider;
use super::stores::no_stores;

pub(crate) const LISTED: &str =
    "AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

/// The line of [`listed_key`].
pub(crate) const LISTED_LINE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

pub(crate) fn allowed() -> Value {
    json!({"allow": true, "mappings": [{"entry": "/", "target": "/bucket/ann"}],
        "publicKeys": [format!("ssh-ed25519 {LISTED} ann@laptop")]})
}

pub(crate) fn with(key: &str, value: Value) -> Value {
    let mut answer = allowed();
    answer[key] = value;
    answer
}

pub(crate) fn listed_key() -> OfferedKey {
    OfferedKey {
        algorithm: "ssh-ed25519".to_owned(),
        blob: STANDARD.decode(LISTED).unwrap(),
        sha1_signature: false,
    }
}

/// What a port has that shares it with no other.
pub(crate) fn alone(throttle: ThrottleSettings, observer: Arc<dyn AttemptObserver>) -> Shared {
    let history = Arc::new(LoginHistory::new(throttle.window));
    Shared::new(throttle, history, observer)
}

/// A key that is good and on nobody's list.
pub(crate) fn other_key(number: u8) -> OfferedKey {
    let mut key = listed_key();
    *key.blob.last_mut().unwrap() ^= 0x80 | number;
    key
}

#[derive(Debug, Default)]
pub(crate) struct Records {
    attempts: Mutex<Vec<AttemptRecord>>,
    lockouts: Mutex<Vec<Lockout>>,
}

impl AttemptObserver for Records {
    fn attempt_finished(&self, attempt: &AttemptRecord) {
        self.attempts.lock().unwrap().push(attempt.clone());
    }

    fn locked_out(&self, lockout: Lockout) {
        self.lockouts.lock().unwrap().push(lockout);
    }
}

pub(crate) struct Bench {
    pub(crate) provider: Arc<RecordingProvider>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) records: Arc<Records>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) shared: Shared,
}

impl Bench {
    pub(crate) fn new(standing: Value) -> Self {
        let limits = Limits {
            refusal_delay: Duration::ZERO,
            ..Limits::default()
        };
        Self::with(standing, AuthSettings::default(), limits)
    }

    pub(crate) fn with(standing: Value, settings: AuthSettings, limits: Limits) -> Self {
        Self::behind(standing, settings, limits, ThrottleSettings::default())
    }

    pub(crate) fn throttled(standing: Value, throttle: ThrottleSettings) -> Self {
        let limits = Limits {
            refusal_delay: Duration::ZERO,
            ..Limits::default()
        };
        Self::behind(standing, AuthSettings::default(), limits, throttle)
    }

    pub(crate) fn behind(
        standing: Value,
        settings: AuthSettings,
        limits: Limits,
        throttle: ThrottleSettings,
    ) -> Self {
        let provider = RecordingProvider::new(standing);
        let clock = Arc::new(FakeClock::new());
        let records = Arc::new(Records::default());
        let shared = alone(throttle, records.clone());
        let authenticator = Authenticator::new(
            provider.clone(),
            no_stores(),
            settings,
            shared.clone(),
            Arc::new(limits),
            clock.clone(),
        );
        Self {
            provider,
            clock,
            records,
            authenticator: Arc::new(authenticator),
            shared,
        }
    }

    /// Puts the watch over the provider's health before it, as the gateway has it.
    pub(crate) fn guard(&mut self) {
        let guarded = Guarded::new(
            self.provider.clone(),
            "",
            5,
            Arc::clone(&self.shared.history),
            Arc::new(Metrics::default()),
            self.clock.clone(),
        );
        let limits = Limits {
            refusal_delay: Duration::ZERO,
            ..Limits::default()
        };
        self.authenticator = Arc::new(Authenticator::new(
            Arc::new(guarded),
            no_stores(),
            AuthSettings::default(),
            self.shared.clone(),
            Arc::new(limits),
            self.clock.clone(),
        ));
    }

    pub(crate) fn connect(&self) -> ConnectionAuth {
        self.connect_from("192.0.2.7".parse().unwrap())
    }

    pub(crate) fn connect_from(&self, source_ip: IpAddr) -> ConnectionAuth {
        let accepted = self.clock.now();
        ConnectionAuth::new(
            Arc::clone(&self.authenticator),
            source_ip,
            "c1".into(),
            accepted,
        )
    }

    pub(crate) fn calls(&self) -> usize {
        self.provider.calls().len()
    }

    pub(crate) fn lockouts(&self) -> Vec<Lockout> {
        self.records.lockouts.lock().unwrap().clone()
    }

    pub(crate) fn last_attempt(&self) -> AttemptRecord {
        let records = self.records.attempts.lock().unwrap();
        records.last().unwrap().clone()
    }

    /// Returns verdict and reason of every finished attempt.
    pub(crate) fn attempts(&self) -> Vec<(&'static str, &'static str)> {
        let records = self.records.attempts.lock().unwrap();
        records
            .iter()
            .map(|record| {
                let refusal = record.refusal.as_ref();
                let reason = refusal.map_or("", |refusal| refusal.reason.as_str());
                (record.verdict(), reason)
            })
            .collect()
    }
}

pub(crate) async fn try_password(
    connection: &mut ConnectionAuth,
    user: &str,
    text: &str,
) -> Outcome {
    connection
        .password(user, Secret::new(text.to_owned()))
        .await
}

pub(crate) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted(_) => "accepted",
        Outcome::Offered => "offered",
        Outcome::PasswordRequired => "password required",
        Outcome::Refused { retry: true } => "try again",
        Outcome::Refused { retry: false } => "over",
    }
}
