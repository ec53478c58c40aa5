//! A store that notes every call on its way.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::storage::{
    Bucket, ByteRange, Capabilities, Checksum, CompletedPart, ETag, ListPage, ListQuery, Location,
    NewObject, ObjectBody, ObjectMeta, ObjectStore, Operation, PartNumber, Precondition, Result,
    SharedStore, Stored, UploadId,
};

/// One call, as IAM sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) operation: Operation,
    /// `s3://bucket/key`; of a listing the prefix.
    pub(super) place: String,
}

/// Passes every call on.
#[derive(Debug)]
pub(super) struct Noting {
    inner: SharedStore,
    calls: Mutex<Vec<Noted>>,
}

impl Noting {
    pub(super) fn new(inner: SharedStore) -> Self {
        Self {
            inner,
            calls: Mutex::default(),
        }
    }

    /// Takes out what was called since.
    pub(super) fn calls(&self) -> Vec<Noted> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, operation: Operation, bucket: &Bucket, key: &str) {
        let call = Noted {
            operation,
            place: format!("s3://{bucket}/{key}"),
        };
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
    }

    fn note_at(&self, operation: Operation, location: &Location) {
        self.note(operation, &location.bucket, location.key.as_str());
    }
}

#[async_trait]
impl ObjectStore for Noting {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        self.note_at(Operation::Head, location);
        self.inner.head(location).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<ByteRange>,
        etag: Option<&ETag>,
    ) -> Result<ObjectBody> {
        self.note_at(Operation::Get, location);
        self.inner.get(location, range, etag).await
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        self.note(Operation::List, bucket, &query.prefix);
        self.inner.list(bucket, query).await
    }

    async fn put(
        &self,
        location: &Location,
        payload: Bytes,
        checksum: Checksum,
        object: &NewObject,
        condition: &Precondition,
    ) -> Result<Stored> {
        self.note_at(Operation::Put, location);
        self.inner
            .put(location, payload, checksum, object, condition)
            .await
    }

    async fn copy(
        &self,
        source: &Location,
        source_etag: &ETag,
        target: &Location,
        object: &NewObject,
        condition: &Precondition,
    ) -> Result<Stored> {
        self.note_at(Operation::Copy, target);
        self.inner
            .copy(source, source_etag, target, object, condition)
            .await
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<()> {
        self.note_at(Operation::Delete, location);
        self.inner.delete(location, etag).await
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        self.note_at(Operation::Create, location);
        self.inner.create(location, object).await
    }

    async fn part(
        &self,
        location: &Location,
        upload: &UploadId,
        number: PartNumber,
        offset: u64,
        payload: Bytes,
        checksum: Checksum,
    ) -> Result<CompletedPart> {
        self.note_at(Operation::Part, location);
        self.inner
            .part(location, upload, number, offset, payload, checksum)
            .await
    }

    async fn part_copy(
        &self,
        location: &Location,
        upload: &UploadId,
        number: PartNumber,
        source: &Location,
        source_etag: &ETag,
        range: ByteRange,
    ) -> Result<CompletedPart> {
        self.note_at(Operation::PartCopy, location);
        self.inner
            .part_copy(location, upload, number, source, source_etag, range)
            .await
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        self.note_at(Operation::Parts, location);
        self.inner.parts(location, upload).await
    }

    async fn complete(
        &self,
        location: &Location,
        upload: &UploadId,
        parts: &[CompletedPart],
        checksum: Option<Checksum>,
        condition: &Precondition,
    ) -> Result<Stored> {
        self.note_at(Operation::Complete, location);
        self.inner
            .complete(location, upload, parts, checksum, condition)
            .await
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        self.note_at(Operation::Abort, location);
        self.inner.abort(location, upload).await
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        self.note(Operation::CheckBucket, bucket, "");
        self.inner.check_bucket(bucket).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
