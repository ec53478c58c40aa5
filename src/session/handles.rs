//! The open files and directories of a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metrics::Metrics;
use crate::sftp::HandleId;
use crate::vfs::VirtualPath;

use super::list::Listing;
use super::reading::Reading;
use super::writing::Writing;

/// What a handle stands for. A file opened for both has both halves.
#[derive(Debug)]
pub(crate) enum Handle {
    Directory(Box<Listing>),
    File {
        reading: Option<Box<Reading>>,
        writing: Option<Box<Writing>>,
    },
}

/// Handles by their numbers, which are never used twice in a session.
#[derive(Debug)]
pub(crate) struct Handles {
    open: BTreeMap<HandleId, Handle>,
    next: u32,
    metrics: Arc<Metrics>,
}

impl Handles {
    pub(crate) const fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            open: BTreeMap::new(),
            next: 0,
            metrics,
        }
    }

    pub(crate) fn insert(&mut self, handle: Handle) -> HandleId {
        self.metrics.handle_opened();
        let id = HandleId(self.next);
        self.next = self.next.wrapping_add(1);
        self.open.insert(id, handle);
        id
    }

    pub(crate) fn get_mut(&mut self, id: HandleId) -> Option<&mut Handle> {
        self.open.get_mut(&id)
    }

    /// Returns a handle whose CLOSE did not come yet.
    pub(crate) fn usable(&mut self, id: HandleId) -> Option<&mut Handle> {
        self.get_mut(id).filter(|handle| match handle {
            Handle::File {
                writing: Some(writing),
                ..
            } => !writing.close_asked,
            Handle::File { writing: None, .. } | Handle::Directory(_) => true,
        })
    }

    pub(crate) fn remove(&mut self, id: HandleId) -> Option<Handle> {
        let handle = self.open.remove(&id)?;
        self.metrics.handle_closed();
        Some(handle)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn ids(&self) -> Vec<HandleId> {
        self.open.keys().copied().collect()
    }

    /// Returns the files that are being written.
    pub(crate) fn uploads(&self) -> impl Iterator<Item = &Writing> {
        self.open.values().filter_map(|handle| match handle {
            Handle::File {
                writing: Some(writing),
                ..
            } => Some(&**writing),
            Handle::File { writing: None, .. } | Handle::Directory(_) => None,
        })
    }

    pub(crate) fn uploads_mut(&mut self) -> impl Iterator<Item = &mut Writing> {
        self.open.values_mut().filter_map(|handle| match handle {
            Handle::File {
                writing: Some(writing),
                ..
            } => Some(&mut **writing),
            Handle::File { writing: None, .. } | Handle::Directory(_) => None,
        })
    }

    /// Returns the upload under a path, as STAT shows it.
    pub(crate) fn upload_at(&self, path: &VirtualPath) -> Option<&Writing> {
        self.uploads()
            .find(|upload| upload.path == *path && upload.will_appear())
    }

    /// Says whether a file is being written at a path or below it.
    pub(crate) fn is_written_under(&self, path: &VirtualPath) -> bool {
        self.uploads()
            .any(|upload| upload.path.below(path).is_some() && upload.will_appear())
    }

    /// Returns names and sizes of the uploads that stand in a directory.
    pub(crate) fn uploads_in(&self, directory: &VirtualPath) -> Vec<(String, u64)> {
        let inside = |upload: &&Writing| {
            upload.will_appear() && upload.path.parent().as_ref() == Some(directory)
        };
        let row = |upload: &Writing| Some((upload.path.name()?.to_owned(), upload.size()));
        self.uploads().filter(inside).filter_map(row).collect()
    }
}
