//! Keeps what came of a file before its client disconnected: on what that depends, and its mark.
//!
//! An object of one PUT is marked as it is stored. S3 takes the metadata of an object of several
//! parts when the upload begins, before anybody knows how it ends: it is marked by a copy onto
//! itself, at once. A new object that cannot be marked is removed.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::within;
use crate::metrics::AfterDisconnect;
use crate::sftp::{Given, Status};
use crate::storage::retry;
use crate::storage::{
    Digest, Location, NewObject, Nonce, ObjectMeta, ObjectStore, Precondition, Result, SharedStore,
    StorageError, StorageErrorKind, Stored,
};
use crate::transfer::write_file::{Completing, Failure, Heard};
use crate::vfs::VirtualPath;

use super::act::Keeping;
use super::calls::Calls;
use super::commit::bytes_of;
use super::copying::{self, Copying, Onto};
use super::deletion::{Deletion, Sight, What};
use super::scene::OwnScene;
use super::shell::Shell;
use super::status::{CHANGED, EXISTS};
use super::stored_time::store_with;
use super::upload_records::RecordedUpload;

/// What is to be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remains {
    pub(super) size: u64,
    /// It is made of parts: its mark is a copy, for which it has to be read.
    pub(super) parts: bool,
}

/// Looks at what stands under the key, and says on what it depends that something is kept.
pub(super) async fn look(calls: Calls, keeping: Keeping, remains: Remains) {
    let store = retry::patient(&calls.store);
    let outcome = condition(&*store, &calls.location, keeping, remains).await;
    let outcome = match calls.stop.check() {
        Ok(()) => outcome,
        Err(refusal) => Err(Unkept::Storage((&refusal).into())),
    };
    let outcome = outcome.map_err(|unkept| match unkept {
        Unkept::Because(status, reason) => Failure {
            status,
            reason: reason.into(),
        },
        Unkept::Storage(error) => calls.failure(&error),
    });
    calls.tell(Heard::Looked(outcome));
}

/// Says on what it depends that something is kept, by what stands under the key.
pub(super) async fn condition(
    store: &dyn ObjectStore,
    location: &Location,
    keeping: Keeping,
    remains: Remains,
) -> std::result::Result<Precondition, Unkept> {
    let found = store.head(location).await;
    decide(found, keeping, remains)
}

/// Why nothing is kept.
#[derive(Debug)]
pub(super) enum Unkept {
    Because(Status, &'static str),
    Storage(StorageError),
}

fn decide(
    found: Result<ObjectMeta>,
    keeping: Keeping,
    remains: Remains,
) -> std::result::Result<Precondition, Unkept> {
    match found {
        Err(error) if error.kind == StorageErrorKind::NotFound => Ok(Precondition::IfNoneMatch),
        Err(error) if error.kind == StorageErrorKind::Denied => {
            if remains.parts {
                return Err(Unkept::Because(Status::FAILURE, UNREADABLE));
            }
            // The store finds out whether anything is there.
            Ok(Precondition::IfNoneMatch)
        }
        Err(error) => Err(Unkept::Storage(error)),
        Ok(_) if keeping.exclusive => Err(Unkept::Because(EXISTS, "another file is there")),
        Ok(meta) if meta.is_partial() => {
            if meta.size < remains.size {
                Ok(Precondition::IfMatch(meta.etag))
            } else {
                let longer = "a partial upload is there that is at least as long";
                Err(Unkept::Because(Status::FAILURE, longer))
            }
        }
        Ok(meta) if keeping.replace => {
            // Times of objects are whole seconds, and clocks differ.
            let sure = meta.modified.checked_add(CLOCKS_DIFFER);
            if sure.is_some_and(|sure| sure < keeping.opened) {
                Ok(Precondition::IfMatch(meta.etag))
            } else {
                Err(Unkept::Because(CHANGED, "the file there is newer"))
            }
        }
        Ok(_) => Err(Unkept::Because(Status::FAILURE, "a whole file is there")),
    }
}

/// What marks an object.
#[derive(Debug)]
pub(super) struct Marking {
    own: OwnScene,
    for_whom: ForWhom,
}

/// Whose upload it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ForWhom {
    /// Of a session that has ended: there is no second try.
    Session,
    /// Of a process that is gone: its record stays until the object is marked.
    Recovery,
}

/// An object of parts that was stored just now.
#[derive(Debug)]
struct Completed {
    stored: Stored,
    nonce: Nonce,
    /// Nothing was there before.
    is_new: bool,
    given_late: Given,
}

impl Marking {
    pub(super) fn new(shell: &Shell, path: &VirtualPath) -> Self {
        Self::of(OwnScene::new(shell, path), ForWhom::Session)
    }

    /// Returns what leaves to a later round what it cannot mark.
    pub(super) fn recovering(own: OwnScene) -> Self {
        Self::of(own, ForWhom::Recovery)
    }

    fn of(mut own: OwnScene, for_whom: ForWhom) -> Self {
        // What is there has to be marked, or removed.
        own.bounds.stop = own.bounds.clears_up.clone();
        Self { own, for_whom }
    }

