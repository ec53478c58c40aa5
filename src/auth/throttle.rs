//! Login throttling and lock-outs: who failed too often has to wait.
//!
//! Failures are counted for a user name together with the source, and for a source alone, never
//! for a name alone: anybody could lock a partner out. Refusals of the same pair come ever later,
//! and from a bound on a pair or a source is refused without asking anybody. Of one pair at most
//! `failures_max` questions are under way at once: guesses that come together wait in line.
//!
//! Behind a balancer that hides its clients all of them are one source. Therefore, as long as
//! every login comes from one address, the rule for sources rests and a pair waits only briefly.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::idp::{Network, folded, host_of};
use crate::limits;
use crate::refusal::{Counts, Reason};

/// What the operator allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Wrong passwords of one user name from one source, within the window.
    pub failures_max: u32,
    /// The same from one source, whatever the name.
    pub failures_per_source_max: u32,
    pub window: Duration,
    /// How long a pair or a source is refused from then on.
    pub lockout: Duration,
    /// Sources that are never made to wait.
    pub unthrottled: Vec<Network>,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self {
            failures_max: 10,
            failures_per_source_max: 100,
            window: Duration::from_secs(900),
            lockout: Duration::from_secs(900),
            unthrottled: Vec::new(),
        }
    }
}

/// Remembers failures, for the whole process.
#[derive(Debug)]
pub struct Throttle {
    settings: ThrottleSettings,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    pairs: Table<(Box<str>, IpAddr)>,
    sources: Table<IpAddr>,
    crowd: Crowd,
    /// Where questions of a pair wait for each other; as many as there are connections at most.
    lines: HashMap<(Box<str>, IpAddr), Weak<Semaphore>>,
    /// The warning about one source for all was written.
    warned: bool,
}

impl Throttle {
    #[must_use]
    pub fn new(settings: ThrottleSettings) -> Self {
        let book = Mutex::default();
        Self { settings, book }
    }

    /// Says whether somebody may be asked about a password of this user.
    pub(super) fn password(&self, user: &str, source: IpAddr, now: Instant) -> Result<(), Reason> {
        self.source(source, now)?;
        let (mut book, pair) = (self.book(), pair(user, source));
        if !self.is_unthrottled(source) && book.pairs.is_locked(&pair, now) {
            return Err(Reason::LockedOut);
        }
        Ok(())
    }

    /// Waits until another question about this user may be under way.
    ///
    /// Hold it until the failure is counted, and look at the lock again once you have it.
    pub(super) async fn turn(&self, user: &str, source: IpAddr) -> Option<Turn> {
        if self.is_unthrottled(source) {
            return None;
        }
        let line = self.line(pair(user, source));
        // It is never closed.
        let permit = line.acquire_owned().await.ok()?;
        Some(Turn { _permit: permit })
    }

    fn line(&self, pair: (Box<str>, IpAddr)) -> Arc<Semaphore> {
        let mut book = self.book();
        if let Some(line) = book.lines.get(&pair).and_then(Weak::upgrade) {
            return line;
        }
        if book.lines.len() >= limits::THROTTLE_ENTRIES_MAX {
            book.lines.retain(|_, line| line.strong_count() > 0);
        }
        let places = usize::try_from(self.settings.failures_max).unwrap_or(usize::MAX);
        let line = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
        book.lines.insert(pair, Arc::downgrade(&line));
        line
    }

    /// Says whether somebody may be asked about anything from this source.
    pub(super) fn source(&self, source: IpAddr, now: Instant) -> Result<(), Reason> {
        let mut book = self.book();
        book.crowd.saw(host_of(source), now);
        let rests = book.crowd.is_one(now);
        if !self.is_unthrottled(source) && !rests && book.sources.is_locked(&host_of(source), now) {
            return Err(Reason::SourceLockedOut);
        }
        Ok(())
    }

    /// Counts a password that was refused; returns how many there were of this pair.
    pub(super) fn failed(&self, user: &str, source: IpAddr, counts: Counts, now: Instant) -> u32 {
        if counts == Counts::Nothing || self.is_unthrottled(source) {
            return 0;
        }
        let settings = &self.settings;
        let mut book = self.book();
        let one_source = book.crowd.is_one(now);
        let pair_lockout = if one_source {
            settings.lockout.min(limits::LOCKOUT_BEHIND_ONE_SOURCE)
        } else {
            settings.lockout
        };
        let by_pair = Rule {
            failures_max: settings.failures_max,
            window: Window::AfterLast(settings.window),
            lockout: pair_lockout,
        };
        let by_source = Rule {
            failures_max: settings.failures_per_source_max,
            window: Window::AfterFirst(settings.window),
            lockout: settings.lockout,
        };
        let pair = book.pairs.count(pair(user, source), now, by_pair);
        if pair.locked_now {
            let seconds = pair_lockout.as_secs();
            tracing::warn!(%source, failures = pair.failures, seconds, "user locked out at this source");
        }
        match counts {
            Counts::PairAndSource => book.failed_from(source, one_source, now, by_source),
            Counts::Pair | Counts::Nothing => {}
        }
        pair.failures
    }

    /// Forgets the failures of a user at a source: the right password has come.
    pub(super) fn succeeded(&self, user: &str, source: IpAddr) {
        self.book().pairs.0.remove(&pair(user, source));
    }

