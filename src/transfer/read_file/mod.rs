//! One file that is read: READs become ranged GETs, ahead of the reader while it reads in sequence.
//!
//! - READs are answered in the order in which they came.
//! - A reader that goes on where it stopped gets a window that grows with what it was given,
//!   fetched in a few parallel ranges; a reader that jumps gets what it asks for and no more.
//! - Nobody holds more than what is free. So readers come to equal windows however many they are:
//!   who has more than what is free gets no more until the others have as much.
//! - A GET begins only when there is memory for everything that it brings, and each byte keeps its
//!   memory until its last clone is gone.
//! - A file whose oldest READ finds no memory lets everything else go and waits for one small
//!   piece. So no file waits for memory while it has some, and files cannot wait for each other.
//! - Nothing is fetched that the client does not take: what waits for a client that has stopped
//!   listening is let go, and fetched again if it comes back.

mod check;
mod held;
mod letting_go;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::check::{Check, Verdict};
use self::held::{Held, Phase};
use crate::budget::Charge;
use crate::limits;
use crate::sftp::{Pending, Status};
use crate::storage::{ByteRange, Composite, Digest, Expectation};

/// The state of one file that is read.
#[derive(Debug)]
pub struct ReadFile {
    size: u64,
    window_max: u64,
    /// What the last READ of an object hears whose bytes are not those that were stored.
    damaged: Status,
    life: Life,
    /// In order of arrival; the first `active` ones are worked on.
    reads: VecDeque<Read>,
    active: usize,
    held: Held,
    check: Check,
    /// What the oldest READ gets unless it turns out to be damaged.
    doubted: Option<Vec<Bytes>>,
    /// How far to read ahead; 0 after a jump.
    window: u64,
    /// End of the furthest READ of the present sequence.
    demand_end: u64,
    /// No memory was found since the last answer.
    short: bool,
    room: Room,
    full_since: Option<Instant>,
    careful: Option<Careful>,
    moving: Moving,
    /// How often the file had another key.
    moves: u32,
    chores: VecDeque<ReadEffect>,
    sent: u64,
    touched: Instant,
}

#[derive(Debug)]
struct Read {
    pending: Pending,
    offset: u64,
    end: u64,
    /// What was asked for.
    asked: (u64, u32),
}

impl Read {
    fn answered(self, answer: ReadAnswer) -> ReadEffect {
        let (offset, length) = self.asked;
        ReadEffect::Answer {
            pending: self.pending,
            offset,
            length,
            answer,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    Failed(Status),
    Closed(Status),
}

/// The client did not take what it had asked for: only its oldest READ is fetched, until it has
/// taken a good deal in good time.
#[derive(Debug, Clone, Copy)]
struct Careful {
    since: Instant,
    answered: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moving {
    No,
    UnderWay,
    /// A GET failed meanwhile: the next ones wait for the new key.
    Stuck,
}

/// Names a range of a file from the wish for its memory to the end of its GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(u64);

/// What happened to a file.
#[derive(Debug)]
pub enum ReadHeard {
    Read {
        pending: Pending,
        offset: u64,
        length: u32,
    },
    /// What [`ReadEffect::WantMemory`] found. `None` only if it does not wait.
    Memory {
        fetch: FetchId,
        charge: Option<Charge>,
    },
    /// The next bytes of a GET.
    Frame { fetch: FetchId, bytes: Bytes },
    /// A GET brought all of its range, or failed for good.
    FetchEnded {
        fetch: FetchId,
        outcome: Result<(), Status>,
    },
    /// The object's checksum; `None`: there is none that can be compared.
    Checksum(Option<Expectation>),
    /// What [`ReadEffect::AskSizes`] found.
    Even(bool),
    /// Others wait for memory.
    Rest,
    /// The file gets another key by a request of this session.
    Moving,
    /// It has the other key, or kept the one it had: GETs name the one that holds now. An error: its
    /// bytes cannot be had any more.
    Moved(Result<(), Status>),
    /// CLOSE came, or the session is over; what waits is refused with this status.
    Close(Status),
}

/// What is to be done for a file.
#[derive(Debug)]
#[must_use = "an effect is carried out"]
pub enum ReadEffect {
    /// Take memory from read-ahead, and say at once if there is none. With `waits`, wait for it,
    /// from read-ahead or from the account, until it is cancelled.
    WantMemory {
        fetch: FetchId,
        bytes: u64,
        waits: bool,
    },
    /// GET a range: its memory is there.
    Fetch { fetch: FetchId, range: ByteRange },
    /// End the GET, or the wait for its memory; nothing more is heard of it.
    Cancel { fetch: FetchId },
    /// Ask for the whole object's checksum, which a ranged GET does not tell. The last READ of who
    /// reads in order waits for it.
    AskChecksum,
    /// The bytes are damaged if all parts but the last are of this size: ask for their sizes.
    AskSizes {
        composite: Composite,
        part_bytes: u64,
    },
    /// The object was read to its end and is damaged: a line in the log.
    Damaged,
    Answer {
        pending: Pending,
        /// What was asked for.
        offset: u64,
        length: u32,
        answer: ReadAnswer,
    },
}

/// The answer to a READ.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadAnswer {
    /// The slices together have `length` bytes.
    Bytes {
        length: u32,
        slices: Vec<Bytes>,
    },
    Status(Status),
}

/// Whether there is room for answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Free,
    /// The user has had as many bytes as they may have for now.
    Paced,
    /// The client has to take some of what is there first.
    Full,
}

impl ReadFile {
    /// Begins with nothing on its way.
    #[must_use]
    pub fn new(
        size: u64,
        checksum: Option<Digest>,
        window_max: u64,
        damaged: Status,
        now: Instant,
    ) -> Self {
        Self {
            size,
            window_max,
            damaged,
            life: Life::Open,
            reads: VecDeque::new(),
            active: 0,
            held: Held::default(),
            check: Check::new(size, checksum),
            doubted: None,
            window: 0,
            demand_end: 0,
            short: false,
            room: Room::Free,
            full_since: None,
            careful: None,
            moving: Moving::No,
            moves: 0,
            chores: VecDeque::new(),
            sent: 0,
            touched: now,
        }
    }

