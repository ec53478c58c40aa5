//! Checksums of objects, as S3 tells them.

use std::fmt::{self, Debug};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::storage::{Composite, Digest, ETag, Location, ObjectMeta, SharedStore};

/// The checksums of one version of an object, as a HEAD told them; it may have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionSums {
    pub(crate) etag: ETag,
    pub(crate) whole: Option<Digest>,
    pub(super) composite: Option<Composite>,
}

impl VersionSums {
    /// Reads the answer to a HEAD.
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self {
            etag: meta.etag.clone(),
            whole: meta.checksum,
            composite: meta.composite.as_deref().copied(),
        }
    }
}

/// What OPEN found out about an object's checksums.
#[derive(Default)]
pub(crate) enum OpeningSums {
    #[default]
    Unknown,
    Told(VersionSums),
    /// The HEAD is under way.
    Coming(ComingSums),
}

/// A HEAD that is under way; `None`: it failed.
pub(crate) type ComingSums = BoxFuture<'static, Option<VersionSums>>;

/// Asks for an object's checksums.
pub(crate) fn ask_for_sums(store: SharedStore, location: Location) -> ComingSums {
    let ask = async move {
        let found = store.head(&location).await.ok()?;
        Some(VersionSums::of(&found))
    };
    ask.boxed()
}

impl OpeningSums {
    /// Returns what was told already of this version.
    pub(crate) fn told_of(&self, etag: &ETag) -> Option<&VersionSums> {
        match self {
            Self::Told(told) => Some(told).filter(|told| told.etag == *etag),
            Self::Unknown | Self::Coming(_) => None,
        }
    }

    pub(crate) const fn is_coming(&self) -> bool {
        matches!(self, Self::Coming(_))
    }

    /// Waits for what is under way.
    pub(crate) async fn told(self) -> Option<VersionSums> {
        match self {
            Self::Unknown => None,
            Self::Told(told) => Some(told),
            Self::Coming(coming) => coming.await,
        }
    }
}

impl Debug for OpeningSums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("Unknown"),
            Self::Told(told) => f.debug_tuple("Told").field(told).finish(),
            Self::Coming(_) => f.write_str("Coming"),
        }
    }
}
