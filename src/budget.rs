//! The memory of the whole process: part slots for uploads, the read-ahead pool, and the gate that
//! stops a connection whose bytes have no place.
//!
//! An upload takes a whole slot before a part's first byte. Slots are given in order of arrival:
//! whoever wants a second one stands behind everybody who waits for a first. Read-ahead never
//! waits: where the pool is empty a reader fetches only what was asked.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{self, Limits};
use crate::storage::PartLayout;

/// The process's part slots and read-ahead pool.
#[derive(Debug)]
pub struct Budget {
    uploads: Arc<Semaphore>,
    upload_units: usize,
    waiting: AtomicUsize,
    buffers: Arc<Buffers>,
    read_ahead: Arc<Semaphore>,
    read_ahead_units: usize,
    layout: PartLayout,
}

impl Budget {
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let layout = PartLayout::new(limits.part_bytes, limits.upload_memory_bytes_max);
        let part_bytes = layout
            .part_at(0)
            .map_or(limits::PART_BYTES_MIN, |part| part.bytes);
        // Less than one part could never be taken, and its upload would wait for ever.
        let upload_units = units(limits.upload_memory_bytes_max.max(part_bytes));
        let read_ahead_units = units(limits.download_memory_bytes_max);
        Arc::new(Self {
            uploads: Arc::new(Semaphore::new(upload_units)),
            upload_units,
            waiting: AtomicUsize::new(0),
            buffers: Arc::new(Buffers::new(part_bytes, upload_units)),
            read_ahead: Arc::new(Semaphore::new(read_ahead_units)),
            read_ahead_units,
            layout,
        })
    }

    /// Returns the schedule of part sizes that this memory can carry.
    #[must_use]
    pub const fn layout(&self) -> PartLayout {
        self.layout
    }

    /// Waits its turn for a slot.
    pub async fn slot(self: Arc<Self>, bytes: u64) -> Slot {
        if let Some(slot) = self.try_slot(bytes) {
            return slot;
        }
        let waiting = Waiting::new(&self);
        let count = permits(bytes, self.upload_units);
        let permit = Arc::clone(&self.uploads).acquire_many_owned(count).await;
        drop(waiting);
        // The semaphore is never closed.
        self.filled(bytes, permit.ok())
    }

    /// Takes a slot if nobody has to wait for it.
    #[must_use]
    pub fn try_slot(&self, bytes: u64) -> Option<Slot> {
        let count = permits(bytes, self.upload_units);
        let permit = Arc::clone(&self.uploads)
            .try_acquire_many_owned(count)
            .ok()?;
        Some(self.filled(bytes, Some(permit)))
    }

    /// Says whether somebody waits for a slot.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Returns how many WRITE bytes a connection may hold without a slot.
    #[must_use]
    pub fn unslotted_bytes_max(&self) -> usize {
        let crowded = self.uploads.available_permits() < self.upload_units / 2;
        if crowded {
            limits::UNSLOTTED_BYTES_MIN
        } else {
            limits::UNSLOTTED_BYTES_MAX
        }
    }

    /// Takes memory for read-ahead if there is some.
    #[must_use]
    pub fn try_read_ahead(&self, bytes: u64) -> Option<ReadAheadPermit> {
        let count = permits(bytes, self.read_ahead_units);
        let permit = Arc::clone(&self.read_ahead)
            .try_acquire_many_owned(count)
            .ok()?;
        Some(ReadAheadPermit { _permit: permit })
    }

    /// Says whether more than half of the read-ahead pool is taken: windows stop growing.
    #[must_use]
    pub fn read_ahead_is_crowded(&self) -> bool {
        self.read_ahead.available_permits() < self.read_ahead_units / 2
    }

    /// Returns the bytes taken for uploads and for read-ahead.
    #[must_use]
    pub fn taken_bytes(&self) -> (u64, u64) {
        let taken = |all: usize, semaphore: &Semaphore| {
            let units = all.saturating_sub(semaphore.available_permits());
            u64::try_from(units)
                .unwrap_or(u64::MAX)
                .saturating_mul(UNIT_BYTES)
        };
        (
            taken(self.upload_units, &self.uploads),
            taken(self.read_ahead_units, &self.read_ahead),
        )
    }

    /// Returns the bytes that there are for uploads and for read-ahead.
    #[must_use]
    pub fn limit_bytes(&self) -> (u64, u64) {
        let bytes = |units| {
            u64::try_from(units)
                .unwrap_or(u64::MAX)
                .saturating_mul(UNIT_BYTES)
        };
        (bytes(self.upload_units), bytes(self.read_ahead_units))
    }

    /// Returns how many wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn filled(&self, bytes: u64, permit: Option<OwnedSemaphorePermit>) -> Slot {
        Slot {
            buffer: self.buffers.take(bytes),
            buffers: Arc::clone(&self.buffers),
            permit,
        }
    }
}

/// Counts one that waits, also when it is dropped while waiting.
struct Waiting<'a>(&'a Budget);

