//! Operations on single objects.

use std::ops::Range;
use std::sync::Arc;

use s3s::dto::{
    ChecksumMode, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETag, ETagCondition, Error, GetObjectInput, GetObjectOutput, GetObjectTaggingInput,
    GetObjectTaggingOutput, HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectInput,
    PutObjectOutput, TaggingDirective,
};
use s3s::{S3Request, S3Result, s3_error};

use crate::checksum::{claims, set_checksum};
use crate::conditions::{ReadConditions, WriteConditions, now};
use crate::properties::{Properties, describe, properties};
use crate::receive::Incoming;
use crate::store::{Object, Store};
use crate::versions::Deletion;

impl Store {
    pub(crate) async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<PutObjectOutput> {
        let mut input = request.input;
        let conditions = WriteConditions {
            if_match: input.if_match.take(),
            if_none_match: input.if_none_match.take(),
        };
        let properties = properties!(input)?;
        let incoming = Incoming {
            claims: claims!(input),
            body: input.body,
            length: input.content_length,
            content_md5: input.content_md5,
            algorithm: input.checksum_algorithm,
            headers: request.headers,
            trailers: request.trailing_headers,
        };
        // The body is read before anything is refused, so that the client is there to hear it.
        let received = incoming.receive(self, None).await?;

        let bucket = self.bucket(&input.bucket)?;
        let object = Object {
            body: received.body,
            etag: received.etag,
            modified: now(),
            properties,
            checksum: received.checksums.into_iter().next(),
            part_sizes: Vec::new(),
            version_id: None,
        };
        let object = {
            let mut contents = bucket.lock();
            conditions.check(contents.objects.get(&input.key).map(Arc::as_ref))?;
            contents.place(input.key, object, self.next_serial())
        };

        let mut output = PutObjectOutput {
            version_id: object.version_id.clone(),
            bucket_key_enabled: object.properties.bucket_key_enabled,
            checksum_type: object.checksum.as_ref().map(|sum| sum.kind_name()),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            server_side_encryption: object.properties.server_side_encryption.clone(),
            ssekms_key_id: object.properties.ssekms_key_id.clone(),
            ..Default::default()
        };
        set_checksum!(output, &object.checksum);
        Ok(output)
    }

    pub(crate) fn get_object(&self, input: GetObjectInput) -> S3Result<GetObjectOutput> {
        let bucket = self.bucket(&input.bucket)?;
        let object = bucket.version(&input.key, input.version_id.as_deref())?;
        ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        }
        .check(&object)?;
        refuse_part_number(input.part_number)?;

