//! One file on its way down: reads become ranged GETs, ahead of the reader while it reads in
//! sequence.
//!
//! READs are answered in the order in which they came. A reader that goes on where it stopped gets
//! a window that doubles up to its bound, fetched in a few parallel ranges; a reader that jumps
//! gets what it asks for and no more. A fetched range is let go when every byte of it was read, or
//! when the reader has left it far behind.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::budget::ReadAheadPermit;
use crate::sftp::RequestId;
use crate::storage::{ByteRange, Checksum};

/// The state of one download.
#[derive(Debug)]
pub struct Download {
    size: u64,
    window_max: u64,
    window: u64,
    /// End of the furthest read of the present sequence.
    demand_end: u64,
    pending: VecDeque<PendingRead>,
    segments: Vec<Segment>,
    abandoned: Vec<Fetch>,
    next_id: u64,
    check: Option<Check>,
}

#[derive(Debug, Clone, Copy)]
struct PendingRead {
    id: RequestId,
    offset: u64,
    end: u64,
}

/// A range that is there or on its way.
#[derive(Debug)]
struct Segment {
    fetch: Fetch,
    /// Where the next byte to arrive belongs.
    arrived: u64,
    /// Frames with their offsets.
    frames: Vec<(u64, Bytes)>,
    /// Bytes that were handed to the reader.
    consumed: u64,
    _permit: Option<ReadAheadPermit>,
}

/// Checks a whole object, read from its first byte to its last.
struct Check {
    digest: crc_fast::Digest,
    at: u64,
    /// `None` as long as it is not known.
    expected: Option<Checksum>,
}

/// A range to GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    pub id: u64,
    pub range: ByteRange,
    /// A READ waits for it; otherwise it is read-ahead.
    pub demanded: bool,
}

/// What the oldest READ gets.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// There is no READ, or its bytes are not all there.
    Wait,
    Bytes {
        id: RequestId,
        length: u32,
        slices: Vec<Bytes>,
    },
    EndOfFile {
        id: RequestId,
    },
    /// The last READ of a whole object whose bytes are not those that were stored.
    Corrupt {
        id: RequestId,
    },
}

