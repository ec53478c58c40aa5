//! Remembers answers for a bounded time.
//!
//! An answer is found again only by the same provider, user, method, credential and source
//! address; the key is a keyed hash of them, so no credential is kept. Questions that are alike
//! share one flight, which belongs to the cache: whoever asked first may go without taking the
//! answer away from the others.

mod lifetime;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
use super::{
    Beginning, Credential, IdentityProvider, Judged, Oddity, Question, UserConfig, folded,
};
use crate::clock::Clock;
use crate::metrics::{Lookup, Metrics};
use crate::refusal::{Reason, Refusal, Verdict};
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
    /// Counts the flights, to tell them apart.
    flights: AtomicU64,
    /// Counts the flushes, so that no flight brings back what was asked before one.
    flushes: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    /// As the user logs in.
    login_name: Box<str>,
    judged: Judged,
    lifetime: Lifetime,
    /// No flush came while it was asked for; before that is known, nobody may use it.
    kept: AtomicBool,
}

/// A question that is being asked.
#[derive(Debug, Clone)]
struct Flight {
    number: u64,
    answer: watch::Receiver<Option<Judged>>,
    /// How many wait for the answer.
    waiting: Arc<AtomicUsize>,
    beginning: Beginning,
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
                flights: AtomicU64::new(0),
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
    fn join_flight(&self, key: CacheKey, question: &Question) -> Flight {
        let mut under_way = self.state.under_way();
        if let Some(flight) = under_way.get(&key) {
            flight.waiting.fetch_add(1, Ordering::AcqRel);
            return flight.clone();
        }
        let (sender, answer) = watch::channel(None);
        let flushes = self.state.flushes.load(Ordering::Acquire);
        let flight = Flight {
            number: self.state.flights.fetch_add(1, Ordering::Relaxed),
            answer,
            waiting: Arc::new(AtomicUsize::new(1)),
            beginning: Beginning::default(),
        };
        under_way.insert(key, flight.clone());
        drop(under_way);
        let entry = FlightEntry {
            state: Arc::clone(&self.state),
            key,
            number: flight.number,
        };
        let mut question = question.clone();
        // It begins for all who wait, and is given up when none of them does.
        question.asking.beginning = flight.beginning.clone();
        let asking = async move {
            let answer = entry.state.run_shared(key, flushes, &question).await;
            // Off the list first: who comes now finds the entry.
            drop(entry);
            sender.send_replace(Some(answer));
        };
        drop(spawn_tracked(&self.flights, asking));
        flight
    }

    /// Gives up the wait for a flight, unless its question has been asked already and nobody else
    /// would hear what came of it; says whether it was given up.
    fn leave(&self, key: CacheKey, flight: &Flight) -> bool {
        let mut under_way = self.state.under_way();
        if flight.waiting.fetch_sub(1, Ordering::AcqRel) > 1 {
            return true;
        }
        if flight.beginning.give_up() {
            take_off(&mut under_way, &key, flight.number);
            return true;
        }
        flight.waiting.fetch_add(1, Ordering::AcqRel);
        false
    }
}

#[async_trait]
impl IdentityProvider for Cached {
    async fn ask(&self, question: &Question) -> Judged {
        let state = &self.state;
        if state.settings.allowed_for.is_zero() {
            return state.provider.ask(question).await;
        }
        let key = state.key(question);
        if let Some(entry) = state.known(&key).await
            && state.freshness(&entry) == Freshness::Fresh
        {
            state.looked(Lookup::Hit);
            return entry.judged.clone();
        }
        state.looked(Lookup::Miss);
        let mut flight = self.join_flight(key, question);
        let given_up = tokio::select! {
            biased;
            _ = flight.answer.wait_for(Option::is_some) => false,
            () = question.asking.beginning.given_up() => true,
        };
        if given_up {
            if self.leave(key, &flight) {
                let refusal = Refusal::new(Reason::GivenUp);
                return Err(refusal.of_provider(&state.settings.provider));
            }
            drop(flight.answer.wait_for(Option::is_some).await);
        }
        let landed = flight.answer.borrow().clone();
        match landed {
            Some(judged) => judged,
            None => {
                let refusal = Reason::FlightLost.because("the request ended without an answer");
                Err(refusal.of_provider(&state.settings.provider))
            }
        }
    }
}

