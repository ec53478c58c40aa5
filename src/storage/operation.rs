//! The names of the calls, for logs, metrics and scripted failures.

/// One method of [`ObjectStore`](super::ObjectStore), by the S3 call it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Head,
    Tags,
    Get,
    List,
    ListVersions,
    Put,
    Copy,
    Delete,
    Create,
    Part,
    PartCopy,
    Parts,
    Complete,
    Abort,
    CheckBucket,
    ListBuckets,
}

impl Operation {
    pub const ALL: [Self; 16] = [
        Self::Head,
        Self::Tags,
        Self::Get,
        Self::List,
        Self::ListVersions,
        Self::Put,
        Self::Copy,
        Self::Delete,
        Self::Create,
        Self::Part,
        Self::PartCopy,
        Self::Parts,
        Self::Complete,
        Self::Abort,
        Self::CheckBucket,
        Self::ListBuckets,
    ];

    /// Returns the name that S3's own documentation and access logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "HeadObject",
            Self::Tags => "GetObjectTagging",
            Self::Get => "GetObject",
            Self::List => "ListObjectsV2",
            Self::ListVersions => "ListObjectVersions",
            Self::Put => "PutObject",
            Self::Copy => "CopyObject",
            Self::Delete => "DeleteObject",
            Self::Create => "CreateMultipartUpload",
            Self::Part => "UploadPart",
            Self::PartCopy => "UploadPartCopy",
            Self::Parts => "ListParts",
            Self::Complete => "CompleteMultipartUpload",
            Self::Abort => "AbortMultipartUpload",
            Self::CheckBucket => "HeadBucket",
            Self::ListBuckets => "ListBuckets",
        }
    }

    /// Says whether the call changes what a key holds, so that a lost answer leaves it open.
    #[must_use]
    pub const fn commits(self) -> bool {
        match self {
            Self::Put | Self::Copy | Self::Complete => true,
            Self::Head
            | Self::Tags
            | Self::Get
            | Self::List
            | Self::ListVersions
            | Self::Delete
            | Self::Create
            | Self::Part
            | Self::PartCopy
            | Self::Parts
            | Self::Abort
            | Self::CheckBucket
            | Self::ListBuckets => false,
        }
    }

    /// Says whether a store answers as soon for a large object as for a small one.
    #[must_use]
    pub const fn is_short(self) -> bool {
        match self {
            Self::Head
            | Self::Tags
            | Self::Get
            | Self::List
            | Self::ListVersions
            | Self::Delete
            | Self::Create
            | Self::Parts
            | Self::Abort
            | Self::CheckBucket
            | Self::ListBuckets => true,
            Self::Put | Self::Copy | Self::Part | Self::PartCopy | Self::Complete => false,
        }
    }

    /// Says whether a refusal has no body, so that it does not say why: S3 answers a bare 400 to
    /// a HEAD with expired credentials.
    #[must_use]
    pub const fn answers_bare(self) -> bool {
        match self {
            Self::Head | Self::CheckBucket => true,
            Self::Tags
            | Self::Get
            | Self::List
            | Self::ListVersions
            | Self::Put
            | Self::Copy
            | Self::Delete
            | Self::Create
            | Self::Part
            | Self::PartCopy
            | Self::Parts
            | Self::Complete
            | Self::Abort
            | Self::ListBuckets => false,
        }
    }
}
