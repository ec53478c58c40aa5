//! Outlives sessions: ends the uploads that nobody will complete, and lets commits come to their
//! end.
//!
//! Parts in flight can land after an abort, so an upload is aborted until the store lists nothing
//! of it. A commit that was sent is never dropped: its outcome is logged here at the latest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::metrics::{Abort, Metrics};
use crate::storage::{Location, SharedStore, StorageErrorKind, UploadId};
use crate::tasks::spawn_tracked;

/// Takes what must not end with its session.
#[derive(Debug, Clone)]
pub struct Reaper {
    tracker: TaskTracker,
    unfinished: Unfinished,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Reaper {
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            tracker: TaskTracker::new(),
            unfinished: Unfinished::default(),
            metrics,
            clock,
        }
    }

    /// Runs a future to its end, whatever becomes of the session that began it; its lines in the
    /// log still name the session. `what` it does is named if the process ends before it.
    pub fn outlive(
        &self,
        what: impl Into<Box<str>>,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let named = self.unfinished.begin(what.into());
        // Dropping a join handle detaches: the tracker owns the task.
        drop(spawn_tracked(&self.tracker, async move {
            let _named = named;
            future.await;
        }));
    }

    /// Ends an upload.
    pub fn abort(&self, store: SharedStore, location: Location, upload: UploadId) {
        self.abort_holding(store, location, upload, ());
    }

    /// The same; `held` is dropped when that is done, or given up.
    pub fn abort_holding(
        &self,
        store: SharedStore,
        location: Location,
        upload: UploadId,
        held: impl Send + 'static,
    ) {
        let (metrics, clock) = (Arc::clone(&self.metrics), Arc::clone(&self.clock));
        let what = format!("abort of the upload {} to {location}", upload.0);
        self.outlive(what, async move {
            let _held = held;
            let mut pause = FIRST_PAUSE;
            for attempt in 1..=ATTEMPTS_MAX {
                if is_gone(&store, &location, &upload).await {
                    tracing::debug!(%location, attempt, "upload aborted");
                    metrics.upload_aborted(Abort::Done);
                    return;
                }
                clock.sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
            metrics.upload_aborted(Abort::GivenUp);
            tracing::warn!(
                %location, upload = %upload.0,
                "unfinished multipart upload left behind: the bucket's lifecycle rule must remove it"
            );
        });
    }

    /// Waits until everything has come to its end.
    pub async fn drain(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Writes what has not come to its end, one line for each of the first ones; returns how much
    /// there is.
    pub fn name_unfinished(&self) -> usize {
        let begun = self.unfinished.begun();
        for what in begun.values().take(NAMED_MAX) {
            tracing::warn!(
                what,
                "the process ends before the outcome of the abort is known"
            );
        }
        begun.len()
    }
}

/// The names of what is running.
#[derive(Debug, Clone, Default)]
struct Unfinished(Arc<Mutex<BTreeMap<u64, Box<str>>>>);

/// A name that is taken away when this is dropped.
#[derive(Debug)]
struct Named {
    all: Unfinished,
    number: u64,
}

impl Unfinished {
    fn begin(&self, what: Box<str>) -> Named {
        let mut begun = self.begun();
        let last = begun.last_key_value().map_or(0, |(number, _)| *number);
        let number = last.wrapping_add(1);
        begun.insert(number, what);
        drop(begun);
        Named {
            all: self.clone(),
            number,
        }
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<u64, Box<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.all.begun().remove(&self.number);
    }
}

async fn is_gone(store: &SharedStore, location: &Location, upload: &UploadId) -> bool {
    if let Err(error) = store.abort(location, upload).await {
        tracing::debug!(%location, %error, "abort failed");
        return false;
    }
    match store.parts(location, upload).await {
        Ok(parts) => parts.is_empty(),
        // A store that forbids looking has confirmed the abort.
        Err(error) => matches!(
            error.kind,
            StorageErrorKind::NoSuchUpload | StorageErrorKind::NotFound | StorageErrorKind::Denied
        ),
    }
}

/// Lines at the end of the process about what is not finished.
const NAMED_MAX: usize = 100;
const ATTEMPTS_MAX: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
