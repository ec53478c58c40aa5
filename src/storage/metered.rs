//! Counts and times calls on their way to a store.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::layer::{About, Layer};
use super::{Bucket, Capabilities, Operation, Result, SharedStore, StorageErrorKind};
use crate::clock::Clock;

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
}

impl Meter {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, observer: Arc<dyn CallObserver>) -> Self {
        Self {
            clock,
            observer,
            store: None,
        }
    }

    /// Counts the calls to a store beside the main one.
    #[must_use]
    pub fn of_store(&self, name: &str) -> Self {
        self.observer.begun_beside(name);
        Self {
            store: Some(name.into()),
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
            begun: self.meter.clock.now(),
        };
        let result = run(self.inner.clone()).await;
        under_way.outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.kind),
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
    begun: Instant,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Meter {
            clock,
            observer,
            store,
        } = &self.store.meter;
        let took = clock.now().saturating_duration_since(self.begun);
        match store {
            Some(store) => observer.ended_at(store, self.operation, self.outcome, took),
            None => observer.ended(self.operation, self.outcome, took),
        }
    }
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
