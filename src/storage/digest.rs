//! Checksums of whole objects, of every kind that S3 keeps, and what computes them. Pure.

#![warn(clippy::arithmetic_side_effects)]

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::Checksum;

/// What a store says of all bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    Crc64Nvme(Checksum),
    Crc32(u32),
    Crc32C(u32),
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

impl Digest {
    /// Returns it if it is of the kind that the gateway itself sends.
    #[must_use]
    pub const fn crc64(self) -> Option<Checksum> {
        match self {
            Self::Crc64Nvme(checksum) => Some(checksum),
            Self::Crc32(_) | Self::Crc32C(_) | Self::Sha1(_) | Self::Sha256(_) => None,
        }
    }
}

/// Its kind and its bytes in base64, as S3's headers and console show them.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Crc64Nvme(Checksum(sum)) => ("crc64nvme", BASE64.encode(sum.to_be_bytes())),
            Self::Crc32(sum) => ("crc32", BASE64.encode(sum.to_be_bytes())),
            Self::Crc32C(sum) => ("crc32c", BASE64.encode(sum.to_be_bytes())),
            Self::Sha1(sum) => ("sha1", BASE64.encode(sum)),
            Self::Sha256(sum) => ("sha256", BASE64.encode(sum)),
        };
        write!(f, "{kind}:{bytes}")
    }
}

/// A checksum of the checksums of an object's parts (`…-3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Composite {
    pub sum: Digest,
    pub parts: u32,
}

impl Composite {
    /// Says whether parts of this size, the last one or less, make an object of that size. Others
    /// may as well.
    #[must_use]
    pub fn may_have_parts_of(self, part_bytes: u64, size: u64) -> bool {
        part_bytes > 0 && size.div_ceil(part_bytes) == u64::from(self.parts)
    }
}

/// What all bytes of an object are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    Whole(Digest),
    /// The parts seem to be of one size but for the last one, which is no longer.
    Parts {
        composite: Composite,
        part_bytes: u64,
    },
}

/// Bytes that go by, with every digest that may be asked for in the end.
#[derive(Clone)]
pub struct Digester {
    crcs: Vec<(crc_fast::CrcAlgorithm, crc_fast::Digest)>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
}

impl Digester {
    /// Computes all kinds: it is not known yet which one is needed.
    #[must_use]
    pub fn of_all() -> Self {
        let crcs = [CRC64, CRC32, CRC32C].map(|kind| (kind, crc_fast::Digest::new(kind)));
        Self {
            crcs: crcs.into(),
            sha1: Some(Sha1::default()),
            sha256: Some(Sha256::default()),
        }
    }

    /// Computes the kind of this digest alone.
    #[must_use]
    pub fn like(expected: Digest) -> Self {
        let mut digester = Self::of_all();
        digester.keep(expected);
        digester
    }

    /// Goes on with the kind of this digest alone.
    pub fn keep(&mut self, expected: Digest) {
        let kind = crc_kind(expected);
        self.crcs.retain(|(found, _)| Some(*found) == kind);
        if !matches!(expected, Digest::Sha1(_)) {
            self.sha1 = None;
        }
        if !matches!(expected, Digest::Sha256(_)) {
            self.sha256 = None;
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        for (_, crc) in &mut self.crcs {
            crc.update(bytes);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1::Digest::update(sha1, bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// Takes the digest of bytes, of the kind of `like`, for bytes.
    pub fn update_with(&mut self, bytes: &Self, like: Digest) {
        match bytes.found(like) {
            Some(Digest::Crc64Nvme(Checksum(sum))) => self.update(&sum.to_be_bytes()),
            Some(Digest::Crc32(sum) | Digest::Crc32C(sum)) => self.update(&sum.to_be_bytes()),
            Some(Digest::Sha1(sum)) => self.update(&sum),
            Some(Digest::Sha256(sum)) => self.update(&sum),
            None => {}
        }
    }

    /// Says whether the bytes so far have this digest.
    #[must_use]
    pub fn is(&self, expected: Digest) -> bool {
        self.found(expected) == Some(expected)
    }

    /// Returns the digest of the bytes so far, of the same kind; `None` where it was let go.
    pub(crate) fn found(&self, like: Digest) -> Option<Digest> {
        let crc = || {
            let kind = crc_kind(like);
            let mut crcs = self.crcs.iter();
            let crc = crcs.find(|(found, _)| Some(*found) == kind);
            crc.map(|(_, crc)| crc.finalize())
        };
        let narrow = || u32::try_from(crc()?).ok();
        Some(match like {
            Digest::Crc64Nvme(_) => Digest::Crc64Nvme(Checksum(crc()?)),
            Digest::Crc32(_) => Digest::Crc32(narrow()?),
            Digest::Crc32C(_) => Digest::Crc32C(narrow()?),
            Digest::Sha1(_) => Digest::Sha1(sha1::Digest::finalize(self.sha1.clone()?).into()),
            Digest::Sha256(_) => Digest::Sha256(self.sha256.clone()?.finalize().into()),
        })
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digester").finish_non_exhaustive()
    }
}

const fn crc_kind(digest: Digest) -> Option<crc_fast::CrcAlgorithm> {
    match digest {
        Digest::Crc64Nvme(_) => Some(CRC64),
        Digest::Crc32(_) => Some(CRC32),
        Digest::Crc32C(_) => Some(CRC32C),
        Digest::Sha1(_) | Digest::Sha256(_) => None,
    }
}

const CRC64: crc_fast::CrcAlgorithm = crc_fast::CrcAlgorithm::Crc64Nvme;
const CRC32: crc_fast::CrcAlgorithm = crc_fast::CrcAlgorithm::Crc32IsoHdlc;
const CRC32C: crc_fast::CrcAlgorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_computed_and_tells_one_bit() {
        let bytes = b"123456789";
        let sha1 = [
            0xf7, 0xc3, 0xbc, 0x1d, 0x80, 0x8e, 0x04, 0x73, 0x2a, 0xdf, 0x67, 0x99, 0x65, 0xcc,
            0xc3, 0x4c, 0xa7, 0xae, 0x34, 0x41,
        ];
        let sha256 = [
            0x15, 0xe2, 0xb0, 0xd3, 0xc3, 0x38, 0x91, 0xeb, 0xb0, 0xf1, 0xef, 0x60, 0x9e, 0xc4,
            0x19, 0x42, 0x0c, 0x20, 0xe3, 0x20, 0xce, 0x94, 0xc6, 0x5f, 0xbc, 0x8c, 0x33, 0x12,
            0x44, 0x8e, 0xb2, 0x25,
        ];
        // The check values that the definitions of the algorithms name.
        for expected in [
            Digest::Crc64Nvme(Checksum(0xAE8B_1486_0A79_9888)),
            Digest::Crc32(0xCBF4_3926),
            Digest::Crc32C(0xE306_9283),
            Digest::Sha1(sha1),
            Digest::Sha256(sha256),
        ] {
            for late in [false, true] {
                let mut digester = Digester::of_all();
                digester.update(&bytes[..4]);
                digester.keep(expected);
                let mut damaged = digester.clone();
                digester.update(&bytes[4..]);
                if late {
                    digester.keep(expected);
                }
                assert!(digester.is(expected), "{expected:?}");
                damaged.update(b"56799");
                assert!(!damaged.is(expected), "{expected:?}");
            }
        }
    }
}
