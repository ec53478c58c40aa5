//! Checksums of files that a STAT told a moment ago (pure): most clients look before they read.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::vfs::VirtualPath;

use super::sums::VersionSums;

/// The latest ones.
#[derive(Debug, Default)]
pub(crate) struct SeenSums {
    files: VecDeque<SeenFile>,
    bytes: usize,
}

#[derive(Debug)]
struct SeenFile {
    path: VirtualPath,
    asked: Instant,
    sums: VersionSums,
}

impl SeenSums {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns what one more takes.
    pub(crate) fn cost(path: &VirtualPath, sums: &VersionSums) -> usize {
        let text = path.as_str().len().saturating_add(sums.etag.0.len());
        text.saturating_add(FILE_BYTES)
    }

    /// Takes what was told of a file.
    pub(crate) fn add(&mut self, path: VirtualPath, asked: Instant, sums: VersionSums) {
        self.forget(&path);
        self.bytes = self.bytes.saturating_add(Self::cost(&path, &sums));
        self.files.push_back(SeenFile { path, asked, sums });
    }

    /// Returns what was told of a file lately.
    pub(crate) fn of(
        &self,
        path: &VirtualPath,
        fresh_for: Duration,
        now: Instant,
    ) -> Option<&VersionSums> {
        let mut newest = self.files.iter().rev();
        let file = newest.find(|file| file.path == *path)?;
        let age = now.saturating_duration_since(file.asked);
        (age < fresh_for).then_some(&file.sums)
    }

    /// Forgets the oldest one; says whether there was one.
    pub(crate) fn forget_one(&mut self) -> bool {
        let oldest = self.files.pop_front();
        if let Some(file) = &oldest {
            let cost = Self::cost(&file.path, &file.sums);
            self.bytes = self.bytes.saturating_sub(cost);
        }
        oldest.is_some()
    }

    /// Forgets what is at a name or below it.
    pub(crate) fn forget(&mut self, name: &VirtualPath) {
        self.files.retain(|file| file.path.below(name).is_none());
        let left = self.files.iter();
        let left = left.map(|file| Self::cost(&file.path, &file.sums));
        self.bytes = left.fold(0, usize::saturating_add);
    }

    /// Forgets what is no longer fresh.
    pub(crate) fn forget_old(&mut self, fresh_for: Duration, now: Instant) {
        while let Some(oldest) = self.files.front()
            && now.saturating_duration_since(oldest.asked) >= fresh_for
        {
            self.forget_one();
        }
    }

    /// Says when one is no longer fresh.
    pub(crate) fn until(&self, fresh_for: Duration) -> Option<Instant> {
        self.files.front()?.asked.checked_add(fresh_for)
    }
}

/// What a file takes beside its name and `ETag`.
const FILE_BYTES: usize = 256;
