//! One file that is written, from OPEN to its end (pure).
//!
//! What is not written over of an existing file is kept: at CLOSE the store copies whole parts of
//! it, and the rest is read. The first WRITE decides where parts begin and end: behind the end of
//! an existing file they begin there. Who may read, or writes in the middle, keeps what is written
//! within reach up to a bound; everybody else's parts leave when they are full. Nothing is visible
//! before CLOSE, and CLOSE is answered when the store has confirmed. A copy of an object by ranges
//! is such a file, of which nothing is written ([`WriteFile::copy`]).
//!
//! Whoever owns a [`WriteFile`] tells it what happened ([`WriteFile::hear`]) and does what it asks
//! for, in order ([`WriteFile::next_effect`]). Every request that it hears of gets one
//! [`Effect::Answer`]; every upload that it hears was created is completed or aborted.

mod bringing;
mod closing;
mod combined;
mod fill;
mod overlay;
mod parked;
mod partial;
mod rate;
mod renamed;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod waited;
mod words;
mod zeros;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub use self::fill::BaseRead;
use self::fill::Fill;
pub use self::overlay::{Composed, Source, composed, source};
use self::parked::{Parked, Queue, Writer};
use self::partial::Stage;
use self::rate::Rate;
pub use self::rate::RateMin;
use self::state::{
    HOLD_LOOKS_AFTER, Hold, Multipart, NO_MEMORY_LEFT, PartsMemory, Phase, SLOTS_FILLING_MAX,
    Taking,
};
use self::status::{COPIED, GAP, MEMORY, TOO_LARGE, TOO_LARGE_TO_CHANGE, TOO_SCATTERED, status_of};
pub use self::status::{COPYING, NOT_HERE, OVER_LIMIT};
pub use self::words::{
    Awaited, Base, Bringing, Completing, Effect, Failure, Heard, KeptPartial, Opening, PartCopy,
    Renamed,
};
use super::upload::{Upload, WriteStep, as_u64};
use crate::budget::Purpose;
use crate::sftp::{Given, OpenMode, Payload, Pending, Status};
use crate::storage::{Checksum, CompletedPart, PartNumber, Precondition};

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
    renames: Renames,
    multipart: Multipart,
    parts: BTreeMap<PartNumber, (CompletedPart, Option<Checksum>)>,
    in_flight: BTreeSet<PartNumber>,
    /// Parts that the store copies at the moment.
    copying: BTreeSet<PartNumber>,
    parts_memory: PartsMemory,
    /// Parts whose memory is waited for, how much and what for.
    wanted: BTreeMap<PartNumber, (u64, Purpose)>,
    parked: Queue,
    fill: Option<Fill>,
    /// How an object was read last.
    read: BaseRead,
    /// Who has bytes of another object brought, and which.
    bringing: Option<(Pending, Bringing)>,
    /// The size that the client set: what is not written below it is zeros.
    size_set: Option<u64>,
    given: Given,
    /// The same when the upload had begun.
    given_late: Given,
    /// No byte comes here: the store copies all of the base.
    copies: bool,
    taking: Taking,
    append_at: u64,
    hold: Hold,
    /// When it was looked whether others wait for what is held.
    looked: Instant,
    received: u64,
    /// The lowest byte that the client wrote.
    lowest: u64,
    partial: Stage,
    rate: Rate,
    effects: VecDeque<Effect>,
}

/// What its client renames while it is written.
#[derive(Debug, Default)]
struct Renames {
    /// Nothing is begun now that depends on its name.
    under_way: bool,
    /// The upload was begun under a name that the file has no more, and completes there on this
    /// condition.
    begun_elsewhere: Option<Precondition>,
}

