//! Whether an object that is read from its first byte to its last is what was stored.

use bytes::Bytes;

use super::held::length_of;
use crate::storage::{Digest, Digester};

/// Follows a reader as long as no byte is left out.
#[derive(Debug)]
pub(super) struct Check {
    size: u64,
    /// `None` once nothing can be said: something was left out, or there is no checksum.
    followed: Option<Followed>,
    expected: Expected,
}

#[derive(Debug)]
struct Followed {
    /// Of every kind of checksum until it is known which one the object has.
    digester: Digester,
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The GET that answered OPEN did not tell.
    Unknown,
    Asked,
    Known(Digest),
}

impl Check {
    pub(super) fn new(size: u64, expected: Option<Digest>) -> Self {
        let mut check = Self {
            size,
            followed: Some(Followed {
                digester: Digester::of_all(),
                at: 0,
            }),
            expected: Expected::Unknown,
        };
        if expected.is_some() {
            check.expect(expected);
        }
        check
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
    pub(super) fn expect(&mut self, checksum: Option<Digest>) {
        match (checksum, &mut self.followed) {
            (Some(checksum), Some(followed)) => {
                followed.digester.keep(checksum);
                self.expected = Expected::Known(checksum);
            }
            (Some(_), None) | (None, _) => self.followed = None,
        }
    }

    /// Says whether an answer up to `end` has to wait for the checksum that it is compared with.
    pub(super) fn waits(&self, offset: u64, end: u64) -> bool {
        end >= self.size && self.expected == Expected::Asked && self.is_followed_to(offset)
    }

    fn is_followed_to(&self, offset: u64) -> bool {
        self.followed.as_ref().is_some_and(|one| one.at == offset)
    }

    /// Takes what the reader gets next; `false`: that was the object's end, and it is damaged.
    pub(super) fn follow(&mut self, offset: u64, slices: &[Bytes]) -> bool {
        let Some(followed) = self.followed.as_mut().filter(|one| one.at == offset) else {
            self.followed = None;
            return true;
        };
        for slice in slices {
            followed.digester.update(slice);
            followed.at = followed.at.saturating_add(length_of(slice));
        }
        match self.expected {
            Expected::Known(expected) if followed.at >= self.size => followed.digester.is(expected),
            Expected::Unknown | Expected::Asked | Expected::Known(_) => true,
        }
    }
}
