//! The virtual tree that a session's mappings make, and what a path in it means.

use std::collections::BTreeSet;

use super::mapping::{Access, EntryType, HomeType, Mapping, MappingError};
use super::path::VirtualPath;
use crate::limits;
use crate::storage::{Bucket, Key, Location, NameError};

/// A session's whole world: its mappings and where it lands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeDirectory {
    home_type: HomeType,
    landing: VirtualPath,
    mappings: Vec<Mapping>,
    /// Places in `mappings`, in the byte order of the entries: what stands below a directory
    /// stands side by side. Directories that exist only because an entry stands below them are
    /// found like this as well. This keeps thousands of mappings small.
    order: Vec<u32>,
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// A directory without storage, above one or more entries.
    Virtual,
    /// The entry of a directory mapping itself: it always exists.
    MappingRoot { mapping: &'a Mapping },
    /// Something inside a directory mapping.
    Inside {
        mapping: &'a Mapping,
        location: Location,
    },
    /// The one object of a file mapping.
    File {
        mapping: &'a Mapping,
        location: Location,
    },
    /// Below no mapping (or below a file).
    Nowhere,
}

impl HomeDirectory {
    /// Builds a LOGICAL home from its mappings.
    ///
    /// # Errors
    /// Names the first rule that is broken: no mapping, too many, `/` beside others, an entry that
    /// is, or stands below, another one, a landing directory outside of all of them.
    pub fn logical(mut mappings: Vec<Mapping>, landing: VirtualPath) -> Result<Self, MappingError> {
        if mappings.is_empty() {
            return Err(MappingError::None);
        }
        if mappings.len() > limits::MAPPINGS_MAX {
            return Err(MappingError::TooMany(mappings.len()));
        }
        if mappings.len() > 1 && mappings.iter().any(|mapping| mapping.entry.is_root()) {
            return Err(MappingError::RootBesideOthers(
                mappings.len().saturating_sub(1),
            ));
        }
        share_buckets(&mut mappings);
        mappings.shrink_to_fit();
        let home = Self {
            home_type: HomeType::Logical,
            landing,
            order: ordered(&mappings),
            mappings,
        };
        home.check_overlaps()?;
        match home.place(&home.landing) {
            Ok(Place::Virtual | Place::MappingRoot { .. } | Place::Inside { .. }) => Ok(home),
            Ok(Place::File { .. } | Place::Nowhere) | Err(_) => {
                Err(MappingError::HomeElsewhere(home.landing.as_str().into()))
            }
        }
    }

    /// Builds a PATH home: the directory `/bucket/prefix` under its own name, and nothing beside
    /// it. `/` names no bucket: the user gets in and finds nothing, as on AWS.
    ///
    /// # Errors
    /// As for a mapping's target; one trailing slash is forgiven.
    pub fn path(home: &str, access: Access) -> Result<Self, MappingError> {
        let trimmed = home.strip_suffix('/').unwrap_or(home);
        if trimmed.is_empty() && home == "/" {
            return Ok(Self {
                home_type: HomeType::Path,
                landing: VirtualPath::root(),
                mappings: Vec::new(),
                order: Vec::new(),
            });
        }
        let mapping = Mapping::parse(trimmed, trimmed, EntryType::Directory, access)?;
        let landing = mapping.entry.clone();
        let mut built = Self::logical(vec![mapping], landing)?;
        built.home_type = HomeType::Path;
        Ok(built)
    }

    #[must_use]
    pub const fn home_type(&self) -> HomeType {
        self.home_type
    }

    #[must_use]
    pub const fn landing(&self) -> &VirtualPath {
        &self.landing
    }

