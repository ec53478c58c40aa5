//! The one door to what becomes visible in a bucket: put, complete, copy, marker.
//!
//! Every object carries a random nonce. A commit is sent once; when its answer is lost, a HEAD
//! that finds our nonce says that it landed. Otherwise a retried exclusive PUT would see its own
//! 412, and a retried Complete its own "no such upload".

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::limits;
use crate::reaper::Reaper;
use crate::storage::{
    ByteRange, Checksum, CompleteUpload, CompletedPart, CopyObject, Location, NewObject,
    ObjectMeta, ObjectStore, PartNumber, Precondition, PutObject, Result, SharedStore,
    StorageError, StorageErrorKind, Stored, UploadId, UploadPartCopy, Version,
};

use super::expiry::Stop;

/// Writes a whole object.
pub(crate) async fn put(
    store: &dyn ObjectStore,
    location: &Location,
    payload: Bytes,
    checksum: Checksum,
    object: &NewObject,
    condition: &Precondition,
) -> Result<Stored> {
    let put = PutObject {
        object,
        checksum,
        condition,
    };
    let mut tries = Tries::default();
    loop {
        let sent = store.put(location, payload.clone(), put).await;
        if let Some(outcome) = tries.judge(store, location, object, sent).await {
            return verified(outcome?, checksum);
        }
    }
}

/// Writes the empty object that stands for a directory.
pub(crate) async fn marker(
    store: &dyn ObjectStore,
    location: &Location,
    object: &NewObject,
    condition: &Precondition,
) -> Result<Stored> {
    let empty = Bytes::new();
    put(store, location, empty, EMPTY_CHECKSUM, object, condition).await
}

/// Makes an object out of its parts.
pub(crate) async fn complete(
    store: &dyn ObjectStore,
    location: &Location,
    upload: &UploadId,
    parts: &[CompletedPart],
    checksum: Option<Checksum>,
    object: &NewObject,
    condition: &Precondition,
) -> Result<Stored> {
    let complete = CompleteUpload {
        upload,
        parts,
        checksum,
        condition,
    };
    let stored = send_complete(store, location, complete, object).await?;
    match checksum {
        Some(checksum) => verified(stored, checksum),
        None => Ok(stored),
    }
}

async fn send_complete(
    store: &dyn ObjectStore,
    location: &Location,
    complete: CompleteUpload<'_>,
    object: &NewObject,
) -> Result<Stored> {
    let mut tries = Tries::default();
    loop {
        let sent = store.complete(location, complete).await;
        if let Some(outcome) = tries.judge(store, location, object, sent).await {
            return outcome;
        }
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
    let mut tries = Tries::default();
    loop {
        let sent = store.copy(copying.target, copy).await;
        let judged = tries.judge(&**store, copying.target, copying.object, sent);
        if let Some(outcome) = judged.await {
            return outcome;
        }
    }
}

async fn copy_in_parts(
    store: &SharedStore,
    reaper: &Reaper,
    copying: Copying<'_>,
) -> Result<Stored> {
    let Copying { target, object, .. } = copying;
    let upload = store.create(target, object).await?;
    let outcome = match copy_ranges(&**store, copying, &upload).await {
        Ok(parts) => {
            let complete = CompleteUpload {
                upload: &upload,
                parts: &parts,
                checksum: None,
                condition: copying.condition,
            };
            send_complete(&**store, target, complete, object).await
        }
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        reaper.abort(store.clone(), target.clone(), upload);
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
    const fn version(&self) -> Version<'a> {
        Version {
            location: self.source,
            etag: &self.found.etag,
        }
    }
}

/// How often a commit was sent.
#[derive(Default)]
struct Tries(u32);

impl Tries {
    /// Returns what became of a commit, or `None`, after a pause, when it is known not to have
    /// landed and may be sent again.
    async fn judge(
        &mut self,
        store: &dyn ObjectStore,
        location: &Location,
        object: &NewObject,
        sent: Result<Stored>,
    ) -> Option<Result<Stored>> {
        self.0 = self.0.saturating_add(1);
        match settle(store, location, object, sent).await {
            Settled::NotLanded(error) if self.0 < TRIES_MAX => {
                tracing::debug!(%location, %error, tries = self.0, "commit did not land, trying again");
                tokio::time::sleep(RETRY_PAUSE.saturating_mul(self.0)).await;
                None
            }
            Settled::NotLanded(error) => Some(Err(error)),
            Settled::Known(outcome) => Some(outcome),
        }
    }
}

/// What is known of a commit.
enum Settled {
    Known(Result<Stored>),
    /// The answer was lost, and the key does not hold our object.
    NotLanded(StorageError),
}

/// Turns a lost answer into what really happened, where that can be seen.
async fn settle(
    store: &dyn ObjectStore,
    location: &Location,
    object: &NewObject,
    outcome: Result<Stored>,
) -> Settled {
    let error = match outcome {
        Err(error) if is_doubtful(error.kind) => error,
        outcome => return Settled::Known(outcome),
    };
    match store.head(location).await {
        Ok(meta) if meta.nonce() == Some(object.nonce) => {
            tracing::info!(target: "portcullis::audit", %location, "commit landed though its answer was lost");
            Settled::Known(Ok(Stored {
                etag: meta.etag,
                checksum: meta.checksum,
            }))
        }
        Ok(_) => not_landed(error),
        Err(looked) if looked.kind == StorageErrorKind::NotFound => not_landed(error),
        // Nobody can tell now.
        Err(_) => Settled::Known(Err(error)),
    }
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
