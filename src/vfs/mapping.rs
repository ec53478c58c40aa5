//! One row of a home directory: what the client sees and where it is kept.

use std::sync::Arc;

use super::path::{PathError, VirtualPath};
use crate::limits;
use crate::refusal::Reason;
use crate::storage::{Bucket, NameError, ObjectSettings};

/// What a session may do below a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Access {
    Read,
    Write,
    #[default]
    ReadWrite,
}

impl Access {
    #[must_use]
    pub const fn may_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    #[must_use]
    pub const fn may_write(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }

    /// Returns the word of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "read-write",
        }
    }
}

/// What becomes of a file whose client disconnects before CLOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PartialUploads {
    /// Nothing of it becomes visible.
    #[default]
    Discard,
    /// What arrived in sequence becomes the object, unless that would replace a whole file.
    Keep,
    /// The same, also in place of a whole file.
    Replace,
}

impl PartialUploads {
    /// What an answer may say, for those who said something else.
    pub const ALLOWED: &str = "discard, keep, replace";

    /// Reads the word of the contract.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "discard" => Some(Self::Discard),
            "keep" => Some(Self::Keep),
            "replace" => Some(Self::Replace),
            _ => None,
        }
    }
}

/// What a mapping's target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EntryType {
    #[default]
    Directory,
    /// The target is one object.
    File,
}

/// AWS's `HomeDirectoryType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HomeType {
    #[default]
    Path,
    Logical,
}

/// Maps an entry of the virtual tree to a bucket and what stands before the key there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub entry: VirtualPath,
    pub bucket: Bucket,
    /// Without slashes at either end; empty for the whole bucket. The object's key for a file.
    pub prefix: Box<str>,
    pub entry_type: EntryType,
    pub access: Access,
    /// `None`: as the user's, or as configured.
    pub partial_uploads: Option<PartialUploads>,
    /// What objects below it carry; `None`: as the user's. The default: nothing, whatever the user's
    /// are.
    pub objects: Option<Arc<ObjectSettings>>,
}

impl Mapping {
    /// Parses one row after its variables were substituted.
    ///
    /// # Errors
    /// Names the rule of AWS's contract that the row breaks.
    pub fn parse(
        entry: &str,
        target: &str,
        entry_type: EntryType,
        access: Access,
    ) -> Result<Self, MappingError> {
        for text in [entry, target] {
            let max = limits::MAPPING_TEXT_MAX;
            if text.len() > max && text.chars().count() > max {
                return Err(MappingError::TextTooLong);
            }
        }
        let entry = VirtualPath::parse(entry).map_err(|source| MappingError::Entry {
            entry: entry.into(),
            source,
        })?;
        let bad = |reason: fn(Box<str>) -> MappingError| reason(target.into());
        let Some(path) = target.strip_prefix('/') else {
            return Err(bad(MappingError::TargetNoLeadingSlash));
        };
        if path.ends_with('/') {
            return Err(bad(MappingError::TargetTrailingSlash));
        }
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if target.contains("${") {
            return Err(bad(MappingError::TargetVariable));
        }
        if entry.as_str().contains("${") {
            return Err(MappingError::EntryVariable(entry.as_str().into()));
        }
        let dotted = |name: &str| matches!(name, "" | "." | "..");
        if (!prefix.is_empty() && prefix.split('/').any(dotted)) || prefix.contains('\0') {
            return Err(bad(MappingError::TargetComponent));
        }
        let bucket = Bucket::parse(bucket).map_err(|source| MappingError::TargetBucket {
            target: target.into(),
            source,
        })?;
        match entry_type {
            EntryType::File if prefix.is_empty() => Err(bad(MappingError::FileWithoutKey)),
            EntryType::File if entry.is_root() => Err(MappingError::FileAtRoot),
            EntryType::File | EntryType::Directory => Ok(Self {
                entry,
                bucket,
                prefix: prefix.into(),
                entry_type,
                access,
                partial_uploads: None,
                objects: None,
            }),
        }
    }

