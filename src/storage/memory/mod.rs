//! S3's semantics in memory: what tests of everything above storage run against.
//!
//! One lock holds the whole state, so every call is atomic. Entity tags depend on the content
//! alone, as S3's do: two writes of the same bytes cannot be told apart by them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::{
    Bucket, BucketPage, ByteRange, Capabilities, Checksum, CompleteUpload, CompletedPart,
    CopyObject, Digest, ETag, GetObject, Kms, ListPage, ListQuery, Location, NewObject, ObjectBody,
    ObjectMeta, ObjectStore, Operation, PartNumber, PartSize, Precondition, Properties, PutObject,
    Removed, Result, StorageError, StorageErrorKind, Stored, Tags, UploadId, UploadPart,
    UploadPartCopy, Version,
};
use crate::clock::{Clock, SystemClock};
use crate::limits;

mod listing;
mod uploads;

use self::uploads::Upload;

/// An object store that is gone when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    capabilities: Capabilities,
    part_bytes_min: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<Bucket, BTreeMap<String, Object>>,
    uploads: BTreeMap<String, Upload>,
    uploads_begun: u64,
}

#[derive(Debug, Clone)]
struct Object {
    payload: Bytes,
    meta: ObjectMeta,
    tags: Tags,
}

impl MemoryStore {
    /// Starts with these buckets, all empty.
    #[must_use]
    pub fn new(buckets: &[&Bucket]) -> Self {
        let buckets = buckets
            .iter()
            .map(|bucket| ((*bucket).clone(), BTreeMap::new()));
        Self {
            clock: Arc::new(SystemClock),
            capabilities: Capabilities::all(),
            part_bytes_min: limits::PART_BYTES_MIN,
            state: Mutex::new(State {
                buckets: buckets.collect(),
                ..State::default()
            }),
        }
    }

    /// Dates objects by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Ignores the conditions that are not listed, as stores that lack them do.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Takes parts smaller than S3 does, so that tests of many parts need few bytes.
    #[must_use]
    pub fn with_part_bytes_min(mut self, bytes: u64) -> Self {
        self.part_bytes_min = bytes;
        self
    }

    /// Returns an object's bytes, as another client of the bucket would see them.
    #[must_use]
    pub fn object(&self, location: &Location) -> Option<Bytes> {
        let state = self.state();
        let object = state.object(location, Operation::Get).ok()?;
        Some(object.payload.clone())
    }

    /// Puts an object there as another client of the bucket would, and the bucket if it is missing.
    pub fn insert(&self, location: &Location, payload: impl Into<Bytes>) -> ETag {
        let payload = payload.into();
        let etag = etag_of(&payload);
        let object = self.foreign_object(payload, etag.clone());
        let mut state = self.state();
        let objects = state.buckets.entry(location.bucket.clone()).or_default();
        objects.insert(location.key.as_str().to_owned(), object);
        etag
    }

    /// Gives an object another kind of checksum, as another client would have it kept.
    pub fn keep_checksum(&self, location: &Location, checksum: Digest) {
        let mut state = self.state();
        let objects = state.buckets.get_mut(&location.bucket);
        if let Some(object) = objects.and_then(|objects| objects.get_mut(location.key.as_str())) {
            object.meta.checksum = Some(checksum);
        }
    }

