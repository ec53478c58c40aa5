//! One file that is written, from OPEN to its end (pure).
//!
//! The first WRITE decides what the handle is. On a new or truncated file everything is written
//! anew; on an existing one that is written from its first byte, what is not written over is kept.
//! Nothing is visible before CLOSE, and CLOSE is answered when the store has confirmed. A copy of
//! an object by ranges is such a file, of which nothing is written ([`WriteFile::copy`]).
//!
//! Whoever owns a [`WriteFile`] tells it what happened ([`WriteFile::hear`]) and then does what it
//! asks for, in order, until it asks for nothing more ([`WriteFile::next_effect`]). Every request that it
//! hears of gets one [`Effect::Answer`]; every upload that it hears was created is completed or
//! gets one [`Effect::Abort`].

mod closing;
mod parked;
mod rate;
mod status;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use self::closing::Fill;
use self::parked::{Parked, Queue, Writer};
use self::rate::Rate;
pub use self::rate::RateMin;
use self::status::{GAP, MEMORY, NO_EDIT, NOT_HERE, TOO_LARGE, TOO_SCATTERED, status_of};
pub use self::status::{NO_APPEND, OVER_LIMIT};
pub use self::words::{Awaited, Base, Effect, Failure, Heard, Opening, PartCopy};
use super::upload::{ReadyPart, Upload, WriteStep, as_u64};
use crate::budget::Purpose;
use crate::limits;
use crate::sftp::{OpenMode, Payload, Pending, Status};
use crate::storage::{Checksum, CompletedPart, PartNumber, Precondition, Stored, UploadId};

/// The state of one file that is written.
#[derive(Debug)]
pub struct WriteFile {
    opening: Opening,
    bytes: Upload,
    phase: Phase,
    /// CLOSE, at its turn.
    closing: Option<Pending>,
    /// Nothing of it will become visible.
    failed: Option<Status>,
    unlinked: bool,
    client_gone: bool,
    multipart: Multipart,
    parts: BTreeMap<PartNumber, (CompletedPart, Option<Checksum>)>,
    in_flight: BTreeSet<PartNumber>,
    /// Parts whose memory is waited for, how much and what for.
    wanted: BTreeMap<PartNumber, (u64, Purpose)>,
    parked: Queue,
    fill: Option<Fill>,
    /// The size that the client set: what is not written below it is zeros.
    size_set: Option<u64>,
    modified: Option<u32>,
    /// No byte comes here: the store copies all of the base.
    copies: bool,
    append_at: u64,
    written: Written,
    received: u64,
    rate: Rate,
    effects: VecDeque<Effect>,
}

/// What WRITEs there were, beside empty ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    /// One was refused that begins in the middle of what was there.
    Refused,
    Some,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// CLOSE came, and is not at its turn.
    CloseAsked,
    Closing,
    Committing,
    Over,
}

/// How far the multipart upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Multipart {
    None,
    Creating,
    Open(UploadId),
}

impl WriteFile {
    #[must_use]
    pub fn new(opening: Opening, now: Instant) -> Self {
        Self {
            bytes: Upload::new(Arc::clone(&opening.budget), opening.layout),
            rate: Rate::new(opening.rate_min, now),
            opening,
            phase: Phase::Open,
            closing: None,
            failed: None,
            unlinked: false,
            client_gone: false,
            multipart: Multipart::None,
            parts: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            wanted: BTreeMap::new(),
            parked: Queue::default(),
            fill: None,
            size_set: None,
            modified: None,
            copies: false,
            append_at: 0,
            written: Written::Nothing,
            received: 0,
            effects: VecDeque::new(),
        }
    }

    /// Begins a copy of the whole base, which the store makes part by part: CLOSE has come, and
    /// nobody waits for its answer.
    #[must_use]
    pub fn copy(opening: Opening, now: Instant) -> Self {
        let mut file = Self::new(opening, now);
        file.copies = true;
        file.phase = Phase::Closing;
        file.size_set = file.opening.base.as_ref().map(|base| base.size);
        file.advance(now);
        file
    }

    // ---- what happens ----

