//! Making an object visible, once, and knowing whether it happened.
//!
//! Every object carries a random nonce. A commit is sent once; when its answer is lost, a HEAD
//! that finds our nonce says that it landed. Otherwise a retried exclusive PUT would see its own
//! 412, and a retried Complete its own "no such upload".

use std::time::Duration;

use bytes::Bytes;

use crate::storage::{
    Checksum, CompleteUpload, CompletedPart, Location, NewObject, ObjectStore, Precondition,
    PutObject, Result, StorageError, StorageErrorKind, Stored, UploadId,
};

/// The metadata name under which the nonce is kept.
pub(crate) const NONCE: &str = "portcullis-nonce";

/// Returns 128 random bits as text.
pub(crate) fn nonce() -> Box<str> {
    let mut bytes = [0; 16];
    // Without randomness two commits could be taken for each other; the time tells them apart
    // well enough for a system whose random source is broken.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = std::process::id()
            .to_be_bytes()
            .repeat(4)
            .try_into()
            .unwrap_or(bytes);
    }
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
}

/// Writes a whole object.
pub(crate) async fn put(
    store: &dyn ObjectStore,
    location: &Location,
    payload: Bytes,
    checksum: Checksum,
    object: &NewObject,
    condition: &Precondition,
) -> Result<Stored> {
    let mut tries = Tries::default();
    loop {
        let put = PutObject {
            object,
            checksum,
            condition,
        };
        let sent = store.put(location, payload.clone(), put).await;
        if let Some(outcome) = tries.judge(store, location, object, sent).await {
            return verified(outcome?, checksum);
        }
    }
}

/// Makes an object out of its parts.
pub(crate) async fn complete(
    store: &dyn ObjectStore,
    location: &Location,
    upload: &UploadId,
    parts: &[CompletedPart],
    checksum: Checksum,
    object: &NewObject,
    condition: &Precondition,
) -> Result<Stored> {
    let mut tries = Tries::default();
    loop {
        let complete = CompleteUpload {
            upload,
            parts,
            checksum: Some(checksum),
            condition,
        };
        let sent = store.complete(location, complete).await;
        if let Some(outcome) = tries.judge(store, location, object, sent).await {
            return verified(outcome?, checksum);
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
pub(crate) enum Settled {
    Known(Result<Stored>),
    /// The answer was lost, and the key does not hold our object.
    NotLanded(StorageError),
}

/// Turns a lost answer into what really happened, where that can be seen.
pub(crate) async fn settle(
    store: &dyn ObjectStore,
    location: &Location,
    object: &NewObject,
    outcome: Result<Stored>,
) -> Settled {
    let error = match outcome {
        Err(error) if is_doubtful(error.kind) => error,
        outcome => return Settled::Known(outcome),
    };
    let ours = object
        .metadata
        .iter()
        .find(|(name, _)| &**name == NONCE)
        .map(|(_, value)| &**value);
    match store.head(location).await {
        Ok(meta) if meta.metadata(NONCE) == ours => {
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
