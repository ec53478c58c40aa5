//! What a session remembers of names for a while, so as not to ask S3 again.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::vfs::VirtualPath;

/// Names that were seen.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// A file may be put there without looking again.
    directories: BTreeSet<VirtualPath>,
    /// Paths under which STAT found no directory a moment ago: most clients look before they put.
    looked: VecDeque<(VirtualPath, Instant)>,
}

impl Known {
    /// Notes that a directory is there.
    pub(crate) fn directory(&mut self, directory: VirtualPath) {
        if self.directories.len() >= DIRECTORIES_MAX {
            self.directories.clear();
        }
        self.directories.insert(directory);
    }

    pub(crate) fn is_directory(&self, path: &VirtualPath) -> bool {
        self.directories.contains(path)
    }

    /// Forgets a directory and what is below it.
    pub(crate) fn forget(&mut self, directory: &VirtualPath) {
        let elsewhere = |known: &VirtualPath| known.below(directory).is_none();
        self.directories.retain(elsewhere);
    }

    /// Notes that a STAT found no directory.
    pub(crate) fn no_directory(&mut self, path: VirtualPath, asked: Instant) {
        if self.looked.len() >= LOOKED_MAX {
            self.looked.pop_front();
        }
        self.looked.push_back((path, asked));
    }

    /// Says whether a STAT found no directory there just now. A directory that came since stays
    /// reachable beside the file: S3 allows both.
    pub(crate) fn is_no_directory(&self, path: &VirtualPath, now: Instant) -> bool {
        let fresh = |asked: Instant| now.saturating_duration_since(asked) < LOOKED_FOR;
        self.looked
            .iter()
            .any(|(looked, asked)| looked == path && fresh(*asked))
    }

    /// Forgets what was seen where a name changed.
    pub(crate) fn changed(&mut self, name: &VirtualPath) {
        self.looked.retain(|(path, _)| !name.is_related(path));
    }
}

const DIRECTORIES_MAX: usize = 1_000;
const LOOKED_MAX: usize = 64;
const LOOKED_FOR: Duration = Duration::from_secs(2);
