//! Keeps a line that somebody can cause at will from filling the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lets a repeated line into the log so many times per interval, once by default.
#[derive(Debug)]
pub(crate) struct Seldom {
    lines_max: u32,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self::up_to(1)
    }
}

impl Seldom {
    /// Lets this many lines of one interval in.
    pub(crate) fn up_to(lines_max: u32) -> Self {
        Self {
            lines_max,
            window: Mutex::default(),
        }
    }

    /// Returns how many lines were left out since the last one, or `None` for this one too.
    pub(crate) fn due(&self, now: Instant, interval: Duration) -> Option<u64> {
        let mut window = self.window();
        if !window.is_open(now, interval) {
            window.since = Some(now);
            window.lines = 0;
        }
        if window.lines >= self.lines_max {
            window.left_out = window.left_out.saturating_add(1);
            return None;
        }
        window.lines = window.lines.saturating_add(1);
        Some(std::mem::take(&mut window.left_out))
    }

    /// Returns how many lines were left out, for a last line that sums them up.
    pub(crate) fn left_out(&self) -> u64 {
        std::mem::take(&mut self.window().left_out)
    }

    /// Says whether no line has come up yet.
    pub(crate) fn is_unused(&self) -> bool {
        self.window().since.is_none()
    }

    /// Says whether a new one would let in no more than this one.
    pub(crate) fn is_rested(&self, now: Instant, interval: Duration) -> bool {
        !self.window().is_open(now, interval)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn is_open(&self, now: Instant, interval: Duration) -> bool {
        let since = |since| now.saturating_duration_since(since) < interval;
        self.since.is_some_and(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn a_repeated_line_says_how_many_were_left_out() {
        let seldom = Seldom::default();
        let start = SystemClock.now();
        let second = Duration::from_secs(1);
        assert_eq!(seldom.due(start, second), Some(0));
        assert_eq!(seldom.due(start, second), None);
        assert_eq!(seldom.due(start, second), None);
        assert!(!seldom.is_rested(start, second));
        assert_eq!(seldom.due(start + second, second), Some(2));
        assert!(seldom.is_rested(start + 2 * second, second));
    }

    #[test]
    fn a_few_lines_are_all_there() {
        let few = Seldom::up_to(3);
        let start = SystemClock.now();
        let second = Duration::from_secs(1);
        for _ in 0..3 {
            assert_eq!(few.due(start, second), Some(0));
        }
        assert_eq!(few.due(start, second), None);
        assert_eq!(few.left_out(), 1);
        assert_eq!(few.left_out(), 0);
    }
}