impl<'a> Waiting<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.waiting.fetch_add(1, Ordering::Relaxed);
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Memory for one part, given back when it is dropped.
pub struct Slot {
    buffer: Vec<u8>,
    buffers: Arc<Buffers>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// Returns the slot's size.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a slot is never empty")]
    pub fn len(&self) -> u64 {
        u64::try_from(self.buffer.len()).unwrap_or(u64::MAX)
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
        self.buffers.give_back(std::mem::take(&mut self.buffer));
        self.permit = None;
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("bytes", &self.len())
            .finish_non_exhaustive()
    }
}

/// Memory taken from the read-ahead pool, given back when dropped.
#[derive(Debug)]
pub struct ReadAheadPermit {
    _permit: OwnedSemaphorePermit,
}

/// Part-sized buffers that wait for their next use: fresh memory would be paid for page by page.
#[derive(Debug)]
struct Buffers {
    part_bytes: u64,
    idle: Mutex<Vec<Vec<u8>>>,
    idle_max: usize,
}

impl Buffers {
    fn new(part_bytes: u64, upload_units: usize) -> Self {
        let part_units = units(part_bytes).max(1);
        Self {
            part_bytes,
            idle: Mutex::default(),
            idle_max: (upload_units / part_units).div_ceil(2),
        }
    }

    fn take(&self, bytes: u64) -> Vec<u8> {
        if bytes == self.part_bytes
            && let Some(buffer) = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
        {
            return buffer;
        }
        vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)]
    }

    fn give_back(&self, buffer: Vec<u8>) {
        if u64::try_from(buffer.len()) != Ok(self.part_bytes) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(buffer);
        }
    }
}

/// Stops one connection's input while its sessions hold more than they may.
///
/// The socket asks [`Gate::poll_open`] before each read; output and timers go on.
#[derive(Debug, Default)]
pub struct Gate {
    holds: AtomicUsize,
    unslotted: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    /// Closes the gate until the hold is dropped.
    #[must_use]
    pub fn close(self: &Arc<Self>) -> GateHold {
        self.holds.fetch_add(1, Ordering::AcqRel);
        GateHold(Arc::clone(self))
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.holds.load(Ordering::Acquire) > 0
    }

    /// Counts WRITE bytes of this connection that have no slot.
    pub fn add_unslotted(&self, bytes: usize) {
        self.unslotted.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Counts them off.
    pub fn remove_unslotted(&self, bytes: usize) {
        self.unslotted.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Returns how many there are, over all channels.
    #[must_use]
    pub fn unslotted(&self) -> usize {
        self.unslotted.load(Ordering::Acquire)
    }

    /// Is ready while the gate is open; otherwise the task is woken when it opens.
    pub fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_closed() {
            return Poll::Ready(());
        }
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        // It may have opened between the two lines above.
        if self.is_closed() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

/// Keeps a gate closed.
#[derive(Debug)]
pub struct GateHold(Arc<Gate>);

impl Drop for GateHold {
    fn drop(&mut self) {
        if self.0.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waker = self
                .0
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

fn units(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(Semaphore::MAX_PERMITS)
}

/// Returns how many units to take: never more than there are, or it would wait for ever.
fn permits(bytes: u64, all: usize) -> u32 {
    u32::try_from(units(bytes).min(all)).unwrap_or(u32::MAX)
}

fn range(start: u64, length: u64) -> std::ops::Range<usize> {
    let end = start.saturating_add(length);
    usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX)
}

/// What the semaphores count in.
const UNIT_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn budget(upload_mib: u64) -> Arc<Budget> {
        Budget::new(&Limits {
            upload_memory_bytes_max: upload_mib * MIB,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn whoever_waits_first_is_served_first() {
        let budget = budget(16);
        let first = budget.try_slot(8 * MIB).unwrap();
        let second = budget.try_slot(8 * MIB).unwrap();
        assert!(budget.try_slot(8 * MIB).is_none());
        let mut waiting = Box::pin(Arc::clone(&budget).slot(8 * MIB));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(budget.is_awaited());
        drop(first);
        // A newcomer does not overtake the one that waits, not even with a smaller wish.
        assert!(budget.try_slot(MIB).is_none());
        let third = waiting.await;
        assert!(!budget.is_awaited());
        drop((second, third));
        assert_eq!(budget.taken_bytes(), (0, 0));
    }

    #[tokio::test]
    async fn a_slot_comes_back_when_its_payload_is_gone() {
        let budget = budget(8);
        let mut slot = budget.try_slot(8 * MIB).unwrap();
        slot.bytes_mut(0, 3).copy_from_slice(b"abc");
        let payload = slot.into_payload(3);
        assert_eq!(&payload[..], b"abc");
        assert!(budget.try_slot(8 * MIB).is_none());
        drop(payload);
        assert!(budget.try_slot(8 * MIB).is_some());
    }

    #[test]
    fn a_gate_opens_when_its_last_hold_goes() {
        let gate = Arc::new(Gate::default());
        let (one, other) = (gate.close(), gate.close());
        drop(one);
        assert!(gate.is_closed());
        drop(other);
        assert!(!gate.is_closed());
    }
}
