//! The only place where anything becomes visible in a bucket: put, complete, copy, marker.
//!
//! Every object carries a random nonce. When the answer to a commit is lost, a HEAD that finds our
//! nonce says that it landed. Otherwise a retried exclusive PUT would see its own 412, and a
//! retried Complete its own "no such upload". A commit is sent again only as long as the user may
//! change anything, and only onto what stood there while it was under way: an object put there since
//! stays. What goes from a bucket goes through [`Deletion`](super::deletion::Deletion), for the like
//! reason.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::storage::retry::{self, Tries};
use crate::storage::{
    Checksum, CompleteUpload, CompletedPart, CopyObject, Digest, ETag, Location, NewObject,
    ObjectMeta, ObjectStore, Operation, Precondition, PutObject, Result, StorageError,
    StorageErrorKind, Stored, UploadId, Version, list_one,
};

use super::expiry::Stop;

/// What becomes visible, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    /// Asked before anything is sent again.
    pub(crate) stop: &'a Stop,
    pub(crate) location: &'a Location,
    pub(crate) object: &'a NewObject,
    pub(crate) condition: &'a Precondition,
}

impl Commit<'_> {
    /// Writes a whole object.
    pub(crate) async fn put(self, payload: Bytes, checksum: Checksum) -> Result<Stored> {
        let stored = self.send(Change::Put { payload, checksum }).await?;
        verified(stored, checksum)
    }

    /// Writes the empty object that stands for a directory.
    pub(crate) async fn marker(self) -> Result<Stored> {
        self.put(Bytes::new(), EMPTY_CHECKSUM).await
    }

    /// Makes an object out of its parts.
    pub(crate) async fn complete(
        self,
        upload: &UploadId,
        parts: &[CompletedPart],
        checksum: Option<Checksum>,
    ) -> Result<Stored> {
        let change = Change::Complete {
            upload,
            parts,
            checksum,
            is_own: true,
        };
        match (self.send(change).await?, checksum) {
            (stored, Some(checksum)) => verified(stored, checksum),
            (stored, None) => Ok(stored),
        }
    }

    /// Makes an object out of the parts of an upload that another process began, and may have ended:
    /// one that is gone counts as completed here only if an answer was lost.
    pub(crate) async fn complete_found(
        self,
        upload: &UploadId,
        parts: &[CompletedPart],
    ) -> Result<Stored> {
        let change = Change::Complete {
            upload,
            parts,
            checksum: None,
            is_own: false,
        };
        self.send(change).await
    }

    /// Copies one version of an object as a whole.
    pub(crate) async fn copy(self, source: Version<'_>) -> Result<Stored> {
        self.send(Change::Copy { source }).await
    }

    /// Sends a commit until it is known what became of it, or nobody can tell.
    async fn send(self, change: Change<'_>) -> Result<Stored> {
        let outcome = self.sent(change).await;
        self.stop.note(self.location);
        outcome
    }

    async fn sent(self, change: Change<'_>) -> Result<Stored> {
        let clock = self.stop.clock();
        let bucket = &self.location.bucket;
        let mut sending = Sending {
            tries: retry::tries(self.store, change.operation(), bucket, clock),
            begun: clock.wall(),
            lost: None,
        };
        self.check_unhonoured(&change).await?;
        let mut condition = self.condition.clone();
        loop {
            let error = match self.once(&change, &condition).await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            match self.after(&mut sending, &change, error).await {
                Next::SendAgain(under) => condition = under,
                Next::Known(stored) => return Ok(stored),
                Next::Failed(error) => return Err(sending.lost.unwrap_or(error)),
            }
        }
    }

    /// Looks whether that is still there on which the commit depends, where the store does not do
    /// it.
    async fn check_unhonoured(self, change: &Change<'_>) -> Result<()> {
        let expected = match self.condition {
            Precondition::None => return Ok(()),
            Precondition::IfMatch(etag) => Some(etag),
            Precondition::IfNoneMatch => None,
        };
        if self.honours(change) {
            return Ok(());
        }
        let patient = self.store.patient();
        let found = self.version(patient.as_deref().unwrap_or(self.store));
        if found.await?.as_ref() != expected {
            let detail = format!("{}: another version is there", self.location);
            return Err(StorageError::new(StorageErrorKind::Precondition, detail));
        }
        // The user's access may have ended while it was asked.
        self.stop.check().map_err(|refusal| (&refusal).into())
    }

    /// Returns the version that is there, from a listing where its key may not be read.
    async fn version(self, store: &dyn ObjectStore) -> Result<Option<ETag>> {
        let denied = match store.head(self.location).await {
            Ok(meta) => return Ok(Some(meta.etag)),
            Err(error) if error.kind == StorageErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind == StorageErrorKind::Denied => error,
            Err(error) => return Err(error),
        };
        match list_one(store, self.location).await {
            Ok(object) => Ok(object.map(|object| object.etag)),
            Err(error) if error.kind == StorageErrorKind::Denied => Err(denied),
            Err(error) => Err(error),
        }
    }

    async fn once(self, change: &Change<'_>, condition: &Precondition) -> Result<Stored> {
        let object = self.object;
        match change {
            Change::Put { payload, checksum } => {
                let put = PutObject {
                    object,
                    checksum: *checksum,
                    condition,
                };
                self.store.put(self.location, payload.clone(), put).await
            }
            Change::Complete {
                upload,
                parts,
                checksum,
                is_own: _,
            } => {
                let complete = CompleteUpload {
                    upload,
                    parts,
                    checksum: *checksum,
                    condition,
                };
                self.store.complete(self.location, complete).await
            }
            Change::Copy { source } => {
                let copy = CopyObject {
                    source: *source,
                    object,
                    condition,
                };
                self.store.copy(self.location, copy).await
            }
        }
    }

    /// Decides what follows a try that failed.
    async fn after(
        self,
        sending: &mut Sending,
        change: &Change<'_>,
        mut error: StorageError,
    ) -> Next {
        if may_have_met_itself(error.kind) {
            if !change.is_own() && sending.lost.is_none() {
                return Next::Failed(error);
            }
            let patient = self.store.patient();
            let store = patient.as_deref().unwrap_or(self.store);
            return match self.look(store, change).await {
                Ok(There::Ours(stored)) => Next::Known(stored),
                Ok(There::Another(_) | There::Nothing) | Err(_) => Next::Failed(error),
            };
        }
        if !retry::may_be_repeated(error.kind) && error.kind != StorageErrorKind::OutcomeUnknown {
            return Next::Failed(error);
        }
        if error.kind == StorageErrorKind::OutcomeUnknown {
            sending.lost = Some(error.clone());
        }
        let in_doubt = sending.lost.is_some();
        let conditional = self.honours(change) && *self.condition != Precondition::None;
        while self.stop.lets_again(&mut sending.tries, &mut error).await {
            if conditional && !in_doubt {
                return Next::SendAgain(self.condition.clone());
            }
            let location = self.location;
            match self.look(self.store, change).await {
                Ok(There::Ours(stored)) => return Next::Known(stored),
                Ok(There::Another(meta)) if sending.is_newer(&meta) => {
                    tracing::info!(%location, %error, "commit is not retried: another object has been stored meanwhile");
                    return Next::Failed(error);
                }
                Ok(there) if !self.may_hold(&there) => return Next::Failed(error),
                Ok(_) if conditional => return Next::SendAgain(self.condition.clone()),
                // A store that keeps no conditions leaves them out.
                Ok(There::Another(meta)) => {
                    return Next::SendAgain(Precondition::IfMatch(meta.etag));
                }
                Ok(There::Nothing) => return Next::SendAgain(Precondition::IfNoneMatch),
                // Who may not look, and lost nothing, can only go on.
                Err(looked) if looked.kind == StorageErrorKind::Denied && !in_doubt => {
                    return Next::SendAgain(Precondition::None);
                }
                Err(looked) if retry::may_be_repeated(looked.kind) => {}
                // Nobody can tell.
                Err(_) => return Next::Failed(error),
            }
        }
        // Too late to send it, and not to look once more.
        if in_doubt && let Ok(There::Ours(stored)) = self.look(self.store, change).await {
            return Next::Known(stored);
        }
        Next::Failed(error)
    }

    async fn look(self, store: &dyn ObjectStore, change: &Change<'_>) -> Result<There> {
        match store.head(self.location).await {
            Ok(meta) if meta.nonce() == Some(self.object.nonce) && change.makes(meta.size) => {
                let location = self.location;
                tracing::info!(target: "portcullis::audit", %location, "commit succeeded although its answer was lost");
                Ok(There::Ours(Stored {
                    etag: meta.etag,
                    checksum: meta.checksum.and_then(Digest::crc64),
                    version_id: meta.version_id,
                }))
            }
            Ok(meta) => Ok(There::Another(meta)),
            Err(error) if error.kind == StorageErrorKind::NotFound => Ok(There::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Says whether what was wished for holds, with what was seen.
    fn may_hold(self, there: &There) -> bool {
        match (self.condition, there) {
            (Precondition::None, _) | (_, There::Ours(_)) => true,
            (Precondition::IfNoneMatch, There::Nothing) => true,
            (Precondition::IfNoneMatch, There::Another(_)) => false,
            (Precondition::IfMatch(etag), There::Another(meta)) => meta.etag == *etag,
            (Precondition::IfMatch(_), There::Nothing) => false,
        }
    }

    /// Says whether the store keeps conditions on such a change.
    fn honours(self, change: &Change<'_>) -> bool {
        let kept = self.store.capabilities(&self.location.bucket);
        match change {
            Change::Put { .. } => kept.conditional_put,
            Change::Complete { .. } => kept.conditional_complete,
            Change::Copy { .. } => kept.conditional_copy,
        }
    }
}

/// What a commit sends.
enum Change<'a> {
    Put {
        payload: Bytes,
        checksum: Checksum,
    },
    Complete {
        upload: &'a UploadId,
        parts: &'a [CompletedPart],
        checksum: Option<Checksum>,
        /// This process began the upload.
        is_own: bool,
    },
    Copy {
        source: Version<'a>,
    },
}

impl Change<'_> {
    const fn operation(&self) -> Operation {
        match self {
            Self::Put { .. } => Operation::Put,
            Self::Complete { .. } => Operation::Complete,
            Self::Copy { .. } => Operation::Copy,
        }
    }

    const fn is_own(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Copy { .. } => true,
            Self::Complete { is_own, .. } => *is_own,
        }
    }

    /// Says whether the object that it makes has so many bytes. Another process may have made one
    /// of fewer parts of the same upload, which has its nonce.
    fn makes(&self, size: u64) -> bool {
        match self {
            Self::Put { .. } | Self::Copy { .. } => true,
            Self::Complete { parts, .. } => bytes_of(parts) == size,
        }
    }
}

