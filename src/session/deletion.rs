//! The only place where anything is removed from a bucket.
//!
//! A DELETE whose answer was lost may have been carried out, and minutes may go by until the store
//! hears the next one: by then somebody may have put another object there. So before a DELETE is
//! sent again it is seen what stands there, and only the version that was found first is deleted.

use std::time::SystemTime;

use crate::clock::unix_seconds;
use crate::storage::retry;
use crate::storage::{
    ETag, ListQuery, ListedObject, Location, Nonce, ObjectMeta, ObjectStore, Operation, Removed,
    Result, StorageError, StorageErrorKind,
};

use super::expiry::Stop;

/// What goes, and from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deletion<'a> {
    pub(super) store: &'a dyn ObjectStore,
    /// Asked before it is sent again.
    pub(super) stop: &'a Stop,
    pub(super) location: &'a Location,
    /// The version that was found there.
    pub(super) found: Sight<'a>,
    pub(super) what: What,
}

/// One version of an object, by what was seen of it: an `ETag` names bytes, and all empty objects
/// have the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight<'a> {
    etag: &'a ETag,
    modified: Option<SystemTime>,
    nonce: Option<Nonce>,
}

impl<'a> Sight<'a> {
    pub(super) fn of(meta: &'a ObjectMeta) -> Self {
        Self {
            etag: &meta.etag,
            modified: Some(meta.modified),
            nonce: meta.nonce(),
        }
    }

    /// Listings tell no nonce.
    pub(super) const fn listed(object: &'a ListedObject) -> Self {
        Self {
            etag: &object.etag,
            modified: Some(object.modified),
            nonce: None,
        }
    }

    /// Where nothing else is kept.
    pub(super) const fn by_etag(etag: &'a ETag) -> Self {
        Self {
            etag,
            modified: None,
            nonce: None,
        }
    }

    /// Says whether it is the same version, by all that both tell; a HEAD tells whole seconds.
    fn is(self, other: Self) -> bool {
        let same_time = match (self.modified, other.modified) {
            (Some(one), Some(other)) => unix_seconds(one) == unix_seconds(other),
            (Some(_) | None, _) => true,
        };
        self.etag == other.etag && same_time
    }
}

/// What is meant to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing but the version that was found; another one is a failure.
    Version,
    /// Whatever has the name. Another version that stands there after a while came after it had
    /// gone, in all that anybody could see.
    Name,
}

impl Deletion<'_> {
    /// Deletes it, once. Of a DELETE whose answer was lost it is not known what was said.
    pub(super) async fn run(self) -> Result<Removed> {
        let outcome = self.sent().await;
        self.stop.note(self.location);
        outcome
    }

    async fn sent(self) -> Result<Removed> {
        let clock = self.stop.clock();
        let bucket = &self.location.bucket;
        let mut tries = retry::tries(self.store, Operation::Delete, bucket, clock);
        let mut condition = match self.what {
            What::Version => Some(self.found.etag),
            What::Name => None,
        };
        loop {
            let mut error = match self.store.delete(self.location, condition).await {
                Ok(removed) => return Ok(removed),
                Err(error) => error,
            };
            if !is_open(error.kind) {
                return Err(error);
            }
            // These came after the version had gone.
            let definite = matches!(
                error.kind,
                StorageErrorKind::Precondition | StorageErrorKind::NotFound
            );
            condition = loop {
                if !definite && !self.stop.lets_again(&mut tries, &mut error).await {
                    return match self.look().await {
                        Ok(There::Nothing) => Ok(Removed::default()),
                        Ok(There::Found { .. } | There::Another) | Err(_) => Err(error),
                    };
                }
                match self.look().await {
                    Ok(There::Nothing) => {
                        let location = self.location;
                        tracing::debug!(%location, %error, "deleted although the answer was lost");
                        return Ok(Removed::default());
                    }
                    Ok(There::Another) if self.what == What::Name => {
                        return Ok(Removed::default());
                    }
                    Ok(There::Another) => return Err(replaced(&error)),
                    Ok(There::Found { .. }) if definite => return Err(error),
                    Ok(There::Found { readable }) => break readable.then_some(self.found.etag),
                    Err(looked) if !definite && retry::may_be_repeated(looked.kind) => {}
                    Err(_) => return Err(error),
                }
            };
        }
    }

    async fn look(self) -> Result<There> {
        match self.store.head(self.location).await {
            Ok(meta) if self.is_found(&meta) => Ok(There::Found { readable: true }),
            Ok(_) => Ok(There::Another),
            Err(error) if error.kind == StorageErrorKind::NotFound => Ok(There::Nothing),
            // A role may list and delete what it may not read.
            Err(error) if error.kind == StorageErrorKind::Denied => self.look_in_listing().await,
            Err(error) => Err(error),
        }
    }

    fn is_found(self, meta: &ObjectMeta) -> bool {
        let there = Sight::of(meta);
        let nonce = self.found.nonce;
        self.found.is(there) && (nonce.is_none() || nonce == there.nonce)
    }

    async fn look_in_listing(self) -> Result<There> {
        let key = self.location.key.as_str();
        let query = ListQuery::first(key);
        let page = self.store.list(&self.location.bucket, &query).await?;
        match page.objects.iter().find(|object| object.key == key) {
            Some(object) if self.found.is(Sight::listed(object)) => {
                Ok(There::Found { readable: false })
            }
            Some(_) => Ok(There::Another),
            None if page.objects.is_empty() && page.prefixes.is_empty() && page.next.is_none() => {
                Ok(There::Nothing)
            }
            // What is listed may come before it: not every store lists in order of bytes.
            None => Err(StorageError::new(
                StorageErrorKind::Denied,
                "the object at the key may not be read",
            )),
        }
    }
}

fn replaced(error: &StorageError) -> StorageError {
    StorageError::new(
        StorageErrorKind::Precondition,
        format!("another version has been stored meanwhile ({error})"),
    )
}

/// What stands under the key.
enum There {
    /// What was found first.
    Found {
        /// A condition on what may not be read is refused.
        readable: bool,
    },
    Another,
    Nothing,
}

/// A DELETE may have been carried out, or meet what its first try did.
const fn is_open(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::OutcomeUnknown
            | StorageErrorKind::Precondition
            | StorageErrorKind::NotFound
    ) || retry::may_be_repeated(kind)
}
