//! Where parts begin and end: a schedule known before the file's length is.

#![warn(clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};

use super::PartNumber;
use crate::limits::{self, Limits};

/// The first parts are small, so that many files can be under way; the size doubles every
/// [`PARTS_PER_SIZE`] parts, so that 10,000 of them hold 5 TiB. It stops growing where the upload
/// memory could not hold a few of them. No part reaches beyond the store's largest object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartLayout {
    /// What stands before the schedule, in parts of one size that the store copies.
    lead_bytes: u64,
    lead_part_bytes: u64,
    first_bytes: u64,
    largest_bytes: u64,
    object_bytes_max: u64,
}

/// One part's place in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlace {
    pub number: PartNumber,
    pub offset: u64,
    pub bytes: u64,
}

impl PartPlace {
    /// Returns where the next part begins.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

impl PartLayout {
    /// Makes the schedule of a process with these limits.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        Self::new(
            limits.part_bytes,
            limits.upload_memory_bytes_max,
            limits.object_bytes_max,
        )
    }

    /// Makes the schedule of an object that the store copies by itself: parts of one size, from
    /// `part_bytes` on, few enough that they are soon listed.
    #[must_use]
    pub fn of_copy(size: u64, part_bytes: u64) -> Self {
        let few = size
            .div_ceil(COPY_PARTS_WANTED)
            .next_multiple_of(COPY_PART_STEP_BYTES);
        Self::of_parts(size, part_bytes.max(1).max(few.min(limits::PART_BYTES_MAX)))
    }

    /// Makes the schedule of an object of this size in parts of one size.
    #[must_use]
    pub const fn of_parts(size: u64, bytes: u64) -> Self {
        Self {
            lead_bytes: 0,
            lead_part_bytes: 0,
            first_bytes: bytes,
            largest_bytes: bytes,
            object_bytes_max: size,
        }
    }

    /// Makes the schedule of an object that goes on where another one of `bytes` ends, which the
    /// store copies in few parts of one size, from `part_bytes` on where it is that long. `None`:
    /// it is too short to be a part that others follow.
    #[must_use]
    pub fn after(&self, bytes: u64, part_bytes: u64) -> Option<Self> {
        // S3 copies no range of an object that is smaller than a part.
        if bytes <= limits::PART_BYTES_MIN || bytes > self.object_bytes_max {
            return None;
        }
        // The last one is shorter, by as many bytes at most as there are others.
        let shortest = limits::PART_BYTES_MIN.saturating_add(COPY_PARTS_WANTED);
        let few = bytes.checked_div(part_bytes.max(shortest))?;
        let least = bytes.div_ceil(limits::PART_BYTES_MAX);
        let parts = few.min(COPY_PARTS_WANTED).max(least).max(1);
        Some(Self {
            lead_bytes: bytes,
            lead_part_bytes: bytes.div_ceil(parts),
            ..*self
        })
    }

    /// Makes the schedule of an object of `bytes` that is changed: its first parts are larger than
    /// others' where there are not enough parts otherwise. `None`: it is too large for that as
    /// well.
    #[must_use]
    pub fn holding(&self, bytes: u64) -> Option<Self> {
        let mut layout = *self;
        let Some(last) = bytes.checked_sub(1) else {
            return Some(layout);
        };
        while layout.part_at(last).is_none() {
            if layout.first_bytes >= layout.largest_bytes || bytes > layout.object_bytes_max {
                return None;
            }
            layout.first_bytes = layout.first_bytes.saturating_mul(2);
        }
        Some(layout)
    }

    /// Returns where the schedule begins.
    #[must_use]
    pub const fn lead_bytes(&self) -> u64 {
        self.lead_bytes
    }

    /// Returns how many parts the largest object has.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.last_part().map_or(0, |last| last.number.0)
    }

    fn last_part(&self) -> Option<PartPlace> {
        let mut last = None;
        while let Some(place) = self.part_at(last.map_or(0, |last: PartPlace| last.end()))
            && last.is_none_or(|last| last.number < place.number)
        {
            last = Some(place);
        }
        last
    }

    /// Makes the schedule for parts that begin at `part_bytes` and must fit, a few at a time, into
    /// `memory_bytes`, of objects up to `object_bytes_max`.
    fn new(part_bytes: u64, memory_bytes: u64, object_bytes_max: u64) -> Self {
        let first_bytes = part_bytes.clamp(limits::PART_BYTES_MIN, limits::PART_BYTES_MAX);
        let mut largest_bytes = first_bytes;
        let share = memory_bytes.checked_div(SLOTS_AT_ONCE_MIN).unwrap_or(0);
        while largest_bytes.saturating_mul(2) <= share.min(limits::PART_BYTES_MAX) {
            largest_bytes = largest_bytes.saturating_mul(2);
        }
        Self {
            lead_bytes: 0,
            lead_part_bytes: 0,
            first_bytes,
            largest_bytes,
            object_bytes_max,
        }
    }

    /// Returns how large a part may become.
    #[must_use]
    pub const fn largest_bytes(&self) -> u64 {
        self.largest_bytes
    }

    /// Returns how large an object may become.
    #[must_use]
    pub fn object_bytes(&self) -> u64 {
        self.last_part().map_or(0, |last| last.end())
    }

    /// Returns the part that holds the byte at `offset`; `None` where S3 has no part left for it.
    #[must_use]
    pub fn part_at(&self, offset: u64) -> Option<PartPlace> {
        if offset >= self.object_bytes_max {
            return None;
        }
        if offset < self.lead_bytes {
            return self.lead_part_at(offset);
        }
        let mut start = self.lead_bytes;
        let mut first_number = self.lead_parts().saturating_add(1);
        let mut bytes = self.first_bytes;
        while first_number <= limits::PARTS_MAX {
            let left = limits::PARTS_MAX
                .saturating_sub(first_number)
                .saturating_add(1);
            let count = if bytes == self.largest_bytes {
                left
            } else {
                left.min(PARTS_PER_SIZE)
            };
            let end = start.saturating_add(bytes.saturating_mul(u64::from(count)));
            if offset < end {
                let index = offset.saturating_sub(start).checked_div(bytes)?;
                let number = first_number.checked_add(u32::try_from(index).ok()?)?;
                let offset = start.saturating_add(index.saturating_mul(bytes));
                return Some(PartPlace {
                    number: PartNumber(number),
                    offset,
                    bytes: bytes.min(self.object_bytes_max.saturating_sub(offset)),
                });
            }
            start = end;
            first_number = first_number.saturating_add(count);
            bytes = bytes.saturating_mul(2).min(self.largest_bytes);
        }
        None
    }

    fn lead_parts(&self) -> u32 {
        let parts = self.lead_bytes.checked_div(self.lead_part_bytes);
        let whole = parts.unwrap_or(0);
        let rest = self.lead_bytes > whole.saturating_mul(self.lead_part_bytes);
        u32::try_from(whole.saturating_add(u64::from(rest))).unwrap_or(u32::MAX)
    }

    fn lead_part_at(&self, offset: u64) -> Option<PartPlace> {
        let index = offset.checked_div(self.lead_part_bytes)?;
        let offset = index.saturating_mul(self.lead_part_bytes);
        let left = self.lead_bytes.saturating_sub(offset);
        Some(PartPlace {
            number: PartNumber(u32::try_from(index).ok()?.checked_add(1)?),
            offset,
            bytes: self.lead_part_bytes.min(left),
        })
    }
}

