//! A value that ends: one who asks for it gets the next one for all, and while the old one is good
//! it stands in.
//!
//! Nothing runs in the background: whoever finds the value due has the next one fetched. Others
//! take what is there while it is good, and wait when it is not. A fetch goes on when the one who
//! began it waits no longer.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::limits;
use crate::tasks::spawn_tracked;

/// Gets values.
#[async_trait]
pub(crate) trait Source: Debug + Send + Sync + 'static {
    type Value: Clone + Debug + Send + Sync + 'static;
    type Error: Clone + Debug + Send + Sync + 'static;

    /// Gets a new value, and says how long it is good.
    async fn fetch(&self) -> Result<(Self::Value, Schedule), Self::Error>;

    /// Returns what it means that a fetch broke off.
    fn broken(why: &str) -> Self::Error;
}

/// When a value is to be renewed, and when it ends (pure).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    due: Option<Instant>,
    end: Option<Instant>,
}

/// What is wrong with the value at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    None,
    /// It is good, but not for long.
    Soon,
    /// It cannot be used.
    Now,
}

impl Schedule {
    /// Of what never ends by itself.
    pub(crate) const LASTING: Self = Self {
        due: None,
        end: None,
    };

    /// Of what is renewed after a time, and ends after another.
    pub(crate) fn after(start: Instant, due: Duration, end: Duration) -> Self {
        Self {
            due: start.checked_add(due),
            end: start.checked_add(end),
        }
    }

    /// Of what does not say when it ends, and is renewed after a time all the same.
    pub(crate) fn renewed_after(start: Instant, due: Duration) -> Self {
        Self {
            due: start.checked_add(due),
            end: None,
        }
    }

    /// Says whether a new value is fetched when somebody asks now.
    #[cfg(test)]
    pub(crate) fn is_due(self, now: Instant) -> bool {
        self.need(now) != Need::None
    }

    fn need(self, now: Instant) -> Need {
        let is_past = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if is_past(self.end) {
            Need::Now
        } else if is_past(self.due) {
            Need::Soon
        } else {
            Need::None
        }
    }
}

/// A value, told from the one before and the one after it by its number.
#[derive(Debug, Clone)]
pub(crate) struct Held<V> {
    pub(crate) value: V,
    pub(crate) number: u64,
    schedule: Schedule,
}

/// Holds the newest value of a source.
#[derive(Debug)]
pub(crate) struct Refreshing<S: Source>(Arc<Shared<S>>);

#[derive(Debug)]
struct Shared<S: Source> {
    source: S,
    /// After a fetch that failed, nobody tries again for so long.
    failure_pause: Duration,
    clock: Arc<dyn Clock>,
    state: Mutex<State<S::Value, S::Error>>,
    /// Whoever has it fetches.
    turn: Arc<tokio::sync::Mutex<()>>,
    fetches: TaskTracker,
}

#[derive(Debug)]
struct State<V, E> {
    held: Option<Held<V>>,
    /// The end of the last fetch, whatever came of it.
    tried_at: Option<Instant>,
    /// Why it failed, if it did.
    failed: Option<E>,
}

impl<V, E> State<V, E> {
    fn number(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.number)
    }

    fn was_tried_within(&self, pause: Duration, now: Instant) -> bool {
        self.tried_at
            .is_some_and(|at| now.saturating_duration_since(at) < pause)
    }
}

