//! Bytes of a file that the client does not send: those that it left as they were, zeros, and those
//! of another file.

use bytes::Bytes;

use crate::storage::ByteRange;
use crate::transfer::upload::as_u64;

/// One reading of an object's bytes. What comes of another one than the last is not wanted any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BaseRead(u64);

impl BaseRead {
    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Bytes on their way.
#[derive(Debug)]
pub(super) enum Fill {
    /// Those of an object; the next ones belong to the range's start.
    Base { read: BaseRead, range: ByteRange },
    /// Zeros; those before `due` may be made.
    Zeros {
        range: ByteRange,
        due: u64,
        announced: bool,
    },
}

/// What is to be done for zeros.
#[derive(Debug)]
pub(super) enum NextZeros {
    /// They are due later, or none are wanted.
    Wait,
    /// So many more are wanted.
    Announce(u64),
    /// So many belong here.
    Piece(u64, usize),
    Done,
}

impl Fill {
    pub(super) const fn zeros(range: ByteRange) -> Self {
        Self::Zeros {
            range,
            due: range.start,
            announced: false,
        }
    }

    /// Returns what is left of an object that is read, if this is how it is read.
    pub(super) fn left(&mut self, by: BaseRead) -> Option<&mut ByteRange> {
        match self {
            Self::Base { read, range } if *read == by => Some(range),
            Self::Base { .. } | Self::Zeros { .. } => None,
        }
    }

    /// Takes bytes of the object; returns where they belong, and how many are wanted.
    pub(super) fn take(&mut self, read: BaseRead, bytes: &Bytes) -> Option<(u64, usize)> {
        let range = self.left(read)?;
        let at = range.start;
        let room = usize::try_from(range.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = bytes.len().min(room);
        range.start = at.saturating_add(as_u64(length));
        Some((at, length))
    }

    pub(super) fn zeros_due(&mut self) {
        if let Self::Zeros {
            range,
            due,
            announced,
        } = self
        {
            *due = due.saturating_add(ZEROS_STEP_BYTES).min(range.end);
            *announced = false;
        }
    }

    /// Says what to do for zeros; a piece has at most so many bytes.
    pub(super) fn next_zeros(&mut self, most: usize) -> NextZeros {
        let Self::Zeros {
            range,
            due,
            announced,
        } = self
        else {
            return NextZeros::Wait;
        };
        let (at, left) = (range.start, range.end.saturating_sub(range.start));
        if left == 0 {
            return NextZeros::Done;
        }
        if at < *due {
            let length = usize::try_from(due.saturating_sub(at)).unwrap_or(usize::MAX);
            let length = length.min(most);
            range.start = at.saturating_add(as_u64(length));
            return NextZeros::Piece(at, length);
        }
        if std::mem::replace(announced, true) {
            NextZeros::Wait
        } else {
            NextZeros::Announce(left.min(ZEROS_STEP_BYTES))
        }
    }
}

/// Zeros that are made at once.
const ZEROS_STEP_BYTES: u64 = 1024 * 1024;
