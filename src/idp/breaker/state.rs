//! When a provider that does not answer is left alone, for how long, and whom its silence is shown to
//! (pure).
//!
//! A connection that fails says that the provider is down, for any user. No answer in time, or an
//! error for an answer, may be about the one question, and a stranger can choose that: it counts
//! only where it befell users who were let in before, three of them.

#![warn(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

/// The first pause; it doubles with each trial that fails.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Of so many users a failure is taken for the provider's own.
pub(super) const WITNESSES: usize = 3;

/// Counts failures in a row and decides who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Breaker {
    /// Zero never opens it.
    failures_max: usize,
    state: State,
    silence: Silence,
    /// Counts the trials, so that each can be told from those before it.
    trials: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One question is under way; the others wait for what comes of it.
    Trying {
        pause: Duration,
        by: Asker,
    },
}

/// What was seen since the last answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Silence {
    /// Connections that failed.
    unreached: usize,
    /// The latest question that tells found no connection.
    out_of_reach: bool,
    /// Questions of known users that failed.
    failed: usize,
    /// Some of these users, as many as matter.
    witnesses: Vec<Witness>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Witness {
    user: Box<str>,
    /// Got nothing, or a proxy's word that there is nothing.
    silent: bool,
}

/// Whether what befalls a question says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Was let in from this source within the last day.
    Known,
    Stranger,
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
pub(super) enum Ending<'q> {
    Answered,
    /// No connection came about.
    Unreached,
    /// A known user's question failed.
    Failed {
        user: &'q str,
        /// There was no answer at all, or a proxy's word that there is none.
        silent: bool,
    },
    /// It failed in a way that says no more than that there was a connection.
    Reached,
    /// The question was given up, or failed in a way that says nothing.
    Unknown,
}

impl Breaker {
    pub(super) const fn new(failures_max: usize) -> Self {
        Self {
            failures_max,
            state: State::Closed,
            silence: Silence {
                unreached: 0,
                out_of_reach: false,
                failed: 0,
                witnesses: Vec::new(),
            },
            trials: 0,
        }
    }

    /// Says whether questions are kept back.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// Lets a question through, or, with `None`, does not.
    pub(super) fn admit(&mut self, asker: Asker, user: &str, now: Instant) -> Option<Pass> {
        let pause = match self.state {
            State::Closed => return Some(Pass::Ordinary),
            // With a fourth one each of the others has three beside them.
            _ if asker == Asker::Known && self.silence.lacks(user) => return Some(Pass::Ordinary),
            State::Open { until, pause } if until <= now => pause,
            // Whatever comes of a stranger's trial, a known user need not wait for it.
            State::Trying { pause, by } if (by, asker) == (Asker::Stranger, Asker::Known) => pause,
            State::Open { .. } | State::Trying { .. } => return None,
        };
        self.state = State::Trying { pause, by: asker };
        self.trials = self.trials.wrapping_add(1);
        Some(Pass::Trial(self.trials))
    }

    /// Takes note of how a question ended that was let through.
    pub(super) fn ended(&mut self, pass: Pass, ending: Ending<'_>, now: Instant) {
        // Whoever got an answer shows that the provider is there.
        if ending == Ending::Answered {
            self.silence = Silence::default();
            self.state = State::Closed;
            return;
        }
        self.silence.note(ending);
        let after = |pause: Duration| State::Open {
            // A clock that cannot count so far makes no pause.
            until: now.checked_add(pause).unwrap_or(now),
            pause,
        };
        if ending == Ending::Reached && !self.silence.reaches(self.failures_max) {
            // It was left alone because it could not be reached.
            self.state = State::Closed;
            return;
        }
        let failed = !matches!(ending, Ending::Reached | Ending::Unknown);
        self.state = match self.state {
            State::Closed if failed && self.silence.reaches(self.failures_max) => after(PAUSE_MIN),
            State::Trying { pause, .. } if pass == Pass::Trial(self.trials) => {
                if failed {
                    after(pause.saturating_mul(2).min(PAUSE_MAX))
                } else {
                    // The next question is the trial.
                    State::Open { until: now, pause }
                }
            }
            // A question from before the pause says nothing new.
            state @ (State::Closed | State::Open { .. } | State::Trying { .. }) => state,
        };
    }

    /// Says whether others than `user` met with an outage, so that an older answer may stand in.
    ///
    /// `known` tells how many other users could have met with it, up to [`WITNESSES`].
    pub(super) fn is_outage_for(&self, user: &str, known: impl FnOnce() -> usize) -> bool {
        if self.silence.out_of_reach {
            return true;
        }
        let others = self.silence.witnesses.iter();
        let others = others.filter(|one| one.silent && *one.user != *user);
        match others.count() {
            0 => false,
            some if some >= WITNESSES => true,
            some => some >= known(),
        }
    }
}

