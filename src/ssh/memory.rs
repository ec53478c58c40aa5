//! Memory of one connection beyond what it always has, lent by the process's account of bytes.
//!
//! A connection that moves bytes works in larger pieces while the account lends it the memory for
//! them, and gives it back after a second without any; where none is lent it goes on in small ones.
//! What clients sent and no session took has to have its place: where the account has none, the
//! connection's gate is closed until sessions have taken most of it. Output that waits for the
//! client's word is the one exception: that word may come behind what nobody takes, so for all
//! connections together a little more is read.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::budget::{Charge, Gate, GateHold, Share};
use crate::limits;

/// What one connection has of the account.
#[derive(Default)]
pub(super) struct ConnectionMemory {
    /// The user's; absent before login.
    share: OnceLock<Share>,
    /// Says whether `loan` is there, without its lock.
    lent: AtomicBool,
    loan: Mutex<Option<Charge>>,
    queue: Mutex<Queue>,
    /// What its client may have under way: see [`Self::promise`].
    promised: AtomicU64,
    /// Channels whose output waits for the client's word.
    stuck: AtomicUsize,
}

/// What stands for the messages that no session has taken yet.
#[derive(Default)]
struct Queue {
    charge: Option<Charge>,
    /// What the account does not have, for messages that have to be read all the same.
    spare: Option<Charge>,
    hold: Option<GateHold>,
}

impl ConnectionMemory {
    /// Lets the connection borrow what its user may.
    pub(super) fn belongs_to(&self, share: Share) {
        self.share.get_or_init(|| share);
    }

    /// Says whether larger pieces are paid for, and asks the account if they are not.
    pub(super) fn borrow(&self) -> bool {
        if self.lent.load(Ordering::Acquire) {
            return true;
        }
        let Some(share) = self.share.get() else {
            return false;
        };
        let mut loan = lock(&self.loan);
        // A loan is a convenience: what is scarce is for those who cannot do without.
        if loan.is_none() && !share.pool().has_less_than_a(4) {
            *loan = share.try_take(limits::CONNECTION_LOAN_BYTES);
        }
        self.lent.store(loan.is_some(), Ordering::Release);
        loan.is_some()
    }

    /// Says whether something is lent that may be given back.
    pub(super) fn has_loan(&self) -> bool {
        self.lent.load(Ordering::Acquire)
    }

    /// Gives back what was lent.
    pub(super) fn give_back(&self) {
        let mut loan = lock(&self.loan);
        self.lent.store(false, Ordering::Release);
        *loan = None;
    }

    /// Counts what the connection's channels may have under way, which others see.
    pub(super) fn promise(&self, bytes: u64) {
        if let Some(share) = self.share.get() {
            let before = self.promised.swap(bytes, Ordering::Relaxed);
            share.pool().promise(before, bytes);
        }
    }

    /// Returns what the connection's channels may have under way: half of what the account has
    /// beside what others may have, so that connections come to equal windows.
    pub(super) fn window_bytes(&self) -> u32 {
        let free = self.share.get().map_or(0, |share| {
            let pool = share.pool();
            let own = self.promised.load(Ordering::Relaxed);
            let others = pool.promised_bytes().saturating_sub(own);
            pool.free_bytes().saturating_sub(others)
        });
        u32::try_from(free / 2)
            .unwrap_or(u32::MAX)
            .max(limits::CONNECTION_WINDOW_BYTES_MIN)
    }

    /// Has a place found for messages of so many bytes that wait for sessions, or closes the gate.
    pub(super) fn queued(&self, bytes: u64, gate: &Arc<Gate>) {
        let mut queue = lock(&self.queue);
        if bytes <= limits::CONNECTION_QUEUE_BYTES_KEPT {
            *queue = Queue::default();
            return;
        }
        let placed = [&queue.charge, &queue.spare].into_iter().flatten();
        let placed = placed.fold(0, |sum: u64, charge| sum.saturating_add(charge.bytes()));
        let wanted = bytes.saturating_sub(limits::CONNECTION_QUEUE_BYTES_KEPT);
        if wanted <= placed || queue.hold.is_some() {
            return;
        }
        let more = wanted
            .saturating_sub(placed)
            .max(limits::CONNECTION_QUEUE_STEP_BYTES);
        let share = self.share.get();
        if let Some(more) = share.and_then(|share| share.try_take(more)) {
            return more.join_into(&mut queue.charge);
        }
        // The client's window adjustments come behind what nobody has taken yet.
        let is_stuck = self.stuck.load(Ordering::Acquire) > 0;
        match share
            .filter(|_| is_stuck)
            .and_then(|share| share.try_take_spare(more))
        {
            Some(more) => more.join_into(&mut queue.spare),
            None => queue.hold = Some(gate.close()),
        }
    }

    /// Notes that output waits for the client's word: the gate stays open for it.
    pub(super) fn output_stuck(&self) -> OutputStuck<'_> {
        self.stuck.fetch_add(1, Ordering::AcqRel);
        lock(&self.queue).hold = None;
        OutputStuck(self)
    }
}

/// Output that waits, as long as it is there.
pub(super) struct OutputStuck<'a>(&'a ConnectionMemory);

