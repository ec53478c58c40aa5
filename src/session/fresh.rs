//! Whole directories that a session saw a moment ago (pure): a name that is not among theirs is
//! not there.
//!
//! A name takes 24 bytes: a hash, whose last bits say what stands there, and the size and time of a
//! file. A name that has the hash of another only looks as if it were there. The hashes are keyed,
//! so nobody can find such names.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::limits::OPENING_GET_BYTES;
use crate::vfs::VirtualPath;

/// What a listing says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A file, perhaps beside a directory of that name.
    File(ListedFile),
    Directory,
    Nothing,
}

impl Shown {
    /// Says whether it is a file that the GET that answers OPEN brings as a whole.
    pub(crate) const fn is_small_file(self) -> bool {
        match self {
            Self::File(file) => file.size <= OPENING_GET_BYTES,
            Self::Directory | Self::Nothing => false,
        }
    }
}

/// What a listing says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ListedFile {
    pub(crate) size: u64,
    /// In seconds since 1970.
    pub(crate) modified: u32,
}

/// The names of one directory, or that they are too many.
#[derive(Debug, Default)]
pub(crate) struct Names(Option<Vec<Row>>);

/// One name that was listed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// With what stands there in its last bits.
    name: u64,
    file: ListedFile,
}

/// Makes [`Names`] of what S3 listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameHasher(RandomState);

/// The directories that a session saw lately.
#[derive(Debug)]
pub(crate) struct FreshListings {
    hasher: NameHasher,
    fresh_for: Duration,
    /// The latest last.
    directories: VecDeque<Directory>,
    /// What the session changed: a listing under way may show it as it was.
    changes: VecDeque<Change>,
    /// Changes up to then are forgotten.
    forgotten: Option<Instant>,
    looks: VecDeque<Look>,
}

#[derive(Debug)]
struct Change {
    path: u64,
    /// The name, and those of the directories above it: each in its directory.
    names: Vec<(u64, u64)>,
    at: Instant,
}

/// A directory in which names were looked for.
#[derive(Debug)]
struct Look {
    directory: u64,
    last: Instant,
    /// When it was to be listed in place of the last look.
    listed: Option<Instant>,
}

#[derive(Debug)]
struct Directory {
    path: VirtualPath,
    asked: Instant,
    names: Names,
}

impl NameHasher {
    /// Makes what is kept of names of files and directories, below theirs.
    pub(crate) fn rows<'a>(
        &self,
        files: impl Iterator<Item = (&'a str, ListedFile)>,
        directories: impl Iterator<Item = &'a str>,
    ) -> impl Iterator<Item = Row> {
        let row = |name, kind, file| Row {
            name: self.hash(name) | kind,
            file,
        };
        let files = files.map(move |(name, file)| row(name, FILE, file));
        let directories = directories.map(move |name| row(name, DIRECTORY, ListedFile::default()));
        files.chain(directories)
    }

    /// Says what is shown under a name; `None`: that is not known.
    pub(crate) fn shown(&self, names: &Names, name: &str) -> Option<Shown> {
        names.shown(self.hash(name))
    }

    fn hash(&self, name: &str) -> u64 {
        self.0.hash_one(name) & !KIND
    }
}

impl Names {
    /// Takes the names of a whole directory.
    pub(crate) fn of(mut names: Vec<Row>) -> Self {
        names.sort_unstable_by_key(|row| row.name);
        // A file wins over a directory of its name.
        names.dedup_by_key(|row| row.name & !KIND);
        names.shrink_to_fit();
        Self(Some(names))
    }

    /// A directory of which only a part was listed.
    pub(crate) const fn too_many() -> Self {
        Self(None)
    }