    /// Takes what happened. Ask [`WriteFile::next_effect`] afterwards.
    pub fn hear(&mut self, heard: Heard, now: Instant) {
        match heard {
            Heard::Write {
                pending,
                offset,
                payload,
            } => return self.write(pending, offset, payload, now),
            Heard::Attributes {
                pending,
                size,
                modified,
            } => self.set_attributes(pending, size, modified),
            Heard::CloseAsked => {
                if self.phase == Phase::Open {
                    self.phase = Phase::CloseAsked;
                }
            }
            Heard::Close(pending) => self.close(pending),
            Heard::Unlinked => self.unlinked = true,
            Heard::ClientGone => self.client_gone = true,
            Heard::SessionOver => self.session_over(),
            Heard::Memory(number, charge) => {
                // One that is not wanted any more gives its memory back here.
                if self.wanted.remove(&number).is_some() {
                    self.bytes.add_memory(number, charge);
                }
            }
            Heard::Created(outcome) => self.created(outcome),
            Heard::PartEnded {
                number,
                outcome,
                checksum,
            } => self.part_ended(number, outcome, checksum),
            Heard::Base(bytes) => self.base_came(bytes),
            Heard::BaseEnded(outcome) => self.base_ended(outcome),
            Heard::ZerosDue => self.zeros_due(),
            Heard::Committed(outcome) => self.committed(outcome),
            Heard::Time {
                awaited,
                held,
                stuck,
            } => self.time(awaited, held, stuck, now),
        }
        self.advance(now);
    }

