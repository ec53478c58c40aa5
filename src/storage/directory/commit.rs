//! What gives a file its name, or takes it away.

use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, PoisonError};

use rustix::io::Errno;

use super::failure::{About, failure, unplaced};
use super::place::Place;
use super::tree::{self, Modified, Unfinished, Unplaced};
use super::turns::Turn;
use super::uploads::{Piece, Upload, assemble, in_order};
use super::{Disk, Kept, still};
use crate::storage::{
    Checksum, CompletedPart, ETag, Precondition, Result, StorageError, StorageErrorKind, Stored,
    UploadId,
};

impl Disk {
    pub(super) fn put(
        &self,
        about: &About,
        payload: &[u8],
        kept: Kept,
        condition: &Precondition,
    ) -> Result<Stored> {
        let place = to_be_taken(about)?;
        if place.is_directory {
            return self.make_directory(about, &place, payload, condition);
        }
        let failed = |error| failure(about, error);
        let (unfinished, _) = self.begin().map_err(failed)?;
        let written = unfinished.file.write_all_at(payload, 0);
        let stored = written
            .map_err(|error| failed(tree::of_std(error)))
            .and_then(|()| {
                let made = Made::new(&unfinished, kept.modified);
                self.finish(about, &place, made, condition)
            });
        self.discard_unless(stored, &unfinished)
    }

    pub(super) fn copy(
        &self,
        (source, pinned): (&About, &ETag),
        about: &About,
        kept: Kept,
        condition: &Precondition,
    ) -> Result<Stored> {
        let place = to_be_taken(about)?;
        if source.key == about.key {
            if source.bucket != about.bucket {
                let why = "it is the same file under another name";
                return Err(about.error(StorageErrorKind::Refused, why));
            }
            if *condition == Precondition::IfNoneMatch {
                return Err(changed(about));
            }
            return self.set_time((source, pinned), &place, kept);
        }
        if place.is_directory {
            return self.make_directory(about, &place, &[], condition);
        }
        let failed = |error| failure(about, error);
        let (file, found) = self.pinned(source, pinned)?;
        let (unfinished, _) = self.begin().map_err(failed)?;
        let stored = tree::copy((&file, 0), (&unfinished.file, 0), tree::size(&found))
            .map_err(failed)
            .and_then(|()| still(source, &file, pinned))
            .and_then(|()| {
                let made = Made {
                    like: Like::Source(tree::permissions(&found)),
                    ..Made::new(&unfinished, kept.modified)
                };
                self.finish(about, &place, made, condition)
            });
        self.discard_unless(stored, &unfinished)
    }

    /// A copy onto itself changes what describes the file, which is its time.
    fn set_time(
        &self,
        (about, pinned): (&About, &ETag),
        place: &Place,
        kept: Kept,
    ) -> Result<Stored> {
        let _lock = self.lock(place);
        let (_, found) = self.pinned(about, pinned)?;
        let now = match kept.modified {
            Some(modified) => {
                let set = self.tree.set_time(place.path(), modified);
                set.map_err(|error| unplaced(about, error))?
            }
            None => found,
        };
        Ok(stored(tree::etag(&now)))
    }

    /// Begins an upload, which keeps its place as long as it is there; `None`: there was none.
    pub(super) fn create(&self, about: &About, kept: Kept, turn: Option<Turn>) -> Result<UploadId> {
        let place = to_be_taken(about)?;
        if place.is_directory {
            return Err(about.error(StorageErrorKind::Refused, "a directory has no parts"));
        }
        let turn = turn.ok_or_else(|| {
            let why = "too many uploads to directories are under way, of this user or of all";
            about.error(StorageErrorKind::Throttled, why)
        })?;
        let begun = self.begin();
        let (unfinished, name) = begun.map_err(|error| failure(about, error))?;
        let id: Arc<str> = name.into();
        let upload = Upload::new(&about.key, unfinished, kept.modified, turn);
        self.uploads.add(upload, &id);
        Ok(UploadId(id))
    }