    /// Says what becomes of files below it whose client disconnects before CLOSE.
    #[must_use]
    pub fn with_partial_uploads(self, partial_uploads: Option<PartialUploads>) -> Self {
        Self {
            partial_uploads,
            ..self
        }
    }

    /// Returns what objects below it carry; `None`: it asks for nothing.
    #[must_use]
    pub fn asked_of_objects(&self) -> Option<&ObjectSettings> {
        let objects = self.objects.as_deref();
        objects.filter(|objects| objects.ask())
    }

    /// Says what objects below it carry.
    #[must_use]
    pub fn with_objects(self, objects: Option<Arc<ObjectSettings>>) -> Self {
        Self { objects, ..self }
    }
}

/// Lets what an answer says of objects hold in the mappings that do not say it themselves.
#[must_use]
pub fn with_objects(
    mut mappings: Vec<Mapping>,
    objects: Option<&Arc<ObjectSettings>>,
) -> Vec<Mapping> {
    for mapping in &mut mappings {
        if mapping.objects.is_none() {
            mapping.objects = objects.cloned();
        }
    }
    mappings
}

/// Says which rule a home directory breaks. [`MappingError::reason`] says it for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    #[error("entry {entry:?}: {source}")]
    Entry { entry: Box<str>, source: PathError },
    #[error("entry {0:?} has a variable; only targets can have one")]
    EntryVariable(Box<str>),
    #[error("target {0:?} does not begin with '/'")]
    TargetNoLeadingSlash(Box<str>),
    #[error("target {0:?} ends with '/'")]
    TargetTrailingSlash(Box<str>),
    #[error("target {0:?} has a variable that is not substituted")]
    TargetVariable(Box<str>),
    #[error("target {0:?} has an empty, '.' or '..' component or a NUL")]
    TargetComponent(Box<str>),
    #[error("target {target:?}: {source}")]
    TargetBucket { target: Box<str>, source: NameError },
    #[error("target {0:?} of type FILE names a bucket but no key")]
    FileWithoutKey(Box<str>),
    #[error("the entry \"/\" cannot be a FILE")]
    FileAtRoot,
    #[error(
        "an entry or target is longer than {} characters",
        limits::MAPPING_TEXT_MAX
    )]
    TextTooLong,
    #[error("entries {0:?} and {1:?} overlap")]
    Overlap(Box<str>, Box<str>),
    #[error("the entry \"/\" must be the only one, found {0} others")]
    RootBesideOthers(usize),
    #[error("{0} mappings, at most {max} are allowed", max = limits::MAPPINGS_MAX)]
    TooMany(usize),
    #[error("no mappings")]
    None,
    #[error("the entries {0:?} and {1:?} have one target, but not the same `objects`")]
    ObjectsDiffer(Box<str>, Box<str>),
    #[error("home directory {0:?} is neither an entry, nor below or above one")]
    HomeElsewhere(Box<str>),
}

impl MappingError {
    /// Returns what a login is refused for.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Entry { .. } => Reason::EntryNotNormal,
            Self::EntryVariable(_) => Reason::EntryVariable,
            Self::TargetNoLeadingSlash(_) => Reason::TargetNoLeadingSlash,
            Self::TargetTrailingSlash(_) => Reason::TargetTrailingSlash,
            Self::TargetVariable(_) => Reason::TargetVariable,
            Self::TargetComponent(_) => Reason::TargetComponent,
            Self::TargetBucket { .. } => Reason::TargetBucket,
            Self::FileWithoutKey(_) => Reason::FileWithoutKey,
            Self::FileAtRoot => Reason::FileAtRoot,
            Self::TextTooLong => Reason::MappingTooLong,
            Self::Overlap(..) => Reason::EntriesOverlap,
            Self::RootBesideOthers(_) => Reason::EntriesOverlap,
            Self::TooMany(_) => Reason::TooManyMappings,
            Self::None => Reason::MappingsMissing,
            Self::ObjectsDiffer(..) => Reason::ObjectSettings,
            Self::HomeElsewhere(_) => Reason::HomeNotInMappings,
        }
    }
}
