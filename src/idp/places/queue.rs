//! Whose question is next (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::collections::HashMap;
use std::net::IpAddr;

/// Questions of one source that are under way at once.
const PER_SOURCE_MAX: usize = 8;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asker {
    /// `None`: one that may stand for many, and has no share of its own.
    pub(super) source: Option<IpAddr>,
    /// Was let in from this source within the last day.
    pub(super) known: bool,
}

/// Names a question from its request for a place until it gives the place up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// The questions under way and those that wait.
///
/// Strangers get at most half of the places. Of those who wait and may go, the one goes first whose
/// source has the fewest questions under way, and among them who came first: many questions from
/// one source hold back nobody else's.
#[derive(Debug)]
pub(super) struct Queue {
    places: usize,
    under_way: HashMap<Ticket, Asker>,
    strangers: usize,
    sources: HashMap<IpAddr, usize>,
    /// In the order in which they came.
    waiting: Vec<(Ticket, Asker)>,
    tickets: u64,
}

impl Queue {
    /// Makes room for so many questions, at least two: one of them for known users.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: places.max(2),
            under_way: HashMap::new(),
            strangers: 0,
            sources: HashMap::new(),
            waiting: Vec::new(),
            tickets: 0,
        }
    }

    /// Takes a question in; it may go at once, or waits.
    pub(super) fn come(&mut self, asker: Asker) -> (Ticket, bool) {
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        let goes = self.may_go(asker);
        if goes {
            self.go(ticket, asker);
        } else {
            self.waiting.push((ticket, asker));
        }
        (ticket, goes)
    }

    /// Gives up a place, or the wait for one; returns who goes now.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let Some(asker) = self.under_way.remove(&ticket) else {
            self.waiting.retain(|(waiting, _)| *waiting != ticket);
            return Vec::new();
        };
        if !asker.known {
            self.strangers = self.strangers.saturating_sub(1);
        }
        if let Some(source) = asker.source
            && let Some(held) = self.sources.get_mut(&source)
        {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.sources.remove(&source);
            }
        }
        let mut called = Vec::new();
        // A place that is free now may be one for known users only: then nobody goes, or one goes
        // who came later.
        while let Some((ticket, asker)) = self.next() {
            self.go(ticket, asker);
            called.push(ticket);
        }
        called
    }

    /// Counts the questions that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn may_go(&self, asker: Asker) -> bool {
        self.under_way.len() < self.places
            && (asker.known || self.strangers < self.places.div_euclid(2))
            && self.held(asker) < PER_SOURCE_MAX
    }

    fn held(&self, asker: Asker) -> usize {
        let held = asker.source.and_then(|source| self.sources.get(&source));
        held.copied().unwrap_or_default()
    }

    fn next(&mut self) -> Option<(Ticket, Asker)> {
        let able = self.waiting.iter().enumerate();
        let able = able.filter(|(_, (_, asker))| self.may_go(*asker));
        let (at, _) = able.min_by_key(|(_, (ticket, asker))| (self.held(*asker), *ticket))?;
        Some(self.waiting.remove(at))
    }

    fn go(&mut self, ticket: Ticket, asker: Asker) {
        self.under_way.insert(ticket, asker);
        if !asker.known {
            self.strangers = self.strangers.saturating_add(1);
        }
        if let Some(source) = asker.source {
            let held = self.sources.entry(source).or_default();
            *held = held.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stranger(source: u8) -> Asker {
        Asker {
            source: Some(IpAddr::from([192, 0, 2, source])),
            known: false,
        }
    }

    fn known(source: u8) -> Asker {
        Asker {
            known: true,
            ..stranger(source)
        }
    }

    #[test]
    fn half_of_the_places_are_kept_for_known_users() {
        let mut queue = Queue::new(8);
        let strangers: Vec<_> = (0..9).map(|n| queue.come(stranger(n))).collect();
        assert_eq!(strangers.iter().filter(|(_, goes)| *goes).count(), 4);
        let mine: Vec<_> = (0..4).map(|n| queue.come(known(n))).collect();
        assert!(mine.iter().all(|(_, goes)| *goes));
        let (late, goes) = queue.come(known(9));
        assert!(!goes);
        // Strangers have their half, so what becomes free beyond it is for known users.
        assert_eq!(queue.leave(mine[0].0), [late]);
        assert_eq!(queue.leave(strangers[0].0), [strangers[4].0]);
    }

    #[test]
    fn one_source_has_eight_and_holds_back_nobody_else() {
        let mut queue = Queue::new(64);
        let flood: Vec<_> = (0..200).map(|_| queue.come(stranger(1))).collect();
        assert_eq!(
            flood.iter().filter(|(_, goes)| *goes).count(),
            PER_SOURCE_MAX
        );
        assert!(queue.come(stranger(2)).1);
        // Three more floods take what strangers may have.
        for source in 3..=5 {
            for _ in 0..200 {
                queue.come(stranger(source));
            }
        }
        let (honest, goes) = queue.come(stranger(9));
        assert!(!goes);
        assert_eq!(queue.leave(flood[0].0), [honest]);
    }

    #[test]
    fn who_stands_for_many_has_no_share() {
        let mut queue = Queue::new(64);
        let balancer = Asker {
            source: None,
            known: false,
        };
        let came = (0..64).filter(|_| queue.come(balancer).1).count();
        assert_eq!(came, 32);
    }

    #[test]
    fn who_stops_waiting_is_not_called() {
        let mut queue = Queue::new(2);
        let (first, _) = queue.come(stranger(1));
        let (gone, _) = queue.come(stranger(2));
        let (next, _) = queue.come(stranger(3));
        assert_eq!(queue.leave(gone), []);
        assert_eq!(queue.leave(first), [next]);
        assert_eq!(queue.leave(gone), []);
        assert_eq!(queue.waiting(), 0);
    }

    proptest! {
        /// Whatever comes and goes: the bounds hold, and nobody waits who may go.
        #[test]
        fn bounds_hold_and_no_place_is_left_empty(
            places in 2_usize..12,
            steps in prop::collection::vec((0_u8..4, any::<bool>(), any::<prop::sample::Index>()), 0..200),
        ) {
            let mut queue = Queue::new(places);
            let mut there = Vec::new();
            for (source, is_known, index) in steps {
                if source == 0 && !there.is_empty() {
                    let ticket = there.swap_remove(index.index(there.len()));
                    queue.leave(ticket);
                } else {
                    let asker = Asker { known: is_known, ..stranger(source) };
                    there.push(queue.come(asker).0);
                }
                let strangers = queue.under_way.values().filter(|asker| !asker.known).count();
                prop_assert_eq!(strangers, queue.strangers);
                prop_assert!(strangers <= places / 2);
                prop_assert!(queue.under_way.len() <= places);
                prop_assert!(queue.sources.values().all(|held| (1..=PER_SOURCE_MAX).contains(held)));
                prop_assert_eq!(queue.sources.values().sum::<usize>(), queue.under_way.len());
                let all = queue.under_way.len().checked_add(queue.waiting.len());
                prop_assert_eq!(all, Some(there.len()));
                prop_assert!(!queue.waiting.iter().any(|(_, asker)| queue.may_go(*asker)));
            }
            for ticket in there {
                queue.leave(ticket);
            }
            prop_assert!(queue.under_way.is_empty() && queue.waiting.is_empty());
            prop_assert!(queue.sources.is_empty() && queue.strangers == 0);
        }
    }
}
