//! A store that is slow, fails and loses answers, as the dice fall.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use portcullis::clock::Clock as _;
use portcullis::storage::layer::{About, Layer};
use portcullis::storage::{
    Bucket, Capabilities, ObjectBody, Operation, Result, SharedStore, StorageError,
    StorageErrorKind,
};

use super::time::VirtualClock;

#[derive(Debug)]
pub(super) struct Weather {
    inner: SharedStore,
    clock: Arc<VirtualClock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dice: fastrand::Rng,
    /// The longest that most calls take.
    slow: Duration,
    /// One call of so many meets a fault; 0: none does.
    faults: u32,
}

/// What one call meets.
struct Fate {
    before: Duration,
    after: Duration,
    fault: Option<Fault>,
}

#[derive(Clone, Copy)]
enum Fault {
    Refused(StorageErrorKind),
    AnswerLost,
    CutAfter(usize),
}

impl Weather {
    pub(super) fn over(
        inner: SharedStore,
        clock: Arc<VirtualClock>,
        dice: &mut fastrand::Rng,
    ) -> Arc<Self> {
        let slow = [0, 1, 50, 3_000][dice.usize(..4)];
        let faults = [0, 0, 60, 8][dice.usize(..4)];
        let state = Mutex::new(State {
            dice: dice.fork(),
            slow: Duration::from_millis(slow),
            faults,
        });
        Arc::new(Self {
            inner,
            clock,
            state,
        })
    }

    /// From now on everything works.
    pub(super) fn clears_up(&self) {
        self.state.lock().unwrap().faults = 0;
    }

    fn fate(&self, operation: Operation) -> Fate {
        let state = &mut *self.state.lock().unwrap();
        let slow = u64::try_from(state.slow.as_micros()).unwrap();
        let mut wait = || {
            // Now and then a call hangs for long.
            let most = if state.dice.u32(..40) == 0 {
                slow * 8
            } else {
                slow
            };
            Duration::from_micros(state.dice.u64(..=most))
        };
        let (before, after) = (wait(), wait());
        let faults = state.faults;
        let meets = faults > 0 && state.dice.u32(..faults) == 0;
        let fault = meets.then(|| match (state.dice.u32(..4), operation) {
            (0, _) => Fault::Refused(StorageErrorKind::Throttled),
            (1, Operation::Get) => Fault::CutAfter(state.dice.usize(..200_000)),
            // What nobody knows of is left to the bucket's lifecycle rule.
            (2, operation) if operation != Operation::Create => Fault::AnswerLost,
            _ => Fault::Refused(StorageErrorKind::Unavailable),
        });
        Fate {
            before,
            after,
            fault,
        }
    }

    async fn meet<T, F>(
        &self,
        operation: Operation,
        fate: &Fate,
        run: impl Fn(SharedStore) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        self.clock.sleep(fate.before).await;
        let outcome = match fate.fault {
            Some(Fault::Refused(kind)) => Err(StorageError::new(kind, "the dice fell so")),
            Some(Fault::AnswerLost) => {
                run(self.inner.clone()).await?;
                let kind = if operation.commits() {
                    StorageErrorKind::OutcomeUnknown
                } else {
                    StorageErrorKind::Unavailable
                };
                Err(StorageError::new(kind, "the answer was lost"))
            }
            Some(Fault::CutAfter(_)) | None => run(self.inner.clone()).await,
        };
        self.clock.sleep(fate.after).await;
        outcome
    }
}

impl Layer for Weather {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let fate = self.fate(about.operation);
        self.meet(about.operation, &fate, run).await
    }

    async fn around_get<F, R>(&self, about: About<'_>, run: R) -> Result<ObjectBody>
    where
        F: Future<Output = Result<ObjectBody>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let fate = self.fate(about.operation);
        let mut body = self.meet(about.operation, &fate, run).await?;
        let left = match fate.fault {
            Some(Fault::CutAfter(bytes)) => Some(bytes),
            _ => None,
        };
        let clock = Arc::clone(&self.clock);
        body.frames = in_time(body.frames, clock, fate.after, left);
        Ok(body)
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
    }
}

/// Lets frames come one after the other, and breaks after so many bytes.
fn in_time(
    frames: BoxStream<'static, Result<Bytes>>,
    clock: Arc<VirtualClock>,
    each: Duration,
    left: Option<usize>,
) -> BoxStream<'static, Result<Bytes>> {
    stream::unfold(Some((frames, left)), move |state| {
        let clock = Arc::clone(&clock);
        async move {
            let (mut frames, left) = state?;
            if left == Some(0) {
                let cut = StorageError::new(StorageErrorKind::Unavailable, "the body was cut");
                return Some((Err(cut), None));
            }
            let mut frame = frames.next().await?.unwrap();
            clock.sleep(each).await;
            let left = left.map(|left| {
                frame.truncate(left);
                left - frame.len()
            });
            Some((Ok(frame), Some((frames, left))))
        }
    })
    .boxed()
}
