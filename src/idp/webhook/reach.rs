//! Which of several URLs is tried first (pure): the order of the settings, with those last that
//! could not be reached a moment ago.

#![warn(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

/// What is known about the way to each URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach(Vec<Option<Instant>>);

impl Reach {
    pub(super) fn new(urls: usize) -> Self {
        Self(vec![None; urls])
    }

    /// Returns the places of the URLs in the order in which they are to be tried. All are there: if
    /// none of the others can be reached, one that could not be a moment ago may be by now.
    pub(super) fn order(&self, now: Instant) -> Vec<usize> {
        let away = |at: &usize| self.is_away(*at, now);
        let (mut order, last): (Vec<usize>, Vec<usize>) =
            (0..self.0.len()).partition(|at| !away(at));
        order.extend(last);
        order
    }

    fn is_away(&self, at: usize, now: Instant) -> bool {
        let until = self.0.get(at).copied().flatten();
        until.is_some_and(|until| now < until)
    }

    /// Notes whether a connection came about.
    pub(super) fn note(&mut self, at: usize, reached: bool, now: Instant) {
        if let Some(until) = self.0.get_mut(at) {
            *until = if reached {
                None
            } else {
                now.checked_add(AVOIDED_FOR)
            };
        }
    }
}

/// An outage of the first URL costs its connect time-out once in this time, not at every login.
pub(super) const AVOIDED_FOR: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn a_url_out_of_reach_comes_last_for_a_while() {
        let start = SystemClock.now();
        let mut reach = Reach::new(3);
        assert_eq!(reach.order(start), [0, 1, 2]);
        reach.note(0, false, start);
        assert_eq!(reach.order(start), [1, 2, 0]);
        reach.note(1, false, start);
        reach.note(2, false, start);
        assert_eq!(reach.order(start), [0, 1, 2], "nobody is given up");
        reach.note(1, true, start);
        assert_eq!(reach.order(start), [1, 0, 2]);
        assert_eq!(reach.order(start + AVOIDED_FOR), [0, 1, 2]);
    }
}