        let (body, content_range) = part_of(&object, input.range)?;
        let mut output = describe!(GetObjectOutput, object);
        output.content_length = i64::try_from(body.len()).ok();
        if content_range.is_none() && wants_checksum(input.checksum_mode.as_ref()) {
            output.checksum_type = object.checksum.as_ref().map(|sum| sum.kind_name());
            set_checksum!(output, &object.checksum);
        }
        output.content_range = content_range;
        output.body = Some(body.into_body());
        Ok(output)
    }

    pub(crate) fn head_object(&self, input: HeadObjectInput) -> S3Result<HeadObjectOutput> {
        let bucket = self.bucket(&input.bucket)?;
        let object = bucket.version(&input.key, input.version_id.as_deref())?;
        ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        }
        .check(&object)?;
        let numbered = input.part_number.map(|number| object.part(number));
        let numbered = numbered.transpose()?;
        let range = numbered.clone().map(whole_range).or(input.range);

        let (body, content_range) = part_of(&object, range)?;
        let mut output = describe!(HeadObjectOutput, object);
        if numbered.is_some() && !object.part_sizes.is_empty() {
            output.parts_count = i32::try_from(object.part_sizes.len()).ok();
        }
        output.content_length = i64::try_from(body.len()).ok();
        if content_range.is_none() && wants_checksum(input.checksum_mode.as_ref()) {
            output.checksum_type = object.checksum.as_ref().map(|sum| sum.kind_name());
            set_checksum!(output, &object.checksum);
        }
        output.content_range = content_range;
        Ok(output)
    }

    pub(crate) fn object_tagging(
        &self,
        input: GetObjectTaggingInput,
    ) -> S3Result<GetObjectTaggingOutput> {
        let bucket = self.bucket(&input.bucket)?;
        let GetObjectTaggingInput {
            key, version_id, ..
        } = input;
        let object = bucket.version(&key, version_id.as_deref())?;
        Ok(GetObjectTaggingOutput {
            version_id: object.version_id.clone(),
            tag_set: object.properties.tags(),
        })
    }

    pub(crate) fn delete_object(&self, input: DeleteObjectInput) -> S3Result<DeleteObjectOutput> {
        let DeleteObjectInput {
            bucket,
            key,
            version_id,
            if_match,
            ..
        } = input;
        let deletion = match version_id {
            Some(id) => self.bucket(&bucket)?.lock().remove_version(&key, &id),
            None => self.delete(&bucket, &key, if_match)?,
        };
        Ok(DeleteObjectOutput {
            version_id: deletion.version_id,
            delete_marker: deletion.delete_marker,
            ..Default::default()
        })
    }

    pub(crate) fn delete_objects(
        &self,
        input: DeleteObjectsInput,
    ) -> S3Result<DeleteObjectsOutput> {
        self.bucket(&input.bucket)?;
        if input.delete.objects.len() > DELETE_KEYS_MAX {
            return Err(s3_error!(MalformedXML));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match self.delete(
                &input.bucket,
                &object.key,
                object.e_tag.map(ETagCondition::ETag),
            ) {
                Ok(_) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    ..Default::default()
                }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        let quiet = input.delete.quiet == Some(true);
        Ok(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: Some(errors),
            ..Default::default()
        })
    }

    pub(crate) fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<CopyObjectOutput> {
        let mut input = request.input;
        let conditions = WriteConditions::of_headers(&request.headers)?;
        let source = self.copy_source(
            &input.copy_source,
            &ReadConditions {
                if_match: input.copy_source_if_match.take(),
                if_none_match: input.copy_source_if_none_match.take(),
                if_modified_since: input.copy_source_if_modified_since.take(),
                if_unmodified_since: input.copy_source_if_unmodified_since.take(),
            },
        )?;
        if source.body.len() > COPY_BYTES_MAX {
            return Err(s3_error!(
                InvalidRequest,
                "The specified copy source is larger than the maximum allowable size for a copy \
                 source: {COPY_BYTES_MAX}"
            ));
        }
        let replaces = input
            .metadata_directive
            .as_ref()
            .map(MetadataDirective::as_str)
            == Some(MetadataDirective::REPLACE);
        let changes =
            replaces || input.storage_class.is_some() || input.server_side_encryption.is_some();
        if !changes && is_source(&input.copy_source, &input.bucket, &input.key) {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself \
                 without changing the object's metadata, storage class or encryption."
            ));
        }

        let properties = copied_properties(&mut input, &source, replaces)?;
        // An MD5 is that of the bytes and stays; any other ETag belongs to the source alone.
        let etag = if source.etag.contains('-') {
            format!("{:032x}-1", self.next_serial())
        } else {
            source.etag.clone()
        };
        let object = Object {
            body: source.body.clone(),
            etag,
            modified: now(),
            properties,
            checksum: source.checksum.clone(),
            part_sizes: Vec::new(),
            version_id: None,
        };
        let bucket = self.bucket(&input.bucket)?;
        let object = {
            let mut contents = bucket.lock();
            conditions.check(contents.objects.get(&input.key).map(Arc::as_ref))?;
            contents.place(input.key, object, self.next_serial())
        };

        let mut result = CopyObjectResult {
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(object.modified.into()),
            checksum_type: object.checksum.as_ref().map(|sum| sum.kind_name()),
            ..Default::default()
        };
        set_checksum!(result, &object.checksum);
        Ok(CopyObjectOutput {
            version_id: object.version_id.clone(),
            copy_source_version_id: source.version_id.clone(),
            copy_object_result: Some(result),
            server_side_encryption: object.properties.server_side_encryption.clone(),
            ssekms_key_id: object.properties.ssekms_key_id.clone(),
            ..Default::default()
        })
    }

    /// Finds the source of a copy and checks the conditions on it.
    pub(crate) fn copy_source(
        &self,
        source: &CopySource,
        conditions: &ReadConditions,
    ) -> S3Result<Arc<Object>> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(s3_error!(
                NotImplemented,
                "A copy source is a bucket and a key."
            ));
        };
        let object = self.bucket(bucket)?.version(key, version_id.as_deref())?;
        conditions.check_source(&object)?;
        Ok(object)
    }

    fn delete(
        &self,
        bucket: &str,
        key: &str,
        if_match: Option<ETagCondition>,
    ) -> S3Result<Deletion> {
        let bucket = self.bucket(bucket)?;
        let mut contents = bucket.lock();
        let conditions = WriteConditions {
            if_match,
            if_none_match: None,
        };
        conditions.check(contents.objects.get(key).map(Arc::as_ref))?;
        Ok(contents.take_away(key, self.next_serial()))
    }
}

