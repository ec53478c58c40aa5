//! Checksums: what a client claims, what the bytes say, what a multipart object gets.
//!
//! Values follow S3: big-endian, base64, and a composite one is the checksum of the parts'
//! checksums followed by `-` and their number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use hyper::HeaderMap;
use s3s::crypto::{Checksum as _, Sha1, Sha256};
use s3s::dto::{ChecksumAlgorithm, ChecksumType};
use s3s::{S3Result, s3_error};

/// A checksum algorithm S3 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) fn parse(name: &ChecksumAlgorithm) -> S3Result<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name.as_str())
            .ok_or_else(|| {
                s3_error!(
                    InvalidRequest,
                    "Checksum algorithm provided is unsupported."
                )
            })
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| algorithm.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => ChecksumAlgorithm::CRC32,
            Self::Crc32c => ChecksumAlgorithm::CRC32C,
            Self::Crc64Nvme => ChecksumAlgorithm::CRC64NVME,
            Self::Sha1 => ChecksumAlgorithm::SHA1,
            Self::Sha256 => ChecksumAlgorithm::SHA256,
        }
    }

    /// Returns the algorithms whose checksum the client announced to send after the body.
    pub(crate) fn in_trailer(headers: &HeaderMap) -> impl Iterator<Item = Self> {
        let announced = headers
            .get("x-amz-trailer")
            .and_then(|value| value.to_str().ok());
        let announced = announced.unwrap_or_default().trim().to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .filter(move |algorithm| algorithm.header() == announced)
    }

    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];
}

/// How the checksum of an object relates to its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    FullObject,
    Composite { parts: usize },
}

/// The checksum stored with an object or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    pub(crate) kind: Kind,
    sum: Vec<u8>,
}

impl Checksum {
    /// Returns the value as it stands in a header.
    pub(crate) fn to_wire(&self) -> String {
        let sum = STANDARD.encode(&self.sum);
        match self.kind {
            Kind::FullObject => sum,
            Kind::Composite { parts } => format!("{sum}-{parts}"),
        }
    }

    pub(crate) fn kind_name(&self) -> ChecksumType {
        ChecksumType::from_static(match self.kind {
            Kind::FullObject => ChecksumType::FULL_OBJECT,
            Kind::Composite { .. } => ChecksumType::COMPOSITE,
        })
    }

    /// Refuses a claimed value that differs from this one.
    pub(crate) fn verify(&self, claimed: &str) -> S3Result<()> {
        if claimed == self.to_wire() {
            return Ok(());
        }
        let name = self.algorithm.name();
        Err(s3_error!(
            BadDigest,
            "The {name} you specified did not match the calculated checksum."
        ))
    }

    /// Returns the checksum of the object the parts make, or nothing if they cannot tell.
    pub(crate) fn of_parts(parts: &[(&Self, u64)], composite: bool) -> Option<Self> {
        let ((first, _), rest) = parts.split_first()?;
        let algorithm = first.algorithm;
        if composite {
            let mut hasher = Hasher::new(algorithm);
            parts.iter().for_each(|(part, _)| hasher.update(&part.sum));
            let kind = Kind::Composite { parts: parts.len() };
            return Some(Self {
                kind,
                ..hasher.finish()
            });
        }
        let crc = algorithm.crc()?;
        let whole = rest.iter().fold(first.as_crc(), |whole, (part, length)| {
            crc_fast::checksum_combine(crc, whole, part.as_crc(), *length)
        });
        Some(Self::of_crc(algorithm, whole, first.sum.len()))
    }

    fn of_crc(algorithm: Algorithm, crc: u64, width: usize) -> Self {
        let sum = crc
            .to_be_bytes()
            .into_iter()
            .skip(size_of::<u64>() - width)
            .collect();
        Self {
            algorithm,
            kind: Kind::FullObject,
            sum,
        }
    }

    fn as_crc(&self) -> u64 {
        self.sum
            .iter()
            .fold(0, |crc, byte| (crc << 8) | u64::from(*byte))
    }
}

/// A checksum in the making.
pub(crate) struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc(crc_fast::Digest, usize),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Crc32 => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc), 4),
            Algorithm::Crc32c => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi), 4),
            Algorithm::Crc64Nvme => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme), 8),
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
        };
        Self { algorithm, state }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(digest, _) => digest.update(bytes),
            State::Sha1(digest) => digest.update(bytes),
            State::Sha256(digest) => digest.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        let sum = match self.state {
            State::Crc(digest, width) => {
                return Checksum::of_crc(self.algorithm, digest.finalize(), width);
            }
            State::Sha1(digest) => digest.finalize().to_vec(),
            State::Sha256(digest) => digest.finalize().to_vec(),
        };
        Checksum {
            algorithm: self.algorithm,
            kind: Kind::FullObject,
            sum,
        }
    }
}

/// Collects the checksums a request claims, as `Vec<(Algorithm, String)>`.
macro_rules! claims {
    ($input:ident) => {
        [
            (
                crate::checksum::Algorithm::Crc32,
                $input.checksum_crc32.take(),
            ),
            (
                crate::checksum::Algorithm::Crc32c,
                $input.checksum_crc32c.take(),
            ),
            (
                crate::checksum::Algorithm::Crc64Nvme,
                $input.checksum_crc64nvme.take(),
            ),
            (
                crate::checksum::Algorithm::Sha1,
                $input.checksum_sha1.take(),
            ),
            (
                crate::checksum::Algorithm::Sha256,
                $input.checksum_sha256.take(),
            ),
        ]
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)))
        .collect::<Vec<_>>()
    };
}

/// Puts a checksum into the field of an answer that names its algorithm.
macro_rules! set_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let value = Some(checksum.to_wire());
            match checksum.algorithm {
                crate::checksum::Algorithm::Crc32 => $output.checksum_crc32 = value,
                crate::checksum::Algorithm::Crc32c => $output.checksum_crc32c = value,
                crate::checksum::Algorithm::Crc64Nvme => $output.checksum_crc64nvme = value,
                crate::checksum::Algorithm::Sha1 => $output.checksum_sha1 = value,
                crate::checksum::Algorithm::Sha256 => $output.checksum_sha256 = value,
            }
        }
    };
}

pub(crate) use {claims, set_checksum};

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn published_check_values_come_out() {
        let wire = |algorithm| sum(algorithm, b"123456789").to_wire();
        assert_eq!(wire(Algorithm::Crc32), "y/Q5Jg==");
        assert_eq!(wire(Algorithm::Crc32c), "4waSgw==");
        assert_eq!(wire(Algorithm::Crc64Nvme), "rosUhgp5mIg=");
        assert_eq!(wire(Algorithm::Sha1), "98O8HYCOBHMq32eZZczDTKeuNEE=");
    }

    #[test]
    fn crc_of_parts_is_the_crc_of_the_whole() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let (one, two) = (sum(algorithm, b"1234"), sum(algorithm, b"56789"));
            let whole = Checksum::of_parts(&[(&one, 4), (&two, 5)], false);
            assert_eq!(whole, Some(sum(algorithm, b"123456789")));
        }
    }

    #[test]
    fn composite_checksum_counts_its_parts() {
        let part = sum(Algorithm::Sha256, b"1");
        let whole = Checksum::of_parts(&[(&part, 1), (&part, 1)], true).map(|sum| sum.to_wire());
        assert!(whole.is_some_and(|wire| wire.ends_with("=-2")));
        assert_eq!(Checksum::of_parts(&[(&part, 1)], false), None);
    }
}
