//! Logins against a provider that records what it was asked.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::auth::{
    AttemptObserver, AttemptRecord, AuthSettings, Authenticator, ConnectionAuth, LoggedIn,
    OfferedKey, Outcome, Shared, Throttle, ThrottleSettings,
};
use portcullis::limits::Limits;
use portcullis::secret::Secret;
use serde_json::{Value, json};

use super::clock::FakeClock;
use super::provider::RecordingProvider;
use super::stores::no_stores;

pub(crate) const LISTED: &str =
    "AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

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
pub(crate) fn alone(observer: Arc<dyn AttemptObserver>) -> Shared {
    Shared {
        throttle: Arc::new(Throttle::new(ThrottleSettings::default())),
        logged_in: LoggedIn::default(),
        observer,
    }
}

/// A key that is good and on nobody's list.
pub(crate) fn other_key(number: u8) -> OfferedKey {
    let mut key = listed_key();
    *key.blob.last_mut().unwrap() ^= 0x80 | number;
    key
}

#[derive(Debug, Default)]
pub(crate) struct Records(Mutex<Vec<AttemptRecord>>);

impl AttemptObserver for Records {
    fn attempt_finished(&self, attempt: &AttemptRecord) {
        self.0.lock().unwrap().push(attempt.clone());
    }
}

pub(crate) struct Bench {
    pub(crate) provider: Arc<RecordingProvider>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) records: Arc<Records>,
    pub(crate) authenticator: Arc<Authenticator>,
    settings: AuthSettings,
    limits: Arc<Limits>,
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
        let provider = RecordingProvider::new(standing);
        let clock = Arc::new(FakeClock::new());
        let records = Arc::new(Records::default());
        let limits = Arc::new(limits);
        let authenticator = Authenticator::new(
            provider.clone(),
            no_stores(),
            settings,
            alone(records.clone()),
            Arc::clone(&limits),
            clock.clone(),
        );
        Self {
            provider,
            clock,
            records,
            authenticator: Arc::new(authenticator),
            settings,
            limits,
        }
    }

    /// Puts a throttle and a list of who is logged in of the test's own before the provider.
    pub(crate) fn share(&mut self, throttle: Arc<Throttle>, logged_in: LoggedIn) {
        let Self {
            provider,
            clock,
            records,
            settings,
            limits,
            ..
        } = self;
        let limits = Arc::clone(limits);
        let authenticator = Authenticator::new(
            provider.clone(),
            no_stores(),
            *settings,
            Shared {
                throttle,
                logged_in,
                observer: records.clone(),
            },
            limits,
            clock.clone(),
        );
        self.authenticator = Arc::new(authenticator);
    }

    pub(crate) fn connect(&self) -> ConnectionAuth {
        self.connect_from("192.0.2.7".parse().unwrap())
    }

    pub(crate) fn connect_from(&self, source_ip: IpAddr) -> ConnectionAuth {
        ConnectionAuth::new(Arc::clone(&self.authenticator), source_ip, "c1".into())
    }

    pub(crate) fn calls(&self) -> usize {
        self.provider.calls().len()
    }

    /// Returns verdict and reason of every finished attempt.
    pub(crate) fn attempts(&self) -> Vec<(&'static str, &'static str)> {
        let records = self.records.0.lock().unwrap();
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
