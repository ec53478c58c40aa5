//! What people hear of a request that takes long: now and then a line in the log, and a sentence
//! on the channel's standard error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::vfs::VirtualPath;

use super::out::Out;
use super::shell::Unlogged;

/// Speaks of the progress of one request.
#[derive(Debug)]
pub(super) struct Progress {
    /// What is done: "moving".
    doing: &'static str,
    path: VirtualPath,
    out: Arc<Out>,
    clock: Arc<dyn Clock>,
    said_at: Mutex<Instant>,
}

impl Progress {
    pub(super) fn new(
        doing: &'static str,
        path: VirtualPath,
        out: Arc<Out>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let said_at = Mutex::new(clock.now());
        Self {
            doing,
            path,
            out,
            clock,
            said_at,
        }
    }

    /// Says that the move waits for others of the same user.
    pub(super) fn waits(&self, unlogged: Unlogged) {
        let Self { doing, path, .. } = self;
        tracing::info!(%path, unlogged, "a move waits: the user has reached the limit");
        self.out.stderr(format!(
            "{doing} {path}: waiting until another of your moves ends\n"
        ));
    }

    /// Notes how far the move of a directory is; most calls say nothing.
    pub(super) fn passed(&self, step: Step, files: usize, total: usize) {
        let now = self.clock.now();
        let mut said_at = self.said_at.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(*said_at) < INTERVAL {
            return;
        }
        *said_at = now;
        let path = &self.path;
        tracing::info!(%path, step = step.as_str(), files, total, "moving a directory");
        self.out.stderr(match step {
            Step::Listed => format!("moving {path}: {files} files found so far\n"),
            Step::Copied => format!("moving {path}: {files} of {total} files copied\n"),
            Step::Deleted => {
                format!("moving {path}: all copied, {files} of {total} files removed\n")
            }
            Step::TakenBack => {
                format!("moving {path} failed: {files} of {total} copies removed\n")
            }
        });
    }
}

/// What is done to the files of a directory that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Listed,
    Copied,
    /// At the old place.
    Deleted,
    /// Deleted at the new place.
    TakenBack,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Copied => "copied",
            Self::Deleted => "deleted",
            Self::TakenBack => "taken-back",
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    /// Goes on by four seconds at every look.
    #[derive(Debug)]
    struct Ticking(Mutex<Instant>);

    impl Clock for Ticking {
        fn now(&self) -> Instant {
            let mut now = self.0.lock().unwrap();
            *now += Duration::from_secs(4);
            *now
        }

        fn wall(&self) -> std::time::SystemTime {
            SystemClock.wall()
        }
    }

    #[test]
    fn a_long_move_is_spoken_of_now_and_then() {
        let budget = crate::budget::Budget::new(&crate::limits::Limits::default());
        let out = Arc::new(Out::new(budget.user().account));
        let clock = Arc::new(Ticking(Mutex::new(SystemClock.now())));
        let path = VirtualPath::parse("/in/old").unwrap();
        let progress = Progress::new("moving", path, Arc::clone(&out), clock);
        for files in 1..=7 {
            progress.passed(Step::Copied, files * 8, 100);
        }
        let said: Vec<_> = out.take_stderr();
        assert_eq!(
            said,
            [
                "moving /in/old: 24 of 100 files copied\n",
                "moving /in/old: 48 of 100 files copied\n"
            ]
        );
    }
}