impl Silence {
    fn note(&mut self, ending: Ending<'_>) {
        match ending {
            Ending::Unreached => {
                self.unreached = self.unreached.saturating_add(1);
                self.out_of_reach = true;
            }
            Ending::Reached => {
                self.out_of_reach = false;
                self.unreached = 0;
            }
            Ending::Failed { user, silent } => {
                self.out_of_reach = false;
                self.failed = self.failed.saturating_add(1);
                let again = self.witnesses.iter_mut().find(|one| *one.user == *user);
                if let Some(witness) = again {
                    witness.silent |= silent;
                    return;
                }
                // One more than are needed, so that the asker can be left out.
                let kinds = self.witnesses.iter().filter(|one| one.silent == silent);
                if kinds.count() <= WITNESSES {
                    let user = user.into();
                    self.witnesses.push(Witness { user, silent });
                }
            }
            Ending::Answered | Ending::Unknown => {}
        }
    }

    /// Says whether one more user has to meet with the outage before those who did can tell it from
    /// their own question.
    fn lacks(&self, user: &str) -> bool {
        let mut silent = self.witnesses.iter().filter(|one| one.silent);
        !self.out_of_reach
            && silent.clone().count() == WITNESSES
            && !silent.any(|one| *one.user == *user)
    }

    fn reaches(&self, failures_max: usize) -> bool {
        let witnessed = self.witnesses.len() >= WITNESSES;
        let failed = if witnessed { self.failed } else { 0 };
        failures_max > 0 && self.unreached.saturating_add(failed) >= failures_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn open(breaker: &mut Breaker, now: Instant) {
        while !breaker.is_open() {
            let pass = breaker.admit(Asker::Stranger, "zoe", now).unwrap();
            breaker.ended(pass, Ending::Unreached, now);
        }
    }

    fn fail(breaker: &mut Breaker, ending: Ending<'_>, now: Instant) {
        let pass = breaker.admit(Asker::Known, "zoe", now).unwrap();
        breaker.ended(pass, ending, now);
    }

    const fn silent(user: &str) -> Ending<'_> {
        Ending::Failed { user, silent: true }
    }