/// Takes a flight off the list, even when it panics.
struct FlightEntry {
    state: Arc<State>,
    key: CacheKey,
    number: u64,
}

impl Drop for FlightEntry {
    fn drop(&mut self) {
        take_off(&mut self.state.under_way(), &self.key, self.number);
    }
}

/// Takes one flight off the list: there may be a later one under the same key.
fn take_off(under_way: &mut HashMap<CacheKey, Flight>, key: &CacheKey, number: u64) {
    if under_way
        .get(key)
        .is_some_and(|flight| flight.number == number)
    {
        under_way.remove(key);
    }
}

impl State {
    /// Counts one look into the memory.
    fn looked(&self, lookup: Lookup) {
        self.metrics.cache_lookup(&self.settings.provider, lookup);
    }

    async fn run_shared(&self, key: CacheKey, flushes: u64, question: &Question) -> Judged {
        let known = self.known(&key).await;
        // Another flight may have landed between the look into the cache and this one's start.
        if let Some(entry) = &known
            && self.freshness(entry) == Freshness::Fresh
        {
            return entry.judged.clone();
        }
        let asked_at = self.clock.now();
        let judged = self.provider.ask(question).await;
        match judged.as_ref().map_err(Refusal::verdict) {
            Ok(_) | Err(Verdict::Denied) => {
                match self.entry(&key, question, &judged, asked_at) {
                    Some(entry) => self.remember(key, flushes, entry).await,
                    None => self.entries.invalidate(&key).await,
                }
                judged
            }
            Err(Verdict::Invalid) => {
                self.entries.invalidate(&key).await;
                judged
            }
            Err(Verdict::Unavailable) => {
                let flushed = self.flushes.load(Ordering::Acquire) != flushes;
                let outage = judged.as_ref().is_err_and(Refusal::is_outage);
                let stand_in = known
                    .filter(|_| outage && !flushed)
                    .and_then(|entry| self.stand_in(&entry));
                stand_in.map_or(judged, Ok)
            }
        }
    }

    /// Makes an entry of an answer that may be remembered.
    fn entry(
        &self,
        key: &CacheKey,
        question: &Question,
        judged: &Judged,
        asked_at: Instant,
    ) -> Option<Entry> {
        let settings = &self.settings;
        let lifetime = match judged {
            Ok(config) => {
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
            Err(refusal) if refusal.reason.may_be_cached() => Lifetime {
                asked_at,
                fresh_for: settings.denied_for,
                stale_for: Duration::ZERO,
                expires_at: None,
            },
            Err(_) => return None,
        };
        // An answer that is not to be remembered must not stand in for a later one either.
        (!lifetime.fresh_for.is_zero()).then(|| Entry {
            login_name: settings.login_name(&question.username),
            judged: judged.clone(),
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
    fn stand_in(&self, entry: &Entry) -> Option<Arc<UserConfig>> {
        match (&entry.judged, self.freshness(entry)) {
            (Ok(config), Freshness::Fresh | Freshness::Stale) => {
                let mut config = UserConfig::clone(config);
                config.warnings.push(Oddity::StaleAnswer.into());
                self.looked(Lookup::Stale);
                let age = self
                    .clock
                    .now()
                    .saturating_duration_since(entry.lifetime.asked_at);
                tracing::warn!(
                    user = &*entry.login_name,
                    age_seconds = age.as_secs(),
                    "serving a stale answer: the identity provider is unavailable"
                );
                Some(Arc::new(config))
            }
            (Ok(_), Freshness::Spent) | (Err(_), _) => None,
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
        let canonical = match &self.judged {
            Ok(config) => Some(folded(&config.user)),
            Err(_) => None,
        };
        *folded(&self.login_name) == *user || canonical.as_deref() == Some(user)
    }

    /// Estimates the memory, a little high.
    fn weight(&self) -> u32 {
        const FIXED: usize = 512;
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let variable = match &self.judged {
            Ok(config) => {
                let keys = config
                    .public_keys
                    .iter()
                    .map(|key| key.line.len().saturating_add(48));
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
            Err(refusal) => text(&refusal.detail),
        };
        u32::try_from(variable.saturating_add(FIXED)).unwrap_or(u32::MAX)
    }
}

/// moka panics at times over a thousand years; one year is as good.
const KEPT_MAX: Duration = Duration::from_secs(366 * 86_400);

#[cfg(test)]
mod tests;
