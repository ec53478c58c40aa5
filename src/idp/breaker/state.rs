//! When a provider that does not answer is left alone, and for how long (pure).

use std::time::{Duration, Instant};

/// The first pause; it doubles with each trial that fails.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Counts failures in a row and decides who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Breaker {
    failures_max: usize,
    state: State,
    /// Counts the trials, so that each can be told from those before it.
    trials: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed {
        failures: usize,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One question is under way; the others wait for what comes of it.
    Trying {
        pause: Duration,
    },
}

/// Lets one question through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Ordinary,
    /// The one question that shows whether the provider is back.
    Trial(u64),
}

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Answered,
    Unavailable,
    /// The login was given up before there was an answer: nothing is known.
    Abandoned,
}

impl Breaker {
    pub(super) const fn new(failures_max: usize) -> Self {
        Self {
            failures_max,
            state: State::Closed { failures: 0 },
            trials: 0,
        }
    }

    /// Says whether questions are kept back.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// Lets a question through, or, with `None`, does not.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Pass> {
        match self.state {
            State::Closed { .. } => Some(Pass::Ordinary),
            State::Open { until, pause } if until <= now => {
                self.state = State::Trying { pause };
                self.trials = self.trials.wrapping_add(1);
                Some(Pass::Trial(self.trials))
            }
            State::Open { .. } | State::Trying { .. } => None,
        }
    }

    /// Takes note of how a question ended that was let through.
    pub(super) fn ended(&mut self, pass: Pass, ending: Ending, now: Instant) {
        let after = |pause: Duration| State::Open {
            // A clock that cannot count so far makes no pause.
            until: now.checked_add(pause).unwrap_or(now),
            pause,
        };
        let latest = pass == Pass::Trial(self.trials);
        self.state = match (&self.state, ending) {
            // Whoever got an answer shows that the provider is there.
            (_, Ending::Answered) => State::Closed { failures: 0 },
            (State::Closed { failures }, Ending::Unavailable) => {
                let failures = failures.saturating_add(1);
                if failures >= self.failures_max {
                    after(PAUSE_MIN)
                } else {
                    State::Closed { failures }
                }
            }
            (State::Trying { pause }, Ending::Unavailable) if latest => {
                after(pause.saturating_mul(2).min(PAUSE_MAX))
            }
            // The next question is the trial.
            (State::Trying { pause }, Ending::Abandoned) if latest => State::Open {
                until: now,
                pause: *pause,
            },
            // A question from before the pause says nothing new.
            (_, Ending::Unavailable | Ending::Abandoned) => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn open(breaker: &mut Breaker, now: Instant) {
        while !breaker.is_open() {
            let pass = breaker.admit(now).unwrap();
            breaker.ended(pass, Ending::Unavailable, now);
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_starts_the_count_anew() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(3);
        for ending in [
            Ending::Unavailable,
            Ending::Unavailable,
            Ending::Answered,
            Ending::Unavailable,
            Ending::Abandoned,
            Ending::Unavailable,
        ] {
            let pass = breaker.admit(now).unwrap();
            breaker.ended(pass, ending, now);
        }
        assert!(!breaker.is_open());
        let pass = breaker.admit(now).unwrap();
        breaker.ended(pass, Ending::Unavailable, now);
        assert!(breaker.is_open());
        assert_eq!(breaker.admit(now), None);
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_one_question_tries() {
        let mut now = SystemClock.now();
        let mut breaker = Breaker::new(1);
        open(&mut breaker, now);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(breaker.admit(now + pause - Duration::from_millis(1)), None);
            now += pause;
            let trial = breaker.admit(now).unwrap();
            assert!(matches!(trial, Pass::Trial(_)));
            assert_eq!(breaker.admit(now), None, "one at a time");
            breaker.ended(trial, Ending::Unavailable, now);
        }
        now += PAUSE_MAX;
        let trial = breaker.admit(now).unwrap();
        breaker.ended(trial, Ending::Answered, now);
        assert!(!breaker.is_open());
        open(&mut breaker, now);
        assert!(
            breaker.admit(now + PAUSE_MIN).is_some(),
            "the pause is short again"
        );
    }

    #[test]
    fn a_trial_that_is_given_up_makes_room_for_the_next() {
        let start = SystemClock.now();
        let mut breaker = Breaker::new(1);
        open(&mut breaker, start);
        let later = start + PAUSE_MIN;
        let trial = breaker.admit(later).unwrap();
        breaker.ended(trial, Ending::Abandoned, later);
        let second = breaker.admit(later).unwrap();
        assert_ne!(trial, second);
        breaker.ended(trial, Ending::Unavailable, later);
        assert_eq!(
            breaker.admit(later),
            None,
            "the first trial is not heard any more"
        );
        breaker.ended(second, Ending::Unavailable, later);
        assert_eq!(breaker.admit(later + PAUSE_MIN), None);
        assert!(breaker.admit(later + PAUSE_MIN * 2).is_some());
    }

    #[test]
    fn a_late_answer_from_before_the_pause_closes_it_and_a_late_failure_does_not_prolong_it() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(1);
        let [late, later] = [breaker.admit(now).unwrap(), breaker.admit(now).unwrap()];
        open(&mut breaker, now);
        let before = breaker.clone();
        breaker.ended(late, Ending::Unavailable, now);
        assert_eq!(breaker, before);
        breaker.ended(later, Ending::Answered, now);
        assert!(!breaker.is_open());
    }
}
