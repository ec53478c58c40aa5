//! What stands before a store. A [`Layer`] says what happens around a call, and is a store by
//! that: the calls are passed on in one place.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use bytes::Bytes;

use super::retry::Tries;
use super::{
    Bucket, BucketPage, Capabilities, CompleteUpload, CompletedPart, CopyObject, ETag, GetObject,
    ListPage, ListQuery, Location, NewObject, ObjectBody, ObjectMeta, ObjectStore, Operation,
    PartNumber, PartSize, PutObject, Removed, Result, SharedStore, Stored, Tags, UploadId,
    UploadPart, UploadPartCopy, Version, VersionPage, VersionQuery,
};

/// Which call it is.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub operation: Operation,
    /// `None` where all of them are asked about.
    pub bucket: Option<&'a Bucket>,
    /// Of a listing the prefix; empty where only the bucket is asked.
    pub key: &'a str,
    /// Of a copy the bucket that is read.
    pub source: Option<&'a Bucket>,
}

impl fmt::Display for About<'_> {
    /// The call and its place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.operation.name();
        match self.bucket {
            Some(bucket) => write!(f, "{name} s3://{bucket}/{}", self.key),
            None => f.write_str(name),
        }
    }
}

impl<'a> About<'a> {
    fn new(operation: Operation, location: &'a Location) -> Self {
        Self {
            operation,
            bucket: Some(&location.bucket),
            key: location.key.as_str(),
            source: None,
        }
    }

    fn copy(operation: Operation, target: &'a Location, source: &'a Location) -> Self {
        Self {
            source: Some(&source.bucket),
            ..Self::new(operation, target)
        }
    }
}

/// What happens around each call of a store.
pub trait Layer: Debug + Send + Sync + 'static {
    /// Makes the call by `run`, on the store it chooses: not at all, once, or again.
    fn around<T, F, R>(&self, about: About<'_>, run: R) -> impl Future<Output = Result<T>> + Send
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync;

    /// The same for a GET, whose body arrives after its call has ended.
    fn around_get<F, R>(
        &self,
        about: About<'_>,
        run: R,
    ) -> impl Future<Output = Result<ObjectBody>> + Send
    where
        F: Future<Output = Result<ObjectBody>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        self.around(about, run)
    }

    /// Returns what a new object is to carry instead of what was said; of a copy with its source.
    /// `None`: what was said.
    fn described(
        &self,
        _at: &Location,
        _object: &NewObject,
        _source: Option<&Location>,
    ) -> impl Future<Output = Result<Option<NewObject>>> + Send {
        std::future::ready(Ok(None))
    }

    /// See [`ObjectStore::capabilities`].
    fn capabilities(&self, bucket: &Bucket) -> Capabilities;

    /// See [`ObjectStore::patient`].
    fn patient(&self) -> Option<SharedStore> {
        None
    }

    /// See [`ObjectStore::tries`].
    fn tries(&self, _: Operation, _: &Bucket) -> Option<Tries> {
        None
    }
}

