//! The memory of the whole process: part slots for uploads, the read-ahead pool, and the gate that
//! stops a connection whose bytes have no place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// The process's part slots and read-ahead pool.
#[derive(Debug, Default)]
pub struct Budget {}

/// Stops one connection's input while it holds too many bytes without a slot.
///
/// The sessions of a connection close and open it; its socket asks [`Gate::poll_open`] before each
/// read.
#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    /// Opens or closes the gate; the reader is woken when it opens.
    pub fn set_closed(&self, closed: bool) {
        let was = self.closed.swap(closed, Ordering::AcqRel);
        if was && !closed {
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
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
