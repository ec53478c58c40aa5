//! Providers that answer nothing but 401 and 403 (pure).
//!
//! Such a status may refuse the user or the gateway itself, and only time tells which: it counts
//! against the user, and is forgotten once a provider that gave no other answer for a whole window
//! gives one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What each provider answered lately.
#[derive(Debug, Default)]
pub(super) struct StatusOnly(HashMap<Box<str>, Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// When the first of the refusals came that no other answer has followed.
    since: Option<Instant>,
    forgotten_at: Option<Instant>,
}

impl StatusOnly {
    /// Takes note of a 401 or a 403.
    pub(super) fn refused(&mut self, provider: &str, now: Instant) {
        self.seen(provider).since.get_or_insert(now);
    }

    /// Takes note of any other answer; says whether the refusals before it are to be forgotten.
    ///
    /// That happens once a window at most: a guesser who has a login of their own would otherwise
    /// clear the count whenever nobody else logs in.
    pub(super) fn answered(&mut self, provider: &str, window: Duration, now: Instant) -> bool {
        let seen = self.seen(provider);
        let is_past = |then: Instant| now.saturating_duration_since(then) >= window;
        let forgets =
            seen.since.take().is_some_and(is_past) && seen.forgotten_at.is_none_or(is_past);
        if forgets {
            seen.forgotten_at = Some(now);
        }
        forgets
    }

    /// Returns when the refusals of a provider were last forgotten.
    pub(super) fn forgotten_at(&self, provider: &str) -> Option<Instant> {
        self.0.get(provider)?.forgotten_at
    }

    /// There are as many entries as providers are configured.
    fn seen(&mut self, provider: &str) -> &mut Seen {
        self.0.entry(provider.into()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn refusals_of_a_whole_window_are_forgotten_at_the_first_other_answer() {
        let (mut seen, start) = (StatusOnly::default(), SystemClock.now());
        let window = Duration::from_secs(900);
        seen.refused("a", start);
        assert!(!seen.answered("a", window, start + window / 2), "too soon");
        seen.refused("a", start + window);
        assert!(
            !seen.answered("b", window, start + window * 3),
            "another provider"
        );
        assert!(seen.answered("a", window, start + window * 2));
        assert!(
            !seen.answered("a", window, start + window * 3),
            "nothing to forget"
        );
    }

    #[test]
    fn they_are_forgotten_once_a_window() {
        let (mut seen, start) = (StatusOnly::default(), SystemClock.now());
        let window = Duration::from_secs(900);
        seen.refused("a", start);
        assert!(seen.answered("a", window, start + window));
        let soon = start + window + Duration::from_secs(1);
        seen.refused("a", soon);
        // The first is a window old, and so is the last time.
        assert!(seen.answered("a", window, soon + window));
        seen.refused("a", soon + window);
        let half = soon + window + window / 2;
        assert!(!seen.answered("a", window, half));
        assert_eq!(seen.forgotten_at("a"), Some(soon + window));
        assert_eq!(seen.forgotten_at("b"), None);
    }
}
