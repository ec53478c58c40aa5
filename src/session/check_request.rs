//! `check-file`: which checksums of which file a client asks for.
//!
//! What clients send: `WinSCP` `check-file-name` with one algorithm for the whole file, paramiko
//! `check-file` with a handle, others both forms of draft-ietf-secsh-filexfer-extensions-00 §3.
//! `OpenSSH`, rclone and lftp do not use it: rclone runs `md5sum` and its kin.

use std::num::NonZeroU64;

use bytes::Bytes;

use crate::sftp::{CheckForm, CheckRequest, CheckedFile, Status};
use crate::transfer::Algorithm;
use crate::vfs::VirtualPath;

use super::act::{Check, CheckedVersion};
use super::copy_request;
use super::files::Files;

/// What a client named.
pub(super) enum CheckedPath {
    /// A path as it was written.
    Written(Bytes),
    /// That of an open file.
    Open(VirtualPath),
}

/// Says what is asked for.
///
/// # Errors
/// The status that the client gets.
pub(super) fn asked(
    files: &mut Files,
    asked: CheckRequest,
) -> Result<(CheckedPath, Check), Status> {
    let names = asked.algorithms.split(|byte| *byte == b',');
    let mut known = names.filter_map(Algorithm::of_name);
    let algorithm = known.next().ok_or(NO_ALGORITHM)?;
    if (1..BLOCK_BYTES_MIN).contains(&asked.block) {
        return Err(SMALL_BLOCKS);
    }
    let (path, version) = match asked.of {
        CheckedFile::Name(path) => (CheckedPath::Written(path), None),
        CheckedFile::Handle(handle) => {
            let source = copy_request::source(files, handle)?;
            let version = CheckedVersion {
                location: source.location,
                etag: source.etag,
                size: source.size,
            };
            (CheckedPath::Open(source.path), Some(version))
        }
    };
    let check = Check {
        version,
        algorithm,
        offset: asked.offset,
        length: NonZeroU64::new(asked.length),
        block: NonZeroU64::new(asked.block.into()),
        form: asked.form,
    };
    Ok((path, check))
}

impl Check {
    /// Says which bytes of a file of this size are meant, and how many of them have a sum each.
    ///
    /// # Errors
    /// The status that the client gets.
    pub(super) fn ranges(&self, size: u64) -> Result<Ranges, Status> {
        let end = self.length.map_or(size, |length| {
            size.min(self.offset.saturating_add(length.get()))
        });
        if self.offset > size {
            return Err(BEHIND_THE_END);
        }
        let bytes = end.saturating_sub(self.offset);
        let block = match self.block {
            Some(block) if block.get() < bytes => Some(block),
            Some(_) | None => None,
        };
        let sums = block.map_or(1, |block| bytes.div_ceil(block.get()));
        if sums.saturating_mul(self.algorithm.bytes()) > REPLY_BYTES_MAX {
            return Err(MANY_BLOCKS);
        }
        Ok(Ranges {
            start: self.offset,
            end,
            block,
        })
    }

    /// Says whether nothing is read.
    pub(super) fn is_of_stored(&self) -> bool {
        self.form == CheckForm::Stored
    }
}

/// The bytes of a file whose checksums are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ranges {
    pub(super) start: u64,
    pub(super) end: u64,
    /// `None`: all have one sum.
    pub(super) block: Option<NonZeroU64>,
}

impl Ranges {
    /// Says whether one sum is of all bytes of the file.
    pub(super) const fn is_whole(&self, size: u64) -> bool {
        self.start == 0 && self.end == size && self.block.is_none()
    }
}

const NO_ALGORITHM: Status = Status::failure("Checksums are md5, sha1, sha256, sha512 and crc32");
const SMALL_BLOCKS: Status = Status::failure("A block has at least 256 bytes");
const BEHIND_THE_END: Status = Status::failure("The range begins behind the end of the file");
const MANY_BLOCKS: Status =
    Status::failure("Too many blocks for one answer; ask for larger ones, or for a shorter range");
/// As the draft says.
const BLOCK_BYTES_MIN: u32 = 256;
/// As much as every client takes in one packet.
const REPLY_BYTES_MAX: u64 = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offset: u64, length: u64, block: u64) -> Check {
        Check {
            version: None,
            algorithm: Algorithm::Sha256,
            offset,
            length: NonZeroU64::new(length),
            block: NonZeroU64::new(block),
            form: CheckForm::Draft,
        }
    }

    #[test]
    fn ranges_end_with_the_file_and_answers_are_bounded() {
        let whole = check(0, 0, 0).ranges(1_000).unwrap();
        assert!(whole.is_whole(1_000));
        assert!(
            check(0, 9_999, 1_000)
                .ranges(1_000)
                .unwrap()
                .is_whole(1_000)
        );
        assert!(check(0, 0, 0).ranges(0).unwrap().is_whole(0));
        for part in [check(1, 0, 0), check(0, 999, 0), check(0, 0, 256)] {
            assert!(!part.ranges(1_000).unwrap().is_whole(1_000), "{part:?}");
        }
        let end = check(600, u64::MAX, 0).ranges(1_000).unwrap();
        assert_eq!((end.start, end.end), (600, 1_000));
        assert_eq!(check(1_001, 0, 0).ranges(1_000), Err(BEHIND_THE_END));
        assert!(check(0, 0, 256).ranges(256 * 1_024).is_ok());
        assert_eq!(check(0, 0, 256).ranges(256 * 1_024 + 1), Err(MANY_BLOCKS));
        assert_eq!(check(0, 0, 256).ranges(u64::MAX), Err(MANY_BLOCKS));
    }
}
