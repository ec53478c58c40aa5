//! What a file that is read lets go of: what nobody takes, what was read, what others need.

use std::time::Instant;

use super::held::Range;
use super::{Careful, FetchId, ReadEffect, ReadFile, Room, SEQUENCE_SLACK_BYTES, UNTAKEN_AFTER};

impl ReadFile {
    /// Notes whether the client takes what it asks for.
    pub(super) fn note_room(&mut self, room: Room, now: Instant) {
        self.room = room;
        if room != Room::Full {
            self.full_since = None;
            return;
        }
        let since = *self.full_since.get_or_insert(now);
        let untaken = now.saturating_duration_since(since) >= UNTAKEN_AFTER;
        if untaken && !self.held.is_empty() {
            self.window = 0;
            self.careful = Some(Careful {
                since: now,
                answered: 0,
            });
            self.let_go_of(|_| false);
        }
    }

    pub(super) fn rest(&mut self) {
        self.window = 0;
        if self.room == Room::Free {
            self.let_go_of_unawaited();
        } else {
            // What only later READs wait for comes again when it can be delivered.
            let oldest = self.reads.front().map(|read| (read.offset, read.end));
            self.let_go_of(|range| oldest.is_some_and(|(start, end)| range.meets(start, end)));
        }
    }

    /// Lets ranges go that were read to their end, or that the reader has left behind.
    pub(super) fn let_go_of_the_past(&mut self) {
        let (demand_end, window) = (self.demand_end, self.window);
        let furthest = demand_end.saturating_add(window.max(SEQUENCE_SLACK_BYTES));
        self.let_go_of_unless_awaited(|range| {
            let behind = range.range.end.saturating_add(SEQUENCE_SLACK_BYTES) <= demand_end;
            !range.is_spent() && !behind && range.range.start <= furthest
        });
    }

    pub(super) fn let_go_of_unawaited(&mut self) {
        self.let_go_of_unless_awaited(|_| false);
    }

    pub(super) fn let_go_of_unless_awaited(&mut self, keep: impl Fn(&Range) -> bool) {
        let (reads, active) = (&self.reads, self.active);
        let awaited = |range: &Range| {
            let mut worked_on = reads.iter().take(active);
            worked_on.any(|read| range.meets(read.offset, read.end))
        };
        let cancelled = self.held.let_go(|range| keep(range) || awaited(range));
        self.cancel(cancelled);
    }

    pub(super) fn let_go_of(&mut self, keep: impl Fn(&Range) -> bool) {
        let cancelled = self.held.let_go(keep);
        self.cancel(cancelled);
    }

    pub(super) fn cancel(&mut self, cancelled: Vec<FetchId>) {
        let cancels = cancelled.into_iter();
        self.chores
            .extend(cancels.map(|fetch| ReadEffect::Cancel { fetch }));
    }
}
