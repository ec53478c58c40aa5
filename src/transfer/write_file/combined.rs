//! The checksum of an object of parts (pure).

#![warn(clippy::arithmetic_side_effects)]

use crate::storage::{Checksum, CompletedPart};

/// Combines the checksums of parts, in order, into the whole object's; `None`: one of them is not
/// known.
pub(super) fn combined<'a>(
    parts: impl Iterator<Item = &'a (CompletedPart, Option<Checksum>)>,
) -> Option<Checksum> {
    let algorithm = crc_fast::CrcAlgorithm::Crc64Nvme;
    let mut whole = 0;
    for (part, sent) in parts {
        let checksum = (*sent).or(part.checksum)?;
        whole = crc_fast::checksum_combine(algorithm, whole, checksum.0, part.size);
    }
    Some(Checksum(whole))
}
