//! Drives open files that are written: slots, parts, the multipart upload, the commit.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::oneshot;

use crate::audit;
use crate::metrics::TransferEnd;
use crate::sftp::{HandleId, Payload, RequestId, Status};
use crate::storage::{
    ByteRange, Checksum, CompletedPart, ETag, Location, PartNumber, SharedStore, StorageError,
    StorageErrorKind, Stored, UploadId,
};
use crate::transfer::{ReadyPart, UploadError, WriteStep};

use super::actor::{Event, Events, Session};
use super::commit;
use super::status::{INVALID_HANDLE, of_storage};
use super::writing::{Base, Finish, Multipart, Parked, Source, Writing, status_of};

impl Session {
    /// Takes a WRITE.
    pub(crate) fn write(&mut self, id: RequestId, handle: HandleId, offset: u64, payload: Payload) {
        let asked = self.environment.clock.now();
        let file_bytes_max = self.user.config().limits.file_bytes;
        let usable = self.handles.usable(handle).is_some();
        let writing = if usable {
            self.take_writing(handle)
        } else {
            None
        };
        let Some(mut writing) = writing else {
            return self.refuse(id, "write", asked, INVALID_HANDLE);
        };
        let length = u64::try_from(payload.length).unwrap_or(u64::MAX);
        let admitted = match writing.failed {
            Some(status) => Err(status),
            None => writing.admit(offset, length, file_bytes_max),
        };
        match admitted {
            Err(status) => {
                self.refuse(id, "write", asked, status);
                self.put_writing(handle, writing);
            }
            Ok(offset) => {
                writing.touched = asked;
                self.environment.metrics.bytes_received(length);
                let from = Source::Client(id);
                let parked = Parked::new(from, offset, payload, asked);
                self.place_or_park(handle, writing, parked);
            }
        }
    }

    /// Takes bytes that fill what the client left as it was.
    pub(crate) fn fill(
        &mut self,
        handle: HandleId,
        offset: u64,
        bytes: Bytes,
        done: oneshot::Sender<()>,
    ) {
        let Some(mut writing) = self.take_writing(handle) else {
            return;
        };
        let payload = Payload {
            length: bytes.len(),
            slices: vec![bytes],
        };
        let asked = self.environment.clock.now();
        writing.touched = asked;
        let parked = Parked::new(Source::Filler(done), offset, payload, asked);
        self.place_or_park(handle, writing, parked);
    }

    fn place_or_park(&mut self, handle: HandleId, mut writing: Box<Writing>, mut parked: Parked) {
        let length = u64::try_from(parked.payload.length).unwrap_or(u64::MAX);
        let waits = writing.must_park(parked.offset, length)
            || !self.place(handle, &mut writing, &mut parked);
        if writing.failed.is_none() && waits {
            self.bytes_parked(parked.bytes);
            writing.parked.push_back(parked);
        } else {
            self.answer_write(&writing, parked);
        }
        let failed = writing.failed.is_some();
        if !failed {
            self.ship(handle, &mut writing);
        }
        // Bytes that came free no slot: what is parked need not be tried again.
        let closing = writing.closing.is_some();
        self.put_writing(handle, writing);
        if failed || closing {
            self.advance_writing(handle);
        }
    }

    /// Copies a WRITE to its slots; `false`: it needs one that is not there yet.
    fn place(&mut self, handle: HandleId, writing: &mut Writing, parked: &mut Parked) -> bool {
        loop {
            let (number, bytes) = match writing.place(parked) {
                Ok(WriteStep::Done) => return true,
                Ok(WriteStep::NeedsSlot { number, bytes }) => (number, bytes),
                Err(error) => {
                    let reason = error.to_string();
                    self.fail_writing(writing, status_of(&error), &reason);
                    return true;
                }
            };
            if writing.slots_wanted.contains_key(&number) {
                return false;
            }
            let slots_max = self.environment.limits.parts_in_flight_per_upload_max;
            if writing.slots_held() >= slots_max.saturating_add(SLOTS_FILLING_MAX) {
                let stuck = writing.in_flight.is_empty() && !writing.upload.has_full_part();
                if stuck {
                    // No slot becomes free by itself: the client would wait for ever.
                    let status = status_of(&UploadError::TooScattered);
                    self.fail_writing(writing, status, "too many parts are begun at once");
                }
                return stuck;
            }
            if let Some(slot) = self.environment.budget.try_slot(bytes) {
                writing.upload.add_slot(number, slot);
                continue;
            }
            let budget = Arc::clone(&self.environment.budget);
            let events = self.events.clone();
            let waiting = self.tasks.spawn(async move {
                let slot = budget.slot(bytes).await;
                events.send(Event::Slot {
                    handle,
                    number,
                    slot,
                });
            });
            writing.slots_wanted.insert(number, waiting);
            return false;
        }
    }

