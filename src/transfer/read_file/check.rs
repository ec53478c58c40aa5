//! Whether an object that is read from its first byte to its last is what was stored.

use bytes::Bytes;

use super::held::length_of;
use crate::limits;
use crate::storage::{Composite, Digest, Digester, Expectation};

/// Follows a reader as long as no byte is left out.
#[derive(Debug)]
pub(super) struct Check {
    size: u64,
    /// `None` once nothing can be said: something was left out, or there is no checksum.
    followed: Option<Followed>,
    expected: Expected,
    /// Whoever wrote the object may have summed its parts, which nobody knows before it is told.
    of_parts: bool,
}

#[derive(Debug)]
struct Followed {
    /// Of every kind of checksum until it is known which one the object has; of the present part if
    /// the object is compared by parts.
    digester: Digester,
    at: u64,
    parts: Option<Parts>,
}

/// The parts that went by.
#[derive(Debug)]
struct Parts {
    composite: Composite,
    bytes: u64,
    /// Of the present one.
    left: u64,
    sums: Digester,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The GET that answered OPEN did not tell.
    Unknown,
    Asked,
    Known(Digest),
    Parts,
    /// The bytes are not what they should be if all parts are of one size: that is asked now.
    Doubted,
}

/// What is known of the bytes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    NothingWrong,
    /// This was the object's end, and it is damaged.
    Damaged,
    /// The same, if the parts are of one size.
    Doubtful {
        composite: Composite,
        part_bytes: u64,
    },
}

impl Check {
    pub(super) fn new(size: u64, expected: Option<Digest>) -> Self {
        let mut check = Self {
            size,
            followed: Some(Followed {
                digester: Digester::of_all(),
                at: 0,
                parts: None,
            }),
            expected: Expected::Unknown,
            of_parts: false,
        };
        if let Some(expected) = expected {
            check.expect(Some(Expectation::Whole(expected)));
        }
        check
    }

    pub(super) const fn is_of_parts(&mut self) {
        self.of_parts = true;
    }

    /// Says whether the object's checksum was not asked for, and would be of use to who reads on
    /// from here.
    pub(super) fn lacks_checksum(&self, offset: u64) -> bool {
        self.expected == Expected::Unknown && self.is_followed_to(offset)
    }

    pub(super) const fn asked(&mut self) {
        self.expected = Expected::Asked;
    }

    /// Takes the checksum; `None`: the object has none.
    pub(super) fn expect(&mut self, checksum: Option<Expectation>) {
        let Some(followed) = &mut self.followed else {
            return;
        };
        match checksum {
            Some(Expectation::Whole(digest)) => {
                followed.digester.keep(digest);
                self.expected = Expected::Known(digest);
            }
            Some(Expectation::Parts {
                composite,
                part_bytes,
            }) if followed.at < part_bytes => {
                followed.digester.keep(composite.sum);
                followed.parts = Some(Parts {
                    composite,
                    bytes: part_bytes,
                    left: part_bytes.saturating_sub(followed.at),
                    sums: Digester::like(composite.sum),
                });
                self.expected = Expected::Parts;
            }
            // The end of the first part went by before it was known.
            Some(Expectation::Parts { .. }) | None => self.followed = None,
        }
    }

    /// Says whether an answer up to `end` has to wait for what it is compared with.
    pub(super) fn waits(&self, offset: u64, end: u64) -> bool {
        match self.expected {
            Expected::Asked => {
                let beyond_part = self.of_parts && end >= limits::PART_BYTES_MIN;
                (beyond_part || end >= self.size) && self.is_followed_to(offset)
            }
            Expected::Doubted => true,
            Expected::Unknown | Expected::Known(_) | Expected::Parts => false,
        }
    }

    fn is_followed_to(&self, offset: u64) -> bool {
        self.followed.as_ref().is_some_and(|one| one.at == offset)
    }

    /// Takes what the reader gets next.
    pub(super) fn follow(&mut self, offset: u64, slices: &[Bytes]) -> Verdict {
        let Some(followed) = self.followed.as_mut().filter(|one| one.at == offset) else {
            self.followed = None;
            return Verdict::NothingWrong;
        };
        for slice in slices {
            followed.take(slice);
        }
        if followed.at < self.size {
            return Verdict::NothingWrong;
        }
        match self.expected {
            Expected::Known(expected) if !followed.digester.is(expected) => Verdict::Damaged,
            Expected::Parts => match followed.wrong_parts() {
                Some((composite, part_bytes)) => {
                    self.expected = Expected::Doubted;
                    Verdict::Doubtful {
                        composite,
                        part_bytes,
                    }
                }
                None => Verdict::NothingWrong,
            },
            Expected::Unknown | Expected::Asked | Expected::Known(_) | Expected::Doubted => {
                Verdict::NothingWrong
            }
        }
    }

    /// Ends the doubt: nothing more is compared. It returns `false` if there was none.
    pub(super) fn resolve(&mut self) -> bool {
        let doubted = self.expected == Expected::Doubted;
        if doubted {
            self.expected = Expected::Parts;
            self.followed = None;
        }
        doubted
    }
}

