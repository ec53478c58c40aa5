//! One file on its way up: writes in any order become parts that S3 takes.
//!
//! Bytes are copied into the slot of the part they belong to, which grows with them. A part leaves
//! when every byte of it is there; what has left cannot be written again. Nothing is made up: a byte that nobody
//! wrote is a gap, and a gap fails the upload unless the client set the size.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::extents::Extents;
use crate::budget::{Budget, Charge, Purpose, Slot};
use crate::limits;
use crate::sftp::Payload;
use crate::storage::{PartLayout, PartNumber, PartPlace};

/// The state of one upload.
#[derive(Debug)]
pub struct Upload {
    budget: Arc<Budget>,
    layout: PartLayout,
    filling: BTreeMap<PartNumber, Filling>,
    shipped: BTreeSet<PartNumber>,
    /// Everything below was shipped; an object may have thousands of parts.
    shipped_to: u64,
    /// End of the last byte written.
    end: u64,
}

#[derive(Debug)]
struct Filling {
    place: PartPlace,
    slot: Slot,
    /// Relative to the part.
    written: Extents,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.written.cover(0, self.place.bytes)
    }
}

/// A part whose bytes are complete.
#[derive(Debug)]
pub struct ReadyPart {
    pub place: PartPlace,
    pub slot: Slot,
    /// Bytes of the slot that belong to the part.
    pub length: u64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteStep {
    /// Every byte has its place.
    Done,
    /// A part needs memory before the write can go on.
    Needs(Wish),
}

/// What memory a part needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub number: PartNumber,
    has: u64,
    /// What does for the write at hand.
    enough: u64,
    whole: u64,
}

impl Wish {
    /// Says whether the part has nothing yet.
    #[must_use]
    pub const fn begins(&self) -> bool {
        self.has == 0
    }

    /// Returns what does for now: bytes beside those that the part has, and what for. Nothing is
    /// finished with what nothing was begun of.
    #[must_use]
    pub fn modest(&self) -> (u64, Purpose) {
        let purpose = if self.enough == self.whole && !self.begins() {
            Purpose::Finish
        } else {
            Purpose::Begin
        };
        (self.enough.saturating_sub(self.has), purpose)
    }

    /// Returns what to wait for where that cannot be had: for the least to begin with, or for all
    /// that the part will ever need. What lies between would be waited for twice.
    #[must_use]
    pub fn patient(&self) -> (u64, Purpose) {
        let [first, _] = limits::SLOT_STEPS_BYTES;
        if !self.begins() {
            self.rest()
        } else if self.enough <= first {
            self.modest()
        } else {
            (self.whole, Purpose::Begin)
        }
    }

    /// Returns all that the part will ever need, to be taken wherever it can be had.
    #[must_use]
    pub const fn rest(&self) -> (u64, Purpose) {
        (self.whole.saturating_sub(self.has), Purpose::Finish)
    }
}

/// What is known of bytes that stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// They were written, and are here.
    Here,
    /// Nobody wrote them.
    Absent,
    /// They have left.
    Shipped,
}

/// Why a write or the whole upload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    #[error("the bytes were already sent to storage")]
    AlreadyShipped,
    #[error("the file is larger than its parts can hold")]
    TooLarge,
    #[error("too many separate ranges in one part")]
    TooScattered,
    #[error("bytes {start} to {end} were never written")]
    Gap { start: u64, end: u64 },
}

impl Upload {
    #[must_use]
    pub fn new(budget: Arc<Budget>, layout: PartLayout) -> Self {
        Self {
            layout,
            budget,
            filling: BTreeMap::new(),
            shipped: BTreeSet::new(),
            shipped_to: 0,
            end: 0,
        }
    }

    /// Returns the end of the last byte written.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Returns how many slots wait to be filled.
    #[must_use]
    pub fn slots_filling(&self) -> usize {
        self.filling.len()
    }

    /// Returns how much memory those have that are not full: what is full gives its own back.
    #[must_use]
    pub fn filling_bytes(&self) -> u64 {
        let begun = self.filling.values().filter(|part| !part.is_full());
        begun.map(|part| part.slot.len()).sum()
    }

