//! What clients hear of files that cannot be written.

use super::super::upload::UploadError;
use crate::sftp::Status;

/// What a client hears of an upload's error.
pub(super) const fn status_of(error: &UploadError) -> Status {
    match error {
        UploadError::AlreadyShipped => Status::unsupported(
            "These bytes were already sent to the storage and cannot be changed",
        ),
        UploadError::TooLarge => TOO_LARGE,
        UploadError::TooScattered => TOO_SCATTERED,
        UploadError::Gap { .. } => GAP,
    }
}

pub(super) const TOO_LARGE: Status = Status::failure("The file is too large to be stored");
pub(super) const TOO_LARGE_TO_CHANGE: Status =
    Status::failure("The file is too large to be changed; it can be replaced");
pub(super) const TOO_SCATTERED: Status = Status::failure("The writes are scattered too widely");
pub(super) const GAP: Status = Status::failure("Parts of the file were never written");
pub(super) const MEMORY: Status =
    Status::failure("The server is short of memory for uploads; try again");
pub(super) const COPIED: Status = Status::unsupported(
    "Bytes were appended to the file; others can be changed only when it is closed",
);
pub const COPYING: Status =
    Status::failure("Another file is copied into this one; wait for the answer");
pub const NOT_HERE: Status =
    Status::unsupported("These bytes can only be read after the file is closed");
pub const OVER_LIMIT: Status = Status::failure("The file is larger than this user may store");