impl Followed {
    fn take(&mut self, slice: &[u8]) {
        self.at = self.at.saturating_add(length_of(slice));
        let Some(parts) = &mut self.parts else {
            return self.digester.update(slice);
        };
        let mut rest = slice;
        while !rest.is_empty() {
            let within = usize::try_from(parts.left).unwrap_or(usize::MAX);
            let (part, next) = rest.split_at_checked(within).unwrap_or((rest, &[]));
            self.digester.update(part);
            parts.left = parts.left.saturating_sub(length_of(part));
            if parts.left == 0 {
                parts.end(&mut self.digester);
            }
            rest = next;
        }
    }

    /// Ends the last part; returns what the parts should have been, if they were not.
    fn wrong_parts(&mut self) -> Option<(Composite, u64)> {
        let parts = self.parts.as_mut()?;
        if parts.left < parts.bytes {
            parts.end(&mut self.digester);
        }
        let right = parts.sums.is(parts.composite.sum);
        (!right).then_some((parts.composite, parts.bytes))
    }
}

impl Parts {
    fn end(&mut self, digester: &mut Digester) {
        let kind = self.composite.sum;
        self.sums.update_with(digester, kind);
        *digester = Digester::like(kind);
        self.left = self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Checksum;

    const PART: usize = 10;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect()
    }

    fn composite(bytes: &[u8], sizes: &[usize], like: Digest) -> Composite {
        let mut sums = Digester::like(like);
        let mut rest = bytes;
        for size in sizes {
            let (part, next) = rest.split_at(*size);
            let mut digester = Digester::like(like);
            digester.update(part);
            sums.update_with(&digester, like);
            rest = next;
        }
        Composite {
            sum: sums.found(like).unwrap(),
            parts: u32::try_from(sizes.len()).unwrap(),
        }
    }

    /// Reads all of it in pieces, and is told what to expect once `told` bytes went by.
    fn read(bytes: &[u8], piece: usize, told: usize, expected: Expectation) -> Vec<Verdict> {
        let mut check = Check::new(length_of(bytes), None);
        check.asked();
        let mut verdicts = Vec::new();
        let mut told = Some(told);
        for (at, slice) in (0..).step_by(piece).zip(bytes.chunks(piece)) {
            if let Some(by) = told
                && bytes[at..].len().abs_diff(slice.len()) <= bytes[by..].len()
            {
                check.expect(Some(expected));
                told = None;
            }
            let slices = [Bytes::copy_from_slice(slice)];
            verdicts.push(check.follow(u64::try_from(at).unwrap(), &slices));
        }
        verdicts
    }

    #[test]
    fn parts_are_compared_however_the_bytes_come() {
        let kinds = [
            Digest::Crc64Nvme(Checksum(0)),
            Digest::Crc32(0),
            Digest::Crc32C(0),
            Digest::Sha1([0; 20]),
            Digest::Sha256([0; 32]),
        ];
        for kind in kinds {
            for sizes in [&[PART, PART, 3][..], &[PART, PART], &[7]] {
                let good = bytes(sizes.iter().sum());
                let composite = composite(&good, sizes, kind);
                let part_bytes = u64::try_from(sizes[0]).unwrap();
                assert!(composite.may_have_parts_of(part_bytes, length_of(&good)));
                let expected = Expectation::Parts {
                    composite,
                    part_bytes,
                };
                for piece in [1, 4, 10, 25] {
                    for told in 0..sizes[0].min(2) {
                        let verdicts = read(&good, piece, told, expected);
                        let fine = verdicts.iter().all(|one| *one == Verdict::NothingWrong);
                        assert!(fine, "{kind:?} {sizes:?} {piece}");
                        for at in 0..good.len() {
                            let mut bad = good.clone();
                            bad[at] ^= 1;
                            let last = read(&bad, piece, told, expected).pop();
                            let doubtful = Verdict::Doubtful {
                                composite,
                                part_bytes,
                            };
                            assert_eq!(last, Some(doubtful), "{kind:?} {sizes:?} {piece} {at}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_said_of_parts_whose_end_went_by_before_it_was_known() {
        let good = bytes(23);
        let mut bad = good.clone();
        bad[20] ^= 1;
        let expected = Expectation::Parts {
            composite: composite(&good, &[PART, PART, 3], Digest::Crc32(0)),
            part_bytes: 10,
        };
        let verdicts = read(&bad, 4, 13, expected);
        assert!(verdicts.iter().all(|one| *one == Verdict::NothingWrong));
    }

    #[test]
    fn a_reader_of_parts_waits_where_the_first_one_may_end() {
        let mut check = Check::new(3 * limits::PART_BYTES_MIN, None);
        check.asked();
        let end = limits::PART_BYTES_MIN;
        assert!(!check.waits(0, end));
        check.is_of_parts();
        assert!(check.waits(0, end) && !check.waits(0, end - 1));
        assert!(!check.waits(5, end), "a reader that jumped");
        check.expect(None);
        assert!(!check.waits(0, end));
    }
}
