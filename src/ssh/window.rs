//! The receive window that a connection's channels share (pure).
//!
//! SSH grants a window for each channel and never takes it back, so a channel begins with a small
//! one and gets more when its session has taken half of it: twice as much each time, up to
//! [`CHANNEL_WINDOW_BYTES_EASY`], and from there on four times as much whenever the line is longer
//! than that. It never gets more than an even share of what the connection may have, which depends
//! on the memory that is free just then.
//! Bytes that were received and not yet taken count as well. What is kept back for channels that
//! are not open yet is never given to others.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::HashMap;
use std::time::Instant;

use super::starving::Starving;
use crate::limits::{
    CHANNEL_WINDOW_BYTES, CHANNEL_WINDOW_BYTES_EASY, CHANNEL_WINDOW_BYTES_MIN,
    CONNECTION_WINDOW_BYTES, Limits, MESSAGE_COST_BYTES,
};

/// What one channel may hold.
#[derive(Debug)]
struct Window {
    /// What the client may still send.
    granted: u32,
    /// Received and not yet taken. A session may take a message before it is counted here.
    waiting: i64,
    /// Messages that hold these bytes.
    messages: i64,
    /// What `granted` and `waiting` may come to.
    size: u32,
    /// The largest that `size` ever was.
    largest: u32,
    /// Bytes beyond what was granted, since the client last kept to it.
    exceeded: u32,
    /// Whether the line needs a larger one.
    starving: Starving,
}

impl Window {
    /// What the window grows to if there is memory for it.
    fn wanted(&mut self) -> u32 {
        if self.size < CHANNEL_WINDOW_BYTES_EASY {
            self.size.saturating_mul(2).min(CHANNEL_WINDOW_BYTES_EASY)
        } else if self.starving.take() {
            self.size.saturating_mul(4)
        } else {
            self.size
        }
    }

    fn held(&self) -> u32 {
        let held = i64::from(self.granted).saturating_add(self.waiting);
        u32::try_from(held.max(0)).unwrap_or(u32::MAX)
    }
}

/// The client sent more than it may, by more than is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded;

/// The windows of one connection.
#[derive(Debug)]
pub(super) struct Windows {
    bytes_max: u32,
    /// What each channel has in any case.
    first_bytes: u32,
    channels_max: u32,
    channels: HashMap<u32, Window>,
}

/// Returns the windows of a connection that has no channel yet.
pub(super) fn of_connection(limits: &Limits) -> Windows {
    let channels_max = limits.channels_per_connection_max;
    Windows::new(CONNECTION_WINDOW_BYTES, first_bytes(limits), channels_max)
}

/// Returns the window that each channel is opened with.
pub(super) fn first_bytes(limits: &Limits) -> u32 {
    let channels = u32::try_from(limits.channels_per_connection_max).unwrap_or(u32::MAX);
    let even = CONNECTION_WINDOW_BYTES.checked_div(channels);
    even.unwrap_or_default()
        .clamp(CHANNEL_WINDOW_BYTES_MIN, CHANNEL_WINDOW_BYTES)
}

/// What a client may exceed its window by, as a part of it: OpenSSH's tolerance.
const TOLERATED_PART: u32 = 10;

impl Windows {
    /// `first_bytes` is what each channel is opened with; all of them get that much.
    pub(super) fn new(bytes_max: u32, first_bytes: u32, channels_max: usize) -> Self {
        let channels_max = u32::try_from(channels_max).unwrap_or(u32::MAX).max(1);
        Self {
            bytes_max: bytes_max.max(first_bytes.saturating_mul(channels_max)),
            first_bytes,
            channels_max,
            channels: HashMap::new(),
        }
    }

    /// Counts a channel that is opened with its first window.
    pub(super) fn open(&mut self, channel: u32) {
        let window = Window {
            granted: self.first_bytes,
            waiting: 0,
            messages: 0,
            size: self.first_bytes,
            largest: self.first_bytes,
            exceeded: 0,
            starving: Starving::default(),
        };
        self.channels.insert(channel, window);
    }

