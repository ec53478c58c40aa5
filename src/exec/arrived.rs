//! What a client sends to a command, taken from its channel whatever the command does just then.
//!
//! The SSH library queues a few messages for each channel, adjustments of the window among them,
//! and waits for room without serving the connection's other channels. So the queue is emptied at
//! all times, also while a command sends or waits for the store. What is not asked for yet is kept
//! here: as much as the channel's window allows, since the client gets credit for bytes only when
//! the command takes them. What nobody will ask for is thrown away without credit, so that the
//! client sends no more than its first window.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::command::Input;
use crate::budget::Gate;
use crate::limits::EXEC_INPUT_BYTES_MAX;
use crate::session::{Inbound, Withdrawal};

/// What came and was not asked for yet.
#[derive(Debug)]
pub(super) struct Arrived {
    input: Input,
    state: Mutex<State>,
    /// Something came, or nothing more will.
    came: Notify,
    /// The command took something, or began or ended to send.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    /// Short ones, copied: each would keep a packet of its own.
    tail: BytesMut,
    kept: usize,
    /// Bytes that the command took, and for which the client has no credit yet.
    used: usize,
    ended: bool,
    /// The command waits for the client to take something.
    sending: bool,
    verdict: Option<Verdict>,
}

/// A byte that says whether a file is whole.
#[derive(Debug)]
struct Verdict {
    /// How many bytes come before it that are not here yet.
    behind: u64,
    withdrawal: Withdrawal,
}

impl Arrived {
    pub(super) fn new(input: Input) -> Self {
        Self {
            input,
            state: Mutex::default(),
            came: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// Waits for the next bytes; `None`: the client sends no more.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.pop() {
                self.changed.notify_one();
                return Some(bytes);
            }
            if self.has_ended() {
                return None;
            }
            self.came.notified().await;
        }
    }

    fn pop(&self) -> Option<Bytes> {
        self.state().pop()
    }

    fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Says whether the command sends: meanwhile the client's adjustments of the window are read,
    /// however much else comes.
    pub(super) fn sends(&self, sending: bool) {
        self.state().sending = sending;
        self.changed.notify_one();
    }

    /// Withdraws a file as soon as the byte behind the next `before` ones arrives, unless it says
    /// that the file is whole.
    pub(super) fn watch_verdict(&self, before: u64, withdrawal: Withdrawal) {
        let mut state = self.state();
        let kept = u64::try_from(state.kept).unwrap_or(u64::MAX);
        let Some(behind) = before.checked_sub(kept) else {
            let before = usize::try_from(before).unwrap_or(usize::MAX);
            if state.byte(before) != Some(0) {
                withdrawal.withdraw();
            }
            return;
        };
        state.verdict = Some(Verdict { behind, withdrawal });
    }

    fn push(&self, bytes: Bytes) {
        let mut state = self.state();
        state.judge(&bytes);
        state.push(bytes);
        drop(state);
        self.came.notify_one();
    }

    fn end(&self) {
        self.state().ended = true;
        self.came.notify_one();
    }

    /// Says whether the connection has to wait until the command took some of what is here.
    fn is_crowded(&self) -> bool {
        let state = self.state();
        self.input == Input::Data && state.kept >= EXEC_INPUT_BYTES_MAX && !state.sending
    }

    fn take_used(&self) -> usize {
        std::mem::take(&mut self.state().used)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, bytes: Bytes) {
        self.kept = self.kept.saturating_add(bytes.len());
        if bytes.len() >= COPIED_BYTES_MAX {
            self.flush();
            self.pieces.push_back(bytes);
            return;
        }
        self.tail.extend_from_slice(&bytes);
        if self.tail.len() >= COPIED_BYTES_MAX {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.pieces
                .push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.flush();
        }
        let bytes = self.pieces.pop_front()?;
        self.kept = self.kept.saturating_sub(bytes.len());
        self.used = self.used.saturating_add(bytes.len());
        Some(bytes)
    }

    /// Returns the byte behind so many others.
    fn byte(&self, before: usize) -> Option<u8> {
        let pieces = self.pieces.iter().map(|piece| &**piece);
        let bytes = pieces.chain([&*self.tail]).flatten();
        bytes.copied().nth(before)
    }

    /// Looks whether what comes has the byte that is waited for.
    fn judge(&mut self, bytes: &[u8]) {
        let Some(Verdict { behind, withdrawal }) = &mut self.verdict else {
            return;
        };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if let Some(left) = behind.checked_sub(length) {
            *behind = left;
            return;
        }
        let at = usize::try_from(*behind).unwrap_or(usize::MAX);
        if bytes.get(at).is_some_and(|byte| *byte != 0) {
            withdrawal.withdraw();
        }
        self.verdict = None;
    }
}

/// Empties a channel until it is dropped, and closes the connection's gate while a command does not
/// take what came.
pub(super) async fn take<I: Inbound>(
    arrived: Arc<Arrived>,
    mut inbound: I,
    gate: Arc<Gate>,
) -> Infallible {
    let mut hold = None;
    loop {
        if hold.is_none() && arrived.is_crowded() {
            // The command may be about to take it.
            tokio::task::yield_now().await;
        }
        hold = match (arrived.is_crowded(), hold) {
            (true, None) => Some(gate.close()),
            (true, hold) => hold,
            (false, _) => None,
        };
        tokio::select! {
            biased;
            () = arrived.changed.notified() => match arrived.take_used() {
                0 => {}
                used => inbound.used(used),
            },
            bytes = inbound.early() => match bytes {
                Some(bytes) if arrived.input == Input::Unwanted => inbound.dropped(bytes.len()),
                Some(bytes) => arrived.push(bytes),
                None => break,
            },
        }
    }
    drop(hold);
    arrived.end();
    inbound.rest().await;
    std::future::pending().await
}

/// Shorter pieces are copied.
const COPIED_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::HandleId;

    #[test]
    fn a_verdict_is_seen_wherever_it_comes() {
        for (kept, before, later, withdrawn) in [
            (&b"abc\x01"[..], 3, &b""[..], true),
            (b"abc\0", 3, b"", false),
            (b"abc", 3, b"\x02x", true),
            (b"abc", 3, b"\0\x01", false),
            (b"ab", 3, b"c\x01", true),
            (b"ab", 5, b"cde\0\x01", false),
            (b"", 0, b"x", true),
        ] {
            let arrived = Arrived::new(Input::Data);
            arrived.push(Bytes::copy_from_slice(kept));
            let withdrawal = Withdrawal::of(HandleId(7));
            arrived.watch_verdict(before, withdrawal.clone());
            for byte in later {
                arrived.push(Bytes::copy_from_slice(&[*byte]));
            }
            let expected = withdrawn.then_some(HandleId(7));
            assert_eq!(withdrawal.withdrawn(), expected, "{kept:?} {later:?}");
        }
    }
}