/// A commit that is under way.
struct Sending {
    tries: Tries,
    begun: SystemTime,
    /// Of a try whose answer was lost, and which may land yet.
    lost: Option<StorageError>,
}

impl Sending {
    /// Says whether an object was written while the commit was under way. Times of objects are
    /// whole seconds, and clocks differ.
    fn is_newer(&self, meta: &ObjectMeta) -> bool {
        let sure = self.begun.checked_add(CLOCKS_DIFFER);
        sure.is_some_and(|sure| meta.modified > sure)
    }
}

/// What follows a try that failed.
enum Next {
    SendAgain(Precondition),
    Known(Stored),
    Failed(StorageError),
}

/// What stands under a key.
enum There {
    Ours(Stored),
    Another(ObjectMeta),
    Nothing,
}

/// Returns how many bytes an object of these parts has.
pub(super) fn bytes_of(parts: &[CompletedPart]) -> u64 {
    let sizes = parts.iter().map(|part| part.size);
    sizes.fold(0, u64::saturating_add)
}

/// A commit that is sent again may meet its own first try.
const fn may_have_met_itself(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::Precondition | StorageErrorKind::NoSuchUpload
    )
}

fn verified(stored: Stored, checksum: Checksum) -> Result<Stored> {
    match stored.checksum {
        Some(found) if found != checksum => Err(StorageError::new(
            StorageErrorKind::ChecksumMismatch,
            format!("sent {:016x}, stored {:016x}", checksum.0, found.0),
        )),
        Some(_) | None => Ok(stored),
    }
}

/// CRC-64/NVME of no bytes.
const EMPTY_CHECKSUM: Checksum = Checksum(0);
const CLOCKS_DIFFER: Duration = Duration::from_secs(2);
