//! One login through the gateway's own rules, with everything kept that was seen on the way.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};

use crate::auth::{
    AttemptObserver, AttemptRecord, Authenticator, ConnectionAuth, Lockout, OfferedKey, Outcome,
    Shared, ThrottleSettings,
};
use crate::clock::{Clock as _, SystemClock};
use crate::compose::{Composition, providers};
use crate::config::Listener;
use crate::idp::history::LoginHistory;
use crate::idp::metered::Metered;
use crate::idp::{
    Asking, AuthMethod, Credential, Examined, Exchange, IdentityProvider, Judged, Question,
    UserConfig, Warning,
};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;
use crate::storage::credentials::{AssumedRole, Stores};
use crate::storage::{self, Bucket, ListQuery, ObjectStore, SharedStore, StorageErrorKind};
use crate::vfs::Mapping;

/// Who tries to log in; without password and key it is a look-up.
#[derive(Debug)]
pub(in crate::cli) struct Login {
    pub(in crate::cli) user: String,
    pub(in crate::cli) password: Option<Secret>,
    pub(in crate::cli) key: Option<OfferedKey>,
    pub(in crate::cli) source_ip: IpAddr,
}

/// What came of it.
#[derive(Debug)]
pub(in crate::cli) struct Findings {
    /// `None`: allowed.
    pub(in crate::cli) refusal: Option<Refusal>,
    pub(in crate::cli) warnings: Vec<Warning>,
    /// Whom the answer describes, if it could be used.
    pub(in crate::cli) user: Option<Arc<UserConfig>>,
    /// The last question; `None` when nobody was asked.
    pub(in crate::cli) exchange: Option<Exchange>,
    /// The host and the port that were asked last.
    pub(in crate::cli) place: Option<(String, u16)>,
    /// S3 as the user would see it; `None` when the login did not come that far.
    pub(in crate::cli) store: Option<SharedStore>,
    /// The role that was assumed for it.
    pub(in crate::cli) role: Option<AssumedRole>,
    pub(in crate::cli) buckets: Vec<BucketCheck>,
    /// The key is right and a password is asked for as well.
    pub(in crate::cli) half: bool,
}

/// Whether a bucket answers.
#[derive(Debug)]
pub(in crate::cli) struct BucketCheck {
    pub(in crate::cli) bucket: Bucket,
    pub(in crate::cli) fault: Option<String>,
}

/// Logs in as a client would, without one.
pub(in crate::cli) async fn judge(
    composition: &Composition<'_>,
    stores: &Arc<dyn Stores>,
    place: Result<&Listener, SocketAddr>,
    login: &Login,
) -> Findings {
    let Composition { config, opened, .. } = composition;
    let listener = match place {
        Ok(listener) => listener,
        Err(address) => return nobody_at(address),
    };
    let seen = Arc::new(Seen::default());
    let asked: Vec<_> = opened
        .iter()
        .map(|one| {
            let provider: Arc<dyn IdentityProvider> = Arc::new(Recorded {
                provider: one.provider.clone(),
                seen: Arc::clone(&seen),
                look_up: Mutex::default(),
            });
            let (metrics, clock) = (Arc::new(Metrics::default()), Arc::new(SystemClock));
            let named: Arc<dyn IdentityProvider> =
                Arc::new(Metered::new(one.name, provider, metrics, clock));
            (one, named)
        })
        .collect();
    let (provider, auth) = providers::at(listener, &asked);
    let attempts = Arc::new(Attempts::default());
    let limits = Limits {
        refusal_delay: Duration::ZERO,
        ..config.limits.clone()
    };
    let (limits, clock) = (Arc::new(limits), Arc::new(SystemClock));
    let (asked, stores) = (Arc::clone(&provider), Arc::clone(stores));
    let throttle = ThrottleSettings::default();
    let history = Arc::new(LoginHistory::new(throttle.window));
    let shared = Shared::new(throttle, history, attempts.clone());
    let accepted = clock.now();
    let authenticator = Authenticator::new(asked, stores, auth, shared, limits, clock);
    let id = format!("test-{:08x}", getrandom::u32().unwrap_or_default());
    let mut connection = ConnectionAuth::new(
        Arc::new(authenticator),
        login.source_ip,
        id.into(),
        accepted,
    );
    let outcome = try_in(&mut connection, &*provider, login).await;
    // What became of keys that were offered is told when the connection ends.
    drop(connection);
    let record = held(&attempts.0).pop();
    let (exchange, place) = held(&seen.0).pop().unzip();
    let mut findings = conclude(outcome.as_ref(), record, exchange);
    findings.place = place.flatten();
    findings
}

fn nobody_at(port: SocketAddr) -> Findings {
    let detail = format!("no provider is used on {port}");
    Findings::of(Some(Reason::NoProviderForName.because(&detail)))
}

async fn try_in(
    connection: &mut ConnectionAuth,
    provider: &dyn IdentityProvider,
    login: &Login,
) -> Option<Outcome> {
    let user = &*login.user;
    if let Some(key) = &login.key {
        let outcome = connection.key_proved(user, key).await;
        if !matches!(outcome, Outcome::PasswordRequired) || login.password.is_none() {
            return Some(outcome);
        }
    }
    if let Some(password) = &login.password {
        return Some(connection.password(user, password.clone()).await);
    }
    // A look-up: the result is that of a client with the first usable key.
    let question = Question {
        request_id: "look-up".into(),
        username: user.into(),
        credential: Credential::PublicKey,
        source_ip: login.source_ip,
        session_id: "look-up".into(),
        asking: Asking::default(),
    };
    let Ok(config) = provider.ask(&question).await else {
        return None;
    };
    let mut last = None;
    for key in config
        .public_keys
        .iter()
        .filter_map(|key| OfferedKey::from_line(&key.line))
    {
        let outcome = connection.key_proved(user, &key).await;
        let refused = matches!(outcome, Outcome::Refused { .. });
        last = Some(outcome);
        if !refused {
            break;
        }
    }
    last
}

