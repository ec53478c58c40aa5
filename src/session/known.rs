//! What a session remembers of names for a while, to save calls to S3.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::budget::{Charge, Share};
use crate::limits::KNOWN_BYTES_KEPT;
use crate::sftp::Attributes;
use crate::storage::Location;
use crate::vfs::{Ending, VirtualPath};

use super::act::PathRequest;
use super::changes::{Changes, ChangesMade};
use super::fresh::{FreshListings, NameHasher, Names as ListedNames, Shown};
use super::seen_sums::SeenSums;
use super::sums::VersionSums;

/// Names that were seen. Beyond a little they are on the account of bytes, and forgotten where it
/// has nothing left.
#[derive(Debug)]
pub(crate) struct Known {
    /// A file may be put there without looking again, and they are there until they are removed.
    directories: Names,
    /// Those that were seen before, forgotten when there are as many new ones.
    earlier: Names,
    /// Paths under which STAT found no directory a moment ago: most clients look before they put.
    looked: VecDeque<Looked>,
    looked_bytes: usize,
    sums: SeenSums,
    just_stated: Option<JustStated>,
    listed: FreshListings,
    account: Share,
    charge: Option<Charge>,
}

/// Paths, and what they cost.
#[derive(Debug, Default)]
struct Names {
    paths: BTreeSet<VirtualPath>,
    bytes: usize,
}

/// What STAT found under a path that is no directory.
#[derive(Debug)]
struct Looked {
    path: VirtualPath,
    asked: Instant,
    nothing: bool,
}

/// What a STAT was told of a file just now.
#[derive(Debug)]
pub(crate) struct JustStated {
    pub(crate) path: VirtualPath,
    /// STAT or LSTAT.
    pub(crate) operation: &'static str,
    pub(crate) asked: Instant,
    /// Before S3 was asked.
    pub(crate) made: ChangesMade,
    pub(crate) attrs: Attributes,
}

/// What a STAT or a listing found under a name just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lately {
    /// A directory, or nobody looked.
    Unknown,
    /// Nobody looked, and the names of its directory are worth a look.
    Worthwhile,
    /// A file, or nothing.
    NoDirectory,
    Nothing,
}

impl Known {
    /// Begins without any. What was looked at or listed counts for so long.
    pub(crate) fn new(account: Share, fresh_for: Duration) -> Self {
        Self {
            directories: Names::new(),
            earlier: Names::new(),
            looked: VecDeque::new(),
            looked_bytes: 0,
            sums: SeenSums::default(),
            just_stated: None,
            listed: FreshListings::new(fresh_for),
            account,
            charge: None,
        }
    }

    /// Notes that a directory is there.
    pub(crate) fn directory(&mut self, directory: VirtualPath) {
        if self.directories.paths.contains(&directory) {
            return;
        }
        if self.directories.paths.len() >= DIRECTORIES_MAX / 2 {
            self.earlier = std::mem::take(&mut self.directories);
        }
        let cost = cost(&directory);
        if !self.has_room(cost) {
            self.earlier = std::mem::take(&mut self.directories);
        }
        if !self.has_room(cost) {
            self.earlier = Names::new();
        }
        if self.has_room(cost) {
            self.directories.insert(directory);
        }
        self.give_back();
    }

    pub(crate) fn is_directory(&self, path: &VirtualPath) -> bool {
        self.directories.paths.contains(path) || self.earlier.paths.contains(path)
    }

    /// Forgets a directory and what is below it.
    pub(crate) fn forget(&mut self, directory: &VirtualPath) {
        self.directories.forget(directory);
        self.earlier.forget(directory);
        self.give_back();
    }

