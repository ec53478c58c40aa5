//! Memory of parts: a slot grows with the bytes that come, so that a slow line holds little more
//! than it sent.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::pool::Charge;
use crate::limits;

/// Memory for one part, given back when it is dropped.
pub struct Slot {
    buffer: Vec<u8>,
    buffers: Arc<Buffers>,
    charge: Charge,
}

impl Slot {
    /// Returns the slot's size.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a slot is never empty")]
    pub fn len(&self) -> u64 {
        u64::try_from(self.buffer.len()).unwrap_or(u64::MAX)
    }

    /// Grows by what a charge stands for, and keeps the first `used` bytes.
    pub fn grow(&mut self, charge: Charge, used: u64) {
        let bytes = self.len().saturating_add(charge.bytes());
        let mut larger = self.buffers.take(bytes);
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let old = self.buffer.get(..used.min(self.buffer.len()));
        let old = old.unwrap_or_default();
        if let Some(new) = larger.get_mut(..old.len()) {
            new.copy_from_slice(old);
        }
        self.buffers
            .give_back(std::mem::replace(&mut self.buffer, larger));
        self.charge.join(charge);
    }

    /// Returns `length` bytes from `start`; what lies outside of the slot is left out.
    #[must_use]
    pub fn bytes(&self, start: u64, length: u64) -> &[u8] {
        self.buffer.get(range(start, length)).unwrap_or_default()
    }

    /// Returns `length` bytes from `start` to write to.
    pub fn bytes_mut(&mut self, start: u64, length: u64) -> &mut [u8] {
        self.buffer
            .get_mut(range(start, length))
            .unwrap_or_default()
    }

    /// Turns the first `length` bytes into a payload; the slot is free when its last clone goes.
    #[must_use]
    pub fn into_payload(self, length: u64) -> Bytes {
        let end = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        Bytes::from_owner(self).slice(..end)
    }
}

impl AsRef<[u8]> for Slot {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The buffer first: what is charged for it must not be given to somebody else before.
        self.buffers.give_back(std::mem::take(&mut self.buffer));
        self.charge.shrink_to(0);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("bytes", &self.len())
            .finish_non_exhaustive()
    }
}

/// Buffers of the usual sizes that wait for their next use: fresh memory would be paid for page by
/// page.
#[derive(Debug)]
pub(super) struct Buffers {
    part_bytes: u64,
    idle: Mutex<Vec<Idle>>,
    idle_bytes_max: u64,
}

#[derive(Debug)]
struct Idle {
    buffer: Vec<u8>,
    /// It was there already when the idle ones were let go last.
    seen: bool,
}

impl Buffers {
    pub(super) fn new(part_bytes: u64, memory_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            part_bytes,
            idle: Mutex::default(),
            idle_bytes_max: memory_bytes / 2,
        })
    }

    /// Makes a slot of what a charge stands for.
    pub(super) fn slot(self: &Arc<Self>, charge: Charge) -> Slot {
        Slot {
            buffer: self.take(charge.bytes()),
            buffers: Arc::clone(self),
            charge,
        }
    }

    fn take(&self, bytes: u64) -> Vec<u8> {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The one used last, so that those that nobody needs stay what they are.
        let at = idle.iter().rposition(|one| one.buffer.len() == length);
        if let Some(at) = at {
            return idle.remove(at).buffer;
        }
        // What is fresh takes the place of what is idle: together they stay within the memory.
        let mut freed = 0_usize;
        while freed < length
            && let Some(other) = idle.pop()
        {
            freed = freed.saturating_add(other.buffer.len());
        }
        drop(idle);
        vec![0; length]
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let bytes = length_of(&buffer);
        if bytes != self.part_bytes && !limits::SLOT_STEPS_BYTES.contains(&bytes) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: u64 = idle.iter().map(|one| length_of(&one.buffer)).sum();
        if kept.saturating_add(bytes) <= self.idle_bytes_max {
            let seen = false;
            idle.push(Idle { buffer, seen });
        }
    }

    /// Lets go of those that nobody used since this was called last.
    pub(super) fn let_idle_go(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = idle.extract_if(.., |one| one.seen).collect();
        for one in idle.iter_mut() {
            one.seen = true;
        }
        drop(idle);
        // Pages go back to the system while nobody waits for the lock.
        drop(gone);
    }
}

fn length_of(buffer: &[u8]) -> u64 {
    u64::try_from(buffer.len()).unwrap_or(u64::MAX)
}

fn range(start: u64, length: u64) -> std::ops::Range<usize> {
    let end = start.saturating_add(length);
    usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::line::Shares;
    use crate::budget::pool::Pool;

    #[test]
    fn a_slot_grows_and_comes_back_when_its_payload_is_gone() {
        let pool = Pool::new("test", 100, 0, Shares::WhileOthersWait(33));
        let share = pool.share();
        let mut slot = Buffers::new(80, 100).slot(share.try_take(10).unwrap());
        slot.bytes_mut(0, 3).copy_from_slice(b"abc");
        slot.grow(share.try_take(70).unwrap(), 3);
        assert_eq!((slot.len(), slot.bytes(0, 4)), (80, &b"abc\0"[..]));
        let payload = slot.into_payload(3);
        assert_eq!(&payload[..], b"abc");
        assert_eq!(pool.free_bytes(), 20);
        drop(payload);
        assert_eq!(pool.free_bytes(), 100);
    }

    #[test]
    fn buffers_that_nobody_uses_are_let_go() {
        let pool = Pool::new("test", 100, 0, Shares::WhileOthersWait(33));
        let share = pool.share();
        let buffers = Buffers::new(10, 100);
        let idle = || buffers.idle.lock().unwrap().len();
        let slot = || buffers.slot(share.try_take(10).unwrap());
        drop([slot(), slot(), slot()]);
        assert_eq!(idle(), 3);
        buffers.let_idle_go();
        // One is used again, two are not.
        drop(slot());
        buffers.let_idle_go();
        assert_eq!(idle(), 1);
        buffers.let_idle_go();
        assert_eq!(idle(), 0);
    }
}
