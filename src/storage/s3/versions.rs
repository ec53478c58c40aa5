//! `ListObjectVersions`.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::EncodingType;

use super::convert::{self, Fault};
use super::errors::Call;
use crate::storage::{
    Bucket, ETag, ListedVersion, Operation, Result, StorageErrorKind, VersionCursor, VersionPage,
    VersionQuery,
};

/// Lists one page; an `honest` store says of every page whether it is the last one.
pub(super) async fn list(
    (client, honest): (&Client, bool),
    bucket: &Bucket,
    query: &VersionQuery,
) -> Result<VersionPage> {
    let call = Call {
        operation: Operation::ListVersions,
        bucket: Some(bucket),
        key: None,
    };
    let after = query.after.as_ref();
    let answer = client
        .list_object_versions()
        .bucket(bucket.as_str())
        .prefix(&query.prefix)
        .set_delimiter(query.delimited.then(|| "/".to_owned()))
        .set_key_marker(after.map(|after| after.key.clone()))
        .set_version_id_marker(after.and_then(|after| after.version.clone()))
        .max_keys(i32::from(query.max))
        // XML cannot carry every character that a key may have.
        .encoding_type(EncodingType::Url)
        .send()
        .await
        .map_err(|error| call.failed(&error))?;
    listed(&answer, honest).map_err(|cause| call.error(StorageErrorKind::Unavailable, cause))
}

fn listed(
    answer: &ListObjectVersionsOutput,
    honest: bool,
) -> std::result::Result<VersionPage, Fault> {
    let name = |text: &str| match answer.encoding_type() {
        Some(EncodingType::Url) => convert::decoded(text),
        _ => text.to_owned(),
    };
    let mut versions = Vec::new();
    for version in answer.versions() {
        let size = convert::size_from(version.size())?;
        let etag: ETag = convert::etag_from(version.e_tag())?;
        versions.push(ListedVersion {
            key: version.key().map(name).ok_or(NAMELESS)?,
            id: version.version_id().ok_or(NAMELESS)?.into(),
            modified: convert::time_from(version.last_modified()),
            content: Some((size, etag)),
        });
    }
    for marker in answer.delete_markers() {
        versions.push(ListedVersion {
            key: marker.key().map(name).ok_or(NAMELESS)?,
            id: marker.version_id().ok_or(NAMELESS)?.into(),
            modified: convert::time_from(marker.last_modified()),
            content: None,
        });
    }
    let prefixes = answer.common_prefixes().iter();
    let prefixes = prefixes.map(|common| common.prefix().map(name).ok_or(NAMELESS));
    let key = convert::next_page(honest, answer.is_truncated(), answer.next_key_marker())?;
    let version = answer.next_version_id_marker().map(str::to_owned);
    Ok(VersionPage {
        versions,
        prefixes: prefixes.collect::<std::result::Result<_, Fault>>()?,
        next: key.map(|key| VersionCursor {
            key: name(&key),
            version: version.filter(|version| !version.is_empty()),
        }),
    })
}

const NAMELESS: Fault = "a listed version has no key or no id";