impl WriteFile {
    #[must_use]
    pub fn new(opening: Opening, now: Instant) -> Self {
        Self {
            bytes: Upload::new(Arc::clone(&opening.budget), opening.layout),
            rate: Rate::new(opening.rate_min, now),
            append_at: opening.base.as_ref().map_or(0, |base| base.size),
            opening,
            phase: Phase::Open,
            closing: None,
            failed: None,
            unlinked: false,
            client_gone: false,
            renames: Renames::default(),
            multipart: Multipart::None,
            parts: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            copying: BTreeSet::new(),
            parts_memory: PartsMemory::None,
            wanted: BTreeMap::new(),
            parked: Queue::default(),
            fill: None,
            read: BaseRead::default(),
            bringing: None,
            size_set: None,
            given: Given::default(),
            given_late: Given::default(),
            copies: false,
            taking: Taking::No,
            hold: Hold::Undecided,
            looked: now,
            received: 0,
            lowest: u64::MAX,
            partial: Stage::No,
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
                given,
            } => {
                let status = self.set_attributes(size, given);
                self.answer(pending, status.err().unwrap_or(Status::OK));
            }
            Heard::Resize(size) => {
                if let Err(status) = self.set_attributes(Some(size), Given::default()) {
                    self.fail(status, status.sentence);
                }
            }
            Heard::CopyBegun => self.taking = Taking::UnderWay,
            Heard::Bring(pending, what) => self.bring(pending, what, now),
            Heard::Copied(outcome) => self.copied(outcome),
            Heard::CloseAsked => {
                if self.phase == Phase::Open {
                    self.phase = Phase::CloseAsked;
                }
            }
            Heard::Close(pending) => self.close(pending),
            Heard::Unlinked => self.unlinked = true,
            Heard::ClientGone => self.client_gone = true,
            Heard::Vanished => self.vanished(),
            Heard::Looked(outcome) => self.looked(outcome),
            Heard::Withdrawn => self.fail(Status::FAILURE, "withdrawn by the client"),
            Heard::SessionOver => self.session_over(),
            Heard::Memory(number, charge) => {
                // One that is not wanted any more gives its memory back here.
                if self.wanted.remove(&number).is_some() {
                    self.bytes.add_memory(number, charge);
                }
            }
            Heard::PartsMemory(charge) => self.parts_memory(charge),
            Heard::Created(outcome) => self.created(outcome),
            Heard::PartEnded {
                number,
                outcome,
                checksum,
            } => self.part_ended(number, outcome, checksum),
            Heard::Base(read, bytes) => self.base_came(read, bytes),
            Heard::BaseEnded(read, outcome) => self.base_ended(read, outcome),
            Heard::ZerosDue => self.zeros_due(),
            Heard::GivenSet => self.over(Status::OK),
            Heard::Committed(outcome) => self.committed(outcome),
            Heard::Time {
                awaited,
                held,
                stuck,
            } => self.time(awaited, held, stuck, now),
            Heard::Renaming => self.renames.under_way = true,
            Heard::Renamed(to) => self.renamed(to),
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
        ((fills || waits) && self.failed.is_none()).then(|| {
            let look = self.looked.checked_add(HOLD_LOOKS_AFTER);
            let look = look.filter(|_| self.keeps_full_part());
            let slow = self.rate.deadline();
            look.map_or(slow, |look| look.min(slow))
        })
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
        if self.is_copied_into() {
            // What comes of the other file would be written over it.
            return Err(COPYING);
        }
        if self.opening.file_bytes_max.is_some_and(|max| end > max) {
            // A cut file must not be taken for the whole one.
            self.fail(OVER_LIMIT, "more than the user may store in one file");
            return Err(OVER_LIMIT);
        }
        if length == 0 {
            return Ok(offset);
        }
        if self.hold == Hold::Undecided {
            self.begin_writes(offset);
            if let Some(status) = self.failed {
                return Err(status);
            }
        } else if offset < self.bytes.lead_bytes() {
            self.fail(COPIED, "written in the middle after its end");
            return Err(COPIED);
        }
        self.append_at = self.append_at.max(end);
        self.lowest = self.lowest.min(offset);
        self.received = self.received.saturating_add(length);
        Ok(offset)
    }

    /// Decides by the first WRITE how the file is kept.
    fn begin_writes(&mut self, offset: u64) {
        let base = self.opening.base.as_ref().map(|base| base.size);
        let reads = self.opening.mode.read;
        let appends = base.is_some_and(|base| offset >= base) && !reads;
        let edits = base.is_some() && offset > 0 && !appends;
        self.hold = match (appends, edits || reads) {
            (true, _) => Hold::Nothing,
            (false, true) => Hold::All,
            (false, false) if self.opening.keep_first_part => Hold::First,
            (false, false) => Hold::Nothing,
        };
        self.lay_parts(appends);
    }

    fn set_attributes(&mut self, size: Option<u64>, given: Given) -> Result<(), Status> {
        let max = self.opening.file_bytes_max;
        match size {
            Some(_) if self.is_copied_into() => return Err(COPYING),
            Some(size) if max.is_some_and(|max| size > max) => return Err(OVER_LIMIT),
            Some(size) => self.set_size(size)?,
            None => {}
        }
        self.set_given(given);
        Ok(())
    }