    /// Gives an object tags and properties, as another client would.
    pub fn describe(&self, location: &Location, tags: &[(&str, &str)], properties: Properties) {
        let mut state = self.state();
        let objects = state.buckets.get_mut(&location.bucket);
        let object = objects.and_then(|objects| objects.get_mut(location.key.as_str()));
        if let Some(object) = object {
            let tags = tags
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()));
            object.tags = tags.collect();
            object.meta.properties = Some(properties.into());
        }
    }

    /// Takes an object away as another client would; says whether there was one.
    pub fn remove(&self, location: &Location) -> bool {
        let mut state = self.state();
        let objects = state.buckets.get_mut(&location.bucket);
        objects.is_some_and(|objects| objects.remove(location.key.as_str()).is_some())
    }

    /// Returns all keys of a bucket, in order.
    #[must_use]
    pub fn keys(&self, bucket: &Bucket) -> Vec<String> {
        let state = self.state();
        let objects = state.buckets.get(bucket);
        objects
            .map(|objects| objects.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Returns the uploads that were neither completed nor aborted.
    #[must_use]
    pub fn unfinished_uploads(&self) -> Vec<(Location, UploadId)> {
        let state = self.state();
        let uploads = state.uploads.iter();
        uploads
            .map(|(id, upload)| (upload.location.clone(), UploadId(id.as_str().into())))
            .collect()
    }

    // A panic elsewhere cannot leave the maps half changed: each call changes them in one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_object(&self, payload: Bytes, etag: ETag, object: &NewObject) -> Object {
        let mut stored = self.foreign_object(payload, etag);
        stored.meta.content_type = object.content_type.clone();
        stored.meta.metadata = object
            .all_metadata()
            .map(|(name, value)| (name.to_ascii_lowercase().into(), value))
            .collect();
        stored.meta.metadata.sort_unstable();
        stored.meta.properties = described(object);
        stored.tags = object.tags.clone();
        stored
    }

    /// Makes an object of which nothing is said.
    fn foreign_object(&self, payload: Bytes, etag: ETag) -> Object {
        Object {
            meta: ObjectMeta {
                size: size_of(&payload),
                etag,
                version_id: None,
                modified: whole_seconds(self.clock.wall()),
                checksum: self
                    .capabilities
                    .checksums
                    .then(|| Digest::Crc64Nvme(Checksum::of(&payload))),
                composite: None,
                content_type: None,
                metadata: Vec::new(),
                properties: None,
            },
            tags: Vec::new(),
            payload,
        }
    }

    fn check(
        &self,
        checksum: Checksum,
        payload: &[u8],
        call: (Operation, &Location),
    ) -> Result<()> {
        if self.capabilities.checksums && checksum != Checksum::of(payload) {
            return Err(refusal(call, StorageErrorKind::ChecksumMismatch));
        }
        Ok(())
    }
}

impl State {
    fn objects(
        &mut self,
        bucket: &Bucket,
        operation: Operation,
    ) -> Result<&mut BTreeMap<String, Object>> {
        let objects = self.buckets.get_mut(bucket);
        objects.ok_or_else(|| {
            let detail = format!("{} s3://{bucket}", operation.name());
            StorageError::new(StorageErrorKind::NoSuchBucket, detail)
        })
    }

    fn object(&self, location: &Location, operation: Operation) -> Result<&Object> {
        let Some(objects) = self.buckets.get(&location.bucket) else {
            return Err(refusal(
                (operation, location),
                StorageErrorKind::NoSuchBucket,
            ));
        };
        // It keeps no versions.
        let is_present = location.key.version().is_none();
        let object = objects.get(location.key.as_str()).filter(|_| is_present);
        object.ok_or_else(|| refusal((operation, location), StorageErrorKind::NotFound))
    }

    /// Returns the object if it is still this version.
    fn pinned(&self, location: &Location, etag: &ETag, operation: Operation) -> Result<&Object> {
        let object = self.object(location, operation)?;
        if object.meta.etag != *etag {
            return Err(refusal(
                (operation, location),
                StorageErrorKind::Precondition,
            ));
        }
        Ok(object)
    }

    /// Puts an object in its place if the condition holds.
    fn place(
        &mut self,
        call: (Operation, &Location),
        object: Object,
        condition: &Precondition,
    ) -> Result<Stored> {
        let (operation, location) = call;
        let stored = Stored {
            etag: object.meta.etag.clone(),
            checksum: object.meta.checksum.and_then(Digest::crc64),
            version_id: None,
        };
        let key = location.key.as_str().to_owned();
        let held = self.objects(&location.bucket, operation)?.entry(key);
        match (held, condition) {
            (Entry::Vacant(_), Precondition::IfMatch(_)) => {
                return Err(refusal(call, StorageErrorKind::NotFound));
            }
            (Entry::Occupied(_), Precondition::IfNoneMatch) => {
                return Err(refusal(call, StorageErrorKind::Precondition));
            }
            (Entry::Occupied(held), Precondition::IfMatch(etag))
                if held.get().meta.etag != *etag =>
            {
                return Err(refusal(call, StorageErrorKind::Precondition));
            }
            (held, _) => {
                held.insert_entry(object);
            }
        }
        Ok(stored)
    }
}

