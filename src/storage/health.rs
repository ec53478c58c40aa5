//! Which stores of the process answer, as the last calls to them say.
//!
//! A store that no call is made to stays what it was: nobody asks it for this alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{STORE_AWAY_AFTER, STORE_AWAY_FAILURES};

/// All stores of a process, by the sections of the configuration that they are in.
#[derive(Debug, Clone, Default)]
pub struct StoreHealth(Arc<Mutex<Vec<Arc<Watched>>>>);

/// One store.
#[derive(Debug)]
pub(super) struct Watched {
    section: Box<str>,
    calls: Mutex<Calls>,
}

/// What the end of a call tells about its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Answered,
    /// It did not answer, or that it has failed.
    Silent,
    Nothing,
}

/// What became of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Away,
    /// After so long.
    Back(Duration),
}

impl StoreHealth {
    /// Returns the sections of the stores that do not answer.
    #[must_use]
    pub fn away(&self) -> Vec<Box<str>> {
        let all = self.all();
        let away = all.iter().filter(|store| store.is_away());
        away.map(|store| store.section.clone()).collect()
    }

    /// Begins to watch a store; `None`: the main one.
    pub(super) fn watch(&self, name: Option<&str>) -> Arc<Watched> {
        let section = name.map_or_else(|| MAIN.into(), |name| format!("store.{name}").into());
        let watched = Arc::new(Watched {
            section,
            calls: Mutex::default(),
        });
        self.all().push(Arc::clone(&watched));
        watched
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Watched>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Returns the section of the configuration.
    pub(super) fn section(&self) -> &str {
        &self.section
    }

    /// Takes the end of a call, and says whether the store went away with it, or came back.
    pub(super) fn hear(&self, told: Told, begun: Instant, now: Instant) -> Option<Turn> {
        self.calls().hear(told, begun, now)
    }

    fn is_away(&self) -> bool {
        self.calls().away_since.is_some()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls to one store since it answered last.
#[derive(Debug, Default)]
struct Calls {
    answered_at: Option<Instant>,
    /// Since when there was no answer, and how many calls have none.
    silent: Option<(Instant, u32)>,
    away_since: Option<Instant>,
}

impl Calls {
    fn hear(&mut self, told: Told, begun: Instant, now: Instant) -> Option<Turn> {
        match told {
            Told::Nothing => None,
            Told::Answered => {
                self.answered_at = Some(now);
                self.silent = None;
                let since = self.away_since.take()?;
                Some(Turn::Back(now.saturating_duration_since(since)))
            }
            Told::Silent => {
                // Another call may have been answered while this one waited.
                let first = self.answered_at.map_or(begun, |at| at.max(begun));
                let (since, failures) = self.silent.unwrap_or((first, 0));
                let failures = failures.saturating_add(1);
                self.silent = Some((since, failures));
                let long = now.saturating_duration_since(since) >= STORE_AWAY_AFTER;
                if self.away_since.is_some() || !long || failures < STORE_AWAY_FAILURES {
                    return None;
                }
                self.away_since = Some(since);
                Some(Turn::Away)
            }
        }
    }
}

const MAIN: &str = "storage";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_store_is_away_when_calls_fail_for_seconds_and_none_is_answered() {
        let (mut calls, begun) = (Calls::default(), SystemClock.now());
        let at = |seconds: u32| begun + SECOND * seconds;
        // Many at once are one moment.
        for _ in 0..100 {
            assert_eq!(calls.hear(Told::Silent, at(0), at(0)), None);
        }
        assert_eq!(calls.hear(Told::Nothing, at(0), at(9)), None);
        assert_eq!(calls.hear(Told::Answered, at(4), at(4)), None);
        assert_eq!(calls.hear(Told::Silent, at(5), at(5)), None);
        assert_eq!(calls.hear(Told::Silent, at(9), at(10)), Some(Turn::Away));
        assert_eq!(calls.hear(Told::Silent, at(10), at(11)), None, "once");
        let back = Some(Turn::Back(SECOND * 15));
        assert_eq!(calls.hear(Told::Answered, at(20), at(20)), back);
        assert_eq!(calls.hear(Told::Answered, at(20), at(21)), None);
    }

    #[test]
    fn one_call_that_hangs_among_others_that_are_answered_is_no_outage() {
        let (mut calls, begun) = (Calls::default(), SystemClock.now());
        let at = |seconds: u32| begun + SECOND * seconds;
        assert_eq!(calls.hear(Told::Silent, at(0), at(15)), None, "the first");
        assert_eq!(calls.hear(Told::Answered, at(15), at(16)), None);
        assert_eq!(calls.hear(Told::Silent, at(1), at(17)), None);
        assert_eq!(calls.hear(Told::Silent, at(2), at(18)), None);
        let last = calls.hear(Told::Silent, at(6), at(21));
        assert_eq!(last, Some(Turn::Away), "five seconds after the last answer");
    }

    #[test]
    fn each_store_is_away_by_itself() {
        let all = StoreHealth::default();
        let (main, far) = (all.watch(None), all.watch(Some("far")));
        let now = SystemClock.now();
        let is_away = |names: &[&str]| {
            let away = all.away();
            assert_eq!(away.iter().map(|name| &**name).collect::<Vec<_>>(), names);
        };
        for store in [&main, &far] {
            assert_eq!(store.hear(Told::Silent, now, now), None);
        }
        let later = now + SECOND * 6;
        assert_eq!(far.hear(Told::Silent, now, later), Some(Turn::Away));
        is_away(&["store.far"]);
        assert_eq!(main.hear(Told::Silent, now, later), Some(Turn::Away));
        is_away(&["storage", "store.far"]);
        assert!(far.hear(Told::Answered, now, later).is_some());
        is_away(&["storage"]);
    }
}
