//! Failures by key (pure); bounded, the oldest entries go first.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::limits;

/// A bound on failures, and what follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) failures_max: u32,
    pub(super) window: Window,
    pub(super) lockout: Duration,
}

/// When failures are forgotten.
#[derive(Debug, Clone, Copy)]
pub(super) enum Window {
    /// Each failure keeps those before it.
    AfterLast(Duration),
    /// An office never is without a failure for long: the old ones go whatever comes.
    AfterFirst(Duration),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure<'p> {
    /// A wrong credential.
    Wrong,
    /// A provider's 401 or 403, which may turn out to be about the gateway.
    Status(&'p str),
    /// Makes later refusals come later, and locks nobody out.
    Slow,
}

/// What came of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) failures: u32,
    /// The failures, and what else makes refusals come later.
    pub(super) refusals: u32,
    /// The bound was reached by this one.
    pub(super) locked_now: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    wrong: u32,
    statuses: Option<Statuses>,
    slow: u32,
    last: Instant,
    /// After this nothing is known of the key any more.
    forgotten_at: Instant,
    locked_until: Option<Instant>,
}

/// The 401s and 403s of one provider.
#[derive(Debug, Clone)]
struct Statuses {
    provider: Box<str>,
    count: u32,
    last: Instant,
}

impl Entry {
    const fn new(now: Instant, forgotten_at: Instant) -> Self {
        Self {
            wrong: 0,
            statuses: None,
            slow: 0,
            last: now,
            forgotten_at,
            locked_until: None,
        }
    }

    fn failures(&self) -> u32 {
        let statuses = self.statuses.as_ref().map_or(0, |of| of.count);
        self.wrong.saturating_add(statuses)
    }

    /// Drops the statuses that count for nothing any more, and the lock with them.
    fn settle(&mut self, forgotten_at: impl Fn(&str) -> Option<Instant>) {
        let void = |of: &Statuses| forgotten_at(&of.provider).is_some_and(|at| of.last <= at);
        if self.statuses.take_if(|of| void(of)).is_some() {
            self.locked_until = None;
        }
    }

    fn add(&mut self, failure: Failure<'_>, now: Instant) {
        match (failure, &mut self.statuses) {
            (Failure::Slow, _) => self.slow = self.slow.saturating_add(1),
            (Failure::Status(provider), None) => {
                self.statuses = Some(Statuses {
                    provider: provider.into(),
                    count: 1,
                    last: now,
                });
            }
            (Failure::Status(provider), Some(of)) if *of.provider == *provider => {
                of.count = of.count.saturating_add(1);
                of.last = now;
            }
            // Of a second provider nothing is forgotten.
            (Failure::Wrong | Failure::Status(_), _) => self.wrong = self.wrong.saturating_add(1),
        }
    }
}

#[derive(Debug)]
pub(super) struct Table<K>(HashMap<K, Entry>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    /// Says whether a key is locked; `forgotten_at` tells up to when a provider's statuses count
    /// for nothing.
    pub(super) fn is_locked(
        &mut self,
        key: &K,
        now: Instant,
        forgotten_at: impl Fn(&str) -> Option<Instant>,
    ) -> bool {
        let Some(entry) = self.0.get_mut(key) else {
            return false;
        };
        if entry.forgotten_at <= now {
            self.0.remove(key);
            return false;
        }
        entry.settle(forgotten_at);
        entry.locked_until.is_some_and(|until| now < until)
    }

    pub(super) fn count(
        &mut self,
        key: K,
        failure: Failure<'_>,
        now: Instant,
        rule: Rule,
        forgotten_at: impl Fn(&str) -> Option<Instant>,
    ) -> Counted {
        if !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let (Window::AfterLast(window) | Window::AfterFirst(window)) = rule.window;
        let fresh = Entry::new(now, now + window);
        let entry = self.0.entry(key).or_insert_with(|| fresh.clone());
        if entry.forgotten_at <= now {
            *entry = fresh;
        }
        entry.settle(forgotten_at);
        entry.add(failure, now);
        entry.last = now;
        if let Window::AfterLast(window) = rule.window {
            entry.forgotten_at = now + window;
        }
        let failures = entry.failures();
        let locked_now = failure != Failure::Slow && failures >= rule.failures_max;
        if locked_now {
            let until = now + rule.lockout;
            entry.locked_until = Some(until);
            entry.forgotten_at = entry.forgotten_at.max(until);
        }
        Counted {
            failures,
            refusals: failures.saturating_add(entry.slow),
            locked_now,
        }
    }

    pub(super) fn forget<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.remove(key);
    }

    /// Drops the entries that are meant; returns how many there were.
    pub(super) fn drop_if(&mut self, meant: impl Fn(&K) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|key, _| !meant(key));
        before.saturating_sub(self.0.len())
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

    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const RULE: Rule = Rule {
        failures_max: 3,
        window: Window::AfterLast(Duration::from_secs(900)),
        lockout: Duration::from_secs(900),
    };

    const fn nothing(_: &str) -> Option<Instant> {
        None
    }

    #[test]
    fn statuses_lock_like_wrong_passwords_until_they_are_forgotten() {
        let (mut table, now) = (Table::default(), SystemClock.now());
        for failures in 1..=3 {
            let counted = table.count("ann", Failure::Status("main"), now, RULE, nothing);
            assert_eq!(counted.failures, failures);
            assert_eq!(counted.locked_now, failures == 3);
        }
        assert!(table.is_locked(&"ann", now, nothing));
        let later = now + Duration::from_secs(60);
        let forgotten = |provider: &str| (provider == "main").then_some(later);
        let before = |_: &str| now.checked_sub(Duration::from_secs(1));
        assert!(
            table.is_locked(&"ann", later, before),
            "what came later stays"
        );
        assert!(!table.is_locked(&"ann", later, forgotten));
        let counted = table.count("ann", Failure::Wrong, later, RULE, forgotten);
        assert_eq!(counted.failures, 1);
    }

    #[test]
    fn wrong_passwords_stay_when_statuses_are_forgotten() {
        let (mut table, now) = (Table::default(), SystemClock.now());
        for failure in [Failure::Wrong, Failure::Wrong, Failure::Status("main")] {
            table.count("ann", failure, now, RULE, nothing);
        }
        assert!(table.is_locked(&"ann", now, nothing));
        assert!(!table.is_locked(&"ann", now, |_| Some(now)));
        let counted = table.count("ann", Failure::Wrong, now, RULE, |_| Some(now));
        assert_eq!((counted.failures, counted.locked_now), (3, true));
        // Those of a second provider are no reason to forget.
        table.count("bob", Failure::Status("main"), now, RULE, nothing);
        table.count("bob", Failure::Status("other"), now, RULE, nothing);
        let counted = table.count("bob", Failure::Wrong, now, RULE, |_| Some(now));
        assert_eq!(counted.failures, 2);
    }

    #[test]
    fn what_only_slows_down_never_locks() {
        let (mut table, now) = (Table::default(), SystemClock.now());
        for refusals in 1..=100 {
            let counted = table.count("ann", Failure::Slow, now, RULE, nothing);
            assert_eq!((counted.failures, counted.refusals), (0, refusals));
        }
        assert!(!table.is_locked(&"ann", now, nothing));
    }
}
