//! OBJECT STORAGE, in S3's words: one trait, its S3 client, a memory double and what stands before
//! a store.
//!
//! One [`ObjectStore`] value stands for one set of credentials. Errors are told apart by what they
//! mean for the caller ([`StorageErrorKind`]). Calls that *commit* ([`ObjectStore::put`],
//! [`ObjectStore::complete`], [`ObjectStore::copy`]) are sent once: when their answer is lost the
//! error is [`StorageErrorKind::OutcomeUnknown`] and the caller compares [`NewObject::nonce`] with
//! [`ObjectMeta::nonce`]. Everything else is repeated by [`retry`], which stands before a store.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use self::calls::{
    CompleteUpload, CopyObject, GetObject, PutObject, UploadPart, UploadPartCopy, Version,
};
pub use self::digest::{Composite, Digest, Digester, Expectation};
pub use self::error::{StorageError, StorageErrorKind};
pub use self::location::{Bucket, Key, Location, NameError};
pub use self::nonce::{NoRandomness, Nonce, Nonces};
pub use self::object_settings::{
    ObjectSettings, RetentionPeriod, SettingsAt, SettingsError, Sse, WrittenRetention,
    WrittenSettings,
};
pub use self::operation::Operation;
pub use self::part_layout::{PartLayout, PartPlace};
pub use self::properties::{Kms, Properties, Retention, Tags};
use self::retry::Tries;
pub use self::versions::{ListedVersion, VersionCursor, VersionPage, VersionQuery};

pub mod addressing;
mod aws;
mod calls;
pub mod credentials;
mod digest;
pub mod directory;
pub mod document;
mod error;
pub mod failing;
pub mod health;
pub mod history;
pub mod layer;
mod location;
pub mod memory;
pub mod metered;
mod nonce;
mod object_settings;
mod operation;
mod part_layout;
pub mod probe;
mod properties;
mod reconnect;
pub(crate) mod regional;
mod regions;
pub mod retry;
pub mod routed;
pub mod routes;
pub mod s3;
mod versions;
pub mod with_settings;

pub type Result<T> = std::result::Result<T, StorageError>;