impl Download {
    /// Begins with nothing on its way.
    #[must_use]
    pub fn new(size: u64, window_max: u64, checksum: Option<Checksum>) -> Self {
        let check = Some(Check {
            digest: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme),
            at: 0,
            expected: checksum,
        });
        Self {
            size,
            window_max,
            window: 0,
            demand_end: 0,
            pending: VecDeque::new(),
            segments: Vec::new(),
            abandoned: Vec::new(),
            next_id: 0,
            check,
        }
    }

    /// Notes that the GET which answered OPEN brings the bytes before `end`.
    pub fn begin_opening(&mut self, end: u64, permit: ReadAheadPermit) -> Fetch {
        let fetch = self.fetch(0, end, true);
        self.begin(fetch, Some(permit));
        fetch
    }

    /// Lets everything go that no READ waits for, until the reader comes back.
    pub fn rest(&mut self) {
        self.window = 0;
        let pending = &self.pending;
        let mut abandoned = Vec::new();
        self.segments.retain(|segment| {
            let range = segment.fetch.range;
            let awaited = pending
                .iter()
                .any(|read| read.offset < range.end && range.start < read.end);
            if !awaited && !segment.is_complete() {
                abandoned.push(segment.fetch);
            }
            awaited
        });
        self.abandoned.append(&mut abandoned);
    }

    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Says whether a whole-object checksum would be of use and is not known.
    #[must_use]
    pub fn lacks_checksum(&self) -> bool {
        self.check
            .as_ref()
            .is_some_and(|check| check.expected.is_none())
    }

    /// Takes the whole object's checksum when it becomes known.
    pub const fn expect(&mut self, checksum: Checksum) {
        if let Some(check) = &mut self.check {
            check.expected = Some(checksum);
        }
    }

    #[must_use]
    pub fn reads_pending(&self) -> usize {
        self.pending.len()
    }

    /// Takes a READ.
    pub fn read(&mut self, id: RequestId, offset: u64, length: u32) {
        let end = offset.saturating_add(u64::from(length)).min(self.size);
        let offset = offset.min(self.size);
        self.pending.push_back(PendingRead {
            id,
            offset,
            end: end.max(offset),
        });
        if offset >= self.size {
            return;
        }
        let near = offset <= self.demand_end.saturating_add(SEQUENCE_SLACK_BYTES)
            && offset.saturating_add(SEQUENCE_SLACK_BYTES) >= self.demand_end;
        if near {
            let doubled = self.window.saturating_mul(2).max(WINDOW_START_BYTES);
            self.window = doubled.min(self.window_max);
            self.demand_end = self.demand_end.max(end);
        } else {
            self.window = 0;
            self.demand_end = end;
        }
        self.let_go();
    }

    /// Says what to GET next. With `crowded`, the window stays small.
    #[must_use]
    pub fn next_fetch(&self, crowded: bool) -> Option<Fetch> {
        if self
            .segments
            .iter()
            .filter(|segment| !segment.is_complete())
            .count()
            >= FETCHES_MAX
        {
            return None;
        }
        let window = if crowded {
            self.window.min(WINDOW_START_BYTES)
        } else {
            self.window
        };
        let chunk = window
            .checked_div(4)
            .unwrap_or(0)
            .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        for read in &self.pending {
            let start = self.first_missing(read.offset);
            if start < read.end {
                let ahead = if window == 0 {
                    read.end
                } else {
                    start.saturating_add(chunk)
                };
                return Some(self.fetch(start, read.end.max(ahead), true));
            }
        }
        let start = self.first_missing(self.demand_end);
        let wanted_end = self.demand_end.saturating_add(window).min(self.size);
        let room = wanted_end.saturating_sub(start);
        let worth_it = room >= chunk || (room > 0 && wanted_end == self.size);
        worth_it.then(|| self.fetch(start, start.saturating_add(chunk), false))
    }

    /// Notes that a GET is on its way.
    pub fn begin(&mut self, fetch: Fetch, permit: Option<ReadAheadPermit>) {
        self.next_id = self.next_id.saturating_add(1);
        self.segments.push(Segment {
            fetch,
            arrived: fetch.range.start,
            frames: Vec::new(),
            consumed: 0,
            _permit: permit,
        });
    }

    /// Takes bytes of a GET; those of an abandoned one are dropped.
    pub fn arrive(&mut self, fetch: u64, bytes: Bytes) {
        let Some(segment) = self
            .segments
            .iter_mut()
            .find(|segment| segment.fetch.id == fetch)
        else {
            return;
        };
        let offset = segment.arrived;
        segment.arrived = offset.saturating_add(length_of(&bytes));
        segment.frames.push((offset, bytes));
    }

    /// Answers the oldest READ if all its bytes are there.
    pub fn step(&mut self) -> ReadStep {
        let Some(read) = self.pending.front().copied() else {
            return ReadStep::Wait;
        };
        if read.offset >= self.size {
            self.pending.pop_front();
            return ReadStep::EndOfFile { id: read.id };
        }
        let Some(slices) = self.collect(read.offset, read.end) else {
            return ReadStep::Wait;
        };
        self.pending.pop_front();
        let intact = self.verify(read.offset, &slices);
        self.let_go();
        if !intact {
            return ReadStep::Corrupt { id: read.id };
        }
        let length = u32::try_from(read.end.saturating_sub(read.offset)).unwrap_or(u32::MAX);
        ReadStep::Bytes {
            id: read.id,
            length,
            slices,
        }
    }

    /// Takes the READs that wait, to refuse them.
    pub fn take_pending(&mut self) -> impl Iterator<Item = RequestId> {
        std::mem::take(&mut self.pending)
            .into_iter()
            .map(|read| read.id)
    }

    /// Takes the GETs that nobody needs any more, to cancel them.
    pub fn take_abandoned(&mut self) -> Vec<Fetch> {
        std::mem::take(&mut self.abandoned)
    }

    const fn fetch(&self, start: u64, end: u64, demanded: bool) -> Fetch {
        let end = if end < self.size { end } else { self.size };
        Fetch {
            id: self.next_id,
            range: ByteRange { start, end },
            demanded,
        }
    }

    /// Returns the first byte from `offset` on that is neither there nor on its way.
    fn first_missing(&self, offset: u64) -> u64 {
        let mut at = offset;
        // Segments may be in any order: go on until none moves the position.
        loop {
            let holds = |segment: &&Segment| {
                segment.fetch.range.start <= at && at < segment.fetch.range.end
            };
            match self.segments.iter().find(holds) {
                Some(segment) => at = segment.fetch.range.end,
                None => return at,
            }
        }
    }

    /// Returns the bytes `start..end` if all of them arrived, and counts them as consumed.
    fn collect(&mut self, start: u64, end: u64) -> Option<Vec<Bytes>> {
        let mut slices = Vec::new();
        let mut taken: Vec<(usize, u64)> = Vec::new();
        let mut at = start;
        while at < end {
            let (index, segment) = self
                .segments
                .iter()
                .enumerate()
                .find(|(_, segment)| segment.fetch.range.start <= at && at < segment.arrived)?;
            let until = end.min(segment.arrived);
            segment.copy_slices(at, until, &mut slices);
            taken.push((index, until.saturating_sub(at)));
            at = until;
        }
        for (index, length) in taken {
            if let Some(segment) = self.segments.get_mut(index) {
                segment.consumed = segment.consumed.saturating_add(length);
            }
        }
        Some(slices)
    }

    /// Feeds the whole-object check; `false`: the object was read to its end and is not intact.
    fn verify(&mut self, offset: u64, slices: &[Bytes]) -> bool {
        let Some(check) = &mut self.check else {
            return true;
        };
        if check.at != offset {
            // Not read from first to last byte: the check says nothing.
            self.check = None;
            return true;
        }
        for slice in slices {
            check.digest.update(slice);
            check.at = check.at.saturating_add(length_of(slice));
        }
        let whole = check.at >= self.size;
        let Some(expected) = check.expected.filter(|_| whole) else {
            return true;
        };
        Checksum(check.digest.finalize()) == expected
    }

    /// Drops ranges that were read to their end or left far behind.
    fn let_go(&mut self) {
        let (pending, demand_end, window) = (&self.pending, self.demand_end, self.window);
        let mut abandoned = Vec::new();
        self.segments.retain(|segment| {
            let range = segment.fetch.range;
            let awaited = pending
                .iter()
                .any(|read| read.offset < range.end && range.start < read.end);
            let spent = segment.consumed >= range.end.saturating_sub(range.start);
            let behind = range.end.saturating_add(SEQUENCE_SLACK_BYTES) <= demand_end;
            let beyond = range.start > demand_end.saturating_add(window.max(SEQUENCE_SLACK_BYTES));
            let keep = awaited || !(spent || behind || beyond);
            if !keep && !segment.is_complete() {
                abandoned.push(segment.fetch);
            }
            keep
        });
        self.abandoned.append(&mut abandoned);
    }
}