    fn answer_write(&mut self, writing: &Writing, parked: Parked) {
        let status = writing.failed.unwrap_or(Status::OK);
        match parked.from {
            Source::Client(id) => {
                self.out.status(id, status);
                self.answered("write", parked.asked, status.code);
            }
            // When the upload has failed nobody listens any more.
            Source::Filler(done) => drop(done.send(())),
        }
    }

    /// Places what was parked, ships what is full, and commits what is closed and complete.
    pub(crate) fn advance_writing(&mut self, handle: HandleId) {
        let Some(mut writing) = self.take_writing(handle) else {
            return;
        };
        self.place_parked(handle, &mut writing);
        if writing.failed.is_none() {
            self.ship(handle, &mut writing);
        }
        let done = self.advance_closing(handle, &mut writing);
        if done {
            self.drop_handle(handle, writing);
        } else {
            self.put_writing(handle, writing);
        }
    }

    fn place_parked(&mut self, handle: HandleId, writing: &mut Writing) {
        for mut parked in std::mem::take(&mut writing.parked) {
            let length = u64::try_from(parked.payload.length).unwrap_or(u64::MAX);
            // Only those that were put back stand in front: they came earlier.
            let waits = writing.failed.is_none()
                && (writing.must_park(parked.offset, length)
                    || !self.place(handle, writing, &mut parked));
            if waits && writing.failed.is_none() {
                writing.parked.push_back(parked);
            } else {
                self.bytes_unparked(parked.bytes);
                self.answer_write(writing, parked);
            }
        }
    }

    fn ship(&mut self, handle: HandleId, writing: &mut Writing) {
        loop {
            if writing.in_flight.len() >= self.environment.limits.parts_in_flight_per_upload_max {
                return;
            }
            match &writing.multipart {
                Multipart::Open(upload) => {
                    let upload = upload.clone();
                    let Some(part) = writing.upload.next_full_part() else {
                        return;
                    };
                    self.ship_part(handle, writing, upload, part);
                }
                Multipart::None if writing.upload.has_full_part() => {
                    self.create_upload(handle, writing);
                    return;
                }
                Multipart::None | Multipart::Creating => return,
            }
        }
    }

    /// Begins the multipart upload. It outlives the session: whoever created it must end it.
    fn create_upload(&self, handle: HandleId, writing: &mut Writing) {
        writing.multipart = Multipart::Creating;
        let (store, events) = (self.environment.store.clone(), self.events.clone());
        let (location, object) = (writing.location.clone(), writing.object.clone());
        let reaper = self.environment.reaper.clone();
        self.environment.reaper.outlive(async move {
            let outcome = store.create(&location, &object).await;
            if let Err(error) = &outcome
                && error.kind == StorageErrorKind::OutcomeUnknown
            {
                tracing::warn!(%location, %error, "an upload may have been begun that nobody knows");
            }
            let created = outcome.as_ref().ok().cloned();
            let heard = events.send(Event::Created {
                handle,
                location: location.clone(),
                outcome,
            });
            if let (false, Some(upload)) = (heard, created) {
                reaper.abort(store, location, upload);
            }
        });
    }

    pub(crate) fn created(
        &mut self,
        handle: HandleId,
        location: Location,
        outcome: Result<UploadId, StorageError>,
    ) {
        let Some(mut writing) = self.take_writing(handle) else {
            // The file was removed and closed in the meantime.
            if let Ok(upload) = outcome {
                let store = self.environment.store.clone();
                self.environment.reaper.abort(store, location, upload);
            }
            return;
        };
        match outcome {
            Ok(upload) => {
                writing.multipart = Multipart::Open(upload);
                if writing.failed.is_some() {
                    self.abort_upload(&mut writing);
                }
            }
            Err(error) => {
                writing.multipart = Multipart::None;
                self.fail_writing(&mut writing, of_storage(error.kind), &error.to_string());
            }
        }
        self.put_writing(handle, writing);
        self.advance_writing(handle);
    }

