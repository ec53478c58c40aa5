//! The virtual tree that a session's mappings make, and what a path in it means.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Entry → index into `mappings`.
    entries: BTreeMap<VirtualPath, usize>,
    /// Directories that exist only because an entry stands below them → the names in them.
    virtual_children: BTreeMap<VirtualPath, BTreeSet<Box<str>>>,
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
    pub fn logical(mappings: Vec<Mapping>, landing: VirtualPath) -> Result<Self, MappingError> {
        if mappings.is_empty() {
            return Err(MappingError::None);
        }
        if mappings.len() > limits::MAPPINGS_MAX {
            return Err(MappingError::TooMany(mappings.len()));
        }
        if mappings.len() > 1 && mappings.iter().any(|mapping| mapping.entry.is_root()) {
            return Err(MappingError::RootBesideOthers(mappings.len() - 1));
        }
        let entries = index(&mappings)?;
        let virtual_children = virtual_children(&mappings);
        let home = Self {
            home_type: HomeType::Logical,
            landing,
            mappings,
            entries,
            virtual_children,
        };
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
                entries: BTreeMap::new(),
                virtual_children: BTreeMap::from([(VirtualPath::root(), BTreeSet::new())]),
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
        if self.virtual_children.contains_key(path) {
            return Ok(Place::Virtual);
        }
        Ok(Place::Nowhere)
    }

    /// Returns the names in a virtual directory, with what stands under each.
    pub fn children(&self, path: &VirtualPath) -> impl Iterator<Item = (&str, EntryType)> {
        let parent = path.clone();
        self.virtual_children
            .get(path)
            .into_iter()
            .flatten()
            .map(move |name| {
                let child = VirtualPath::resolve(&parent, name.as_bytes());
                let mapping = child
                    .ok()
                    .and_then(|child| self.entries.get(&child).copied());
                let entry_type = mapping
                    .and_then(|at| self.mappings.get(at))
                    .map(|m| m.entry_type);
                (&**name, entry_type.unwrap_or_default())
            })
    }

    /// Finds the one mapping whose entry is the path or an ancestor of it: entries do not overlap.
    fn mapping_of(&self, path: &VirtualPath) -> Option<&Mapping> {
        let (_, at) = path.ancestors_and_self().find_map(|ancestor| {
            let ancestor = VirtualPath::parse(ancestor).ok()?;
            self.entries.get_key_value(&ancestor)
        })?;
        self.mappings.get(*at)
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

fn index(mappings: &[Mapping]) -> Result<BTreeMap<VirtualPath, usize>, MappingError> {
    let mut entries = BTreeMap::new();
    for (at, mapping) in mappings.iter().enumerate() {
        if entries.insert(mapping.entry.clone(), at).is_some() {
            return Err(overlap(&mapping.entry, &mapping.entry));
        }
    }
    for entry in entries.keys() {
        let above = entry
            .ancestors_and_self()
            .filter(|ancestor| *ancestor != entry.as_str());
        for ancestor in above.filter_map(|text| VirtualPath::parse(text).ok()) {
            if entries.contains_key(&ancestor) {
                return Err(overlap(&ancestor, entry));
            }
        }
    }
    Ok(entries)
}

fn overlap(one: &VirtualPath, other: &VirtualPath) -> MappingError {
    MappingError::Overlap(one.as_str().into(), other.as_str().into())
}

fn virtual_children(mappings: &[Mapping]) -> BTreeMap<VirtualPath, BTreeSet<Box<str>>> {
    let mut directories: BTreeMap<VirtualPath, BTreeSet<Box<str>>> = BTreeMap::new();
    for mapping in mappings {
        let mut path = mapping.entry.clone();
        while let (Some(parent), Some(name)) = (path.parent(), path.name()) {
            let known = !directories
                .entry(parent.clone())
                .or_default()
                .insert(name.into());
            if known {
                break;
            }
            path = parent;
        }
    }
    directories
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
        let reason = |rows: &[(&str, &str)]| home(rows).unwrap_err().reason();
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
            parsed.unwrap_err().reason()
        };
        assert_eq!(reason("b/x"), "target-no-leading-slash");
        assert_eq!(reason("/b/x/"), "target-trailing-slash");
        assert_eq!(reason("/b//x"), "target-component");
        assert_eq!(reason("/b/../x"), "target-component");
        assert_eq!(reason("/b/${aws:username}"), "target-variable");
        assert_eq!(reason("/"), "target-bucket");
        let file = Mapping::parse("/a", "/b", EntryType::File, Access::Read);
        assert_eq!(file.unwrap_err().reason(), "file-without-key");
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
                build(bad).unwrap_err().reason(),
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
    }
}
