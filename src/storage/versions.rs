//! What `ListObjectVersions` asks and answers.

use std::time::SystemTime;

use super::ETag;

/// Which versions a listing asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionQuery {
    pub prefix: String,
    /// Groups names at the next `/` after the prefix.
    pub delimited: bool,
    pub after: Option<VersionCursor>,
    /// 1 to 1,000.
    pub max: u16,
}

/// Where such a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCursor {
    pub key: String,
    /// `None`: after all versions of the key.
    pub version: Option<String>,
}

/// One page of versions: keys in order, of each key the newest first, as far as the store keeps
/// that order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionPage {
    pub versions: Vec<ListedVersion>,
    /// Common prefixes, each with its trailing `/`.
    pub prefixes: Vec<String>,
    pub next: Option<VersionCursor>,
}

/// One version of an object, or its deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    pub key: String,
    pub id: Box<str>,
    pub modified: SystemTime,
    /// Size and tag; `None`: a delete marker.
    pub content: Option<(u64, ETag)>,
}
