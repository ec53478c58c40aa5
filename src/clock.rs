//! The clock as an argument: pure code takes `now`, the edge reads it here.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Tells the time. Tests put a clock here that they move themselves.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Returns the monotonic time, for ages and deadlines.
    fn now(&self) -> Instant;

    /// Returns the calendar time, for what is written down.
    fn wall(&self) -> SystemTime;

    /// Waits so long.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

/// Writes a calendar time to the second, such as `2026-12-31T00:00:00Z`.
#[must_use]
pub fn written(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    // A time that has no name is far away.
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

/// Returns a random byte, to spread in time what would happen at once; `None`: there is no
/// randomness, and nothing but the spread is lost.
pub(crate) fn random_byte() -> Option<u8> {
    let mut byte = [0];
    let [byte] = getrandom::fill(&mut byte).map(|()| byte).ok()?;
    Some(byte)
}

/// Waits until the clock shows a time.
pub async fn sleep_until(clock: &dyn Clock, at: Instant) {
    clock.sleep(at.saturating_duration_since(clock.now())).await;
}

/// Waits for something, and no longer than that; what is there already is taken in any case.
pub async fn within<T>(
    clock: &dyn Clock,
    duration: Duration,
    wait: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        value = wait => Some(value),
        () = clock.sleep(duration) => None,
    }
}

/// Reads the machine's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Returns whole seconds since 1970, as SFTP version 3 carries times; saturates at both ends.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> u32 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_written() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(written(at(1_798_675_200)), "2026-12-31T00:00:00Z");
        assert_eq!(written(at(863_999_913_600)), "9999-12-31T23:59:59Z");
        assert_eq!(written(at(i64::MAX as u64)), "9999-12-31T23:59:59Z");
    }
}
