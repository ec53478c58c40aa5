//! The only door to tasks. Each belongs to somebody who can wait for it, and what it logs carries
//! the span of whoever begins it: the session and its user.

use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Begins a task that ends with its set, at the latest.
#[expect(clippy::disallowed_methods, reason = "the door, which adds the span")]
pub(crate) fn spawn<T: Send + 'static>(
    set: &mut JoinSet<T>,
    task: impl Future<Output = T> + Send + 'static,
) -> AbortHandle {
    set.spawn(task.in_current_span())
}

/// Begins a task that the tracker can wait for; dropping the handle leaves it to the tracker.
#[expect(clippy::disallowed_methods, reason = "the door, which adds the span")]
pub(crate) fn spawn_tracked<T: Send + 'static>(
    tracker: &TaskTracker,
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tracker.spawn(task.in_current_span())
}