/// Returns the bytes a `Range` asks for and the `Content-Range` that names them.
fn part_of(
    object: &Object,
    range: Option<s3s::dto::Range>,
) -> S3Result<(crate::blocks::Blocks, Option<String>)> {
    let total = object.body.len();
    let Some(range) = range else {
        return Ok((object.body.clone(), None));
    };
    let Range { start, end } = range.check(total)?;
    if start == end {
        return Err(s3_error!(InvalidRange));
    }
    let content_range = format!("bytes {start}-{}/{total}", end - 1);
    Ok((object.body.slice(start..end), Some(content_range)))
}

impl Object {
    /// Returns where the bytes of a part are; an object that came in one is one part.
    fn part(&self, number: i32) -> S3Result<Range<u64>> {
        let refused = || s3_error!(InvalidRange, "The requested partnumber is not satisfiable");
        let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let index = index.ok_or_else(refused)?;
        if self.part_sizes.is_empty() && index == 0 {
            return Ok(0..self.body.len());
        }
        let (before, rest) = self
            .part_sizes
            .split_at_checked(index)
            .ok_or_else(refused)?;
        let start = before.iter().sum();
        let size = rest.first().ok_or_else(refused)?;
        Ok(start..start + size)
    }
}

fn whole_range(range: Range<u64>) -> s3s::dto::Range {
    s3s::dto::Range::Int {
        first: range.start,
        last: Some(range.end.saturating_sub(1)),
    }
}

fn refuse_part_number(part_number: Option<i32>) -> S3Result<()> {
    match part_number {
        None => Ok(()),
        Some(_) => Err(s3_error!(
            NotImplemented,
            "Reading by part number is not implemented."
        )),
    }
}

fn wants_checksum(mode: Option<&ChecksumMode>) -> bool {
    mode.map(ChecksumMode::as_str) == Some(ChecksumMode::ENABLED)
}

fn copied_properties(
    input: &mut CopyObjectInput,
    source: &Object,
    replaces: bool,
) -> S3Result<Properties> {
    let mut properties = properties!(input)?;
    if !replaces {
        properties = properties.over_copied(&source.properties);
    }
    let directive = input.tagging_directive.as_ref();
    if directive.map(TaggingDirective::as_str) != Some(TaggingDirective::REPLACE) {
        properties.tagging.clone_from(&source.properties.tagging);
    }
    Ok(properties)
}

fn is_source(source: &CopySource, bucket: &str, key: &str) -> bool {
    matches!(source, CopySource::Bucket { bucket: from, key: name, .. }
        if **from == *bucket && **name == *key)
}

const DELETE_KEYS_MAX: usize = 1000;

/// S3's bound on the source of a single copy; larger objects are copied in parts.
const COPY_BYTES_MAX: u64 = 5 << 30;
