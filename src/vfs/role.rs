//! The tree of a session that walks as far as its role lets it: `/bucket/key` is the object's own
//! name, in every bucket, and S3 says what may be seen and done there.

use std::borrow::Cow;

use super::mapping::{Access, EntryType, Mapping};
use super::path::VirtualPath;
use super::place::Place;
use crate::storage::{Bucket, NameError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleTree {
    /// The home directory, which is there whatever is in it, and so is what is above it; none for
    /// `/`.
    home: Option<Box<Mapping>>,
    access: Access,
}

impl RoleTree {
    pub(super) fn new(home: Option<Mapping>, access: Access) -> Self {
        Self {
            home: home.map(Box::new),
            access,
        }
    }

    pub(super) fn home(&self) -> &[Mapping] {
        self.home.as_deref().map_or(&[], std::slice::from_ref)
    }

    pub(super) fn place(&self, path: &VirtualPath) -> Result<Place<'_>, NameError> {
        if let Some(home) = self.home.as_deref()
            && let Some(below) = path.below(&home.entry)
        {
            return Place::in_mapping(home, below);
        }
        if path.is_root() {
            return Ok(Place::Buckets);
        }
        if let Some(above) = self.above_home(path) {
            let below = path.below(&above.entry).unwrap_or_default();
            let mapping = Cow::Owned(above);
            return if below.is_empty() {
                Ok(Place::MappingRoot { mapping })
            } else {
                Place::inside(mapping, below)
            };
        }
        let name = path.as_str().trim_start_matches('/');
        let (name, below) = name.split_once('/').unwrap_or((name, ""));
        // No bucket can have this name.
        let Some(mapping) = self.whole(name) else {
            return Ok(Place::Nowhere);
        };
        if below.is_empty() {
            let (bucket, access) = (mapping.bucket, mapping.access);
            return Ok(Place::Bucket { bucket, access });
        }
        Place::inside(Cow::Owned(mapping), below)
    }

    /// Returns the name that a directory above the home has whatever S3 shows there.
    pub(super) fn child<'a>(&'a self, path: &VirtualPath) -> Option<&'a str> {
        let rest = self.home.as_deref()?.entry.below(path)?;
        let (name, _) = rest.split_once('/').unwrap_or((rest, ""));
        Some(name).filter(|name| !name.is_empty())
    }

    /// Returns the lowest directory above the home that the path is, or stands below.
    fn above_home(&self, path: &VirtualPath) -> Option<Mapping> {
        let home = self.home.as_deref()?;
        let entry = shared(path.as_str(), home.entry.as_str());
        let (_, prefix) = entry
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or_default();
        let entry = VirtualPath::resolve(&VirtualPath::root(), entry.as_bytes()).ok()?;
        (!entry.is_root()).then(|| Mapping {
            entry,
            bucket: home.bucket.clone(),
            prefix: prefix.into(),
            entry_type: EntryType::Directory,
            access: self.access,
            partial_uploads: None,
            objects: None,
        })
    }

    /// Returns a whole bucket.
    fn whole(&self, name: &str) -> Option<Mapping> {
        Some(Mapping {
            entry: VirtualPath::resolve(&VirtualPath::root(), name.as_bytes()).ok()?,
            bucket: Bucket::parse(name).ok()?,
            prefix: "".into(),
            entry_type: EntryType::Directory,
            access: self.access,
            partial_uploads: None,
            objects: None,
        })
    }
}

/// Returns with which whole names two paths begin alike.
fn shared<'p>(path: &'p str, other: &str) -> &'p str {
    let names = path.split('/').zip(other.split('/')).skip(1);
    let alike = names.take_while(|(name, other)| name == other);
    let bytes = alike.fold(0_usize, |bytes, (name, _)| {
        bytes.saturating_add(name.len()).saturating_add(1)
    });
    path.get(..bytes).unwrap_or_default()
}
