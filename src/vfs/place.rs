//! What a path of a session's tree means.

use std::borrow::Cow;

use super::mapping::{Access, EntryType, Mapping};
use crate::storage::{Bucket, Key, Location, NameError};

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// A directory without storage, above one or more entries.
    Virtual,
    /// The entry of a directory mapping itself, or a directory above a role's home: it always
    /// exists.
    MappingRoot { mapping: Cow<'a, Mapping> },
    /// Something inside a directory mapping.
    Inside {
        mapping: Cow<'a, Mapping>,
        location: Location,
    },
    /// The one object of a file mapping.
    File {
        mapping: &'a Mapping,
        location: Location,
    },
    /// The directory of all the buckets that the role shows.
    Buckets,
    /// A whole bucket, which may or may not be there.
    Bucket { bucket: Bucket, access: Access },
    /// Below no mapping (or below a file).
    Nowhere,
}

impl<'a> Place<'a> {
    /// Returns what stands `below` the entry of a mapping.
    pub(super) fn in_mapping(mapping: &'a Mapping, below: &str) -> Result<Self, NameError> {
        match (mapping.entry_type, below) {
            (EntryType::Directory, "") => Ok(Self::MappingRoot {
                mapping: Cow::Borrowed(mapping),
            }),
            (EntryType::Directory, below) => Self::inside(Cow::Borrowed(mapping), below),
            (EntryType::File, "") => {
                let key = Key::parse(&mapping.prefix)?;
                Ok(Self::File {
                    mapping,
                    location: Location {
                        bucket: mapping.bucket.clone(),
                        key,
                    },
                })
            }
            (EntryType::File, _) => Ok(Self::Nowhere),
        }
    }

    pub(super) fn inside(mapping: Cow<'a, Mapping>, below: &str) -> Result<Self, NameError> {
        let key = if mapping.prefix.is_empty() {
            Key::parse(below)?
        } else {
            Key::parse(&format!("{}/{below}", mapping.prefix))?
        };
        let location = Location {
            bucket: mapping.bucket.clone(),
            key,
        };
        Ok(Self::Inside { mapping, location })
    }
}
