//! The memory of the whole process.
//!
//! - Uploads: slots, which parts fill. Who gets one next is decided by [`line`].
//! - Read-ahead does without where its pool is empty; only what a READ waits for waits for memory.
//! - The account of bytes: whatever else sessions hold of clients and stores.
//! - Ranges that the store copies by itself are counted in the same way, though they are no bytes.
//!
//! A [`Gate`] stops a connection whose bytes have no place.

mod gate;
mod line;
mod pool;
mod slots;

use std::sync::Arc;

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
    read_ahead: Arc<Pool>,
    account: Arc<Pool>,
    range_copies: Arc<Pool>,
    layout: PartLayout,
}

/// Makes a pool of turns in place of bytes: while others wait, a user has a third of them.
#[must_use]
pub fn turns(name: &'static str, all: usize) -> Arc<Pool> {
    let all = u64::try_from(all).unwrap_or(u64::MAX);
    Pool::new(name, all, 0, Shares::WhileOthersWait((all / 3).max(1)))
}

/// Makes a pool of places that a user may keep for long: each has half of what others leave.
#[must_use]
pub fn places(name: &'static str, all: usize) -> Arc<Pool> {
    let all = u64::try_from(all).unwrap_or(u64::MAX);
    Pool::new(name, all, 0, Shares::HalfOfTheRest)
}

/// What one user has of the process's memory, over all their sessions.
#[derive(Debug, Clone)]
pub struct UserMemory {
    pub uploads: Share,
    pub read_ahead: Share,
    pub account: Share,
    /// Ranges that the store copies at the moment, in place of bytes.
    pub range_copies: Share,
}

impl Budget {
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let layout = PartLayout::of(limits);
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
        let ahead = limits.download_memory_bytes_max;
        let read_ahead = Pool::new("read-ahead", ahead, 0, Shares::WhileOthersWait(ahead / 3));
        Arc::new(Self {
            uploads: Pool::new("uploads", all, reserve, Shares::WhileOthersWait(share)),
            buffers: Buffers::new(part_bytes, all),
            read_ahead,
            account: Pool::with_spare(
                "sessions",
                limits.session_memory_bytes_max,
                Shares::HalfOfTheRest,
                limits::STUCK_QUEUE_BYTES_MAX,
            ),
            range_copies: turns("range-copies", limits::RANGE_COPIES_MAX),
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
            read_ahead: self.read_ahead.share(),
            account: self.account.share(),
            range_copies: self.range_copies.share(),
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

    /// Returns the turns of ranges that the store copies.
    #[must_use]
    pub const fn range_copies(&self) -> &Arc<Pool> {
        &self.range_copies
    }

    /// Makes a slot of memory of parts.
    #[must_use]
    pub fn slot(&self, charge: Charge) -> Slot {
        self.buffers.slot(charge)
    }

    /// Lets go of buffers of parts that nobody used since this was called last.
    pub fn let_idle_go(&self) {
        self.buffers.let_idle_go();
    }

    /// Returns how much read-ahead is free.
    #[must_use]
    pub fn read_ahead_free_bytes(&self) -> u64 {
        self.read_ahead.free_bytes()
    }

    /// Says whether more than a quarter of the read-ahead pool is taken: what idle readers have
    /// makes the windows of others smaller.
    #[must_use]
    pub fn read_ahead_is_crowded(&self) -> bool {
        let taken = self.read_ahead.taken_bytes();
        taken > self.read_ahead.limit_bytes() / 4
    }

    /// Returns the bytes taken for uploads and for read-ahead.
    #[must_use]
    pub fn taken_bytes(&self) -> (u64, u64) {
        (self.uploads.taken_bytes(), self.read_ahead.taken_bytes())
    }

    /// Returns the bytes that there are for uploads and for read-ahead.
    #[must_use]
    pub fn limit_bytes(&self) -> (u64, u64) {
        (self.uploads.limit_bytes(), self.read_ahead.limit_bytes())
    }
}