    fn bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |names| names.capacity().saturating_mul(ROW_BYTES))
    }

    fn shown(&self, hash: u64) -> Option<Shown> {
        let names = self.0.as_ref()?;
        let Ok(at) = names.binary_search_by_key(&hash, |row| row.name & !KIND) else {
            return Some(Shown::Nothing);
        };
        let row = names.get(at)?;
        match row.name & KIND {
            FILE => Some(Shown::File(row.file)),
            DIRECTORY => Some(Shown::Directory),
            _ => None,
        }
    }

    fn changed(&mut self, hash: u64) {
        let Some(names) = &mut self.0 else {
            return;
        };
        let changed = Row {
            name: hash | CHANGED,
            file: ListedFile::default(),
        };
        match names.binary_search_by_key(&hash, |row| row.name & !KIND) {
            Ok(at) => {
                if let Some(row) = names.get_mut(at) {
                    *row = changed;
                }
            }
            Err(at) => names.insert(at, changed),
        }
    }
}

impl FreshListings {
    /// Begins without any; what is listed counts for so long.
    pub(crate) fn new(fresh_for: Duration) -> Self {
        Self {
            hasher: NameHasher::default(),
            fresh_for,
            directories: VecDeque::new(),
            changes: VecDeque::new(),
            forgotten: None,
            looks: VecDeque::new(),
        }
    }

    pub(crate) const fn hasher(&self) -> &NameHasher {
        &self.hasher
    }

    pub(crate) const fn fresh_for(&self) -> Duration {
        self.fresh_for
    }