impl Drop for OutputStuck<'_> {
    fn drop(&mut self) {
        self.0.stuck.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for ConnectionMemory {
    fn drop(&mut self) {
        self.promise(0);
    }
}

impl fmt::Debug for ConnectionMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionMemory")
            .field("lent", &self.lent)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::limits::{
        CONNECTION_LOAN_BYTES as LOAN, CONNECTION_QUEUE_BYTES_KEPT as KEPT,
        CONNECTION_QUEUE_STEP_BYTES as STEP, Limits,
    };

    fn account(bytes: u64) -> Arc<Budget> {
        Budget::new(&Limits {
            session_memory_bytes_max: bytes,
            ..Limits::default()
        })
    }

    #[test]
    fn larger_pieces_are_lent_while_there_is_memory() {
        let budget = account(2 * LOAN);
        let (one, other) = (ConnectionMemory::default(), ConnectionMemory::default());
        assert!(!one.borrow(), "nobody is logged in");
        one.belongs_to(budget.account().share());
        other.belongs_to(budget.account().share());
        assert!(one.borrow() && one.borrow());
        assert_eq!(budget.account().taken_bytes(), LOAN);
        // Half of the rest is less than it takes.
        assert!(!other.borrow());
        one.give_back();
        assert!(!one.has_loan() && other.borrow());
        drop(other);
        assert_eq!(budget.account().taken_bytes(), 0);
    }

    #[test]
    fn windows_are_as_large_as_half_of_what_is_free() {
        const MIB: u64 = 1024 * 1024;
        let budget = account(32 * MIB);
        let memory = ConnectionMemory::default();
        let least = limits::CONNECTION_WINDOW_BYTES_MIN;
        assert_eq!(memory.window_bytes(), least, "nobody is logged in");
        memory.belongs_to(budget.account().share());
        assert_eq!(u64::from(memory.window_bytes()), 16 * MIB);
        let other = budget.account().share().try_take(16 * MIB);
        assert_eq!(u64::from(memory.window_bytes()), 8 * MIB);
        let another = budget.account().share().try_take(8 * MIB);
        assert!(other.is_some() && another.is_some());
        assert_eq!(memory.window_bytes(), least);
    }

    #[test]
    fn connections_come_to_equal_windows() {
        const MIB: u64 = 1024 * 1024;
        let budget = account(64 * MIB);
        let several: Vec<_> = (0..7).map(|_| ConnectionMemory::default()).collect();
        for memory in &several {
            memory.belongs_to(budget.account().share());
        }
        for _ in 0..50 {
            for memory in &several {
                memory.promise(memory.window_bytes().into());
            }
        }
        for memory in &several {
            let window = u64::from(memory.window_bytes());
            assert!((7 * MIB..=9 * MIB).contains(&window), "{window}");
        }
        drop(several);
        assert_eq!(budget.account().promised_bytes(), 0);
    }

    #[test]
    fn what_waits_without_a_place_closes_the_gate_until_it_is_taken() {
        let budget = account(4 * STEP);
        let (memory, gate) = (ConnectionMemory::default(), Arc::<Gate>::default());
        memory.belongs_to(budget.account().share());
        memory.queued(KEPT, &gate);
        assert_eq!(budget.account().taken_bytes(), 0);
        memory.queued(KEPT + 1, &gate);
        assert_eq!(budget.account().taken_bytes(), STEP);
        memory.queued(KEPT + 2 * STEP, &gate);
        assert_eq!(budget.account().taken_bytes(), 2 * STEP);
        assert!(!gate.is_closed());
        memory.queued(KEPT + 4 * STEP, &gate);
        assert!(gate.is_closed());
        memory.queued(KEPT + 1, &gate);
        assert!(gate.is_closed(), "most of it has to be taken");
        memory.queued(KEPT, &gate);
        assert!(!gate.is_closed());
        assert_eq!(budget.account().taken_bytes(), 0);
    }

    #[test]
    fn a_word_that_output_waits_for_is_read_within_a_bound_of_the_process() {
        const CONNECTIONS: usize = 200;
        const WINDOW: u64 = limits::CONNECTION_WINDOW_BYTES_MIN as u64;
        let budget = account(STEP);
        let mut read = 0;
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| (ConnectionMemory::default(), Arc::<Gate>::default()))
            .collect();
        let mut stuck = Vec::new();
        for (at, (memory, gate)) in connections.iter().enumerate() {
            memory.belongs_to(budget.account().share());
            stuck.push(memory.output_stuck());
            let mut waiting = KEPT;
            while !gate.is_closed() && waiting < WINDOW {
                waiting += STEP / 4;
                memory.queued(waiting, gate);
            }
            // There is half of the rest for each.
            assert!(at > 3 || waiting > KEPT + 2 * STEP, "{waiting}");
            read += waiting - KEPT;
        }
        let unplaced = u64::try_from(CONNECTIONS).unwrap() * STEP / 4;
        assert!(read <= limits::STUCK_QUEUE_BYTES_MAX + unplaced, "{read}");
        for (memory, gate) in &connections {
            memory.queued(KEPT, gate);
            assert!(!gate.is_closed());
        }
        let (memory, gate) = &connections[CONNECTIONS - 1];
        memory.queued(KEPT + 1, gate);
        assert!(!gate.is_closed(), "all of it came back");
    }
}
