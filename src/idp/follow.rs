//! Files that the operator replaces while the gateway runs: who follows them, and how a change is
//! noticed without reading.

use std::fmt::Debug;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::Signal;

use crate::metrics::{Holding, Metrics};

/// Something that comes from files and can be read again.
pub trait Followed: Debug + Send + Sync + 'static {
    /// Says what the files hold.
    fn holds(&self) -> Holding;

    /// Says whether a file is another than the one that was last read.
    fn changed(&self) -> bool;

    /// Reads again, whatever the files' times say. What is wrong then is logged, and changes
    /// nothing.
    fn reload(&self) -> Reloaded;

    /// Reads again if a file changed, and says whether one did.
    fn reload_if_changed(&self) -> bool {
        let changed = self.changed();
        if changed {
            let _ = self.reload();
        }
        changed
    }
}

/// What became of files that were read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    Done,
    /// They read as before.
    Unchanged,
    /// What was read before stays in use.
    Failed,
}

/// Follows the files until the task is dropped: every two seconds, and at once when told to.
pub async fn follow(followed: Arc<dyn Followed>, mut reload_now: Signal, metrics: Arc<Metrics>) {
    loop {
        let forced = tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => false,
            Some(()) = reload_now.recv() => true,
        };
        let files = Arc::clone(&followed);
        let read = move || (files.changed() || forced).then(|| files.reload());
        // A panic is reported by the runtime; the next round tries again.
        let outcome = tokio::task::spawn_blocking(read).await.ok().flatten();
        let holds = followed.holds();
        match outcome {
            None => {}
            Some(Reloaded::Done) => metrics.reloaded(holds, true),
            Some(Reloaded::Failed) => metrics.reloaded(holds, false),
            Some(Reloaded::Unchanged) if forced => {
                tracing::info!(files = holds.as_str(), "files read again: nothing changed");
            }
            Some(Reloaded::Unchanged) => {}
        }
    }
}

/// The states of some files when they were last read, whether or not they could be used.
#[derive(Debug)]
pub(crate) struct Seen(Mutex<Vec<Option<Stamp>>>);

/// Tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// Takes the files for changed at the first look: it is not known when they were read.
    pub(crate) fn nothing() -> Self {
        Self(Mutex::default())
    }

    /// Looks at the files; to be called before they are read, so that no change is missed.
    pub(crate) fn now<P: AsRef<str>>(paths: &[P]) -> Self {
        Self(Mutex::new(stamps(paths)))
    }

    /// Says whether a file changed since the last look.
    pub(crate) fn changed<P: AsRef<str>>(&self, paths: &[P]) -> bool {
        let now = stamps(paths);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *seen != now;
        *seen = now;
        changed
    }
}

/// `None` for a file that cannot be seen.
fn stamps<P: AsRef<str>>(paths: &[P]) -> Vec<Option<Stamp>> {
    let stamp = |path: &P| {
        let file = std::fs::metadata(path.as_ref()).ok()?;
        Some(Stamp {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    };
    paths.iter().map(stamp).collect()
}

/// How often the files are looked at: the kubelet brings a changed Secret within a minute anyway.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
