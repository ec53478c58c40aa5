//! Listing open uploads and their parts.

use std::collections::BTreeMap;
use std::ops::Bound;

use s3s::dto::{
    ChecksumAlgorithm, ETag, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListPartsInput, ListPartsOutput, MultipartUpload, Part,
};
use s3s::{S3Result, s3_error};

use crate::checksum::set_checksum;
use crate::listing::{Encoding, Query, owner, page_size};
use crate::multipart::{self, Upload};
use crate::store::Store;

impl Store {
    pub(crate) fn list_parts(&self, input: ListPartsInput) -> S3Result<ListPartsOutput> {
        let bucket = self.bucket(&input.bucket)?;
        let contents = bucket.lock();
        let upload = contents
            .uploads
            .get(&(input.key.clone(), input.upload_id.clone()))
            .ok_or_else(|| s3_error!(NoSuchUpload))?;
        let items_max = page_size(input.max_parts)?;
        let after = Bound::Excluded(input.part_number_marker.unwrap_or(0));
        let mut entries = upload.parts.range((after, Bound::Unbounded));
        let parts: Vec<_> = entries
            .by_ref()
            .take(items_max)
            .map(|(number, part)| describe(*number, part))
            .collect();
        let more = items_max > 0 && entries.next().is_some();
        Ok(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            checksum_algorithm: Some(ChecksumAlgorithm::from_static(
                upload.checksums.algorithm.name(),
            )),
            checksum_type: Some(upload.checksums.kind_name()),
            initiator: Some(initiator()),
            owner: Some(owner()),
            is_truncated: Some(more),
            max_parts: i32::try_from(items_max).ok(),
            part_number_marker: input.part_number_marker,
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            storage_class: upload.properties.storage_class.clone(),
            parts: Some(parts),
            ..Default::default()
        })
    }

    pub(crate) fn list_uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let bucket = self.bucket(&input.bucket)?;
        let contents = bucket.lock();
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let items_max = page_size(input.max_uploads)?;
        let key_marker = input.key_marker.as_deref().unwrap_or_default();
        let id_marker = input
            .upload_id_marker
            .as_deref()
            .filter(|_| !key_marker.is_empty());

        // One flat name for key and id, so that uploads page as keys do. A NUL ends the key: it
        // sorts below every other character, and one inside a key only shifts a page's border.
        let named = |(key, id): &(String, String)| format!("{key}\0{id}");
        let by_name: BTreeMap<String, (&(String, String), &Upload)> = contents
            .uploads
            .iter()
            .map(|entry| (named(entry.0), entry))
            .collect();
        let mut query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: key_marker,
            items_max,
        };
        let after = match id_marker {
            Some(id) => format!("{key_marker}\0{id}"),
            // Without an id all uploads of the marker's key, or under it, have been seen.
            None if key_marker.is_empty()
                || query.common_prefix(key_marker) == Some(key_marker) =>
            {
                key_marker.to_owned()
            }
            None => format!("{key_marker}\0{}", char::MAX),
        };
        query.after = &after;
        let page = query.run(&by_name);

        let (next_key, next_id) = match page.next.as_deref().map(|next| next.rsplit_once('\0')) {
            None => (None, None),
            Some(Some((key, id))) => (Some(key.to_owned()), Some(id.to_owned())),
            Some(None) => (page.next.clone(), None),
        };
        let uploads = page
            .entries
            .into_iter()
            .map(|(_, ((key, id), upload))| MultipartUpload {
                key: Some(encoding.apply(key.clone())),
                upload_id: Some(id.clone()),
                initiated: Some(upload.initiated.into()),
                initiator: Some(initiator()),
                owner: Some(owner()),
                storage_class: upload.properties.storage_class.clone(),
                checksum_algorithm: Some(ChecksumAlgorithm::from_static(
                    upload.checksums.algorithm.name(),
                )),
                checksum_type: Some(upload.checksums.kind_name()),
            });
        Ok(ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            common_prefixes: Some(encoding.prefixes(page.common_prefixes)),
            bucket: Some(input.bucket),
            prefix: input.prefix.map(|prefix| encoding.apply(prefix)),
            delimiter: input.delimiter.map(|delimiter| encoding.apply(delimiter)),
            is_truncated: Some(page.next.is_some()),
            key_marker: input.key_marker.map(|key| encoding.apply(key)),
            upload_id_marker: input.upload_id_marker,
            next_key_marker: next_key.map(|key| encoding.apply(key)),
            next_upload_id_marker: next_id,
            max_uploads: i32::try_from(items_max).ok(),
            encoding_type: input.encoding_type,
            ..Default::default()
        })
    }
}

fn describe(number: i32, part: &multipart::Part) -> Part {
    let mut described = Part {
        part_number: Some(number),
        size: i64::try_from(part.body.len()).ok(),
        e_tag: Some(ETag::Strong(part.etag.clone())),
        last_modified: Some(part.modified.into()),
        ..Default::default()
    };
    set_checksum!(described, part.checksums.first());
    described
}

fn initiator() -> Initiator {
    let owner = owner();
    Initiator {
        display_name: owner.display_name,
        id: owner.id,
    }
}