impl Segment {
    const fn is_complete(&self) -> bool {
        self.arrived >= self.fetch.range.end
    }

    fn copy_slices(&self, start: u64, end: u64, slices: &mut Vec<Bytes>) {
        let first = self
            .frames
            .partition_point(|(offset, frame)| offset.saturating_add(length_of(frame)) <= start);
        for (offset, frame) in self.frames.iter().skip(first) {
            if *offset >= end {
                break;
            }
            let from = usize::try_from(start.saturating_sub(*offset)).unwrap_or(usize::MAX);
            let to = usize::try_from(end.saturating_sub(*offset)).unwrap_or(usize::MAX);
            let to = to.min(frame.len());
            slices.push(frame.slice(from.min(to)..to));
        }
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

fn length_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// How far out of sequence a read may be: clients keep so much under way, and it gets reordered.
const SEQUENCE_SLACK_BYTES: u64 = 4 * 1024 * 1024;
const WINDOW_START_BYTES: u64 = 1024 * 1024;
const CHUNK_BYTES_MIN: u64 = 256 * 1024;
/// Large enough to make a request's latency small against its transfer, small enough for several.
const CHUNK_BYTES_MAX: u64 = 4 * 1024 * 1024;
const FETCHES_MAX: usize = 8;

#[cfg(test)]
mod tests;
