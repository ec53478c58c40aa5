//! What a call is told beside its place, by the S3 call it makes: one value for each, so that one
//! thing more is a field.

use super::{
    ByteRange, Checksum, CompletedPart, ETag, Location, NewObject, PartNumber, Precondition,
    UploadId,
};

/// One version of an object.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    pub location: &'a Location,
    pub etag: &'a ETag,
}

/// The default is the whole object, whichever version it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct GetObject<'a> {
    pub range: Option<ByteRange>,
    /// Pins the version (`If-Match`).
    pub etag: Option<&'a ETag>,
}

#[derive(Debug, Clone, Copy)]
pub struct PutObject<'a> {
    pub object: &'a NewObject,
    pub checksum: Checksum,
    pub condition: &'a Precondition,
}

#[derive(Debug, Clone, Copy)]
pub struct CopyObject<'a> {
    /// Nothing is copied unless the source is still this version.
    pub source: Version<'a>,
    /// Replaces the source's metadata.
    pub object: &'a NewObject,
    pub condition: &'a Precondition,
}

#[derive(Debug, Clone, Copy)]
pub struct UploadPart<'a> {
    pub upload: &'a UploadId,
    pub number: PartNumber,
    pub checksum: Checksum,
}

#[derive(Debug, Clone, Copy)]
pub struct UploadPartCopy<'a> {
    pub upload: &'a UploadId,
    pub number: PartNumber,
    /// Nothing is copied unless the source is still this version.
    pub source: Version<'a>,
    pub range: ByteRange,
}

#[derive(Debug, Clone, Copy)]
pub struct CompleteUpload<'a> {
    pub upload: &'a UploadId,
    /// Numbered from 1 without gaps.
    pub parts: &'a [CompletedPart],
    /// The whole object's.
    pub checksum: Option<Checksum>,
    pub condition: &'a Precondition,
}