    #[test]
    fn failed_connections_in_a_row_open_it_and_an_answer_starts_the_count_again() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(3);
        for ending in [
            Ending::Unreached,
            Ending::Unreached,
            Ending::Answered,
            Ending::Unreached,
            Ending::Unknown,
            Ending::Unreached,
        ] {
            fail(&mut breaker, ending, now);
        }
        assert!(!breaker.is_open());
        fail(&mut breaker, Ending::Unreached, now);
        assert!(breaker.is_open());
        assert_eq!(breaker.admit(Asker::Known, "zoe", now), None);
    }

    #[test]
    fn without_a_bound_it_never_opens_and_still_tells_of_an_outage() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(0);
        assert!(!breaker.is_outage_for("ann", || 0));
        for _ in 0..100 {
            fail(&mut breaker, Ending::Unreached, now);
        }
        assert!(!breaker.is_open());
        assert!(breaker.is_outage_for("ann", || 0));
    }

    #[test]
    fn failures_of_known_users_open_it_once_there_are_three_of_them() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(2);
        for _ in 0..50 {
            fail(&mut breaker, silent("ann"), now);
            fail(&mut breaker, silent("bob"), now);
        }
        assert!(!breaker.is_open());
        fail(&mut breaker, silent("cid"), now);
        assert!(breaker.is_open());
    }

    #[test]
    fn what_says_nothing_never_opens_it() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(1);
        for _ in 0..1_000 {
            fail(&mut breaker, Ending::Unknown, now);
            fail(&mut breaker, Ending::Reached, now);
        }
        assert!(!breaker.is_open());
        assert!(!breaker.is_outage_for("ann", || 0));
    }

    #[test]
    fn a_connection_closes_what_failed_connections_opened_and_nothing_else() {
        let start = SystemClock.now();
        let later = start + PAUSE_MIN;
        let mut breaker = Breaker::new(3);
        open(&mut breaker, start);
        let trial = breaker.admit(Asker::Stranger, "zoe", later).unwrap();
        breaker.ended(trial, Ending::Reached, later);
        assert!(!breaker.is_open());
        for user in ["ann", "bob", "cid"] {
            fail(&mut breaker, silent(user), later);
        }
        assert!(breaker.is_open());
        let latest = later + PAUSE_MIN;
        let trial = breaker.admit(Asker::Stranger, "zoe", latest).unwrap();
        breaker.ended(trial, Ending::Reached, latest);
        assert!(breaker.is_open(), "it still may not answer");
    }

    #[test]
    fn an_outage_is_what_befell_three_others_or_all_there_are() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(9);
        fail(&mut breaker, silent("ann"), now);
        assert!(!breaker.is_outage_for("ann", || 0), "one's own question");
        assert!(breaker.is_outage_for("bob", || 1), "the only other one");
        assert!(!breaker.is_outage_for("bob", || 2));
        fail(&mut breaker, silent("bob"), now);
        fail(&mut breaker, silent("cid"), now);
        assert!(breaker.is_outage_for("dan", || 3));
        assert!(!breaker.is_outage_for("ann", || 3), "two others");
        fail(&mut breaker, silent("dan"), now);
        assert!(breaker.is_outage_for("ann", || 3));
        fail(&mut breaker, Ending::Answered, now);
        assert!(!breaker.is_outage_for("eve", || 3));
    }

    #[test]
    fn a_connection_that_failed_before_is_no_outage_once_there_is_one_again() {
        let now = SystemClock.now();
        for reached in [Ending::Reached, silent("ann")] {
            let mut breaker = Breaker::new(9);
            fail(&mut breaker, Ending::Unreached, now);
            assert!(breaker.is_outage_for("ann", || 3));
            fail(&mut breaker, reached, now);
            assert!(!breaker.is_outage_for("ann", || 3), "{reached:?}");
        }
    }

    #[test]
    fn a_server_that_answers_with_errors_is_no_outage_for_older_answers() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(9);
        let crash = |user| Ending::Failed {
            user,
            silent: false,
        };
        for user in ["ann", "bob", "cid", "dan", "eve", "fay"] {
            fail(&mut breaker, crash(user), now);
        }
        assert!(!breaker.is_outage_for("gus", || 3));
        // Those who crashed first do not take the places of those who wait.
        for user in ["hal", "ida", "jon"] {
            fail(&mut breaker, silent(user), now);
        }
        assert!(breaker.is_outage_for("gus", || 3));
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_one_question_tries() {
        let mut now = SystemClock.now();
        let mut breaker = Breaker::new(1);
        open(&mut breaker, now);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(seconds);
            let early = now + pause - Duration::from_millis(1);
            assert_eq!(breaker.admit(Asker::Known, "zoe", early), None);
            now += pause;
            let trial = breaker.admit(Asker::Known, "zoe", now).unwrap();
            assert!(matches!(trial, Pass::Trial(_)));
            assert_eq!(
                breaker.admit(Asker::Known, "zoe", now),
                None,
                "one at a time"
            );
            breaker.ended(trial, Ending::Unreached, now);
        }
        now += PAUSE_MAX;
        let trial = breaker.admit(Asker::Known, "zoe", now).unwrap();
        breaker.ended(trial, Ending::Answered, now);
        assert!(!breaker.is_open());
        open(&mut breaker, now);
        assert!(
            breaker
                .admit(Asker::Known, "zoe", now + PAUSE_MIN)
                .is_some(),
            "the pause is short again"
        );
    }

    #[test]
    fn a_trial_that_says_nothing_makes_room_for_the_next() {
        let start = SystemClock.now();
        let mut breaker = Breaker::new(1);
        open(&mut breaker, start);
        let later = start + PAUSE_MIN;
        let trial = breaker.admit(Asker::Known, "zoe", later).unwrap();
        breaker.ended(trial, Ending::Unknown, later);
        let second = breaker.admit(Asker::Known, "zoe", later).unwrap();
        assert_ne!(trial, second);
        breaker.ended(trial, Ending::Unreached, later);
        assert_eq!(
            breaker.admit(Asker::Known, "zoe", later),
            None,
            "the first trial does not count any more"
        );
        breaker.ended(second, Ending::Unreached, later);
        assert_eq!(breaker.admit(Asker::Known, "zoe", later + PAUSE_MIN), None);
        assert!(
            breaker
                .admit(Asker::Known, "zoe", later + PAUSE_MIN * 2)
                .is_some()
        );
    }

    #[test]
    fn a_known_user_does_not_wait_for_a_strangers_trial() {
        let start = SystemClock.now();
        let mut breaker = Breaker::new(1);
        open(&mut breaker, start);
        let later = start + PAUSE_MIN;
        let strangers = breaker.admit(Asker::Stranger, "zoe", later).unwrap();
        assert_eq!(breaker.admit(Asker::Stranger, "zoe", later), None);
        let known = breaker.admit(Asker::Known, "zoe", later).unwrap();
        assert_eq!(
            breaker.admit(Asker::Known, "zoe", later),
            None,
            "one of them"
        );
        breaker.ended(strangers, Ending::Unknown, later);
        assert_eq!(breaker.admit(Asker::Stranger, "zoe", later), None);
        breaker.ended(known, Ending::Answered, later);
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_late_answer_from_before_the_pause_closes_it_and_a_late_failure_does_not_prolong_it() {
        let now = SystemClock.now();
        let mut breaker = Breaker::new(1);
        let admit = |breaker: &mut Breaker| breaker.admit(Asker::Known, "zoe", now).unwrap();
        let [late, later] = [admit(&mut breaker), admit(&mut breaker)];
        open(&mut breaker, now);
        let before = breaker.state;
        breaker.ended(late, Ending::Unreached, now);
        assert_eq!(breaker.state, before);
        breaker.ended(later, Ending::Answered, now);
        assert!(!breaker.is_open());
    }
}
