//! Small objects that the gateway keeps for itself: read whole, and changed only on condition.
//!
//! Users' files go through `session/commit.rs`. Here nobody's access can end in the middle, and
//! nothing is ever put without a condition: sending a put again cannot undo what others did.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::{
    Checksum, ETag, GetObject, Location, NewObject, Nonce, ObjectBody, ObjectStore, Precondition,
    PutObject, Result, StorageError, StorageErrorKind,
};
use crate::clock::Clock;
use crate::limits::{DOCUMENT_PUT_PAUSE, DOCUMENT_PUT_TRIES};
use crate::storage::retry::may_be_repeated;

/// Returns an object's bytes and its version, if it is there; a larger one is
/// [`StorageErrorKind::Refused`].
///
/// # Errors
/// Those of the GET, and of its body.
pub async fn read(
    store: &dyn ObjectStore,
    location: &Location,
    bytes_max: u64,
) -> Result<Option<(Bytes, ETag)>> {
    let read = read_dated(store, location, bytes_max).await?;
    Ok(read.map(|(text, etag, _)| (text, etag)))
}

/// The same, with the time that the store gave it.
///
/// # Errors
/// Those of the GET, and of its body.
pub async fn read_dated(
    store: &dyn ObjectStore,
    location: &Location,
    bytes_max: u64,
) -> Result<Option<(Bytes, ETag, SystemTime)>> {
    let body = match store.get(location, GetObject::default()).await {
        Ok(body) => body,
        Err(error) if error.kind == StorageErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    collected(body, location, bytes_max).await.map(Some)
}

/// What is there of an object of which a version is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    Same,
    Other(Bytes, ETag),
    Gone,
}

/// Returns what became of an object since it was the version that is known; one call, which brings
/// the bytes only where they are others.
///
/// # Errors
/// Those of the GET, and of its body.
pub async fn read_since(
    store: &dyn ObjectStore,
    location: &Location,
    bytes_max: u64,
    known: &ETag,
) -> Result<Since> {
    let body = match store.get_unless(location, known).await {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(Since::Same),
        Err(error) if error.kind == StorageErrorKind::NotFound => return Ok(Since::Gone),
        Err(error) => return Err(error),
    };
    let (text, etag, _) = collected(body, location, bytes_max).await?;
    Ok(Since::Other(text, etag))
}

async fn collected(
    body: ObjectBody,
    location: &Location,
    bytes_max: u64,
) -> Result<(Bytes, ETag, SystemTime)> {
    let ObjectBody { meta, frames } = body;
    if meta.size > bytes_max {
        let size = meta.size;
        let detail = format!("{location} has {size} bytes, more than {bytes_max}");
        return Err(StorageError::new(StorageErrorKind::Refused, detail));
    }
    let frames: Vec<Bytes> = frames.try_collect().await?;
    Ok((frames.concat().into(), meta.etag, meta.modified))
}

/// Puts an object if the condition holds, and finds out what became of it where an answer is lost.
///
/// # Errors
/// [`StorageErrorKind::Precondition`], or `NotFound`, if the condition does not hold;
/// `OutcomeUnknown` if nobody can tell.
pub async fn write(
    store: &dyn ObjectStore,
    location: &Location,
    text: &Bytes,
    condition: &Precondition,
    clock: &dyn Clock,
) -> Result<ETag> {
    let mut object = NewObject::new(Nonce::new()?);
    object.content_type = Some("application/json".into());
    let put = PutObject {
        object: &object,
        checksum: Checksum::of(text),
        condition,
    };
    // One try may have landed although its answer says nothing.
    let mut lost = None;
    for tries_left in (0..DOCUMENT_PUT_TRIES).rev() {
        let error = match store.put(location, text.clone(), put).await {
            Ok(stored) => return Ok(stored.etag),
            Err(error) => error,
        };
        if error.kind == StorageErrorKind::OutcomeUnknown {
            lost = Some(error.clone());
        }
        if lost.is_some()
            && let Some(etag) = own(store, location, object.nonce).await?
        {
            return Ok(etag);
        }
        let again = error.kind == StorageErrorKind::OutcomeUnknown || may_be_repeated(error.kind);
        if !again || tries_left == 0 {
            return Err(lost.filter(|_| again).unwrap_or(error));
        }
        clock.sleep(DOCUMENT_PUT_PAUSE).await;
    }
    // There is at least one try.
    Err(StorageError::new(
        StorageErrorKind::Unavailable,
        format!("{location}: not tried"),
    ))
}

/// Returns the version that is there if it is the one with the nonce.
async fn own(store: &dyn ObjectStore, location: &Location, nonce: Nonce) -> Result<Option<ETag>> {
    match store.head(location).await {
        Ok(meta) => Ok((meta.nonce() == Some(nonce)).then_some(meta.etag)),
        Err(error) if error.kind == StorageErrorKind::NotFound => Ok(None),
        Err(error) => {
            let detail =
                format!("{location}: a put had no answer, and neither had a look: {error}");
            Err(StorageError::new(StorageErrorKind::OutcomeUnknown, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::storage::failing::{Failing, Fault};
    use crate::storage::memory::MemoryStore;
    use crate::storage::{Bucket, Key, Operation};

    async fn after(faults: &[Fault]) -> (Result<ETag>, Option<Bytes>) {
        let bucket = Bucket::parse("b").unwrap();
        let memory = Arc::new(MemoryStore::new(&[&bucket]));
        let store = Failing::new(memory.clone());
        let location = Location {
            bucket,
            key: Key::parse("k").unwrap(),
        };
        for (fault, nth) in faults.iter().zip(1..) {
            store.spoil(Operation::Put, nth, fault.clone());
        }
        let text = Bytes::from_static(b"{}");
        let condition = Precondition::IfNoneMatch;
        let written = write(&store, &location, &text, &condition, &SystemClock).await;
        (written, memory.object(&location))
    }

    #[tokio::test]
    async fn a_put_whose_answer_is_lost_is_found_by_its_nonce() {
        let unknown = Fault::Fail(StorageErrorKind::OutcomeUnknown);
        let away = Fault::Fail(StorageErrorKind::Unavailable);
        for faults in [
            vec![],
            vec![Fault::LandThenLose],
            vec![unknown.clone()],
            vec![away.clone(), Fault::LandThenLose],
        ] {
            let (written, there) = after(&faults).await;
            assert!(written.is_ok(), "{faults:?}: {written:?}");
            assert!(there.is_some());
        }
        let (written, there) = after(&vec![away; 9]).await;
        assert_eq!(written.unwrap_err().kind, StorageErrorKind::Unavailable);
        assert_eq!(there, None);
        let (written, _) = after(&vec![unknown; 9]).await;
        assert_eq!(written.unwrap_err().kind, StorageErrorKind::OutcomeUnknown);
    }
}
