//! Calls to the store for one file that is written, and for copies that the store makes by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};

use crate::budget::{Purpose, Share};
use crate::clock::within;
use crate::limits;
use crate::reaper::Reaper;
use crate::sftp::HandleId;
use crate::storage::retry;
use crate::storage::{
    ByteRange, Checksum, CompletedPart, ETag, GetObject, Location, NewObject, ObjectBody,
    Operation, PartNumber, Precondition, SharedStore, StorageError, StorageErrorKind, Stored,
    UploadId, UploadPart, UploadPartCopy, Version,
};
use crate::transfer::write_file::{Base, BaseRead, Completing, Failure, Heard, PartCopy};

use super::carrying;
use super::commit::Commit;
use super::described::Described;
use super::events::Events;
use super::expiry::Stop;
use super::status::{CHANGED, of_storage};
use super::upload_records::RecordedUpload;
use super::user_sessions::OneWay;

/// Calls for one file, which tell it how they ended.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    pub(crate) store: SharedStore,
    pub(crate) location: Location,
    pub(crate) stop: Stop,
    pub(crate) listener: Listener,
}

/// What makes a file visible out of its parts.
pub(crate) struct Completion {
    pub(crate) completing: Completing,
    /// Of the whole object, if it is known.
    pub(crate) checksum: Option<Checksum>,
    pub(crate) object: NewObject,
    /// Done to the version that was stored before anybody hears of it.
    pub(crate) then: Option<Then>,
    /// Goes when that is over.
    pub(crate) recorded: Option<Arc<RecordedUpload>>,
}

/// What is done to the version that a commit stored; what it returns has taken its place.
pub(crate) type Then = Box<dyn FnOnce(Location, ETag) -> BoxFuture<'static, ThenStored> + Send>;

/// The error: the file is not where it is to be.
type ThenStored = Result<Option<Stored>, StorageError>;

/// Who is told.
#[derive(Debug, Clone)]
pub(crate) enum Listener {
    /// A file that a session has open.
    File(Events, HandleId),
    /// A copy that the store makes by itself, whatever becomes of the session.
    Copy {
        heard: mpsc::UnboundedSender<Heard>,
        failed: FirstFailure,
    },
}

/// The first thing that did not work; a commit of which nobody knows what became of it comes before
/// everything else.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstFailure(Arc<Mutex<Option<StorageError>>>);

impl FirstFailure {
    pub(crate) fn note(&self, error: &StorageError) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() || error.kind == StorageErrorKind::OutcomeUnknown {
            *first = Some(error.clone());
        }
    }

    pub(crate) fn get(&self) -> Option<StorageError> {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone()
    }
}