    /// Returns what is held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let directories = self.directories.iter().map(Directory::bytes);
        let changes = self.changes.iter().map(|change| {
            let names = change.names.capacity().saturating_mul(2 * NAME_BYTES);
            names.saturating_add(size_of::<Change>())
        });
        directories.chain(changes).fold(0, usize::saturating_add)
    }

    /// Takes a directory's names, for which S3 was asked at that time.
    pub(crate) fn listed(&mut self, path: VirtualPath, asked: Instant, mut names: Names) {
        if self.forgotten.is_some_and(|forgotten| asked <= forgotten) {
            return;
        }
        let above = self.hashes_above(&path);
        let own = self.hash_of(&path);
        let meanwhile = self.changes.iter().filter(|change| change.at >= asked);
        for change in meanwhile {
            if above.contains(&change.path) {
                return;
            }
            for (directory, name) in &change.names {
                if own == *directory {
                    names.changed(*name);
                }
            }
        }
        self.directories.retain(|one| one.path != path);
        while self.directories.len() >= DIRECTORIES_MAX {
            self.directories.pop_front();
        }
        self.directories.push_back(Directory { path, asked, names });
    }

    /// Says what a listing shows under a path; `None`: S3 has to be asked.
    pub(crate) fn shown(&self, path: &VirtualPath, now: Instant) -> Option<Shown> {
        self.shown_when(path, now).map(|(shown, _)| shown)
    }

    /// The same, and when S3 was asked for it.
    pub(crate) fn shown_when(&self, path: &VirtualPath, now: Instant) -> Option<(Shown, Instant)> {
        let (parent, name) = (path.parent()?, path.name()?);
        let fresh = |one: &&Directory| one.holds(self.fresh_for, now);
        let mut directories = self.directories.iter().rev().filter(fresh);
        let directory = directories.find(|one| one.path == parent)?;
        let shown = self.hasher.shown(&directory.names, name)?;
        Some((shown, directory.asked))
    }

    /// Notes that a name is of interest, and says whether to list its directory: another one was
    /// a moment ago, its names are not known, and it is not known to be large. Nothing more has to
    /// be known of one that `is_seen`.
    pub(crate) fn looks_again(&mut self, path: &VirtualPath, is_seen: bool, now: Instant) -> bool {
        let Some(parent) = path.parent() else {
            return false;
        };
        let fresh_for = self.fresh_for;
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < fresh_for;
        self.looks.retain(|look| is_fresh(look.last));
        let directory = self.hash_of(&parent);
        let looks = &mut self.looks;
        let Some(look) = looks.iter_mut().find(|look| look.directory == directory) else {
            if looks.len() >= LOOKS_MAX {
                looks.pop_front();
            }
            looks.push_back(Look {
                directory,
                last: now,
                listed: None,
            });
            return false;
        };
        look.last = now;
        let mut known = self.directories.iter();
        let is_known = known.any(|one| one.path == parent && one.holds(fresh_for, now));
        if is_seen || is_known || look.listed.is_some_and(is_fresh) {
            return false;
        }
        look.listed = Some(now);
        true
    }

    /// Notes that the session changed what stands under a name, or below it. A directory above may
    /// have come with it, or gone.
    pub(crate) fn changed(&mut self, path: &VirtualPath, now: Instant) {
        if path.as_str().split('/').count() > LEVELS_MAX {
            // More than is worth to be remembered of one change.
            self.forget_all(now);
            return;
        }
        self.directories
            .retain(|one| one.path.below(path).is_none());
        let mut names = Vec::new();
        let mut below = path.as_str();
        while let Some((parent, name)) = below.rsplit_once('/').filter(|_| below != "/") {
            let above = if parent.is_empty() { "/" } else { parent };
            let name = self.hasher.hash(name);
            for one in &mut self.directories {
                if one.path.as_str() == above {
                    one.names.changed(name);
                }
            }
            names.push((self.hasher.hash(above), name));
            below = above;
        }
        let change = Change {
            path: self.hash_of(path),
            names,
            at: now,
        };
        if self.changes.len() >= CHANGES_MAX {
            self.forgotten = self.changes.pop_front().map(|oldest| oldest.at);
        }
        self.changes.push_back(change);
    }

    /// Forgets all of it; what is under way is not taken either.
    pub(crate) fn forget_all(&mut self, now: Instant) {
        self.directories = VecDeque::new();
        self.changes = VecDeque::new();
        self.forgotten = Some(now);
    }

    /// Forgets the directory that was listed first; says whether there was one.
    pub(crate) fn forget_one(&mut self) -> bool {
        self.directories.pop_front().is_some()
    }

    /// Says when something is no longer fresh.
    pub(crate) fn until(&self) -> Option<Instant> {
        let ends = self.directories.iter().filter(|one| one.names.0.is_some());
        let ends = ends.filter_map(|one| one.asked.checked_add(self.fresh_for));
        ends.min()
    }

    /// Forgets what is no longer fresh.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        let fresh_for = self.fresh_for;
        self.directories.retain(|one| one.holds(fresh_for, now));
        while let Some(oldest) = self.changes.front()
            && now.saturating_duration_since(oldest.at) >= CHANGED_FOR
        {
            self.forgotten = self.changes.pop_front().map(|oldest| oldest.at);
        }
    }

    fn hash_of(&self, path: &VirtualPath) -> u64 {
        self.hasher.hash(path.as_str())
    }

    /// Of the path itself as well.
    fn hashes_above(&self, path: &VirtualPath) -> Vec<u64> {
        let paths = path.ancestors_and_self();
        paths.map(|path| self.hasher.hash(path)).collect()
    }
}

impl Directory {
    /// Says whether what it says still counts.
    fn holds(&self, fresh_for: Duration, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.asked);
        match self.names.0 {
            Some(_) => age < fresh_for,
            None => age < LARGE_FOR,
        }
    }

    fn bytes(&self) -> usize {
        let path = self.path.as_str().len();
        self.names
            .bytes()
            .saturating_add(path)
            .saturating_add(DIRECTORY_COST)
    }
}

const KIND: u64 = 3;
const FILE: u64 = 0;
const DIRECTORY: u64 = 1;
const CHANGED: u64 = 2;