    fn ship_part(
        &mut self,
        handle: HandleId,
        writing: &mut Writing,
        upload: UploadId,
        part: ReadyPart,
    ) {
        let number = part.place.number;
        let (store, events) = (self.environment.store.clone(), self.events.clone());
        let location = writing.location.clone();
        let task = self.tasks.spawn(async move {
            let payload = part.slot.into_payload(part.length);
            let checksum = checksum_of(&payload);
            let offset = part.place.offset;
            let outcome = store
                .part(&location, &upload, number, offset, payload, checksum)
                .await;
            events.send(Event::PartDone {
                handle,
                number,
                outcome,
                checksum,
            });
        });
        writing.in_flight.insert(number, task);
    }

    pub(crate) fn part_done(
        &mut self,
        handle: HandleId,
        number: PartNumber,
        outcome: Result<CompletedPart, StorageError>,
        checksum: Checksum,
    ) {
        let Some(mut writing) = self.take_writing(handle) else {
            return;
        };
        writing.in_flight.remove(&number);
        match outcome {
            Ok(part) if part.checksum.is_some_and(|found| found != checksum) => {
                let status = of_storage(StorageErrorKind::ChecksumMismatch);
                self.fail_writing(&mut writing, status, "a part was stored with other bytes");
            }
            Ok(part) => {
                writing.parts.insert(number, (part, checksum));
            }
            Err(error) if writing.failed.is_none() => {
                self.fail_writing(&mut writing, of_storage(error.kind), &error.to_string());
            }
            Err(_) => {}
        }
        self.put_writing(handle, writing);
        self.advance_writing(handle);
    }

    /// Goes on with a CLOSE; `true`: it was answered.
    fn advance_closing(&mut self, handle: HandleId, writing: &mut Writing) -> bool {
        let Some(closing) = writing.closing else {
            return false;
        };
        if let Some(status) = writing.failed {
            // An upload that is being created has to be heard of first, to be aborted.
            if writing.multipart == Multipart::Creating || writing.committing {
                return false;
            }
            return self.closed(writing, closing, status);
        }
        if !writing.parked.is_empty() {
            if writing.slots_wanted.is_empty()
                && writing.in_flight.is_empty()
                && writing.multipart != Multipart::Creating
            {
                // Nothing will free a slot: what is missing will never come.
                self.fail_writing(writing, GAP, "bytes between the writes are missing");
                self.place_parked(handle, writing);
                return self.advance_closing(handle, writing);
            }
            return false;
        }
        if writing.committing || writing.filler.is_some() || !self.order.may_run(closing.ticket) {
            return false;
        }
        match writing.finish() {
            Ok(Finish::Nothing) => self.closed(writing, closing, Status::OK),
            Ok(Finish::Fill {
                start,
                end,
                from_base,
            }) => {
                let base = writing.base.clone().filter(|_| from_base);
                self.start_filler(handle, writing, start, end, base);
                false
            }
            Ok(Finish::Commit { size }) => {
                self.commit(handle, writing, size);
                writing.failed.is_some() && self.advance_closing(handle, writing)
            }
            Err(status) => {
                self.fail_writing(writing, status, status.sentence);
                self.advance_closing(handle, writing)
            }
        }
    }

