//! Brute-force protection: who failed too often has to wait.
//!
//! Failures are counted for a user name together with the source, and for a source alone, never
//! for a name alone: anybody could lock a partner out. Refusals of the same pair come ever later,
//! and from a bound on a pair or a source is refused without asking anybody. At most as many
//! questions of one pair run at once as it may fail: guesses that come together wait in line.
//!
//! Behind a load balancer that hides its clients all of them are one source. Therefore, as long as
//! every login comes from one address, the rules for sources rest and a pair waits only briefly.

mod names;
mod table;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::names::{Look, Names};
use self::table::{Failure, Rule, Table, Window};
use crate::idp::history::LoginHistory;
use crate::idp::{Network, folded, host_of};
use crate::limits;
use crate::refusal::{Counts, Reason, Refusal};

/// What the operator allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Wrong passwords of one user name from one source, within the window.
    pub failures_max: u32,
    /// The same from one source, whatever the name.
    pub failures_per_source_max: u32,
    /// Names whose keys one source may look up within the window, without logging in.
    pub names_per_source_max: usize,
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
            names_per_source_max: 100,
            window: Duration::from_secs(900),
            lockout: Duration::from_secs(900),
            unthrottled: Vec::new(),
        }
    }
}

/// Who is kept out from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lockout {
    /// A user at a source.
    User,
    Source,
    /// A source, for look-ups of names that it has not asked about before.
    Names,
}

impl Lockout {
    /// Returns the word of the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Source => "source",
            Self::Names => "names",
        }
    }
}

/// What follows from a refused password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Penalty {
    /// Refusals of this pair that make the next one come later.
    pub(super) refusals: u32,
    pub(super) lockouts: Vec<Lockout>,
}

/// Remembers failures, for the whole process.
#[derive(Debug)]
pub struct Throttle {
    settings: ThrottleSettings,
    history: Arc<LoginHistory>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    pairs: Table<(Box<str>, IpAddr)>,
    sources: Table<IpAddr>,
    names: Names,
    crowd: Crowd,
    /// Where questions of a pair wait for each other; as many as there are connections at most.
    lines: HashMap<(Box<str>, IpAddr), Weak<Semaphore>>,
    /// The warning about one source for all was written.
    warned: bool,
}

impl Throttle {
    #[must_use]
    pub fn new(settings: ThrottleSettings, history: Arc<LoginHistory>) -> Self {
        Self {
            settings,
            history,
            book: Mutex::default(),
        }
    }

    /// Says whether somebody may be asked about a password of this user.
    pub(super) fn password(&self, user: &str, source: IpAddr, now: Instant) -> Result<(), Reason> {
        self.source(source, now)?;
        let (mut book, pair) = (self.book(), pair(user, source));
        let forgotten_at = |provider: &str| self.history.statuses_forgotten_at(provider);
        if !self.is_unthrottled(source) && book.pairs.is_locked(&pair, now, forgotten_at) {
            return Err(Reason::LockedOut);
        }
        Ok(())
    }

