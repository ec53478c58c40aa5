//! Who has a place, and who gives one up when places before login run out (pure).
//!
//! Connections before login are counted by network: an IPv4 address, and for IPv6 the /64, /56 and
//! /48 around the address, so that a provider's customer with 65,536 /64s is not 65,536 sources. A
//! wider network may hold more: twice as much as a /64 counts for a /56, four times for a /48. When
//! nothing is free, the network that holds most for its share gives up one of its connections:
//! first one that has not finished a key exchange, then the oldest. The newcomer counts for its
//! own network, so whoever holds most replaces a connection of their own.
//!
//! Every operation costs a few look-ups in ordered sets, however many connections there are.

#![warn(clippy::arithmetic_side_effects)]

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// Names a connection, in the order of arrival.
pub(super) type Ticket = u64;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: IpAddr,
    /// Never made to give way, whatever it holds: such as a load balancer that hides its clients.
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
pub(super) struct Places {
    bounds: Bounds,
    next: Ticket,
    entries: HashMap<Ticket, Entry>,
    /// Entries that have not logged in.
    waiting: usize,
    /// Displaced connections whose tasks have not ended yet.
    leaving: HashSet<Ticket>,
    holders: HashMap<Network, Holder>,
    /// The networks with somebody who can give way, least first.
    ranking: BTreeSet<Rank>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Unknown until a proxy has named it: then it counts for the process alone.
    source: Option<Source>,
    waiting: bool,
    keys_exchanged: bool,
}

/// What one network has.
#[derive(Debug, Default)]
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
}

impl Breadth {
    /// How many times more than one host it may hold.
    const fn shares(self) -> usize {
        match self {
            Self::Address | Self::Prefix64 => 1,
            Self::Prefix56 => 2,
            Self::Prefix48 => 4,
        }
    }

    /// Compares what networks hold: the count over the shares, without fractions.
    const fn weight(self, count: usize) -> usize {
        let units = match self {
            Self::Address | Self::Prefix64 => 4,
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
        }
    }
}

fn networks(address: IpAddr) -> impl Iterator<Item = Network> {
    const V4: &[Breadth] = &[Breadth::Address];
    const V6: &[Breadth] = &[Breadth::Prefix64, Breadth::Prefix56, Breadth::Prefix48];
    let (bits, breadths) = match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), V4),
        IpAddr::V6(address) => (address.to_bits(), V6),
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
            ranking: BTreeSet::new(),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Gives a newcomer a place, if need be that of another; a source that is not known yet counts
    /// for the process alone.
    pub(super) fn admit(&mut self, source: Option<Source>) -> Result<Arrival, OverCap> {
        self.check_source(source)?;
        let full = self.entries.len() >= self.bounds.connections_max;
        let displaced = if full || self.waiting >= self.bounds.waiting_max {
            let over = if full {
                OverCap::Connections
            } else {
                OverCap::Unauthenticated
            };
            Some(self.displace(source).ok_or(over)?)
        } else {
            None
        };
        let ticket = self.next;
        self.next = self.next.wrapping_add(1);
        self.entries.insert(
            ticket,
            Entry {
                source: None,
                waiting: true,
                keys_exchanged: false,
            },
        );
        self.waiting = self.waiting.saturating_add(1);
        if let Some(source) = source {
            self.count_in(ticket, source);
        }
        Ok(Arrival { ticket, displaced })
    }

    /// Counts a connection for its source, once that is known.
    pub(super) fn name(&mut self, ticket: Ticket, source: Source) -> Result<(), OverCap> {
        if self.entries.get(&ticket).is_none_or(|e| e.source.is_some()) {
            return Ok(());
        }
        self.check_source(Some(source))?;
        self.count_in(ticket, source);
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
    fn displace(&mut self, newcomer: Option<Source>) -> Option<Ticket> {
        // As many as there may be are on their way out: there is no room for their successors.
        if self.leaving.len() >= self.bounds.waiting_max {
            return None;
        }
        let counted = newcomer.filter(|source| !source.exempt);
        self.each_network(counted, |holder| {
            holder.arriving = holder.arriving.saturating_add(1);
        });
        let first = self.ranking.last().map(|rank| rank.first.0.ticket);
        self.each_network(counted, |holder| {
            holder.arriving = holder.arriving.saturating_sub(1);
        });
        let ticket = first?;
        self.remove(ticket);
        self.leaving.insert(ticket);
        Some(ticket)
    }

    fn check_source(&self, source: Option<Source>) -> Result<(), OverCap> {
        let mut counted = source.into_iter().flat_map(|of| networks(of.address));
        let over = counted.any(|network| {
            let most = self.bounds.per_source_max;
            let most = most.saturating_mul(network.breadth.shares());
            let holder = self.holders.get(&network);
            holder.is_some_and(|holder| holder.connections >= most)
        });
        if over { Err(OverCap::Source) } else { Ok(()) }
    }

    fn count_in(&mut self, ticket: Ticket, source: Source) {
        let Some(entry) = self.entries.get_mut(&ticket) else {
            return;
        };
        entry.source = Some(source);
        let candidate = entry.candidate(ticket);
        self.each_network(Some(source), |holder| {
            holder.connections = holder.connections.saturating_add(1);
            holder.waiting.extend(candidate);
        });
    }

    fn remove(&mut self, ticket: Ticket) {
        self.authenticated(ticket);
        let Some(entry) = self.entries.remove(&ticket) else {
            return;
        };
        self.each_network(entry.source, |holder| {
            holder.connections = holder.connections.saturating_sub(1);
        });
    }

    /// Changes what the networks of a source hold, and their ranks with it.
    fn each_network(&mut self, source: Option<Source>, change: impl Fn(&mut Holder)) {
        let all = source.into_iter().flat_map(|of| networks(of.address));
        for network in all {
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
        let gives_way = self.waiting && self.source.is_some_and(|source| !source.exempt);
        gives_way.then_some(Candidate {
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
