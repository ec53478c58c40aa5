//! The only way to start a task. Each belongs to somebody who can wait for it, and what it logs
//! carries the span of its caller: the session and its user.

use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Begins a task that ends with its set, at the latest.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that adds the span"
)]
pub(crate) fn spawn<T: Send + 'static>(
    set: &mut JoinSet<T>,
    task: impl Future<Output = T> + Send + 'static,
) -> AbortHandle {
    set.spawn(task.in_current_span())
}

/// Begins a task that the tracker can wait for; dropping the handle leaves it to the tracker.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that adds the span"
)]
pub(crate) fn spawn_tracked<T: Send + 'static>(
    tracker: &TaskTracker,
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tracker.spawn(task.in_current_span())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_has_the_span_of_whoever_begins_it() {
        let subscriber = crate::telemetry::spans_alone();
        let _guard = tracing::subscriber::set_default(subscriber);
        let span = tracing::info_span!("connection");
        let (mut set, tracker) = (JoinSet::new(), TaskTracker::new());
        let here = || async { tracing::Span::current().id() };
        let tracked = {
            let _entered = span.enter();
            spawn(&mut set, here());
            spawn_tracked(&tracker, here())
        };
        assert!(span.id().is_some());
        assert_eq!(set.join_next().await.unwrap().unwrap(), span.id());
        assert_eq!(tracked.await.unwrap(), span.id());
    }
}