    pub(super) fn complete(
        &self,
        about: &About,
        id: &UploadId,
        (parts, checksum): (&[CompletedPart], Option<Checksum>),
        condition: &Precondition,
    ) -> Result<Stored> {
        let (place, upload) = (to_be_taken(about)?, self.upload(about, id)?);
        let _completing = upload
            .completing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pieces = upload
            .named(parts, checksum)
            .map_err(|kind| about.error(kind, "the parts are not those that were sent"))?;
        let stored = self.make_whole(about, &place, (&upload, &pieces), condition);
        let stored = stored.map_err(|error| hopeless_if_spoilt(&upload.unfinished, error))?;
        drop(self.uploads.remove(id));
        Ok(stored)
    }

    fn make_whole(
        &self,
        about: &About,
        place: &Place,
        (upload, pieces): (&Upload, &[Piece]),
        condition: &Precondition,
    ) -> Result<Stored> {
        let failed = |error| failure(about, error);
        let made = |unfinished| Made {
            like: Like::Both(upload.permissions()),
            ..Made::new(unfinished, upload.modified)
        };
        let unfinished = &upload.unfinished;
        if let Some(end) = in_order(pieces) {
            if !unfinished.is_spoilt() {
                let cut = unfinished.file.set_len(end).map_err(tree::of_std);
                cut.map_err(failed)?;
            }
            return self.finish(about, place, made(unfinished), condition);
        }
        // What is read back may otherwise be what the disk did not keep.
        unfinished.sync().map_err(failed)?;
        let (whole, _) = self.begin().map_err(failed)?;
        let stored = assemble(&unfinished.file, pieces, &whole.file)
            .map_err(failed)
            .and_then(|()| self.finish(about, place, made(&whole), condition));
        let stored = self.discard_unless(stored, &whole)?;
        let _ = self.tree.discard(unfinished);
        Ok(stored)
    }

    pub(super) fn delete(&self, about: &About, pinned: Option<&ETag>) -> Result<()> {
        let Some(place) = Place::of(&about.key) else {
            return pinned.map_or(Ok(()), |_| Err(about.missing()));
        };
        let _lock = self.lock(&place);
        let found = if pinned.is_some() {
            self.look_closely(about)
        } else {
            self.look(about)
        };
        match (found, pinned) {
            (Ok(found), Some(pinned)) if tree::etag(&found) != *pinned => {
                return Err(changed(about));
            }
            (Ok(_), _) => {}
            (Err(error), None) if error.kind == StorageErrorKind::NotFound => return Ok(()),
            (Err(error), _) => return Err(error),
        }
        match self.tree.remove(place.split(), place.is_directory) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // Something came into it, or is in it that is not shown: a link, a pipe.
            Err(Errno::NOTEMPTY | Errno::EXIST) if place.is_directory => {
                let why = "something is in the directory";
                Err(about.error(StorageErrorKind::Precondition, why))
            }
            Err(error) => Err(failure(about, error)),
        }
    }

    fn make_directory(
        &self,
        about: &About,
        place: &Place,
        payload: &[u8],
        condition: &Precondition,
    ) -> Result<Stored> {
        if !payload.is_empty() {
            let why = "a name that ends with a slash is a directory: no bytes can be in it";
            return Err(about.error(StorageErrorKind::Refused, why));
        }
        let is_new = self.tree.make_directory(place.split());
        let is_new = is_new.map_err(|error| unplaced(about, error))?;
        let found = self.tree.look(place.path());
        let found = found.map_err(|error| failure(about, error))?;
        if !found.is_dir() {
            return Err(about.error(StorageErrorKind::Refused, "a file has this name"));
        }
        let there = tree::etag(&found);
        match condition {
            Precondition::IfNoneMatch if !is_new => Err(changed(about)),
            Precondition::IfMatch(etag) if *etag != there => Err(changed(about)),
            Precondition::None | Precondition::IfNoneMatch | Precondition::IfMatch(_) => {
                Ok(stored(there))
            }
        }
    }

    /// Has a file on the disk and gives it its name.
    fn finish(
        &self,
        about: &About,
        place: &Place,
        made: Made<'_>,
        condition: &Precondition,
    ) -> Result<Stored> {
        let failed = |error| failure(about, error);
        let unfinished = made.unfinished;
        let like = made.like.and(self.replaced(place));
        unfinished.permit(like).map_err(failed)?;
        if let Some(modified) = made.modified {
            modified.set(&unfinished.file).map_err(failed)?;
        }
        unfinished.sync().map_err(failed)?;
        let found = unfinished.file.metadata().map_err(tree::of_std);
        let etag = tree::etag(&found.map_err(failed)?);
        let _lock = self.lock(place);
        match condition {
            Precondition::None => self.tree.place(unfinished, place.split()),
            Precondition::IfNoneMatch => match self.tree.place_new(unfinished, place.split()) {
                Err(Unplaced::Not(Errno::EXIST)) => return Err(changed(about)),
                outcome => outcome,
            },
            Precondition::IfMatch(expected) => {
                if tree::etag(&self.look_closely(about)?) != *expected {
                    return Err(changed(about));
                }
                self.tree.place(unfinished, place.split())
            }
        }
        .map_err(|error| {
            if let Unplaced::Unknown(_) = error {
                // Another try would hear nothing of what went wrong.
                unfinished.spoil();
            }
            unplaced(about, error)
        })?;
        Ok(stored(etag))
    }

    /// Returns the permission bits of the file that is to give way.
    fn replaced(&self, place: &Place) -> Option<u32> {
        let found = self.tree.look(place.path()).ok();
        let found = found.filter(std::fs::Metadata::is_file);
        found.as_ref().map(tree::permissions)
    }

    /// Removes a file that did not get its name.
    fn discard_unless<T>(&self, outcome: Result<T>, unfinished: &Unfinished) -> Result<T> {
        if outcome.is_err() {
            // What stays is swept a day later.
            let _ = self.tree.discard(unfinished);
        }
        outcome
    }
}

