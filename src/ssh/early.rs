//! Connections that ended before login: the first of a source and reason in a minute has a line of
//! its own, the others are summed up (pure).
//!
//! Scanners and health checks make them by thousands, so the number of lines is bounded whatever
//! they do: [`SOURCES_MAX`] first ones and as many sums each minute, and one sum for those that come
//! after that many.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What ended before login in this minute.
#[derive(Debug, Default)]
pub(super) struct Early {
    since: Option<Instant>,
    sources: BTreeMap<(IpAddr, &'static str), u64>,
    /// From sources that found no room.
    others: BTreeMap<&'static str, u64>,
}

/// Connections of one source that have no line of their own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// `None`: several that found no room.
    pub(super) source: Option<IpAddr>,
    pub(super) connections: u64,
    /// How many for each reason: `hello-timeout:2 not-ssh:7`.
    pub(super) reasons: String,
}

impl Early {
    /// Counts one; says whether it has a line of its own.
    pub(super) fn note(&mut self, now: Instant, source: IpAddr, reason: &'static str) -> bool {
        self.since.get_or_insert(now);
        let key = (network(source), reason);
        if let Some(more) = self.sources.get_mut(&key) {
            *more = more.saturating_add(1);
            return false;
        }
        if self.sources.len() < SOURCES_MAX {
            self.sources.insert(key, 0);
            return true;
        }
        let more = self.others.entry(reason).or_default();
        *more = more.saturating_add(1);
        false
    }

    /// Returns the sums of a minute that is over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Sum> {
        match self.since {
            Some(since) if now.saturating_duration_since(since) >= MINUTE => self.take(),
            Some(_) | None => Vec::new(),
        }
    }

    /// Returns the sums so far, and resets them.
    pub(super) fn take(&mut self) -> Vec<Sum> {
        let Self {
            sources, others, ..
        } = std::mem::take(self);
        let mut by_source = BTreeMap::<_, Vec<_>>::new();
        for ((source, reason), count) in sources {
            if count > 0 {
                let counts = by_source.entry(source).or_default();
                counts.push((reason, count));
            }
        }
        let mut sums: Vec<_> = by_source
            .into_iter()
            .map(|(source, counts)| Sum::of(Some(source), counts))
            .collect();
        if !others.is_empty() {
            sums.push(Sum::of(None, others.into_iter().collect()));
        }
        sums
    }
}

impl Sum {
    fn of(source: Option<IpAddr>, counts: Vec<(&'static str, u64)>) -> Self {
        let mut connections = 0_u64;
        let mut reasons = Vec::new();
        for (reason, count) in counts {
            connections = connections.saturating_add(count);
            reasons.push(format!("{reason}:{count}"));
        }
        Self {
            source,
            connections,
            reasons: reasons.join(" "),
        }
    }
}

/// An IPv6 client has a /64 to choose from.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Sources and reasons that have lines of their own in one minute.
const SOURCES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn at(last: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, last, 0, 0, 0, 0, 1))
    }

    #[test]
    fn the_first_has_a_line_and_the_others_a_sum() {
        let mut early = Early::default();
        let start = SystemClock.now();
        let source = "203.0.113.7".parse().unwrap();
        assert!(early.note(start, source, "not-ssh"));
        assert!(early.note(start, source, "hello-timeout"));
        for _ in 0..198 {
            assert!(!early.note(start, source, "not-ssh"));
        }
        assert!(!early.note(start, source, "hello-timeout"));
        assert!(early.note(start, at(1), "not-ssh"));
        assert_eq!(early.due(start + MINUTE / 2), []);
        let sum = Sum {
            source: Some(source),
            connections: 199,
            reasons: "hello-timeout:1 not-ssh:198".to_owned(),
        };
        assert_eq!(early.due(start + MINUTE), [sum]);
        assert_eq!(early.due(start + 3 * MINUTE), []);
        assert!(early.note(start + 3 * MINUTE, source, "not-ssh"));
    }

    #[test]
    fn many_sources_have_few_lines() {
        let mut early = Early::default();
        let start = SystemClock.now();
        let lines = (0..10_000)
            .filter(|&last| early.note(start, at(last), "not-ssh"))
            .count();
        assert_eq!(lines, SOURCES_MAX);
        let sums = early.take();
        let [sum] = &*sums else { panic!("{sums:?}") };
        assert_eq!((sum.source, sum.connections), (None, 10_000 - 256));
    }
}
