//! Whether an object that is read from its first byte to its last is what was stored.

use bytes::Bytes;

use super::held::length_of;
use crate::storage::Checksum;

/// Follows a reader as long as no byte is left out.
pub(super) struct Check {
    size: u64,
    /// `None` once something was left out: then nothing can be said.
    followed: Option<Followed>,
    expected: Option<Checksum>,
}

struct Followed {
    digest: crc_fast::Digest,
    at: u64,
}

impl Check {
    pub(super) fn new(size: u64, expected: Option<Checksum>) -> Self {
        Self {
            size,
            followed: Some(Followed {
                digest: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme),
                at: 0,
            }),
            expected,
        }
    }

    /// Says whether the whole object's checksum would be of use and is not known.
    pub(super) const fn lacks_checksum(&self) -> bool {
        self.followed.is_some() && self.expected.is_none()
    }

    pub(super) const fn expect(&mut self, checksum: Checksum) {
        self.expected = Some(checksum);
    }

    /// Takes what the reader gets next; `false`: that was the object's end, and it is damaged.
    pub(super) fn follow(&mut self, offset: u64, slices: &[Bytes]) -> bool {
        let Some(followed) = self.followed.as_mut().filter(|one| one.at == offset) else {
            self.followed = None;
            return true;
        };
        for slice in slices {
            followed.digest.update(slice);
            followed.at = followed.at.saturating_add(length_of(slice));
        }
        let whole = followed.at >= self.size;
        let Some(expected) = self.expected.filter(|_| whole) else {
            return true;
        };
        Checksum(followed.digest.finalize()) == expected
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("at", &self.followed.as_ref().map(|one| one.at))
            .finish_non_exhaustive()
    }
}
