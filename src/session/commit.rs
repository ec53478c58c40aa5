//! The one door to what becomes visible in a bucket: put, complete, copy, marker.
//!
//! Every object carries a random nonce. A commit is sent once; when its answer is lost, a HEAD
//! that finds our nonce says that it landed. Otherwise a retried exclusive PUT would see its own
//! 412, and a retried Complete its own "no such upload". What goes from a bucket goes through
//! [`delete`], for the like reason.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::clock::Clock;
use crate::limits;
use crate::reaper::Reaper;
use crate::storage::{
    ByteRange, Checksum, CompleteUpload, CompletedPart, CopyObject, Digest, ETag, ListQuery,
    Location, NewObject, ObjectMeta, ObjectStore, PartNumber, Precondition, PutObject, Result,
    SharedStore, StorageError, StorageErrorKind, Stored, UploadId, UploadPartCopy, Version,
};

use super::expiry::Stop;

/// What becomes visible, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) location: &'a Location,
    pub(crate) object: &'a NewObject,
    pub(crate) condition: &'a Precondition,
}

impl Commit<'_> {
    /// Writes a whole object.
    pub(crate) async fn put(self, payload: Bytes, checksum: Checksum) -> Result<Stored> {
        let put = PutObject {
            object: self.object,
            checksum,
            condition: self.condition,
        };
        let send = || self.store.put(self.location, payload.clone(), put);
        verified(self.send(send).await?, checksum)
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
        let complete = CompleteUpload {
            upload,
            parts,
            checksum,
            condition: self.condition,
        };
        let stored = self.send(|| self.store.complete(self.location, complete));
        match (stored.await?, checksum) {
            (stored, Some(checksum)) => verified(stored, checksum),
            (stored, None) => Ok(stored),
        }
    }

    /// Sends a commit until it is known what became of it, or nobody can tell.
    async fn send<F>(self, send: impl Fn() -> F) -> Result<Stored>
    where
        F: Future<Output = Result<Stored>>,
    {
        let mut tries = 0_u32;
        // Of an earlier try that may still land.
        let mut lost = None;
        loop {
            tries = tries.saturating_add(1);
            match self.settle(send().await).await {
                Settled::NotLanded(error) if tries < TRIES_MAX => {
                    let location = self.location;
                    tracing::debug!(%location, %error, tries, "commit did not land, trying again");
                    if error.kind == StorageErrorKind::OutcomeUnknown {
                        lost = Some(error);
                    }
                    self.clock.sleep(RETRY_PAUSE.saturating_mul(tries)).await;
                }
                Settled::NotLanded(error) => return Err(lost.unwrap_or(error)),
                Settled::Known(outcome) => return outcome,
            }
        }
    }

    /// Turns a lost answer into what really happened, where that can be seen.
    async fn settle(self, outcome: Result<Stored>) -> Settled {
        let error = match outcome {
            Err(error) if is_doubtful(error.kind) => error,
            // The store did not hear all of it, or did not begin.
            Err(error) if error.kind == StorageErrorKind::Unavailable => {
                return Settled::NotLanded(error);
            }
            outcome => return Settled::Known(outcome),
        };
        match self.store.head(self.location).await {
            Ok(meta) if meta.nonce() == Some(self.object.nonce) => {
                let location = self.location;
                tracing::info!(target: "portcullis::audit", %location, "commit landed though its answer was lost");
                Settled::Known(Ok(Stored {
                    etag: meta.etag,
                    checksum: meta.checksum.and_then(Digest::crc64),
                }))
            }
            Ok(_) => not_landed(error),
            Err(looked) if looked.kind == StorageErrorKind::NotFound => not_landed(error),
            // Nobody can tell now.
            Err(_) => Settled::Known(Err(error)),
        }
    }
}

/// Removes an object, or one version of it. A DELETE that is sent again, since its answer was lost,
/// finds that the version is not there; then what is there decides.
pub(crate) async fn delete(
    store: &dyn ObjectStore,
    location: &Location,
    etag: Option<&ETag>,
) -> Result<()> {
    let error = match store.delete(location, etag).await {
        Err(error) if may_be_deleted(error.kind) => error,
        outcome => return outcome,
    };
    match is_gone(store, location).await {
        Ok(true) => {
            tracing::debug!(%location, %error, "deleted though it was not confirmed");
            Ok(())
        }
        // Another version, or nobody can tell now.
        Ok(false) | Err(_) => Err(error),
    }
}

