//! A pool of bytes for the whole process: permits that give themselves back, and a line of those
//! who wait.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::line::{Holder, Line, Purpose, Shares, Waiter};
use crate::clock::{Clock as _, SystemClock};
use crate::limits::MEMORY_WAITERS_PER_USER_MAX;

/// Bytes that a process has for one kind of thing.
#[derive(Debug)]
pub struct Pool {
    /// What the bytes are for, in the log.
    name: &'static str,
    state: Mutex<State>,
    next_holder: AtomicU64,
    refused: AtomicU64,
    promised: AtomicU64,
    /// Those who wait for a place in the line.
    outside: AtomicUsize,
    /// For what cannot wait.
    spare: Option<Arc<Self>>,
}

#[derive(Debug)]
struct State {
    line: Line,
    /// When bytes came back last, or the line was empty.
    moved_at: Instant,
    waiting: HashMap<Waiter, oneshot::Sender<()>>,
}

/// What one user, or one connection without a user, has of a pool.
#[derive(Debug, Clone)]
pub struct Share {
    pool: Arc<Pool>,
    holder: Holder,
    turns: Arc<Turns>,
}

/// The places in the line that one user may have: everybody who asks looks at all who wait. Those
/// who finish have their own, or they would wait for those who begin, and these for them.
#[derive(Debug)]
struct Turns {
    begin: Semaphore,
    finish: Semaphore,
}

impl Pool {
    #[must_use]
    pub(super) fn new(name: &'static str, all: u64, reserve: u64, shares: Shares) -> Arc<Self> {
        Arc::new(Self::with(name, all, reserve, shares, None))
    }

    /// Begins with more for what cannot wait, of which each user has half of the rest.
    #[must_use]
    pub(super) fn with_spare(
        name: &'static str,
        all: u64,
        shares: Shares,
        spare: u64,
    ) -> Arc<Self> {
        let spare = Self::new(name, spare, 0, Shares::HalfOfTheRest);
        Arc::new(Self::with(name, all, 0, shares, Some(spare)))
    }

