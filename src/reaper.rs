//! Outlives sessions: ends the uploads that nobody will complete, and lets commits come to their
//! end.
//!
//! Parts in flight can land after an abort, so an upload is aborted until the store lists nothing
//! of it. A commit that was sent is never dropped: its outcome is logged here at the latest.

use std::sync::Arc;
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
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Reaper {
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            tracker: TaskTracker::new(),
            metrics,
            clock,
        }
    }

    /// Runs a future to its end, whatever becomes of the session that began it; its lines in the
    /// log still name the session.
    pub fn outlive(&self, future: impl Future<Output = ()> + Send + 'static) {
        // Dropping a join handle detaches: the tracker owns the task.
        drop(spawn_tracked(&self.tracker, future));
    }

    /// Ends an upload.
    pub fn abort(&self, store: SharedStore, location: Location, upload: UploadId) {
        let (metrics, clock) = (Arc::clone(&self.metrics), Arc::clone(&self.clock));
        self.outlive(async move {
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
                "unfinished upload left behind; the bucket's lifecycle rule has to remove it"
            );
        });
    }

    /// Waits until everything has come to its end.
    pub async fn drain(&self) {
        self.tracker.close();
        self.tracker.wait().await;
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

const ATTEMPTS_MAX: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
