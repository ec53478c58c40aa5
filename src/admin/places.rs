//! Who may hold a connection to one of the operator's ports.
//!
//! A connection on which nothing is being done (it is idle, or sends its request slowly) gives its
//! place to the next one when places run out: the oldest first, of the source that holds most.
//! So a probe is answered however many connections others hold open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::auth::host_of;

/// The places of one port.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    per_source_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts connections and answers: the smaller, the older.
    moment: u64,
    held: HashMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    source: IpAddr,
    /// The moment of the accept, or of the last answer.
    since: u64,
    busy: bool,
    evicted: CancellationToken,
}

/// A connection's place, free again when it is dropped or given to another.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    evicted: CancellationToken,
}

/// Something is being done on a connection, which keeps its place meanwhile.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Place);

/// What became of a connection that asks for a place.
#[derive(Debug)]
pub(super) enum Admission {
    Place(Place),
    /// The connection of this source gave its place.
    Evicted(Place, IpAddr),
    /// All places are taken by connections that are being served.
    Refused,
}

impl Places {
    pub(super) fn new(max: usize, per_source_max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            per_source_max,
            state: Mutex::default(),
        })
    }

    pub(super) fn admit(self: &Arc<Self>, source: IpAddr) -> Admission {
        let source = host_of(source);
        let mut state = self.state();
        let of_source = state.held.values().filter(|one| one.source == source);
        let victim = if of_source.count() >= self.per_source_max {
            state.oldest_waiting(Some(source))
        } else if state.held.len() >= self.max {
            state.oldest_waiting(None)
        } else {
            return Admission::Place(self.place(&mut state, source));
        };
        let Some(victim) = victim.and_then(|victim| state.held.remove(&victim)) else {
            return Admission::Refused;
        };
        victim.evicted.cancel();
        Admission::Evicted(self.place(&mut state, source), victim.source)
    }

    fn place(self: &Arc<Self>, state: &mut State, source: IpAddr) -> Place {
        let (number, evicted) = (state.next_moment(), CancellationToken::new());
        let held = Held {
            source,
            since: number,
            busy: false,
            evicted: evicted.clone(),
        };
        state.held.insert(number, held);
        Place {
            places: Arc::clone(self),
            number,
            evicted,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_moment(&mut self) -> u64 {
        self.moment = self.moment.wrapping_add(1);
        self.moment
    }

    /// Returns the connection that is to go: one of the source, or of the source that holds most
    /// among those that have one to give.
    fn oldest_waiting(&self, source: Option<IpAddr>) -> Option<u64> {
        let mut sources: HashMap<IpAddr, usize> = HashMap::new();
        for held in self.held.values() {
            *sources.entry(held.source).or_default() += 1;
        }
        let rank = |held: &Held| {
            let count = sources.get(&held.source).copied().unwrap_or_default();
            (count, std::cmp::Reverse(held.since))
        };
        let waiting = self
            .held
            .iter()
            .filter(|(_, held)| !held.busy && source.is_none_or(|source| held.source == source));
        let chosen = waiting.max_by_key(|(_, held)| rank(held));
        chosen.map(|(number, _)| *number)
    }
}

impl Place {
    /// Keeps the place while something is done; `None`: it is another's by now, and nothing may be
    /// done.
    pub(super) fn begin(&self) -> Option<Busy<'_>> {
        self.places.state().held.get_mut(&self.number)?.busy = true;
        Some(Busy(self))
    }

    /// Waits until the place is given to another connection.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.places.state();
        let moment = state.next_moment();
        if let Some(held) = state.held.get_mut(&self.0.number) {
            held.busy = false;
            held.since = moment;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn admitted(places: &Arc<Places>, source: u8) -> Place {
        let Admission::Place(place) = places.admit(ip(source)) else {
            panic!("there is room");
        };
        place
    }

    fn gave_way(places: &[&Place]) -> Vec<bool> {
        let gave = |place: &&Place| place.evicted.is_cancelled();
        places.iter().map(gave).collect()
    }

    #[test]
    fn a_source_beyond_its_share_loses_its_own_oldest() {
        let places = Places::new(9, 2);
        let other = admitted(&places, 2);
        let (first, second) = (admitted(&places, 1), admitted(&places, 1));
        // Answered just now: the other one has waited longer.
        drop(first.begin().unwrap());
        let Admission::Evicted(_third, source) = places.admit(ip(1)) else {
            panic!("one gives way");
        };
        assert_eq!(source, ip(1));
        assert_eq!(gave_way(&[&other, &first, &second]), [false, false, true]);
        assert!(second.begin().is_none(), "nothing is done any more");
    }

    #[test]
    fn without_places_the_source_that_holds_most_gives_one() {
        let places = Places::new(3, 2);
        let honest = admitted(&places, 2);
        let (first, second) = (admitted(&places, 1), admitted(&places, 1));
        let Admission::Evicted(_, source) = places.admit(ip(3)) else {
            panic!("one gives way");
        };
        assert_eq!(source, ip(1));
        assert_eq!(gave_way(&[&honest, &first, &second]), [false, true, false]);
    }

    #[test]
    fn what_is_being_done_is_not_cut_off() {
        let places = Places::new(2, 2);
        let (one, other) = (admitted(&places, 1), admitted(&places, 2));
        let busy = (one.begin(), other.begin());
        assert!(matches!(places.admit(ip(3)), Admission::Refused));
        drop(busy);
        assert!(matches!(places.admit(ip(3)), Admission::Evicted(..)));
    }

    #[test]
    fn a_place_is_free_again_once() {
        let places = Places::new(2, 2);
        let one = admitted(&places, 1);
        let _two = admitted(&places, 1);
        let Admission::Evicted(three, _) = places.admit(ip(1)) else {
            panic!("one gives way");
        };
        drop(one);
        assert_eq!(places.state().held.len(), 2);
        drop(three);
        assert_eq!(places.state().held.len(), 1);
    }
}
