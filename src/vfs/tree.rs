//! A session's whole world: what its home directory shows, and where it lands.

use std::sync::Arc;

use super::mapped::MappedTree;
use super::mapping::{Access, EntryType, HomeType, Mapping, MappingError, PartialUploads};
use super::past;
use super::path::VirtualPath;
use super::place::Place;
use super::role::RoleTree;
use crate::storage::addressing::Buckets;
use crate::storage::{Bucket, Location, NameError, ObjectSettings};

/// What a session can name, and where it lands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeDirectory {
    home_type: HomeType,
    landing: VirtualPath,
    /// Shared by the sessions of one answer.
    tree: Arc<Tree>,
    /// `/.history` shows what the files were.
    history: bool,
}

/// What confines a session.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tree {
    /// Its mappings.
    Mapped(MappedTree),
    /// Its role, and nothing else.
    Role(RoleTree),
}

impl HomeDirectory {
    /// Builds a LOGICAL home from its mappings.
    ///
    /// # Errors
    /// Names the first rule that is broken: no mapping, too many, `/` beside others, an entry that
    /// is, or stands below, another one, a landing directory outside of all of them.
    pub fn logical(mappings: Vec<Mapping>, landing: VirtualPath) -> Result<Self, MappingError> {
        let tree = MappedTree::new(mappings)?;
        match tree.place(&landing) {
            Ok(Place::Virtual | Place::MappingRoot { .. } | Place::Inside { .. }) => {}
            Ok(Place::File { .. } | Place::Buckets | Place::Bucket { .. } | Place::Nowhere)
            | Err(_) => {
                return Err(MappingError::HomeElsewhere(landing.as_str().into()));
            }
        }
        Ok(Self {
            home_type: HomeType::Logical,
            landing,
            tree: Arc::new(Tree::Mapped(tree)),
            history: false,
        })
    }

    /// Builds a PATH home: the directory `/bucket/prefix` under its own name, and nothing beside
    /// it. `/` names no bucket: the user gets in and finds nothing, as on AWS.
    ///
    /// # Errors
    /// As for a mapping's target; one trailing slash is forgiven.
    pub fn path(home: &str, access: Access) -> Result<Self, MappingError> {
        let (landing, tree) = match own_place(home, access)? {
            Some(mapping) => (mapping.entry.clone(), MappedTree::new(vec![mapping])?),
            None => (VirtualPath::root(), MappedTree::default()),
        };
        Ok(Self {
            home_type: HomeType::Path,
            landing,
            tree: Arc::new(Tree::Mapped(tree)),
            history: false,
        })
    }

    /// Builds a PATH home as AWS has it: the user lands in it, and walks as far as the role lets.
    /// Only credentials that are the user's own confine such a session.
    ///
    /// # Errors
    /// As for a mapping's target; one trailing slash is forgiven.
    pub fn of_role(home: &str, access: Access) -> Result<Self, MappingError> {
        let home = own_place(home, access)?;
        let landing = home.as_ref().map(|home| home.entry.clone());
        Ok(Self {
            home_type: HomeType::Path,
            landing: landing.unwrap_or_else(VirtualPath::root),
            tree: Arc::new(Tree::Role(RoleTree::new(home, access))),
            history: false,
        })
    }

    #[must_use]
    pub const fn home_type(&self) -> HomeType {
        self.home_type
    }

    #[must_use]
    pub const fn landing(&self) -> &VirtualPath {
        &self.landing
    }