    /// Returns how many bytes the GET that answered OPEN brings.
    #[must_use]
    pub fn opening_bytes(&self) -> u64 {
        self.size.min(limits::OPENING_GET_BYTES)
    }

    /// Takes the first bytes from the GET that answered OPEN. Without memory for them the GET is
    /// ended, and they come again when a READ asks for them.
    pub fn begin_opening(&mut self, charge: Charge) -> FetchId {
        let range = ByteRange {
            start: 0,
            end: self.opening_bytes(),
        };
        let fetch = self.held.ask(range, Phase::Waiting);
        if let Some(range) = self.held.find(fetch) {
            range.has_memory(charge);
            range.phase = Phase::Fetching;
        }
        fetch
    }

    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many bytes READs were answered with.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns how many READs wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.reads.len()
    }

    #[must_use]
    pub const fn is_failed(&self) -> bool {
        matches!(self.life, Life::Failed(_))
    }

    /// Says whether a READ is not answered yet.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Says whether no READ waits, and none has come since `then`.
    #[must_use]
    pub fn is_idle_since(&self, then: Instant) -> bool {
        self.reads.is_empty() && self.touched <= then
    }

    /// Returns when [`Self::next`] is to be called again though nothing happened.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let since = self.full_since.filter(|_| !self.held.is_empty())?;
        since.checked_add(UNTAKEN_AFTER)
    }

    /// Takes note of what happened.
    pub fn hear(&mut self, heard: ReadHeard, now: Instant) {
        match heard {
            ReadHeard::Read {
                pending,
                offset,
                length,
            } => {
                self.touched = now;
                self.read(pending, offset, length);
            }
            ReadHeard::Memory { fetch, charge } => self.memory(fetch, charge),
            ReadHeard::Frame { fetch, bytes } => {
                if let Some(range) = self.held.find(fetch)
                    && range.phase == Phase::Fetching
                {
                    range.arrive(bytes);
                }
            }
            ReadHeard::FetchEnded { fetch, outcome } => self.fetch_ended(fetch, outcome),
            ReadHeard::Checksum(checksum) => self.check.expect(checksum),
            ReadHeard::Even(even) => self.even(even),
            ReadHeard::Rest => self.rest(),
            ReadHeard::Moving => {
                if self.moving == Moving::No {
                    self.moving = Moving::UnderWay;
                }
            }
            ReadHeard::Moved(outcome) => {
                self.moving = Moving::No;
                self.moves = self.moves.wrapping_add(1);
                if let Err(status) = outcome {
                    self.end(Life::Failed(status));
                }
            }
            ReadHeard::Close(status) => self.end(Life::Closed(status)),
        }
    }

    /// Notes that others made the object of parts, which may have checksums of their own.
    pub const fn is_of_parts(&mut self) {
        self.check.is_of_parts();
    }

    /// Notes that the object's checksum is asked for already.
    pub const fn checksum_was_asked(&mut self) {
        self.check.asked();
    }

    /// Says what to do next; `None`: nothing until something happens. `free`: how much
    /// read-ahead memory there is for all files.
    pub fn next(&mut self, room: Room, free: u64, now: Instant) -> Option<ReadEffect> {
        self.note_room(room, now);
        if let Some(chore) = self.chores.pop_front() {
            return Some(chore);
        }
        if let Life::Closed(status) = self.life {
            return self.refuse(status);
        }
        if room != Room::Free {
            return None;
        }
        if let Life::Failed(status) = self.life {
            return self.refuse(status);
        }
        self.answer(now).or_else(|| self.plan(free))
    }

    // ---- READs ----

    fn read(&mut self, pending: Pending, offset: u64, length: u32) {
        let asked = (offset, length);
        let offset = offset.min(self.size);
        let most = u64::from(length.min(limits::READ_BYTES_MAX));
        let end = offset.saturating_add(most).min(self.size);
        self.reads.push_back(Read {
            pending,
            offset,
            end,
            asked,
        });
        self.activate();
    }

    /// Looks at READs that are worked on from now on.
    fn activate(&mut self) {
        while self.active < limits::READS_PER_HANDLE_AT_ONCE
            && let Some(read) = self.reads.get(self.active)
        {
            let (offset, end) = (read.offset, read.end);
            self.active = self.active.saturating_add(1);
            if offset >= self.size {
                continue;
            }
            let near = offset <= self.demand_end.saturating_add(SEQUENCE_SLACK_BYTES)
                && offset.saturating_add(SEQUENCE_SLACK_BYTES) >= self.demand_end;
            if near {
                if self.careful.is_none() {
                    self.window = self.window.max(WINDOW_START_BYTES).min(self.window_max);
                }
                self.demand_end = self.demand_end.max(end);
            } else {
                self.window = 0;
                self.demand_end = end;
            }
            self.let_go_of_the_past();
        }
    }

    fn take_read(&mut self) -> Option<Read> {
        let read = self.reads.pop_front()?;
        self.active = self.active.saturating_sub(1);
        if self.reads.is_empty() {
            // A client that asks for a whole file at once is not remembered for it.
            self.reads.shrink_to(limits::READS_PER_HANDLE_AT_ONCE);
        }
        Some(read)
    }

    fn refuse(&mut self, status: Status) -> Option<ReadEffect> {
        let read = self.take_read()?;
        let answer = ReadAnswer::Status(status);
        Some(read.answered(answer))
    }

    /// Answers the oldest READ if all its bytes are there.
    fn answer(&mut self, now: Instant) -> Option<ReadEffect> {
        let (offset, end) = self.reads.front().map(|read| (read.offset, read.end))?;
        if offset >= self.size {
            let effect = self.refuse(Status::EOF);
            self.activate();
            return effect;
        }
        // A reader that goes on in order may read the whole object; a small one is read at once.
        let may_be_whole = offset > 0 || self.size <= limits::OPENING_GET_BYTES || end >= self.size;
        if may_be_whole && self.check.lacks_checksum(offset) {
            self.check.asked();
            return Some(ReadEffect::AskChecksum);
        }
        if self.check.waits(offset, end) {
            return None;
        }
        let slices = match self.doubted.take() {
            Some(slices) => slices,
            None => match self.compared(offset, end)? {
                Ok(slices) => slices,
                Err(effect) => return Some(effect),
            },
        };
        let read = self.take_read()?;
        let bytes = end.saturating_sub(offset);
        self.note_answered(bytes, now);
        self.activate();
        self.let_go_of_the_past();
        let length = u32::try_from(bytes).unwrap_or(u32::MAX);
        let answer = ReadAnswer::Bytes { length, slices };
        Some(read.answered(answer))
    }

    /// Takes the bytes of the oldest READ, or says what becomes of it instead.
    fn compared(&mut self, offset: u64, end: u64) -> Option<Result<Vec<Bytes>, ReadEffect>> {
        let slices = self.held.take(offset, end)?;
        match self.check.follow(offset, &slices) {
            Verdict::NothingWrong => Some(Ok(slices)),
            Verdict::Damaged => {
                self.end(Life::Failed(self.damaged));
                Some(Err(ReadEffect::Damaged))
            }
            Verdict::Doubtful {
                composite,
                part_bytes,
            } => {
                self.doubted = Some(slices);
                Some(Err(ReadEffect::AskSizes {
                    composite,
                    part_bytes,
                }))
            }
        }
    }

    /// Hears whether the parts that were compared were the parts.
    fn even(&mut self, even: bool) {
        if self.check.resolve() && even {
            self.end(Life::Failed(self.damaged));
            self.chores.push_back(ReadEffect::Damaged);
        }
    }

    fn note_answered(&mut self, bytes: u64, now: Instant) {
        self.sent = self.sent.saturating_add(bytes);
        self.short = false;
        if self.window > 0 {
            let grown = self.window.saturating_add(bytes.saturating_mul(2));
            self.window = grown.min(self.window_max);
        }
        if let Some(careful) = &mut self.careful {
            careful.answered = careful.answered.saturating_add(bytes);
            if careful.answered >= CAREFUL_BYTES {
                let took = now.saturating_duration_since(careful.since);
                self.careful = (took > CAREFUL_FOR).then_some(Careful {
                    since: now,
                    answered: 0,
                });
            }
        }
    }

    // ---- what is fetched ----

    fn plan(&mut self, free: u64) -> Option<ReadEffect> {
        let moves = self.moves;
        if self.moving == Moving::Stuck {
            return None;
        }
        if let Some(range) = self.held.find_in(Phase::Ready) {
            range.phase = Phase::Fetching;
            range.moves = moves;
            let (fetch, range) = (range.fetch, range.range);
            return Some(ReadEffect::Fetch { fetch, range });
        }
        let waits = self.held.find_in(Phase::Waiting).is_some();
        if waits || self.held.unfinished() >= FETCHES_MAX {
            return None;
        }
        // A file may have a window before and one behind what is asked for.
        let window = self.window.min((free / 2).max(WINDOW_START_BYTES));
        let chunk = window
            .checked_div(4)
            .unwrap_or(0)
            .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        match self.demanded(window, chunk) {
            Demand::Ask(effect) => Some(effect),
            Demand::Later => None,
            Demand::Met => self.ahead(window, chunk),
        }
    }

    /// Looks for the first byte that a READ waits for and that is not on its way.
    fn demanded(&mut self, window: u64, chunk: u64) -> Demand {
        let missing = self.reads.iter().take(self.active).enumerate();
        let missing = missing
            .map(|(at, read)| (at, self.held.first_missing(read.offset), read.end))
            .find(|(_, start, end)| start < end);
        let Some((at, start, needed)) = missing else {
            return Demand::Met;
        };
        let wanted = if window == 0 {
            needed
        } else {
            needed.max(start.saturating_add(chunk))
        };
        let end = wanted.min(self.held.next_start(start)).min(self.size);
        let over = self.is_too_much(end.saturating_sub(start), window);
        if at == 0 {
            if over {
                self.let_go_of_unawaited();
            }
        } else if over || self.short || self.careful.is_some() {
            return Demand::Later;
        }
        Demand::Ask(self.ask(start, end, true))
    }

    fn ahead(&mut self, window: u64, chunk: u64) -> Option<ReadEffect> {
        if window == 0 || self.short || self.careful.is_some() || self.is_too_much(chunk, window) {
            return None;
        }
        let start = self.held.first_missing(self.demand_end);
        let wanted_end = self.demand_end.saturating_add(window).min(self.size);
        let room = wanted_end.saturating_sub(start);
        let worth_it = room >= chunk || (room > 0 && wanted_end == self.size);
        if !worth_it {
            return None;
        }
        let end = start.saturating_add(chunk).min(self.held.next_start(start));
        Some(self.ask(start, end.min(self.size), false))
    }

    /// Says whether a file would have more than a window before and one behind what is asked for.
    fn is_too_much(&self, more: u64, window: u64) -> bool {
        let most = window.max(WINDOW_START_BYTES).saturating_mul(2);
        self.held.bytes().saturating_add(more) > most
    }

    fn ask(&mut self, start: u64, end: u64, demanded: bool) -> ReadEffect {
        let fetch = self
            .held
            .ask(ByteRange { start, end }, Phase::Asked { demanded });
        ReadEffect::WantMemory {
            fetch,
            bytes: end.saturating_sub(start),
            waits: false,
        }
    }

    fn memory(&mut self, fetch: FetchId, charge: Option<Charge>) {
        let Some(range) = self.held.find(fetch) else {
            return;
        };
        match (charge, range.phase) {
            (Some(charge), Phase::Asked { .. } | Phase::Waiting) if charge.bytes() > 0 => {
                range.has_memory(charge);
            }
            (None, Phase::Asked { demanded }) => {
                let range = range.range;
                self.held.remove(fetch);
                self.short = true;
                self.window = self.window.min((self.window / 2).max(WINDOW_START_BYTES));
                let oldest = self.reads.front();
                let oldest = oldest.is_some_and(|r| r.offset < range.end && range.start < r.end);
                if demanded && oldest {
                    self.wait_for_memory();
                }
            }
            (Some(_) | None, _) => {}
        }
    }

    /// Waits for just enough for the oldest READ, and for nothing else.
    fn wait_for_memory(&mut self) {
        self.let_go_of(|_| false);
        let Some(read) = self.reads.front() else {
            return;
        };
        let most = read.offset.saturating_add(limits::PATIENT_GET_BYTES);
        let wanted = if self.window == 0 { read.end } else { most };
        let range = ByteRange {
            start: read.offset,
            end: wanted.max(read.end).min(most).min(self.size),
        };
        let bytes = range.end.saturating_sub(range.start);
        let fetch = self.held.ask(range, Phase::Waiting);
        self.chores.push_back(ReadEffect::WantMemory {
            fetch,
            bytes,
            waits: true,
        });
    }

    fn fetch_ended(&mut self, fetch: FetchId, outcome: Result<(), Status>) {
        let Some(range) = self.held.find(fetch) else {
            return;
        };
        if range.phase != Phase::Fetching {
            return;
        }
        let moved = range.moves != self.moves;
        let brought = range.end();
        if !brought {
            self.held.remove(fetch);
        }
        match outcome {
            Ok(()) if brought => {}
            Ok(()) => self.end(Life::Failed(Status::FAILURE)),
            // What has not come is under the other key.
            Err(_) if moved => {}
            Err(_) if self.moving != Moving::No => self.moving = Moving::Stuck,
            Err(status) => self.end(Life::Failed(status)),
        }
    }

    /// Ends: nothing is fetched any more. The first end counts, except that CLOSE comes last.
    fn end(&mut self, life: Life) {
        match (self.life, life) {
            (Life::Open, _) | (Life::Failed(_), Life::Closed(_)) => self.life = life,
            (Life::Failed(_) | Life::Closed(_), _) => {}
        }
        self.doubted = None;
        self.let_go_of(|_| false);
    }
}

/// Whether READs wait for what is not on its way.
enum Demand {
    Met,
    Ask(ReadEffect),
    /// They do, but not yet.
    Later,
}

/// How far out of sequence a READ may be: clients keep so much under way, and it gets reordered.
const SEQUENCE_SLACK_BYTES: u64 = 4 * 1024 * 1024;
/// Little enough for a client that asks and does not listen.
const WINDOW_START_BYTES: u64 = 512 * 1024;
const CHUNK_BYTES_MIN: u64 = 256 * 1024;
/// Large enough to make a request's latency small against its transfer, small enough for several.
const CHUNK_BYTES_MAX: u64 = 4 * 1024 * 1024;
const FETCHES_MAX: usize = 8;
/// A client that took nothing for so long does not listen: what waits for it is let go.
const UNTAKEN_AFTER: Duration = Duration::from_secs(2);
/// A client that takes so much within that time listens again.
const CAREFUL_BYTES: u64 = 1024 * 1024;
const CAREFUL_FOR: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