    /// Notes that a STAT found a file, or `nothing`.
    pub(crate) fn no_directory(&mut self, path: VirtualPath, asked: Instant, nothing: bool) {
        let cost = cost(&path);
        while self.looked.len() >= LOOKED_MAX || !self.has_room(cost) {
            let Some(oldest) = self.looked.pop_front() else {
                return;
            };
            self.looked_bytes = self.looked_bytes.saturating_sub(self::cost(&oldest.path));
        }
        self.looked_bytes = self.looked_bytes.saturating_add(cost);
        self.looked.push_back(Looked {
            path,
            asked,
            nothing,
        });
        self.give_back();
    }

    /// Takes what a STAT told of a file's checksums.
    pub(crate) fn saw_sums(&mut self, path: VirtualPath, asked: Instant, sums: VersionSums) {
        if self.listed.fresh_for().is_zero() {
            return;
        }
        let cost = SeenSums::cost(&path, &sums);
        while self.sums.len() >= LOOKED_MAX || !self.has_room(cost) {
            if !self.sums.forget_one() {
                return;
            }
        }
        self.sums.add(path, asked, sums);
        self.give_back();
    }

    /// Returns what a STAT told just now of a file's checksums.
    pub(crate) fn sums_of(&self, path: &VirtualPath, now: Instant) -> Option<&VersionSums> {
        self.sums.of(path, self.listed.fresh_for(), now)
    }

    /// Returns what a STAT or a listing found there just now. A directory that came since stays
    /// reachable beside the file: S3 allows both.
    pub(crate) fn lately(&self, path: &VirtualPath, now: Instant) -> Lately {
        let looked = self.looked_at(path, now);
        // What was asked later counts.
        let listed = self.listed.shown_when(path, now);
        let listed = listed.filter(|(_, asked)| looked.is_none_or(|one| one.asked < *asked));
        match (looked, listed) {
            (_, Some((Shown::Nothing, _))) => Lately::Nothing,
            (_, Some((Shown::File(_), _))) => Lately::NoDirectory,
            (_, Some((Shown::Directory, _))) | (None, None) => Lately::Unknown,
            (Some(one), None) if one.nothing => Lately::Nothing,
            (Some(_), None) => Lately::NoDirectory,
        }
    }

    /// The same for an OPEN that puts something there. Where names of a directory are opened one
    /// after the other it is worth while to list it.
    pub(crate) fn before_open(&mut self, path: &VirtualPath, now: Instant) -> Lately {
        let lately = self.lately(path, now);
        let is_seen = lately != Lately::Unknown;
        if self.listed.looks_again(path, is_seen, now) {
            return Lately::Worthwhile;
        }
        lately
    }

    /// Notes what a STAT or an LSTAT was told.
    pub(crate) fn stated(&mut self, stated: JustStated) {
        if !self.listed.fresh_for().is_zero() {
            self.just_stated = Some(stated);
        }
    }

    /// Returns what an LSTAT was told of a file for the STAT that follows it, or the other way
    /// around: clients ask both before they read. It is told once.
    pub(crate) fn stated_again(
        &mut self,
        request: &PathRequest,
        changes: &Changes,
        location: &Location,
    ) -> Option<Attributes> {
        let just = self.just_stated.take()?;
        let asked = request.pending.asked();
        let is_other = just.operation != request.pending.operation();
        let fresh_for = self.listed.fresh_for().min(STATED_FOR);
        let is_fresh = asked.saturating_duration_since(just.asked) < fresh_for;
        let is_same = just.path == request.path && request.ending == Ending::Name;
        let holds = is_same && is_other && is_fresh && !changes.since(just.made, location);
        holds.then_some(just.attrs)
    }

    /// Forgets what the last STAT was told.
    pub(crate) fn asked_otherwise(&mut self) {
        self.just_stated = None;
    }

    /// Says what a listing of the directory showed there just now.
    pub(crate) fn shown(&self, path: &VirtualPath, now: Instant) -> Option<Shown> {
        self.listed.shown(path, now)
    }

