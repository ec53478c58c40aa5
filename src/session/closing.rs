//! CLOSE of a file that was written: what is missing, the commit, the answer.

use bytes::Bytes;

use crate::audit;
use crate::metrics::TransferEnd;
use crate::sftp::{HandleId, Status};
use crate::storage::{Checksum, Location, StorageError, Stored};

use super::actor::{Event, Events, Session};
use super::commit;
use super::status::of_storage;
use super::writing::{Closing, Finish, GAP, Multipart, Writing, status_of};

impl Session {
    /// Goes on with a CLOSE; `true`: it was answered.
    pub(super) fn advance_closing(&mut self, handle: HandleId, writing: &mut Writing) -> bool {
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
            Ok(None) if !writing.in_flight.is_empty() => return,
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
        let (store, events) = (self.user.store().clone(), self.events.clone());
        let (location, object) = (writing.location.clone(), writing.object.clone());
        let condition = writing.condition.clone();
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
        let (store, events) = (self.user.store().clone(), self.events.clone());
        let (location, object) = (writing.location.clone(), writing.object.clone());
        let condition = writing.condition.clone();
        self.environment.reaper.outlive(async move {
            let checksum = Checksum::of(&payload);
            let outcome =
                commit::put(&*store, &location, payload, checksum, &object, &condition).await;
            report(&events, handle, &location, outcome);
        });
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

    fn closed(&mut self, writing: &mut Writing, closing: Closing, status: Status) -> bool {
        if writing.unlinked {
            self.abort_upload(writing);
        }
        self.order.done(closing.ticket);
        self.out.status(closing.id, status);
        self.answered("close", closing.asked, status.code);
        true
    }
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

/// Combines the parts' checksums, in order, into the whole object's.
fn combined(parts: impl Iterator<Item = (u64, Checksum)>) -> Checksum {
    let algorithm = crc_fast::CrcAlgorithm::Crc64Nvme;
    let whole = parts.fold(0, |whole, (length, part)| {
        crc_fast::checksum_combine(algorithm, whole, part.0, length)
    });
    Checksum(whole)
}
