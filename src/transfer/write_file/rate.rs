//! Whether the client of an upload keeps memory without using it.

use std::time::{Duration, Instant};

/// The least that a client has to send while others wait for the memory that it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateMin {
    pub bytes_per_second: u64,
    pub over: Duration,
}

impl RateMin {
    fn bytes_in(&self, time: Duration) -> u64 {
        self.bytes_per_second
            .saturating_mul(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            .checked_div(1_000)
            .unwrap_or(0)
    }
}

/// How much came lately.
#[derive(Debug)]
pub(super) struct Rate {
    min: RateMin,
    from: Instant,
    /// What is looked at: the whole time first, and shorter ones for a client that was too slow.
    over: Duration,
    bytes: u64,
    withheld_since: Option<Instant>,
    /// Time that is not the client's.
    withheld: Duration,
}

impl Rate {
    pub(super) const fn new(min: RateMin, now: Instant) -> Self {
        Self {
            min,
            from: now,
            over: min.over,
            bytes: 0,
            withheld_since: None,
            withheld: Duration::ZERO,
        }
    }

    /// Looks at what comes from now on.
    pub(super) const fn begin(&mut self, now: Instant) {
        *self = Self {
            withheld_since: self.withheld_since,
            ..Self::new(self.min, now)
        };
    }

    pub(super) const fn moved(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Notes whether answers are withheld from the client, which cannot go on then.
    pub(super) fn withheld(&mut self, withheld: bool, now: Instant) {
        match (self.withheld_since, withheld) {
            (None, true) => self.withheld_since = Some(now),
            (Some(since), false) => {
                let from = since.max(self.from);
                let time = now.saturating_duration_since(from);
                self.withheld = self.withheld.saturating_add(time);
                self.withheld_since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        let time = self.over.saturating_add(self.withheld);
        self.from.checked_add(time).unwrap_or(self.from)
    }

    /// At the deadline: says whether too little came, and starts over.
    pub(super) fn is_too_slow(&mut self, now: Instant, withheld: bool) -> bool {
        let slow = !withheld && self.bytes < self.min.bytes_in(self.over);
        let over = if slow {
            self.min.over.checked_div(LOOKS_AGAIN).unwrap_or_default()
        } else {
            self.min.over
        };
        self.begin(now);
        self.over = over;
        slow
    }
}

/// Who was too slow is looked at so much more often.
const LOOKS_AGAIN: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const MIN: RateMin = RateMin {
        bytes_per_second: 2_048,
        over: Duration::from_secs(60),
    };

    #[test]
    fn twenty_kilobytes_a_second_are_enough_and_one_is_not() {
        for (bytes_per_second, slow) in [(20_000, false), (2_048, false), (1_000, true)] {
            let start = SystemClock.now();
            let mut rate = Rate::new(MIN, start);
            for _ in 0..60 {
                rate.moved(bytes_per_second);
            }
            let at = rate.deadline();
            assert_eq!(at, start + MIN.over);
            assert_eq!(rate.is_too_slow(at, false), slow);
            let again = if slow {
                MIN.over / LOOKS_AGAIN
            } else {
                MIN.over
            };
            assert_eq!(rate.deadline(), at + again);
        }
    }

    #[test]
    fn time_in_which_answers_are_withheld_is_not_the_clients() {
        let start = SystemClock.now();
        let mut rate = Rate::new(MIN, start);
        rate.withheld(true, start + Duration::from_secs(10));
        rate.withheld(true, start + Duration::from_secs(20));
        rate.withheld(false, start + Duration::from_secs(50));
        assert_eq!(rate.deadline(), start + Duration::from_secs(100));
        assert!(!rate.is_too_slow(rate.deadline(), true));
    }
}