const PARTS_PER_SIZE: u32 = 1_000;
/// No more parts than this, as long as none is larger than S3 takes.
const COPY_PARTS_WANTED: u64 = 1_000;
const COPY_PART_STEP_BYTES: u64 = 1024 * 1024;
/// So many of the largest parts fit into the upload memory.
const SLOTS_AT_ONCE_MIN: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const GIB: u64 = 1024 * MIB;
    const TIB: u64 = 1024 * GIB;

    #[test]
    fn parts_follow_each_other_without_gaps() {
        let layout = PartLayout::new(8 * MIB, 192 * MIB, 5 * TIB);
        let mut offset = 0;
        for number in 1..=limits::PARTS_MAX {
            let part = layout.part_at(offset).unwrap();
            assert_eq!((part.number.0, part.offset), (number, offset));
            assert_eq!(layout.part_at(part.end() - 1), Some(part));
            assert!(part.bytes <= 64 * MIB);
            offset = part.end();
        }
        assert_eq!(layout.part_at(offset), None);
        assert_eq!(layout.object_bytes(), offset);
    }

    #[test]
    fn enough_memory_makes_room_for_the_largest_object() {
        for (first, memory, most) in [
            (8 * MIB, 6 * GIB, 5 * TIB),
            (64 * MIB, 12 * GIB, 5 * TIB),
            (5 * GIB, 15 * GIB, limits::OBJECT_BYTES_MAX),
        ] {
            let layout = PartLayout::new(first, memory, most);
            assert_eq!(layout.object_bytes(), most);
            let last = layout.part_at(most - 1).unwrap();
            assert_eq!(last.end(), most);
            assert_eq!(layout.part_at(most), None);
            assert_eq!(layout.part_at(0).unwrap().bytes, first);
        }
    }

    #[test]
    fn where_the_store_takes_more_the_parts_are_the_bound() {
        let most = |first, memory| {
            let layout = PartLayout::new(first, memory, limits::OBJECT_BYTES_MAX);
            layout.object_bytes() / GIB
        };
        assert_eq!(most(8 * MIB, 192 * MIB), 492);
        assert_eq!(most(8 * MIB, 12 * GIB), 7_992);
        assert_eq!(most(64 * MIB, 12 * GIB), 19_937);
    }

    #[test]
    fn the_largest_object_is_copied_in_as_many_parts_as_s3_takes() {
        let most = limits::OBJECT_BYTES_MAX;
        let parts = |size| {
            let layout = PartLayout::of_copy(size, 64 * MIB);
            let first = layout.part_at(0).unwrap();
            let last = layout.part_at(size - 1).unwrap();
            assert!((limits::PART_BYTES_MIN..=limits::PART_BYTES_MAX).contains(&first.bytes));
            assert_eq!((last.end(), last.number.0), (size, layout.parts()));
            assert_eq!(layout.object_bytes(), size);
            layout.parts()
        };
        assert_eq!(parts(256 * MIB), 4);
        assert_eq!(parts(256 * MIB + 1), 5);
        assert_eq!(parts(5_000 * GIB), 1_000);
        for size in [6 * GIB, 100 * GIB, TIB + 7] {
            assert!(parts(size) <= 1_000);
        }
        assert_eq!(parts(most - 1), limits::PARTS_MAX);
        assert_eq!(parts(most), limits::PARTS_MAX);
    }

    #[test]
    fn what_is_appended_goes_on_after_parts_that_the_store_can_copy() {
        let layout = PartLayout::new(8 * MIB, 192 * MIB, limits::OBJECT_BYTES_MAX);
        assert_eq!(layout.after(5 * MIB, 64 * MIB), None);
        for size in [
            5 * MIB + 1,
            64 * MIB,
            127 * MIB,
            128 * MIB + 1,
            64 * GIB + 7,
            9 * TIB + 1,
        ] {
            let layout = layout.after(size, 64 * MIB).unwrap();
            let (mut offset, mut parts) = (0, 0);
            while offset < size {
                let part = layout.part_at(offset).unwrap();
                parts += 1;
                assert_eq!((part.number.0, part.offset), (parts, offset));
                assert_eq!(layout.part_at(part.end() - 1), Some(part));
                assert!((limits::PART_BYTES_MIN..=limits::PART_BYTES_MAX).contains(&part.bytes));
                offset = part.end();
            }
            let next = layout.part_at(size).unwrap();
            assert_eq!(
                (offset, next.offset, next.number.0),
                (size, size, parts + 1)
            );
            assert_eq!(next.bytes, 8 * MIB);
            assert!(parts <= 1_000 || size > 4 * TIB);
        }
        assert_eq!(layout.after(9 * TIB, 1).unwrap().parts(), limits::PARTS_MAX);
    }

    #[test]
    fn parts_that_the_store_copies_are_as_large_as_it_wants_them() {
        let layout = PartLayout::new(8 * MIB, 192 * MIB, limits::OBJECT_BYTES_MAX);
        let least = limits::PART_BYTES_MIN;
        let sizes = (1..=1_001).flat_map(|parts| [0, 1, parts - 1].map(|off| parts * least + off));
        for size in sizes.filter(|size| *size > least) {
            let layout = layout.after(size, 0).unwrap();
            let last = layout.part_at(size - 1).unwrap();
            assert_eq!(last.end(), size);
            assert!(last.bytes >= least, "{} of {size}", last.bytes);
        }
    }

    #[test]
    fn parts_are_larger_where_a_file_is_changed_that_has_too_many_otherwise() {
        let layout = PartLayout::new(8 * MIB, 192 * MIB, 600 * GIB);
        assert_eq!(layout.holding(0), Some(layout));
        assert_eq!(layout.holding(492 * GIB), Some(layout));
        for (size, first) in [(500 * GIB, 16), (560 * GIB, 32), (600 * GIB, 64)] {
            let layout = layout.holding(size).unwrap();
            assert_eq!(layout.part_at(0).unwrap().bytes, first * MIB, "{size}");
            assert!(layout.part_at(size - 1).unwrap().end() >= size);
        }
        assert_eq!(layout.holding(600 * GIB + 1), None);
        let layout = PartLayout::new(8 * MIB, 192 * MIB, TIB);
        assert!(layout.holding(625 * GIB).is_some());
        assert_eq!(layout.holding(626 * GIB), None);
    }

    #[test]
    fn a_store_with_small_objects_has_a_last_part_that_ends_with_them() {
        let layout = PartLayout::new(8 * MIB, 192 * MIB, 21 * MIB);
        let sizes = [0, 8, 16].map(|start| layout.part_at(start * MIB).unwrap().bytes / MIB);
        assert_eq!(sizes, [8, 8, 5]);
        assert_eq!(layout.part_at(21 * MIB), None);
        assert_eq!(layout.object_bytes(), 21 * MIB);
    }
}
