//! What is stored beside the bytes: headers, user metadata, storage class, encryption, tags.

use s3s::dto::{
    Metadata, ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption, StorageClass, Tag,
    Timestamp,
};
use s3s::{S3Result, s3_error};

use crate::percent;

/// The headers an object was written with, to be returned with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Properties {
    pub(crate) bucket_key_enabled: Option<bool>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) object_lock_legal_hold_status: Option<ObjectLockLegalHoldStatus>,
    pub(crate) object_lock_mode: Option<ObjectLockMode>,
    pub(crate) object_lock_retain_until_date: Option<Timestamp>,
    pub(crate) server_side_encryption: Option<ServerSideEncryption>,
    pub(crate) ssekms_key_id: Option<String>,
    pub(crate) storage_class: Option<StorageClass>,
    pub(crate) tagging: Option<String>,
    pub(crate) website_redirect_location: Option<String>,
}

impl Properties {
    /// Refuses what S3 refuses and drops what belongs to the transfer rather than to the object.
    pub(crate) fn checked(mut self) -> S3Result<Self> {
        let bytes = |(name, value): (&String, &String)| name.len() + value.len();
        let total: usize = self.metadata.iter().flatten().map(bytes).sum();
        if total > METADATA_BYTES_MAX {
            return Err(s3_error!(MetadataTooLarge));
        }
        self.content_encoding = self.content_encoding.and_then(|codings| {
            let kept: Vec<_> = codings
                .split(',')
                .map(str::trim)
                .filter(|coding| *coding != "aws-chunked")
                .collect();
            (!kept.is_empty()).then(|| kept.join(","))
        });
        Ok(self)
    }
}

impl Properties {
    /// Returns the properties of a copy that keeps the metadata of `source`: only where and how the
    /// copy is stored is its own.
    pub(crate) fn over_copied(self, source: &Self) -> Self {
        Self {
            bucket_key_enabled: self.bucket_key_enabled,
            object_lock_legal_hold_status: self.object_lock_legal_hold_status,
            object_lock_mode: self.object_lock_mode,
            object_lock_retain_until_date: self.object_lock_retain_until_date,
            server_side_encryption: self.server_side_encryption,
            ssekms_key_id: self.ssekms_key_id,
            storage_class: self.storage_class,
            ..source.clone()
        }
    }

    /// Returns the tags, which arrive as a query string.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        let decode = |text: &str| Some(percent::decode(&text.replace('+', " ")));
        let pairs = self.tagging.iter().flat_map(|tags| tags.split('&'));
        let pairs = pairs.filter(|pair| !pair.is_empty());
        let tags = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        tags.map(|(key, value)| Tag {
            key: decode(key),
            value: decode(value),
        })
        .collect()
    }
}

/// S3 counts user metadata as the bytes of names and values.
const METADATA_BYTES_MAX: usize = 2048;

/// Takes the properties out of the request that writes an object.
macro_rules! properties {
    ($input:ident) => {
        crate::properties::Properties {
            bucket_key_enabled: $input.bucket_key_enabled.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input.content_encoding.take(),
            content_language: $input.content_language.take(),
            content_type: $input.content_type.take(),
            expires: $input.expires.take(),
            metadata: $input.metadata.take(),
            object_lock_legal_hold_status: $input.object_lock_legal_hold_status.take(),
            object_lock_mode: $input.object_lock_mode.take(),
            object_lock_retain_until_date: $input.object_lock_retain_until_date.take(),
            server_side_encryption: $input.server_side_encryption.take(),
            ssekms_key_id: $input.ssekms_key_id.take(),
            storage_class: $input.storage_class.take(),
            tagging: $input.tagging.take(),
            website_redirect_location: $input.website_redirect_location.take(),
        }
        .checked()
    };
}

/// Builds the answer that describes an object: the same for GET and for HEAD.
macro_rules! describe {
    ($output:ident, $object:expr) => {{
        let properties = $object.properties.clone();
        let standard =
            |class: &s3s::dto::StorageClass| class.as_str() == s3s::dto::StorageClass::STANDARD;
        $output {
            accept_ranges: Some(String::from("bytes")),
            bucket_key_enabled: properties.bucket_key_enabled,
            cache_control: properties.cache_control,
            content_disposition: properties.content_disposition,
            content_encoding: properties.content_encoding,
            content_language: properties.content_language,
            content_type: properties
                .content_type
                .or_else(|| Some(String::from("binary/octet-stream"))),
            e_tag: Some(s3s::dto::ETag::Strong($object.etag.clone())),
            expires: properties.expires,
            last_modified: Some($object.modified.into()),
            metadata: properties.metadata,
            object_lock_legal_hold_status: properties.object_lock_legal_hold_status,
            object_lock_mode: properties.object_lock_mode,
            object_lock_retain_until_date: properties.object_lock_retain_until_date,
            server_side_encryption: properties.server_side_encryption,
            ssekms_key_id: properties.ssekms_key_id,
            // As S3, which leaves the header out for the standard class.
            storage_class: properties.storage_class.filter(|class| !standard(class)),
            version_id: $object.version_id.clone(),
            website_redirect_location: properties.website_redirect_location,
            ..Default::default()
        }
    }};
}

pub(crate) use {describe, properties};
