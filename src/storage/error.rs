//! What can go wrong with an S3 call, by meaning.

use std::time::Duration;

/// The kind says what it means for the caller; `detail` is for the operator's log, never for a
/// client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct StorageError {
    pub kind: StorageErrorKind,
    pub detail: Box<str>,
    /// How long the store asks not to be asked again.
    pub retry_after: Option<Duration>,
    /// The bucket is in another region, and nothing was done; empty where the store did not say in
    /// which.
    pub elsewhere: Option<Box<str>>,
    /// The store does not take the key that signed the call, and nothing was done.
    pub key_refused: bool,
}

/// Meanings that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StorageErrorKind {
    /// No such key (or, for a HEAD without a body, no such key or bucket).
    #[error("not found")]
    NotFound,
    #[error("no such bucket")]
    NoSuchBucket,
    /// The multipart upload is gone: aborted, completed or never there.
    #[error("no such upload")]
    NoSuchUpload,
    /// An `If-Match` or `If-None-Match` did not hold.
    #[error("precondition failed")]
    Precondition,
    /// The range begins at or after the object's end.
    #[error("range not satisfiable")]
    RangeNotSatisfiable,
    #[error("access denied")]
    Denied,
    /// The time that the request was signed with is too far from the store's.
    #[error("the clocks of this machine and of the store differ")]
    ClockSkew,
    /// The credentials ran out.
    #[error("credentials expired")]
    Expired,
    /// The store asks for fewer requests.
    #[error("throttled")]
    Throttled,
    /// The store answered 5xx, did not answer, or could not be reached; nothing was changed.
    #[error("storage unavailable")]
    Unavailable,
    /// A commit was sent and its answer lost: it may have landed.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// The bytes that arrived are not the bytes that were sent.
    #[error("checksum mismatch")]
    ChecksumMismatch,
    /// A request that the store will never accept: too large, bad name, not implemented.
    #[error("request refused")]
    Refused,
    /// The same, with a bare 400: to a HEAD S3 says no more, even if the credentials ran out.
    #[error("request refused without a reason")]
    RefusedBare,
}

impl StorageError {
    pub fn new(kind: StorageErrorKind, detail: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after: None,
            elsewhere: None,
            key_refused: false,
        }
    }
}
