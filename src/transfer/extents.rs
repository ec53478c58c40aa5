//! Which bytes of a run are there.

use crate::limits;

/// Sorted, disjoint, non-touching ranges. Sequential writing keeps it at one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extents {
    ranges: Vec<(u64, u64)>,
}

/// More separate ranges than are kept track of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooScattered;

impl Extents {
    /// Adds `start..end`.
    ///
    /// # Errors
    /// The range would be one more than [`limits::EXTENTS_PER_PART_MAX`] separate ones.
    pub fn insert(&mut self, start: u64, end: u64) -> Result<(), TooScattered> {
        if start >= end {
            return Ok(());
        }
        // Writers mostly append to the last range.
        if let Some(last) = self.ranges.last_mut()
            && (last.0..=last.1).contains(&start)
        {
            last.1 = last.1.max(end);
            return Ok(());
        }
        let from = self.ranges.partition_point(|range| range.1 < start);
        let to = self.ranges.partition_point(|range| range.0 <= end);
        let joined = self.ranges.get(from..to).unwrap_or_default();
        if joined.is_empty() && self.ranges.len() >= limits::EXTENTS_PER_PART_MAX {
            return Err(TooScattered);
        }
        let start = joined.first().map_or(start, |range| range.0.min(start));
        let end = joined.last().map_or(end, |range| range.1.max(end));
        self.ranges.splice(from..to, [(start, end)]);
        Ok(())
    }

    /// Says whether every byte of `start..end` is there.
    #[must_use]
    pub fn cover(&self, start: u64, end: u64) -> bool {
        let next = self.ranges.partition_point(|range| range.1 < end);
        start >= end || self.ranges.get(next).is_some_and(|range| range.0 <= start)
    }

    /// Returns the first missing range below `end`.
    #[must_use]
    pub fn first_gap(&self, end: u64) -> Option<(u64, u64)> {
        let mut at = 0;
        for &(from, to) in &self.ranges {
            if from > at {
                return (at < end).then_some((at, from.min(end)));
            }
            at = to;
        }
        (at < end).then_some((at, end))
    }

    /// Returns how many bytes below `end` are missing.
    #[must_use]
    pub fn missing(&self, end: u64) -> u64 {
        let there = |range: &(u64, u64)| range.1.min(end).saturating_sub(range.0);
        self.ranges
            .iter()
            .fold(end, |left, range| left.saturating_sub(there(range)))
    }

    /// Says whether the byte at `at` is there, and where that ends to be so.
    #[must_use]
    pub fn run_at(&self, at: u64) -> (bool, u64) {
        let next = self.ranges.partition_point(|range| range.1 <= at);
        match self.ranges.get(next) {
            Some(&(from, to)) if from <= at => (true, to),
            Some(&(from, _)) => (false, from),
            None => (false, u64::MAX),
        }
    }

    /// Returns the end of the last range.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }

    /// Forgets everything at and after `end`.
    pub fn truncate(&mut self, end: u64) {
        self.ranges.retain(|range| range.0 < end);
        if let Some(last) = self.ranges.last_mut() {
            last.1 = last.1.min(end);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extents_agree_with_a_set_of_bytes(writes in prop::collection::vec((0_u64..40, 0_u64..9), 0..20), end in 0_u64..50) {
            let mut extents = Extents::default();
            let mut bytes = [false; 64];
            for (start, length) in writes {
                extents.insert(start, start + length).unwrap();
                bytes[usize::try_from(start).unwrap()..][..usize::try_from(length).unwrap()].fill(true);
            }
            let gap = (0..end).find(|at| !bytes[usize::try_from(*at).unwrap()]);
            prop_assert_eq!(extents.first_gap(end).map(|gap| gap.0), gap);
            let missing = (0..end).filter(|at| !bytes[usize::try_from(*at).unwrap()]).count();
            prop_assert_eq!(extents.missing(end), missing as u64);
            for at in 0..50 {
                let (there, to) = extents.run_at(at);
                let is_there = |at: u64| bytes[usize::try_from(at).unwrap()];
                prop_assert_eq!(there, is_there(at));
                prop_assert!((at..to.min(64)).all(|at| is_there(at) == there));
                prop_assert!(to >= 64 || is_there(to) != there);
            }
            let last = (0..64).rev().find(|at| bytes[*at]).map_or(0, |at| at as u64 + 1);
            prop_assert_eq!(extents.end(), last);
            for (from, to) in (0..50).flat_map(|from| (from..50).map(move |to| (from, to))) {
                let all = (from..to).all(|at| bytes[usize::try_from(at).unwrap()]);
                prop_assert_eq!(extents.cover(from, to), all);
            }
            if let Some((from, to)) = extents.first_gap(end) {
                prop_assert!((from..to).all(|at| !bytes[usize::try_from(at).unwrap()]));
                prop_assert!(!extents.cover(from, to));
                prop_assert!(extents.cover(0, from));
            }
        }
    }

    #[test]
    fn scattered_writes_are_bounded() {
        let mut extents = Extents::default();
        for at in 0..limits::EXTENTS_PER_PART_MAX as u64 {
            extents.insert(at * 2, at * 2 + 1).unwrap();
        }
        let beyond = limits::EXTENTS_PER_PART_MAX as u64 * 2 + 10;
        assert_eq!(extents.insert(beyond, beyond + 1), Err(TooScattered));
        assert_eq!(extents.insert(1, 2), Ok(()));
    }
}
