//! Back-pressure: what waits too long or too much slows its client down, or is given up.

use std::sync::Arc;
use std::time::Instant;

use crate::limits;
use crate::sftp::Status;

use super::actor::{FAST_TICK, Session};
use super::handles::Handle;

impl Session {
    /// Counts WRITE bytes that begin to wait for a slot.
    pub(crate) fn bytes_parked(&mut self, bytes: usize) {
        self.gate.add_unslotted(bytes);
        self.unslotted = self.unslotted.saturating_add(bytes);
    }

    /// Counts WRITE bytes that wait no more.
    pub(crate) fn bytes_unparked(&mut self, bytes: usize) {
        self.gate.remove_unslotted(bytes);
        self.unslotted = self.unslotted.saturating_sub(bytes);
    }

    /// Closes the gate where too much waits, and opens it where it does not.
    pub(super) fn regulate(&mut self) {
        let now = self.environment.clock.now();
        let crowded =
            self.requests_open >= limits::REQUESTS_WAITING_SOFT_MAX || self.out.is_crowded();
        let hold = crowded && !self.is_output_stuck(now);
        match (hold, self.request_hold.is_some()) {
            (true, false) => self.request_hold = Some(self.gate.close()),
            (false, true) => self.request_hold = None,
            (true, true) | (false, false) => {}
        }
        match (self.seat.receives_too_fast(now), self.pace_hold.is_some()) {
            (true, false) => self.pace_hold = Some(self.gate.close()),
            (false, true) => self.pace_hold = None,
            (true, true) | (false, false) => {}
        }
        let total = self.gate.unslotted();
        let full = self.unslotted > 0 && total > self.environment.budget.unslotted_bytes_max();
        match (full, self.write_hold.is_some()) {
            (true, false) => self.write_hold = Some((self.gate.close(), now)),
            (false, true) => self.write_hold = None,
            (true, true) | (false, false) => {}
        }
    }

    /// Says whether the client has to be heard for output to go on: its window adjustments come
    /// the same way as its requests.
    fn is_output_stuck(&mut self, now: Instant) -> bool {
        let sent = self.out.sent();
        if sent != self.progress.0 || !self.out.is_waiting() {
            self.progress = (sent, now);
        }
        now.saturating_duration_since(self.progress.1) >= FAST_TICK
    }

    /// Fails uploads that keep a slot from others without using it.
    pub(super) fn reclaim_slots(&mut self) {
        let limits = Arc::clone(&self.environment.limits);
        let now = self.environment.clock.now();
        let gated_too_long = self
            .write_hold
            .as_ref()
            .is_some_and(|(_, since)| now.saturating_duration_since(*since) >= limits.gate_timeout);
        let holds_slots = self
            .handles
            .uploads()
            .any(|upload| upload.upload.slots_filling() > 0);
        let awaited = self.seat.memory().uploads.others_wait();
        for handle in self.handles.ids() {
            let Some(mut writing) = self.take_writing(handle) else {
                continue;
            };
            let idle = now.saturating_duration_since(writing.touched) >= limits.slot_idle_timeout;
            // One whose CLOSE came and that waits for a slot itself may wait for its like.
            let stands = writing.closing.is_none() || !writing.parked.is_empty();
            let filling = writing.upload.slots_filling() > 0 && stands;
            if awaited && filling && idle {
                self.fail_writing(
                    &mut writing,
                    MEMORY,
                    "no bytes came while others wait for memory",
                );
            } else if gated_too_long && holds_slots && !writing.parked.is_empty() {
                self.fail_writing(&mut writing, MEMORY, "no memory became free for its bytes");
            }
            let failed = writing.failed.is_some();
            self.put_writing(handle, writing);
            if failed {
                self.advance_writing(handle);
            }
        }
    }

    /// Gives memory back that idle readers keep while others read.
    pub(super) fn reclaim_read_ahead(&mut self) {
        if !self.environment.budget.read_ahead_is_crowded() {
            return;
        }
        let idle = self.environment.limits.slot_idle_timeout;
        let then = self.environment.clock.now().checked_sub(idle);
        for handle in self.handles.ids() {
            if let Some(Handle::File {
                reading: Some(reading),
                ..
            }) = self.handles.get_mut(handle)
                && reading.rest(then)
            {
                self.advance_reading(handle);
            }
        }
    }

    pub(super) fn output_drained(&mut self) {
        if self.out.is_full() {
            return;
        }
        for handle in self.handles.ids() {
            match self.handles.get_mut(handle) {
                Some(Handle::File {
                    reading: Some(reading),
                    ..
                }) if reading.waiting() > 0 => {
                    self.advance_reading(handle);
                }
                Some(Handle::Directory(listing)) if !listing.pending.is_empty() => {
                    self.advance_listing(handle);
                }
                Some(Handle::File { .. } | Handle::Directory(_)) | None => {}
            }
        }
    }
}

const MEMORY: Status = Status::failure("The server is short of memory for uploads; try again");
