//! The memory of the whole process.
//!
//! - Uploads: slots, which parts fill. Who gets one next is decided by [`line`].
//! - Read-ahead never waits: where its pool is empty a reader fetches only what was asked.
//! - The account of bytes: whatever else sessions hold of clients and stores.
//!
//! A [`Gate`] stops a connection whose bytes have no place.

mod gate;
mod line;
mod pool;
mod slots;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{self, Limits};
use crate::storage::PartLayout;

pub use self::gate::{Gate, GateHold};
pub use self::line::Purpose;
use self::line::Shares;
pub use self::pool::{Charge, Pool, Share};
use self::slots::Buffers;
pub use self::slots::Slot;

/// The process's part slots, read-ahead pool and account of bytes.
#[derive(Debug)]
pub struct Budget {
    uploads: Arc<Pool>,
    buffers: Arc<Buffers>,
    read_ahead: Arc<Semaphore>,
    read_ahead_units: usize,
    account: Arc<Pool>,
    layout: PartLayout,
}

/// What one user has of the process's memory, over all their sessions.
#[derive(Debug, Clone)]
pub struct UserMemory {
    pub uploads: Share,
    pub account: Share,
}

impl Budget {
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let layout = PartLayout::new(limits.part_bytes, limits.upload_memory_bytes_max);
        let part_bytes = layout
            .part_at(0)
            .map_or(limits::PART_BYTES_MIN, |part| part.bytes);
        // Less than one part could never be taken, and its upload would wait for ever.
        let all = limits.upload_memory_bytes_max.max(part_bytes);
        // One part can always be filled to its end, however many are begun.
        let reserve = layout
            .largest_bytes()
            .min(all.saturating_sub(limits::SLOT_STEPS_BYTES[0]));
        let share = (all / 3).max(layout.largest_bytes());
        let read_ahead_units = units(limits.download_memory_bytes_max);
        Arc::new(Self {
            uploads: Pool::new(all, reserve, Shares::WhileOthersWait(share)),
            buffers: Buffers::new(part_bytes, all),
            read_ahead: Arc::new(Semaphore::new(read_ahead_units)),
            read_ahead_units,
            account: Pool::new(limits.session_memory_bytes_max, 0, Shares::HalfOfTheRest),
            layout,
        })
    }

    /// Returns the schedule of part sizes that this memory can carry.
    #[must_use]
    pub const fn layout(&self) -> PartLayout {
        self.layout
    }

    /// Returns what one more user may take of.
    #[must_use]
    pub fn user(&self) -> UserMemory {
        UserMemory {
            uploads: self.uploads.share(),
            account: self.account.share(),
        }
    }

    /// Returns the memory of parts.
    #[must_use]
    pub const fn uploads(&self) -> &Arc<Pool> {
        &self.uploads
    }

    /// Returns the account of bytes: what clients sent and stores brought, and what is on its way
    /// to clients, wherever it has no slot and no read-ahead of its own.
    #[must_use]
    pub const fn account(&self) -> &Arc<Pool> {
        &self.account
    }

    /// Makes a slot of memory of parts.
    #[must_use]
    pub fn slot(&self, charge: Charge) -> Slot {
        self.buffers.slot(charge)
    }

    /// Returns how many WRITE bytes a connection may hold without a slot.
    #[must_use]
    pub fn unslotted_bytes_max(&self) -> usize {
        let crowded = self.uploads.free_bytes() < self.uploads.limit_bytes() / 2;
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
        let units = self
            .read_ahead_units
            .saturating_sub(self.read_ahead.available_permits());
        (self.uploads.taken_bytes(), bytes_of(units))
    }

    /// Returns the bytes that there are for uploads and for read-ahead.
    #[must_use]
    pub fn limit_bytes(&self) -> (u64, u64) {
        (self.uploads.limit_bytes(), bytes_of(self.read_ahead_units))
    }
}

/// Memory taken from the read-ahead pool, given back when dropped.
#[derive(Debug)]
pub struct ReadAheadPermit {
    _permit: OwnedSemaphorePermit,
}

fn units(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(Semaphore::MAX_PERMITS)
}

fn bytes_of(units: usize) -> u64 {
    let units = u64::try_from(units).unwrap_or(u64::MAX);
    units.saturating_mul(UNIT_BYTES)
}

/// Returns how many units to take: never more than there are, or it would wait for ever.
fn permits(bytes: u64, all: usize) -> u32 {
    u32::try_from(units(bytes).min(all)).unwrap_or(u32::MAX)
}

/// What the read-ahead pool counts in.
const UNIT_BYTES: u64 = 64 * 1024;
