//! How many connections there may be: in all, before login, and from one source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::host_of;
use crate::limits::Limits;

/// The connections there are.
#[derive(Debug)]
pub(super) struct Caps {
    connections_max: usize,
    unauthenticated_max: usize,
    per_source_max: usize,
    counts: Mutex<Counts>,
    accepted_total: AtomicU64,
    refused_total: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    unauthenticated: usize,
    sources: HashMap<IpAddr, FromSource>,
}

#[derive(Debug, Clone, Copy, Default)]
struct FromSource {
    connections: usize,
    unauthenticated: usize,
}

/// Which cap a connection would have exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OverCap {
    #[error("too many connections")]
    Connections,
    #[error("too many connections that have not logged in")]
    Unauthenticated,
    #[error("too many connections from one source")]
    Source,
}

/// The connections of this process, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Open now.
    pub connections: usize,
    /// Open now and not logged in.
    pub unauthenticated: usize,
    /// Accepted since the start.
    pub accepted_total: u64,
    /// Closed at once because of a cap, since the start.
    pub refused_total: u64,
}

impl Caps {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            connections_max: limits.connections_max,
            unauthenticated_max: limits.unauthenticated_connections_max,
            per_source_max: limits.connections_per_source_max,
            counts: Mutex::default(),
            accepted_total: AtomicU64::new(0),
            refused_total: AtomicU64::new(0),
        })
    }

    /// Counts a connection in, until the answer is dropped.
    ///
    /// Of the places before login one source leaves an eighth to the others, so that it keeps
    /// nobody out; not one that `stands_for_many`, such as a balancer.
    pub(super) fn admit(
        self: &Arc<Self>,
        source: IpAddr,
        stands_for_many: bool,
    ) -> Result<Admitted, OverCap> {
        let source = host_of(source);
        let mut counts = self.counts();
        let from_source = counts.sources.get(&source).copied().unwrap_or_default();
        let share = self.unauthenticated_max - self.unauthenticated_max / 8;
        let over = if counts.connections >= self.connections_max {
            Some(OverCap::Connections)
        } else if counts.unauthenticated >= self.unauthenticated_max {
            Some(OverCap::Unauthenticated)
        } else if from_source.connections >= self.per_source_max {
            Some(OverCap::Source)
        } else if from_source.unauthenticated >= share && !stands_for_many {
            Some(OverCap::Unauthenticated)
        } else {
            None
        };
        if let Some(over) = over {
            self.refused_total.fetch_add(1, Ordering::Relaxed);
            return Err(over);
        }
        counts.connections += 1;
        counts.unauthenticated += 1;
        let from_source = counts.sources.entry(source).or_default();
        from_source.connections += 1;
        from_source.unauthenticated += 1;
        self.accepted_total.fetch_add(1, Ordering::Relaxed);
        Ok(Admitted {
            caps: Arc::clone(self),
            source,
            authenticated: AtomicBool::new(false),
        })
    }

    pub(super) fn tally(&self) -> Tally {
        let counts = self.counts();
        Tally {
            connections: counts.connections,
            unauthenticated: counts.unauthenticated,
            accepted_total: self.accepted_total.load(Ordering::Relaxed),
            refused_total: self.refused_total.load(Ordering::Relaxed),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that counts.
#[derive(Debug)]
pub(super) struct Admitted {
    caps: Arc<Caps>,
    source: IpAddr,
    authenticated: AtomicBool,
}

impl Admitted {
    /// Makes room for another connection that has not logged in.
    pub(super) fn authenticated(&self) {
        if !self.authenticated.swap(true, Ordering::AcqRel) {
            let mut counts = self.caps.counts();
            counts.unauthenticated = counts.unauthenticated.saturating_sub(1);
            if let Some(of) = counts.sources.get_mut(&self.source) {
                of.unauthenticated = of.unauthenticated.saturating_sub(1);
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.authenticated();
        let mut counts = self.caps.counts();
        counts.connections = counts.connections.saturating_sub(1);
        if let Some(of) = counts.sources.get_mut(&self.source) {
            of.connections = of.connections.saturating_sub(1);
            if of.connections == 0 {
                counts.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(connections: usize, unauthenticated: usize, per_source: usize) -> Arc<Caps> {
        Caps::new(&Limits {
            connections_max: connections,
            unauthenticated_connections_max: unauthenticated,
            connections_per_source_max: per_source,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_cap_holds_and_frees_its_room_again() {
        let all = caps(2, 9, 9);
        let first = all.admit(ip("10.0.0.1"), false).unwrap();
        let _second = all.admit(ip("10.0.0.2"), false).unwrap();
        assert_eq!(
            all.admit(ip("10.0.0.3"), false).unwrap_err(),
            OverCap::Connections
        );
        drop(first);
        assert!(all.admit(ip("10.0.0.3"), false).is_ok());
        assert_eq!(all.tally().refused_total, 1);

        let before_login = caps(9, 1, 9);
        let first = before_login.admit(ip("10.0.0.1"), false).unwrap();
        assert_eq!(
            before_login.admit(ip("10.0.0.2"), false).unwrap_err(),
            OverCap::Unauthenticated
        );
        first.authenticated();
        first.authenticated();
        let _second = before_login.admit(ip("10.0.0.2"), false).unwrap();
        drop(first);
        assert_eq!(before_login.tally().unauthenticated, 1);

        let source = caps(9, 9, 1);
        let _first = source.admit(ip("10.0.0.1"), false).unwrap();
        assert_eq!(
            source.admit(ip("::ffff:10.0.0.1"), false).unwrap_err(),
            OverCap::Source
        );
        let _second = source.admit(ip("2001:db8::1"), false).unwrap();
        assert_eq!(
            source.admit(ip("2001:db8::2"), false).unwrap_err(),
            OverCap::Source
        );
        assert!(source.admit(ip("2001:db8:0:1::1"), false).is_ok());
    }

    #[test]
    fn one_source_leaves_places_before_login_to_the_others() {
        let caps = caps(99, 16, 99);
        let (one, other) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let first: Vec<_> = (0..14).map(|_| caps.admit(one, false).unwrap()).collect();
        let over = caps.admit(one, false).unwrap_err();
        assert_eq!(over, OverCap::Unauthenticated);
        let _other = caps.admit(other, false).unwrap();
        // Who is in takes none of them.
        first[0].authenticated();
        let _another = caps.admit(one, false).unwrap();
        assert!(caps.admit(one, false).is_err());
        let _balancer = caps.admit(one, true).unwrap();
        drop(first);
        assert!(caps.admit(one, false).is_ok());
    }
}