/// The calls the gateway makes.
///
/// A condition that [`ObjectStore::capabilities`] does not name is left out by the store: callers
/// need not ask first.
#[async_trait]
pub trait ObjectStore: Debug + Send + Sync + 'static {
    /// Returns what is known of an object without its bytes.
    async fn head(&self, location: &Location) -> Result<ObjectMeta>;

    /// Returns how many bytes one part of an object has (`HeadObject` with `partNumber`).
    async fn part_size(&self, version: Version<'_>, part: PartNumber) -> Result<PartSize>;

    /// Returns an object's tags (`GetObjectTagging`).
    async fn tags(&self, location: &Location) -> Result<Tags>;

    /// Opens an object's bytes from the range's start.
    ///
    /// An empty object answers a range with [`StorageErrorKind::RangeNotSatisfiable`], as S3 does.
    async fn get(&self, location: &Location, get: GetObject<'_>) -> Result<ObjectBody>;

    /// Opens a whole object's bytes, unless it is still the version that is known
    /// (`If-None-Match`): `None`.
    async fn get_unless(&self, location: &Location, known: &ETag) -> Result<Option<ObjectBody>> {
        let body = self.get(location, GetObject::default()).await?;
        Ok((body.meta.etag != *known).then_some(body))
    }

    /// Returns one page of names below `prefix`, in UTF-8 byte order where the store keeps it.
    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage>;

    /// Returns one page of versions and deletions of keys below `prefix`.
    async fn versions(&self, bucket: &Bucket, _: &VersionQuery) -> Result<VersionPage> {
        let detail = format!("{bucket}: the store keeps no versions");
        Err(StorageError::new(StorageErrorKind::NotFound, detail))
    }

    /// Writes a whole object at once. A commit: sent once.
    async fn put(&self, location: &Location, payload: Bytes, put: PutObject<'_>) -> Result<Stored>;

    /// Copies an object of at most 5 GiB inside the store, with its tags. A commit: sent once.
    async fn copy(&self, target: &Location, copy: CopyObject<'_>) -> Result<Stored>;

    /// Removes an object; removing what is not there succeeds, unless `etag` is given.
    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<Removed>;

    /// Begins a multipart upload whose parts carry CRC-64/NVME checksums.
    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId>;

    /// Uploads one part.
    async fn part(
        &self,
        location: &Location,
        payload: Bytes,
        part: UploadPart<'_>,
    ) -> Result<CompletedPart>;

    /// Fills one part from a range of an existing object.
    async fn part_copy(
        &self,
        location: &Location,
        part: UploadPartCopy<'_>,
    ) -> Result<CompletedPart>;

    /// Returns the parts that an unfinished upload holds.
    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>>;

    /// Makes the object out of its parts. A commit: sent once.
    async fn complete(&self, location: &Location, complete: CompleteUpload<'_>) -> Result<Stored>;

    /// Ends an upload and frees its parts; an upload that is gone is a success.
    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()>;

    /// Says whether the bucket can be reached with these credentials.
    async fn check_bucket(&self, bucket: &Bucket) -> Result<()>;

    /// Returns one page of the buckets that the credentials show; `after` is an earlier page's
    /// `next`.
    async fn list_buckets(&self, after: Option<&str>, max: u16) -> Result<BucketPage>;

    /// Says which conditions are honoured where a bucket is.
    fn capabilities(&self, bucket: &Bucket) -> Capabilities;

    /// Returns the same store, with minutes for each call; `None` where calls are not repeated.
    fn patient(&self) -> Option<SharedStore> {
        None
    }

    /// Begins tries of what is under way in a bucket, by the rules of the process; `None` where there
    /// are none.
    fn tries(&self, _: Operation, _: &Bucket) -> Option<Tries> {
        None
    }
}

/// Shared by sessions that have the same credentials.
pub type SharedStore = Arc<dyn ObjectStore>;

/// An object's version tag, with the quotes that S3 sends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(pub Arc<str>);

impl ETag {
    /// Returns of how many parts the object was made, if it was.
    #[must_use]
    pub fn parts(&self) -> Option<u32> {
        let (_, parts) = self.0.trim_matches('"').rsplit_once('-')?;
        parts.parse().ok()
    }

    /// Returns the tag that a deletion has among the versions of an object, and no object.
    #[must_use]
    pub fn of_deletion() -> Self {
        Self(DELETED.into())
    }

    #[must_use]
    pub fn is_deletion(&self) -> bool {
        &*self.0 == DELETED
    }
}

const DELETED: &str = "\"deleted\"";

/// A multipart upload's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(pub Arc<str>);

/// 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(pub u32);

/// CRC-64/NVME of a part or of a whole object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(pub u64);

impl Checksum {
    /// Computes the checksum of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc_fast::crc64_nvme(bytes))
    }
}

/// Bytes `start..end`; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    pub start: u64,
    pub end: u64,
}

/// What HEAD and GET say of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The whole object's size, also when a range was asked.
    pub size: u64,
    pub etag: ETag,
    /// `None` where the bucket keeps no versions.
    pub version_id: Option<Box<str>>,
    pub modified: SystemTime,
    /// The whole object's checksum, where the store keeps one.
    pub checksum: Option<Digest>,
    /// The checksum of its parts' checksums, where the store keeps that one instead.
    pub composite: Option<Box<Composite>>,
    pub content_type: Option<Box<str>>,
    /// User metadata, names in lower case without `x-amz-meta-`.
    pub metadata: Vec<(Box<str>, Box<str>)>,
    /// As a HEAD tells them; `None`: nothing is said.
    pub properties: Option<Box<Properties>>,
}

impl ObjectMeta {
    /// Returns the value of one metadata name.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata
            .iter()
            .find(|(n, _)| &**n == name)
            .map(|(_, v)| &**v)
    }

    /// Says whether it may have a composite checksum: others made it of parts, as its `ETag` tells.
    #[must_use]
    pub fn may_be_composite(&self) -> bool {
        self.etag.parts().is_some() && self.nonce().is_none()
    }

    /// Says whether it is what came of a file before its client disconnected.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.metadata(PARTIAL).is_some()
    }

    /// Returns the nonce it was written with; objects of others have none.
    #[must_use]
    pub fn nonce(&self) -> Option<Nonce> {
        Nonce::parse(self.metadata(Nonce::NAME)?)
    }
}

