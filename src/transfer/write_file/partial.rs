//! How far a file is of which only what came in sequence is kept.

use crate::transfer::upload::{Run, Upload};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    No,
    /// Bytes that came have no place yet.
    Placing,
    /// So many bytes came in sequence, and it is not known what they would replace.
    Looking(u64),
    Decided(u64),
    /// Nothing is kept.
    GivenUp,
    /// CLOSE came and every byte is there, and it is not known what the file would replace.
    Closed,
}

impl Stage {
    pub(super) const fn is_begun(self) -> bool {
        !matches!(self, Self::No | Self::Closed)
    }

    /// Returns the size of what is kept, once it is known.
    pub(super) const fn size(self) -> Option<u64> {
        match self {
            Self::Looking(size) | Self::Decided(size) => Some(size),
            Self::No | Self::Placing | Self::GivenUp | Self::Closed => None,
        }
    }

    pub(super) const fn give_up(&mut self) {
        if self.is_begun() {
            *self = Self::GivenUp;
        }
    }
}

/// Returns where the bytes end that came without a gap from `from` on.
pub(super) fn in_sequence(bytes: &Upload, from: u64) -> u64 {
    let mut at = from;
    loop {
        match bytes.run_at(at) {
            (Run::Here | Run::Shipped, until) if until > at => at = until,
            (Run::Here | Run::Shipped | Run::Absent, _) => return at.min(bytes.end().max(from)),
        }
    }
}