    /// Waits until another question about this user may be under way.
    ///
    /// Hold it until the failure is counted; recheck the lock once you have it.
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
        let nothing = |_: &str| None;
        if !self.is_unthrottled(source)
            && !rests
            && book.sources.is_locked(&host_of(source), now, nothing)
        {
            return Err(Reason::SourceLockedOut);
        }
        Ok(())
    }

    /// Says whether the keys of this user may be looked up for this source.
    pub(super) fn look_up(
        &self,
        user: &str,
        source: IpAddr,
        now: Instant,
    ) -> Result<(), NamesOverBound> {
        let known = self.history.known().contains(user, source, now);
        let mut book = self.book();
        if known || self.is_unthrottled(source) || book.crowd.is_one(now) {
            return Ok(());
        }
        let settings = &self.settings;
        let (most, window) = (settings.names_per_source_max, settings.window);
        let looked = book
            .names
            .look(host_of(source), &key(user), most, window, now);
        match looked {
            Look::Allowed => Ok(()),
            Look::OverBound { first } => {
                if first {
                    let seconds = window.as_secs();
                    tracing::warn!(
                        source_ip = %source,
                        user = &*super::attempt::loggable(user),
                        names = most,
                        seconds,
                        "source locked out of key look-ups: too many user names"
                    );
                }
                Err(NamesOverBound { first })
            }
        }
    }

    /// Counts a refused password for what it is.
    pub(super) fn refused(
        &self,
        user: &str,
        source: IpAddr,
        refusal: &Refusal,
        now: Instant,
    ) -> Penalty {
        let refusal = refusal.counting();
        let failure = match refusal.reason.counts() {
            Counts::Nothing => return Penalty::default(),
            Counts::Delay => Failure::Slow,
            Counts::Pair => Failure::Status(refusal.provider.as_deref().unwrap_or("")),
            Counts::PairAndSource => Failure::Wrong,
        };
        if self.is_unthrottled(source) {
            return Penalty::default();
        }
        let mut book = self.book();
        let rests = book.crowd.is_one(now);
        let (mut lockouts, settings) = (Vec::new(), &self.settings);
        let by_pair = Rule {
            failures_max: settings.failures_max,
            window: Window::AfterLast(settings.window),
            lockout: if rests {
                settings.lockout.min(limits::LOCKOUT_BEHIND_ONE_SOURCE)
            } else {
                settings.lockout
            },
        };
        let forgotten_at = |provider: &str| self.history.statuses_forgotten_at(provider);
        let counted = book
            .pairs
            .count(pair(user, source), failure, now, by_pair, forgotten_at);
        if counted.locked_now {
            lockouts.push(Lockout::User);
            tracing::warn!(
                source_ip = %source,
                user = &*super::attempt::loggable(user),
                failures = counted.failures,
                seconds = by_pair.lockout.as_secs(),
                "user locked out at this source"
            );
        }
        if failure == Failure::Wrong && self.count_source(&mut book, source, rests, now) {
            lockouts.push(Lockout::Source);
        }
        Penalty {
            refusals: counted.refusals,
            lockouts,
        }
    }

    /// Counts a wrong password of a source; says whether it is locked out by it.
    fn count_source(&self, book: &mut Book, source: IpAddr, rests: bool, now: Instant) -> bool {
        let settings = &self.settings;
        let rule = Rule {
            failures_max: settings.failures_per_source_max,
            window: Window::AfterFirst(settings.window),
            lockout: settings.lockout,
        };
        let counted = book
            .sources
            .count(host_of(source), Failure::Wrong, now, rule, |_| None);
        if !counted.locked_now {
            return false;
        }
        let failures = counted.failures;
        if !rests {
            let seconds = settings.lockout.as_secs();
            tracing::warn!(source_ip = %source, failures, seconds, "source locked out");
        } else if !std::mem::replace(&mut book.warned, true) {
            // A load balancer in front would be the reason, or a single client.
            tracing::warn!(
                source_ip = %source,
                "every login comes from one address: sources are not locked out"
            );
        }
        !rests
    }

    /// Forgets the failures of a user at a source: the right password has come.
    pub(super) fn succeeded(&self, user: &str, source: IpAddr) {
        self.book().pairs.forget(&pair(user, source));
    }

    /// Takes back that a source looked up a user's keys: they are in.
    pub(super) fn entered(&self, user: &str, source: IpAddr) {
        self.book().names.forget(host_of(source), &key(user));
    }

    /// Forgets the failures of a user, of a source, of both together, or of everybody; returns how
    /// many entries there were.
    pub fn unlock(&self, user: Option<&str>, source: Option<IpAddr>) -> usize {
        let mut book = self.book();
        let (user, source) = (user.map(key), source.map(host_of));
        let meant = |of: &IpAddr| source.is_none_or(|source| *of == source);
        let mut unlocked = book
            .pairs
            .drop_if(|(name, of)| user.as_ref().is_none_or(|user| name == user) && meant(of));
        // A user is let in again only if the source is, too.
        if user.is_none() || source.is_some() {
            unlocked = unlocked
                .saturating_add(book.sources.drop_if(meant))
                .saturating_add(book.names.unlock(source));
        }
        unlocked
    }

    pub(super) fn is_unthrottled(&self, source: IpAddr) -> bool {
        let networks = &self.settings.unthrottled;
        networks.iter().any(|network| network.contains(source))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source has looked up the keys of too many names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NamesOverBound {
    /// The first refusal of the window.
    pub(super) first: bool,
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
