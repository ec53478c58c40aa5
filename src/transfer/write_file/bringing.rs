//! Bytes that are read of an object: what the client left as it was, and what it has copied from
//! another file.

use std::time::Instant;

use bytes::Bytes;

use super::fill::{BaseRead, Fill};
use super::parked::{Parked, Writer};
use super::{Base, Bringing, COPYING, Effect, Failure, Hold, Phase, Taking, WriteFile, as_u64};
use crate::sftp::{Given, Payload, Pending, Status};
use crate::storage::ByteRange;

impl WriteFile {
    // ---- what is read ----

    /// Has a range of an object read, which belongs `to` here.
    pub(super) fn read_base(&mut self, base: Base, range: ByteRange, to: ByteRange) {
        self.read = self.read.next();
        let read = self.read;
        self.fill = Some(Fill::Base { read, range: to });
        self.effects
            .push_back(Effect::ReadBase { read, base, range });
    }

    pub(super) fn base_came(&mut self, read: BaseRead, bytes: Bytes) {
        let taken = self.fill.as_mut().and_then(|fill| fill.take(read, &bytes));
        let Some((at, length)) = taken else {
            return;
        };
        self.rate.moved(as_u64(length));
        let payload = Payload {
            slices: Vec::from([bytes]),
            length,
        };
        self.place_or_park(Parked::new(Writer::Base(read), at, payload));
    }

    pub(super) fn base_ended(&mut self, read: BaseRead, outcome: Result<(), Failure>) {
        let Some(range) = self.fill.as_mut().and_then(|fill| fill.left(read)) else {
            return;
        };
        let complete = range.start >= range.end;
        self.fill = None;
        match outcome {
            Ok(()) if complete => self.brought(Status::OK),
            Ok(()) => self.fail(Status::FAILURE, "the old file ended early"),
            Err(failure) => self.fail(failure.status, &failure.reason),
        }
    }

    // ---- bytes of another file ----

    /// Says whether another object can become the file as it is, from this offset on: it is empty,
    /// and nothing was written to it.
    #[must_use]
    pub fn is_empty_from(&self, offset: u64) -> bool {
        let empty = self.opening.base.is_none() && self.size() == 0;
        let untouched = empty && self.hold == Hold::Undecided && self.parked.is_empty();
        let begins = offset == 0 || self.opening.mode.append;
        let free = self.phase == Phase::Open && !self.is_copied_into();
        untouched && begins && free && self.will_appear()
    }

    /// Says whether another object, or a range of one, is on its way here.
    #[must_use]
    pub const fn is_copied_into(&self) -> bool {
        matches!(self.taking, Taking::UnderWay) || self.is_bringing()
    }

    /// Says whether bytes of another object are on their way.
    #[must_use]
    pub const fn is_bringing(&self) -> bool {
        self.bringing.is_some()
    }

    /// Says whether it is a copy of another object, or becomes one, and nothing else.
    pub(super) fn is_only_copied(&self) -> bool {
        let copied = match self.taking {
            Taking::No => false,
            Taking::UnderWay => true,
            Taking::Done => !self.is_written(),
        };
        copied && self.will_appear()
    }

    /// Takes what became of a copy of another object: the file goes over it from now on.
    pub(super) fn copied(&mut self, outcome: Result<(Base, Given), Failure>) {
        self.taking = Taking::No;
        match outcome {
            Ok((base, given)) => {
                self.taking = Taking::Done;
                self.append_at = base.size;
                self.opening.go_over(base);
                self.size_set = None;
                // What came meanwhile is kept at CLOSE.
                self.given = self.given.without(given);
            }
            Err(failure) => self.fail(failure.status, &failure.reason),
        }
    }

    /// Has a range of another object brought here, to where it is written from `at` on.
    pub(super) fn bring(&mut self, pending: Pending, bringing: Bringing, now: Instant) {
        let (source, range, at) = (bringing.source.clone(), bringing.range, bringing.at);
        let (length, received) = (range.end.saturating_sub(range.start), self.received);
        let admitted = match self.failed {
            Some(status) => Err(status),
            None if self.fill.is_some() => Err(COPYING),
            None => self.admit(at, length),
        };
        // The client sends nothing of it.
        self.received = received;
        if self.bytes.slots_filling() == 0 {
            self.rate.begin(now);
        }
        match admitted {
            Err(status) => self.answer(pending, status),
            Ok(start) => {
                let end = start.saturating_add(length);
                self.bringing = Some((pending, bringing));
                self.read_base(source, range, ByteRange { start, end });
            }
        }
    }

    /// Answers the one who had bytes brought.
    pub(super) fn brought(&mut self, status: Status) {
        if let Some((pending, bringing)) = self.bringing.take() {
            let bringing = Box::new(bringing);
            self.effects.push_back(Effect::Brought { bringing, status });
            self.answer(pending, status);
        }
    }
}