impl<S: Source> Refreshing<S> {
    /// Holds nothing yet.
    pub(crate) fn new(source: S, failure_pause: Duration, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            source,
            failure_pause,
            clock,
            state: Mutex::new(State {
                held: None,
                tried_at: None,
                failed: None,
            }),
            turn: Arc::default(),
            fetches: TaskTracker::new(),
        }))
    }

    /// Holds a value that was just fetched.
    pub(crate) fn hold(&self, value: S::Value, schedule: Schedule) {
        let now = self.0.clock.now();
        drop(self.0.state().put((value, schedule), now));
    }

    pub(crate) fn source(&self) -> &S {
        &self.0.source
    }

    /// Returns a value that is good now. While there is one, only the one who fetches the next
    /// waits for it, and no longer than a moment.
    pub(crate) async fn get(&self) -> Result<Held<S::Value>, S::Error> {
        let (known, good) = {
            let (state, now) = (self.0.state(), self.0.clock.now());
            let need = state
                .held
                .as_ref()
                .map_or(Need::Now, |held| held.schedule.need(now));
            let good = match (need, &state.held) {
                (Need::None, Some(held)) => return Ok(held.clone()),
                (Need::Soon, Some(held)) => {
                    let pause = self.0.failure_pause;
                    if state.failed.is_some() && state.was_tried_within(pause, now) {
                        return Ok(held.clone());
                    }
                    Some(held.clone())
                }
                (Need::Now, _) | (Need::None | Need::Soon, None) => None,
            };
            (state.number(), good)
        };
        let turn = Arc::clone(&self.0.turn);
        let Some(good) = good else {
            return self.fetched(known, turn.lock_owned().await).await;
        };
        let Ok(turn) = turn.try_lock_owned() else {
            return Ok(good);
        };
        let fetched = self.fetched(known, turn);
        match tokio::time::timeout(limits::KEYS_WAIT, fetched).await {
            Ok(Ok(new)) => Ok(new),
            Ok(Err(_)) | Err(_) => Ok(good),
        }
    }

    /// Returns another value than the one of this number, which is of no use to the asker: one
    /// that somebody else got meanwhile, or a new one unless the last fetch is not so long ago.
    pub(crate) async fn another(&self, known: u64, pause: Duration) -> Option<Held<S::Value>> {
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        {
            let (state, now) = (self.0.state(), self.0.clock.now());
            if state.number() == Some(known) && state.was_tried_within(pause, now) {
                return None;
            }
        }
        self.fetched(Some(known), turn).await.ok()
    }

    async fn fetched(
        &self,
        known: Option<u64>,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Held<S::Value>, S::Error> {
        let shared = Arc::clone(&self.0);
        let fetch = async move {
            let fetched = shared.fetch(known).await;
            drop(turn);
            fetched
        };
        let fetched = spawn_tracked(&self.0.fetches, fetch).await;
        fetched.unwrap_or_else(|panic| Err(S::broken(&panic.to_string())))
    }
}

impl<S: Source> Shared<S> {
    fn state(&self) -> MutexGuard<'_, State<S::Value, S::Error>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches a value if nobody did since; the caller has the turn.
    async fn fetch(&self, known: Option<u64>) -> Result<Held<S::Value>, S::Error> {
        {
            let (state, now) = (self.state(), self.clock.now());
            match &state.held {
                Some(held) if Some(held.number) != known => return Ok(held.clone()),
                Some(_) | None => {}
            }
            if let Some(error) = &state.failed
                && state.was_tried_within(self.failure_pause, now)
            {
                return Err(error.clone());
            }
        }
        let fetched = self.source.fetch().await;
        let (mut state, now) = (self.state(), self.clock.now());
        match fetched {
            Ok(fetched) => Ok(state.put(fetched, now)),
            Err(error) => {
                state.tried_at = Some(now);
                state.failed = Some(error.clone());
                Err(error)
            }
        }
    }
}

