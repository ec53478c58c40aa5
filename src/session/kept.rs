//! What keeps directories there.
//!
//! S3 has none: one without a marker is gone with the last key below it. So for each directory
//! from which names were removed one name is remembered that is known to be there. Only when that
//! one goes is the store asked for another, and where there is none the directory gets its marker
//! before the name goes.
//!
//! The table belongs to the process, since several sessions empty a directory together: what any
//! of them is about to remove counts as gone for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::limits::{KEEPER_TRUSTED_FOR, KEPT_DIRECTORIES_MAX};

use super::plan::Folder;

/// The directories of the process from which names were removed lately.
#[derive(Debug, Clone)]
pub struct Kept {
    table: Option<Arc<Mutex<Table>>>,
}

type Table = HashMap<Hash, Row>;
type Hash = [u8; 16];

#[derive(Debug, Default)]
struct Row {
    /// A name that is there, and when it was seen.
    keeper: Option<(Hash, Instant)>,
    /// Names that are being removed.
    going: Vec<Hash>,
    /// How many look at the directory or remove something from it.
    visitors: u32,
    /// Removals that ended: what was seen before one of them may be gone.
    ended: u64,
}

/// Somebody who looks at a directory, or removes a name from it.
#[derive(Debug)]
pub(crate) struct Visit {
    table: Arc<Mutex<Table>>,
    folder: Hash,
    /// What is being removed.
    name: Option<Hash>,
    /// What was being removed when it began, this visit's name included; `None`: too many to tell
    /// what stays.
    going: Option<Vec<Hash>>,
    /// Directories that may go with the name.
    above: Vec<Hash>,
    ended: u64,
    is_kept: bool,
}

impl Kept {
    /// `keep`: directories that empty themselves stay.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self {
            table: keep.then(Arc::default),
        }
    }

    /// Begins to look at a directory.
    pub(crate) fn look(&self, folder: &Folder) -> Option<Visit> {
        self.visit(folder, None, None)
    }

    /// Begins to remove a name from a directory; that of a directory ends in a slash, and the
    /// directory's own marker is the empty one.
    pub(crate) fn remove(&self, folder: &Folder, name: &str, now: Instant) -> Option<Visit> {
        self.visit(folder, Some(hash(&[name])), Some(now))
    }

    /// Forgets which names are there, after many of them changed.
    pub(crate) fn forget(&self) {
        if let Some(table) = &self.table {
            let mut table = held(table);
            table.retain(|_, row| row.visitors > 0);
            for row in table.values_mut() {
                row.keeper = None;
                row.ended = row.ended.wrapping_add(1);
            }
        }
    }

    fn visit(&self, folder: &Folder, name: Option<Hash>, now: Option<Instant>) -> Option<Visit> {
        // Nothing is removed from a history, and its names are not those of the directory.
        let is_present = !folder.bucket.is_history();
        let shared = self.table.as_ref().filter(|_| is_present)?;
        let folder = hash(&[folder.bucket.as_str(), &folder.prefix]);
        let mut table = held(shared);
        if table.len() >= KEPT_DIRECTORIES_MAX && !table.contains_key(&folder) {
            table.retain(|_, row| row.visitors > 0);
        }
        let row = table.entry(folder).or_default();
        row.visitors = row.visitors.saturating_add(1);
        row.going.extend(name);
        let fresh = |seen: Instant| {
            now.is_some_and(|now| now.saturating_duration_since(seen) < KEEPER_TRUSTED_FOR)
        };
        let going = (row.going.len() <= GOING_MAX).then(|| row.going.clone());
        let is_kept = going.is_some()
            && row
                .keeper
                .is_some_and(|(keeper, seen)| fresh(seen) && !row.going.contains(&keeper));
        Some(Visit {
            folder,
            name,
            going,
            above: Vec::new(),
            ended: row.ended,
            is_kept,
            table: Arc::clone(shared),
        })
    }
}

impl Visit {
    /// Says whether another name is known to stay.
    pub(crate) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Returns how many names a look has to show at least to find one that stays.
    pub(crate) fn names_needed(&self) -> usize {
        // Where it cannot be told what stays, one says as much as many.
        self.going
            .as_ref()
            .map_or(1, |going| going.len().saturating_add(1))
    }

    /// Takes names that the store showed since the visit began, and says whether one of them
    /// stays.
    pub(crate) fn saw<'a>(&self, names: impl IntoIterator<Item = &'a str>, now: Instant) -> bool {
        let mut table = held(&self.table);
        let Some(row) = table.get_mut(&self.folder) else {
            return false;
        };
        let Some(going) = &self.going else {
            return false;
        };
        let mut names = names.into_iter().map(|name| hash(&[name]));
        let stays = names.find(|name| !going.contains(name) && !row.going.contains(name));
        // A removal that ended meanwhile may have been this name's.
        if let Some(name) = stays
            && row.ended == self.ended
        {
            row.keeper = Some((name, now));
        }
        stays.is_some()
    }
}