    /// Forgets the failures of a user, of a source, of both together, or of everybody; returns how
    /// many entries there were.
    pub fn unlock(&self, user: Option<&str>, source: Option<IpAddr>) -> usize {
        let mut book = self.book();
        let (user, source) = (user.map(key), source.map(host_of));
        let before = book.pairs.0.len().saturating_add(book.sources.0.len());
        let meant = |of: &IpAddr| source.is_none_or(|source| *of == source);
        book.pairs
            .0
            .retain(|(name, of), _| !(user.as_ref().is_none_or(|user| name == user) && meant(of)));
        // A user is let in again only if the source is, too.
        if user.is_none() || source.is_some() {
            book.sources.0.retain(|of, _| !meant(of));
        }
        before.saturating_sub(book.pairs.0.len().saturating_add(book.sources.0.len()))
    }

    pub(super) fn is_unthrottled(&self, source: IpAddr) -> bool {
        let networks = &self.settings.unthrottled;
        networks.iter().any(|network| network.contains(source))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn failed_from(&mut self, source: IpAddr, one_source: bool, now: Instant, rule: Rule) {
        let all = self.sources.count(host_of(source), now, rule);
        if !all.locked_now {
            return;
        }
        if !one_source {
            let seconds = rule.lockout.as_secs();
            tracing::warn!(%source, failures = all.failures, seconds, "source locked out");
        } else if !std::mem::replace(&mut self.warned, true) {
            // A balancer in front would be the reason, or a single client.
            tracing::warn!(%source, "every login comes from one address: sources are not locked out");
        }
    }
}

/// A place in the line of a pair, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

fn pair(user: &str, source: IpAddr) -> (Box<str>, IpAddr) {
    (key(user), host_of(source))
}

/// Returns what is kept of a name. Longer ones are asked about nowhere, and a client may send any.
fn key(user: &str) -> Box<str> {
    let end = user.char_indices().nth(limits::USER_NAME_BYTES_MAX);
    let kept = end.and_then(|(at, _)| user.get(..at));
    folded(kept.unwrap_or(user))
}

/// A bound on failures, and what follows.
#[derive(Debug, Clone, Copy)]
struct Rule {
    failures_max: u32,
    window: Window,
    lockout: Duration,
}

/// When failures are forgotten.
#[derive(Debug, Clone, Copy)]
enum Window {
    /// Each failure keeps those before it.
    AfterLast(Duration),
    /// An office never is without a failure for long: the old ones go whatever comes.
    AfterFirst(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    last: Instant,
    /// After this nothing is known of the key any more.
    forgotten_at: Instant,
    locked_until: Option<Instant>,
}

/// What came of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    failures: u32,
    /// The bound was reached by this one.
    locked_now: bool,
}

/// Failures by key; bounded, the oldest entries go first.
#[derive(Debug)]
struct Table<K>(HashMap<K, Entry>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn is_locked(&mut self, key: &K, now: Instant) -> bool {
        let Some(entry) = self.0.get(key) else {
            return false;
        };
        if entry.forgotten_at <= now {
            self.0.remove(key);
            return false;
        }
        entry.locked_until.is_some_and(|until| now < until)
    }

    fn count(&mut self, key: K, now: Instant, rule: Rule) -> Counted {
        if !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let (Window::AfterLast(window) | Window::AfterFirst(window)) = rule.window;
        let fresh = Entry {
            failures: 0,
            last: now,
            forgotten_at: now + window,
            locked_until: None,
        };
        let entry = self.0.entry(key).or_insert(fresh);
        if entry.forgotten_at <= now {
            *entry = fresh;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.last = now;
        if let Window::AfterLast(window) = rule.window {
            entry.forgotten_at = now + window;
        }
        let locked_now = entry.failures >= rule.failures_max;
        if locked_now {
            let until = now + rule.lockout;
            entry.locked_until = Some(until);
            entry.forgotten_at = entry.forgotten_at.max(until);
        }
        Counted {
            failures: entry.failures,
            locked_now,
        }
    }

    /// Keeps the table in its bound: first what is over goes, then a part of the oldest.
    fn make_room(&mut self, now: Instant) {
        if self.0.len() < limits::THROTTLE_ENTRIES_MAX {
            return;
        }
        self.0.retain(|_, entry| entry.forgotten_at > now);
        if self.0.len() < limits::THROTTLE_ENTRIES_MAX {
            return;
        }
        let mut ages: Vec<Instant> = self.0.values().map(|entry| entry.last).collect();
        ages.sort_unstable();
        let oldest = ages.get(ages.len() / 16).copied().unwrap_or(now);
        self.0.retain(|_, entry| entry.last > oldest);
    }
}

/// Whether logins come from more than one source.
#[derive(Debug, Default)]
struct Crowd {
    latest: Option<IpAddr>,
    /// When the source was last another one than before.
    changed_at: Option<Instant>,
}

impl Crowd {
    fn saw(&mut self, source: IpAddr, now: Instant) {
        if self.latest.is_some_and(|latest| latest != source) {
            self.changed_at = Some(now);
        }
        self.latest = Some(source);
    }

    fn is_one(&self, now: Instant) -> bool {
        self.changed_at.is_none_or(|changed| {
            now.saturating_duration_since(changed) >= limits::ONE_SOURCE_AFTER
        })
    }
}

#[cfg(test)]
mod tests;
