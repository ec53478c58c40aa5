//! What a failed system call means, in the words of a store.

use rustix::io::Errno;

use super::tree::Unplaced;
use crate::storage::{Bucket, Location, Operation, StorageError, StorageErrorKind};

/// Which call it is.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) operation: Operation,
    pub(super) bucket: Bucket,
    pub(super) key: Box<str>,
}

impl About {
    pub(super) fn new(operation: Operation, location: &Location) -> Self {
        Self::of_bucket(operation, &location.bucket, location.key.as_str())
    }

    pub(super) fn of_bucket(operation: Operation, bucket: &Bucket, key: &str) -> Self {
        Self {
            operation,
            bucket: bucket.clone(),
            key: key.into(),
        }
    }

    pub(super) fn error(&self, kind: StorageErrorKind, why: &str) -> StorageError {
        let (name, bucket, key) = (self.operation.name(), &self.bucket, &self.key);
        StorageError::new(kind, format!("{name} /{bucket}/{key}: {why}"))
    }

    pub(super) fn missing(&self) -> StorageError {
        self.error(StorageErrorKind::NotFound, "no such file")
    }
}

/// Says what a call means that only looks, or changes what is there.
pub(super) fn failure(about: &About, error: Errno) -> StorageError {
    let why = std::io::Error::from(error).to_string();
    about.error(kind(error), &why)
}

/// The same for a name that is to be taken.
pub(super) fn refused(about: &About, error: Errno) -> StorageError {
    let (kind, why) = match error {
        Errno::NOTDIR => (
            StorageErrorKind::Refused,
            "a file has the name of a directory above it",
        ),
        Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST => {
            (StorageErrorKind::Refused, "a directory has this name")
        }
        Errno::LOOP => (
            StorageErrorKind::Refused,
            "a symbolic link is in the path, which is not followed",
        ),
        Errno::XDEV => (
            StorageErrorKind::Refused,
            "another file system is mounted there",
        ),
        error => return failure(about, error),
    };
    about.error(kind, why)
}

/// The same for a name that may have been taken all the same.
pub(super) fn unplaced(about: &About, unplaced: Unplaced) -> StorageError {
    match unplaced {
        Unplaced::Not(error) => refused(about, error),
        Unplaced::Unknown(error) => {
            let why = std::io::Error::from(error);
            let why = format!("whether it is there, and stays, is not known: {why}");
            about.error(StorageErrorKind::OutcomeUnknown, &why)
        }
    }
}

/// The table of errors: what is not named is a failure that may pass, such as of a network file
/// system.
const fn kind(error: Errno) -> StorageErrorKind {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG => {
            StorageErrorKind::NotFound
        }
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StorageErrorKind::Denied,
        // Full, over the quota, over the limit of a file.
        Errno::NOSPC
        | Errno::DQUOT
        | Errno::FBIG
        | Errno::INVAL
        | Errno::ISDIR
        | Errno::NOTEMPTY
        | Errno::EXIST
        | Errno::MLINK
        // Another file system is mounted there.
        | Errno::BUSY
        // The kernel is older than 5.6, or something forbids the call.
        | Errno::NOSYS => StorageErrorKind::Refused,
        _ => StorageErrorKind::Unavailable,
    }
}
