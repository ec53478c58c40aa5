//! How far a file that is written is.

use std::time::Duration;

use crate::budget::Charge;
use crate::storage::{ByteRange, UploadId};

/// Which full parts stay here, to be read and written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// No WRITE came, beside empty ones.
    Undecided,
    Nothing,
    First,
    All,
}

/// Whether the store copies another object to where this file is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    No,
    UnderWay,
    /// The file stands over the copy.
    Done,
}

/// Memory for what is kept of parts that the store copies.
#[derive(Debug)]
pub(super) enum PartsMemory {
    None,
    Asked,
    Here(#[expect(dead_code, reason = "gives itself back")] Charge),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// CLOSE came, and is not at its turn.
    CloseAsked,
    Closing,
    Committing,
    Over,
}

/// How far the multipart upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Multipart {
    None,
    Creating,
    Open(UploadId),
}

/// What CLOSE has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The file stays as it was.
    Nothing,
    /// Bytes of the base are missing.
    Base(ByteRange),
    /// Bytes are missing that nobody wrote, below the size that the client set.
    Zeros(ByteRange),
    /// Every byte is there.
    Commit { size: u64 },
}

/// Why a file is given up that keeps what it waits for.
pub(super) const NO_MEMORY_LEFT: &str = "its started parts leave no memory for another one";
/// Parts that one file may fill at once, beside those on their way.
pub(super) const SLOTS_FILLING_MAX: usize = 2;
/// How soon others get what is held here for its client alone.
pub(super) const HOLD_LOOKS_AFTER: Duration = Duration::from_secs(5);
