//! Bytes that are read of an object: what the client left as it was, and what it has copied from
//! another file.

use std::time::Instant;

use bytes::Bytes;

use super::fill::{BaseRead, Fill};
use super::parked::{Parked, Writer};
use super::{Base, Bringing, COPYING, Effect, Failure, Taking, WriteFile, as_u64};
use crate::sftp::{Given, Payload, Pending, Status};
use crate::storage::ByteRange;

// ---- what is read ----

/// Has a range of an object read, which belongs `to` here.
pub(super) fn read_base(file: &mut WriteFile, base: Base, range: ByteRange, to: ByteRange) {
    file.read = file.read.next();
    let read = file.read;
    file.fill = Some(Fill::Base { read, range: to });
    file.effects
        .push_back(Effect::ReadBase { read, base, range });
}

pub(super) fn came(file: &mut WriteFile, read: BaseRead, bytes: Bytes) {
    let taken = file.fill.as_mut().and_then(|fill| fill.take(read, &bytes));
    let Some((at, length)) = taken else {
        return;
    };
    file.rate.moved(as_u64(length));
    let payload = Payload {
        slices: Vec::from([bytes]),
        length,
    };
    file.place_or_park(Parked::new(Writer::Base(read), at, payload));
}

pub(super) fn ended(file: &mut WriteFile, read: BaseRead, outcome: Result<(), Failure>) {
    let Some(range) = file.fill.as_mut().and_then(|fill| fill.left(read)) else {
        return;
    };
    let complete = range.start >= range.end;
    file.fill = None;
    match outcome {
        Ok(()) if complete => brought(file, Status::OK),
        Ok(()) => file.fail(Status::FAILURE, "the old file ended early"),
        Err(failure) => file.fail(failure.status, &failure.reason),
    }
}

// ---- bytes of another file ----

/// Says whether it is a copy of another object, or becomes one, and nothing else.
pub(super) fn is_only_copied(file: &WriteFile) -> bool {
    let copied = match file.taking {
        Taking::No => false,
        Taking::UnderWay => true,
        Taking::Done => !file.is_written(),
    };
    copied && file.will_appear()
}

/// Takes what became of a copy of another object: the file goes over it from now on.
pub(super) fn copied(file: &mut WriteFile, outcome: Result<(Base, Given), Failure>) {
    file.taking = Taking::No;
    match outcome {
        Ok((base, given)) => {
            file.taking = Taking::Done;
            file.append_at = base.size;
            file.opening.go_over(base);
            file.size_set = None;
            // What came meanwhile is kept at CLOSE.
            file.given = file.given.without(given);
        }
        Err(failure) => file.fail(failure.status, &failure.reason),
    }
}

/// Has a range of another object brought here, to where it is written from `at` on.
pub(super) fn bring(file: &mut WriteFile, pending: Pending, bringing: Bringing, now: Instant) {
    let (source, range, at) = (bringing.source.clone(), bringing.range, bringing.at);
    let (length, received) = (range.end.saturating_sub(range.start), file.received);
    let admitted = match file.failed {
        Some(status) => Err(status),
        None if file.fill.is_some() => Err(COPYING),
        None => file.admit(at, length),
    };
    // The client sends nothing of it.
    file.received = received;
    if file.bytes.slots_filling() == 0 {
        file.rate.begin(now);
    }
    match admitted {
        Err(status) => file.answer(pending, status),
        Ok(start) => {
            let end = start.saturating_add(length);
            file.bringing = Some((pending, bringing));
            read_base(file, source, range, ByteRange { start, end });
        }
    }
}

/// Answers the one who had bytes brought.
pub(super) fn brought(file: &mut WriteFile, status: Status) {
    if let Some((pending, bringing)) = file.bringing.take() {
        let bringing = Box::new(bringing);
        file.effects.push_back(Effect::Brought { bringing, status });
        file.answer(pending, status);
    }
}
