//! Remembers answers for a bounded time.
//!
//! An answer is found again only by the same provider, user, method, credential and source
//! address; the key is a keyed hash of them, so no credential is kept. Questions that are alike
//! share one flight, which belongs to the cache: whoever asked first may go without taking the
//! answer away from the others.

mod lifetime;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use self::lifetime::spread;
pub use self::lifetime::{Freshness, Lifetime};
use super::{Credential, IdentityProvider, IdpError, Question, UserConfig, Verdict, folded};
use crate::clock::Clock;
use crate::metrics::{Lookup, Metrics};
use crate::tasks::spawn_tracked;

/// How long answers are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Names the provider and its settings: answers of one are never another's.
    pub provider: Box<str>,
    pub server_id: Box<str>,
    /// What a router takes off a name before it asks here.
    pub user_prefix: Option<Box<str>>,
    pub user_suffix: Option<Box<str>>,
    /// The longest that an answer counts as fresh; zero switches the cache off.
    pub allowed_for: Duration,
    /// The same for explicit denials.
    pub denied_for: Duration,
    /// How much longer an allowed answer may stand in while the provider is unavailable.
    pub stale_for: Duration,
    /// By how much of its time, in percent at most, an allowed answer is given up early: answers
    /// that were asked for at the same moment are not asked for again at the same moment.
    pub spread_percent: u8,
    /// The weight of all answers, in bytes.
    pub bytes_max: u64,
}

impl CacheSettings {
    fn login_name(&self, asked: &str) -> Box<str> {
        let [prefix, suffix] = [&self.user_prefix, &self.user_suffix];
        let [prefix, suffix] = [prefix, suffix].map(|part| part.as_deref().unwrap_or(""));
        format!("{prefix}{asked}{suffix}").into()
    }
}

/// Remembers the answers of another provider.
#[derive(Debug)]
pub struct Cached {
    state: Arc<State>,
    flights: TaskTracker,
}

type Answer = Result<Verdict, IdpError>;
type CacheKey = [u8; 32];

#[derive(Debug)]
struct State {
    provider: Arc<dyn IdentityProvider>,
    settings: CacheSettings,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    secret: Zeroizing<[u8; 32]>,
    entries: moka::future::Cache<CacheKey, Arc<Entry>>,
    under_way: Mutex<HashMap<CacheKey, Flight>>,
    /// Counts the flushes, so that no flight brings back what was asked before one.
    flushes: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    /// As the user logs in.
    login_name: Box<str>,
    verdict: Verdict,
    lifetime: Lifetime,
    /// No flush came while it was asked for; before that is known, nobody may use it.
    kept: AtomicBool,
}

/// A question that is being asked.
#[derive(Debug, Clone)]
struct Flight {
    flushes: u64,
    answer: watch::Receiver<Option<Answer>>,
}

impl Cached {
    /// Puts a cache before a provider.
    ///
    /// # Errors
    /// The system gives no randomness for the hash's secret.
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        settings: CacheSettings,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|error| std::io::Error::other(error.to_string()))?;
        let kept_for = settings.allowed_for.max(settings.denied_for);
        let entries = moka::future::Cache::builder()
            .max_capacity(settings.bytes_max)
            .weigher(|_, entry: &Arc<Entry>| entry.weight())
            .time_to_live(kept_for.saturating_add(settings.stale_for).min(KEPT_MAX))
            .build();
        Ok(Self {
            state: Arc::new(State {
                provider,
                settings,
                metrics,
                clock,
                secret,
                entries,
                under_way: Mutex::default(),
                flushes: AtomicU64::new(0),
            }),
            flights: TaskTracker::new(),
        })
    }

    /// Forgets what is known about a user, by login name or canonical name; returns how many
    /// answers there were.
    pub async fn flush_user(&self, user: &str) -> usize {
        self.state.begin_flush();
        let user = folded(user);
        let mut forgotten = 0_usize;
        for (key, entry) in &self.state.entries {
            if entry.is_about(&user) {
                self.state.entries.invalidate(&*key).await;
                forgotten = forgotten.saturating_add(1);
            }
        }
        forgotten
    }

    /// Forgets everything; returns about how many answers there were.
    pub fn flush_all(&self) -> usize {
        self.state.begin_flush();
        let known = self.state.entries.entry_count();
        self.state.entries.invalidate_all();
        usize::try_from(known).unwrap_or(usize::MAX)
    }

    /// Waits until no question is under way; to be called once nobody asks any more.
    pub async fn drain(&self) {
        self.flights.close();
        self.flights.wait().await;
    }

    /// Joins the flight of a like question, or starts one.
    fn board(&self, key: CacheKey, question: &Question) -> watch::Receiver<Option<Answer>> {
        let mut under_way = self.state.under_way();
        if let Some(flight) = under_way.get(&key) {
            return flight.answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        let flushes = self.state.flushes.load(Ordering::Acquire);
        let flight = Flight {
            flushes,
            answer: answer.clone(),
        };
        under_way.insert(key, flight);
        drop(under_way);
        let landing = Landing {
            state: Arc::clone(&self.state),
            key,
            flushes,
        };
        let question = question.clone();
        let flight = async move {
            let answer = landing.state.fly(key, flushes, &question).await;
            // Off the list first: who comes now finds the entry.
            drop(landing);
            sender.send_replace(Some(answer));
        };
        drop(spawn_tracked(&self.flights, flight));
        answer
    }
}