    #[must_use]
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// Says what a path means.
    ///
    /// # Errors
    /// The name would make a key that S3 does not take.
    pub fn place(&self, path: &VirtualPath) -> Result<Place<'_>, NameError> {
        if let Some(mapping) = self.mapping_of(path) {
            let below = path.below(&mapping.entry).unwrap_or_default();
            return place_in(mapping, below);
        }
        if path.is_root() || self.below(path).next().is_some() {
            return Ok(Place::Virtual);
        }
        Ok(Place::Nowhere)
    }

    /// Returns the names in a virtual directory, with what stands under each.
    pub fn children(&self, path: &VirtualPath) -> impl Iterator<Item = (&str, EntryType)> {
        let mut last = None;
        self.below(path).filter_map(move |(mapping, rest)| {
            let (name, entry_type) = match rest.split_once('/') {
                Some((name, _)) => (name, EntryType::Directory),
                None => (rest, mapping.entry_type),
            };
            // What has the same name stands side by side.
            (last.replace(name) != Some(name)).then_some((name, entry_type))
        })
    }

    /// Returns the mappings whose entries stand below a path, and how each goes on from there.
    fn below(&self, path: &VirtualPath) -> impl Iterator<Item = (&Mapping, &str)> {
        let prefix = if path.is_root() {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        let from = self.order.partition_point(|at| self.entry(*at) < &*prefix);
        let rest = self.order.get(from..).unwrap_or_default();
        rest.iter().map_while(move |at| {
            let rest = self.entry(*at).strip_prefix(&*prefix)?;
            Some((self.mapping(*at)?, rest))
        })
    }

    /// Finds the one mapping whose entry is the path or an ancestor of it: entries do not overlap.
    fn mapping_of(&self, path: &VirtualPath) -> Option<&Mapping> {
        path.ancestors_and_self()
            .find_map(|ancestor| self.mapping_at(ancestor))
    }

    fn mapping_at(&self, entry: &str) -> Option<&Mapping> {
        let found = self
            .order
            .binary_search_by(|at| self.entry(*at).cmp(entry))
            .ok()?;
        self.mapping(*self.order.get(found)?)
    }

    /// What stands below an entry follows it in the order, with nothing between but names that go
    /// on with a character before `/`, such as `/a-b` between `/a` and `/a/b`.
    fn check_overlaps(&self) -> Result<(), MappingError> {
        let mut rest = &*self.order;
        while let Some((first, after)) = rest.split_first() {
            let entry = self.entry(*first);
            for other in after.iter().map(|at| self.entry(*at)) {
                match other.strip_prefix(entry).map(|more| more.bytes().next()) {
                    Some(None | Some(b'/')) => {
                        return Err(MappingError::Overlap(entry.into(), other.into()));
                    }
                    Some(Some(next)) if next < b'/' => {}
                    Some(Some(_)) | None => break,
                }
            }
            rest = after;
        }
        Ok(())
    }

    fn mapping(&self, at: u32) -> Option<&Mapping> {
        self.mappings.get(usize::try_from(at).ok()?)
    }

    fn entry(&self, at: u32) -> &str {
        self.mapping(at)
            .map_or("", |mapping| mapping.entry.as_str())
    }
}

fn place_in<'a>(mapping: &'a Mapping, below: &str) -> Result<Place<'a>, NameError> {
    match (mapping.entry_type, below) {
        (EntryType::Directory, "") => Ok(Place::MappingRoot { mapping }),
        (EntryType::Directory, below) => {
            let location = locate(&mapping.bucket, &mapping.prefix, below)?;
            Ok(Place::Inside { mapping, location })
        }
        (EntryType::File, "") => {
            let key = Key::parse(&mapping.prefix)?;
            Ok(Place::File {
                mapping,
                location: Location {
                    bucket: mapping.bucket.clone(),
                    key,
                },
            })
        }
        (EntryType::File, _) => Ok(Place::Nowhere),
    }
}

fn locate(bucket: &Bucket, prefix: &str, below: &str) -> Result<Location, NameError> {
    let key = if prefix.is_empty() {
        Key::parse(below)?
    } else {
        Key::parse(&format!("{prefix}/{below}"))?
    };
    Ok(Location {
        bucket: bucket.clone(),
        key,
    })
}

/// Returns the places of mappings in the order of their entries.
fn ordered(mappings: &[Mapping]) -> Vec<u32> {
    let mut order: Vec<u32> = (0_u32..).take(mappings.len()).collect();
    let entry = |at: &u32| {
        let mapping = mappings.get(usize::try_from(*at).ok()?)?;
        Some(mapping.entry.as_str())
    };
    order.sort_unstable_by(|one, other| entry(one).cmp(&entry(other)));
    order
}

