//! A file whose client vanished before CLOSE: what came in sequence becomes the object.
//!
//! Everything behind the first gap is left out. Over a base nothing but what was appended to it is
//! kept: bytes that were changed in its middle would be a mix of two versions.

use super::parked::Writer;
use super::{Effect, Failure, Multipart, Phase, WriteFile};
use crate::sftp::Status;
use crate::storage::{PartNumber, Precondition};
use crate::transfer::upload::{Run, Upload};

/// What may be kept of a file whose client vanishes before CLOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptPartial {
    /// The base may be replaced by itself and what was appended.
    pub over_base: bool,
}

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

/// Says whether anything could be kept.
pub(super) fn may_begin(file: &WriteFile) -> bool {
    let Some(kept) = file.opening.partial else {
        return false;
    };
    let over = match &file.opening.base {
        None => true,
        // Nothing of it may be cut off or written over.
        Some(base) => kept.over_base && file.size_set.is_none() && file.lowest >= base.size,
    };
    over && file.phase == Phase::Open && file.will_appear() && file.received > 0
}

/// Begins to keep what came in sequence.
pub(super) fn begin(file: &mut WriteFile) {
    if may_begin(file) {
        file.phase = Phase::Closing;
        file.partial = Stage::Placing;
        file.release();
    } else {
        file.session_over();
    }
}

/// Lets go what waits for memory, which may not come: it is not waited for.
pub(super) fn drops_parked(file: &mut WriteFile) -> bool {
    let waits_for_slots = file.wanted.is_empty() && file.is_under_way();
    if file.partial != Stage::Placing || waits_for_slots {
        return false;
    }
    file.wanted.clear();
    for parked in file.parked.take() {
        // Nothing else is parked before it is known what is kept.
        if let Writer::Client(pending) = parked.into_writer() {
            file.answer(pending, Status::FAILURE);
        }
    }
    true
}

/// Finds out how much is kept, and on what condition; `false`: it waits.
pub(super) fn decided(file: &mut WriteFile) -> bool {
    match file.partial {
        Stage::No | Stage::Decided(_) | Stage::GivenUp => true,
        Stage::Looking(_) | Stage::Closed => false,
        Stage::Placing => {
            let base = file.opening.base.as_ref();
            let before = base.map_or(0, |base| base.size);
            let size = in_sequence(&file.bytes, before);
            if size <= before || file.unlinked {
                file.session_over();
                return true;
            }
            file.bytes.cut(size);
            if let Some(base) = base {
                file.opening.condition = Precondition::IfMatch(base.etag.clone());
                file.partial = Stage::Decided(size);
                return true;
            }
            file.partial = Stage::Looking(size);
            let parts = file.multipart != Multipart::None;
            file.effects.push_back(Effect::Look { size, parts });
            false
        }
    }
}

/// Asks what a file would replace whose CLOSE came, where OPEN did not look; `false`: nobody can
/// tell.
pub(super) fn asks(file: &mut WriteFile) -> bool {
    let asks = may_ask(file);
    if asks {
        file.partial = Stage::Closed;
        // It is whole: a partial upload of any size makes way for it.
        let (size, parts) = (u64::MAX, false);
        file.effects.push_back(Effect::Look { size, parts });
    }
    asks
}

/// Says whether it can be asked what a file would replace.
pub(super) const fn may_ask(file: &WriteFile) -> bool {
    file.opening.partial.is_some() && file.opening.base.is_none()
}

/// Takes the condition on which it is kept.
pub(super) fn looked(file: &mut WriteFile, outcome: Result<Precondition, Failure>) {
    match (file.partial, outcome) {
        (Stage::Looking(size), Ok(condition)) => {
            file.opening.condition = condition;
            file.partial = Stage::Decided(size);
        }
        (Stage::Closed, Ok(condition)) => {
            file.opening.alone = Some(condition);
            file.partial = Stage::No;
        }
        (Stage::Looking(_) | Stage::Closed, Err(failure)) => {
            file.fail(failure.status, &failure.reason);
        }
        (Stage::No | Stage::Placing | Stage::Decided(_) | Stage::GivenUp, _) => {}
    }
}

/// Says whether a part stands behind what is kept.
pub(super) fn is_cut_off(file: &WriteFile, number: PartNumber) -> bool {
    let last = file.partial.size().and_then(|size| size.checked_sub(1));
    let last = last.and_then(|at| file.bytes.place_at(at));
    last.is_some_and(|last| number > last.number)
}

/// Returns where the bytes end that came without a gap from `from` on.
fn in_sequence(bytes: &Upload, from: u64) -> u64 {
    let mut at = from;
    loop {
        match bytes.run_at(at) {
            (Run::Here | Run::Shipped, until) if until > at => at = until,
            (Run::Here | Run::Shipped | Run::Absent, _) => return at.min(bytes.end().max(from)),
        }
    }
}