#[async_trait]
impl IdentityProvider for Cached {
    async fn ask(&self, question: &Question) -> Answer {
        let state = &self.state;
        if state.settings.allowed_for.is_zero() {
            return state.provider.ask(question).await;
        }
        let key = state.key(question);
        if let Some(entry) = state.known(&key).await
            && state.freshness(&entry) == Freshness::Fresh
        {
            state.metrics.cache_lookup(Lookup::Hit);
            return Ok(entry.verdict.clone());
        }
        state.metrics.cache_lookup(Lookup::Miss);
        let mut answer = self.board(key, question);
        let landed = answer.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            Ok(None) | Err(_) => Err(IdpError::Unavailable {
                reason: "flight-lost",
                detail: "the question ended without an answer".into(),
            }),
        }
    }
}

/// Takes a flight off the list, even when it panics.
struct Landing {
    state: Arc<State>,
    key: CacheKey,
    flushes: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut under_way = self.state.under_way();
        // After a flush the list may hold a later flight under the same key.
        if under_way
            .get(&self.key)
            .is_some_and(|flight| flight.flushes == self.flushes)
        {
            under_way.remove(&self.key);
        }
    }
}

impl State {
    async fn fly(&self, key: CacheKey, flushes: u64, question: &Question) -> Answer {
        let known = self.known(&key).await;
        // Another flight may have landed between the look into the cache and this one's start.
        if let Some(entry) = &known
            && self.freshness(entry) == Freshness::Fresh
        {
            return Ok(entry.verdict.clone());
        }
        let asked_at = self.clock.now();
        let answer = self.provider.ask(question).await;
        match &answer {
            Ok(verdict) => {
                match self.entry(&key, question, verdict, asked_at) {
                    Some(entry) => self.remember(key, flushes, entry).await,
                    None => self.entries.invalidate(&key).await,
                }
                answer
            }
            Err(IdpError::Invalid { .. }) => {
                self.entries.invalidate(&key).await;
                answer
            }
            Err(IdpError::Unavailable { .. }) => {
                let flushed = self.flushes.load(Ordering::Acquire) != flushes;
                let stand_in = known
                    .filter(|_| !flushed)
                    .and_then(|entry| self.stand_in(&entry));
                stand_in.map_or(answer, Ok)
            }
        }
    }

    /// Makes an entry of an answer that may be remembered.
    fn entry(
        &self,
        key: &CacheKey,
        question: &Question,
        verdict: &Verdict,
        asked_at: Instant,
    ) -> Option<Entry> {
        let settings = &self.settings;
        let lifetime = match verdict {
            Verdict::Allowed(config) => {
                let wanted = config.cache_for.unwrap_or(settings.allowed_for);
                Lifetime {
                    asked_at,
                    fresh_for: spread(
                        wanted.min(settings.allowed_for),
                        settings.spread_percent,
                        key,
                    ),
                    stale_for: settings.stale_for,
                    expires_at: config.expires_at,
                }
            }
            Verdict::Denied(denied) if denied.is_explicit() => Lifetime {
                asked_at,
                fresh_for: settings.denied_for,
                stale_for: Duration::ZERO,
                expires_at: None,
            },
            Verdict::Denied(_) => return None,
        };
        // An answer that is not to be remembered must not stand in for a later one either.
        (!lifetime.fresh_for.is_zero()).then(|| Entry {
            login_name: settings.login_name(&question.username),
            verdict: verdict.clone(),
            lifetime,
            kept: AtomicBool::new(false),
        })
    }

    async fn remember(&self, key: CacheKey, flushes: u64, entry: Entry) {
        let entry = Arc::new(entry);
        self.entries.insert(key, Arc::clone(&entry)).await;
        // A flush counts first and clears then: either it saw the entry, or this sees the count.
        if self.flushes.load(Ordering::Acquire) != flushes {
            self.entries.invalidate(&key).await;
        } else {
            entry.kept.store(true, Ordering::Release);
        }
    }

    /// Returns what is known for certain.
    async fn known(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        let entry = self.entries.get(key).await;
        entry.filter(|entry| entry.kept.load(Ordering::Acquire))
    }

