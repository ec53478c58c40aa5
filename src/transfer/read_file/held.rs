//! Ranges of one file that are here, on their way, or waiting for memory.

use bytes::Bytes;

use super::FetchId;
use crate::budget::Charge;
use crate::storage::ByteRange;

/// All ranges of one file, in no order; none overlaps another one.
#[derive(Debug, Default)]
pub(super) struct Held {
    ranges: Vec<Range>,
    next: u64,
}

/// One range, from the wish for its memory until its last byte was read.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) fetch: FetchId,
    pub(super) range: ByteRange,
    pub(super) phase: Phase,
    /// How often the file had moved when the GET began.
    pub(super) moves: u32,
    /// Where the next byte to arrive belongs.
    arrived: u64,
    /// Frames with their offsets.
    frames: Vec<(u64, Bytes)>,
    /// Bytes that were handed to the reader.
    consumed: u64,
    /// Memory for what has not arrived; what has carries its own.
    charge: Option<Charge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It was asked whether there is memory.
    Asked {
        demanded: bool,
    },
    /// It has a place in the line for memory.
    Waiting,
    /// There is memory, and no GET yet.
    Ready,
    Fetching,
    Ended,
}

impl Held {
    /// Notes a range whose memory is asked for.
    pub(super) fn ask(&mut self, range: ByteRange, phase: Phase) -> FetchId {
        let fetch = FetchId(self.next);
        self.next = self.next.wrapping_add(1);
        self.ranges.push(Range {
            fetch,
            range,
            phase,
            moves: 0,
            arrived: range.start,
            frames: Vec::new(),
            consumed: 0,
            charge: None,
        });
        fetch
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn find(&mut self, fetch: FetchId) -> Option<&mut Range> {
        self.ranges.iter_mut().find(|range| range.fetch == fetch)
    }

    pub(super) fn find_in(&mut self, phase: Phase) -> Option<&mut Range> {
        self.ranges.iter_mut().find(|range| range.phase == phase)
    }

    /// Returns how many ranges are not all here.
    pub(super) fn unfinished(&self) -> usize {
        let unfinished = |range: &&Range| range.phase != Phase::Ended;
        self.ranges.iter().filter(unfinished).count()
    }

    /// Returns the bytes of all ranges, here or not.
    pub(super) fn bytes(&self) -> u64 {
        let sum = |sum: u64, range: &Range| sum.saturating_add(range.length());
        self.ranges.iter().fold(0, sum)
    }

    /// Returns the first byte from `offset` on that is in no range.
    pub(super) fn first_missing(&self, offset: u64) -> u64 {
        let mut at = offset;
        // Ranges may be in any order: go on until none moves the position.
        loop {
            let holds = |one: &&Range| one.range.start <= at && at < one.range.end;
            match self.ranges.iter().find(holds) {
                Some(one) => at = one.range.end,
                None => return at,
            }
        }
    }

    /// Returns where the next range after `offset` begins.
    pub(super) fn next_start(&self, offset: u64) -> u64 {
        let starts = self.ranges.iter().map(|one| one.range.start);
        let later = starts.filter(|start| *start > offset);
        later.min().unwrap_or(u64::MAX)
    }

    /// Returns the bytes `start..end` if all of them arrived, and counts them as consumed.
    pub(super) fn take(&mut self, start: u64, end: u64) -> Option<Vec<Bytes>> {
        let mut slices = Vec::new();
        let mut taken: Vec<(FetchId, u64)> = Vec::new();
        let mut at = start;
        while at < end {
            let range = self
                .ranges
                .iter()
                .find(|one| one.range.start <= at && at < one.arrived)?;
            let until = end.min(range.arrived);
            range.copy_slices(at, until, &mut slices);
            taken.push((range.fetch, until.saturating_sub(at)));
            at = until;
        }
        for (fetch, length) in taken {
            if let Some(range) = self.find(fetch) {
                range.consumed = range.consumed.saturating_add(length);
            }
        }
        Some(slices)
    }

    /// Lets ranges go, and returns those of them for which something is under way.
    pub(super) fn let_go(&mut self, keep: impl Fn(&Range) -> bool) -> Vec<FetchId> {
        let mut cancelled = Vec::new();
        self.ranges.retain(|range| {
            let keep = keep(range);
            if !keep && matches!(range.phase, Phase::Waiting | Phase::Fetching) {
                cancelled.push(range.fetch);
            }
            keep
        });
        cancelled
    }

    pub(super) fn remove(&mut self, fetch: FetchId) {
        self.ranges.retain(|range| range.fetch != fetch);
    }
}

impl Range {
    /// Says whether a READ needs some of it.
    pub(super) const fn meets(&self, offset: u64, end: u64) -> bool {
        offset < self.range.end && self.range.start < end
    }

    pub(super) const fn is_spent(&self) -> bool {
        self.consumed >= self.length()
    }

    /// Takes its memory; where that is less than was asked for, so is the range.
    pub(super) fn has_memory(&mut self, charge: Charge) {
        let end = self.range.start.saturating_add(charge.bytes());
        self.range.end = self.range.end.min(end);
        self.charge = Some(charge);
        self.phase = Phase::Ready;
    }

    /// Takes bytes as they arrive: each keeps its memory until its last clone is gone.
    pub(super) fn arrive(&mut self, mut bytes: Bytes) {
        let room = self.range.end.saturating_sub(self.arrived);
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if bytes.is_empty() {
            return;
        }
        let length = length_of(&bytes);
        let bytes = match &mut self.charge {
            Some(charge) => charge.split(length).with(bytes),
            None => bytes,
        };
        self.frames.push((self.arrived, bytes));
        self.arrived = self.arrived.saturating_add(length);
    }

    /// Ends with what has arrived; says whether there is some.
    pub(super) fn end(&mut self) -> bool {
        self.phase = Phase::Ended;
        self.charge = None;
        self.range.end = self.arrived;
        self.length() > 0
    }

    const fn length(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
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

pub(super) fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