/// Returns the properties that an object is stored with: class and key of its mapping come first.
fn described(object: &NewObject) -> Option<Box<Properties>> {
    let Some(asked) = &object.asked else {
        return object.properties.clone();
    };
    let mut properties = object.properties.clone().unwrap_or_default();
    if asked.storage_class.is_some() {
        properties.storage_class.clone_from(&asked.storage_class);
    }
    if let Some(sse) = &asked.encryption {
        properties.kms = sse.kms_key_id.clone().map(|key_id| Kms {
            algorithm: sse.algorithm.clone(),
            key_id,
            bucket_key: sse.bucket_key,
        });
    }
    (*properties != Properties::default()).then_some(properties)
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        let state = self.state();
        Ok(state.object(location, Operation::Head)?.meta.clone())
    }

    async fn part_size(&self, version: Version<'_>, _: PartNumber) -> Result<PartSize> {
        // Every object has a checksum of its own, or none.
        Err(refusal(
            (Operation::Head, version.location),
            StorageErrorKind::Refused,
        ))
    }

    async fn tags(&self, location: &Location) -> Result<Tags> {
        let state = self.state();
        Ok(state.object(location, Operation::Tags)?.tags.clone())
    }

    async fn get(&self, location: &Location, get: GetObject<'_>) -> Result<ObjectBody> {
        let state = self.state();
        let object = match get.etag {
            Some(etag) => state.pinned(location, etag, Operation::Get)?,
            None => state.object(location, Operation::Get)?,
        };
        let mut body = match get.range {
            Some(range) => slice(&object.payload, range).ok_or_else(|| {
                refusal(
                    (Operation::Get, location),
                    StorageErrorKind::RangeNotSatisfiable,
                )
            })?,
            None => object.payload.clone(),
        };
        let mut frames = Vec::new();
        while !body.is_empty() {
            frames.push(Ok(body.split_to(body.len().min(FRAME_BYTES))));
        }
        Ok(ObjectBody {
            meta: object.meta.clone(),
            frames: stream::iter(frames).boxed(),
        })
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        let mut state = self.state();
        let objects = state.objects(bucket, Operation::List)?;
        Ok(listing::page(objects, query))
    }

    async fn put(&self, location: &Location, payload: Bytes, put: PutObject<'_>) -> Result<Stored> {
        let call = (Operation::Put, location);
        self.check(put.checksum, &payload, call)?;
        let etag = etag_of(&payload);
        let object = self.new_object(own(&payload), etag, put.object);
        let condition = honoured(self.capabilities.conditional_put, put.condition);
        self.state().place(call, object, condition)
    }

    async fn copy(&self, target: &Location, copy: CopyObject<'_>) -> Result<Stored> {
        let call = (Operation::Copy, target);
        let mut state = self.state();
        let source = state.pinned(copy.source.location, copy.source.etag, Operation::Copy)?;
        let (payload, tags) = (source.payload.clone(), source.tags.clone());
        if size_of(&payload) > limits::COPY_BYTES_MAX {
            return Err(refusal(call, StorageErrorKind::Refused));
        }
        let etag = etag_of(&payload);
        let mut object = self.new_object(payload, etag, copy.object);
        if object.tags.is_empty() {
            object.tags = tags;
        }
        let condition = honoured(self.capabilities.conditional_copy, copy.condition);
        state.place(call, object, condition)
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<Removed> {
        let mut state = self.state();
        if let Some(etag) = etag.filter(|_| self.capabilities.conditional_delete) {
            state.pinned(location, etag, Operation::Delete)?;
        }
        let objects = state.objects(&location.bucket, Operation::Delete)?;
        objects.remove(location.key.as_str());
        Ok(Removed::default())
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        self.begin_upload(location, object)
    }

    async fn part(
        &self,
        location: &Location,
        payload: Bytes,
        part: UploadPart<'_>,
    ) -> Result<CompletedPart> {
        let call = (Operation::Part, location);
        self.check(part.checksum, &payload, call)?;
        self.keep_part(call, part.upload, part.number, own(&payload))
    }

    async fn part_copy(
        &self,
        location: &Location,
        part: UploadPartCopy<'_>,
    ) -> Result<CompletedPart> {
        let call = (Operation::PartCopy, location);
        let payload = {
            let (state, source) = (self.state(), part.source);
            let object = state.pinned(source.location, source.etag, Operation::PartCopy)?;
            let inside = part.range.end <= object.meta.size;
            slice(&object.payload, part.range)
                .filter(|_| inside)
                .ok_or_else(|| refusal(call, StorageErrorKind::RangeNotSatisfiable))?
        };
        self.keep_part(call, part.upload, part.number, payload)
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        self.kept_parts(location, upload)
    }

    async fn complete(&self, location: &Location, complete: CompleteUpload<'_>) -> Result<Stored> {
        self.finish_upload(location, complete)
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        let mut state = self.state();
        state.objects(&location.bucket, Operation::Abort)?;
        state.uploads.remove(&*upload.0);
        Ok(())
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        self.state().objects(bucket, Operation::CheckBucket)?;
        Ok(())
    }

    async fn list_buckets(&self, after: Option<&str>, max: u16) -> Result<BucketPage> {
        let state = self.state();
        let names = state.buckets.keys().map(Bucket::as_str);
        let mut left = names.skip_while(|name| after.is_some_and(|after| *name <= after));
        let page: Vec<_> = left.by_ref().take(max.into()).map(str::to_owned).collect();
        Ok(BucketPage {
            next: left.next().and_then(|_| page.last().cloned()),
            names: page,
        })
    }

    fn capabilities(&self, _: &Bucket) -> Capabilities {
        self.capabilities
    }
}

