//! Checksums of bytes that go by, of the kinds that clients ask for.

use bytes::Bytes;
use md5::Md5;
use sha1::{Digest as _, Sha1};
use sha2::{Digest as _, Sha256, Sha512};

use crate::storage::Digest;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
    Crc32,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Crc32,
    ];

    /// Returns the one that `check-file` calls by this name.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().as_bytes() == name)
    }

    /// Returns its name in `check-file` (draft-ietf-secsh-filexfer-extensions-00 §3).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Crc32 => "crc32",
        }
    }

    /// Returns how many bytes a sum has.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Crc32 => 4,
        }
    }

    /// Says whether a store may keep sums of this kind. An `ETag` is none: that of an encrypted
    /// object, or of one made of parts, is no MD5 of its bytes.
    #[must_use]
    pub const fn may_be_stored(self) -> bool {
        match self {
            Self::Sha1 | Self::Sha256 | Self::Crc32 => true,
            Self::Md5 | Self::Sha512 => false,
        }
    }

    /// Returns a stored sum as bytes, if it is of this kind.
    #[must_use]
    pub fn stored(self, digest: Digest) -> Option<Bytes> {
        match (self, digest) {
            (Self::Sha1, Digest::Sha1(sum)) => Some(Bytes::copy_from_slice(&sum)),
            (Self::Sha256, Digest::Sha256(sum)) => Some(Bytes::copy_from_slice(&sum)),
            (Self::Crc32, Digest::Crc32(sum)) => Some(Bytes::copy_from_slice(&sum.to_be_bytes())),
            (Self::Md5 | Self::Sha1 | Self::Sha256 | Self::Sha512 | Self::Crc32, _) => None,
        }
    }

    #[must_use]
    pub fn begin(self) -> Sum {
        match self {
            Self::Md5 => Sum::Md5(Md5::new()),
            Self::Sha1 => Sum::Sha1(Sha1::new()),
            Self::Sha256 => Sum::Sha256(Sha256::new()),
            Self::Sha512 => Sum::Sha512(Sha512::new()),
            Self::Crc32 => Sum::Crc32(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc)),
        }
    }
}

/// A sum of the bytes so far.
#[derive(Debug)]
pub enum Sum {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
    Crc32(crc_fast::Digest),
}

impl Sum {
    pub fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(sum) => sum.update(bytes),
            Self::Sha1(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
            Self::Sha512(sum) => sum.update(bytes),
            Self::Crc32(sum) => sum.update(bytes),
        }
    }

    /// Returns its bytes; those of a CRC with the highest first.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Md5(sum) => sum.finalize().to_vec(),
            Self::Sha1(sum) => sum.finalize().to_vec(),
            Self::Sha256(sum) => sum.finalize().to_vec(),
            Self::Sha512(sum) => sum.finalize().to_vec(),
            Self::Crc32(sum) => {
                let sum = u32::try_from(sum.finalize()).unwrap_or(0);
                sum.to_be_bytes().to_vec()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_check_value_and_its_length() {
        for (algorithm, expected) in [
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                Algorithm::Sha256,
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (Algorithm::Sha512, "ddaf35a193617aba"),
            (Algorithm::Crc32, "352441c2"),
        ] {
            let mut sum = algorithm.begin();
            sum.add(b"ab");
            sum.add(b"c");
            let sum = sum.finish();
            assert!(hex::encode(&sum).starts_with(expected), "{algorithm:?}");
            assert_eq!(u64::try_from(sum.len()), Ok(algorithm.bytes()));
            let name = algorithm.name().as_bytes();
            assert_eq!(Algorithm::of_name(name), Some(algorithm));
        }
        assert_eq!(Algorithm::of_name(b"md5sum"), None);
    }
}