    /// Forgets a channel: its client may send no more, and nobody takes what it sent.
    pub(super) fn close(&mut self, channel: u32) {
        self.channels.remove(&channel);
    }

    /// Counts bytes that came in.
    pub(super) fn arrived(
        &mut self,
        channel: u32,
        bytes: usize,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // What still comes for a channel whose session has ended is thrown away.
        let Some(window) = self.channels.get_mut(&channel) else {
            return Ok(());
        };
        window.starving.arrived(bytes, window.waiting <= 0, now);
        window.waiting = window.waiting.saturating_add(i64::from(bytes));
        window.messages = window.messages.saturating_add(1);
        if let Some(left) = window.granted.checked_sub(bytes) {
            window.granted = left;
            window.exceeded = 0;
            return Ok(());
        }
        let beyond = bytes.saturating_sub(window.granted);
        window.granted = 0;
        window.exceeded = window.exceeded.saturating_add(beyond);
        if window.exceeded > window.largest / TOLERATED_PART {
            return Err(Exceeded);
        }
        Ok(())
    }

    /// Notes that a message is no longer queued, whose bytes are not taken yet.
    pub(super) fn set_aside(&mut self, channel: u32) {
        if let Some(window) = self.channels.get_mut(&channel) {
            window.messages = window.messages.saturating_sub(1);
        }
    }

    /// Counts bytes that are thrown away: the window does not grow for them.
    pub(super) fn dropped(&mut self, channel: u32, bytes: usize) {
        if let Some(window) = self.channels.get_mut(&channel) {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            window.waiting = window.waiting.saturating_sub(bytes);
        }
    }

    /// Counts bytes that a session took; returns by how much the channel's window grows.
    /// `allowed` says what there is memory for just now, for all channels.
    pub(super) fn taken(
        &mut self,
        channel: u32,
        bytes: usize,
        allowed: impl FnOnce() -> u32,
        now: Instant,
    ) -> Option<u32> {
        let window = self.channels.get_mut(&channel)?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        window.waiting = window.waiting.saturating_sub(bytes);
        let (held, size) = (window.held(), window.size);
        if held > size / 2 {
            return None;
        }
        let limit = self.limit(channel, allowed());
        if held > size.min(limit) / 2 {
            return None;
        }
        let window = self.channels.get_mut(&channel)?;
        let size = window.wanted().min(limit);
        let more = size.saturating_sub(held);
        window.starving.granted(window.granted, now);
        window.granted = window.granted.saturating_add(more);
        window.size = size;
        window.largest = window.largest.max(size);
        Some(more)
    }

    /// What one channel's window may grow to.
    fn limit(&self, channel: u32, allowed: u32) -> u32 {
        let others = self.held_by_others(channel);
        let open = u32::try_from(self.channels.len()).unwrap_or(u32::MAX);
        let kept_back = self
            .channels_max
            .saturating_sub(open)
            .saturating_mul(self.first_bytes);
        let all = allowed.min(self.bytes_max);
        let share = all.checked_div(open).unwrap_or_default();
        all.saturating_sub(others)
            .saturating_sub(kept_back)
            .min(share)
            .max(self.first_bytes)
    }

    /// What the client may have under way on all channels.
    pub(super) fn promised(&self) -> u64 {
        let sizes = self.channels.values().map(|window| window.size);
        sizes.fold(0, |sum: u64, size| sum.saturating_add(size.into()))
    }

    /// What all that waits for sessions costs, in bytes.
    pub(super) fn waiting_cost(&self) -> u64 {
        self.channels.values().fold(0, |sum: u64, window| {
            let bytes = u64::try_from(window.waiting).unwrap_or(0);
            let messages = u64::try_from(window.messages).unwrap_or(0);
            sum.saturating_add(bytes)
                .saturating_add(messages.saturating_mul(MESSAGE_COST_BYTES))
        })
    }

