//! What a file that is read is compared with: asked for beside its READs, and cheaply.

use futures_util::{StreamExt as _, stream};

use crate::storage::{
    Composite, Expectation, Location, ObjectMeta, PartNumber, SharedStore, StorageError, Version,
};

use super::shell::Failures;
use super::sums::{OpeningSums, VersionSums};
use super::untold::Untold;

/// One version of one object, and where it is asked about.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) store: SharedStore,
    pub(crate) location: Location,
    pub(crate) meta: ObjectMeta,
    pub(crate) untold: Untold,
    pub(crate) failures: Failures,
}

impl Asked {
    /// Asks for the object's checksum: a HEAD, unless its answer is here or under way, and one more
    /// for the size of its parts where it has a checksum of theirs.
    pub(crate) async fn expectation(&self, sums: OpeningSums) -> Option<Expectation> {
        let is_this = |told: &VersionSums| told.etag == self.meta.etag;
        let found = match sums.told().await.filter(is_this) {
            Some(told) => told,
            None => {
                let found = self.store.head(&self.location).await.ok()?;
                Some(VersionSums::of(&found)).filter(is_this)?
            }
        };
        match (found.whole, found.composite) {
            (Some(digest), _) => Some(Expectation::Whole(digest)),
            (None, Some(composite)) => self.in_parts(composite).await,
            (None, None) => None,
        }
    }

    async fn in_parts(&self, composite: Composite) -> Option<Expectation> {
        let bucket = &self.location.bucket;
        if self.untold.has(bucket) {
            return None;
        }
        let first = match self.part_size(1).await {
            Ok(first) => first,
            Err(error) if says_no(&error) => {
                if self.untold.note(bucket)
                    && let Some(unlogged) = self.failures.line_due()
                {
                    tracing::info!(%bucket, %error, unlogged, "composite checksums of downloads are not verified: S3 does not return the sizes of parts");
                }
                return None;
            }
            Err(_) => return None,
        };
        composite
            .may_have_parts_of(first, self.meta.size)
            .then_some(Expectation::Parts {
                composite,
                part_bytes: first,
            })
    }

    /// Says whether all parts but the last are of one size, as the first one let expect. Asked only
    /// if the bytes do not have the checksum that they would have then.
    pub(crate) async fn is_even(&self, composite: Composite, part_bytes: u64) -> bool {
        let between = stream::iter(2..composite.parts);
        let sizes = between.map(|number| self.part_size(number));
        let mut sizes = sizes.buffer_unordered(ASKED_AT_ONCE);
        while let Some(size) = sizes.next().await {
            if size != Ok(part_bytes) {
                return false;
            }
        }
        true
    }

    async fn part_size(&self, number: u32) -> Result<u64, StorageError> {
        let version = Version {
            location: &self.location,
            etag: &self.meta.etag,
        };
        let part = self.store.part_size(version, PartNumber(number)).await?;
        Ok(part.bytes)
    }
}

/// Says whether the next object would be answered alike.
fn says_no(error: &StorageError) -> bool {
    use crate::storage::StorageErrorKind as Kind;
    match error.kind {
        Kind::Denied | Kind::Refused | Kind::RefusedBare => true,
        Kind::NotFound
        | Kind::NoSuchBucket
        | Kind::NoSuchUpload
        | Kind::Precondition
        | Kind::RangeNotSatisfiable
        | Kind::ClockSkew
        | Kind::Expired
        | Kind::Throttled
        | Kind::Unavailable
        | Kind::OutcomeUnknown
        | Kind::ChecksumMismatch => false,
    }
}

/// Sizes of one object's parts.
const ASKED_AT_ONCE: usize = 4;
