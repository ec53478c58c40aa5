//! Time that passes when nothing else can happen.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use portcullis::clock::{Clock, SystemClock};
use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) struct VirtualClock {
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    passed: Duration,
    /// Who sleeps, by the time they wake; of the same time by who lay down first.
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    next: u64,
}

impl VirtualClock {
    pub(super) fn new() -> Self {
        Self {
            begun: SystemClock.now(),
            state: Mutex::default(),
        }
    }

    pub(super) fn passed(&self) -> Duration {
        self.state.lock().unwrap().passed
    }

    /// Wakes whoever is next; `false`: nobody sleeps.
    fn advance(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        while let Some(((at, _), sleeper)) = state.sleepers.pop_first() {
            // Whoever waits no longer is no reason for time to pass.
            if sleeper.is_closed() {
                continue;
            }
            state.passed = state.passed.max(at);
            sleeper.send(()).unwrap_or_default();
            return true;
        }
        false
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.begun + self.passed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.passed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if duration.is_zero() {
            return std::future::ready(()).boxed();
        }
        let mut state = self.state.lock().unwrap();
        let (sender, woken) = oneshot::channel();
        let key = (state.passed + duration, state.next);
        state.next += 1;
        state.sleepers.insert(key, sender);
        woken.map(drop).boxed()
    }
}

/// Does some work, and lets time pass whenever everything else waits for it.
pub(super) async fn drive<T>(clock: &VirtualClock, work: impl Future<Output = T>) -> T {
    let passing = async {
        loop {
            for _ in 0..TURNS_UNTIL_QUIET {
                tokio::task::yield_now().await;
            }
            assert!(clock.advance(), "everything waits, and nothing will happen");
            assert!(clock.passed() < LONGEST, "it does not come to an end");
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        () = passing => unreachable!("time does not end"),
    }
}

/// Each lets dozens of tasks go on.
const TURNS_UNTIL_QUIET: u32 = 32;
const LONGEST: Duration = Duration::from_secs(24 * 3600);
