//! Who has a place, and who gives one up when places before login run out (pure).
//!
//! Connections before login are counted by network: an IPv4 address, and for IPv6 the /64, /56 and
//! /48 around the address, so that a provider's customer with 65,536 /64s is not 65,536 sources. A
//! wider network may hold more: twice as much as a /64 counts for a /56, four times for a /48. When
//! nothing is free, the network that holds most for its share gives up one of its connections:
//! first one that has not finished a key exchange, then the oldest. The newcomer counts for its
//! own network, so a network that holds most replaces its own connection; and not at any pace: what
//! the network got a moment ago stays, and its newcomer is refused. A connection costs more than a
//! refusal, and a client that shares an address with a flood needs that moment to log in.
//!
//! Connections that a balancer has not named yet are one network together: they are named within
//! milliseconds or silent. Exempt connections have half of the places for themselves: what they
//! hold beyond that counts like one network's, and of their half one gives way when nobody else
//! can. While they hold more than half, an exempt newcomer replaces one of them.
//!
//! Every operation costs a few look-ups in ordered sets, however many connections there are.

#![warn(clippy::arithmetic_side_effects)]

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use crate::limits::PLACE_KEPT_AT_LEAST;

/// Names a connection, in the order of arrival.
pub(super) type Ticket = u64;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: IpAddr,
    /// Stands for many, such as a load balancer that hides its clients: it gives way last, and may
    /// hold as many connections as there may be.
    pub(super) exempt: bool,
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    pub(super) waiting_max: usize,
    /// Of one /64; wider networks have a multiple.
    pub(super) per_source_max: usize,
}

/// Which bound a connection would have exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OverCap {
    #[error("too many connections")]
    Connections,
    #[error("too many connections that have not logged in")]
    Unauthenticated,
    #[error("too many connections from one source")]
    Source,
}

/// A connection that got a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) ticket: Ticket,
    /// The connection that has to end for it.
    pub(super) displaced: Option<Ticket>,
}

/// The connections there are.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Places {
    bounds: Bounds,
    next: Ticket,
    entries: HashMap<Ticket, Entry>,
    /// Entries that have not logged in.
    waiting: usize,
    /// Displaced connections whose tasks have not ended yet.
    leaving: HashSet<Ticket>,
    holders: HashMap<Network, Holder>,
    /// What all exempt sources have.
    exempt: Holder,
    /// The networks, other than the exempt ones, with somebody who can give way, least first.
    ranking: BTreeSet<Rank>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Unknown until a balancer has named it.
    source: Option<Source>,
    since: Instant,
    waiting: bool,
    keys_exchanged: bool,
}

/// What one network has.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct Holder {
    connections: usize,
    /// Of these, who has not logged in and can give way.
    waiting: BTreeSet<Candidate>,
    /// A newcomer for whom room is looked for.
    arriving: usize,
}

/// Who gives way first is least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    keys_exchanged: bool,
    ticket: Ticket,
}