/// One part of an object that was made of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSize {
    pub bytes: u64,
    /// How many parts the object has.
    pub parts: u32,
}

/// An object's bytes on their way.
pub struct ObjectBody {
    pub meta: ObjectMeta,
    /// Frames as they arrive. Ends with an error when the connection is cut: a stream that ends
    /// without one has delivered the whole range.
    pub frames: BoxStream<'static, Result<Bytes>>,
}

impl Debug for ObjectBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectBody")
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// What a new object is to carry. What is asked for at its place comes first, then what the store's
/// settings say of class and encryption, then its properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewObject {
    pub content_type: Option<Box<str>>,
    /// Beside the nonce.
    pub metadata: Vec<(Box<str>, Box<str>)>,
    pub properties: Option<Box<Properties>>,
    /// A copy has those of its source, unless there are some here.
    pub tags: Tags,
    /// Class and encryption of its mapping.
    pub asked: Option<Arc<ObjectSettings>>,
    /// Tells this write from every other, once it is stored.
    pub nonce: Nonce,
}

impl NewObject {
    #[must_use]
    pub const fn new(nonce: Nonce) -> Self {
        Self {
            content_type: None,
            metadata: Vec::new(),
            properties: None,
            tags: Vec::new(),
            asked: None,
            nonce,
        }
    }

    /// Describes a copy of an object: the same but for the nonce.
    #[must_use]
    pub fn like(meta: &ObjectMeta, nonce: Nonce, now: SystemTime) -> Self {
        let mut metadata = meta.metadata.clone();
        metadata.retain(|(name, _)| &**name != Nonce::NAME);
        Self {
            content_type: meta.content_type.clone(),
            metadata,
            properties: meta
                .properties
                .as_deref()
                .map(|found| found.of_copy(now).into()),
            tags: Vec::new(),
            asked: None,
            nonce,
        }
    }

    /// Adds what its place asks for. The marker of a directory has no content that a class or a lock
    /// would be for.
    fn ask(&mut self, settings: Arc<ObjectSettings>, at: &Location, now: SystemTime) {
        let is_marker = at.key.as_str().ends_with('/');
        self.tags = settings.tag(&self.tags);
        if !is_marker {
            let properties = self.properties.get_or_insert_default();
            settings.lock(properties, now);
        }
        let settings = if is_marker && settings.storage_class.is_some() {
            let encryption = settings.encryption.clone();
            Arc::new(ObjectSettings {
                encryption,
                ..ObjectSettings::default()
            })
        } else {
            settings
        };
        self.asked = Some(settings);
    }

    /// Marks it as what came of a file before its client disconnected.
    pub fn mark_partial(&mut self) {
        self.unmark_partial();
        self.metadata.push((PARTIAL.into(), "true".into()));
    }

    /// Takes that mark away.
    pub fn unmark_partial(&mut self) {
        self.metadata.retain(|(name, _)| &**name != PARTIAL);
    }

    /// Leaves something of its properties to the bucket; says whether there was anything to leave.
    pub fn leave(&mut self, left: fn(&mut Properties) -> bool) -> bool {
        self.properties.as_deref_mut().is_some_and(left)
    }

    /// Returns the metadata to be stored, the nonce included.
    fn all_metadata(&self) -> impl Iterator<Item = (Box<str>, Box<str>)> {
        let nonce = (Nonce::NAME.into(), self.nonce.to_string().into());
        self.metadata.iter().cloned().chain([nonce])
    }
}