    fn with(
        name: &'static str,
        all: u64,
        reserve: u64,
        shares: Shares,
        spare: Option<Arc<Self>>,
    ) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                line: Line::new(all, reserve, shares),
                moved_at: SystemClock.now(),
                waiting: HashMap::new(),
            }),
            next_holder: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            outside: AtomicUsize::new(0),
            spare,
        }
    }

    /// Returns the share of one more user.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        Share {
            pool: Arc::clone(self),
            holder: Holder(self.next_holder.fetch_add(1, Ordering::Relaxed)),
            turns: Arc::new(Turns {
                begin: Semaphore::new(MEMORY_WAITERS_PER_USER_MAX),
                finish: Semaphore::new(MEMORY_WAITERS_PER_USER_MAX),
            }),
        }
    }

    /// Returns how many bytes there are.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.state().line.all()
    }

    /// Returns how many of them there are for what begins.
    #[must_use]
    pub fn limit_bytes_to_begin(&self) -> u64 {
        self.state().line.all_to_begin()
    }

    /// Returns how many are free.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.state().line.free()
    }

    /// Says whether less than this part is free: 2 for a half.
    #[must_use]
    pub fn has_less_than_a(&self, part: u64) -> bool {
        let state = self.state();
        state.line.free() < state.line.all().checked_div(part).unwrap_or(0)
    }

    /// Says whether nobody begins anything beyond their share: somebody had to wait for long.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.state().line.is_strict(SystemClock.now())
    }

    /// Returns how many are taken.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        let state = self.state();
        state.line.all().saturating_sub(state.line.free())
    }

    /// Returns how many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let outside = self.outside.load(Ordering::Relaxed);
        self.state().line.waiting().saturating_add(outside)
    }

    /// Returns how often somebody found none.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns what clients may send before somebody has to find memory for it.
    #[must_use]
    pub fn promised_bytes(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// Counts a promise in place of an earlier one.
    pub fn promise(&self, before: u64, now: u64) {
        if let Some(more) = now.checked_sub(before) {
            self.promised.fetch_add(more, Ordering::Relaxed);
        } else {
            let less = before.saturating_sub(now);
            self.promised.fetch_sub(less, Ordering::Relaxed);
        }
    }

    /// Returns for how long somebody has waited and nobody gave anything back.
    #[must_use]
    pub fn quiet_for(&self, now: Instant) -> Duration {
        let state = self.state();
        if state.line.waiting() == 0 {
            return Duration::ZERO;
        }
        now.saturating_duration_since(state.moved_at)
    }

    fn give_back(&self, holder: Holder, bytes: u64) {
        let now = SystemClock.now();
        let mut state = self.state();
        state.moved_at = now;
        let served = state.line.give_back(holder, bytes, now);
        state.tell(served);
        let became_strict = state.line.became_strict();
        drop(state);
        self.note_strict(became_strict);
    }

    /// Once in ten minutes at most, for that is how long it lasts.
    fn note_strict(&self, became_strict: bool) {
        if became_strict {
            let pool = self.name;
            tracing::warn!(
                pool,
                "a user kept others waiting: for ten minutes no user may start anything beyond a third of the pool"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, served: Vec<Waiter>) {
        for waiter in served {
            // One that waits no more withdraws before it forgets its end of the channel.
            if let Some(granted) = self.waiting.remove(&waiter) {
                granted.send(()).unwrap_or_default();
            }
        }
    }

    fn withdraw(&mut self, waiter: Waiter) {
        self.waiting.remove(&waiter);
        let served = self.line.withdraw(waiter, SystemClock.now());
        self.tell(served);
    }
}

impl Share {
    /// Takes bytes if there are some.
    #[must_use]
    pub fn try_take(&self, bytes: u64) -> Option<Charge> {
        self.try_take_for(bytes, Purpose::Finish)
    }

    /// Takes bytes for what cannot wait, where the pool has some for that.
    #[must_use]
    pub fn try_take_spare(&self, bytes: u64) -> Option<Charge> {
        let spare = Self {
            pool: Arc::clone(self.pool.spare.as_ref()?),
            holder: self.holder,
            turns: Arc::clone(&self.turns),
        };
        spare.try_take(bytes)
    }

    /// Waits for bytes.
    pub async fn take(&self, bytes: u64) -> Charge {
        self.take_for(bytes, Purpose::Finish).await
    }

    /// Takes bytes for a purpose, if there are some.
    #[must_use]
    pub fn try_take_for(&self, bytes: u64, purpose: Purpose) -> Option<Charge> {
        let now = SystemClock.now();
        let mut state = self.pool.state();
        let granted = state.line.try_ask(self.holder, bytes, purpose, now);
        drop(state);
        if granted {
            return Some(self.charge(bytes));
        }
        self.pool.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Waits for bytes for a purpose.
    pub async fn take_for(&self, bytes: u64, purpose: Purpose) -> Charge {
        let _turn = self.turn(purpose).await;
        let (waiting, became_strict) = {
            let mut state = self.pool.state();
            let (waiter, granted) = self.ask(&mut state, bytes, purpose);
            let became_strict = state.line.became_strict();
            let waiting = (!granted).then(|| {
                let (sender, heard) = oneshot::channel();
                state.waiting.insert(waiter, sender);
                Waiting {
                    share: self,
                    waiter,
                    bytes,
                    heard,
                    done: false,
                }
            });
            (waiting, became_strict)
        };
        self.pool.note_strict(became_strict);
        if let Some(waiting) = waiting {
            self.pool.refused.fetch_add(1, Ordering::Relaxed);
            waiting.wait().await;
        }
        self.charge(bytes)
    }

    /// Waits until not too many of the user's wishes are in the line.
    async fn turn(&self, purpose: Purpose) -> Option<SemaphorePermit<'_>> {
        let turns = match purpose {
            Purpose::Begin => &self.turns.begin,
            Purpose::Finish => &self.turns.finish,
        };
        if let Ok(turn) = turns.try_acquire() {
            return Some(turn);
        }
        let _outside = Outside::new(&self.pool);
        // Nobody closes it.
        turns.acquire().await.ok()
    }

    fn ask(&self, state: &mut State, bytes: u64, purpose: Purpose) -> (Waiter, bool) {
        let now = SystemClock.now();
        if state.line.waiting() == 0 {
            state.moved_at = now;
        }
        let (waiter, mut served) = state.line.ask(self.holder, bytes, purpose, now);
        let before = served.len();
        served.retain(|one| *one != waiter);
        let granted = served.len() < before;
        state.tell(served);
        (waiter, granted)
    }

    /// Returns how many bytes the user has.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.pool.state().line.taken(self.holder)
    }

    /// Says whether the user has more than their share while others wait.
    #[must_use]
    pub fn has_too_much(&self) -> bool {
        self.pool.state().line.has_too_much(self.holder)
    }

    /// Returns the pool it is a share of.
    #[must_use]
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn charge(&self, bytes: u64) -> Charge {
        Charge {
            // More than there is was not given.
            bytes: bytes.min(self.pool.limit_bytes()),
            share: self.clone(),
        }
    }
}

/// One that has no place in the line yet.
struct Outside<'a>(&'a Pool);

impl<'a> Outside<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.outside.fetch_add(1, Ordering::Relaxed);
        Self(pool)
    }
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        self.0.outside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One that waits, and withdraws when it is dropped.
struct Waiting<'a> {
    share: &'a Share,
    waiter: Waiter,
    bytes: u64,
    heard: oneshot::Receiver<()>,
    done: bool,
}

