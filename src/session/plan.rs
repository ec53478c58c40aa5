//! What a path means for this session, and whether the session may do what is asked (pure).

#![warn(clippy::arithmetic_side_effects)]

use crate::sftp::{Attributes, FileType, Status};
use crate::storage::{Bucket, Key, Location};
use crate::vfs::{Access, HomeDirectory, Place, VirtualPath};

use super::status::{READ_ONLY, WRITE_ONLY};

/// A directory's place in a bucket: every key in it begins with `prefix`, which is empty or ends
/// with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) bucket: Bucket,
    pub(crate) prefix: String,
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A directory without storage.
    Virtual,
    /// A mapping's own directory: always there.
    Root {
        folder: Folder,
        access: Access,
    },
    /// Something that may or may not be there, as a file or as a directory.
    Object {
        location: Location,
        access: Access,
        parent: Parent,
    },
    /// The one object of a file mapping.
    MappedFile {
        location: Location,
        access: Access,
    },
    /// All the buckets that the role shows.
    Buckets,
    /// A whole bucket that may or may not be there: nothing is made, removed or renamed there.
    Bucket {
        folder: Folder,
        access: Access,
    },
    Nowhere,
}

/// The directory in which an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parent {
    /// A mapping's own directory: no need to look.
    Root,
    Folder(Folder),
}

/// What a request does to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Names, sizes and times: any access will do.
    Look,
    Read,
    Write,
}

/// Finds a path's target and checks the mapping's access.
///
/// # Errors
/// The status that the client gets.
pub(crate) fn plan(home: &HomeDirectory, path: &VirtualPath, need: Need) -> Result<Target, Status> {
    // A name that S3 cannot hold cannot be there.
    let place = home.place(path).map_err(|_| Status::NO_SUCH_FILE)?;
    let target = match place {
        Place::Virtual => Target::Virtual,
        Place::Nowhere => Target::Nowhere,
        Place::Buckets => Target::Buckets,
        Place::Bucket { bucket, access } => Target::Bucket {
            folder: Folder::new(&bucket, ""),
            access,
        },
        Place::MappingRoot { mapping } => {
            let folder = Folder::new(&mapping.bucket, &mapping.prefix);
            Target::Root {
                folder,
                access: mapping.access,
            }
        }
        Place::File { mapping, location } => Target::MappedFile {
            location,
            access: mapping.access,
        },
        Place::Inside { mapping, location } => {
            let below = path.below(&mapping.entry).unwrap_or_default();
            let parent = match location.key.as_str().rsplit_once('/') {
                Some((parent, _)) if below.contains('/') => {
                    Parent::Folder(Folder::new(&location.bucket, parent))
                }
                Some(_) | None => Parent::Root,
            };
            Target::Object {
                location,
                access: mapping.access,
                parent,
            }
        }
    };
    match (need, target.access()) {
        (Need::Read, Some(access)) if !access.may_read() => Err(WRITE_ONLY),
        (Need::Write, Some(access)) if !access.may_write() => Err(READ_ONLY),
        (Need::Look | Need::Read | Need::Write, _) => Ok(target),
    }
}

/// The same for what is moved: a version of a file is copied, and stays.
///
/// # Errors
/// The status that the client gets.
pub(crate) fn plan_moved(home: &HomeDirectory, path: &VirtualPath) -> Result<Target, Status> {
    let target = plan(home, path, Need::Look)?;
    if target.is_past() {
        Ok(target)
    } else {
        plan(home, path, Need::Write)
    }
}

/// Refuses to move what may not be read to where it may be.
///
/// # Errors
/// The status that the client gets.
pub(crate) fn refuse_disclosure(from: &Target, to: &Target) -> Result<(), Status> {
    let hidden = from.access().is_some_and(|access| !access.may_read());
    if hidden && to.access().is_some_and(Access::may_read) {
        Err(WRITE_ONLY)
    } else {
        Ok(())
    }
}

impl Target {
    /// Says whether the name may stand for a directory as well: a file mapping is one object, and
    /// what begins with its key is nobody's business.
    pub(crate) const fn may_be_directory(&self) -> bool {
        match self {
            Self::Virtual
            | Self::Root { .. }
            | Self::Object { .. }
            | Self::Buckets
            | Self::Bucket { .. } => true,
            Self::MappedFile { .. } | Self::Nowhere => false,
        }
    }