/// Among networks that hold the same, the one whose candidate would go first ranks highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    weight: usize,
    first: Reverse<Candidate>,
    network: Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Network {
    bits: u128,
    breadth: Breadth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Breadth {
    Address,
    Prefix64,
    Prefix56,
    Prefix48,
    /// All whose source is not known yet.
    Unnamed,
    /// All exempt sources.
    Exempt,
}

impl Breadth {
    /// How many times more than one host it may hold.
    const fn shares(self) -> usize {
        match self {
            Self::Address | Self::Prefix64 | Self::Unnamed | Self::Exempt => 1,
            Self::Prefix56 => 2,
            Self::Prefix48 => 4,
        }
    }

    /// Compares what networks hold: the count over the shares, without fractions.
    const fn weight(self, count: usize) -> usize {
        let units = match self {
            Self::Address | Self::Prefix64 | Self::Unnamed | Self::Exempt => 4,
            Self::Prefix56 => 2,
            Self::Prefix48 => 1,
        };
        count.saturating_mul(units)
    }

    const fn mask(self) -> u128 {
        match self {
            Self::Address => u128::MAX,
            Self::Prefix64 => u128::MAX << 64,
            Self::Prefix56 => u128::MAX << 72,
            Self::Prefix48 => u128::MAX << 80,
            Self::Unnamed | Self::Exempt => 0,
        }
    }
}

/// Where a connection from a source counts.
fn networks(source: Option<Source>) -> impl Iterator<Item = Network> {
    const V4: &[Breadth] = &[Breadth::Address];
    const V6: &[Breadth] = &[Breadth::Prefix64, Breadth::Prefix56, Breadth::Prefix48];
    let address = source.map(|source| (source.address.to_canonical(), source.exempt));
    let (bits, breadths): (_, &[Breadth]) = match address {
        None => (0, &[Breadth::Unnamed]),
        Some((_, true)) => (0, &[Breadth::Exempt]),
        Some((IpAddr::V4(address), false)) => (u128::from(address.to_bits()), V4),
        Some((IpAddr::V6(address), false)) => (address.to_bits(), V6),
    };
    breadths.iter().map(move |breadth| Network {
        bits: bits & breadth.mask(),
        breadth: *breadth,
    })
}

impl Places {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next: 0,
            entries: HashMap::new(),
            waiting: 0,
            leaving: HashSet::new(),
            holders: HashMap::new(),
            exempt: Holder::default(),
            ranking: BTreeSet::new(),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Gives a newcomer a place, if need be that of another; the source may not be known yet.
    pub(super) fn admit(
        &mut self,
        source: Option<Source>,
        now: Instant,
    ) -> Result<Arrival, OverCap> {
        self.check_source(source)?;
        let full = self.entries.len() >= self.bounds.connections_max;
        let displaced = if full || self.waiting >= self.bounds.waiting_max {
            let over = if full {
                OverCap::Connections
            } else {
                OverCap::Unauthenticated
            };
            Some(self.displace(source, now).ok_or(over)?)
        } else {
            None
        };
        let ticket = self.next;
        self.next = self.next.wrapping_add(1);
        self.entries.insert(
            ticket,
            Entry {
                source,
                since: now,
                waiting: true,
                keys_exchanged: false,
            },
        );
        self.waiting = self.waiting.saturating_add(1);
        self.count_in(ticket);
        Ok(Arrival { ticket, displaced })
    }

    /// Counts a connection for its source, once that is known.
    pub(super) fn name(&mut self, ticket: Ticket, source: Source) -> Result<(), OverCap> {
        let unnamed = |entry: &Entry| entry.source.is_none();
        if !self.entries.get(&ticket).is_some_and(unnamed) {
            return Ok(());
        }
        self.check_source(Some(source))?;
        self.count_out(ticket);
        if let Some(entry) = self.entries.get_mut(&ticket) {
            entry.source = Some(source);
        }
        self.count_in(ticket);
        Ok(())
    }

    /// Notes that a client finished its key exchange: it gives way later than one that did not.
    pub(super) fn keys_exchanged(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get_mut(&ticket) else {
            return;
        };
        let before = *entry;
        entry.keys_exchanged = true;
        if let Some(old) = before.candidate(ticket) {
            let new = Candidate {
                keys_exchanged: true,
                ..old
            };
            self.each_network(before.source, |holder| {
                holder.waiting.remove(&old);
                holder.waiting.insert(new);
            });
        }
    }

    /// Makes room for another connection that has not logged in.
    pub(super) fn authenticated(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get_mut(&ticket).filter(|entry| entry.waiting) else {
            return;
        };
        let before = *entry;
        entry.waiting = false;
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(candidate) = before.candidate(ticket) {
            self.each_network(before.source, |holder| {
                holder.waiting.remove(&candidate);
            });
        }
    }

    /// Forgets a connection whose task has ended.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        if !self.leaving.remove(&ticket) {
            self.remove(ticket);
        }
    }

    /// Takes the place of the connection that is to give way for a newcomer.
    fn displace(&mut self, newcomer: Option<Source>, now: Instant) -> Option<Ticket> {
        // As many as there may be are on their way out: there is no room for their successors.
        if self.leaving.len() >= self.bounds.waiting_max {
            return None;
        }
        self.each_network(newcomer, |holder| {
            holder.arriving = holder.arriving.saturating_add(1);
        });
        let first = self.first_to_go(newcomer.is_some_and(|source| source.exempt));
        self.each_network(newcomer, |holder| {
            holder.arriving = holder.arriving.saturating_sub(1);
        });
        let Rank { network, first, .. } = first?;
        let ticket = first.0.ticket;
        let is_new =
            |entry: &Entry| now.saturating_duration_since(entry.since) < PLACE_KEPT_AT_LEAST;
        let one_host = !matches!(network.breadth, Breadth::Unnamed | Breadth::Exempt);
        if one_host
            && networks(newcomer).any(|own| own == network)
            && self.entries.get(&ticket).is_some_and(is_new)
        {
            return None;
        }
        self.remove(ticket);
        self.leaving.insert(ticket);
        Some(ticket)
    }

    fn first_to_go(&self, for_exempt: bool) -> Option<Rank> {
        // As many are waiting as there are places now.
        let half = self.waiting / 2;
        let beyond = self.exempt.waiting.len().saturating_sub(half);
        let exempt = self.exempt.waiting.first().map(|first| Rank {
            weight: Breadth::Exempt.weight(beyond),
            first: Reverse(*first),
            network: Network {
                bits: 0,
                breadth: Breadth::Exempt,
            },
        });
        if for_exempt && beyond > 0 {
            exempt
        } else {
            // One that holds nothing beyond its half ranks below all others.
            exempt.max(self.ranking.last().copied())
        }
    }

    fn check_source(&self, source: Option<Source>) -> Result<(), OverCap> {
        let bounded = source.filter(|source| !source.exempt);
        let mut counted = bounded.into_iter().flat_map(|it| networks(Some(it)));
        let over = counted.any(|network| {
            let most = self.bounds.per_source_max;
            let most = most.saturating_mul(network.breadth.shares());
            let holder = self.holders.get(&network);
            holder.is_some_and(|holder| holder.connections >= most)
        });
        if over { Err(OverCap::Source) } else { Ok(()) }
    }

    fn count_in(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get(&ticket).copied() else {
            return;
        };
        let candidate = entry.candidate(ticket);
        self.each_network(entry.source, |holder| {
            holder.connections = holder.connections.saturating_add(1);
            holder.waiting.extend(candidate);
        });
    }

    fn count_out(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get(&ticket).copied() else {
            return;
        };
        let candidate = entry.candidate(ticket);
        self.each_network(entry.source, |holder| {
            holder.connections = holder.connections.saturating_sub(1);
            if let Some(candidate) = candidate {
                holder.waiting.remove(&candidate);
            }
        });
    }

    fn remove(&mut self, ticket: Ticket) {
        self.count_out(ticket);
        let gone = self.entries.remove(&ticket);
        if gone.is_some_and(|entry| entry.waiting) {
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Changes what the networks of a source hold, and their ranks with it.
    fn each_network(&mut self, source: Option<Source>, change: impl Fn(&mut Holder)) {
        for network in networks(source) {
            if network.breadth == Breadth::Exempt {
                change(&mut self.exempt);
                continue;
            }
            let holder = self.holders.entry(network).or_default();
            if let Some(rank) = holder.rank(network) {
                self.ranking.remove(&rank);
            }
            change(holder);
            self.ranking.extend(holder.rank(network));
            if holder.connections == 0 && holder.arriving == 0 {
                self.holders.remove(&network);
            }
        }
    }
}

impl Entry {
    /// What it is in the set of its networks, if it can give way.
    fn candidate(&self, ticket: Ticket) -> Option<Candidate> {
        self.waiting.then_some(Candidate {
            keys_exchanged: self.keys_exchanged,
            ticket,
        })
    }
}

impl Holder {
    /// `None` while nobody of the network can give way.
    fn rank(&self, network: Network) -> Option<Rank> {
        let held = self.waiting.len().saturating_add(self.arriving);
        Some(Rank {
            weight: network.breadth.weight(held),
            first: Reverse(*self.waiting.first()?),
            network,
        })
    }
}

#[cfg(test)]
mod tests;
