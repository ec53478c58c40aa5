//! How fast a user's bytes may go: a debt that is paid off with time.

use std::time::{Duration, Instant};

/// Bytes that were moved already, as the time they are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    bytes_per_second: u64,
    paid_at: Option<Instant>,
}

impl Pace {
    /// Allows this many bytes a second, and as many at once; nothing at all would be a user who
    /// waits for ever, so the least is one.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            paid_at: None,
        }
    }

    /// Goes on at another rate.
    pub fn change(&mut self, bytes_per_second: u64) {
        self.bytes_per_second = bytes_per_second.max(1);
    }

    /// Notes bytes that were moved.
    pub fn moved(&mut self, bytes: u64, now: Instant) {
        let micros = u128::from(bytes)
            .saturating_mul(1_000_000)
            .checked_div(u128::from(self.bytes_per_second))
            .unwrap_or(0);
        let worth = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        // A second of quiet is worth a second's bytes, and no longer one is worth more.
        let rested = now.checked_sub(BURST);
        let from = self.paid_at.max(rested).unwrap_or(now);
        self.paid_at = Some(from.checked_add(worth.min(DEBT_MAX)).unwrap_or(now));
    }

    /// Says whether a new one would allow no more.
    #[must_use]
    pub fn is_rested(&self, now: Instant) -> bool {
        self.paid_at <= now.checked_sub(BURST)
    }

    /// Says whether more bytes have to wait.
    #[must_use]
    pub fn is_ahead(&self, now: Instant) -> bool {
        self.again_at(now).is_some()
    }

    /// Returns until when more bytes have to wait.
    #[must_use]
    pub fn again_at(&self, now: Instant) -> Option<Instant> {
        self.paid_at.filter(|paid_at| *paid_at > now)
    }
}

const BURST: Duration = Duration::from_secs(1);
/// One movement is a packet at most: even at a crawl it delays no longer.
const DEBT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn after_a_burst_bytes_go_at_the_rate() {
        let start = SystemClock.now() + Duration::from_secs(10);
        let mut pace = Pace::new(1_000);
        let at = |millis| start + Duration::from_millis(millis);
        let mut moved = 0_u64;
        for millis in 0..=10_000 {
            if !pace.is_ahead(at(millis)) {
                pace.moved(100, at(millis));
                moved += 100;
            }
        }
        // Ten seconds at the rate, and the burst.
        assert!((11_000..=11_200).contains(&moved), "{moved}");
    }

    #[test]
    fn quiet_is_not_saved_up_and_rates_change() {
        let start = SystemClock.now() + Duration::from_secs(1_000);
        let mut pace = Pace::new(1_000);
        pace.moved(1_000, start);
        let later = start + Duration::from_secs(100);
        pace.moved(2_000, later);
        assert!(pace.is_ahead(later + Duration::from_millis(999)));
        assert!(!pace.is_ahead(later + Duration::from_millis(1_001)));
        assert!(!pace.is_rested(later + Duration::from_millis(1_999)));
        assert!(pace.is_rested(later + Duration::from_millis(2_000)));
        assert!(Pace::new(1).is_rested(later));
        pace.change(u64::MAX);
        pace.moved(u64::MAX, later + Duration::from_secs(2));
        assert!(!pace.is_ahead(later + Duration::from_secs(3)));
        pace.change(0);
        pace.moved(u64::MAX, later + Duration::from_secs(4));
        assert!(!pace.is_ahead(later + Duration::from_secs(64)));
    }
}
