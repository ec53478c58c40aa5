//! How long a failed call is repeated, at what pace, and how often the process repeats calls at
//! all (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use crate::limits;
use crate::storage::error::StorageErrorKind;
use crate::storage::operation::Operation;

/// What an operator decides about retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// For a look, all its tries together.
    pub look: Duration,
    /// For what is under way; a try that has begun by then may still end.
    pub under_way: Duration,
    /// Of the whole process, to one store.
    pub per_second_max: usize,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(20),
            under_way: Duration::from_secs(300),
            per_second_max: 500,
        }
    }
}

/// How long a call is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Somebody waits for an answer, and nothing is lost if there is none: seconds.
    Look,
    /// Something would be lost that was begun: minutes.
    UnderWay,
}

impl Patience {
    /// Returns the patience that a call deserves by itself; `None`: its caller repeats it, since
    /// the key may hold something else by then.
    pub(super) const fn of(operation: Operation) -> Option<Self> {
        match operation {
            // What takes an upload away has a schedule of its own, in the reaper.
            Operation::Head
            | Operation::Tags
            | Operation::Get
            | Operation::List
            | Operation::Parts
            | Operation::Abort
            | Operation::CheckBucket
            | Operation::ListVersions
            | Operation::ListBuckets => Some(Self::Look),
            Operation::Create | Operation::Part | Operation::PartCopy => Some(Self::UnderWay),
            Operation::Put | Operation::Copy | Operation::Delete | Operation::Complete => None,
        }
    }
}

/// Says whether the same call may succeed a little later, and cannot meet its own first try.
#[must_use]
pub const fn may_be_repeated(kind: StorageErrorKind) -> bool {
    match kind {
        StorageErrorKind::Throttled | StorageErrorKind::Unavailable => true,
        // The next try is signed by the clock of the answer.
        StorageErrorKind::ClockSkew => true,
        // Of a commit that is unknown the nonce tells first whether it landed.
        StorageErrorKind::OutcomeUnknown
        | StorageErrorKind::NotFound
        | StorageErrorKind::NoSuchBucket
        | StorageErrorKind::NoSuchUpload
        | StorageErrorKind::Precondition
        | StorageErrorKind::RangeNotSatisfiable
        | StorageErrorKind::Denied
        | StorageErrorKind::Expired
        | StorageErrorKind::ChecksumMismatch
        | StorageErrorKind::Refused
        | StorageErrorKind::RefusedBare => false,
    }
}

/// When one call is tried again.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    patience: Patience,
    begun: Instant,
    lasts: Duration,
    /// Failures since it began.
    failures: u32,
}

impl Schedule {
    pub(super) const fn new(settings: &RetrySettings, patience: Patience, now: Instant) -> Self {
        Self {
            patience,
            begun: now,
            lasts: match patience {
                Patience::Look => settings.look,
                Patience::UnderWay => settings.under_way,
            },
            failures: 0,
        }
    }

    /// Begins again: something came through.
    pub(super) const fn restart(&mut self, now: Instant) {
        self.begun = now;
        self.failures = 0;
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    fn left(&self, now: Instant) -> Duration {
        self.lasts.saturating_sub(self.took(now))
    }

    /// Returns how long a try may take that begins now, where its call is cut at the deadline.
    pub(super) fn cut_after(&self, now: Instant) -> Option<Duration> {
        match self.patience {
            Patience::Look => Some(self.left(now)),
            Patience::UnderWay => None,
        }
    }

    /// Takes a failure, and returns how long to wait before the next try; `None` if it would come
    /// too late. `spread` is random: callers that failed together come back apart.
    pub(super) fn pause(
        &mut self,
        now: Instant,
        spread: u8,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let longest = match self.patience {
            Patience::Look => limits::LOOK_BACKOFF_MAX,
            Patience::UnderWay => limits::BACKOFF_MAX,
        };
        let doubled = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        let most = limits::BACKOFF_FIRST.saturating_mul(doubled).min(longest);
        let asked = retry_after.unwrap_or_default().min(limits::RETRY_AFTER_MAX);
        let pause = asked.saturating_add(part_of(most, spread));
        (pause < self.left(now)).then_some(pause)
    }
}

/// Half to all of a time.
fn part_of(most: Duration, spread: u8) -> Duration {
    let half = most.checked_div(2).unwrap_or_default();
    let rest = half.saturating_mul(spread.into());
    half.saturating_add(rest.checked_div(u8::MAX.into()).unwrap_or_default())
}

/// Bounds how many calls the process repeats in a second; unused, it is full again after one.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    /// When all that was given out has been earned back.
    even_at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(per_second_max: usize) -> Self {
        let per_second_max = u32::try_from(per_second_max).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1).checked_div(per_second_max.max(1));
        Self {
            interval: interval.unwrap_or_default(),
            even_at: None,
        }
    }

    /// Takes a retry, unless those of one second are taken.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let even_at = self.even_at.map_or(now, |at| at.max(now));
        let Some(even_at) = even_at.checked_add(self.interval) else {
            return false;
        };
        if even_at.saturating_duration_since(now) > BURST {
            return false;
        }
        self.even_at = Some(even_at);
        true
    }
}