    fn commit(&mut self, handle: HandleId, writing: &mut Writing, size: u64) {
        let parts_left = writing.upload.has_full_part() || !writing.in_flight.is_empty();
        let upload = match &writing.multipart {
            Multipart::Creating => return,
            // One part alone needs no multipart upload, even if it is full.
            Multipart::None => return self.commit_put(handle, writing, size),
            Multipart::Open(upload) => upload.clone(),
        };
        if writing.upload.has_full_part() {
            return;
        }
        match writing.upload.take_last_part(size) {
            Ok(Some(part)) => return self.ship_part(handle, writing, upload, part),
            Ok(None) if parts_left => return,
            Ok(None) => {}
            Err(error) => return self.fail_writing(writing, status_of(&error), &error.to_string()),
        }
        writing.committing = true;
        let lengths = writing
            .parts
            .values()
            .map(|(part, checksum)| (part.size, *checksum));
        let checksum = combined(lengths);
        let parts: Vec<_> = writing
            .parts
            .values()
            .map(|(part, _)| part.clone())
            .collect();
        let (store, events) = (self.environment.store.clone(), self.events.clone());
        let (location, object) = (writing.location.clone(), writing.object.clone());
        let condition = self.complete_condition(writing);
        let reaper = self.environment.reaper.clone();
        self.environment.reaper.outlive(async move {
            let store_ref = &*store;
            let outcome = commit::complete(
                store_ref, &location, &upload, &parts, checksum, &object, &condition,
            )
            .await;
            let failed = outcome.is_err();
            let heard = report(&events, handle, &location, outcome);
            if failed && !heard {
                reaper.abort(store, location, upload);
            }
        });
    }

    fn commit_put(&self, handle: HandleId, writing: &mut Writing, size: u64) {
        let payload = match writing.upload.take_last_part(size) {
            Ok(Some(part)) => part.slot.into_payload(part.length),
            Ok(None) => Bytes::new(),
            Err(error) => return self.fail_writing(writing, status_of(&error), &error.to_string()),
        };
        writing.committing = true;
        let (store, events) = (self.environment.store.clone(), self.events.clone());
        let (location, object) = (writing.location.clone(), writing.object.clone());
        let condition = writing.condition.clone();
        self.environment.reaper.outlive(async move {
            let checksum = checksum_of(&payload);
            let outcome =
                commit::put(&*store, &location, payload, checksum, &object, &condition).await;
            report(&events, handle, &location, outcome);
        });
    }

    fn complete_condition(&self, writing: &Writing) -> crate::storage::Precondition {
        if self.environment.store.capabilities().conditional_complete {
            writing.condition.clone()
        } else {
            crate::storage::Precondition::None
        }
    }

    pub(crate) fn committed(&mut self, handle: HandleId, outcome: Result<Stored, StorageError>) {
        let Some(mut writing) = self.take_writing(handle) else {
            return;
        };
        writing.committing = false;
        let Some(closing) = writing.closing else {
            return self.put_writing(handle, writing);
        };
        match outcome {
            Ok(stored) => {
                writing.multipart = Multipart::None;
                let took = self.environment.clock.now().duration_since(writing.opened);
                audit::uploaded(
                    &writing.path,
                    &writing.location,
                    writing.size(),
                    &stored.etag.0,
                    took,
                );
                self.environment
                    .metrics
                    .upload_ended(TransferEnd::Completed);
                self.closed(&mut writing, closing, Status::OK);
            }
            Err(error) => {
                self.fail_writing(&mut writing, of_storage(error.kind), &error.to_string());
                let status = writing.failed.unwrap_or(Status::FAILURE);
                self.closed(&mut writing, closing, status);
            }
        }
        self.drop_handle(handle, writing);
    }

    fn closed(
        &mut self,
        writing: &mut Writing,
        closing: super::writing::Closing,
        status: Status,
    ) -> bool {
        if writing.unlinked {
            self.abort_upload(writing);
        }
        self.order.done(closing.ticket);
        self.out.status(closing.id, status);
        self.answered("close", closing.asked, status.code);
        true
    }

    /// Gives an upload up: nothing of it will become visible.
    pub(crate) fn fail_writing(&self, writing: &mut Writing, status: Status, reason: &str) {
        if writing.failed.is_some() {
            return;
        }
        writing.failed = Some(status);
        audit::upload_failed(&writing.path, &writing.location, writing.received, reason);
        let end = if writing.close_asked {
            TransferEnd::Failed
        } else {
            TransferEnd::Abandoned
        };
        self.environment.metrics.upload_ended(end);
        if let Some(filler) = writing.filler.take() {
            filler.abort();
        }
        for (_, task) in std::mem::take(&mut writing.in_flight) {
            task.abort();
        }
        self.abort_upload(writing);
        // The slots go back at once.
        writing.upload = crate::transfer::Upload::new(self.environment.budget.layout());
        // Nor does it keep its place in the line for more.
        for (_, waiting) in std::mem::take(&mut writing.slots_wanted) {
            waiting.abort();
        }
    }