    /// Returns the store as it is asked what is there: recovery comes again, and others wait for it.
    fn looks(&self, calls: &Calls) -> SharedStore {
        match self.for_whom {
            ForWhom::Session => retry::patient(&calls.store),
            ForWhom::Recovery => Arc::clone(&calls.store),
        }
    }

    /// Makes an object of parts, and marks it.
    pub(super) async fn complete(
        self,
        calls: Calls,
        object: NewObject,
        completing: Completing,
        recorded: Option<Arc<RecordedUpload>>,
    ) {
        if let Some(recorded) = &recorded
            && let Err(error) = recorded.keeps().await
        {
            // Whoever finds the object without its mark takes it for a whole file.
            let location = &calls.location;
            tracing::debug!(%location, %error, "the record of an upload is not changed");
        }
        let Completing {
            upload,
            parts,
            checksum,
            condition,
            given_late,
            onward: _,
            partial: _,
        } = completing;
        let commit = calls.commit(&object, &condition);
        let completed = match self.for_whom {
            ForWhom::Session => commit.complete(&upload, &parts, checksum).await,
            ForWhom::Recovery => commit.complete_found(&upload, &parts).await,
        };
        let completed = match completed {
            Err(error) if may_have_landed(error.kind) => {
                let made = (object.nonce, bytes_of(&parts));
                self.landed(&calls, made, error).await
            }
            completed => completed,
        };
        let outcome = match completed {
            Ok(stored) => {
                let completed = Completed {
                    stored,
                    nonce: object.nonce,
                    is_new: condition == Precondition::IfNoneMatch,
                    given_late,
                };
                self.mark(&calls, completed).await
            }
            Err(error) => Err(error),
        };
        let failed = outcome.is_err();
        if !calls.report(outcome) && failed {
            self.own
                .scene()
                .reaper
                .abort_holding(calls.store, calls.location, upload, recorded);
        }
    }

    /// Looks whether an object is there although nobody said so. The error: it is not, or nobody can
    /// tell.
    async fn landed(
        &self,
        calls: &Calls,
        (nonce, size): (Nonce, u64),
        error: StorageError,
    ) -> Result<Stored> {
        let location = &calls.location;
        match self.looks(calls).head(location).await {
            Ok(found) if found.nonce() == Some(nonce) && found.size == size => Ok(as_stored(found)),
            Ok(_) => Err(error),
            Err(looked) if looked.kind == StorageErrorKind::NotFound => Err(error),
            Err(looked) => match self.for_whom {
                ForWhom::Session => {
                    self.counts_unmarked();
                    tracing::warn!(%location, error = %looked, "a partial upload may be stored without its mark");
                    Err(error)
                }
                ForWhom::Recovery => Err(not_yet(&looked)),
            },
        }
    }

    fn counts_unmarked(&self) {
        let scene = self.own.scene();
        scene
            .metrics
            .ended_after_disconnect(false, AfterDisconnect::Unmarked);
    }

    /// Marks an object whose upload a process completed that is gone.
    pub(super) async fn mark_found(&self, calls: &Calls, found: ObjectMeta) -> Result<Stored> {
        let unmarked = || StorageError::new(StorageErrorKind::Refused, "it has no nonce");
        let completed = Completed {
            nonce: found.nonce().ok_or_else(unmarked)?,
            stored: as_stored(found),
            // Nobody knows what was there before.
            is_new: false,
            given_late: Given::default(),
        };
        self.mark(calls, completed).await
    }

    /// Marks what was stored just now. What is new and cannot be marked goes.
    async fn mark(&self, calls: &Calls, completed: Completed) -> Result<Stored> {
        let nonce = self.own.scene().nonces.next()?;
        let is_new = completed.is_new;
        let mut error = None;
        for pause in PAUSES {
            if let (true, Err(refusal)) = (is_new, calls.stop.check()) {
                error = Some((&refusal).into());
                break;
            }
            calls.stop.clock().sleep(pause).await;
            match self.marked(calls, &completed, nonce).await {
                Ok(Some(stored)) => return Ok(stored),
                Ok(None) => {
                    let detail = "another version has been stored meanwhile";
                    return Err(StorageError::new(StorageErrorKind::Precondition, detail));
                }
                Err(found) => error = Some(found),
            }
        }
        let why = "it was not marked";
        let error = error.unwrap_or_else(|| StorageError::new(StorageErrorKind::Refused, why));
        if self.for_whom == ForWhom::Recovery {
            return Err(not_yet(&error));
        }
        let location = &calls.location;
        if is_new {
            match self.removed(calls, completed.nonce).await {
                Ok(()) => {
                    let detail = format!("removed, since it could not be marked: {error}");
                    return Err(StorageError::new(error.kind, detail));
                }
                Err(removing) => {
                    tracing::warn!(%location, error = %removing, "a partial upload could be neither marked nor removed");
                }
            }
        }
        self.counts_unmarked();
        tracing::warn!(%location, %error, "a partial upload is stored without its mark");
        Ok(completed.stored)
    }