/// How many retries may go at once, in the time that they take to earn.
const BURST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(patience: Patience) -> (Schedule, Instant) {
        let now = SystemClock.now();
        (Schedule::new(&RetrySettings::default(), patience, now), now)
    }

    /// Fails at once each time; returns how often it was tried.
    fn tried(patience: Patience, spread: u8) -> u32 {
        let (mut schedule, mut now) = schedule(patience);
        for tries in 1.. {
            match schedule.pause(now, spread, None) {
                Some(pause) => now = now.checked_add(pause).unwrap(),
                None => return tries,
            }
        }
        unreachable!("time ends")
    }

    #[test]
    fn a_look_is_tried_for_seconds_and_what_is_under_way_for_minutes() {
        for spread in [0, u8::MAX] {
            assert!((10..40).contains(&tried(Patience::Look, spread)));
            assert!((60..200).contains(&tried(Patience::UnderWay, spread)));
        }
        let (mut look, now) = schedule(Patience::Look);
        assert_eq!(look.pause(now + 20 * SECOND, 0, None), None);
        assert_eq!(look.cut_after(now + 15 * SECOND), Some(5 * SECOND));
        let (mut under_way, now) = schedule(Patience::UnderWay);
        assert!(under_way.pause(now + 299 * SECOND, 0, None).is_some());
        assert_eq!(under_way.cut_after(now + 299 * SECOND), None);
        assert_eq!(under_way.pause(now + 300 * SECOND, 0, None), None);
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_spread() {
        let pauses = |spread| {
            let (mut schedule, now) = schedule(Patience::UnderWay);
            [(); 8].map(|()| schedule.pause(now, spread, None).unwrap().as_millis())
        };
        assert_eq!(
            pauses(u8::MAX),
            [200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]
        );
        assert_eq!(pauses(0), [100, 200, 400, 800, 1_600, 2_500, 2_500, 2_500]);
    }

    #[test]
    fn what_the_store_asks_for_is_kept_within_bounds() {
        let (mut under_way, now) = schedule(Patience::UnderWay);
        let asked = under_way.pause(now, 0, Some(7 * SECOND)).unwrap();
        assert!(asked >= 7 * SECOND && asked < 8 * SECOND, "{asked:?}");
        let long = under_way.pause(now, 0, Some(3_600 * SECOND)).unwrap();
        assert!(long < limits::RETRY_AFTER_MAX + SECOND, "{long:?}");
        let (mut look, now) = schedule(Patience::Look);
        assert_eq!(look.pause(now, 0, Some(60 * SECOND)), None, "too late");
    }

    #[test]
    fn progress_begins_again() {
        let (mut schedule, now) = schedule(Patience::UnderWay);
        while schedule.pause(now, 0, None).is_some_and(|p| p < SECOND) {}
        let later = now + 299 * SECOND;
        schedule.restart(later);
        let pause = schedule.pause(later, 0, None).unwrap();
        assert_eq!(pause, limits::BACKOFF_FIRST / 2);
        assert!(schedule.pause(later + 298 * SECOND, 0, None).is_some());
    }

    #[test]
    fn retries_of_the_process_are_bounded_by_the_second_and_come_back_with_time() {
        let mut bucket = Bucket::new(100);
        let now = SystemClock.now();
        let taken = |bucket: &mut Bucket, at| (0..1_000).filter(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, now), 100);
        assert_eq!(taken(&mut bucket, now), 0);
        assert_eq!(taken(&mut bucket, now + SECOND / 2), 50);
        // However empty it was: after a second of rest it is as at the start.
        assert_eq!(taken(&mut bucket, now + 2 * SECOND), 100);
        assert_eq!(taken(&mut bucket, now + 3_600 * SECOND), 100);
    }
}
