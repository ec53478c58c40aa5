//! A store that fails on cue: what tests put between the gateway and a real store.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::layer::{About, Layer};
use super::{
    Bucket, Capabilities, ObjectBody, Operation, Result, SharedStore, StorageError,
    StorageErrorKind,
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

    /// Makes a call that meets a fault, or none.
    async fn played<T, F>(
        &self,
        operation: Operation,
        due: Option<Fault>,
        run: impl Fn(SharedStore) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        match due {
            Some(Fault::Fail(kind)) => Err(scripted(operation, kind)),
            Some(Fault::LandThenLose) => {
                run(self.inner.clone()).await?;
                let kind = if operation.commits() {
                    StorageErrorKind::OutcomeUnknown
                } else {
                    StorageErrorKind::Unavailable
                };
                Err(scripted(operation, kind))
            }
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                run(self.inner.clone()).await
            }
            Some(Fault::HoldThenFail(gate, kind)) => {
                gate.pass().await;
                Err(scripted(operation, kind))
            }
            Some(Fault::CutBodyAfter(_)) | None => run(self.inner.clone()).await,
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

impl Layer for Failing {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let due = self.due(about.operation);
        self.played(about.operation, due, run).await
    }

    async fn around_get<F, R>(&self, about: About<'_>, run: R) -> Result<ObjectBody>
    where
        F: Future<Output = Result<ObjectBody>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let due = self.due(about.operation);
        let cut_after = match &due {
            Some(Fault::CutBodyAfter(bytes)) => Some(*bytes),
            _ => None,
        };
        let mut body = self.played(about.operation, due, run).await?;
        if let Some(bytes) = cut_after {
            body.frames = cut(body.frames, bytes);
        }
        Ok(body)
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
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
    use crate::storage::memory::MemoryStore;
    use crate::storage::{
        Checksum, GetObject, Key, Location, NewObject, Nonce, ObjectStore as _, Precondition,
        PutObject, Stored,
    };

    fn place() -> Location {
        Location {
            bucket: Bucket::parse("b").unwrap(),
            key: Key::parse("k").unwrap(),
        }
    }

    async fn put(store: &Failing, text: &'static [u8]) -> Result<Stored> {
        let checksum = Checksum(crc_fast::crc64_nvme(text));
        let object = NewObject::new(Nonce::new().unwrap());
        let put = PutObject {
            object: &object,
            checksum,
            condition: &Precondition::None,
        };
        store.put(&place(), Bytes::from_static(text), put).await
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
        let body = failing.get(&place(), GetObject::default()).await.unwrap();
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
