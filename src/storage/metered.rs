//! Counts and times calls on their way to a store, and notices when it no longer answers.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::health::{StoreHealth, Told, Turn, Watched};
use super::layer::{About, Layer};
use super::{Bucket, Capabilities, Operation, Result, SharedStore, StorageError, StorageErrorKind};
use crate::clock::Clock;
use crate::limits::STORE_SILENCE;

/// Is told of every call when it ends. Called on the caller's task: counts, and does not wait.
pub trait CallObserver: Debug + Send + Sync + 'static {
    /// A GET ends with its headers; its body is the reader's affair.
    fn ended(&self, operation: Operation, outcome: Outcome, took: Duration);

    /// The same of a store beside the main one.
    fn ended_at(&self, _store: &str, operation: Operation, outcome: Outcome, took: Duration) {
        self.ended(operation, outcome, took);
    }

    /// There is a store beside the main one.
    fn begun_beside(&self, _store: &str) {}

    /// A store no longer answers, or does again; `None`: the main one. At the start each does.
    fn store_turned(&self, _store: Option<&str>, _is_up: bool) {}

    /// STS was asked for a role; the outcome is `done`, or the reason why there is none.
    fn role_asked(&self, _outcome: &'static str) {}

    /// Of two keys of a section of the configuration the first or the second is in use.
    fn key_in_use(&self, _keys: &str, _position: usize) {}
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    Failed(StorageErrorKind),
    /// The caller went away.
    Cancelled,
}

/// Puts a [`Metered`] before each store of a process.
#[derive(Debug, Clone)]
pub struct Meter {
    clock: Arc<dyn Clock>,
    observer: Arc<dyn CallObserver>,
    /// The name of a store beside the main one.
    store: Option<Arc<str>>,
    health: StoreHealth,
    watched: Arc<Watched>,
}

impl Meter {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, observer: Arc<dyn CallObserver>) -> Self {
        let health = StoreHealth::default();
        observer.store_turned(None, true);
        Self {
            clock,
            observer,
            store: None,
            watched: health.watch(None),
            health,
        }
    }

    /// Returns which stores answer, of this one and those beside it.
    #[must_use]
    pub const fn health(&self) -> &StoreHealth {
        &self.health
    }

    /// Counts the calls to a store beside the main one.
    #[must_use]
    pub fn of_store(&self, name: &str) -> Self {
        self.observer.begun_beside(name);
        self.observer.store_turned(Some(name), true);
        Self {
            store: Some(name.into()),
            watched: self.health.watch(Some(name)),
            ..self.clone()
        }
    }

    /// Returns the store, counted.
    #[must_use]
    pub fn over(&self, inner: SharedStore) -> SharedStore {
        Arc::new(Metered {
            inner,
            meter: self.clone(),
        })
    }

    /// Reports which of two keys is in use.
    pub(super) fn key_in_use(&self, keys: &str, position: usize) {
        self.observer.key_in_use(keys, position);
    }

    /// Notes what a call that has ended tells about the store.
    fn note(&self, call: &UnderWay<'_>, now: Instant) {
        let told = told(call, now.saturating_duration_since(call.begun));
        let Some(turn) = self.watched.hear(told, call.begun, now) else {
            return;
        };
        let section = self.watched.section();
        let is_up = match turn {
            Turn::Away => {
                let operation = call.operation.name();
                let error = call.error.as_deref();
                tracing::warn!(
                    store = section,
                    operation,
                    error,
                    "the store does not answer"
                );
                false
            }
            Turn::Back(after) => {
                let seconds = after.as_secs();
                tracing::info!(store = section, seconds, "the store answers again");
                true
            }
        };
        self.observer.store_turned(self.store.as_deref(), is_up);
    }

    /// Reports how a call to STS ended.
    pub(super) fn role_asked(&self, outcome: &'static str) {
        self.observer.role_asked(outcome);
    }
}

/// Passes every call on and reports it.
#[derive(Debug)]
pub struct Metered {
    inner: SharedStore,
    meter: Meter,
}

impl Metered {
    #[must_use]
    pub fn new(inner: SharedStore, clock: Arc<dyn Clock>, observer: Arc<dyn CallObserver>) -> Self {
        Self {
            inner,
            meter: Meter::new(clock, observer),
        }
    }
}

impl Layer for Metered {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let mut under_way = UnderWay {
            store: self,
            operation: about.operation,
            outcome: Outcome::Cancelled,
            error: None,
            begun: self.meter.clock.now(),
        };
        let result = run(self.inner.clone()).await;
        under_way.outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => {
                under_way.error = worded(error);
                Outcome::Failed(error.kind)
            }
        };
        result
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
    }
}

/// Reports when it is dropped, so that a cancelled call is counted too.
struct UnderWay<'a> {
    store: &'a Metered,
    operation: Operation,
    outcome: Outcome,
    /// Of a call that the store did not answer.
    error: Option<Box<str>>,
    begun: Instant,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let meter = &self.store.meter;
        let (observer, now) = (&meter.observer, meter.clock.now());
        let took = now.saturating_duration_since(self.begun);
        match &meter.store {
            Some(store) => observer.ended_at(store, self.operation, self.outcome, took),
            None => observer.ended(self.operation, self.outcome, took),
        }
        meter.note(self, now);
    }
}

