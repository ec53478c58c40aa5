//! Objects that go from one store to another: no store copies them, so their bytes pass through the
//! gateway.
//!
//! Large ones go in parts, a few at a time. Each part is read whole and then written, in upload
//! memory of its user that it gives back at its end, so that it waits for nothing while it has some.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::budget::{Charge, Purpose, Share};
use crate::limits;
use crate::storage::retry;
use crate::storage::{
    ByteRange, Checksum, CompletedPart, Digest, GetObject, Location, NewObject, ObjectBody,
    Operation, PartLayout, Precondition, Result, SharedStore, StorageError, StorageErrorKind,
    Stored, UploadPart, Version,
};
use crate::transfer::write_file::PartCopy;

use super::commit::Commit;
use super::expiry::Stop;
use super::scene::Scene;
use super::user_sessions::OneWay;

/// An object that fits into one part, and where it belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) source: Version<'a>,
    pub(super) size: u64,
    pub(super) checksum: Option<Digest>,
    pub(super) target: &'a Location,
    pub(super) object: &'a NewObject,
    pub(super) condition: &'a Precondition,
}

/// Returns the parts in which an object of this size is carried. With little memory they are
/// small, but never so small that S3 would refuse them or that there would be too many.
pub(super) fn layout(size: u64, memory_bytes: u64) -> PartLayout {
    let usual = limits::CARRIED_PART_BYTES.min(memory_bytes);
    let few = size
        .div_ceil(u64::from(limits::PARTS_MAX))
        .next_multiple_of(PART_STEP_BYTES);
    PartLayout::of_parts(size, usual.max(few).max(limits::PART_BYTES_MIN))
}

/// Says whether an object is carried in one piece.
pub(super) fn is_whole(size: u64, memory_bytes: u64) -> bool {
    layout(size, memory_bytes).parts() <= 1
}

impl Whole<'_> {
    /// Reads the object and writes it.
    pub(super) async fn carry(self, scene: &Scene<'_>) -> Result<Stored> {
        let (stop, store) = (&scene.bounds.stop, scene.store);
        paced(stop, &scene.bounds.incoming, self.size).await?;
        let _memory = memory(stop, &scene.bounds.shares.uploads, self.size).await?;
        let range = ByteRange {
            start: 0,
            end: self.size,
        };
        let payload = fetch(store, stop, self.source, range).await?;
        let checksum = Checksum::of(&payload);
        let known = self.checksum.and_then(Digest::crc64);
        if known.is_some_and(|known| known != checksum) {
            return Err(damaged(self.source.location));
        }
        stop.check()
            .map_err(|refusal| StorageError::from(&refusal))?;
        let commit = Commit {
            store: &**store,
            stop,
            location: self.target,
            object: self.object,
            condition: self.condition,
        };
        commit.put(payload, checksum).await
    }
}

/// Reads a range of an object and writes it as one part of another.
pub(super) async fn part(
    store: &SharedStore,
    stop: &Stop,
    (incoming, uploads): (&OneWay, &Share),
    copy: &PartCopy,
    target: &Location,
) -> Result<(CompletedPart, Checksum)> {
    let bytes = copy.range.end.saturating_sub(copy.range.start);
    paced(stop, incoming, bytes).await?;
    let _memory = memory(stop, uploads, bytes).await?;
    let source = Version {
        location: &copy.source,
        etag: &copy.etag,
    };
    let payload = fetch(store, stop, source, copy.range).await?;
    let checksum = Checksum::of(&payload);
    let part = UploadPart {
        upload: &copy.upload,
        number: copy.number,
        checksum,
    };
    let stored = store.part(target, payload, part).await?;
    if stored.checksum.is_some_and(|found| found != checksum) {
        return Err(damaged(target));
    }
    Ok((stored, checksum))
}

/// Says that bytes arrived otherwise than they were sent.
pub(super) fn damaged(location: &Location) -> StorageError {
    let detail = format!("{location}: the bytes do not have their checksum");
    StorageError::new(StorageErrorKind::ChecksumMismatch, detail)
}

/// Waits until the user may send so many bytes, as long as they may change anything: before there
/// is memory for them, which others would wait for.
async fn paced(stop: &Stop, incoming: &OneWay, bytes: u64) -> Result<()> {
    tokio::select! {
        biased;
        refusal = stop.over() => Err((&refusal).into()),
        () = incoming.wait_for(stop.clock(), bytes) => Ok(()),
    }
}

/// Waits for upload memory as long as the user may change anything.
async fn memory(stop: &Stop, uploads: &Share, bytes: u64) -> Result<Charge> {
    let most = uploads.pool().limit_bytes();
    if bytes > most {
        let detail = format!(
            "a part of {bytes} bytes is needed, limits.upload_memory_bytes_max leaves {most}"
        );
        return Err(StorageError::new(StorageErrorKind::Refused, detail));
    }
    tokio::select! {
        biased;
        refusal = stop.over() => Err((&refusal).into()),
        charge = uploads.take_for(bytes, Purpose::Finish) => Ok(charge),
    }
}

/// Reads a range of one version, and goes on where a GET was cut.
async fn fetch(
    store: &SharedStore,
    stop: &Stop,
    source: Version<'_>,
    range: ByteRange,
) -> Result<Bytes> {
    let store = retry::patient(store);
    let bucket = &source.location.bucket;
    let mut tries = retry::tries(&*store, Operation::Get, bucket, stop.clock());
    let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(wanted);
    while bytes.len() < wanted {
        let before = bytes.len();
        let had = u64::try_from(before).unwrap_or(u64::MAX);
        let get = GetObject {
            range: Some(ByteRange {
                start: range.start.saturating_add(had),
                end: range.end,
            }),
            etag: Some(source.etag),
        };
        let body = store.get(source.location, get).await?;
        let outcome = gather(body, &mut bytes, wanted).await;
        if bytes.len() > before {
            tries.restart(stop.clock().now());
        }
        if let Err(mut error) = outcome
            && !stop.lets_again(&mut tries, &mut error).await
        {
            return Err(error);
        }
    }
    Ok(bytes.freeze())
}

/// Takes the bytes of a body, until it ends or is cut.
async fn gather(mut body: ObjectBody, bytes: &mut BytesMut, wanted: usize) -> Result<()> {
    while bytes.len() < wanted {
        let Some(frame) = body.frames.next().await else {
            let detail = "the body ended early";
            return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
        };
        let mut frame = frame?;
        frame.truncate(wanted.saturating_sub(bytes.len()));
        bytes.extend_from_slice(&frame);
    }
    Ok(())
}

const PART_STEP_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_into_memory_and_are_never_too_many() {
        const MIB: u64 = 1 << 20;
        let parts = |size, memory| layout(size, memory).parts();
        assert_eq!(parts(8 * MIB, 1 << 30), 1);
        assert_eq!(parts(8 * MIB + 1, 1 << 30), 2);
        assert_eq!(parts(11 * MIB, 5 * MIB), 3);
        assert!(parts(5 << 40, 1 << 30) <= limits::PARTS_MAX);
        assert!(is_whole(0, 5 * MIB) && is_whole(5 * MIB, 5 * MIB));
        assert!(!is_whole(5 * MIB + 1, 5 * MIB));
    }
}