    /// Returns the directories that are there whatever is in them.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping] {
        match &*self.tree {
            Tree::Mapped(tree) => tree.mappings(),
            Tree::Role(tree) => tree.home(),
        }
    }

    /// Returns the same home with one name for each bucket, where `name` knows a better one;
    /// `None`: it is so already.
    #[must_use]
    pub fn with_names(&self, name: &dyn Fn(&Bucket) -> Option<Bucket>) -> Option<Self> {
        match &*self.tree {
            Tree::Mapped(tree) => Some(Self {
                tree: Arc::new(Tree::Mapped(tree.renamed(name)?)),
                ..self.clone()
            }),
            // It reaches no store whose buckets have several names.
            Tree::Role(_) => None,
        }
    }

    /// Says whether the role alone confines the session.
    #[must_use]
    pub fn is_of_role(&self) -> bool {
        match *self.tree {
            Tree::Mapped(_) => false,
            Tree::Role(_) => true,
        }
    }

    /// Says who chooses the buckets that are asked for.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        match &*self.tree {
            Tree::Mapped(_) => Buckets::OfMappings,
            Tree::Role(tree) => Buckets::OfRole {
                home: tree.home().first().map(|home| home.bucket.clone()),
            },
        }
    }

    /// Says what a path means.
    ///
    /// # Errors
    /// The name would make a key that S3 does not take.
    pub fn place(&self, path: &VirtualPath) -> Result<Place<'_>, NameError> {
        match self.present_of(path) {
            Some(present) => self.present_place(&present).map(past::of),
            None => self.present_place(path),
        }
    }

    /// Returns the same home, in which `/.history` shows what the files were.
    #[must_use]
    pub fn with_history(self) -> Self {
        Self {
            history: true,
            ..self
        }
    }

    /// Says whether `/.history` shows what the files were.
    #[must_use]
    pub const fn has_history(&self) -> bool {
        self.history
    }

    /// Says whether a path stands for what a file was.
    #[must_use]
    pub fn is_past(&self, path: &VirtualPath) -> bool {
        self.present_of(path).is_some()
    }

    /// Returns what a path of the history is about; `None`: it is none.
    fn present_of(&self, path: &VirtualPath) -> Option<VirtualPath> {
        past::present(path).filter(|_| self.history)
    }

    fn present_place(&self, path: &VirtualPath) -> Result<Place<'_>, NameError> {
        match &*self.tree {
            Tree::Mapped(tree) => tree.place(path),
            Tree::Role(tree) => tree.place(path),
        }
    }

    /// Says what its mapping wants to become of a file whose client disconnects before CLOSE;
    /// `None`: the mapping says nothing.
    #[must_use]
    pub fn partial_uploads(&self, path: &VirtualPath) -> Option<PartialUploads> {
        match self.place(path).ok()? {
            Place::MappingRoot { mapping } | Place::Inside { mapping, .. } => {
                mapping.partial_uploads
            }
            Place::File { mapping, .. } => mapping.partial_uploads,
            Place::Virtual | Place::Buckets | Place::Bucket { .. } | Place::Nowhere => None,
        }
    }

    /// Returns what the mapping with the longest target says of an object there; `None`: it says
    /// nothing.
    #[must_use]
    pub fn objects_at(&self, location: &Location) -> Option<&Arc<ObjectSettings>> {
        match &*self.tree {
            Tree::Mapped(tree) => tree.objects_at(location),
            Tree::Role(_) => None,
        }
    }

    /// Returns the names that a directory above a mapping has whatever S3 shows there, with what
    /// stands under each.
    pub fn children<'a>(
        &'a self,
        path: &VirtualPath,
    ) -> impl Iterator<Item = (&'a str, EntryType)> + use<'a> {
        let present = self.present_of(path);
        let path = present.as_ref().unwrap_or(path);
        let (mapped, above) = match &*self.tree {
            Tree::Mapped(tree) => (Some(tree.children(path)), None),
            Tree::Role(tree) => (None, tree.child(path)),
        };
        let above = above.map(|name| (name, EntryType::Directory));
        mapped.into_iter().flatten().chain(above)
    }
}