impl<V: Clone, E> State<V, E> {
    fn put(&mut self, (value, schedule): (V, Schedule), now: Instant) -> Held<V> {
        let number = self.number().map_or(0, |number| number.wrapping_add(1));
        let held = Held {
            value,
            number,
            schedule,
        };
        self.held = Some(held.clone());
        self.tried_at = Some(now);
        self.failed = None;
        held
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::SystemTime;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::SystemClock;

    /// A clock that a test moves.
    #[derive(Debug)]
    struct Hands(Mutex<Instant>);

    impl Clock for Hands {
        fn now(&self) -> Instant {
            *self.0.lock().unwrap()
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    /// Counts up; each is good for ten seconds, and due after five.
    #[derive(Debug)]
    struct Counter {
        hands: Arc<Hands>,
        fetched: AtomicU64,
        fails: AtomicBool,
        is_slow: AtomicBool,
        /// Lets slow ones come to their end.
        gate: Semaphore,
    }

    #[async_trait]
    impl Source for Arc<Counter> {
        type Value = u64;
        type Error = String;

        async fn fetch(&self) -> Result<(u64, Schedule), String> {
            let began = self.hands.now();
            let number = self.fetched.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if self.is_slow.load(Ordering::SeqCst) {
                self.gate.acquire().await.unwrap().forget();
            }
            assert!(number < 100, "broken");
            if self.fails.load(Ordering::SeqCst) {
                return Err(format!("failed {number}"));
            }
            let (due, end) = (Duration::from_secs(5), Duration::from_secs(10));
            Ok((number, Schedule::after(began, due, end)))
        }

        fn broken(_why: &str) -> String {
            "broken".to_owned()
        }
    }

    struct Bench {
        counter: Arc<Counter>,
        value: Refreshing<Arc<Counter>>,
    }

    impl Bench {
        fn new() -> Self {
            let hands = Arc::new(Hands(Mutex::new(SystemClock.now())));
            let counter = Arc::new(Counter {
                hands: Arc::clone(&hands),
                fetched: AtomicU64::default(),
                fails: AtomicBool::default(),
                is_slow: AtomicBool::default(),
                gate: Semaphore::new(0),
            });
            let pause = Duration::from_secs(2);
            let value = Refreshing::new(Arc::clone(&counter), pause, hands);
            Self { counter, value }
        }

        fn pass(&self, seconds: u64) {
            *self.counter.hands.0.lock().unwrap() += Duration::from_secs(seconds);
        }

        fn fetched(&self) -> u64 {
            self.counter.fetched.load(Ordering::SeqCst)
        }

        async fn get(&self) -> Result<u64, String> {
            self.value.get().await.map(|held| held.value)
        }
    }

    #[tokio::test]
    async fn one_fetches_for_all() {
        let bench = Bench::new();
        let all = futures_util::future::join_all((0..20).map(|_| bench.get())).await;
        assert!(all.iter().all(|got| *got == Ok(0)), "{all:?}");
        bench.pass(4);
        assert_eq!(bench.get().await, Ok(0));
        bench.pass(1);
        let (mine, others) = tokio::join!(bench.get(), bench.get());
        assert_eq!(
            (mine, others),
            (Ok(1), Ok(0)),
            "who does not fetch does not wait"
        );
        bench.pass(10);
        let both = tokio::join!(bench.get(), bench.get());
        assert_eq!(both, (Ok(2), Ok(2)));
        assert_eq!(bench.fetched(), 3);
    }

    #[tokio::test]
    async fn the_old_one_stands_in_until_it_ends_and_failures_have_a_pause() {
        let bench = Bench::new();
        bench.counter.fails.store(true, Ordering::SeqCst);
        assert_eq!(bench.get().await, Err("failed 0".to_owned()));
        assert_eq!(bench.get().await, Err("failed 0".to_owned()));
        bench.pass(2);
        bench.counter.fails.store(false, Ordering::SeqCst);
        assert_eq!(bench.get().await, Ok(1));
        bench.counter.fails.store(true, Ordering::SeqCst);
        bench.pass(5);
        assert_eq!(bench.get().await, Ok(1));
        assert_eq!(bench.get().await, Ok(1));
        assert_eq!(bench.fetched(), 3, "not at every question");
        bench.pass(5);
        assert_eq!(bench.get().await, Err("failed 3".to_owned()));
    }

    #[tokio::test]
    async fn another_one_is_shared_and_not_fetched_at_will() {
        let bench = Bench::new();
        let pause = Duration::from_secs(3);
        let first = bench.value.get().await.unwrap();
        assert!(bench.value.another(first.number, pause).await.is_none());
        bench.pass(3);
        let both = tokio::join!(
            bench.value.another(first.number, pause),
            bench.value.another(first.number, pause)
        );
        let value = |held: Option<Held<u64>>| held.map(|held| held.value);
        assert_eq!((value(both.0), value(both.1)), (Some(1), Some(1)));
        bench.pass(3);
        bench.counter.fails.store(true, Ordering::SeqCst);
        assert!(bench.value.another(1, pause).await.is_none());
        assert_eq!(bench.get().await, Ok(1), "it is good for others");
        assert_eq!(bench.fetched(), 3);
    }

    #[tokio::test]
    async fn a_fetch_goes_on_when_nobody_waits_for_it() {
        let bench = Bench::new();
        bench.counter.is_slow.store(true, Ordering::SeqCst);
        let given_up = tokio::time::timeout(Duration::from_millis(1), bench.get()).await;
        assert!(given_up.is_err());
        bench.counter.gate.add_permits(1);
        assert_eq!(bench.get().await, Ok(0));
        bench.pass(5);
        assert_eq!(
            bench.get().await,
            Ok(0),
            "the one who fetches waits a moment"
        );
        bench.counter.gate.add_permits(1);
        while bench.get().await != Ok(1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.fetched(), 2);
    }

    #[tokio::test]
    async fn a_fetch_that_breaks_off_has_failed() {
        let bench = Bench::new();
        bench.counter.fetched.store(100, Ordering::SeqCst);
        assert_eq!(bench.get().await, Err("broken".to_owned()));
        bench.counter.fetched.store(0, Ordering::SeqCst);
        assert_eq!(bench.get().await, Ok(0));
    }
}
