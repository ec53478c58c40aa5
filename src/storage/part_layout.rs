//! Where parts begin and end: a schedule known before the file's length is.

#![warn(clippy::arithmetic_side_effects)]

use super::PartNumber;
use crate::limits::{self, Limits};

/// The first parts are small, so that many files can be under way; the size doubles every
/// [`PARTS_PER_SIZE`] parts, so that 10,000 of them hold 5 TiB. It stops growing where the upload
/// memory could not hold a few of them. No part reaches beyond the store's largest object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLayout {
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
        let bytes = part_bytes.max(1).max(few.min(limits::PART_BYTES_MAX));
        Self {
            first_bytes: bytes,
            largest_bytes: bytes,
            object_bytes_max: size,
        }
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
        let mut start = 0_u64;
        let mut first_number = 1_u32;
        let mut bytes = self.first_bytes;
        if offset >= self.object_bytes_max {
            return None;
        }
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
    fn a_store_with_small_objects_has_a_last_part_that_ends_with_them() {
        let layout = PartLayout::new(8 * MIB, 192 * MIB, 21 * MIB);
        let sizes = [0, 8, 16].map(|start| layout.part_at(start * MIB).unwrap().bytes / MIB);
        assert_eq!(sizes, [8, 8, 5]);
        assert_eq!(layout.part_at(21 * MIB), None);
        assert_eq!(layout.object_bytes(), 21 * MIB);
    }
}
