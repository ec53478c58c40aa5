//! Which places the sessions of the process changed: what one of them saw of a place before is not
//! what is there now.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

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
    /// The last place in each part, by its hash, and when it was changed; empty unless somebody
    /// asks for it.
    times: Mutex<Box<[(u64, SystemTime)]>>,
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
            times: Mutex::default(),
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

    /// Has it remembered when places change: of the last thousands.
    pub(crate) fn keep_times(&self) {
        let mut times = self.times();
        if times.is_empty() {
            *times = (0..TIMES).map(|_| (0, SystemTime::UNIX_EPOCH)).collect();
        }
    }

    /// Notes when a user's session changed a place, before anybody is told of it.
    pub(crate) fn note_time(&self, location: &Location, now: SystemTime) {
        let (hash, mut times) = (self.0.hasher.hash_one(location), self.times());
        if let Some(row) = times.get_mut(usize::try_from(hash % TIMES).unwrap_or_default()) {
            *row = (hash, now);
        }
    }

    /// Says whether a session is known to have changed a place after a time.
    pub(crate) fn is_newer(&self, location: &Location, than: SystemTime) -> bool {
        let (hash, times) = (self.0.hasher.hash_one(location), self.times());
        let row = times.get(usize::try_from(hash % TIMES).unwrap_or_default());
        row.is_some_and(|(place, at)| *place == hash && *at >= than)
    }

    fn times(&self) -> MutexGuard<'_, Box<[(u64, SystemTime)]>> {
        self.0.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_of(&self, location: &Location) -> Option<&AtomicU64> {
        let hash = self.0.hasher.hash_one(location);
        let place = usize::try_from(hash % PLACES).ok()?;
        self.0.last.get(place)
    }
}

/// 32 KiB for the process.
const PLACES: u64 = 4_096;
/// 384 KiB for a process that keeps records of uploads.
const TIMES: u64 = 16_384;

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

    #[test]
    fn when_a_place_was_changed_is_known_where_somebody_asks() {
        let changes = Changes::default();
        let [one, other] = ["a", "b"].map(|key| Location {
            bucket: Bucket::parse("bucket").unwrap(),
            key: Key::parse(key).unwrap(),
        });
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        changes.note_time(&one, at(5));
        assert!(!changes.is_newer(&one, at(4)));
        changes.keep_times();
        changes.note_time(&one, at(5));
        assert!(changes.is_newer(&one, at(4)) && !changes.is_newer(&one, at(6)));
        assert!(!changes.is_newer(&other, at(4)));
    }
}