    /// Forgets what is too old.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        self.listed.forget_old(now);
        self.sums.forget_old(self.listed.fresh_for(), now);
        self.give_back();
    }

    /// Says when something is to be forgotten.
    pub(crate) fn until(&self) -> Option<Instant> {
        let sums = self.sums.until(self.listed.fresh_for());
        [self.listed.until(), sums].into_iter().flatten().min()
    }

    /// Makes names for [`Self::listed`].
    pub(crate) const fn hasher(&self) -> &NameHasher {
        self.listed.hasher()
    }

    /// Takes the names of a directory, for which S3 was asked at that time.
    pub(crate) fn listed(&mut self, path: VirtualPath, asked: Instant, names: ListedNames) {
        self.listed.listed(path, asked, names);
        while !self.has_room(0) {
            if !self.listed.forget_one() {
                break;
            }
        }
        self.give_back();
    }

    fn looked_at(&self, path: &VirtualPath, now: Instant) -> Option<&Looked> {
        let fresh_for = self.listed.fresh_for();
        let fresh = |one: &Looked| now.saturating_duration_since(one.asked) < fresh_for;
        let mut newest = self.looked.iter().rev();
        newest.find(|one| one.path == *path && fresh(one))
    }

    /// Forgets what was seen where a name changed.
    pub(crate) fn changed(&mut self, name: &VirtualPath, now: Instant) {
        self.listed.changed(name, now);
        self.just_stated = None;
        self.sums.forget(name);
        if !self.has_room(0) {
            self.listed.forget_all(now);
        }
        self.looked.retain(|one| !name.is_related(&one.path));
        let left = self.looked.iter().map(|one| cost(&one.path));
        self.looked_bytes = left.fold(0, usize::saturating_add);
        self.give_back();
    }

    // ---- memory ----

    /// Returns what has to be on the account with so much more.
    fn needed(&self, more: usize) -> u64 {
        let bytes = self
            .directories
            .bytes
            .saturating_add(self.earlier.bytes)
            .saturating_add(self.looked_bytes)
            .saturating_add(self.sums.bytes())
            .saturating_add(self.listed.bytes())
            .saturating_add(more);
        // In steps, so that the account is not asked for each name.
        let steps = bytes.saturating_sub(KNOWN_BYTES_KEPT).div_ceil(STEP_BYTES);
        u64::try_from(steps.saturating_mul(STEP_BYTES)).unwrap_or(u64::MAX)
    }

    /// Says whether there is memory for more, and asks the account if there is not.
    fn has_room(&mut self, more: usize) -> bool {
        let charged = self.charge.as_ref().map_or(0, Charge::bytes);
        let lacking = self.needed(more).saturating_sub(charged);
        if lacking == 0 {
            return true;
        }
        let more = self.account.try_take(lacking);
        more.map(|more| more.join_into(&mut self.charge)).is_some()
    }

    /// Gives back what nothing needs any more.
    fn give_back(&mut self) {
        match self.needed(0) {
            0 => self.charge = None,
            needed => {
                if let Some(charge) = &mut self.charge {
                    charge.shrink_to(needed);
                }
            }
        }
    }
}

impl Names {
    const fn new() -> Self {
        Self {
            paths: BTreeSet::new(),
            bytes: 0,
        }
    }

    fn insert(&mut self, path: VirtualPath) {
        self.bytes = self.bytes.saturating_add(cost(&path));
        self.paths.insert(path);
    }

    fn forget(&mut self, directory: &VirtualPath) {
        self.paths.retain(|known| known.below(directory).is_none());
        self.bytes = self.paths.iter().map(cost).fold(0, usize::saturating_add);
    }
}

/// Returns what a path costs.
fn cost(path: &VirtualPath) -> usize {
    path.as_str().len().saturating_add(PATH_BYTES)
}