/// Keeps the name of each bucket once.
fn share_buckets(mappings: &mut [Mapping]) {
    let mut known: BTreeSet<Bucket> = BTreeSet::new();
    for mapping in mappings {
        if let Some(bucket) = known.get(&mapping.bucket) {
            mapping.bucket = bucket.clone();
        } else {
            known.insert(mapping.bucket.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapping(entry: &str, target: &str) -> Mapping {
        Mapping::parse(entry, target, EntryType::Directory, Access::ReadWrite).unwrap()
    }

    fn home(rows: &[(&str, &str)]) -> Result<HomeDirectory, MappingError> {
        let rows = rows
            .iter()
            .map(|(entry, target)| mapping(entry, target))
            .collect();
        HomeDirectory::logical(rows, VirtualPath::root())
    }

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text).unwrap()
    }

    #[test]
    fn rules_of_the_contract_are_kept() {
        let reason = |rows: &[(&str, &str)]| home(rows).unwrap_err().reason().as_str();
        assert_eq!(reason(&[]), "mappings-missing");
        assert_eq!(reason(&[("/", "/b"), ("/a", "/b/a")]), "entries-overlap");
        assert_eq!(
            reason(&[("/a", "/b/1"), ("/a/x/y", "/b/2")]),
            "entries-overlap"
        );
        assert_eq!(reason(&[("/a", "/b/1"), ("/a", "/b/2")]), "entries-overlap");
        assert!(home(&[("/a", "/b/1"), ("/ab", "/b/2"), ("/c/d", "/b/3")]).is_ok());
    }

    #[test]
    fn targets_are_checked() {
        let reason = |target| {
            let parsed = Mapping::parse("/a", target, EntryType::Directory, Access::Read);
            parsed.unwrap_err().reason().as_str()
        };
        assert_eq!(reason("b/x"), "target-no-leading-slash");
        assert_eq!(reason("/b/x/"), "target-trailing-slash");
        assert_eq!(reason("/b//x"), "target-component");
        assert_eq!(reason("/b/../x"), "target-component");
        assert_eq!(reason("/b/${aws:username}"), "target-variable");
        assert_eq!(reason("/"), "target-bucket");
        let file = Mapping::parse("/a", "/b", EntryType::File, Access::Read);
        assert_eq!(file.unwrap_err().reason().as_str(), "file-without-key");
    }

    #[test]
    fn paths_find_their_places() {
        let mut rows = vec![mapping("/pics", "/b1/pics"), mapping("/x/y/z", "/b2")];
        let file = Mapping::parse(
            "/rates.csv",
            "/b3/r/2026.csv",
            EntryType::File,
            Access::Read,
        );
        rows.push(file.unwrap());
        let home = HomeDirectory::logical(rows, VirtualPath::root()).unwrap();
        let show = |text: &str| match home.place(&path(text)).unwrap() {
            Place::Virtual => "virtual".to_owned(),
            Place::MappingRoot { mapping } => format!("root {}", mapping.bucket),
            Place::Inside { location, .. } => location.to_string(),
            Place::File { location, .. } => format!("file {location}"),
            Place::Nowhere => "nowhere".to_owned(),
        };
        for (text, expected) in [
            ("/", "virtual"),
            ("/pics", "root b1"),
            ("/pics/a b", "s3://b1/pics/a b"),
            ("/x", "virtual"),
            ("/x/y", "virtual"),
            ("/x/y/z", "root b2"),
            ("/x/y/z/q/r", "s3://b2/q/r"),
            ("/x/q", "nowhere"),
            ("/rates.csv", "file s3://b3/r/2026.csv"),
            ("/rates.csv/x", "nowhere"),
            ("/picsx", "nowhere"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
        let names: Vec<_> = home.children(&VirtualPath::root()).collect();
        assert_eq!(
            names,
            [
                ("pics", EntryType::Directory),
                ("rates.csv", EntryType::File),
                ("x", EntryType::Directory)
            ]
        );
    }

    #[test]
    fn a_landing_directory_must_be_in_or_above_the_mappings() {
        let build = |landing| HomeDirectory::logical(vec![mapping("/h/u/in", "/b")], path(landing));
        for good in ["/", "/h", "/h/u", "/h/u/in", "/h/u/in/deep"] {
            assert!(build(good).is_ok(), "{good}");
        }
        for bad in ["/other", "/h/u/out", "/h/v"] {
            assert_eq!(
                build(bad).unwrap_err().reason().as_str(),
                "home-not-in-mappings",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_path_home_shows_itself_and_nothing_else() {
        let home = HomeDirectory::path("/bucket/users/ann/", Access::ReadWrite).unwrap();
        assert_eq!(home.landing().as_str(), "/bucket/users/ann");
        assert_eq!(
            home.place(&path("/bucket/users/bob")).unwrap(),
            Place::Nowhere
        );
        assert_eq!(home.place(&path("/bucket")).unwrap(), Place::Virtual);
        let empty = HomeDirectory::path("/", Access::ReadWrite).unwrap();
        assert_eq!(empty.place(&path("/")).unwrap(), Place::Virtual);
        assert_eq!(empty.place(&path("/bucket")).unwrap(), Place::Nowhere);
    }

    /// Components from a tiny alphabet: collisions are where the faults are.
    fn component() -> impl Strategy<Value = String> {
        prop_oneof![5 => "[a-]{1,2}", 1 => Just(".".to_owned()), 1 => Just("..".to_owned()),
            1 => Just(String::new()), 1 => Just("\0".to_owned())]
    }

    fn raw_path() -> impl Strategy<Value = String> {
        prop::collection::vec(component(), 0..6).prop_map(|names| names.join("/"))
    }

    proptest! {
        #[test]
        fn no_input_reaches_a_location_outside_the_mappings(
            entries in prop::collection::vec("(/[a-]{1,2}){1,3}", 1..5),
            base in "(/[a-]{1,2}){0,2}",
            raw in raw_path(),
        ) {
            let rows: Vec<_> = entries.iter().enumerate()
                .map(|(at, entry)| mapping(entry, &format!("/bucket-{at}/p{at}")))
                .collect();
            let Ok(home) = HomeDirectory::logical(rows, VirtualPath::root()) else { return Ok(()) };
            let base = VirtualPath::parse(if base.is_empty() { "/" } else { &base }).unwrap();
            let Ok(path) = VirtualPath::resolve(&base, raw.as_bytes()) else { return Ok(()) };
            prop_assert_eq!(&VirtualPath::parse(path.as_str()).unwrap(), &path);
            if let Ok(Place::Inside { mapping, location }) = home.place(&path) {
                prop_assert_eq!(&mapping.bucket, &location.bucket);
                let inside = location.key.as_str().strip_prefix(&format!("{}/", mapping.prefix));
                prop_assert_eq!(inside, path.below(&mapping.entry));
                let dotted = |name: &str| matches!(name, "" | "." | "..");
                prop_assert!(!inside.unwrap_or_default().split('/').any(dotted));
            }
        }

        #[test]
        fn children_are_those_of_a_naive_tree(
            entries in prop::collection::vec("(/[a!-]{1,2}){1,3}", 1..8),
            asked in "(/[a!-]{1,2}){0,3}",
        ) {
            let rows: Vec<_> = entries.iter().map(|entry| mapping(entry, "/bucket/p")).collect();
            let Ok(home) = HomeDirectory::logical(rows, VirtualPath::root()) else { return Ok(()) };
            let above = format!("{asked}/");
            let rests = entries.iter().filter_map(|entry| entry.strip_prefix(&above));
            let naive: BTreeSet<_> = rests.filter_map(|rest| rest.split('/').next()).collect();
            let path = path(if asked.is_empty() { "/" } else { &asked });
            let is_virtual = matches!(home.place(&path), Ok(Place::Virtual));
            prop_assert_eq!(is_virtual, asked.is_empty() || !naive.is_empty());
            let mut children: Vec<_> = home.children(&path).map(|(name, _)| name).collect();
            children.sort_unstable();
            prop_assert_eq!(&children, &naive.into_iter().collect::<Vec<_>>());
        }
    }
}
