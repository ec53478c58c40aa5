//! A store that fails on cue: what tests put between the gateway and a real store.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::{
    Bucket, ByteRange, Capabilities, Checksum, CompletedPart, ETag, ListPage, ListQuery, Location,
    NewObject, ObjectBody, ObjectMeta, ObjectStore, Operation, PartNumber, Precondition, Result,
    SharedStore, StorageError, StorageErrorKind, Stored, UploadId,
};

/// Passes every call on, except those it was told to spoil.
#[derive(Debug)]
pub struct Failing {
    inner: SharedStore,
    script: Mutex<Vec<Cue>>,
}

/// What happens to one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The store is not asked.
    Fail(StorageErrorKind),
    /// The store does the work and its answer is lost.
    LandThenLose,
    /// The body of a GET ends with an error after so many bytes.
    CutBodyAfter(u64),
    /// The call waits for the gate before the store is asked.
    Hold(Gate),
    /// The call waits for the gate, and the store is never asked.
    HoldThenFail(Gate, StorageErrorKind),
}

#[derive(Debug)]
struct Cue {
    operation: Operation,
    /// Calls still to pass before this one is due.
    passes: u32,
    fault: Fault,
}

impl Failing {
    #[must_use]
    pub fn new(inner: SharedStore) -> Self {
        Self {
            inner,
            script: Mutex::default(),
        }
    }

    /// Spoils the `nth` call of an operation from now on, counted from 1, once.
    pub fn spoil(&self, operation: Operation, nth: u32, fault: Fault) {
        self.with_script(|script| {
            script.push(Cue {
                operation,
                passes: nth.saturating_sub(1),
                fault,
            });
        });
    }

    /// Returns how many faults have not happened yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.with_script(|script| script.len())
    }

    fn with_script<T>(&self, act: impl FnOnce(&mut Vec<Cue>) -> T) -> T {
        act(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a call and returns the fault that is due for it.
    fn due(&self, operation: Operation) -> Option<Fault> {
        self.with_script(|script| {
            let mut due = None;
            script.retain_mut(|cue| {
                if cue.operation != operation {
                    return true;
                }
                if cue.passes == 0 && due.is_none() {
                    due = Some(cue.fault.clone());
                    return false;
                }
                cue.passes = cue.passes.saturating_sub(1);
                true
            });
            due
        })
    }

    async fn played<T: Send>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match self.due(operation) {
            Some(Fault::Fail(kind)) => Err(scripted(operation, kind)),
            Some(Fault::LandThenLose) => {
                call.await?;
                let kind = if operation.commits() {
                    StorageErrorKind::OutcomeUnknown
                } else {
                    StorageErrorKind::Unavailable
                };
                Err(scripted(operation, kind))
            }
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                call.await
            }
            Some(Fault::HoldThenFail(gate, kind)) => {
                gate.pass().await;
                Err(scripted(operation, kind))
            }
            Some(Fault::CutBodyAfter(_)) | None => call.await,
        }
    }
}

