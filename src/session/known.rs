//! What a session remembers of names for a while, so as not to ask S3 again.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::vfs::VirtualPath;

/// Names that were seen.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// A file may be put there without looking again, and they are there until they are removed.
    directories: BTreeSet<VirtualPath>,
    /// Those that were seen before, forgotten when there are as many new ones.
    earlier: BTreeSet<VirtualPath>,
    /// Paths under which STAT found no directory a moment ago: most clients look before they put.
    looked: VecDeque<Looked>,
}

/// What STAT found under a path that is no directory.
#[derive(Debug)]
struct Looked {
    path: VirtualPath,
    asked: Instant,
    nothing: bool,
}

/// What a STAT found under a name just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lately {
    /// A directory, or nobody looked.
    Unknown,
    /// A file, or nothing.
    NoDirectory,
    Nothing,
}

impl Known {
    /// Notes that a directory is there.
    pub(crate) fn directory(&mut self, directory: VirtualPath) {
        if self.directories.len() >= DIRECTORIES_MAX / 2 {
            self.earlier = std::mem::take(&mut self.directories);
        }
        self.directories.insert(directory);
    }

    pub(crate) fn is_directory(&self, path: &VirtualPath) -> bool {
        self.directories.contains(path) || self.earlier.contains(path)
    }

    /// Forgets a directory and what is below it.
    pub(crate) fn forget(&mut self, directory: &VirtualPath) {
        let elsewhere = |known: &VirtualPath| known.below(directory).is_none();
        self.directories.retain(elsewhere);
        self.earlier.retain(elsewhere);
    }

    /// Notes that a STAT found a file, or `nothing`.
    pub(crate) fn no_directory(&mut self, path: VirtualPath, asked: Instant, nothing: bool) {
        if self.looked.len() >= LOOKED_MAX {
            self.looked.pop_front();
        }
        self.looked.push_back(Looked {
            path,
            asked,
            nothing,
        });
    }

    /// Returns what a STAT found there just now. A directory that came since stays reachable
    /// beside the file: S3 allows both.
    pub(crate) fn lately(&self, path: &VirtualPath, now: Instant) -> Lately {
        match self.looked_at(path, now) {
            Some(one) if one.nothing => Lately::Nothing,
            Some(_) => Lately::NoDirectory,
            None => Lately::Unknown,
        }
    }

    fn looked_at(&self, path: &VirtualPath, now: Instant) -> Option<&Looked> {
        let fresh = |one: &Looked| now.saturating_duration_since(one.asked) < LOOKED_FOR;
        let mut newest = self.looked.iter().rev();
        newest.find(|one| one.path == *path && fresh(one))
    }

    /// Forgets what was seen where a name changed.
    pub(crate) fn changed(&mut self, name: &VirtualPath) {
        self.looked.retain(|one| !name.is_related(&one.path));
    }
}

const DIRECTORIES_MAX: usize = 1_000;
const LOOKED_MAX: usize = 64;
const LOOKED_FOR: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_directories_are_known_and_the_others_forgotten() {
        let path = |number: usize| VirtualPath::parse(&format!("/{number}/d")).unwrap();
        let mut known = Known::default();
        for number in 0..3 * DIRECTORIES_MAX {
            known.directory(path(number));
            assert!(known.is_directory(&path(number.saturating_sub(400))));
        }
        assert!(known.directories.len() + known.earlier.len() <= DIRECTORIES_MAX);
        let last = 3 * DIRECTORIES_MAX - 1;
        known.forget(&VirtualPath::parse(&format!("/{last}")).unwrap());
        assert!(!known.is_directory(&path(last)));
        assert!(known.is_directory(&path(last - 1)));
    }
}
