//! Drives open files that are written: slots, parts, the multipart upload, the commit.

use std::sync::Arc;

use crate::audit;
use crate::metrics::TransferEnd;
use crate::sftp::{HandleId, Payload, RequestId, Status};
use crate::storage::{
    Checksum, CompletedPart, Location, PartNumber, StorageError, StorageErrorKind, UploadId,
    UploadPart,
};
use crate::transfer::{ReadyPart, Upload, UploadError, WriteStep};

use super::actor::{Event, Session};
use super::status::{INVALID_HANDLE, of_storage};
use super::writing::{Multipart, Parked, Source, Writing, status_of};

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
                self.seat.received(length, asked);
                let from = Source::Client(id);
                let parked = Parked::new(from, offset, payload, asked);
                self.place_or_park(handle, writing, parked);
            }
        }
    }

    pub(super) fn place_or_park(
        &mut self,
        handle: HandleId,
        mut writing: Box<Writing>,
        mut parked: Parked,
    ) {
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
            let wish = match writing.place(parked) {
                Ok(WriteStep::Done) => return true,
                Ok(WriteStep::Needs(wish)) => wish,
                Err(error) => {
                    let reason = error.to_string();
                    self.fail_writing(writing, status_of(&error), &reason);
                    return true;
                }
            };
            let number = wish.number;
            if writing.slots_wanted.contains_key(&number) {
                return false;
            }
            let slots_max = self.environment.limits.parts_in_flight_per_upload_max;
            if wish.begins() && writing.slots_held() >= slots_max.saturating_add(SLOTS_FILLING_MAX)
            {
                let stuck = writing.in_flight.is_empty() && !writing.upload.has_full_part();
                if stuck {
                    // No slot becomes free by itself: the client would wait for ever.
                    let status = status_of(&UploadError::TooScattered);
                    self.fail_writing(writing, status, "too many parts are begun at once");
                }
                return stuck;
            }
            let share = self.seat.memory().uploads.clone();
            let (bytes, purpose) = wish.modest();
            if let Some(charge) = share.try_take_for(bytes, purpose) {
                writing.upload.add_memory(number, charge);
                continue;
            }
            let (bytes, purpose) = wish.patient();
            let events = self.events.clone();
            let waiting = self.spawn(async move {
                let charge = share.take_for(bytes, purpose).await;
                events.send(Event::Memory {
                    handle,
                    number,
                    charge,
                });
            });
            writing.slots_wanted.insert(number, waiting);
            return false;
        }
    }

    pub(super) fn answer_write(&mut self, writing: &Writing, parked: Parked) {
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

    pub(super) fn place_parked(&mut self, handle: HandleId, writing: &mut Writing) {
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
    pub(super) fn create_upload(&self, handle: HandleId, writing: &mut Writing) {
        writing.multipart = Multipart::Creating;
        let (store, events) = (self.user.store().clone(), self.events.clone());
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
                let store = self.user.store().clone();
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

    pub(super) fn ship_part(
        &mut self,
        handle: HandleId,
        writing: &mut Writing,
        upload: UploadId,
        part: ReadyPart,
    ) {
        let number = part.place.number;
        let (store, events) = (self.user.store().clone(), self.events.clone());
        let location = writing.location.clone();
        let task = self.spawn(async move {
            let payload = part.slot.into_payload(part.length);
            let checksum = Checksum::of(&payload);
            let part = UploadPart {
                upload: &upload,
                number,
                checksum,
            };
            let outcome = store.part(&location, payload, part).await;
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
        writing.upload = Upload::new(Arc::clone(&self.environment.budget));
        // Nor does it keep its place in the line for more.
        for (_, waiting) in std::mem::take(&mut writing.slots_wanted) {
            waiting.abort();
        }
    }

    pub(crate) fn abort_upload(&self, writing: &mut Writing) {
        if let Multipart::Open(upload) = &writing.multipart {
            let (store, location) = (self.user.store().clone(), writing.location.clone());
            self.environment
                .reaper
                .abort(store, location, upload.clone());
            writing.multipart = Multipart::None;
        }
    }
}

/// Parts that one file may fill at once, beside those on their way.
const SLOTS_FILLING_MAX: usize = 2;
