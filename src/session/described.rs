//! What an object that is written is to carry: what belongs to the file that it is written over,
//! as far as the user may set it.

use crate::storage::{
    Location, NewObject, Nonce, ObjectMeta, Properties, Result, SharedStore, StorageError,
    StorageErrorKind,
};

use super::shell::Failures;
use super::stored_time::MTIME;

/// A description of a new object, and where the tags are that belong to it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) object: NewObject,
    /// The file that is written over, and who says in the log what is not kept of it.
    over: Option<(Location, Failures)>,
    /// What belongs to that file could not be read.
    unread: bool,
}

impl Described {
    /// Describes an object of which everything is known.
    pub(crate) const fn whole(object: NewObject) -> Self {
        Self {
            object,
            over: None,
            unread: false,
        }
    }

    /// Describes what is written over a file: the same but for the nonce, and the time until the
    /// client sets it.
    pub(crate) fn over(
        location: &Location,
        meta: &ObjectMeta,
        nonce: Nonce,
        failures: Failures,
    ) -> Self {
        let now = failures.clock().wall();
        let mut object = NewObject::like(meta, nonce, now);
        object.metadata.retain(|(name, _)| &**name != MTIME);
        // CLOSE makes it whole.
        object.unmark_partial();
        Self {
            object,
            over: Some((location.clone(), failures)),
            unread: false,
        }
    }

    /// Describes what is written over a file that is known from a listing alone: nothing but its
    /// tags can be kept.
    pub(crate) fn over_unread(location: &Location, object: NewObject, failures: Failures) -> Self {
        Self {
            object,
            over: Some((location.clone(), failures)),
            unread: true,
        }
    }

    /// Goes by the file in its new place from now on; `false`: it is not written over one.
    pub(super) fn moved(&mut self, location: &Location) -> bool {
        let Some((over, _)) = &mut self.over else {
            return false;
        };
        over.clone_from(location);
        true
    }

    /// Marks it as partial, if it is.
    pub(super) fn mark(&mut self, partial: bool) {
        if partial {
            self.object.mark_partial();
        }
    }

    /// Reads the tags of the file that is written over. Who may not see them cannot keep them.
    pub(super) async fn read_tags(&mut self, store: &SharedStore) -> Result<()> {
        let Some((location, failures)) = &self.over else {
            return Ok(());
        };
        if std::mem::take(&mut self.unread)
            && let Some(unlogged) = failures.line_due()
        {
            tracing::warn!(%location, unlogged, "written without type, metadata, class, key and lock, which may not be read");
        }
        let error = match store.tags(location).await {
            Ok(tags) => {
                self.object.tags = tags;
                return Ok(());
            }
            Err(error) => error,
        };
        match error.kind {
            // The store has no tags, or the file is gone, which its commit finds out.
            StorageErrorKind::Refused
            | StorageErrorKind::RefusedBare
            | StorageErrorKind::NotFound => Ok(()),
            StorageErrorKind::Denied => {
                if let Some(unlogged) = failures.line_due() {
                    tracing::info!(%location, %error, unlogged, "written without tags, which cannot be read");
                }
                Ok(())
            }
            StorageErrorKind::NoSuchBucket
            | StorageErrorKind::NoSuchUpload
            | StorageErrorKind::Precondition
            | StorageErrorKind::RangeNotSatisfiable
            | StorageErrorKind::Expired
            | StorageErrorKind::Throttled
            | StorageErrorKind::Unavailable
            | StorageErrorKind::ClockSkew
            | StorageErrorKind::OutcomeUnknown
            | StorageErrorKind::ChecksumMismatch => Err(error),
        }
    }

    /// Leaves to the bucket what may not be set: key and class first, then the lock, then the
    /// tags; `false`: it is not for them that the store refuses.
    pub(super) fn leave(&mut self, refused: &StorageError) -> bool {
        let Some((location, failures)) = &self.over else {
            return false;
        };
        let may = matches!(
            refused.kind,
            StorageErrorKind::Refused | StorageErrorKind::RefusedBare | StorageErrorKind::Denied
        );
        if !may {
            return false;
        }
        let left = if self.object.leave(Properties::leave_key_and_class) {
            "key and class"
        } else if self.object.leave(Properties::leave_lock) {
            "lock"
        } else if !self.object.tags.is_empty() {
            self.object.tags.clear();
            "tags"
        } else {
            return false;
        };
        if let Some(unlogged) = failures.line_due() {
            tracing::warn!(%location, left, error = %refused, unlogged, "left to the bucket what may not be set again");
        }
        true
    }
}

/// What a new object at a place is to carry.
pub(super) fn object_at(location: &Location, nonce: Nonce) -> NewObject {
    NewObject {
        content_type: Some(type_at(location)),
        ..NewObject::new(nonce)
    }
}

/// Returns the type that goes with the name.
pub(super) fn type_at(location: &Location) -> Box<str> {
    let guess = mime_guess::from_path(location.key.as_str()).first_raw();
    guess.unwrap_or("application/octet-stream").into()
}