    /// Returns how much memory all of them have.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.filling.values().map(|part| part.slot.len()).sum()
    }

    /// Says that nothing was written, and nothing left.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.filling.is_empty() && self.shipped.is_empty()
    }

    /// Returns where parts begin and end.
    #[must_use]
    pub const fn layout(&self) -> PartLayout {
        self.layout
    }

    /// Returns where the parts that the store copies end.
    #[must_use]
    pub const fn lead_bytes(&self) -> u64 {
        self.layout.lead_bytes()
    }

    /// Copies a write's bytes to their places, from `consumed` on; call again with the same
    /// `consumed` after memory was added.
    ///
    /// # Errors
    /// The write cannot be kept; nothing of it beyond `consumed` was.
    pub fn write(
        &mut self,
        offset: u64,
        payload: &Payload,
        consumed: &mut usize,
    ) -> Result<WriteStep, UploadError> {
        while *consumed < payload.length {
            let at = offset
                .checked_add(as_u64(*consumed))
                .ok_or(UploadError::TooLarge)?;
            let place = self.layout.part_at(at).ok_or(UploadError::TooLarge)?;
            if self.shipped.contains(&place.number) {
                return Err(UploadError::AlreadyShipped);
            }
            let left = as_u64(payload.length.saturating_sub(*consumed));
            let length = left.min(place.end().saturating_sub(at));
            let start = at.saturating_sub(place.offset);
            let needed = start.saturating_add(length);
            let Some(part) = self
                .filling
                .get_mut(&place.number)
                .filter(|part| part.slot.len() >= needed)
            else {
                return Ok(WriteStep::Needs(self.wish(&place, needed)));
            };
            part.written
                .insert(start, needed)
                .map_err(|_| UploadError::TooScattered)?;
            copy_slices(payload, *consumed, part.slot.bytes_mut(start, length));
            *consumed = consumed.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            self.end = self.end.max(at.saturating_add(length));
        }
        Ok(WriteStep::Done)
    }

    /// Gives a part memory, beside what it has.
    pub fn add_memory(&mut self, number: PartNumber, charge: Charge) {
        // What came too late goes back.
        if self.shipped.contains(&number) {
            return;
        }
        if let Some(part) = self.filling.get_mut(&number) {
            part.slot.grow(charge, part.written.end());
            return;
        }
        let Some(place) = self.place_of(number) else {
            return;
        };
        let slot = self.budget.slot(charge);
        self.filling.insert(
            number,
            Filling {
                place,
                slot,
                written: Extents::default(),
            },
        );
    }

    fn wish(&self, place: &PartPlace, needed: u64) -> Wish {
        let part = self.filling.get(&place.number);
        let mut steps = limits::SLOT_STEPS_BYTES.into_iter();
        let step = steps.find(|step| needed <= *step && *step < place.bytes);
        Wish {
            number: place.number,
            has: part.map_or(0, |part| part.slot.len()),
            enough: step.unwrap_or(place.bytes),
            whole: place.bytes,
        }
    }

    /// Returns the part that holds the byte at `offset`.
    #[must_use]
    pub fn place_at(&self, offset: u64) -> Option<PartPlace> {
        self.layout.part_at(offset)
    }

    /// Notes that a part comes from elsewhere, up to `end`.
    pub fn leave_out(&mut self, number: PartNumber, end: u64) {
        self.filling.remove(&number);
        self.note_shipped(number);
        self.end = self.end.max(end);
    }

    fn note_shipped(&mut self, number: PartNumber) {
        self.shipped.insert(number);
        while let Some(place) = self.layout.part_at(self.shipped_to)
            && self.shipped.contains(&place.number)
        {
            self.shipped_to = place.end();
        }
    }

    /// Returns the first part that could leave, from `from` on.
    #[must_use]
    pub fn full_part(&self, from: PartNumber) -> Option<PartNumber> {
        let mut parts = self.filling.range(from..);
        let (number, _) = parts.find(|(_, part)| part.is_full())?;
        Some(*number)
    }

    /// Takes the next part of which every byte is there, from `from` on.
    pub fn next_full_part(&mut self, from: PartNumber) -> Option<ReadyPart> {
        let number = self.full_part(from)?;
        let part = self.filling.remove(&number)?;
        self.note_shipped(number);
        Some(ReadyPart {
            place: part.place,
            slot: part.slot,
            length: part.place.bytes,
        })
    }

    /// Returns the first range below `size` that nobody wrote, or that there is no place for.
    #[must_use]
    pub fn first_gap(&self, size: u64) -> Option<(u64, u64)> {
        let mut at = self.shipped_to;
        while at < size {
            let Some(place) = self.layout.part_at(at) else {
                return Some((at, size));
            };
            let end = place.end().min(size);
            let gap = match self.filling.get(&place.number) {
                Some(part) => part.written.first_gap(end.saturating_sub(place.offset)),
                None if self.shipped.contains(&place.number) => None,
                None => Some((0, end.saturating_sub(place.offset))),
            };
            if let Some((from, to)) = gap {
                let absolute = |relative: u64| place.offset.saturating_add(relative);
                return Some((absolute(from), absolute(to)));
            }
            at = place.end();
        }
        None
    }

    /// Returns how many bytes below `size` nobody wrote, or that there is no place for them all.
    #[must_use]
    pub fn missing(&self, size: u64) -> u64 {
        let (mut at, mut missing) = (self.shipped_to, 0_u64);
        while at < size {
            let Some(place) = self.layout.part_at(at) else {
                return u64::MAX;
            };
            let length = place.end().min(size).saturating_sub(place.offset);
            let absent = match self.filling.get(&place.number) {
                Some(part) => part.written.missing(length),
                None if self.shipped.contains(&place.number) => 0,
                None => length,
            };
            missing = missing.saturating_add(absent);
            at = place.end();
        }
        missing
    }

    /// Forgets what was written at and after `size`.
    ///
    /// # Errors
    /// Some of it was already shipped.
    pub fn truncate(&mut self, size: u64) -> Result<(), UploadError> {
        let last_shipped = self
            .shipped
            .last()
            .and_then(|number| self.place_of(*number));
        if last_shipped.is_some_and(|place| place.end() > size) {
            return Err(UploadError::AlreadyShipped);
        }
        self.filling.retain(|_, part| part.place.offset < size);
        for part in self.filling.values_mut() {
            part.written
                .truncate(size.saturating_sub(part.place.offset));
        }
        self.end = self.end.min(size);
        Ok(())
    }

    /// Forgets what was written at and after `size`, also what has left already.
    pub fn cut(&mut self, size: u64) {
        self.filling.retain(|_, part| part.place.offset < size);
        for part in self.filling.values_mut() {
            part.written
                .truncate(size.saturating_sub(part.place.offset));
        }
        self.end = self.end.min(size);
    }

    /// Takes the last part, which need not be full, once the file is known to have `size` bytes
    /// and every full part has left. `None`: the file ends where a full part ends.
    ///
    /// # Errors
    /// Bytes are missing.
    pub fn take_last_part(&mut self, size: u64) -> Result<Option<ReadyPart>, UploadError> {
        if let Some((start, end)) = self.first_gap(size) {
            return Err(UploadError::Gap { start, end });
        }
        // A slot may have come for bytes that were cut off since.
        self.filling.retain(|_, part| part.place.offset < size);
        let Some((number, part)) = self.filling.pop_first() else {
            return Ok(None);
        };
        self.note_shipped(number);
        let length = size.saturating_sub(part.place.offset);
        Ok(Some(ReadyPart {
            place: part.place,
            slot: part.slot,
            length,
        }))
    }

    /// Says what is known of the bytes from `offset` on, and where others begin.
    #[must_use]
    pub fn run_at(&self, offset: u64) -> (Run, u64) {
        let Some(place) = self.layout.part_at(offset) else {
            return (Run::Absent, u64::MAX);
        };
        if self.shipped.contains(&place.number) {
            return (Run::Shipped, place.end());
        }
        let Some(part) = self.filling.get(&place.number) else {
            return (Run::Absent, place.end());
        };
        let (there, end) = part.written.run_at(offset.saturating_sub(place.offset));
        let run = if there { Run::Here } else { Run::Absent };
        (run, place.offset.saturating_add(end).min(place.end()))
    }

    /// Returns `length` bytes at `offset` if all of them are still here.
    #[must_use]
    pub fn read(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let place = self.layout.part_at(offset)?;
        let part = self.filling.get(&place.number)?;
        let start = offset.saturating_sub(place.offset);
        part.written
            .cover(start, start.saturating_add(length))
            .then(|| part.slot.bytes(start, length))
    }

    fn place_of(&self, number: PartNumber) -> Option<PartPlace> {
        // Parts are few and of few sizes: find the place by bisecting over offsets.
        let (mut low, mut high) = (0, limits::OBJECT_BYTES_MAX);
        while low < high {
            let middle = low.midpoint(high);
            match self.layout.part_at(middle) {
                Some(place) if place.number == number => return Some(place),
                Some(place) if place.number < number => low = place.end(),
                Some(_) | None => high = middle,
            }
        }
        None
    }
}

