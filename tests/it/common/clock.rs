//! A clock that the test moves.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use portcullis::clock::{Clock, SystemClock};

#[derive(Debug)]
pub(crate) struct FakeClock {
    start: Instant,
    passed: Mutex<Duration>,
}

impl FakeClock {
    pub(crate) fn new() -> Self {
        Self {
            start: SystemClock.now(),
            passed: Mutex::default(),
        }
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.passed.lock().unwrap() += by;
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.start + *self.passed.lock().unwrap()
    }

    /// Begins in November 2023.
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + *self.passed.lock().unwrap()
    }
}