    /// Takes what the client says of the file: sent with its upload, or too late for it.
    pub fn set_given(&mut self, given: Given) {
        if self.multipart == Multipart::None {
            self.given = given.or(self.given);
        } else {
            self.given_late = given.or(self.given_late);
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
        if size == 0 && self.hold == Hold::Undecided && self.opening.base.take().is_some() {
            // The same as opening with TRUNC.
            self.opening.condition = Precondition::None;
        }
        if let Some(base) = &mut self.opening.base {
            // What was cut off does not come back when the size grows again.
            base.size = base.size.min(size);
        }
        self.append_at = size;
        self.size_set = Some(size);
        let waits = !self.parked.is_empty() || !self.wanted.is_empty();
        if size < self.bytes.lead_bytes() && self.bytes.is_untouched() && !waits {
            // What comes next decides again.
            self.bytes = Upload::new(Arc::clone(&self.opening.budget), self.opening.layout);
            self.hold = Hold::Undecided;
        }
        Ok(())
    }

    fn close(&mut self, pending: Pending) {
        match self.phase {
            Phase::Open | Phase::CloseAsked => {
                self.phase = Phase::Closing;
                self.closing = Some(pending);
                if self.hold == Hold::Undecided && self.is_written() && !self.unlinked {
                    self.lay_parts(true);
                }
                self.release();
            }
            Phase::Closing | Phase::Committing | Phase::Over => {
                self.answer(pending, Status::FAILURE);
            }
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
        self.copy_ahead();
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
            Writer::Base(read) => {
                let fill = self.fill.as_mut().filter(|_| self.failed.is_none());
                if fill.and_then(|fill| fill.left(read)).is_some() {
                    self.effects.push_back(Effect::ReadOn);
                }
            }
            Writer::Zeros => {}
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
            let slots_max = self.slots_max(parked);
            if wish.begins() && self.slots_held() >= slots_max {
                self.release();
                let stuck = self.in_flight.is_empty()
                    && self.wanted.is_empty()
                    && self.bytes.full_part(PartNumber(1)).is_none();
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
            // Nothing is kept for comfort while there is something to wait for.
            self.release();
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
        if self.hold == Hold::All && self.bytes.held_bytes() > self.opening.edit_bytes_max {
            self.hold = if self.opening.keep_first_part {
                Hold::First
            } else {
                Hold::Nothing
            };
        }
        let from = match self.hold {
            Hold::Undecided | Hold::Nothing => PartNumber(1),
            Hold::First => PartNumber(2),
            Hold::All => return,
        };
        while self.failed.is_none()
            && self.in_flight.len() < self.opening.parts_in_flight_max
            && self.bytes.full_part(from).is_some()
        {
            let Some(upload) = self.upload() else {
                return;
            };
            let Some(part) = self.bytes.next_full_part(from) else {
                return;
            };
            self.send_part(upload, part);
        }
    }

    /// Says whether something stays here that could leave.
    fn keeps_full_part(&self) -> bool {
        matches!(self.hold, Hold::First | Hold::All)
            && self.bytes.full_part(PartNumber(1)).is_some()
    }

    fn release(&mut self) {
        if self.hold != Hold::Undecided {
            self.hold = Hold::Nothing;
        }
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

    /// Returns how many part slots this file may hold. What is filled at CLOSE comes in order: it
    /// gives its slot back whatever the others wait for.
    fn slots_max(&self, parked: &Parked) -> usize {
        let max = self.opening.parts_in_flight_max;
        let more = usize::from(!parked.is_of_client());
        max.saturating_add(SLOTS_FILLING_MAX).saturating_add(more)
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

    // ---- what others want to know ----

    #[must_use]
    pub const fn mode(&self) -> OpenMode {
        self.opening.mode
    }

    /// Returns the size that STAT and FSTAT show.
    #[must_use]
    pub fn size(&self) -> u64 {
        if let Some(size) = self.partial.size() {
            return size;
        }
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

    /// Says whether CLOSE is at its turn, or over: nothing changes the file any more.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        !matches!(self.phase, Phase::Open | Phase::CloseAsked)
    }

    /// Says whether CLOSE will make the file visible.
    #[must_use]
    pub const fn will_appear(&self) -> bool {
        self.failed.is_none() && !self.unlinked
    }

    /// Says whether the file is no longer what it was at OPEN.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.hold != Hold::Undecided || self.size_set.is_some()
    }

    /// Returns what the client said of the file.
    #[must_use]
    pub const fn given(&self) -> Given {
        self.given
    }

    /// Returns what the client said of the file too late for its upload.
    #[must_use]
    pub const fn given_late(&self) -> Given {
        self.given_late
    }

    /// Says whether bytes of a stored file are kept in it.
    #[must_use]
    pub const fn has_base(&self) -> bool {
        self.opening.base.is_some()
    }

    /// Says whether the store has begun a multipart upload, or is about to: its key is fixed.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.multipart != Multipart::None
    }

    /// Says whether it ends as what came in sequence before its client vanished.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.partial.is_begun()
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
}
