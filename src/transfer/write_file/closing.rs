//! CLOSE of a file that was written: what is missing, the commit, the answer; and what the store
//! does for it until then.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::bringing::{self, brought, is_only_copied, read_base};
use super::combined::combined;
use super::fill::{BaseRead, Fill};
use super::parked::Writer;
use super::partial::{Stage, in_sequence};
use super::renamed;
use super::state::Finish;
use super::waited;
use super::zeros;
use super::{
    Awaited, Base, Bringing, Completing, Effect, Failure, GAP, Hold, MEMORY, Multipart, PartCopy,
    PartsMemory, Phase, Renamed, TOO_LARGE_TO_CHANGE, Taking, WriteFile, status_of,
};
use crate::budget::Charge;
use crate::limits;
use crate::sftp::{Given, Pending, Status};
use crate::storage::{
    ByteRange, Checksum, CompletedPart, PartLayout, PartNumber, Precondition, Stored, UploadId,
};
use crate::transfer::upload::{ReadyPart, Upload};

impl WriteFile {
    /// Goes on with a CLOSE as far as it gets.
    pub(super) fn advance_closing(&mut self) {
        while self.phase == Phase::Closing {
            if let Some(status) = self.failed {
                // An upload that is being created has to be heard of first, to be aborted.
                if self.multipart != Multipart::Creating {
                    self.over(status);
                }
                return;
            }
            if self.renames.under_way {
                return;
            }
            if !self.parked.is_empty() {
                if self.drops_parked() {
                    continue;
                }
                if self.is_under_way() {
                    return;
                }
                // Nothing will free a slot: what is missing will never come.
                self.fail(GAP, "bytes between the writes are missing");
                self.place_parked();
                continue;
            }
            if self.fill.is_some() {
                if zeros::make(self) {
                    continue;
                }
                return;
            }
            if !self.decided() {
                return;
            }
            if self.failed.is_some() {
                continue;
            }
            let goes_on = match self.finish() {
                Ok(Finish::Nothing) => self.nothing(),
                Ok(Finish::Base(range)) => self.fill_from_base(range),
                Ok(Finish::Zeros(range)) => {
                    self.fill = Some(Fill::zeros(range));
                    true
                }
                Ok(Finish::Commit { size }) => self.commit(size),
                Err(status) => {
                    self.fail(status, status.sentence);
                    true
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Says whether a CLOSE that came can be kept though nobody listens any more: it is known what
    /// the file replaces, and every byte up to its end came.
    #[must_use]
    pub fn may_end_alone(&self) -> bool {
        let came = match self.phase {
            // Its turn comes, and what has no slot yet gets one: what is missing then fails it.
            Phase::CloseAsked => true,
            Phase::Closing => {
                !self.parked.is_empty()
                    || self.fill.is_some()
                    || !matches!(self.finish(), Ok(Finish::Nothing) | Err(_))
            }
            Phase::Open | Phase::Committing | Phase::Over => false,
        };
        let known = self.opening.alone.is_some() || self.may_ask();
        came && known && self.will_appear()
    }

    fn is_under_way(&self) -> bool {
        !self.wanted.is_empty()
            || !self.parts_ended()
            || self.multipart == Multipart::Creating
            || matches!(self.parts_memory, PartsMemory::Asked)
    }

    /// Says whether no part is on its way.
    fn parts_ended(&self) -> bool {
        self.in_flight.is_empty() && self.copying.is_empty()
    }

    /// Says what is left to do, once every WRITE has its place.
    fn finish(&self) -> Result<Finish, Status> {
        if self.unlinked || (self.opening.base.is_some() && !self.is_written()) {
            return Ok(Finish::Nothing);
        }
        let size = self.size();
        let Some((start, end)) = self.bytes.first_gap(size) else {
            return Ok(Finish::Commit { size });
        };
        let until = |limit: u64| ByteRange {
            start,
            end: end.min(limit),
        };
        match (&self.opening.base, self.size_set) {
            (Some(base), _) if start < base.size => Ok(Finish::Base(until(base.size))),
            (_, Some(set)) if start < set => {
                if self.bytes.missing(size) > limits::ZERO_FILL_BYTES_MAX {
                    return Err(GAP);
                }
                Ok(Finish::Zeros(until(set)))
            }
            (Some(_) | None, _) => Err(GAP),
        }
    }

    fn nothing(&mut self) -> bool {
        if self.multipart != Multipart::Creating && self.parts_ended() {
            let base = self.opening.base.as_ref().filter(|_| !self.unlinked);
            let given = self.given_late.or(self.given);
            match base.filter(|_| given.is_something()) {
                Some(base) => {
                    self.phase = Phase::Committing;
                    let etag = base.etag.clone();
                    self.effects.push_back(Effect::SetGiven { etag, given });
                }
                None => self.over(Status::OK),
            }
        }
        false
    }

    // ---- what the client left as it was ----

    /// Decides where parts begin and end that go over a base: behind it, if `after` and it is not
    /// small; elsewhere so that all of it has its place.
    pub(super) fn lay_parts(&mut self, after: bool) {
        let base = self.opening.base.as_ref();
        let Some(base) = base.filter(|_| self.bytes.is_untouched()) else {
            return;
        };
        let (layout, range_bytes_min) = (self.opening.layout, self.opening.range_bytes_min);
        let behind = layout.after(base.size, range_bytes_min);
        let parts = behind.filter(|_| after);
        match parts.or_else(|| layout.holding(base.size)) {
            Some(parts) => self.bytes = Upload::new(Arc::clone(&self.opening.budget), parts),
            None => self.fail(TOO_LARGE_TO_CHANGE, TOO_MANY_PARTS),
        }
    }

    /// Has a whole part copied by the store, or reads up to the next part; `false`: it waits.
    fn fill_from_base(&mut self, range: ByteRange) -> bool {
        let Some(base) = self.opening.base.clone() else {
            return false;
        };
        let Some(place) = self.bytes.place_at(range.start) else {
            self.fail(TOO_LARGE_TO_CHANGE, TOO_MANY_PARTS);
            return true;
        };
        let end = place.end().min(range.end);
        let whole = range.start == place.offset && (end == place.end() || end == self.size());
        let first = self.opening.layout.part_at(0);
        let small = first.is_some_and(|first| end <= first.bytes);
        let alone = small && end == self.size() && !self.copies;
        let range = ByteRange {
            start: range.start,
            end,
        };
        if !whole || alone {
            read_base(self, base, range, range);
            return false;
        }
        self.copy_part(place.number, base, range) || self.failed.is_some()
    }

    /// Lets the store begin to copy what stands before an end that is written on, while that
    /// comes.
    pub(super) fn copy_ahead(&mut self) {
        while self.failed.is_none()
            && self.phase == Phase::Open
            && matches!(self.multipart, Multipart::Open(_))
            && let Some(base) = self.opening.base.clone()
            && let Some((start, _)) = self.bytes.first_gap(self.bytes.lead_bytes().min(base.size))
            && let Some(place) = self.bytes.place_at(start)
            && place.end() <= base.size
        {
            let range = ByteRange {
                start,
                end: place.end(),
            };
            if !self.copy_part(place.number, base, range) {
                return;
            }
        }
    }

    /// Has the store copy a part; `false`: it waits.
    fn copy_part(&mut self, number: PartNumber, base: Base, range: ByteRange) -> bool {
        if self.copying.len() >= self.opening.copies_in_flight_max {
            return false;
        }
        let Some(upload) = self.upload().filter(|_| self.may_copy(&base)) else {
            return false;
        };
        self.bytes.leave_out(number, range.end);
        self.copying.insert(number);
        self.effects.push_back(Effect::CopyPart(PartCopy {
            upload,
            number,
            source: base.location,
            etag: base.etag,
            range,
        }));
        true
    }

    /// Says whether there is memory for what is kept of copied parts, or asks for it.
    fn may_copy(&mut self, base: &Base) -> bool {
        match self.parts_memory {
            // Whoever copies a whole object has it.
            _ if self.copies => true,
            PartsMemory::Here(_) => true,
            PartsMemory::Asked => false,
            PartsMemory::None => {
                let Some(last) = self.bytes.place_at(base.size.saturating_sub(1)) else {
                    self.fail(TOO_LARGE_TO_CHANGE, TOO_MANY_PARTS);
                    return false;
                };
                self.parts_memory = PartsMemory::Asked;
                self.effects.push_back(Effect::WaitForParts(last.number.0));
                false
            }
        }
    }

    pub(super) fn parts_memory(&mut self, charge: Option<Charge>) {
        if !matches!(self.parts_memory, PartsMemory::Asked) {
            return;
        }
        match charge {
            Some(charge) => self.parts_memory = PartsMemory::Here(charge),
            None => self.fail(
                MEMORY,
                "no memory in limits.session_memory_bytes_max for what is kept of copied parts",
            ),
        }
    }

    pub(super) fn zeros_due(&mut self) {
        if let Some(fill) = &mut self.fill {
            fill.zeros_due();
        }
    }

    pub(super) fn time(&mut self, awaited: Awaited, held: bool, stuck: bool, now: Instant) {
        waited::time(self, awaited, held, stuck, now);
    }

    pub(super) fn renamed(&mut self, to: Option<Renamed>) {
        renamed::renamed(self, to);
    }

    // ---- bytes of another file ----

    /// Says whether another object can become the file as it is, from this offset on: it is empty,
    /// and nothing was written to it.
    #[must_use]
    pub fn is_empty_from(&self, offset: u64) -> bool {
        let empty = self.opening.base.is_none() && self.size() == 0;
        let untouched = empty && self.hold == Hold::Undecided && self.parked.is_empty();
        let begins = offset == 0 || self.opening.mode.append;
        let free = self.phase == Phase::Open && !self.is_copied_into();
        untouched && begins && free && self.will_appear()
    }

    /// Says whether another object, or a range of one, is on its way here.
    #[must_use]
    pub const fn is_copied_into(&self) -> bool {
        matches!(self.taking, Taking::UnderWay) || self.is_bringing()
    }

    /// Says whether bytes of another object are on their way.
    #[must_use]
    pub const fn is_bringing(&self) -> bool {
        self.bringing.is_some()
    }

    pub(super) fn bring(&mut self, pending: Pending, what: Bringing, now: Instant) {
        bringing::bring(self, pending, what, now);
    }

    pub(super) fn copied(&mut self, outcome: Result<(Base, Given), Failure>) {
        bringing::copied(self, outcome);
    }

    pub(super) fn base_came(&mut self, read: BaseRead, bytes: Bytes) {
        bringing::came(self, read, bytes);
    }

    pub(super) fn base_ended(&mut self, read: BaseRead, outcome: Result<(), Failure>) {
        bringing::ended(self, read, outcome);
    }

    // ---- what the store does ----

    /// Returns the multipart upload, or begins it.
    pub(super) fn upload(&mut self) -> Option<UploadId> {
        match &self.multipart {
            Multipart::Open(upload) => Some(upload.clone()),
            Multipart::None if self.renames.under_way => None,
            Multipart::Creating => None,
            Multipart::None => {
                self.multipart = Multipart::Creating;
                let given = self.given;
                self.effects.push_back(Effect::Create { given });
                None
            }
        }
    }

    pub(super) fn send_part(&mut self, upload: UploadId, part: ReadyPart) {
        let number = part.place.number;
        self.in_flight.insert(number);
        self.effects.push_back(Effect::SendPart {
            upload,
            number,
            offset: part.place.offset,
            payload: part.slot.into_payload(part.length),
        });
    }

    pub(super) fn abort(&mut self) {
        if let Multipart::Open(upload) = &self.multipart {
            self.effects.push_back(Effect::Abort(upload.clone()));
            self.multipart = Multipart::None;
            self.renames.begun_elsewhere = None;
        }
    }

    /// Gives the file up: nothing of it will become visible.
    pub(super) fn fail(&mut self, status: Status, reason: &str) {
        if self.failed.is_some() || self.phase == Phase::Over {
            return;
        }
        self.failed = Some(status);
        let (reason, closed) = (
            reason.into(),
            self.phase != Phase::Open && !self.is_partial(),
        );
        self.effects.push_back(Effect::Failed { reason, closed });
        self.effects.push_back(Effect::Stop);
        self.abort();
        self.in_flight.clear();
        self.copying.clear();
        self.parts_memory = PartsMemory::None;
        self.wanted.clear();
        self.fill = None;
        brought(self, status);
        self.partial.give_up();
        // The memory goes back at once.
        self.bytes = Upload::new(Arc::clone(&self.opening.budget), self.opening.layout);
    }

    pub(super) fn session_over(&mut self) {
        match self.phase {
            // What was sent is seen to its end by whoever sent it.
            Phase::Committing | Phase::Over => {}
            // Nothing of it is lost: the copy is there, or comes to its end by itself.
            Phase::Open | Phase::CloseAsked if is_only_copied(self) => self.over(Status::FAILURE),
            Phase::Open | Phase::CloseAsked | Phase::Closing => {
                self.fail(Status::FAILURE, "the session ended before CLOSE");
            }
        }
    }

    pub(super) fn created(&mut self, outcome: Result<UploadId, Failure>) {
        match outcome {
            Ok(upload) => {
                self.multipart = Multipart::Open(upload);
                if self.failed.is_some() {
                    self.abort();
                }
            }
            Err(failure) => {
                self.multipart = Multipart::None;
                self.fail(failure.status, &failure.reason);
            }
        }
    }

    pub(super) fn part_ended(
        &mut self,
        number: PartNumber,
        outcome: Result<CompletedPart, Failure>,
        checksum: Option<Checksum>,
    ) {
        self.in_flight.remove(&number);
        self.copying.remove(&number);
        match outcome {
            Ok(part) => {
                self.parts.insert(number, (part, checksum));
            }
            // A commit that was sent finds out for itself.
            Err(_) if self.phase == Phase::Committing => {}
            // It is not one of what is kept.
            Err(_) if self.is_cut_off(number) => {}
            Err(failure) => self.fail(failure.status, &failure.reason),
        }
    }

    pub(super) fn committed(&mut self, outcome: Result<Stored, Failure>) {
        if self.phase != Phase::Committing {
            return;
        }
        match outcome {
            Ok(stored) => {
                self.multipart = Multipart::None;
                let size = self.size();
                self.effects.push_back(Effect::Stored { size, stored });
                self.over(Status::OK);
            }
            Err(failure) => {
                self.phase = Phase::Closing;
                self.fail(failure.status, &failure.reason);
            }
        }
    }

    // ---- what is kept of a file whose client vanished before CLOSE ----

    /// Says whether anything could be kept of it, if its client vanishes before CLOSE.
    #[must_use]
    pub fn may_be_kept(&self) -> bool {
        let Some(kept) = self.opening.partial else {
            return false;
        };
        let over = match &self.opening.base {
            None => true,
            // Nothing of it may be cut off or written over.
            Some(base) => kept.over_base && self.size_set.is_none() && self.lowest >= base.size,
        };
        over && self.phase == Phase::Open && self.will_appear() && self.received > 0
    }

    /// Returns where its parts begin and end, if what arrived could be kept by them alone: it is new,
    /// or they begin with what the store copies of the file that is appended to.
    #[must_use]
    pub fn parts_to_record(&self) -> Option<(PartLayout, Option<&Base>)> {
        let base = self.opening.base.as_ref();
        let by_parts = self.bytes.lead_bytes() == base.map_or(0, |base| base.size);
        (by_parts && self.may_be_kept()).then(|| (self.bytes.layout(), base))
    }

    pub(super) fn vanished(&mut self) {
        if !self.may_be_kept() {
            return self.session_over();
        }
        // What is on its way of another file is not waited for.
        if self.fill.take().is_some() {
            self.effects.push_back(Effect::LeaveBase);
        }
        brought(self, Status::FAILURE);
        self.phase = Phase::Closing;
        self.partial = Stage::Placing;
        self.release();
    }

    /// Lets go what waits for memory, which may not come: it is not waited for.
    fn drops_parked(&mut self) -> bool {
        let waits_for_slots = self.wanted.is_empty() && self.is_under_way();
        if self.partial != Stage::Placing || waits_for_slots {
            return false;
        }
        self.wanted.clear();
        for parked in self.parked.take() {
            // Nothing else is parked before it is known what is kept.
            if let Writer::Client(pending) = parked.into_writer() {
                self.answer(pending, Status::FAILURE);
            }
        }
        true
    }

    /// Finds out how much is kept, and on what condition; `false`: it waits.
    fn decided(&mut self) -> bool {
        match self.partial {
            Stage::No | Stage::Decided(_) | Stage::GivenUp => return true,
            Stage::Looking(_) | Stage::Closed => return false,
            Stage::Placing => {}
        }
        let base = self.opening.base.as_ref();
        let before = base.map_or(0, |base| base.size);
        let size = in_sequence(&self.bytes, before);
        if size <= before || self.unlinked {
            self.session_over();
            return true;
        }
        self.bytes.cut(size);
        if let Some(base) = base {
            self.opening.condition = Precondition::IfMatch(base.etag.clone());
            self.partial = Stage::Decided(size);
            return true;
        }
        self.partial = Stage::Looking(size);
        let parts = self.multipart != Multipart::None;
        self.effects.push_back(Effect::Look { size, parts });
        false
    }

    /// Asks what a file would replace whose CLOSE came, where OPEN did not look; `false`: nobody
    /// can tell.
    fn asks(&mut self) -> bool {
        let asks = self.may_ask();
        if asks {
            self.partial = Stage::Closed;
            // It is whole: a partial upload of any size makes way for it.
            let (size, parts) = (u64::MAX, false);
            self.effects.push_back(Effect::Look { size, parts });
        }
        asks
    }

    const fn may_ask(&self) -> bool {
        self.opening.partial.is_some() && self.opening.base.is_none()
    }

    /// Takes the condition on which the file is kept.
    pub(super) fn looked(&mut self, outcome: Result<Precondition, Failure>) {
        match (self.partial, outcome) {
            (Stage::Looking(size), Ok(condition)) => {
                self.opening.condition = condition;
                self.partial = Stage::Decided(size);
            }
            (Stage::Closed, Ok(condition)) => {
                self.opening.alone = Some(condition);
                self.partial = Stage::No;
            }
            (Stage::Looking(_) | Stage::Closed, Err(failure)) => {
                self.fail(failure.status, &failure.reason);
            }
            (Stage::No | Stage::Placing | Stage::Decided(_) | Stage::GivenUp, _) => {}
        }
    }

    /// Says whether a part stands behind what is kept.
    fn is_cut_off(&self, number: PartNumber) -> bool {
        let last = self.partial.size().and_then(|size| size.checked_sub(1));
        let last = last.and_then(|at| self.bytes.place_at(at));
        last.is_some_and(|last| number > last.number)
    }

    // ---- the commit ----

    /// Sends what is left, and then the commit; `false`: it waits.
    fn commit(&mut self, size: u64) -> bool {
        if self.client_gone && !self.is_partial() {
            let Some(condition) = self.opening.alone.clone() else {
                if self.asks() {
                    return false;
                }
                // Somebody else may have put another file there.
                self.fail(Status::FAILURE, "its client disconnected before its commit");
                return true;
            };
            self.opening.condition = condition;
        }
        let upload = match &self.multipart {
            Multipart::Creating => return false,
            // One part alone needs no multipart upload, even if it is full.
            Multipart::None => return self.commit_put(size),
            Multipart::Open(upload) => upload.clone(),
        };
        if self.bytes.full_part(PartNumber(1)).is_some() {
            return false;
        }
        match self.bytes.take_last_part(size) {
            Ok(Some(part)) => {
                self.send_part(upload, part);
                return false;
            }
            Ok(None) if !self.parts_ended() => return false,
            Ok(None) if self.parts.is_empty() => {
                // S3 makes no object of no parts: the file was cut to nothing.
                self.abort();
                return self.commit_put(size);
            }
            Ok(None) => {}
            Err(error) => {
                self.fail(status_of(&error), &error.to_string());
                return true;
            }
        }
        // Parts may stand behind what came in sequence.
        let last = self.bytes.place_at(size.saturating_sub(1));
        self.parts
            .retain(|number, _| last.as_ref().is_none_or(|last| *number <= last.number));
        self.phase = Phase::Committing;
        let elsewhere = self.renames.begun_elsewhere.clone();
        let onward = elsewhere.is_some().then(|| self.opening.condition.clone());
        let completing = Completing {
            upload,
            partial: self.is_partial(),
            parts: self.parts.values().map(|(part, _)| part.clone()).collect(),
            checksum: combined(self.parts.values()),
            condition: elsewhere.unwrap_or_else(|| self.opening.condition.clone()),
            onward,
            given_late: self.given_late.without(self.given),
        };
        self.effects.push_back(Effect::Complete(completing));
        false
    }

    fn commit_put(&mut self, size: u64) -> bool {
        let payload = match self.bytes.take_last_part(size) {
            Ok(Some(part)) => part.slot.into_payload(part.length),
            Ok(None) => Bytes::new(),
            Err(error) => {
                self.fail(status_of(&error), &error.to_string());
                return true;
            }
        };
        self.phase = Phase::Committing;
        self.effects.push_back(Effect::Put {
            payload,
            condition: self.opening.condition.clone(),
            given: self.given,
            partial: self.is_partial(),
        });
        false
    }

    /// Answers CLOSE: nothing is left to do.
    pub(super) fn over(&mut self, status: Status) {
        if self.unlinked {
            self.abort();
        }
        self.phase = Phase::Over;
        if let Some(pending) = self.closing.take() {
            self.answer(pending, status);
        }
        self.effects.push_back(Effect::Over);
    }
}

/// Why a file is given up that its parts cannot hold.
const TOO_MANY_PARTS: &str = "what is there is larger than its parts can hold";