/// The metadata name that marks what came of a file before its client disconnected.
pub const PARTIAL: &str = "portcullis-partial";

/// On what condition a commit may change the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    None,
    /// `If-Match`: the key still holds this version.
    IfMatch(ETag),
    /// `If-None-Match: *`: the key holds nothing.
    IfNoneMatch,
}

/// What S3 confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub etag: ETag,
    /// As the store computed it; `None` where it keeps none.
    pub checksum: Option<Checksum>,
    /// `None` where the bucket keeps no versions.
    pub version_id: Option<Box<str>>,
}

/// What a store said of an object that it removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Of the delete marker, where the bucket keeps versions.
    pub version_id: Option<Box<str>>,
    /// A delete marker stands there now: the versions below it are kept.
    pub delete_marker: bool,
}

/// A part that S3 confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    pub number: PartNumber,
    pub etag: ETag,
    pub checksum: Option<Checksum>,
    pub size: u64,
}

/// Which names a listing asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    pub prefix: String,
    /// Groups names at the next `/` after the prefix.
    pub delimited: bool,
    pub after: Option<ListCursor>,
    /// 1 to 1,000.
    pub max: u16,
}

impl ListQuery {
    /// Asks for one of the keys that begin so; in order of bytes it is the key itself, if it is
    /// there.
    #[must_use]
    pub fn first(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            delimited: false,
            after: None,
            max: 1,
        }
    }
}

/// Looks for one object in a listing: a role may list a key that it may not read.
///
/// # Errors
/// Those of the listing.
pub async fn list_one(
    store: &dyn ObjectStore,
    location: &Location,
) -> Result<Option<ListedObject>> {
    let key = location.key.as_str();
    // No other key with this prefix comes before it.
    let page = store.list(&location.bucket, &ListQuery::first(key)).await?;
    let first = page.objects.into_iter().next();
    Ok(first.filter(|object| object.key == key))
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListCursor {
    /// After this key, in byte order.
    StartAfter(String),
    /// From an earlier page's `next`.
    Continuation(String),
}

/// One page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    pub objects: Vec<ListedObject>,
    /// Common prefixes, each with its trailing `/`.
    pub prefixes: Vec<String>,
    pub next: Option<String>,
}

impl ListPage {
    /// Returns an object by its whole key.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<&ListedObject> {
        self.objects.iter().find(|object| object.key == key)
    }
}

/// One page of names of buckets: stores that know of no pages send all at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketPage {
    pub names: Vec<String>,
    pub next: Option<String>,
}

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    pub key: String,
    pub size: u64,
    pub etag: ETag,
    pub modified: SystemTime,
    /// POSIX's permission bits, where they are stored with it and were asked for.
    pub mode: Option<u32>,
    /// User and group, in the same way.
    pub owner: Option<(u32, u32)>,
}

/// Which conditions a store honours; declared per endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a store"
)]
pub struct Capabilities {
    pub conditional_put: bool,
    pub conditional_complete: bool,
    pub conditional_copy: bool,
    pub conditional_delete: bool,
    /// Parts and objects may carry CRC-64/NVME.
    pub checksums: bool,
    /// The last page of a listing says that it is the last one (`IsTruncated`).
    pub is_truncated: bool,
    /// Metadata stays with an object.
    pub metadata: bool,
    /// A directory is there by itself: a file makes those above it, and none goes before all that is
    /// in it.
    pub directories: bool,
    /// Which of the configured stores it is: a store copies objects only within itself.
    pub store: u16,
}

impl Capabilities {
    /// What AWS S3 honours.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            conditional_put: true,
            conditional_complete: true,
            conditional_copy: true,
            conditional_delete: true,
            checksums: true,
            is_truncated: true,
            metadata: true,
            directories: false,
            store: 0,
        }
    }
}
