//! How many names a source may ask about (pure).
//!
//! A look-up of keys fails for most names without saying anything about the client, so it counts
//! as no failure; but a source that asks about many names searches for those that exist, or
//! keeps the provider busy.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits;

/// The names that each source looked up and did not log in with.
#[derive(Debug, Default)]
pub(super) struct Names {
    sources: HashMap<IpAddr, Looked>,
    /// Names of all sources together.
    kept: usize,
    hasher: RandomState,
}

#[derive(Debug)]
struct Looked {
    /// Hashes are enough to tell names apart, and bounded.
    names: HashSet<u64>,
    /// A look-up was refused, and told.
    refused: bool,
    forgotten_at: Instant,
}

/// What came of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Allowed,
    /// The source has used up its names; `first` of those that are refused.
    OverBound {
        first: bool,
    },
}

impl Names {
    /// Counts a name that a source asks about, unless it did before.
    pub(super) fn look(
        &mut self,
        source: IpAddr,
        user: &str,
        names_max: usize,
        window: Duration,
        now: Instant,
    ) -> Look {
        let name = self.hasher.hash_one(user);
        if self
            .sources
            .get(&source)
            .is_some_and(|of| of.forgotten_at <= now)
        {
            self.drop_source(source);
        }
        if !self.sources.contains_key(&source) {
            self.make_room(now);
        }
        let looked = self.sources.entry(source).or_insert_with(|| Looked {
            names: HashSet::new(),
            refused: false,
            forgotten_at: now + window,
        });
        if looked.names.contains(&name) {
            return Look::Allowed;
        }
        if looked.names.len() >= names_max {
            let first = !std::mem::replace(&mut looked.refused, true);
            return Look::OverBound { first };
        }
        looked.names.insert(name);
        self.kept = self.kept.saturating_add(1);
        Look::Allowed
    }

    /// Takes a name back: its user has logged in.
    pub(super) fn forget(&mut self, source: IpAddr, user: &str) {
        let name = self.hasher.hash_one(user);
        if let Some(looked) = self.sources.get_mut(&source)
            && looked.names.remove(&name)
        {
            self.kept = self.kept.saturating_sub(1);
            // Only names are counted against the bound of the table: none is left without.
            if looked.names.is_empty() {
                self.sources.remove(&source);
            }
        }
    }

    /// Forgets what a source asked about, or what all did; returns how many sources there were.
    pub(super) fn unlock(&mut self, source: Option<IpAddr>) -> usize {
        let before = self.sources.len();
        match source {
            Some(source) => self.drop_source(source),
            None => {
                self.sources.clear();
                self.kept = 0;
            }
        }
        before.saturating_sub(self.sources.len())
    }

    fn drop_source(&mut self, source: IpAddr) {
        if let Some(looked) = self.sources.remove(&source) {
            self.kept = self.kept.saturating_sub(looked.names.len());
        }
    }

    /// Keeps the table in its bound: first what is over goes, then what began first.
    fn make_room(&mut self, now: Instant) {
        if self.kept < limits::LOOKED_UP_NAMES_MAX {
            return;
        }
        self.sources.retain(|_, looked| looked.forgotten_at > now);
        let mut ends: Vec<Instant> = self.sources.values().map(|of| of.forgotten_at).collect();
        ends.sort_unstable();
        if let Some(oldest) = ends.get(ends.len() / 16).copied() {
            self.sources
                .retain(|_, looked| looked.forgotten_at > oldest);
        }
        self.kept = self.sources.values().map(|looked| looked.names.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const WINDOW: Duration = Duration::from_secs(900);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_source_has_so_many_names_in_a_window() {
        let (mut names, now) = (Names::default(), SystemClock.now());
        let mut look = |source, user: &str, at| names.look(source, user, 2, WINDOW, at);
        assert_eq!(look(ip(1), "ann", now), Look::Allowed);
        assert_eq!(look(ip(1), "ann", now), Look::Allowed);
        assert_eq!(look(ip(1), "bob", now), Look::Allowed);
        assert_eq!(look(ip(1), "cid", now), Look::OverBound { first: true });
        assert_eq!(look(ip(1), "cid", now), Look::OverBound { first: false });
        assert_eq!(
            look(ip(1), "ann", now),
            Look::Allowed,
            "a name that was asked before"
        );
        assert_eq!(look(ip(2), "cid", now), Look::Allowed);
        assert_eq!(look(ip(1), "dan", now + WINDOW), Look::Allowed);
    }

    #[test]
    fn names_that_logged_in_do_not_count() {
        let (mut names, now) = (Names::default(), SystemClock.now());
        for user in 0..100 {
            let user = format!("user-{user}");
            assert_eq!(names.look(ip(1), &user, 2, WINDOW, now), Look::Allowed);
            names.forget(ip(1), &user);
        }
        assert_eq!(names.kept, 0);
        assert!(names.sources.is_empty(), "who only logs in leaves nothing");
    }

    #[test]
    fn the_table_is_bounded_for_all_sources_together() {
        let (mut names, now) = (Names::default(), SystemClock.now());
        for source in 0..2_000_u32 {
            let source_ip = IpAddr::from(source.to_be_bytes());
            let later = now + Duration::from_millis(u64::from(source));
            for user in 0..100 {
                names.look(source_ip, &format!("user-{user}"), 100, WINDOW, later);
            }
        }
        let counted: usize = names
            .sources
            .values()
            .map(|looked| looked.names.len())
            .sum();
        assert_eq!(counted, names.kept);
        assert!(names.kept <= limits::LOOKED_UP_NAMES_MAX + 101);
        assert!(names.unlock(Some(ip(1))) == 0);
        assert!(names.unlock(None) > 0);
        assert_eq!(names.kept, 0);
    }
}