#[async_trait]
impl<L: Layer> ObjectStore for L {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        let run = |store: SharedStore| async move { store.head(location).await };
        self.around(About::new(Operation::Head, location), run)
            .await
    }

    async fn part_size(&self, version: Version<'_>, part: PartNumber) -> Result<PartSize> {
        let run = |store: SharedStore| async move { store.part_size(version, part).await };
        self.around(About::new(Operation::Head, version.location), run)
            .await
    }

    async fn tags(&self, location: &Location) -> Result<Tags> {
        let run = |store: SharedStore| async move { store.tags(location).await };
        self.around(About::new(Operation::Tags, location), run)
            .await
    }

    async fn get(&self, location: &Location, get: GetObject<'_>) -> Result<ObjectBody> {
        let run = |store: SharedStore| async move { store.get(location, get).await };
        self.around_get(About::new(Operation::Get, location), run)
            .await
    }

    async fn get_unless(&self, location: &Location, known: &ETag) -> Result<Option<ObjectBody>> {
        let run = |store: SharedStore| async move { store.get_unless(location, known).await };
        self.around(About::new(Operation::Get, location), run).await
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        let about = About {
            operation: Operation::List,
            bucket: Some(bucket),
            key: &query.prefix,
            source: None,
        };
        let run = |store: SharedStore| async move { store.list(bucket, query).await };
        self.around(about, run).await
    }

    async fn versions(&self, bucket: &Bucket, query: &VersionQuery) -> Result<VersionPage> {
        let about = About {
            operation: Operation::ListVersions,
            bucket: Some(bucket),
            key: &query.prefix,
            source: None,
        };
        let run = |store: SharedStore| async move { store.versions(bucket, query).await };
        self.around(about, run).await
    }

    async fn put(&self, location: &Location, payload: Bytes, put: PutObject<'_>) -> Result<Stored> {
        let own = self.described(location, put.object, None).await?;
        let object = own.as_ref().unwrap_or(put.object);
        let put = PutObject { object, ..put };
        let run = |store: SharedStore| {
            let payload = payload.clone();
            async move { store.put(location, payload, put).await }
        };
        self.around(About::new(Operation::Put, location), run).await
    }

    async fn copy(&self, target: &Location, copy: CopyObject<'_>) -> Result<Stored> {
        let source = Some(copy.source.location);
        let own = self.described(target, copy.object, source).await?;
        let object = own.as_ref().unwrap_or(copy.object);
        let copy = CopyObject { object, ..copy };
        let run = |store: SharedStore| async move { store.copy(target, copy).await };
        let about = About::copy(Operation::Copy, target, copy.source.location);
        self.around(about, run).await
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<Removed> {
        let run = |store: SharedStore| async move { store.delete(location, etag).await };
        self.around(About::new(Operation::Delete, location), run)
            .await
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        let own = self.described(location, object, None).await?;
        let object = own.as_ref().unwrap_or(object);
        let run = |store: SharedStore| async move { store.create(location, object).await };
        self.around(About::new(Operation::Create, location), run)
            .await
    }

    async fn part(
        &self,
        location: &Location,
        payload: Bytes,
        part: UploadPart<'_>,
    ) -> Result<CompletedPart> {
        let run = |store: SharedStore| {
            let payload = payload.clone();
            async move { store.part(location, payload, part).await }
        };
        self.around(About::new(Operation::Part, location), run)
            .await
    }

    async fn part_copy(
        &self,
        location: &Location,
        part: UploadPartCopy<'_>,
    ) -> Result<CompletedPart> {
        let run = |store: SharedStore| async move { store.part_copy(location, part).await };
        let about = About::copy(Operation::PartCopy, location, part.source.location);
        self.around(about, run).await
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        let run = |store: SharedStore| async move { store.parts(location, upload).await };
        self.around(About::new(Operation::Parts, location), run)
            .await
    }

    async fn complete(&self, location: &Location, complete: CompleteUpload<'_>) -> Result<Stored> {
        let run = |store: SharedStore| async move { store.complete(location, complete).await };
        self.around(About::new(Operation::Complete, location), run)
            .await
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        let run = |store: SharedStore| async move { store.abort(location, upload).await };
        self.around(About::new(Operation::Abort, location), run)
            .await
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        let about = About {
            operation: Operation::CheckBucket,
            bucket: Some(bucket),
            key: "",
            source: None,
        };
        let run = |store: SharedStore| async move { store.check_bucket(bucket).await };
        self.around(about, run).await
    }

    async fn list_buckets(&self, after: Option<&str>, max: u16) -> Result<BucketPage> {
        let about = About {
            operation: Operation::ListBuckets,
            bucket: None,
            key: "",
            source: None,
        };
        let run = |store: SharedStore| async move { store.list_buckets(after, max).await };
        self.around(about, run).await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        Layer::capabilities(self, bucket)
    }

    fn patient(&self) -> Option<SharedStore> {
        Layer::patient(self)
    }

    fn tries(&self, operation: Operation, bucket: &Bucket) -> Option<Tries> {
        Layer::tries(self, operation, bucket)
    }
}
