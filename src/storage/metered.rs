//! Counts and times calls on their way to a store.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Bucket, ByteRange, Capabilities, Checksum, CompletedPart, ETag, ListPage, ListQuery, Location,
    NewObject, ObjectBody, ObjectMeta, ObjectStore, Operation, PartNumber, Precondition, Result,
    SharedStore, StorageErrorKind, Stored, UploadId,
};
use crate::clock::Clock;

/// Is told of every call when it ends. Called on the caller's task: counts, and does not wait.
pub trait CallObserver: Debug + Send + Sync + 'static {
    /// A GET ends with its headers; its body is the reader's affair.
    fn ended(&self, operation: Operation, outcome: Outcome, took: Duration);

    /// STS was asked for a role; the outcome is `done`, or the reason why there is none.
    fn role_asked(&self, _outcome: &'static str) {}
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
}

impl Meter {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, observer: Arc<dyn CallObserver>) -> Self {
        Self { clock, observer }
    }

    /// Returns the store, counted.
    #[must_use]
    pub fn over(&self, inner: SharedStore) -> SharedStore {
        let Self { clock, observer } = self.clone();
        Arc::new(Metered::new(inner, clock, observer))
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
    clock: Arc<dyn Clock>,
    observer: Arc<dyn CallObserver>,
}

impl Metered {
    #[must_use]
    pub fn new(inner: SharedStore, clock: Arc<dyn Clock>, observer: Arc<dyn CallObserver>) -> Self {
        Self {
            inner,
            clock,
            observer,
        }
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let mut under_way = UnderWay {
            store: self,
            operation,
            outcome: Outcome::Cancelled,
            begun: self.clock.now(),
        };
        let result = call.await;
        under_way.outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.kind),
        };
        result
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
        let took = self.store.clock.now().saturating_duration_since(self.begun);
        self.store
            .observer
            .ended(self.operation, self.outcome, took);
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        self.timed(Operation::Head, self.inner.head(location)).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<ByteRange>,
        etag: Option<&ETag>,
    ) -> Result<ObjectBody> {
        let call = self.inner.get(location, range, etag);
        self.timed(Operation::Get, call).await
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        self.timed(Operation::List, self.inner.list(bucket, query))
            .await
    }

    async fn put(
        &self,
        location: &Location,
        payload: Bytes,
        checksum: Checksum,
        object: &NewObject,
        condition: &Precondition,
    ) -> Result<Stored> {
        let call = self
            .inner
            .put(location, payload, checksum, object, condition);
        self.timed(Operation::Put, call).await
    }

    async fn copy(
        &self,
        source: &Location,
        source_etag: &ETag,
        target: &Location,
        object: &NewObject,
        condition: &Precondition,
    ) -> Result<Stored> {
        let call = self
            .inner
            .copy(source, source_etag, target, object, condition);
        self.timed(Operation::Copy, call).await
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<()> {
        self.timed(Operation::Delete, self.inner.delete(location, etag))
            .await
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        self.timed(Operation::Create, self.inner.create(location, object))
            .await
    }

    async fn part(
        &self,
        location: &Location,
        upload: &UploadId,
        number: PartNumber,
        offset: u64,
        payload: Bytes,
        checksum: Checksum,
    ) -> Result<CompletedPart> {
        let call = self
            .inner
            .part(location, upload, number, offset, payload, checksum);
        self.timed(Operation::Part, call).await
    }

    async fn part_copy(
        &self,
        location: &Location,
        upload: &UploadId,
        number: PartNumber,
        source: &Location,
        source_etag: &ETag,
        range: ByteRange,
    ) -> Result<CompletedPart> {
        let call = self
            .inner
            .part_copy(location, upload, number, source, source_etag, range);
        self.timed(Operation::PartCopy, call).await
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        self.timed(Operation::Parts, self.inner.parts(location, upload))
            .await
    }

    async fn complete(
        &self,
        location: &Location,
        upload: &UploadId,
        parts: &[CompletedPart],
        checksum: Option<Checksum>,
        condition: &Precondition,
    ) -> Result<Stored> {
        let call = self
            .inner
            .complete(location, upload, parts, checksum, condition);
        self.timed(Operation::Complete, call).await
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        self.timed(Operation::Abort, self.inner.abort(location, upload))
            .await
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        self.timed(Operation::CheckBucket, self.inner.check_bucket(bucket))
            .await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::SystemClock;
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
