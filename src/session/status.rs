//! What a client is told: the one table from storage's errors to `SSH_FX_*`.
//!
//! The codes are those that OpenSSH's server gives for the same situation on a file system
//! (`errno_to_portable`): a missing or wrong-typed path component is `NO_SUCH_FILE`, "exists" and
//! "not empty" are plain failures.

#![warn(clippy::arithmetic_side_effects)]

use crate::sftp::{Status, StatusCode};
use crate::storage::{NoRandomness, StorageError, StorageErrorKind};

/// An operation that did not work: what the client hears, and what the operator's log gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    /// The storage's own words; never shown to a client.
    pub(crate) detail: Option<Box<str>>,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self {
            status,
            detail: None,
        }
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        let status = of_storage(error.kind);
        // "Not found" is an everyday answer, not something to look into.
        let detail = (error.kind != StorageErrorKind::NotFound).then(|| error.to_string().into());
        Self { status, detail }
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        Self {
            status: NO_WRITING,
            detail: Some(error.to_string().into()),
        }
    }
}

/// Translates an error's meaning.
pub(crate) const fn of_storage(kind: StorageErrorKind) -> Status {
    match kind {
        StorageErrorKind::NotFound => Status::NO_SUCH_FILE,
        // The mapping points to nowhere: for the client the place is not there.
        StorageErrorKind::NoSuchBucket => Status::NO_SUCH_FILE,
        StorageErrorKind::NoSuchUpload => Status::failure("The storage ended the upload"),
        StorageErrorKind::Precondition => CHANGED,
        StorageErrorKind::RangeNotSatisfiable => CHANGED,
        StorageErrorKind::Denied => Status::PERMISSION_DENIED,
        StorageErrorKind::Expired => Status::failure("The session's credentials have expired"),
        StorageErrorKind::Throttled
        | StorageErrorKind::Unavailable
        | StorageErrorKind::ClockSkew => {
            Status::failure("The storage is not available; try again later")
        }
        StorageErrorKind::OutcomeUnknown => {
            Status::failure("The storage did not confirm; the outcome is not known")
        }
        StorageErrorKind::ChecksumMismatch => {
            Status::failure("The bytes were damaged on the way to or from the storage")
        }
        StorageErrorKind::Refused | StorageErrorKind::RefusedBare => {
            Status::failure("The storage refuses this")
        }
    }
}

/// What a call to the store ends in that must not be made any more.
impl From<&Refusal> for StorageError {
    fn from(refusal: &Refusal) -> Self {
        Self::new(StorageErrorKind::Denied, refusal.status.sentence)
    }
}

/// Says why a user may not have what was asked for, in the stable word of the log and the metric;
/// `None`: it failed, or it is not there, which is no refusal.
pub(crate) fn refused_because(operation: &str, status: &Status) -> Option<&'static str> {
    match *status {
        READ_ONLY => Some("read-only"),
        WRITE_ONLY => Some("write-only"),
        VIRTUAL | IN_VIRTUAL => Some("virtual-directory"),
        BUCKET_LEVEL => Some("bucket-level"),
        NO_LINKS => Some("no-links"),
        TOO_MANY_HANDLES => Some("handle-limit"),
        REVOKED => Some("access-revoked"),
        EXPIRED => Some("login-expired"),
        Status::PERMISSION_DENIED | NO_BUCKETS => Some("storage-denied"),
        // What is there is no link: that is an answer.
        Status::OP_UNSUPPORTED if operation == "readlink" => None,
        Status::OP_UNSUPPORTED => Some("unsupported"),
        _ => None,
    }
}

const NO_WRITING: Status = Status::failure("The gateway cannot write files at the moment");
pub(crate) const CHANGED: Status = Status::failure("The file was changed by somebody else");
pub(crate) const BEING_WRITTEN: Status =
    Status::failure("The file is being written; close it first");
pub(crate) const EXISTS: Status = Status::failure("The target exists already");
pub(crate) const IS_DIRECTORY: Status = Status::failure("Is a directory");
pub(crate) const NOT_EMPTY: Status = Status::failure("Directory is not empty");
pub(crate) const INVALID_HANDLE: Status = Status::failure("Invalid handle");
pub(crate) const TOO_MANY_HANDLES: Status = Status::failure("Too many open files");
/// A file or directory where only entries of mappings are.
pub(crate) const IN_VIRTUAL: Status = Status::new(
    StatusCode::NoSuchFile,
    "No such file: this directory is virtual",
);
pub(crate) const NO_LINKS: Status = Status::unsupported("Links are not supported");
pub(crate) const REVOKED: Status = Status::denied("Your access was revoked");
pub(crate) const EXPIRED: Status = Status::denied("The login has expired; log in again");
pub(crate) const READ_ONLY: Status = Status::denied("This directory is read-only");
pub(crate) const WRITE_ONLY: Status = Status::denied("This directory is write-only");
/// Where only buckets are.
pub(crate) const BUCKET_LEVEL: Status =
    Status::denied("Buckets cannot be made, removed or renamed, and files go into a bucket");
pub(crate) const NO_BUCKETS: Status =
    Status::denied("Your role may not list the buckets; go to one by its name");
pub(crate) const VIRTUAL: Status = Status::denied("This directory is virtual");
