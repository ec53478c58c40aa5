//! What is kept of a file whose client vanished before CLOSE.

use super::parked::Writer;
use super::partial::{Stage, in_sequence};
use super::{Effect, Failure, Multipart, Phase, WriteFile};
use crate::sftp::Status;
use crate::storage::{PartNumber, Precondition};

impl WriteFile {
    /// Says whether anything could be kept of it, if its client vanishes before CLOSE.
    #[must_use]
    pub fn may_be_kept(&self) -> bool {
        let Some(kept) = self.opening.partial else {
            return false;
        };
        let over = match &self.opening.base {
            None => true,
            // Nothing of it may be cut off or written over.
            Some(base) => kept.over_base && self.size_set.is_none() && self.lowest >= base.size,
        };
        over && self.phase == Phase::Open && self.will_appear() && self.received > 0
    }

    pub(super) fn vanished(&mut self) {
        if !self.may_be_kept() {
            return self.session_over();
        }
        // What is on its way of another file is not waited for.
        if self.fill.take().is_some() {
            self.effects.push_back(Effect::LeaveBase);
        }
        self.brought(Status::FAILURE);
        self.phase = Phase::Closing;
        self.partial = Stage::Placing;
        self.release();
    }

    /// Lets go what waits for memory, which may not come: it is not waited for.
    pub(super) fn drops_parked(&mut self) -> bool {
        let waits_for_slots = self.wanted.is_empty() && self.is_under_way();
        if self.partial != Stage::Placing || waits_for_slots {
            return false;
        }
        self.wanted.clear();
        for parked in self.parked.take() {
            // Nothing else is parked before it is known what is kept.
            if let Writer::Client(pending) = parked.into_writer() {
                self.answer(pending, Status::FAILURE);
            }
        }
        true
    }

    /// Finds out how much is kept, and on what condition; `false`: it waits.
    pub(super) fn decided(&mut self) -> bool {
        match self.partial {
            Stage::No | Stage::Decided(_) | Stage::GivenUp => return true,
            Stage::Looking(_) | Stage::Closed => return false,
            Stage::Placing => {}
        }
        let base = self.opening.base.as_ref();
        let before = base.map_or(0, |base| base.size);
        let size = in_sequence(&self.bytes, before);
        if size <= before || self.unlinked {
            self.session_over();
            return true;
        }
        self.bytes.cut(size);
        if let Some(base) = base {
            self.opening.condition = Precondition::IfMatch(base.etag.clone());
            self.partial = Stage::Decided(size);
            return true;
        }
        self.partial = Stage::Looking(size);
        let parts = self.multipart != Multipart::None;
        self.effects.push_back(Effect::Look { size, parts });
        false
    }

    /// Asks what a file would replace whose CLOSE came, where OPEN did not look; `false`: nobody
    /// can tell.
    pub(super) fn asks(&mut self) -> bool {
        let asks = self.may_ask();
        if asks {
            self.partial = Stage::Closed;
            // It is whole: a partial upload of any size makes way for it.
            let (size, parts) = (u64::MAX, false);
            self.effects.push_back(Effect::Look { size, parts });
        }
        asks
    }

    pub(super) const fn may_ask(&self) -> bool {
        self.opening.partial.is_some() && self.opening.base.is_none()
    }

    /// Takes the condition on which the file is kept.
    pub(super) fn looked(&mut self, outcome: Result<Precondition, Failure>) {
        match (self.partial, outcome) {
            (Stage::Looking(size), Ok(condition)) => {
                self.opening.condition = condition;
                self.partial = Stage::Decided(size);
            }
            (Stage::Closed, Ok(condition)) => {
                self.opening.alone = Some(condition);
                self.partial = Stage::No;
            }
            (Stage::Looking(_) | Stage::Closed, Err(failure)) => {
                self.fail(failure.status, &failure.reason);
            }
            (Stage::No | Stage::Placing | Stage::Decided(_) | Stage::GivenUp, _) => {}
        }
    }

    /// Says whether a part stands behind what is kept.
    pub(super) fn is_cut_off(&self, number: PartNumber) -> bool {
        let last = self.partial.size().and_then(|size| size.checked_sub(1));
        let last = last.and_then(|at| self.bytes.place_at(at));
        last.is_some_and(|last| number > last.number)
    }
}