impl Visit {
    /// Notes that the directory itself may go with the name, and so may those above it: nothing
    /// keeps it.
    pub(crate) fn may_empty(&mut self, folder: &Folder) {
        let bucket = folder.bucket.as_str();
        let ends = folder.prefix.trim_end_matches('/').match_indices('/');
        let prefixes = ends.filter_map(|(at, _)| folder.prefix.get(..=at));
        self.above = prefixes
            .chain([""])
            .map(|prefix| hash(&[bucket, prefix]))
            .collect();
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut table = held(&self.table);
        for above in &self.above {
            if let Some(row) = table.get_mut(above) {
                row.keeper = None;
                row.ended = row.ended.wrapping_add(1);
            }
        }
        let Some(row) = table.get_mut(&self.folder) else {
            return;
        };
        row.visitors = row.visitors.saturating_sub(1);
        if let Some(name) = &self.name {
            if let Some(at) = row.going.iter().position(|going| going == name) {
                row.going.swap_remove(at);
            }
            row.ended = row.ended.wrapping_add(1);
            if row.keeper.is_some_and(|(keeper, _)| keeper == *name) {
                row.keeper = None;
            }
        }
        if row.visitors == 0 && row.keeper.is_none() {
            table.remove(&self.folder);
        }
    }
}

/// Beyond so many removals at once from one directory its marker is put without a closer look: all
/// of them together would keep the square of their number.
const GOING_MAX: usize = 128;

fn hash(parts: &[&str]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        // In no name of a bucket, and in no path.
        hasher.update([0]);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut hash = Hash::default();
    for (to, from) in hash.iter_mut().zip(digest) {
        *to = from;
    }
    hash
}

fn held(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::storage::Bucket;

    fn folder() -> Folder {
        Folder::new(&Bucket::parse("bucket").unwrap(), "in")
    }

    #[test]
    fn only_when_the_name_goes_that_keeps_a_directory_is_another_looked_for() {
        let (kept, now) = (Kept::new(true), SystemClock.now());
        let first = kept.remove(&folder(), "a", now).unwrap();
        assert!(!first.is_kept());
        assert_eq!(first.names_needed(), 2);
        assert!(first.saw(["a", "b"], now));
        drop(first);
        assert!(kept.remove(&folder(), "c", now).unwrap().is_kept());
        let last = kept.remove(&folder(), "b", now).unwrap();
        assert!(!last.is_kept());
        assert!(!last.saw(["b"], now));
        // The marker was put.
        assert!(last.saw([""], now));
        drop(last);
        assert!(kept.remove(&folder(), "d", now).unwrap().is_kept());
        let later = now + KEEPER_TRUSTED_FOR + Duration::from_secs(1);
        assert!(!kept.remove(&folder(), "d", later).unwrap().is_kept());
    }

    #[test]
    fn two_who_remove_the_last_two_names_do_not_rely_on_each_other() {
        let (kept, now) = (Kept::new(true), SystemClock.now());
        let one = kept.remove(&folder(), "a", now).unwrap();
        let two = kept.remove(&folder(), "b", now).unwrap();
        assert_eq!(two.names_needed(), 3);
        assert!(!one.saw(["a", "b"], now));
        assert!(!two.saw(["a", "b"], now));
        // What was seen before another one's removal ended keeps nothing.
        let three = kept.remove(&folder(), "c", now).unwrap();
        drop(two);
        assert!(!three.saw(["a", "b", "c"], now));
        assert!(three.saw(["d"], now));
        drop((one, three));
        assert!(!kept.remove(&folder(), "e", now).unwrap().is_kept());
    }

    #[test]
    fn a_history_shows_no_name_that_keeps_a_directory() {
        let (kept, now) = (Kept::new(true), SystemClock.now());
        let past = Folder::new(&folder().bucket.history("in"), "in");
        assert!(kept.look(&past).is_none());
        let last = kept.remove(&folder(), "a", now).unwrap();
        assert!(!last.is_kept());
    }

    #[test]
    fn the_table_is_bounded_and_empties_itself() {
        let (kept, now) = (Kept::new(true), SystemClock.now());
        for number in 0..=KEPT_DIRECTORIES_MAX {
            let folder = Folder::new(&folder().bucket, &number.to_string());
            assert!(kept.look(&folder).unwrap().saw([""], now));
        }
        let rows = || held(kept.table.as_ref().unwrap()).len();
        assert_eq!(rows(), 1);
        kept.forget();
        assert_eq!(rows(), 0);
        drop(kept.remove(&folder(), "a", now));
        assert_eq!(rows(), 0);
        assert!(Kept::new(false).look(&folder()).is_none());
    }
}