    pub(crate) fn abort_upload(&self, writing: &mut Writing) {
        if let Multipart::Open(upload) = &writing.multipart {
            let (store, location) = (self.environment.store.clone(), writing.location.clone());
            self.environment
                .reaper
                .abort(store, location, upload.clone());
            writing.multipart = Multipart::None;
        }
    }

    /// Brings what the client left as it was: bytes of the base, or zeros.
    fn start_filler(
        &mut self,
        handle: HandleId,
        writing: &mut Writing,
        start: u64,
        end: u64,
        base: Option<Base>,
    ) {
        let (store, events) = (self.environment.store.clone(), self.events.clone());
        let location = writing.location.clone();
        let task = async move {
            let outcome = match base {
                Some(base) => {
                    copy_base(&store, &location, &base.etag, start, end, handle, &events).await
                }
                None => add_zeros(start, end, handle, &events).await,
            };
            events.send(Event::Filled { handle, outcome });
        };
        writing.filler = Some(self.tasks.spawn(task));
    }

    pub(crate) fn filled(&mut self, handle: HandleId, outcome: Result<(), StorageError>) {
        let Some(mut writing) = self.take_writing(handle) else {
            return;
        };
        writing.filler = None;
        if let Err(error) = outcome {
            self.fail_writing(&mut writing, of_storage(error.kind), &error.to_string());
        }
        self.put_writing(handle, writing);
        self.advance_writing(handle);
    }
}

async fn copy_base(
    store: &SharedStore,
    location: &Location,
    etag: &ETag,
    start: u64,
    end: u64,
    handle: HandleId,
    events: &Events,
) -> Result<(), StorageError> {
    let mut body = store
        .get(location, Some(ByteRange { start, end }), Some(etag))
        .await?;
    let mut at = start;
    while let Some(frame) = body.frames.next().await {
        let frame = frame?;
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        hand_over(handle, at, frame, events).await;
        at = at.saturating_add(length);
    }
    if at < end {
        let detail = "the body ended early";
        return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
    }
    Ok(())
}

async fn add_zeros(
    start: u64,
    end: u64,
    handle: HandleId,
    events: &Events,
) -> Result<(), StorageError> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = start;
    while at < end {
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let zeros = Bytes::from_static(&ZEROS).slice(..left.min(ZEROS.len()));
        let length = u64::try_from(zeros.len()).unwrap_or(u64::MAX);
        hand_over(handle, at, zeros, events).await;
        at = at.saturating_add(length);
    }
    Ok(())
}

/// Gives the session bytes and waits until they have their place.
async fn hand_over(handle: HandleId, offset: u64, bytes: Bytes, events: &Events) {
    let (done, placed) = oneshot::channel();
    events.send(Event::Fill {
        handle,
        offset,
        bytes,
        done,
    });
    // When the upload is given up, this task is aborted.
    placed.await.ok();
}

/// Tells the session, or the log if nobody listens any more; returns whether somebody does.
fn report(
    events: &Events,
    handle: HandleId,
    location: &Location,
    outcome: Result<Stored, StorageError>,
) -> bool {
    let lost = match &outcome {
        Ok(stored) => format!("committed, etag {}", stored.etag.0),
        Err(error) => format!("failed: {error}"),
    };
    let heard = events.send(Event::Committed { handle, outcome });
    if !heard {
        tracing::warn!(%location, outcome = lost, "commit ended after its session");
    }
    heard
}

fn checksum_of(payload: &[u8]) -> Checksum {
    Checksum(crc_fast::checksum(
        crc_fast::CrcAlgorithm::Crc64Nvme,
        payload,
    ))
}

/// Combines the parts' checksums, in order, into the whole object's.
fn combined(parts: impl Iterator<Item = (u64, Checksum)>) -> Checksum {
    let algorithm = crc_fast::CrcAlgorithm::Crc64Nvme;
    let whole = parts.fold(0, |whole, (length, part)| {
        crc_fast::checksum_combine(algorithm, whole, part.0, length)
    });
    Checksum(whole)
}

/// Parts that one file may fill at once, beside those on their way.
const SLOTS_FILLING_MAX: usize = 2;
const GAP: Status = Status::failure("Parts of the file were never written");