/// A file that is whole, and what it is to have beside its bytes.
#[derive(Debug, Clone, Copy)]
struct Made<'a> {
    unfinished: &'a Unfinished,
    modified: Option<Modified>,
    like: Like,
}

/// Whose permission bits a file gets.
#[derive(Debug, Clone, Copy)]
enum Like {
    /// Those of what it replaces.
    Replaced,
    /// Those of the file that it is a copy of.
    Source(u32),
    /// What both of them allow: bytes of the one may be in it, and it stands for the other.
    Both(Option<u32>),
}

impl<'a> Made<'a> {
    const fn new(unfinished: &'a Unfinished, modified: Option<Modified>) -> Self {
        Self {
            unfinished,
            modified,
            like: Like::Replaced,
        }
    }
}

impl Like {
    /// Returns the bits; `None`: those of a new file.
    const fn and(self, replaced: Option<u32>) -> Option<u32> {
        match (self, replaced) {
            (Self::Source(source), _) | (Self::Both(Some(source)), None) => Some(source),
            (Self::Both(Some(source)), Some(replaced)) => Some(source & replaced),
            (Self::Replaced | Self::Both(None), replaced) => replaced,
        }
    }
}

/// Ends the tries with a file that the disk did not keep, or of which it is not known.
fn hopeless_if_spoilt(unfinished: &Unfinished, error: StorageError) -> StorageError {
    if !unfinished.is_spoilt() || error.kind == StorageErrorKind::OutcomeUnknown {
        return error;
    }
    let detail = format!("the disk did not keep all of it: {}", error.detail);
    StorageError::new(StorageErrorKind::Refused, detail)
}

fn to_be_taken(about: &About) -> Result<Place> {
    Place::of(&about.key).ok_or_else(|| {
        let why = "no file can have this name";
        about.error(StorageErrorKind::Refused, why)
    })
}

fn changed(about: &About) -> StorageError {
    about.error(StorageErrorKind::Precondition, "another version is there")
}

const fn stored(etag: ETag) -> Stored {
    Stored {
        etag,
        checksum: None,
        version_id: None,
    }
}
