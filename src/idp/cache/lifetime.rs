//! How long an answer may be used (pure).

use std::time::{Duration, Instant, SystemTime};

/// Whether an answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Only while the provider is unavailable.
    Stale,
    Spent,
}

/// When an answer was asked for, and how long it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    pub asked_at: Instant,
    pub fresh_for: Duration,
    pub stale_for: Duration,
    /// Set by the provider; ends the answer whatever its age.
    pub expires_at: Option<SystemTime>,
}

impl Lifetime {
    /// Says what an answer is worth at a time.
    #[must_use]
    pub fn freshness(&self, now: Instant, wall: SystemTime) -> Freshness {
        let age = now.saturating_duration_since(self.asked_at);
        if self.expires_at.is_some_and(|end| end <= wall) {
            Freshness::Spent
        } else if age < self.fresh_for {
            Freshness::Fresh
        } else if age < self.fresh_for.saturating_add(self.stale_for) {
            Freshness::Stale
        } else {
            Freshness::Spent
        }
    }
}

/// Takes a part of a time off, the same for the same key: the key is as good as random.
pub(super) fn spread(time: Duration, percent: u8, key: &[u8; 32]) -> Duration {
    let [chance, ..] = *key;
    let part = time.saturating_mul(u32::from(chance) * u32::from(percent.min(100)));
    time.saturating_sub(part / (255 * 100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn an_answer_is_fresh_then_stale_then_spent() {
        let (start, wall) = (SystemClock.now(), SystemClock.wall());
        let seconds = Duration::from_secs;
        let lifetime = Lifetime {
            asked_at: start,
            fresh_for: seconds(60),
            stale_for: seconds(600),
            expires_at: None,
        };
        for (age, expected) in [
            (0, Freshness::Fresh),
            (59, Freshness::Fresh),
            (60, Freshness::Stale),
            (659, Freshness::Stale),
            (660, Freshness::Spent),
        ] {
            assert_eq!(
                lifetime.freshness(start + seconds(age), wall),
                expected,
                "{age}"
            );
        }
        let expired = Lifetime {
            expires_at: Some(wall),
            ..lifetime
        };
        assert_eq!(expired.freshness(start, wall), Freshness::Spent);
        let never = Lifetime {
            fresh_for: Duration::ZERO,
            stale_for: Duration::ZERO,
            ..lifetime
        };
        assert_eq!(never.freshness(start, wall), Freshness::Spent);
    }

    #[test]
    fn a_spread_time_is_never_longer_nor_much_shorter() {
        let minute = Duration::from_secs(60);
        let of = |chance| spread(minute, 10, &[chance; 32]);
        assert_eq!((of(0), of(255)), (minute, Duration::from_secs(54)));
        assert!(of(100) < of(99));
        assert_eq!(spread(minute, 0, &[255; 32]), minute);
    }
}