impl Waiting<'_> {
    async fn wait(mut self) {
        // The pool never drops its end of a waiter's channel.
        drop((&mut self.heard).await);
        self.done = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.share.pool.state().withdraw(self.waiter);
        if self.heard.try_recv().is_ok() {
            // It was served between its last look and now.
            drop(self.share.charge(self.bytes));
        }
    }
}

/// Bytes of a pool, given back when it is dropped.
pub struct Charge {
    bytes: u64,
    share: Share,
}

impl Charge {
    /// Returns how many bytes it stands for.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives some of them back, down to `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        if let Some(more) = self.bytes.checked_sub(bytes) {
            self.bytes = bytes;
            self.share.pool.give_back(self.share.holder, more);
        }
    }

    /// Parts with some of its bytes, as far as it has them.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        Self {
            bytes,
            share: self.share.clone(),
        }
    }

    /// Takes over the bytes of another one of the same user.
    pub fn join(&mut self, mut other: Self) {
        debug_assert_eq!(self.share.holder, other.share.holder, "of one user");
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
    }

    /// Adds itself to what is held, if anything is.
    pub fn join_into(self, held: &mut Option<Self>) {
        match held {
            Some(held) => held.join(self),
            none => *none = Some(self),
        }
    }

    /// Ties itself to bytes: it is given back when their last clone goes.
    #[must_use]
    pub fn with(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Charged {
            bytes,
            _charge: self,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.share.pool.give_back(self.share.holder, self.bytes);
        }
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn bytes_come_back_with_the_last_clone_of_what_they_stand_for() {
        let pool = Pool::new("test", 100, 0, Shares::WhileOthersWait(33));
        let (ann, bob) = (pool.share(), pool.share());
        let kept = ann.try_take(80).unwrap().with(Bytes::from_static(b"abc"));
        let slice = kept.slice(1..);
        drop(kept);
        assert!(bob.try_take(40).is_none());
        let mut waiting = Box::pin(bob.take(40));
        assert!(poll!(&mut waiting).is_pending());
        assert!(ann.has_too_much() && !bob.has_too_much());
        drop(slice);
        let mut charge = waiting.await;
        assert_eq!((charge.bytes(), pool.taken_bytes()), (40, 40));
        charge.shrink_to(10);
        assert_eq!(pool.free_bytes(), 90);
        charge.join(bob.try_take(5).unwrap());
        assert_eq!((charge.bytes(), bob.taken_bytes()), (15, 15));
        let (part, beyond) = (charge.split(4), charge.split(20));
        assert_eq!((part.bytes(), beyond.bytes(), charge.bytes()), (4, 11, 0));
        drop(beyond);
        assert_eq!(bob.taken_bytes(), 4);
        drop((part, charge));
        assert_eq!((pool.taken_bytes(), pool.refused()), (0, 2));
    }

    #[tokio::test]
    async fn a_user_has_only_so_many_places_in_the_line_and_everybody_is_served() {
        const WISHES: usize = 3 * MEMORY_WAITERS_PER_USER_MAX;
        let pool = Pool::new("test", 100, 1, Shares::WhileOthersWait(33));
        let (ann, bob) = (pool.share(), pool.share());
        let all = bob.try_take(100).unwrap();
        let mut begin: Vec<_> = (0..WISHES)
            .map(|_| Box::pin(ann.take_for(2, Purpose::Begin)))
            .collect();
        for wish in &mut begin {
            assert!(poll!(wish).is_pending());
        }
        // What finishes something does not wait behind them for its place.
        let mut finish = Box::pin(ann.take_for(1, Purpose::Finish));
        assert!(poll!(&mut finish).is_pending());
        let in_line = pool.state().line.waiting();
        assert_eq!(in_line, MEMORY_WAITERS_PER_USER_MAX + 1);
        assert_eq!(pool.waiting(), WISHES + 1);
        begin.truncate(2 * MEMORY_WAITERS_PER_USER_MAX);
        assert_eq!(pool.waiting(), 2 * MEMORY_WAITERS_PER_USER_MAX + 1);
        drop(all);
        drop(finish.await);
        for wish in begin {
            assert_eq!(wish.await.bytes(), 2);
        }
        assert_eq!((pool.taken_bytes(), pool.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn whoever_waits_no_more_leaves_nothing_behind() {
        let pool = Pool::new("test", 100, 0, Shares::WhileOthersWait(33));
        let (ann, bob) = (pool.share(), pool.share());
        let all = ann.try_take(100).unwrap();
        let mut given_up = Box::pin(bob.take(50));
        let mut served_unheard = Box::pin(bob.take(60));
        assert!(poll!(&mut given_up).is_pending());
        assert!(poll!(&mut served_unheard).is_pending());
        drop(given_up);
        drop(all);
        assert_eq!(pool.taken_bytes(), 60);
        drop(served_unheard);
        assert_eq!((pool.taken_bytes(), pool.waiting()), (0, 0));
    }
}