/// Says what the end of a call tells about its store.
fn told(call: &UnderWay<'_>, took: Duration) -> Told {
    match call.outcome {
        Outcome::Done => Told::Answered,
        Outcome::Failed(kind) => of_failure(kind),
        // The caller had waited for long enough.
        Outcome::Cancelled if call.operation.is_short() && took >= STORE_SILENCE => Told::Silent,
        Outcome::Cancelled => Told::Nothing,
    }
}

const fn of_failure(kind: StorageErrorKind) -> Told {
    match kind {
        StorageErrorKind::Unavailable | StorageErrorKind::OutcomeUnknown => Told::Silent,
        StorageErrorKind::NotFound
        | StorageErrorKind::NoSuchUpload
        | StorageErrorKind::Precondition
        | StorageErrorKind::RangeNotSatisfiable
        | StorageErrorKind::Denied
        | StorageErrorKind::ClockSkew
        | StorageErrorKind::Expired
        | StorageErrorKind::RefusedBare => Told::Answered,
        // The store may not have been asked.
        StorageErrorKind::NoSuchBucket
        | StorageErrorKind::Throttled
        | StorageErrorKind::ChecksumMismatch
        | StorageErrorKind::Refused => Told::Nothing,
    }
}

/// Returns what the log says of a call that was not answered.
fn worded(error: &StorageError) -> Option<Box<str>> {
    (of_failure(error.kind) == Told::Silent).then(|| error.detail.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::SystemClock;
    use crate::storage::ObjectStore as _;
    use crate::storage::failing::{Failing, Fault, Gate};
    use crate::storage::memory::MemoryStore;

    #[derive(Debug, Default)]
    struct Seen(Mutex<Vec<(Operation, Outcome)>>);

    #[derive(Debug, Default)]
    struct Turns(Mutex<Vec<(Option<Box<str>>, bool)>>);

    impl CallObserver for Turns {
        fn ended(&self, _: Operation, _: Outcome, _: Duration) {}

        fn store_turned(&self, store: Option<&str>, is_up: bool) {
            let turn = (store.map(Into::into), is_up);
            self.0.lock().unwrap().push(turn);
        }
    }

    /// Goes on when it is told to.
    #[derive(Debug)]
    struct Standing(Mutex<Instant>);

    impl Clock for Standing {
        fn now(&self) -> Instant {
            *self.0.lock().unwrap()
        }

        fn wall(&self) -> std::time::SystemTime {
            SystemClock.wall()
        }
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_reported_once_and_once_when_it_does_again() {
        let bucket = Bucket::parse("b").unwrap();
        let turns = Arc::new(Turns::default());
        let clock = Arc::new(Standing(Mutex::new(SystemClock.now())));
        let meter = Meter::new(clock.clone(), turns.clone());
        let failing = Arc::new(Failing::new(Arc::new(MemoryStore::new(&[&bucket]))));
        for nth in 1..=4 {
            let fault = Fault::Fail(StorageErrorKind::Unavailable);
            failing.spoil(Operation::CheckBucket, nth, fault);
        }
        let far = meter.of_store("far");
        let (main, far) = (
            meter.over(Arc::new(MemoryStore::new(&[&bucket]))),
            far.over(failing),
        );
        for _ in 0..4 {
            main.check_bucket(&bucket).await.unwrap();
            far.check_bucket(&bucket).await.unwrap_err();
            *clock.0.lock().unwrap() += Duration::from_secs(3);
        }
        assert_eq!(meter.health().away(), [Box::<str>::from("store.far")]);
        far.check_bucket(&bucket).await.unwrap();
        assert!(meter.health().away().is_empty());
        let far = |is_up| (Some("far".into()), is_up);
        let expected = [(None, true), far(true), far(false), far(true)];
        assert_eq!(*turns.0.lock().unwrap(), expected);
    }

    impl CallObserver for Seen {
        fn ended(&self, operation: Operation, outcome: Outcome, _took: Duration) {
            self.0.lock().unwrap().push((operation, outcome));
        }
    }

    #[tokio::test]
    async fn every_call_is_reported_once_however_it_ends() {
        let bucket = Bucket::parse("b").unwrap();
        let failing = Failing::new(Arc::new(MemoryStore::new(&[&bucket])));
        let gate = Gate::closed();
        failing.spoil(
            Operation::CheckBucket,
            2,
            Fault::Fail(StorageErrorKind::Denied),
        );
        failing.spoil(Operation::CheckBucket, 3, Fault::Hold(gate.clone()));
        let seen = Arc::new(Seen::default());
        let store = Metered::new(Arc::new(failing), Arc::new(SystemClock), seen.clone());

        store.check_bucket(&bucket).await.unwrap();
        store.check_bucket(&bucket).await.unwrap_err();
        tokio::select! {
            _ = store.check_bucket(&bucket) => unreachable!("the gate is closed"),
            () = gate.reached(1) => {}
        }
        let outcomes = [
            Outcome::Done,
            Outcome::Failed(StorageErrorKind::Denied),
            Outcome::Cancelled,
        ];
        let expected = outcomes.map(|outcome| (Operation::CheckBucket, outcome));
        assert_eq!(*seen.0.lock().unwrap(), expected);
    }
}