    /// Removes what was completed, unless somebody else has stored another version: even one of
    /// the same bytes.
    async fn removed(&self, calls: &Calls, nonce: Nonce) -> Result<()> {
        let (store, location) = (retry::patient(&calls.store), &calls.location);
        let found = match store.head(location).await {
            Ok(found) if found.nonce() == Some(nonce) => found,
            Ok(_) => return Ok(()),
            Err(error) if error.kind == StorageErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let deletion = Deletion {
            store: &*calls.store,
            stop: &self.own.bounds.clears_up,
            location,
            found: Sight::of(&found),
            what: What::Version,
        };
        deletion.run().await.map(drop)
    }

    /// Tries to mark it; `None`: somebody else has stored another version.
    async fn marked(
        &self,
        calls: &Calls,
        completed: &Completed,
        nonce: Nonce,
    ) -> Result<Option<Stored>> {
        let (store, location) = (self.looks(calls), &calls.location);
        let found = store.head(location).await?;
        if found.nonce() == Some(nonce) {
            // The answer to an earlier try was lost.
            return Ok(Some(as_stored(found)));
        }
        // Another version may have the same bytes.
        if found.nonce() != Some(completed.nonce) {
            return Ok(None);
        }
        let mut object = NewObject::like(&found, nonce, self.own.bounds.clock().wall());
        object.mark_partial();
        store_with(&mut object, completed.given_late);
        let bytes = copying::parts_bytes(&self.own.bounds.limits, found.size, false);
        let account = &self.own.bounds.shares.account;
        let timeout = self.own.bounds.limits.gate_timeout;
        let memory = within(self.own.bounds.clock(), timeout, account.take(bytes)).await;
        let no_memory = "no memory in limits.session_memory_bytes_max for the copy that marks it";
        let _memory =
            memory.ok_or_else(|| StorageError::new(StorageErrorKind::Unavailable, no_memory))?;
        let copying = Copying {
            source: location,
            found: &found,
            target: location,
            object: &object,
            onto: Onto::Itself,
        };
        copying::copy(&self.own.scene(), copying).await.map(Some)
    }
}

/// Returns what a later round mends, whatever the store said.
fn not_yet(error: &StorageError) -> StorageError {
    let detail = format!("it may be stored without its mark: {error}");
    StorageError::new(StorageErrorKind::Unavailable, detail)
}

/// Says whether an object may be there although its Complete failed.
const fn may_have_landed(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::OutcomeUnknown | StorageErrorKind::ChecksumMismatch
    )
}

fn as_stored(found: ObjectMeta) -> Stored {
    Stored {
        etag: found.etag,
        checksum: found.checksum.and_then(Digest::crc64),
        version_id: found.version_id,
    }
}

const UNREADABLE: &str = "the role may not read the file, which is needed to mark it";
/// Before each try to mark what was stored.
const PAUSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
];
const CLOCKS_DIFFER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::storage::{ETag, PARTIAL};

    const KEEP: Keeping = Keeping {
        over_base: false,
        replace: false,
        exclusive: false,
        opened: SystemTime::UNIX_EPOCH,
    };

    fn found(size: u64, partial: bool) -> ObjectMeta {
        let mark = partial.then(|| (PARTIAL.into(), "true".into()));
        ObjectMeta {
            size,
            etag: ETag("\"there\"".into()),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(100),
            checksum: None,
            composite: None,
            version_id: None,
            content_type: None,
            metadata: mark.into_iter().collect(),
            properties: None,
        }
    }

    fn is_kept(found: Result<ObjectMeta>, keeping: Keeping, parts: bool) -> Option<Precondition> {
        decide(found, keeping, Remains { size: 10, parts }).ok()
    }

    #[test]
    fn only_what_is_missing_or_partial_makes_way_unless_the_mapping_says_so() {
        let error = |kind| Err(StorageError::new(kind, "as the test wants"));
        let there = Some(Precondition::IfMatch(ETag("\"there\"".into())));
        let nothing = Some(Precondition::IfNoneMatch);
        let missing = || error(StorageErrorKind::NotFound);
        assert_eq!(is_kept(missing(), KEEP, true), nothing);
        assert_eq!(is_kept(Ok(found(9, true)), KEEP, true), there);
        assert_eq!(is_kept(Ok(found(10, true)), KEEP, true), None);
        assert_eq!(is_kept(Ok(found(9, false)), KEEP, true), None);
        let denied = || error(StorageErrorKind::Denied);
        assert_eq!(is_kept(denied(), KEEP, true), None);
        assert_eq!(is_kept(denied(), KEEP, false), nothing);
        assert_eq!(
            is_kept(error(StorageErrorKind::Unavailable), KEEP, false),
            None
        );
        let replace = |seconds| Keeping {
            replace: true,
            opened: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            ..KEEP
        };
        assert_eq!(is_kept(Ok(found(99, false)), replace(103), true), there);
        assert_eq!(is_kept(Ok(found(9, false)), replace(102), true), None);
        assert_eq!(is_kept(Ok(found(10, true)), replace(103), true), None);
        let exclusive = Keeping {
            exclusive: true,
            ..replace(103)
        };
        assert_eq!(is_kept(Ok(found(9, true)), exclusive, true), None);
        assert_eq!(is_kept(missing(), exclusive, true), nothing);
    }
}
