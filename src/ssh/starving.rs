//! Whether a client's window is too small for its line (pure).
//!
//! A window that is larger than what the line carries in a round trip makes nothing faster, and
//! costs the client: OpenSSH's reads as far ahead as its window reaches, into buffers that it
//! allocates and clears again and again. So a window is enlarged only for a client that has used
//! up all it was granted and pauses until it hears of more, while its session waits for it. A
//! client that sends without a pause across the end of the old credit had heard of the new one.

use std::time::{Duration, Instant};

/// A pause that is no hiccup of a busy machine. Lines with a shorter round trip carry hundreds of
/// MiB a second with the window that everybody gets.
const PAUSE: Duration = Duration::from_millis(4);

/// How much longer a pause at the end of the credit is than all before it. The pauses of a slow
/// client, or of a full line, are anywhere.
const LONGER: u32 = 2;

/// Pauses in a row, at the end of the credit, that show a window to be too small.
const PAUSES: u8 = 2;

/// Watches what one channel's client does when its credit ends.
#[derive(Debug, Default)]
pub(super) struct Starving {
    old: Option<Credit>,
    pauses: u8,
}

/// What may still come that was granted before the last time.
#[derive(Debug)]
struct Credit {
    left: u32,
    /// When the client last sent or was granted something.
    since: Instant,
    /// The longest pause since more was granted.
    longest: Duration,
}

impl Starving {
    /// Notes that more was granted, while the client could still send `left`.
    pub(super) fn granted(&mut self, left: u32, now: Instant) {
        // What was granted before comes first, and is waited for.
        self.old.get_or_insert(Credit {
            left,
            since: now,
            longest: Duration::ZERO,
        });
    }

    /// Notes that bytes came, and whether the session had taken all that came before.
    pub(super) fn arrived(&mut self, bytes: u32, is_awaited: bool, now: Instant) {
        let Some(old) = &mut self.old else {
            return;
        };
        let pause = now.saturating_duration_since(old.since);
        if let Some(left) = old.left.checked_sub(bytes) {
            old.left = left;
            old.since = now;
            old.longest = old.longest.max(pause);
            return;
        }
        let least = old.longest.saturating_mul(LONGER).max(PAUSE);
        self.old = None;
        self.pauses = if is_awaited && pause >= least {
            self.pauses.saturating_add(1)
        } else {
            0
        };
    }

    /// Says whether the window is too small. The next answer needs new pauses.
    pub(super) fn take(&mut self) -> bool {
        let starves = self.pauses >= PAUSES;
        if starves {
            self.pauses = 0;
        }
        starves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const LEFT: u32 = 1_000;

    /// Grants more while some of the old credit is left, which comes with a pause, and so, after
    /// a second pause, does the first of the new.
    fn round(starving: &mut Starving, now: &mut Instant, pauses: [u32; 2], is_awaited: bool) {
        starving.granted(LEFT, *now);
        starving.arrived(LEFT - 10, is_awaited, *now);
        *now += pauses[0] * PAUSE / 2;
        starving.arrived(10, is_awaited, *now);
        *now += pauses[1] * PAUSE / 2;
        starving.arrived(10, is_awaited, *now);
    }

    #[test]
    fn a_client_that_pauses_at_the_end_of_its_credit_twice_starves() {
        let (mut starving, mut now) = (Starving::default(), SystemClock.now());
        round(&mut starving, &mut now, [1, 2], true);
        assert!(!starving.take(), "it may be chance");
        round(&mut starving, &mut now, [10, 20], true);
        assert!(starving.take());
        assert!(!starving.take());
        round(&mut starving, &mut now, [1, 2], true);
        assert!(!starving.take());
    }

    #[test]
    fn other_pauses_do_not_count() {
        for (pauses, is_awaited) in [
            ([0, 1], true),
            ([2, 2], true),
            ([10, 19], true),
            ([0, 20], false),
        ] {
            let (mut starving, mut now) = (Starving::default(), SystemClock.now());
            for _ in 0..4 {
                round(&mut starving, &mut now, pauses, is_awaited);
                assert!(!starving.take(), "{pauses:?}, {is_awaited}");
                round(&mut starving, &mut now, [0, 2], true);
                assert!(!starving.take(), "only one in a row");
                round(&mut starving, &mut now, pauses, is_awaited);
            }
        }
    }

    #[test]
    fn a_client_that_sends_no_part_of_a_packet_pauses_before_the_end() {
        let (mut starving, mut now) = (Starving::default(), SystemClock.now());
        for _ in 0..2 {
            starving.granted(LEFT, now);
            starving.arrived(LEFT - 1, true, now);
            now += PAUSE;
            starving.arrived(2, true, now);
        }
        assert!(starving.take());
    }

    #[test]
    fn the_pause_of_a_client_that_had_nothing_left_begins_with_the_grant() {
        let (mut starving, mut now) = (Starving::default(), SystemClock.now());
        for _ in 0..2 {
            now += Duration::from_secs(1);
            starving.granted(0, now);
            starving.arrived(1, true, now + PAUSE / 2);
        }
        assert!(!starving.take());
        for _ in 0..2 {
            starving.granted(0, now);
            now += PAUSE;
            starving.arrived(1, true, now);
        }
        assert!(starving.take());
    }
}