fn conclude(
    outcome: Option<&Outcome>,
    record: Option<AttemptRecord>,
    exchange: Option<Exchange>,
) -> Findings {
    let half = matches!(outcome, Some(Outcome::PasswordRequired));
    let mut findings = match record {
        Some(record) => Findings {
            warnings: record.warnings,
            ..Findings::of(record.refusal)
        },
        None => Findings::of(unrecorded(exchange.as_ref(), half)),
    };
    if let Some(Outcome::Accepted(user)) = outcome {
        findings.user = Some(Arc::clone(user.config()));
        findings.store = Some(user.store().clone());
        findings.role = user.role().cloned();
    }
    if half {
        findings.half = true;
        if let Some(Ok(config)) = exchange.as_ref().map(|e| &e.judged) {
            findings.user = Some(Arc::clone(config));
        }
    }
    findings.exchange = exchange;
    findings
}

/// What an answer means of which no attempt came: a look-up, or half a login.
fn unrecorded(exchange: Option<&Exchange>, half: bool) -> Option<Refusal> {
    match exchange.map(|exchange| &exchange.judged) {
        Some(Ok(_)) if half => None,
        Some(Ok(_)) | None => {
            Some(Reason::NoUsablePublicKey.because("none of the listed keys can be read"))
        }
        Some(Err(refusal)) => Some(refusal.clone()),
    }
}

impl Findings {
    const fn of(refusal: Option<Refusal>) -> Self {
        Self {
            refusal,
            warnings: Vec::new(),
            user: None,
            exchange: None,
            place: None,
            store: None,
            role: None,
            buckets: Vec::new(),
            half: false,
        }
    }
}

/// Asks every bucket of a user once.
pub(super) async fn buckets(store: &dyn ObjectStore, user: &UserConfig) -> Vec<BucketCheck> {
    let check = |mapping: Mapping| async move {
        let fault = reach(store, &mapping).await.err();
        BucketCheck {
            fault: fault.map(|error| error.to_string().chars().take(FAULT_CHARS_MAX).collect()),
            bucket: mapping.bucket,
        }
    };
    stream::iter(places(user))
        .map(check)
        .buffered(BUCKETS_AT_ONCE)
        .collect()
        .await
}

/// Asks for a bucket, and where that is not allowed, for one name below the mapping's prefix: a
/// policy may allow no more.
async fn reach(store: &dyn ObjectStore, mapping: &Mapping) -> storage::Result<()> {
    match store.check_bucket(&mapping.bucket).await {
        Err(error) if error.kind == StorageErrorKind::Denied && !mapping.prefix.is_empty() => {
            let query = ListQuery {
                prefix: format!("{}/", mapping.prefix),
                delimited: false,
                after: None,
                max: 1,
            };
            store.list(&mapping.bucket, &query).await.map(drop)
        }
        outcome => outcome,
    }
}

/// Says of every bucket that it cannot be asked.
pub(super) fn no_buckets(user: &UserConfig, why: &str) -> Vec<BucketCheck> {
    let check = |mapping: Mapping| BucketCheck {
        bucket: mapping.bucket,
        fault: Some(why.to_owned()),
    };
    places(user).into_iter().map(check).collect()
}

/// Returns the first mapping to each bucket.
fn places(user: &UserConfig) -> Vec<Mapping> {
    let mut seen = BTreeSet::new();
    let mappings = user.home.mappings().iter();
    let mut new = mappings.filter(|mapping| seen.insert(mapping.bucket.as_str().to_owned()));
    // Thousands of mappings are one answer; thousands of calls are none.
    new.by_ref().take(BUCKETS_MAX).cloned().collect()
}

const BUCKETS_MAX: usize = 100;
/// The S3 client's errors repeat themselves after this much.
const FAULT_CHARS_MAX: usize = 160;
const BUCKETS_AT_ONCE: usize = 8;

/// Every exchange with a provider, and where it was had.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<(Exchange, Option<(String, u16)>)>>);

/// Keeps every exchange; a look-up is asked once.
#[derive(Debug)]
struct Recorded {
    provider: Arc<dyn Examined>,
    seen: Arc<Seen>,
    look_up: Mutex<Option<Judged>>,
}

#[async_trait]
impl IdentityProvider for Recorded {
    async fn ask(&self, question: &Question) -> Judged {
        let is_look_up = question.credential.method() == AuthMethod::PublicKey;
        if is_look_up && let Some(known) = held(&self.look_up).clone() {
            return known;
        }
        let exchange = self.provider.examine(question, &SystemClock).await;
        let judged = exchange.judged.clone();
        if is_look_up {
            *held(&self.look_up) = Some(judged.clone());
        }
        held(&self.seen.0).push((exchange, self.provider.place()));
        judged
    }
}

#[derive(Debug, Default)]
struct Attempts(Mutex<Vec<AttemptRecord>>);

impl AttemptObserver for Attempts {
    fn attempt_finished(&self, attempt: &AttemptRecord) {
        held(&self.0).push(attempt.clone());
    }

    fn locked_out(&self, _lockout: Lockout) {}
}

fn held<T>(values: &Mutex<T>) -> MutexGuard<'_, T> {
    values.lock().unwrap_or_else(PoisonError::into_inner)
}