/// Returns a PATH home as a mapping of itself; `None` for `/`, which names no bucket.
fn own_place(home: &str, access: Access) -> Result<Option<Mapping>, MappingError> {
    if home == "/" {
        return Ok(None);
    }
    let trimmed = home.strip_suffix('/').unwrap_or(home);
    Mapping::parse(trimmed, trimmed, EntryType::Directory, access).map(Some)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
            Place::Buckets => "buckets".to_owned(),
            Place::Bucket { bucket, .. } => format!("bucket {bucket}"),
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

    #[test]
    fn a_home_of_a_role_reaches_what_the_role_does() {
        let home = HomeDirectory::of_role("/bucket/users/ann/", Access::ReadWrite).unwrap();
        assert_eq!(home.landing().as_str(), "/bucket/users/ann");
        let show = |text: &str| match home.place(&path(text)).unwrap() {
            Place::MappingRoot { mapping } => format!("root {}", mapping.prefix),
            Place::Inside { mapping, location } => format!("{} {location}", mapping.entry),
            Place::Buckets => "buckets".to_owned(),
            Place::Bucket { bucket, .. } => format!("bucket {bucket}"),
            Place::Nowhere => "nowhere".to_owned(),
            Place::Virtual | Place::File { .. } => unreachable!("there are no mappings"),
        };
        for (text, expected) in [
            ("/", "buckets"),
            ("/bucket", "root "),
            ("/bucket/x", "/bucket s3://bucket/x"),
            ("/bucket/users", "root users"),
            ("/bucket/users/ann", "root users/ann"),
            (
                "/bucket/users/ann/a b",
                "/bucket/users/ann s3://bucket/users/ann/a b",
            ),
            ("/bucket/users/anna", "/bucket/users s3://bucket/users/anna"),
            ("/bucket/usersann", "/bucket s3://bucket/usersann"),
            ("/other", "bucket other"),
            ("/other/x/y", "/other s3://other/x/y"),
            ("/no bucket", "nowhere"),
            ("/no bucket/x", "nowhere"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
        for (text, child) in [
            ("/", Some("bucket")),
            ("/bucket", Some("users")),
            ("/bucket/users", Some("ann")),
            ("/bucket/users/ann", None),
            ("/bucket/us", None),
            ("/other", None),
        ] {
            let text = path(text);
            let children = home.children(&text).map(|(name, _)| name);
            assert!(children.eq(child), "{text}");
        }
        let everywhere = HomeDirectory::of_role("/", Access::ReadWrite).unwrap();
        assert_eq!(everywhere.children(&path("/")).count(), 0);
        let bucket = HomeDirectory::logical(vec![mapping("/", "/bucket")], VirtualPath::root());
        assert_eq!(bucket.unwrap().children(&path("/")).count(), 0);
        assert_eq!(everywhere.landing(), &VirtualPath::root());
        assert_eq!(everywhere.place(&path("/")).unwrap(), Place::Buckets);
        assert!(everywhere.mappings().is_empty());
        let whole = HomeDirectory::of_role("/bucket", Access::Read).unwrap();
        assert!(matches!(
            whole.place(&path("/bucket")).unwrap(),
            Place::MappingRoot { .. }
        ));
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
        fn a_path_of_a_roles_home_is_the_objects_own_name(
            base in "(/[a-]{1,2}){0,2}",
            raw in raw_path(),
        ) {
            let home = HomeDirectory::of_role("/a/a/a", Access::ReadWrite).unwrap();
            let base = VirtualPath::parse(if base.is_empty() { "/" } else { &base }).unwrap();
            let Ok(path) = VirtualPath::resolve(&base, raw.as_bytes()) else { return Ok(()) };
            let named = match home.place(&path) {
                Ok(Place::Inside { location, .. }) => {
                    format!("/{}/{}", location.bucket, location.key.as_str())
                }
                Ok(Place::Bucket { bucket, .. }) => format!("/{bucket}"),
                Ok(Place::MappingRoot { mapping }) => {
                    let name = format!("/{}/{}", mapping.bucket, mapping.prefix);
                    name.trim_end_matches('/').to_owned()
                }
                Ok(Place::Buckets) => "/".to_owned(),
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(named, path.as_str());
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