/// Holds calls back until a test lets them through. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Gate {
    /// Begins closed.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(false)),
            waiting: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until so many calls have come to the gate.
    pub async fn reached(&self, calls: usize) {
        let mut waiting = self.waiting.subscribe();
        // The sender lives as long as `self`, so the wait ends only by the count.
        drop(waiting.wait_for(|count| *count >= calls).await);
    }

    async fn pass(&self) {
        self.waiting.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        drop(open.wait_for(|open| *open).await);
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        self.played(Operation::Head, self.inner.head(location))
            .await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<ByteRange>,
        etag: Option<&ETag>,
    ) -> Result<ObjectBody> {
        let call = self.inner.get(location, range, etag);
        match self.due(Operation::Get) {
            Some(Fault::Fail(kind)) => Err(scripted(Operation::Get, kind)),
            Some(Fault::LandThenLose) => {
                drop(call.await?);
                Err(scripted(Operation::Get, StorageErrorKind::Unavailable))
            }
            Some(Fault::CutBodyAfter(bytes)) => {
                let mut body = call.await?;
                body.frames = cut(body.frames, bytes);
                Ok(body)
            }
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                call.await
            }
            Some(Fault::HoldThenFail(gate, kind)) => {
                gate.pass().await;
                Err(scripted(Operation::Get, kind))
            }
            None => call.await,
        }
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        self.played(Operation::List, self.inner.list(bucket, query))
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
        self.played(Operation::Put, call).await
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
        self.played(Operation::Copy, call).await
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<()> {
        self.played(Operation::Delete, self.inner.delete(location, etag))
            .await
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        self.played(Operation::Create, self.inner.create(location, object))
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
        self.played(Operation::Part, call).await
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
        self.played(Operation::PartCopy, call).await
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        self.played(Operation::Parts, self.inner.parts(location, upload))
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
        self.played(Operation::Complete, call).await
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        self.played(Operation::Abort, self.inner.abort(location, upload))
            .await
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        self.played(Operation::CheckBucket, self.inner.check_bucket(bucket))
            .await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

fn scripted(operation: Operation, kind: StorageErrorKind) -> StorageError {
    StorageError::new(kind, format!("{}: as the test told", operation.name()))
}

/// Lets so many bytes through and then breaks, also when they are all there are.
fn cut(frames: BoxStream<'static, Result<Bytes>>, bytes: u64) -> BoxStream<'static, Result<Bytes>> {
    let left = usize::try_from(bytes).unwrap_or(usize::MAX);
    stream::unfold(Some((frames, left)), |state| async {
        let (mut frames, left) = state?;
        let cut = scripted(Operation::Get, StorageErrorKind::Unavailable);
        if left == 0 {
            return Some((Err(cut), None));
        }
        match frames.next().await {
            Some(Ok(mut frame)) => {
                frame.truncate(left);
                let left = left - frame.len();
                Some((Ok(frame), Some((frames, left))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => Some((Err(cut), None)),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Key;
    use crate::storage::memory::MemoryStore;

    fn place() -> Location {
        Location {
            bucket: Bucket::parse("b").unwrap(),
            key: Key::parse("k").unwrap(),
        }
    }

    async fn put(store: &Failing, text: &'static [u8]) -> Result<Stored> {
        let checksum = Checksum(crc_fast::crc64_nvme(text));
        let object = NewObject::default();
        let payload = Bytes::from_static(text);
        store
            .put(&place(), payload, checksum, &object, &Precondition::None)
            .await
    }

    fn store() -> (Arc<MemoryStore>, Failing) {
        let memory = Arc::new(MemoryStore::new(&[&place().bucket]));
        (memory.clone(), Failing::new(memory))
    }

    #[tokio::test]
    async fn the_nth_call_fails_and_the_others_pass() {
        let (memory, failing) = store();
        failing.spoil(Operation::Put, 2, Fault::Fail(StorageErrorKind::Throttled));
        put(&failing, b"one").await.unwrap();
        assert_eq!(
            put(&failing, b"two").await.unwrap_err().kind,
            StorageErrorKind::Throttled
        );
        assert_eq!(memory.object(&place()).unwrap(), "one");
        put(&failing, b"three").await.unwrap();
        assert_eq!(failing.pending(), 0);
    }

    #[tokio::test]
    async fn a_lost_commit_has_landed() {
        let (memory, failing) = store();
        failing.spoil(Operation::Put, 1, Fault::LandThenLose);
        let lost = put(&failing, b"one").await.unwrap_err();
        assert_eq!(lost.kind, StorageErrorKind::OutcomeUnknown);
        assert_eq!(memory.object(&place()).unwrap(), "one");
    }

    #[tokio::test]
    async fn a_cut_body_delivers_what_came_before_and_then_an_error() {
        let (_, failing) = store();
        put(&failing, b"0123456789").await.unwrap();
        failing.spoil(Operation::Get, 1, Fault::CutBodyAfter(4));
        let body = failing.get(&place(), None, None).await.unwrap();
        let frames: Vec<_> = body.frames.collect().await;
        assert_eq!(frames[0].as_ref().unwrap(), "0123");
        assert!(frames[1].is_err() && frames.len() == 2);
    }

    #[tokio::test]
    async fn a_held_call_reaches_the_store_after_the_gate_opens() {
        let (memory, failing) = store();
        let gate = Gate::closed();
        failing.spoil(Operation::Put, 1, Fault::Hold(gate.clone()));
        let test = async {
            gate.reached(1).await;
            assert!(memory.object(&place()).is_none());
            gate.open();
        };
        let (stored, ()) = tokio::join!(put(&failing, b"one"), test);
        stored.unwrap();
        assert!(memory.object(&place()).is_some());
    }
}