    /// Says whether it may stand for a file.
    pub(crate) const fn may_be_file(&self) -> bool {
        match self {
            Self::Object { .. } | Self::MappedFile { .. } => true,
            Self::Virtual
            | Self::Root { .. }
            | Self::Buckets
            | Self::Bucket { .. }
            | Self::Nowhere => false,
        }
    }

    /// Says whether it is a version of a file, or a directory of versions.
    pub(crate) const fn is_past(&self) -> bool {
        match self {
            Self::Object { location, .. } => location.bucket.is_history(),
            Self::Root { folder, .. } | Self::Bucket { folder, .. } => folder.bucket.is_history(),
            Self::MappedFile { .. } | Self::Virtual | Self::Buckets | Self::Nowhere => false,
        }
    }

    const fn access(&self) -> Option<Access> {
        match self {
            Self::Root { access, .. }
            | Self::Object { access, .. }
            | Self::MappedFile { access, .. }
            | Self::Bucket { access, .. } => Some(*access),
            Self::Virtual | Self::Buckets | Self::Nowhere => None,
        }
    }
}

impl Folder {
    pub(crate) fn new(bucket: &Bucket, path: &str) -> Self {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        Self {
            bucket: bucket.clone(),
            prefix,
        }
    }

    /// Returns the folder that the same name would be as a directory.
    pub(crate) fn of(location: &Location) -> Self {
        Self::new(&location.bucket, location.key.as_str())
    }

    /// Returns the place of the directory's marker object; `None` for a whole bucket, or where
    /// the name leaves no room for it.
    pub(crate) fn marker(&self) -> Option<Location> {
        let key = Key::parse(&self.prefix).ok()?;
        Some(Location {
            bucket: self.bucket.clone(),
            key,
        })
    }
}

/// Returns the attributes of a directory. Without a marker it has no time.
pub(crate) fn directory_attributes(access: Option<Access>, modified: Option<u32>) -> Attributes {
    let mode = match access {
        Some(Access::ReadWrite) => 0o755,
        Some(Access::Write) => 0o333,
        Some(Access::Read) | None => 0o555,
    };
    Attributes::of(FileType::Directory, 0, mode, modified.unwrap_or(0))
}

/// Returns the attributes of a file.
pub(crate) fn file_attributes(access: Access, size: u64, modified: u32) -> Attributes {
    let mode = match access {
        Access::ReadWrite => 0o644,
        Access::Write => 0o222,
        Access::Read => 0o444,
    };
    Attributes::of(FileType::Regular, size, mode, modified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{EntryType, Mapping};

    fn home() -> HomeDirectory {
        let mapping = |entry, target, access| {
            Mapping::parse(entry, target, EntryType::Directory, access).unwrap()
        };
        let mappings = vec![
            mapping("/in", "/b/drop", Access::Write),
            mapping("/out", "/b/out", Access::Read),
            mapping("/all/box", "/c", Access::ReadWrite),
        ];
        HomeDirectory::logical(mappings, VirtualPath::root()).unwrap()
    }

    fn at(path: &str) -> VirtualPath {
        VirtualPath::parse(path).unwrap()
    }

    fn ask(path: &str, need: Need) -> Result<Target, Status> {
        plan(&home(), &at(path), need)
    }

    #[test]
    fn access_is_enforced_per_mapping() {
        assert_eq!(ask("/in/x", Need::Read), Err(WRITE_ONLY));
        assert_eq!(ask("/out/x", Need::Write), Err(READ_ONLY));
        assert!(ask("/in/x", Need::Write).is_ok());
        assert!(ask("/out/x", Need::Read).is_ok());
        assert!(ask("/in/x", Need::Look).is_ok());
        assert_eq!(ask("/all", Need::Write), Ok(Target::Virtual));
        assert_eq!(ask("/elsewhere", Need::Read), Ok(Target::Nowhere));
    }

    #[test]
    fn parents_are_the_directories_between_the_mapping_and_the_name() {
        let parent = |path| match ask(path, Need::Look) {
            Ok(Target::Object { parent, .. }) => parent,
            other => panic!("{other:?}"),
        };
        assert_eq!(parent("/out/x"), Parent::Root);
        assert_eq!(parent("/all/box/x"), Parent::Root);
        let Parent::Folder(folder) = parent("/out/d/e/x") else {
            panic!()
        };
        assert_eq!(folder.prefix, "out/d/e/");
    }
}