const DIRECTORIES_MAX: usize = 8;
const CHANGES_MAX: usize = 64;
const LOOKS_MAX: usize = 8;
/// Directories above a name whose names are remembered with a change.
const LEVELS_MAX: usize = 32;
/// How long changes are remembered: no listing takes longer.
const CHANGED_FOR: Duration = Duration::from_secs(60);
/// How long a directory that was too large is not listed again for looks.
const LARGE_FOR: Duration = Duration::from_secs(60);
const NAME_BYTES: usize = 8;
/// What a name takes that was listed.
pub(crate) const ROW_BYTES: usize = size_of::<Row>();
/// What a directory takes beside its path and names.
const DIRECTORY_COST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const FRESH: Duration = Duration::from_secs(2);
    const FILE_SEEN: ListedFile = ListedFile {
        size: 3,
        modified: 7,
    };

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text).unwrap()
    }

    fn names(listed: &FreshListings, files: &[&str], directories: &[&str]) -> Names {
        let files = files.iter().map(|name| (*name, FILE_SEEN));
        let directories = directories.iter().copied();
        Names::of(listed.hasher().rows(files, directories).collect())
    }

    fn seen(listed: &mut FreshListings, asked: Instant) {
        let names = names(listed, &["file", "both"], &["both", "below"]);
        listed.listed(path("/in"), asked, names);
    }

    #[test]
    fn a_whole_listing_says_what_is_there_and_what_is_not_while_it_is_fresh() {
        let (mut listed, now) = (FreshListings::new(FRESH), SystemClock.now());
        assert_eq!(listed.shown(&path("/in/file"), now), None);
        seen(&mut listed, now);
        for (name, shown) in [
            ("/in/file", Some(Shown::File(FILE_SEEN))),
            ("/in/both", Some(Shown::File(FILE_SEEN))),
            ("/in/below", Some(Shown::Directory)),
            ("/in/other", Some(Shown::Nothing)),
            ("/in/below/x", None),
            ("/out", None),
            ("/", None),
        ] {
            assert_eq!(listed.shown(&path(name), now), shown, "{name}");
            assert_eq!(listed.shown(&path(name), now + FRESH), None);
        }
        listed.forget_old(now + FRESH);
        assert_eq!(listed.bytes(), 0);
    }

    #[test]
    fn nothing_is_fresh_where_nothing_may_be() {
        let (mut listed, now) = (FreshListings::new(Duration::ZERO), SystemClock.now());
        seen(&mut listed, now);
        assert_eq!(listed.shown(&path("/in/file"), now), None);
        assert!(!listed.looks_again(&path("/in/a"), false, now));
        assert!(!listed.looks_again(&path("/in/a"), false, now));
    }

    #[test]
    fn what_the_session_changed_has_to_be_asked_about() {
        let (mut listed, now) = (FreshListings::new(FRESH), SystemClock.now());
        seen(&mut listed, now);
        listed.changed(&path("/in/file"), now);
        listed.changed(&path("/in/new"), now);
        assert_eq!(listed.shown(&path("/in/file"), now), None);
        assert_eq!(listed.shown(&path("/in/new"), now), None);
        assert_eq!(
            listed.shown(&path("/in/below"), now),
            Some(Shown::Directory)
        );
        // Also where a listing that was under way comes after it.
        seen(&mut listed, now);
        assert_eq!(listed.shown(&path("/in/new"), now), None);
        assert_eq!(
            listed.shown(&path("/in/below"), now),
            Some(Shown::Directory)
        );
        let later = now + Duration::from_millis(1);
        seen(&mut listed, later);
        assert_eq!(listed.shown(&path("/in/new"), later), Some(Shown::Nothing));
    }

    #[test]
    fn a_directory_that_goes_takes_its_names_along() {
        let (mut listed, now) = (FreshListings::new(FRESH), SystemClock.now());
        for directory in ["/in", "/in/below"] {
            let names = names(&listed, &["file"], &[]);
            listed.listed(path(directory), now, names);
        }
        listed.listed(path("/"), now, names(&listed, &[], &["in"]));
        listed.changed(&path("/in"), now);
        for name in ["/in", "/in/other", "/in/below/other"] {
            assert_eq!(listed.shown(&path(name), now), None);
        }
        seen(&mut listed, now);
        assert_eq!(listed.shown(&path("/in/other"), now), None);
    }

    #[test]
    fn a_directory_may_come_and_go_with_what_is_in_it() {
        let (mut listed, now) = (FreshListings::new(FRESH), SystemClock.now());
        let whole = |listed: &mut FreshListings| {
            let names = names(listed, &[], &["there"]);
            listed.listed(path("/"), now, names);
        };
        whole(&mut listed);
        assert_eq!(listed.shown(&path("/new"), now), Some(Shown::Nothing));
        for name in ["/new/x/y", "/there/x"] {
            listed.changed(&path(name), now);
        }
        for _ in 0..2 {
            assert_eq!(listed.shown(&path("/new"), now), None);
            assert_eq!(listed.shown(&path("/there"), now), None);
            whole(&mut listed);
        }
    }

    #[test]
    fn little_is_kept_of_changes() {
        let (mut listed, now) = (FreshListings::new(FRESH), SystemClock.now());
        for levels in [LEVELS_MAX - 1, 2_000] {
            seen(&mut listed, now);
            for number in 0..200 {
                listed.changed(&path(&format!("/{number}{}", "/a".repeat(levels - 1))), now);
            }
            assert!(listed.bytes() < 64 * 1024, "{}", listed.bytes());
        }
        assert_eq!(listed.shown(&path("/in/other"), now), None);
        listed.changed(&path("/a"), now);
        listed.forget_old(now + CHANGED_FOR);
        assert_eq!(listed.bytes(), 0);
        seen(&mut listed, now);
        assert_eq!(listed.shown(&path("/in/other"), now), None, "it is older");
    }

    #[test]
    fn a_listing_that_is_older_than_what_is_remembered_of_changes_is_not_kept() {
        let (mut listed, now) = (FreshListings::new(FRESH), SystemClock.now());
        for number in 0..=CHANGES_MAX {
            listed.changed(&path(&format!("/in/{number}")), now);
        }
        seen(&mut listed, now);
        assert_eq!(listed.shown(&path("/in/other"), now), None);
    }

    #[test]
    fn the_second_look_into_a_directory_that_is_not_large_lists_it() {
        let (mut listed, now) = (FreshListings::new(FRESH), SystemClock.now());
        assert!(!listed.looks_again(&path("/in/a"), false, now));
        assert!(!listed.looks_again(&path("/out/a"), false, now));
        assert!(listed.looks_again(&path("/in/b"), false, now));
        assert!(
            !listed.looks_again(&path("/in/c"), false, now),
            "it is under way"
        );
        assert!(
            !listed.looks_again(&path("/out/b"), false, now + FRESH),
            "too late"
        );
        let half = now + FRESH / 2;
        seen(&mut listed, now);
        assert!(
            !listed.looks_again(&path("/in/d"), false, half),
            "it is known"
        );
        let later = now + FRESH;
        assert!(listed.looks_again(&path("/in/e"), false, later));
        listed.listed(path("/in"), later, Names::too_many());
        listed.forget_old(later + FRESH);
        for seconds in 1..60 {
            let later = later + Duration::from_secs(seconds);
            assert!(!listed.looks_again(&path("/in/f"), false, later));
            assert_eq!(listed.shown(&path("/in/f"), later), None);
        }
        assert!(listed.looks_again(&path("/in/g"), false, later + LARGE_FOR));
    }

    #[test]
    fn little_is_kept_of_names() {
        let (mut listed, now) = (FreshListings::new(FRESH), SystemClock.now());
        let long: Vec<String> = (0..1_000).map(|n| format!("{n:0>250}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        for number in 0..100 {
            let names = names(&listed, &long, &[]);
            listed.listed(path(&format!("/{number}")), now, names);
        }
        assert!(listed.bytes() < 8 * 25_000, "{}", listed.bytes());
        assert_eq!(listed.shown(&path("/99/x"), now), Some(Shown::Nothing));
        while listed.forget_one() {}
        assert_eq!(listed.bytes(), 0);
    }
}