    /// Returns an answer for the time of an outage: somebody who was let in before.
    fn stand_in(&self, entry: &Entry) -> Option<Verdict> {
        match (&entry.verdict, self.freshness(entry)) {
            (Verdict::Allowed(config), Freshness::Fresh | Freshness::Stale) => {
                let mut config = UserConfig::clone(config);
                config.warnings.push("stale-answer");
                self.metrics.cache_lookup(Lookup::Stale);
                let age = self
                    .clock
                    .now()
                    .saturating_duration_since(entry.lifetime.asked_at);
                tracing::warn!(
                    user = &*entry.login_name,
                    age_seconds = age.as_secs(),
                    "an older answer stands in: the identity provider is unavailable"
                );
                Some(Verdict::Allowed(Arc::new(config)))
            }
            (Verdict::Allowed(_), Freshness::Spent) | (Verdict::Denied(_), _) => None,
        }
    }

    fn freshness(&self, entry: &Entry) -> Freshness {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        entry.lifetime.freshness(now, wall)
    }

    /// Hashes everything that an answer depends on.
    fn key(&self, question: &Question) -> CacheKey {
        let (method, credential) = match &question.credential {
            Credential::Password(password) => ("password", password.expose()),
            Credential::PublicKey => ("public-key", ""),
        };
        let source = match question.source_ip.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let mut hash = Hmac::<Sha256>::new_from_slice(&*self.secret)
            .expect("a key of any length is good for HMAC");
        let fields = [
            self.settings.provider.as_bytes(),
            self.settings.server_id.as_bytes(),
            question.username.as_bytes(),
            method.as_bytes(),
            credential.as_bytes(),
            &source.octets(),
        ];
        for field in fields {
            // With the lengths no two lists of fields are hashed as the same bytes.
            hash.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(field);
        }
        hash.finalize().into_bytes().into()
    }

    fn begin_flush(&self) {
        let mut under_way = self.under_way();
        self.flushes.fetch_add(1, Ordering::AcqRel);
        // Those on board still get their answer; who asks from now on starts a flight of their own.
        under_way.clear();
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<CacheKey, Flight>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Says whether an answer is about a user whose name was folded.
    fn is_about(&self, user: &str) -> bool {
        let canonical = match &self.verdict {
            Verdict::Allowed(config) => Some(folded(&config.user)),
            Verdict::Denied(_) => None,
        };
        *folded(&self.login_name) == *user || canonical.as_deref() == Some(user)
    }

    /// Estimates the memory, a little high.
    fn weight(&self) -> u32 {
        const FIXED: usize = 512;
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let variable = match &self.verdict {
            Verdict::Allowed(config) => {
                let keys = config
                    .public_keys
                    .iter()
                    .map(|key| key.len().saturating_add(32));
                let mappings = config.home.mappings().iter().map(|mapping| {
                    let entry = mapping.entry.as_str().len();
                    entry
                        .saturating_add(mapping.prefix.len())
                        .saturating_add(120)
                });
                keys.chain(mappings)
                    .fold(0, usize::saturating_add)
                    .saturating_add(text(&config.policy))
                    .saturating_add(text(&config.role))
            }
            Verdict::Denied(denied) => text(&denied.detail),
        };
        u32::try_from(variable.saturating_add(FIXED)).unwrap_or(u32::MAX)
    }
}

/// moka panics at times over a thousand years; one year is as good.
const KEPT_MAX: Duration = Duration::from_secs(366 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::idp::Denied;

    #[derive(Debug)]
    struct Nobody;

    #[async_trait]
    impl IdentityProvider for Nobody {
        async fn ask(&self, _question: &Question) -> Answer {
            Ok(Verdict::Denied(Denied {
                reason: "not-allowed",
                detail: None,
            }))
        }
    }

    #[tokio::test]
    async fn an_answer_is_used_only_once_no_flush_came_before_it() {
        let settings = CacheSettings {
            provider: "".into(),
            server_id: "".into(),
            user_prefix: None,
            user_suffix: None,
            allowed_for: Duration::from_secs(60),
            denied_for: Duration::from_secs(60),
            stale_for: Duration::ZERO,
            spread_percent: 0,
            bytes_max: 1 << 20,
        };
        let (metrics, clock) = (Arc::new(Metrics::default()), Arc::new(SystemClock));
        let state = Cached::new(Arc::new(Nobody), settings, metrics, clock)
            .unwrap()
            .state;
        let question = Question {
            request_id: "c1-1".into(),
            username: "ann".into(),
            credential: Credential::PublicKey,
            source_ip: IpAddr::from([192, 0, 2, 7]),
            session_id: "c1".into(),
        };
        let key = state.key(&question);
        let verdict = state.provider.ask(&question).await.unwrap();
        let entry = || state.entry(&key, &question, &verdict, state.clock.now());
        // As between the insertion and the look at the flushes.
        let inserted = Arc::new(entry().unwrap());
        state.entries.insert(key, inserted).await;
        assert!(state.known(&key).await.is_none());
        state.remember(key, 1, entry().unwrap()).await;
        assert!(state.known(&key).await.is_none());
        state.remember(key, 0, entry().unwrap()).await;
        assert!(state.known(&key).await.is_some());
    }
}