/// Fills `target` with the payload's bytes from `skip` on.
fn copy_slices(payload: &Payload, mut skip: usize, mut target: &mut [u8]) {
    for slice in &payload.slices {
        let Some(bytes) = slice.get(skip..) else {
            skip = skip.saturating_sub(slice.len());
            continue;
        };
        skip = 0;
        let length = bytes.len().min(target.len());
        let (now, later) = target.split_at_mut(length);
        now.copy_from_slice(bytes.get(..length).unwrap_or_default());
        target = later;
    }
}

pub(super) fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::budget::Share;
    use crate::limits::Limits;

    const PART: u64 = limits::PART_BYTES_MIN;
    const FIRST: PartNumber = PartNumber(1);

    fn budget() -> Arc<Budget> {
        Budget::new(&Limits {
            part_bytes: PART,
            ..Limits::default()
        })
    }

    fn upload(budget: &Arc<Budget>) -> Upload {
        Upload::new(Arc::clone(budget), budget.layout())
    }

    fn payload(bytes: &[u8]) -> Payload {
        let half = bytes.len() / 2;
        let slices = vec![
            Bytes::copy_from_slice(&bytes[..half]),
            Bytes::copy_from_slice(&bytes[half..]),
        ];
        Payload {
            slices,
            length: bytes.len(),
        }
    }

    fn write(
        upload: &mut Upload,
        share: &Share,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), UploadError> {
        let (payload, mut consumed) = (payload(bytes), 0);
        while let WriteStep::Needs(wish) = upload.write(offset, &payload, &mut consumed)? {
            let (bytes, purpose) = wish.modest();
            let charge = share.try_take_for(bytes, purpose).expect("memory");
            upload.add_memory(wish.number, charge);
        }
        Ok(())
    }

    #[test]
    fn a_small_file_is_one_part_in_a_small_slot() {
        let budget = budget();
        let (mut upload, share) = (upload(&budget), budget.user().uploads);
        write(&mut upload, &share, 2, b"cde").unwrap();
        write(&mut upload, &share, 0, b"abX").unwrap();
        write(&mut upload, &share, 2, b"c").unwrap();
        assert!(upload.next_full_part(FIRST).is_none());
        assert_eq!(upload.read(1, 3), Some(&b"bcd"[..]));
        let last = upload.take_last_part(5).unwrap().unwrap();
        assert_eq!(last.slot.bytes(0, last.length), b"abcde");
        assert_eq!(last.slot.len(), limits::SLOT_STEPS_BYTES[0]);
    }

    #[test]
    fn a_gap_is_never_filled_silently() {
        let budget = budget();
        let (mut upload, share) = (upload(&budget), budget.user().uploads);
        write(&mut upload, &share, 0, b"ab").unwrap();
        write(&mut upload, &share, 3, b"d").unwrap();
        assert_eq!(
            upload.take_last_part(4).err(),
            Some(UploadError::Gap { start: 2, end: 3 })
        );
    }

    #[test]
    fn what_was_shipped_cannot_be_written_again() {
        let budget = budget();
        let (mut upload, share) = (upload(&budget), budget.user().uploads);
        let part = vec![1; usize::try_from(PART).unwrap()];
        write(&mut upload, &share, 0, &part).unwrap();
        assert_eq!(
            upload.next_full_part(FIRST).unwrap().place.number,
            PartNumber(1)
        );
        assert_eq!(
            write(&mut upload, &share, PART - 1, b"xy"),
            Err(UploadError::AlreadyShipped)
        );
        assert_eq!(upload.truncate(PART - 1), Err(UploadError::AlreadyShipped));
        assert!(upload.take_last_part(PART).unwrap().is_none());
    }

    #[test]
    fn what_there_is_no_place_for_is_missing() {
        let budget = Budget::new(&Limits {
            part_bytes: PART,
            object_bytes_max: PART,
            ..Limits::default()
        });
        let (mut upload, share) = (upload(&budget), budget.user().uploads);
        let part = vec![1; usize::try_from(PART).unwrap()];
        write(&mut upload, &share, 0, &part).unwrap();
        assert!(upload.next_full_part(FIRST).is_some());
        assert_eq!(upload.first_gap(PART), None);
        let (start, end) = (PART, PART + 1);
        assert_eq!(upload.first_gap(end), Some((start, end)));
        let gap = UploadError::Gap { start, end };
        assert_eq!(upload.take_last_part(end).err(), Some(gap));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_bytes_handed_out_are_the_bytes_written(
            total in 1_u64..(PART * 5 / 2),
            piece in 60_000_u64..900_000,
            swaps in prop::collection::vec((0_usize..40, 0_usize..40), 0..20),
        ) {
            let budget = budget();
            let (mut upload, share) = (upload(&budget), budget.user().uploads);
            let content: Vec<u8> = (0..total).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
            let mut starts: Vec<u64> = (0..total).step_by(usize::try_from(piece).unwrap()).collect();
            for (one, other) in swaps {
                let count = starts.len();
                starts.swap(one % count, other % count);
            }
            let mut object = vec![0; content.len()];
            let mut numbers = Vec::new();
            let mut take = |part: ReadyPart| {
                let at = usize::try_from(part.place.offset).unwrap();
                let bytes = part.slot.bytes(0, part.length);
                object[at..at + bytes.len()].copy_from_slice(bytes);
                numbers.push(part.place.number.0);
            };
            for start in starts {
                let end = (start + piece).min(total);
                let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                write(&mut upload, &share, start, &content[range]).unwrap();
                while let Some(part) = upload.next_full_part(FIRST) {
                    take(part);
                }
            }
            if let Some(part) = upload.take_last_part(total).unwrap() {
                take(part);
            }
            numbers.sort_unstable();
            prop_assert_eq!(&numbers, &(1..=u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
            prop_assert!(object == content);
        }
    }
}