async fn is_gone(store: &dyn ObjectStore, location: &Location) -> Result<bool> {
    match store.head(location).await {
        Ok(_) => Ok(false),
        Err(error) if error.kind == StorageErrorKind::NotFound => Ok(true),
        // A role may list and delete what it may not read.
        Err(error) if error.kind == StorageErrorKind::Denied => {
            let key = location.key.as_str();
            let query = ListQuery {
                prefix: key.to_owned(),
                delimited: false,
                after: None,
                max: 1,
            };
            let page = store.list(&location.bucket, &query).await?;
            Ok(page.objects.iter().all(|object| object.key != key))
        }
        Err(error) => Err(error),
    }
}

/// An object as it was found, and where a copy of it belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copying<'a> {
    pub(crate) source: &'a Location,
    pub(crate) found: &'a ObjectMeta,
    pub(crate) target: &'a Location,
    /// What the copy is to carry.
    pub(crate) object: &'a NewObject,
    pub(crate) condition: &'a Precondition,
    /// Asked between parts.
    pub(crate) stop: &'a Stop,
}

/// Copies an object inside the store, in parts where S3 copies no such large one at once.
pub(crate) async fn copy(
    store: &SharedStore,
    reaper: &Reaper,
    copying: Copying<'_>,
) -> Result<Stored> {
    if copying.found.size > limits::COPY_BYTES_MAX {
        return copy_in_parts(store, reaper, copying).await;
    }
    let copy = CopyObject {
        source: copying.version(),
        object: copying.object,
        condition: copying.condition,
    };
    let send = || store.copy(copying.target, copy);
    copying.commit(&**store).send(send).await
}

async fn copy_in_parts(
    store: &SharedStore,
    reaper: &Reaper,
    copying: Copying<'_>,
) -> Result<Stored> {
    let upload = store.create(copying.target, copying.object).await?;
    let outcome = match copy_ranges(&**store, copying, &upload).await {
        Ok(parts) => {
            let commit = copying.commit(&**store);
            commit.complete(&upload, &parts, None).await
        }
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        reaper.abort(store.clone(), copying.target.clone(), upload);
    }
    outcome
}

async fn copy_ranges(
    store: &dyn ObjectStore,
    copying: Copying<'_>,
    upload: &UploadId,
) -> Result<Vec<CompletedPart>> {
    let size = copying.found.size;
    let step = usize::try_from(COPY_PART_BYTES).unwrap_or(usize::MAX);
    let starts: Vec<(u64, u32)> = (0..size).step_by(step).zip(1..).collect();
    let mut parts = Vec::with_capacity(starts.len());
    for chunk in starts.chunks(PARTS_AT_ONCE) {
        if let Err(refusal) = copying.stop.check() {
            let why = refusal.status.sentence;
            return Err(StorageError::new(StorageErrorKind::Denied, why));
        }
        let copies = chunk.iter().map(|&(start, number)| {
            let end = size.min(start.saturating_add(COPY_PART_BYTES));
            let part = UploadPartCopy {
                upload,
                number: PartNumber(number),
                source: copying.version(),
                range: ByteRange { start, end },
            };
            store.part_copy(copying.target, part)
        });
        let copies: Vec<_> = copies.collect();
        for part in join_all(copies).await {
            parts.push(part?);
        }
    }
    Ok(parts)
}

impl<'a> Copying<'a> {
    fn commit(&self, store: &'a dyn ObjectStore) -> Commit<'a> {
        Commit {
            store,
            clock: self.stop.clock(),
            location: self.target,
            object: self.object,
            condition: self.condition,
        }
    }

    const fn version(&self) -> Version<'a> {
        Version {
            location: self.source,
            etag: &self.found.etag,
        }
    }
}

/// What is known of a commit.
enum Settled {
    Known(Result<Stored>),
    /// The answer was lost, and the key does not hold our object.
    NotLanded(StorageError),
}

/// A definite error stays what it is; only a lost answer may be tried again.
fn not_landed(error: StorageError) -> Settled {
    if error.kind == StorageErrorKind::OutcomeUnknown {
        Settled::NotLanded(error)
    } else {
        Settled::Known(Err(error))
    }
}

/// A repeated commit may meet its own first try.
const fn is_doubtful(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::OutcomeUnknown
            | StorageErrorKind::Precondition
            | StorageErrorKind::NoSuchUpload
    )
}

/// A DELETE may have been carried out, or meet what its first try did.
const fn may_be_deleted(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::Unavailable
            | StorageErrorKind::OutcomeUnknown
            | StorageErrorKind::Precondition
            | StorageErrorKind::NotFound
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

const TRIES_MAX: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// CRC-64/NVME of no bytes.
const EMPTY_CHECKSUM: Checksum = Checksum(0);
const PARTS_AT_ONCE: usize = 8;
const COPY_PART_BYTES: u64 = 1024 * 1024 * 1024;