const DIRECTORIES_MAX: usize = 1_000;
const LOOKED_MAX: usize = 64;
/// How long an answer to LSTAT serves the STAT that follows it.
const STATED_FOR: Duration = Duration::from_secs(1);
/// What a path takes beside its text.
const PATH_BYTES: usize = 96;
const STEP_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fresh::ListedFile;
    use super::*;
    use crate::budget::Budget;
    use crate::clock::{Clock as _, SystemClock};
    use crate::limits::Limits;

    const FRESH: Duration = Duration::from_secs(2);

    fn account(bytes: u64) -> Arc<Budget> {
        Budget::new(&Limits {
            session_memory_bytes_max: bytes,
            ..Limits::default()
        })
    }

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text).unwrap()
    }

    #[test]
    fn the_latest_directories_are_known_and_the_others_forgotten() {
        let path = |number: usize| path(&format!("/{number}/d"));
        let budget = account(1024 * 1024);
        let mut known = Known::new(budget.account().share(), FRESH);
        for number in 0..3 * DIRECTORIES_MAX {
            known.directory(path(number));
            assert!(known.is_directory(&path(number.saturating_sub(400))));
        }
        let names = known.directories.paths.len() + known.earlier.paths.len();
        assert!(names <= DIRECTORIES_MAX);
        let last = 3 * DIRECTORIES_MAX - 1;
        known.forget(&VirtualPath::parse(&format!("/{last}")).unwrap());
        assert!(!known.is_directory(&path(last)));
        assert!(known.is_directory(&path(last - 1)));
        assert!(budget.account().taken_bytes() > 0);
        known.forget(&VirtualPath::root());
        assert_eq!(budget.account().taken_bytes(), 0);
    }

    #[test]
    fn names_that_are_remembered_are_on_the_account() {
        const NAME_BYTES: usize = 4_000;
        let budget = account(256 * 1024);
        let mut known = Known::new(budget.account().share(), FRESH);
        let long = |number: usize| path(&format!("/{number:0>NAME_BYTES$}"));
        let now = SystemClock.now();
        for number in 0..1_000 {
            known.directory(long(number));
            assert!(known.is_directory(&long(number)), "there is room for some");
            known.no_directory(long(number), now, true);
            let held = [&known.directories, &known.earlier]
                .into_iter()
                .map(|names| names.paths.len())
                .sum::<usize>();
            let bytes = (held + known.looked.len()) * NAME_BYTES;
            let taken = usize::try_from(budget.account().taken_bytes()).unwrap();
            assert!(bytes <= taken + KNOWN_BYTES_KEPT, "{bytes} of {taken}");
        }
        // Others have some left.
        assert!(budget.account().taken_bytes() <= 128 * 1024);
        known.forget(&VirtualPath::root());
        known.changed(&VirtualPath::root(), now);
        assert_eq!(budget.account().taken_bytes(), 0);
    }

    #[test]
    fn what_was_asked_later_counts() {
        let budget = account(1024 * 1024);
        let mut known = Known::new(budget.account().share(), FRESH);
        let (now, later) = (SystemClock.now(), SystemClock.now() + FRESH / 4);
        let file = |known: &Known| {
            let file = [("x", ListedFile::default())].into_iter();
            ListedNames::of(known.hasher().rows(file, [].into_iter()).collect())
        };
        known.no_directory(path("/in/x"), now, true);
        assert_eq!(known.lately(&path("/in/x"), later), Lately::Nothing);
        let names = file(&known);
        known.listed(path("/in"), later, names);
        assert_eq!(known.lately(&path("/in/x"), later), Lately::NoDirectory);
        known.no_directory(path("/in/x"), later, true);
        assert_eq!(known.lately(&path("/in/x"), later), Lately::Nothing);
    }

    #[test]
    fn where_the_account_has_nothing_little_is_remembered() {
        let budget = account(16 * 1024);
        let others: Vec<_> = (0..20)
            .map(|_| budget.account().share())
            .filter_map(|share| share.try_take(1024))
            .collect();
        let mut known = Known::new(budget.account().share(), FRESH);
        for number in 0..1_000 {
            known.directory(path(&format!("/{number}")));
        }
        assert!(known.is_directory(&path("/999")));
        assert!(known.directories.bytes + known.earlier.bytes <= KNOWN_BYTES_KEPT);
        drop(others);
    }
}