    /// Returns the next thing to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns when it wants to hear of the time.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let fills = self.phase == Phase::Open && self.fills_slots();
        let waits = !self.wanted.is_empty();
        ((fills || waits) && self.failed.is_none()).then(|| self.rate.deadline())
    }

    fn write(&mut self, pending: Pending, offset: u64, payload: Payload, now: Instant) {
        let length = as_u64(payload.length);
        let admitted = match self.failed {
            Some(status) => Err(status),
            None => self.admit(offset, length),
        };
        match admitted {
            Err(status) => {
                self.answer(pending, status);
                // What waits for memory has failed with it.
                if !self.parked.is_empty() && self.failed.is_some() {
                    self.advance(now);
                }
            }
            Ok(offset) => {
                if self.bytes.slots_filling() == 0 {
                    self.rate.begin(now);
                }
                self.rate.moved(length);
                self.place_or_park(Parked::new(Writer::Client(pending), offset, payload));
                // Bytes that came free no memory: what is parked need not be tried again.
                if self.failed.is_some() {
                    self.advance(now);
                } else {
                    self.ship();
                    self.rate.withheld(!self.parked.is_empty(), now);
                }
            }
        }
    }

    /// Checks a WRITE against what the file is, and returns where its bytes belong.
    fn admit(&mut self, offset: u64, length: u64) -> Result<u64, Status> {
        let offset = if self.opening.mode.append {
            self.append_at
        } else {
            offset
        };
        let end = offset.checked_add(length).ok_or(TOO_LARGE)?;
        if self.opening.file_bytes_max.is_some_and(|max| end > max) {
            // A cut file must not be taken for the whole one.
            self.fail(OVER_LIMIT, "more than the user may store in one file");
            return Err(OVER_LIMIT);
        }
        if length == 0 {
            return Ok(offset);
        }
        if self.written != Written::Some
            && let Some(base) = &self.opening.base
            && (offset != 0 || self.written == Written::Refused)
        {
            // What comes behind a WRITE that is missing would make a mix of two files.
            self.written = Written::Refused;
            return Err(if offset == base.size {
                NO_APPEND
            } else {
                NO_EDIT
            });
        }
        self.written = Written::Some;
        self.append_at = self.append_at.max(end);
        self.received = self.received.saturating_add(length);
        Ok(offset)
    }

    fn set_attributes(&mut self, pending: Pending, size: Option<u64>, modified: Option<u32>) {
        let max = self.opening.file_bytes_max;
        let status = match size {
            Some(size) if max.is_some_and(|max| size > max) => Err(OVER_LIMIT),
            Some(size) => self.set_size(size),
            None => Ok(()),
        };
        if status.is_ok() {
            self.set_modified(modified);
        }
        self.answer(pending, status.err().unwrap_or(Status::OK));
    }

    /// Takes the time that the client gives the file, as long as it can still be sent.
    pub fn set_modified(&mut self, modified: Option<u32>) {
        if modified.is_some() && self.multipart == Multipart::None {
            self.modified = modified;
        }
    }

    fn set_size(&mut self, size: u64) -> Result<(), Status> {
        if size < self.bytes.end() {
            self.bytes
                .truncate(size)
                .map_err(|error| status_of(&error))?;
        }
        // These WRITEs came before.
        self.parked.truncate(size);
        if self.claimed_bytes() > self.claims_max(Purpose::Finish) {
            // A part that was full keeps its memory now, and others wait for it.
            self.fail(TOO_SCATTERED, NO_MEMORY_LEFT);
            return Err(TOO_SCATTERED);
        }
        if size == 0 && self.written != Written::Some && self.opening.base.take().is_some() {
            // The same as opening with TRUNC.
            self.opening.condition = Precondition::None;
            self.written = Written::Nothing;
        }
        if let Some(base) = &mut self.opening.base {
            // What was cut off does not come back when the size grows again.
            base.size = base.size.min(size);
        }
        self.append_at = size;
        self.size_set = Some(size);
        Ok(())
    }

    fn close(&mut self, pending: Pending) {
        match self.phase {
            Phase::Open | Phase::CloseAsked => {
                self.phase = Phase::Closing;
                self.closing = Some(pending);
            }
            Phase::Closing | Phase::Committing | Phase::Over => {
                self.answer(pending, Status::FAILURE);
            }
        }
    }

    fn session_over(&mut self) {
        match self.phase {
            // The sender sees to the end of what was sent.
            Phase::Committing | Phase::Over => {}
            Phase::Open | Phase::CloseAsked | Phase::Closing => {
                self.fail(Status::FAILURE, "the session ended before CLOSE");
            }
        }
    }

    fn created(&mut self, outcome: Result<UploadId, Failure>) {
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

    fn part_ended(
        &mut self,
        number: PartNumber,
        outcome: Result<CompletedPart, Failure>,
        checksum: Option<Checksum>,
    ) {
        self.in_flight.remove(&number);
        match outcome {
            Ok(part) => {
                self.parts.insert(number, (part, checksum));
            }
            // A commit that was sent finds out for itself.
            Err(_) if self.phase == Phase::Committing => {}
            Err(failure) => self.fail(failure.status, &failure.reason),
        }
    }

    fn committed(&mut self, outcome: Result<Stored, Failure>) {
        if self.phase != Phase::Committing {
            return;
        }
        match outcome {
            Ok(stored) => {
                self.multipart = Multipart::None;
                let size = self.size();
                let etag = stored.etag;
                self.effects.push_back(Effect::Stored { size, etag });
                self.over(Status::OK);
            }
            Err(failure) => {
                self.phase = Phase::Closing;
                self.fail(failure.status, &failure.reason);
            }
        }
    }

    fn time(&mut self, awaited: Awaited, held: bool, stuck: bool, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if stuck && !self.wanted.is_empty() && self.fills_slots() {
            // Half-filled parts wait for each other: one of them has to give way.
            self.fail(MEMORY, "no memory became free");
        }
        // Time in which its answers are withheld is not the client's, unless they wait for memory
        // that its own files have.
        let withheld = held || (!self.parked.is_empty() && awaited != Awaited::OthersWithLess);
        let slow = self.rate.is_too_slow(now, withheld);
        if slow && awaited != Awaited::Nobody && self.phase == Phase::Open {
            self.fail(MEMORY, "its client sent too little while others waited");
        }
    }

    // ---- what follows from it ----

    /// Places what was parked, ships what is full, and goes on with a CLOSE.
    fn advance(&mut self, now: Instant) {
        self.place_parked();
        if self.failed.is_some() {
            // Those that were put back before one of them failed.
            self.place_parked();
        }
        self.ship();
        self.advance_closing();
        self.rate.withheld(!self.parked.is_empty(), now);
    }

    /// Places bytes, or keeps them until they have their place.
    fn place_or_park(&mut self, mut parked: Parked) {
        let waits = self.parked.overlaps(&parked) || !self.place(&mut parked);
        if self.failed.is_none() && waits {
            self.parked.push_back(parked);
        } else {
            self.placed(parked.into_writer());
        }
    }

    /// Answers in the order in which the WRITEs came.
    fn place_parked(&mut self) {
        for mut parked in self.parked.take() {
            // Only those that were put back stand in front: they came earlier.
            let waits = self.failed.is_none()
                && (self.parked.overlaps(&parked) || !self.place(&mut parked));
            if waits && self.failed.is_none() {
                self.parked.push_back(parked);
            } else {
                self.placed(parked.into_writer());
            }
        }
    }

    fn placed(&mut self, writer: Writer) {
        match writer {
            Writer::Client(pending) => {
                self.answer(pending, self.failed.unwrap_or(Status::OK));
            }
            Writer::Base if self.failed.is_none() => self.effects.push_back(Effect::ReadOn),
            Writer::Base | Writer::Zeros => {}
        }
    }

    /// Copies bytes to their slots; `false`: they need memory that is not there yet.
    fn place(&mut self, parked: &mut Parked) -> bool {
        loop {
            let wish = match parked.write_to(&mut self.bytes) {
                Ok(WriteStep::Done) => return true,
                Ok(WriteStep::Needs(wish)) => wish,
                Err(error) => {
                    self.fail(status_of(&error), &error.to_string());
                    return true;
                }
            };
            if self.wanted.contains_key(&wish.number) {
                return false;
            }
            let slots_max = self
                .opening
                .parts_in_flight_max
                .saturating_add(SLOTS_FILLING_MAX);
            if wish.begins() && self.slots_held() >= slots_max {
                let stuck = self.in_flight.is_empty()
                    && self.wanted.is_empty()
                    && !self.bytes.has_full_part();
                if stuck {
                    // No slot becomes free by itself: the client would wait for ever.
                    self.fail(TOO_SCATTERED, "too many parts were started at once");
                }
                return stuck;
            }
            let claimed = self.claimed_bytes();
            let exceeds = |bytes: u64, max: u64| claimed.saturating_add(bytes) > max;
            let (bytes, purpose) = wish.modest();
            if !self.wanted.is_empty() && exceeds(bytes, self.claims_max(purpose)) {
                // What it has waited for longer would never come.
                return false;
            }
            if let Some(charge) = self.opening.share.try_take_for(bytes, purpose) {
                self.bytes.add_memory(wish.number, charge);
                continue;
            }
            let (mut bytes, mut purpose) = wish.patient();
            if exceeds(bytes, self.claims_max(purpose)) {
                // The file itself has what leaves nothing to begin with.
                (bytes, purpose) = wish.rest();
            }
            if exceeds(bytes, self.claims_max(purpose)) {
                if !self.wanted.is_empty() {
                    return false;
                }
                // The file itself has what it waits for.
                self.fail(TOO_SCATTERED, NO_MEMORY_LEFT);
                return true;
            }
            self.wanted.insert(wish.number, (bytes, purpose));
            self.effects.push_back(Effect::Wait {
                number: wish.number,
                bytes,
                purpose,
            });
            return false;
        }
    }

    /// Sends the parts of which every byte is there.
    fn ship(&mut self) {
        while self.failed.is_none()
            && self.in_flight.len() < self.opening.parts_in_flight_max
            && self.bytes.has_full_part()
        {
            let Some(upload) = self.upload() else {
                return;
            };
            let Some(part) = self.bytes.next_full_part() else {
                return;
            };
            self.send_part(upload, part);
        }
    }

    /// Returns the multipart upload, or begins it.
    fn upload(&mut self) -> Option<UploadId> {
        match &self.multipart {
            Multipart::Open(upload) => Some(upload.clone()),
            Multipart::Creating => None,
            Multipart::None => {
                self.multipart = Multipart::Creating;
                let modified = self.modified;
                self.effects.push_back(Effect::Create { modified });
                None
            }
        }
    }

    fn send_part(&mut self, upload: UploadId, part: ReadyPart) {
        let number = part.place.number;
        self.in_flight.insert(number);
        self.effects.push_back(Effect::SendPart {
            upload,
            number,
            offset: part.place.offset,
            payload: part.slot.into_payload(part.length),
        });
    }

    /// Returns how much memory its begun parts have and wait for.
    fn claimed_bytes(&self) -> u64 {
        let filling = self.bytes.filling_bytes();
        let wanted = self.wanted.values();
        wanted.fold(filling, |sum, (bytes, _)| sum.saturating_add(*bytes))
    }

    /// Returns how much that may be beside one more wait, so that none waits for what the file
    /// itself keeps.
    fn claims_max(&self, purpose: Purpose) -> u64 {
        let pool = self.opening.share.pool();
        let mut purposes = self.wanted.values().map(|(_, wanted)| *wanted);
        if purpose == Purpose::Begin || purposes.any(|wanted| wanted == Purpose::Begin) {
            pool.limit_bytes_to_begin()
        } else {
            pool.limit_bytes()
        }
    }

    /// Returns how many part slots this file holds, filling or on their way.
    fn slots_held(&self) -> usize {
        self.bytes
            .slots_filling()
            .saturating_add(self.in_flight.len())
    }

    fn answer(&mut self, pending: Pending, status: Status) {
        self.effects.push_back(Effect::Answer(pending, status));
    }

    /// Gives the file up: nothing of it will become visible.
    fn fail(&mut self, status: Status, reason: &str) {
        if self.failed.is_some() || self.phase == Phase::Over {
            return;
        }
        self.failed = Some(status);
        let closed = self.phase != Phase::Open;
        let reason = reason.into();
        self.effects.push_back(Effect::Failed { reason, closed });
        self.effects.push_back(Effect::Stop);
        self.abort();
        self.in_flight.clear();
        self.wanted.clear();
        self.fill = None;
        // The memory goes back at once.
        self.bytes = Upload::new(Arc::clone(&self.opening.budget), self.opening.layout);
    }

    fn abort(&mut self) {
        if let Multipart::Open(upload) = &self.multipart {
            self.effects.push_back(Effect::Abort(upload.clone()));
            self.multipart = Multipart::None;
        }
    }

    // ---- what others want to know ----

    #[must_use]
    pub const fn mode(&self) -> OpenMode {
        self.opening.mode
    }

    /// Returns the size that STAT and FSTAT show.
    #[must_use]
    pub fn size(&self) -> u64 {
        let floor = match (self.size_set, &self.opening.base) {
            (Some(size), _) => size,
            (None, Some(base)) => base.size,
            (None, None) => 0,
        };
        floor.max(self.bytes.end()).max(self.parked.end())
    }

    /// Says whether CLOSE came.
    #[must_use]
    pub fn is_close_asked(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Says whether CLOSE will make the file visible.
    #[must_use]
    pub const fn will_appear(&self) -> bool {
        self.failed.is_none() && !self.unlinked
    }

    /// Says whether the file is no longer what it was at OPEN.
    #[must_use]
    pub const fn is_written(&self) -> bool {
        matches!(self.written, Written::Some) || self.size_set.is_some()
    }

    /// Returns why nothing of the file will become visible.
    #[must_use]
    pub const fn failed(&self) -> Option<Status> {
        self.failed
    }

    /// Returns how many bytes the client sent.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Returns how many bytes wait for memory.
    #[must_use]
    pub const fn parked_bytes(&self) -> usize {
        self.parked.bytes()
    }

    /// Returns how many WRITEs wait for memory.
    #[must_use]
    pub fn parked_writes(&self) -> usize {
        self.parked.len()
    }

    /// Says whether memory was given that is not full yet.
    #[must_use]
    pub fn fills_slots(&self) -> bool {
        self.bytes.slots_filling() > 0
    }

    /// Returns bytes that were written, as long as they are still here.
    ///
    /// # Errors
    /// The status that the client gets.
    pub fn read(&self, offset: u64, length: u32) -> Result<Bytes, Status> {
        let end = self.size();
        if offset >= end {
            return Err(Status::EOF);
        }
        // What was not written, or waits for its place, is not here. A READ may end at the border
        // of a part: a short answer is a right one.
        let length = u64::from(length.min(limits::READ_BYTES_MAX))
            .min(end.saturating_sub(offset))
            .min(self.bytes.bytes_to_border(offset));
        if self.parked.touches(offset, length) {
            return Err(NOT_HERE);
        }
        let bytes = self.bytes.read(offset, length).ok_or(NOT_HERE)?;
        Ok(Bytes::copy_from_slice(bytes))
    }
}

/// Why a file is given up that keeps what it waits for.
const NO_MEMORY_LEFT: &str = "its started parts leave no memory for another one";
/// Parts that one file may fill at once, beside those on their way.
const SLOTS_FILLING_MAX: usize = 2;
