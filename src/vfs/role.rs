//! The tree of a session that walks as far as its role lets it: `/bucket/key` is the object's own
//! name, in every bucket, and S3 says what may be seen and done there.

use std::borrow::Cow;

use super::mapping::{Access, EntryType, Mapping};
use super::path::VirtualPath;
use super::place::Place;
use crate::storage::{Bucket, NameError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleTree {
    /// The home directory, which is there whatever is in it; none for `/`.
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
        let name = path.as_str().trim_start_matches('/');
        let (name, below) = name.split_once('/').unwrap_or((name, ""));
        // No bucket can have this name.
        let (Ok(bucket), Ok(entry)) = (
            Bucket::parse(name),
            VirtualPath::resolve(&VirtualPath::root(), name.as_bytes()),
        ) else {
            return Ok(Place::Nowhere);
        };
        let access = self.access;
        if below.is_empty() {
            return Ok(Place::Bucket { bucket, access });
        }
        let mapping = Mapping {
            entry,
            bucket,
            prefix: "".into(),
            entry_type: EntryType::Directory,
            access,
        };
        Place::inside(Cow::Owned(mapping), below)
    }
}
