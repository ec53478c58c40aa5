//! Making an object visible, once, and knowing whether it happened.
//!
//! Every object carries a random nonce. A commit is sent once; when its answer is lost, a HEAD
//! that finds our nonce says that it landed. Otherwise a retried exclusive PUT would see its own
//! 412, and a retried Complete its own "no such upload".

use std::time::Duration;

use bytes::Bytes;

use crate::storage::{
    Checksum, CompletedPart, Location, NewObject, ObjectStore, Precondition, Result, StorageError,
    StorageErrorKind, Stored, UploadId,
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
    let mut attempt = 1;
    loop {
        let outcome = store
            .put(location, payload.clone(), checksum, object, condition)
            .await;
        match settle(store, location, object, outcome).await {
            // It is known not to have landed: the same bytes may be sent again.
            Settled::NotLanded(error) if attempt < PUT_ATTEMPTS_MAX => {
                tracing::debug!(%error, attempt, "put did not land, trying again");
                tokio::time::sleep(RETRY_PAUSE.saturating_mul(attempt)).await;
                attempt = attempt.saturating_add(1);
            }
            Settled::NotLanded(error) => return Err(error),
            Settled::Known(outcome) => return verified(outcome?, checksum),
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
    let mut attempt = 1;
    loop {
        let outcome = store
            .complete(location, upload, parts, Some(checksum), condition)
            .await;
        match settle(store, location, object, outcome).await {
            Settled::NotLanded(error) if attempt < PUT_ATTEMPTS_MAX => {
                tracing::debug!(%error, attempt, "complete did not land, trying again");
                tokio::time::sleep(RETRY_PAUSE.saturating_mul(attempt)).await;
                attempt = attempt.saturating_add(1);
            }
            Settled::NotLanded(error) => return Err(error),
            Settled::Known(outcome) => return verified(outcome?, checksum),
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

const PUT_ATTEMPTS_MAX: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
