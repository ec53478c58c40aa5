//! The gate that stops a connection whose bytes have no place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Stops one connection's input while its sessions hold more than they may.
///
/// The socket asks [`Gate::poll_open`] before each read; output and timers go on.
#[derive(Debug, Default)]
pub struct Gate {
    holds: AtomicUsize,
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

#[cfg(test)]
mod tests {
    use super::*;

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
