//! How things end that are counted.

use prometheus_client::metrics::gauge::Gauge;

use crate::storage::StorageErrorKind;

/// Whether the memory of answers could help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    Hit,
    Miss,
    /// An older answer stood in while the provider was unavailable.
    Stale,
}

/// A question that is being asked.
#[derive(Debug)]
pub struct UnderWay(pub(super) Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let _ = self.0.dec();
    }
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEnd {
    /// An upload is durable; a download was read to its end.
    Completed,
    /// The client closed or left before the end.
    Abandoned,
    Failed,
}

/// What became of an upload whose client had disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterDisconnect {
    Kept,
    Failed,
    /// It was kept, and could not be marked as partial.
    Unmarked,
}

/// How a move ended that took a turn of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveEnd {
    Done,
    Failed,
    /// The user's access was taken back, or had its end.
    Stopped,
}

/// What became of a time that was set when the object was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeEnd {
    Kept,
    /// The store does not let it be kept without changing more.
    Skipped,
    Failed,
}

/// What became of an upload that nobody will complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    Done,
    /// Left to the bucket's lifecycle rule.
    GivenUp,
}

impl Lookup {
    pub(super) const ALL: [Self; 3] = [Self::Hit, Self::Miss, Self::Stale];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
        }
    }
}

impl TransferEnd {
    pub(super) const ALL: [Self; 3] = [Self::Completed, Self::Abandoned, Self::Failed];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Abandoned => "abandoned",
            Self::Failed => "failed",
        }
    }
}

impl MoveEnd {
    pub(super) const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Stopped];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl AfterDisconnect {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Failed => "failed",
            Self::Unmarked => "unmarked",
        }
    }
}

/// The failures of calls that have a word of their own.
pub(super) const FAILURES: [StorageErrorKind; 13] = [
    StorageErrorKind::NotFound,
    StorageErrorKind::NoSuchBucket,
    StorageErrorKind::NoSuchUpload,
    StorageErrorKind::Precondition,
    StorageErrorKind::RangeNotSatisfiable,
    StorageErrorKind::Denied,
    StorageErrorKind::Expired,
    StorageErrorKind::ClockSkew,
    StorageErrorKind::Throttled,
    StorageErrorKind::Unavailable,
    StorageErrorKind::OutcomeUnknown,
    StorageErrorKind::ChecksumMismatch,
    StorageErrorKind::Refused,
];

pub(super) const fn failure(kind: StorageErrorKind) -> &'static str {
    match kind {
        StorageErrorKind::NotFound => "not-found",
        StorageErrorKind::NoSuchBucket => "no-such-bucket",
        StorageErrorKind::NoSuchUpload => "no-such-upload",
        StorageErrorKind::Precondition => "precondition",
        StorageErrorKind::RangeNotSatisfiable => "range",
        StorageErrorKind::Denied => "denied",
        StorageErrorKind::Expired => "expired",
        StorageErrorKind::ClockSkew => "clock-skew",
        StorageErrorKind::Throttled => "throttled",
        StorageErrorKind::Unavailable => "unavailable",
        StorageErrorKind::OutcomeUnknown => "outcome-unknown",
        StorageErrorKind::ChecksumMismatch => "checksum",
        StorageErrorKind::Refused | StorageErrorKind::RefusedBare => "refused",
    }
}