    /// What the other channels hold; none counts less than its first window, which it gets back.
    fn held_by_others(&self, channel: u32) -> u32 {
        let others = self.channels.iter().filter(|(other, _)| **other != channel);
        others.fold(0, |sum: u32, (_, window)| {
            sum.saturating_add(window.held().max(self.first_bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const KIB: u32 = 1024;
    static NOW: LazyLock<Instant> = LazyLock::new(|| SystemClock.now());
    const FIRST: u32 = 64 * KIB;

    /// Sends all that a channel may and takes it, so often; returns the window then.
    fn used(windows: &mut Windows, channel: u32, times: usize) -> u32 {
        for _ in 0..times {
            let granted = windows.channels[&channel].granted;
            let bytes = usize::try_from(granted).unwrap();
            windows.arrived(channel, bytes, *NOW).unwrap();
            windows.taken(channel, bytes, || u32::MAX, *NOW).unwrap();
        }
        windows.channels[&channel].granted
    }

    fn sum(windows: &Windows) -> u32 {
        windows.channels.values().map(Window::held).sum()
    }

    #[test]
    fn a_window_doubles_up_to_what_is_not_kept_back() {
        let mut windows = Windows::new(2_048 * KIB, FIRST, 10);
        windows.open(2);
        assert_eq!(used(&mut windows, 2, 1), 2 * FIRST);
        assert_eq!(used(&mut windows, 2, 1), 4 * FIRST);
        assert_eq!(used(&mut windows, 2, 10), 2_048 * KIB - 9 * FIRST);
    }

    #[test]
    fn a_window_grows_further_where_the_line_is_long() {
        let mut windows = Windows::new(32_768 * KIB, FIRST, 2);
        windows.open(2);
        assert_eq!(used(&mut windows, 2, 10), 2_048 * KIB);
        let mut now = *NOW;
        let mut sizes = Vec::new();
        for _ in 0..12 {
            // What is granted meanwhile is heard of after a round trip.
            for _ in 0..windows.channels[&2].granted / (32 * KIB) {
                windows.arrived(2, 32 * 1024, now).unwrap();
                windows.taken(2, 32 * 1024, || u32::MAX, now);
            }
            now += Duration::from_millis(50);
            sizes.push(windows.channels[&2].size / KIB);
        }
        assert_eq!(sizes[0], 2_048);
        assert!(sizes.contains(&8_192), "{sizes:?}");
        assert!(sizes[11] > 30_000, "{sizes:?}");
    }

    #[test]
    fn a_window_is_no_larger_than_there_is_memory_for() {
        let mut windows = Windows::new(2_048 * KIB, FIRST, 2);
        windows.open(2);
        assert_eq!(used(&mut windows, 2, 10), 2_048 * KIB - FIRST);
        let all = usize::try_from(2_048 * KIB - FIRST).unwrap();
        windows.arrived(2, all, *NOW).unwrap();
        // What was granted before is not taken back, and no more is given for it.
        let small = || 512 * KIB;
        assert_eq!(windows.taken(2, all / 2, small, *NOW), None);
        assert_eq!(
            windows.taken(2, all / 2, small, *NOW),
            Some(512 * KIB - FIRST)
        );
        let all = usize::try_from(512 * KIB - FIRST).unwrap();
        windows.arrived(2, all, *NOW).unwrap();
        assert_eq!(
            windows.taken(2, all, || 0, *NOW),
            Some(FIRST),
            "the first one stays"
        );
        assert_eq!(used(&mut windows, 2, 10), 2_048 * KIB - FIRST);
    }

    #[test]
    fn credit_is_given_for_what_is_taken_alone() {
        let mut windows = Windows::new(2_048 * KIB, FIRST, 10);
        windows.open(2);
        let half = usize::try_from(FIRST / 2).unwrap();
        windows.arrived(2, 2 * half, *NOW).unwrap();
        assert_eq!(windows.taken(2, half - 1, || u32::MAX, *NOW), None);
        assert_eq!(
            windows.taken(2, 1, || u32::MAX, *NOW),
            Some(2 * FIRST - FIRST / 2)
        );
    }

    #[test]
    fn a_message_may_be_taken_before_it_is_counted() {
        let mut windows = Windows::new(2_048 * KIB, FIRST, 10);
        windows.open(2);
        let all = usize::try_from(FIRST).unwrap();
        assert_eq!(windows.taken(2, all, || u32::MAX, *NOW), Some(2 * FIRST));
        windows.arrived(2, all, *NOW).unwrap();
        assert_eq!(windows.channels[&2].held(), 2 * FIRST);
    }

    #[test]
    fn small_messages_cost_more_than_they_are_long() {
        let mut windows = Windows::new(2_048 * KIB, FIRST, 10);
        windows.open(2);
        for _ in 0..4 {
            windows.arrived(2, 1, *NOW).unwrap();
        }
        assert_eq!(windows.waiting_cost(), 4 * (1 + MESSAGE_COST_BYTES));
        windows.set_aside(2);
        assert_eq!(windows.waiting_cost(), 4 + 3 * MESSAGE_COST_BYTES);
        windows.taken(2, 1, || u32::MAX, *NOW);
        assert_eq!(windows.waiting_cost(), 3 * (1 + MESSAGE_COST_BYTES));
        // What is thrown away costs nothing, and brings no window.
        let granted = windows.channels[&2].granted;
        windows.set_aside(2);
        windows.dropped(2, 1);
        assert_eq!(windows.waiting_cost(), 2 * (1 + MESSAGE_COST_BYTES));
        assert_eq!(windows.channels[&2].granted, granted);
        windows.close(2);
        assert_eq!(windows.waiting_cost(), 0);
    }

    #[test]
    fn channels_together_stay_within_the_bound() {
        let mut windows = Windows::new(2_048 * KIB, FIRST, 10);
        for channel in 0..10 {
            windows.open(channel);
            used(&mut windows, channel, 10);
            assert!(sum(&windows) <= 2_048 * KIB, "{channel}");
        }
        // Each has as much as any other when all of them go on.
        for _ in 0..10 {
            for channel in 0..10 {
                let granted = usize::try_from(windows.channels[&channel].granted).unwrap();
                windows.arrived(channel, granted, *NOW).unwrap();
                windows.taken(channel, granted, || u32::MAX, *NOW);
                assert!(sum(&windows) <= 2_048 * KIB);
            }
        }
        for window in windows.channels.values() {
            assert!(window.size >= 2_048 * KIB / 20, "{window:?}");
        }
        windows.close(0);
        used(&mut windows, 1, 2);
        assert!(sum(&windows) <= 2_048 * KIB);
    }

    #[test]
    fn many_channels_get_their_first_windows() {
        let mut windows = Windows::new(128 * KIB, FIRST, 4);
        for channel in 0..4 {
            windows.open(channel);
            assert_eq!(used(&mut windows, channel, 3), FIRST);
        }
    }

    #[test]
    fn a_tenth_beyond_the_window_is_tolerated() {
        let mut windows = Windows::new(2_048 * KIB, FIRST, 10);
        windows.open(2);
        let all = usize::try_from(FIRST).unwrap();
        let tenth = all / 10;
        windows.arrived(2, all + tenth, *NOW).unwrap();
        assert_eq!(windows.arrived(2, 1, *NOW), Err(Exceeded));
        // A client that keeps to it again starts over.
        windows
            .taken(2, all + tenth + 1, || u32::MAX, *NOW)
            .unwrap();
        windows.arrived(2, 1, *NOW).unwrap();
        assert_eq!(windows.channels[&2].exceeded, 0);
        windows.arrived(3, usize::MAX, *NOW).unwrap();
    }
}
