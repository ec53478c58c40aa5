//! Which places the sessions of the process changed: what one of them saw of a place before is not
//! what is there now.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::Location;

/// The changes of the process. Places share a few numbers, so a place may look changed that is not.
#[derive(Debug, Clone)]
pub struct Changes(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    hasher: RandomState,
    made: AtomicU64,
    /// The last change in each part of all places.
    last: Box<[AtomicU64]>,
}

/// How many changes the process had made at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ChangesMade(u64);

impl Default for Changes {
    fn default() -> Self {
        Self(Arc::new(Numbers {
            hasher: RandomState::new(),
            made: AtomicU64::new(0),
            last: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }))
    }
}

impl Changes {
    /// Returns what to compare with: it is taken before the store is asked.
    pub(crate) fn made(&self) -> ChangesMade {
        ChangesMade(self.0.made.load(Ordering::SeqCst))
    }

    /// Notes a change, which the store has carried out or may have: before anybody is told of it.
    pub(crate) fn note(&self, location: &Location) {
        let number = self.0.made.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        if let Some(last) = self.last_of(location) {
            let _ = last.fetch_max(number, Ordering::SeqCst);
        }
    }

    /// Says whether a place may have changed since.
    pub(crate) fn since(&self, made: ChangesMade, location: &Location) -> bool {
        self.last_of(location)
            .is_none_or(|last| last.load(Ordering::SeqCst) > made.0)
    }

    fn last_of(&self, location: &Location) -> Option<&AtomicU64> {
        let hash = self.0.hasher.hash_one(location);
        let place = usize::try_from(hash % PLACES).ok()?;
        self.0.last.get(place)
    }
}

/// 32 KiB for the process.
const PLACES: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Bucket, Key};

    #[test]
    fn what_was_seen_before_a_change_is_old() {
        let changes = Changes::default();
        let location = Location {
            bucket: Bucket::parse("bucket").unwrap(),
            key: Key::parse("key").unwrap(),
        };
        let before = changes.made();
        assert!(!changes.since(before, &location));
        changes.note(&location);
        assert!(changes.since(before, &location));
        assert!(!changes.since(changes.made(), &location));
    }
}