fn refusal((operation, location): (Operation, &Location), kind: StorageErrorKind) -> StorageError {
    StorageError::new(kind, format!("{} {location}", operation.name()))
}

fn honoured(capable: bool, condition: &Precondition) -> &Precondition {
    if capable {
        condition
    } else {
        &Precondition::None
    }
}

/// Cuts a range out without copying; `None` if it begins beyond the end.
fn slice(payload: &Bytes, range: ByteRange) -> Option<Bytes> {
    let start = usize::try_from(range.start).ok()?;
    let end = usize::try_from(range.end).unwrap_or(usize::MAX);
    let end = end.min(payload.len());
    (start < end).then(|| payload.slice(start..end))
}

fn size_of(payload: &Bytes) -> u64 {
    u64::try_from(payload.len()).unwrap_or(u64::MAX)
}

fn etag_of(payload: &[u8]) -> ETag {
    ETag(format!("\"{:032x}\"", Checksum::of(payload).0).into())
}

/// S3 dates objects in whole seconds.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since.as_secs())
}

/// About what arrives at once from a socket.
const FRAME_BYTES: usize = 64 * 1024;

/// Copies: a kept payload would keep the memory that its sender wants back.
fn own(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Key, Nonce};

    #[tokio::test]
    async fn what_another_client_does_is_seen() {
        let bucket = Bucket::parse("b").unwrap();
        let store = MemoryStore::new(&[]);
        let at = Location {
            bucket: bucket.clone(),
            key: Key::parse("k").unwrap(),
        };
        let etag = store.insert(&at, "theirs");
        assert_eq!(store.head(&at).await.unwrap().etag, etag);
        assert_eq!(store.keys(&bucket), ["k"]);
        let object = NewObject::new(Nonce::new().unwrap());
        let id = store.create(&at, &object).await.unwrap();
        assert_eq!(store.unfinished_uploads(), [(at.clone(), id.clone())]);
        store.abort(&at, &id).await.unwrap();
        assert!(store.unfinished_uploads().is_empty());
        assert!(store.remove(&at) && !store.remove(&at));
        assert_eq!(
            store.head(&at).await.unwrap_err().kind,
            StorageErrorKind::NotFound
        );
    }
}