impl Calls {
    pub(super) fn commit<'a>(
        &'a self,
        object: &'a NewObject,
        condition: &'a Precondition,
    ) -> Commit<'a> {
        Commit {
            store: &*self.store,
            stop: &self.stop,
            location: &self.location,
            object,
            condition,
        }
    }

    /// Says what happened; `false`: nobody listens any more.
    pub(crate) fn tell(&self, heard: Heard) -> bool {
        match &self.listener {
            Listener::File(events, handle) => events.write(*handle, heard),
            Listener::Copy { heard: sender, .. } => sender.send(heard).is_ok(),
        }
    }

    pub(super) fn failure(&self, error: &StorageError) -> Failure {
        if let Listener::Copy { failed, .. } = &self.listener {
            failed.note(error);
        }
        // What was there when the file was opened is gone.
        let status = if error.kind == StorageErrorKind::NotFound {
            CHANGED
        } else {
            of_storage(error.kind)
        };
        Failure {
            status,
            reason: error.to_string().into(),
        }
    }

    /// Begins the multipart upload. It outlives the session: its creator must end it.
    pub(crate) fn create(
        self,
        reaper: &Reaper,
        mut described: Described,
        recorded: Option<Arc<RecordedUpload>>,
    ) {
        let what = format!("begin of an upload to {}", self.location);
        let aborts = reaper.clone();
        reaper.outlive(what, async move {
            let outcome = self.created(&mut described).await;
            if let Err(error) = &outcome
                && error.kind == StorageErrorKind::OutcomeUnknown
            {
                let location = &self.location;
                tracing::warn!(%location, %error, "outcome of CreateMultipartUpload unknown: an orphaned multipart upload may remain");
            }
            let created = outcome.as_ref().ok().cloned();
            // No part is sent before.
            if let (Some(recorded), Some(upload)) = (&recorded, &created) {
                recorded.write(upload).await;
            }
            let outcome = outcome.map_err(|error| self.failure(&error));
            let heard = self.tell(Heard::Created(outcome));
            if let (false, Some(upload)) = (heard, created) {
                aborts.abort_holding(self.store, self.location, upload, recorded);
            }
        });
    }

    async fn created(&self, described: &mut Described) -> Result<UploadId, StorageError> {
        self.read_tags(described).await?;
        loop {
            match self.store.create(&self.location, &described.object).await {
                Err(error) if self.may_leave(described, &error) => {}
                outcome => return outcome,
            }
        }
    }

    /// Reads what else belongs to the object; its user's access may end meanwhile.
    async fn read_tags(&self, described: &mut Described) -> Result<(), StorageError> {
        described.read_tags(&self.store).await?;
        self.stop.check().map_err(|refusal| (&refusal).into())
    }

    fn may_leave(&self, described: &mut Described, error: &StorageError) -> bool {
        self.stop.check().is_ok() && described.leave(error)
    }

    /// Waits for memory for what is kept of copied parts, which others may have for long.
    pub(crate) async fn wait_for_parts(self, memory: Share, parts: u32, timeout: Duration) {
        let charge = match kept_of_parts(parts, memory.pool().limit_bytes()) {
            Some(bytes) => within(self.stop.clock(), timeout, memory.take(bytes)).await,
            None => None,
        };
        self.tell(Heard::PartsMemory(charge));
    }

    pub(crate) async fn wait(self, share: Share, number: PartNumber, bytes: u64, purpose: Purpose) {
        let charge = share.take_for(bytes, purpose).await;
        self.tell(Heard::Memory(number, charge));
    }

    pub(crate) async fn part(self, upload: UploadId, number: PartNumber, payload: Bytes) {
        let checksum = Checksum::of(&payload);
        let part = UploadPart {
            upload: &upload,
            number,
            checksum,
        };
        let outcome = match self.store.part(&self.location, payload, part).await {
            Ok(part) if part.checksum.is_some_and(|found| found != checksum) => Err(Failure {
                status: of_storage(StorageErrorKind::ChecksumMismatch),
                reason: "a part was stored with different bytes".into(),
            }),
            outcome => outcome.map_err(|error| self.failure(&error)),
        };
        self.tell(Heard::PartEnded {
            number,
            outcome,
            checksum: Some(checksum),
        });
    }

    /// Lets the store fill a part from elsewhere, in the user's turn.
    pub(crate) async fn part_copy(self, turns: Share, copy: PartCopy) {
        let number = copy.number;
        let outcome = self.copied(turns, copy).await;
        self.tell(Heard::PartEnded {
            number,
            outcome: outcome.map_err(|error| self.failure(&error)),
            checksum: None,
        });
    }

    /// Brings a part from another store.
    pub(crate) async fn part_carried(self, incoming: OneWay, uploads: Share, copy: PartCopy) {
        let (stop, to) = (&self.stop, &self.location);
        let carried = carrying::part(&self.store, stop, (&incoming, &uploads), &copy, to);
        let (outcome, checksum) = match carried.await {
            Ok((part, checksum)) => (Ok(part), Some(checksum)),
            Err(error) => (Err(self.failure(&error)), None),
        };
        self.tell(Heard::PartEnded {
            number: copy.number,
            outcome,
            checksum,
        });
    }

    async fn copied(&self, turns: Share, copy: PartCopy) -> Result<CompletedPart, StorageError> {
        let _turn = tokio::select! {
            biased;
            refusal = self.stop.over() => return Err((&refusal).into()),
            turn = turns.take_for(1, Purpose::Begin) => turn,
        };
        let part = UploadPartCopy {
            upload: &copy.upload,
            number: copy.number,
            source: Version {
                location: &copy.source,
                etag: &copy.etag,
            },
            range: copy.range,
        };
        self.store.part_copy(&self.location, part).await
    }

    /// Brings a range of the base, one piece after the other has its place.
    pub(crate) async fn base(
        self,
        (read, base, range): (BaseRead, Base, ByteRange),
        memory: Share,
        read_on: Arc<Notify>,
    ) {
        // One piece at a time is ours; it leaves for a slot before the next one comes.
        let _charge = memory.take(BASE_PIECE_BYTES).await;
        let outcome = self.pieces(read, &base, range, &read_on).await;
        let outcome = outcome.map_err(|error| self.failure(&error));
        self.tell(Heard::BaseEnded(read, outcome));
    }

    async fn pieces(
        &self,
        read: BaseRead,
        base: &Base,
        range: ByteRange,
        read_on: &Notify,
    ) -> Result<(), StorageError> {
        let store = retry::patient(&self.store);
        let bucket = &base.location.bucket;
        let mut tries = retry::tries(&*store, Operation::Get, bucket, self.stop.clock());
        let mut left = range;
        while left.start < left.end {
            let before = left.start;
            let get = GetObject {
                range: Some(left),
                etag: Some(&base.etag),
            };
            let outcome = match store.get(&base.location, get).await {
                Ok(body) => self.pass_on(read, body, &mut left, read_on).await,
                // It was repeated for as long as it may be.
                Err(error) => return Err(error),
            };
            if left.start > before {
                tries.restart(self.stop.clock().now());
            }
            if let Err(mut error) = outcome
                && !tries.again_after(self.stop.clock(), &mut error).await
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Passes the bytes of a body on, until it ends or is cut.
    async fn pass_on(
        &self,
        read: BaseRead,
        mut body: ObjectBody,
        left: &mut ByteRange,
        read_on: &Notify,
    ) -> Result<(), StorageError> {
        let piece_bytes = usize::try_from(BASE_PIECE_BYTES).unwrap_or(usize::MAX);
        while left.start < left.end {
            let Some(frame) = body.frames.next().await else {
                let detail = "the body ended early";
                return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
            };
            let mut frame = frame?;
            let room = usize::try_from(left.end.saturating_sub(left.start));
            frame.truncate(room.unwrap_or(usize::MAX));
            let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
            left.start = left.start.saturating_add(bytes);
            while !frame.is_empty() {
                let piece = frame.split_to(frame.len().min(piece_bytes));
                self.tell(Heard::Base(read, piece));
                read_on.notified().await;
            }
        }
        Ok(())
    }

    pub(crate) async fn put(
        self,
        payload: Bytes,
        mut described: Described,
        condition: Precondition,
    ) {
        let checksum = Checksum::of(&payload);
        let outcome = match self.read_tags(&mut described).await {
            Ok(()) => loop {
                let commit = self.commit(&described.object, &condition);
                match commit.put(payload.clone(), checksum).await {
                    Err(error) if self.may_leave(&mut described, &error) => {}
                    outcome => break outcome,
                }
            },
            Err(error) => Err(error),
        };
        self.report(outcome);
    }

    pub(crate) async fn complete(self, reaper: Reaper, completion: Completion) {
        let Completion {
            completing,
            checksum,
            object,
            then,
            recorded,
        } = completion;
        let (upload, parts) = (completing.upload, completing.parts);
        let commit = self.commit(&object, &completing.condition);
        let outcome = match (commit.complete(&upload, &parts, checksum).await, then) {
            (Ok(stored), Some(then)) => {
                let newer = then(self.location.clone(), stored.etag.clone()).await;
                newer.map(|newer| newer.unwrap_or(stored))
            }
            (outcome, _) => outcome,
        };
        let failed = outcome.is_err();
        if !self.report(outcome) && failed {
            reaper.abort_holding(self.store, self.location, upload, recorded);
        }
    }

    /// Tells the session, or the log if nobody listens any more; returns whether somebody does.
    pub(super) fn report(&self, outcome: Result<Stored, StorageError>) -> bool {
        let lost = match &outcome {
            Ok(stored) => format!("committed, etag {}", stored.etag.0),
            Err(error) => format!("failed: {error}"),
        };
        let heard = self.tell(Heard::Committed(
            outcome.map_err(|error| self.failure(&error)),
        ));
        if !heard {
            let location = &self.location;
            tracing::warn!(%location, outcome = lost, "commit ended after its session");
        }
        heard
    }
}

/// Returns how much is kept of so many parts; `None`: more than a user ever gets, which is half.
fn kept_of_parts(parts: u32, all: u64) -> Option<u64> {
    let bytes = u64::from(parts).saturating_mul(limits::COPIED_PART_BYTES);
    (bytes <= all / 2).then_some(bytes)
}

/// How much of the base is under way at once.
const BASE_PIECE_BYTES: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_copied_parts_is_charged_as_a_whole_or_refused() {
        let all = 4 * limits::COPIED_PART_BYTES;
        assert_eq!(kept_of_parts(1, all), Some(limits::COPIED_PART_BYTES));
        assert_eq!(kept_of_parts(2, all), Some(all / 2));
        assert_eq!(kept_of_parts(3, all), None);
    }
}
