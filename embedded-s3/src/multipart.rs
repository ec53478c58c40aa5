//! Multipart uploads: parts arrive in any order and become one object at once, without a copy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, CopyPartResult,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, Range, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use crate::blocks::Blocks;
use crate::checksum::{Algorithm, Checksum, Hasher, claims, set_checksum};
use crate::conditions::{ReadConditions, WriteConditions, now};
use crate::properties::{Properties, properties};
use crate::receive::Incoming;
use crate::store::{Contents, Object, Store};

/// An upload that is neither completed nor aborted.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) initiated: SystemTime,
    pub(crate) properties: Properties,
    pub(crate) checksums: PartChecksums,
    pub(crate) parts: BTreeMap<i32, Part>,
}

/// How the parts of an upload are summed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartChecksums {
    pub(crate) algorithm: Algorithm,
    pub(crate) composite: bool,
    /// Whether the client chose the algorithm; if so its parts may carry no other.
    named: bool,
}

/// One part as last uploaded under its number.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) body: Blocks,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
    /// The checksum the client sent, if any, and the one of the upload's algorithm.
    pub(crate) checksums: Vec<Checksum>,
}

impl Part {
    pub(crate) fn checksum(&self, algorithm: Algorithm) -> Option<&Checksum> {
        self.checksums.iter().find(|sum| sum.algorithm == algorithm)
    }
}

impl Store {
    pub(crate) fn create_upload(
        &self,
        mut input: CreateMultipartUploadInput,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let properties = properties!(input)?;
        let checksums = PartChecksums::choose(
            input.checksum_algorithm.as_ref(),
            input.checksum_type.as_ref(),
        )?;
        let upload_id = format!("{:032x}", self.next_serial());
        let output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: Some(checksums.kind_name()),
            server_side_encryption: properties.server_side_encryption.clone(),
            ssekms_key_id: properties.ssekms_key_id.clone(),
            upload_id: Some(upload_id.clone()),
            ..Default::default()
        };
        let upload = Upload {
            initiated: now(),
            properties,
            checksums,
            parts: BTreeMap::new(),
        };
        self.bucket(&input.bucket)?
            .lock()
            .uploads
            .insert((input.key, upload_id), upload);
        Ok(output)
    }

    pub(crate) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<UploadPartOutput> {
        let mut input = request.input;
        let incoming = Incoming {
            claims: claims!(input),
            body: input.body,
            length: input.content_length,
            content_md5: input.content_md5,
            algorithm: input.checksum_algorithm,
            headers: request.headers,
            trailers: request.trailing_headers,
        };
        check_part_number(input.part_number)?;
        let place = (input.key, input.upload_id);
        let wanted = self.bucket(&input.bucket).map(|bucket| {
            bucket
                .lock()
                .uploads
                .get(&place)
                .map(|upload| upload.checksums)
        });
        let required = wanted
            .as_ref()
            .ok()
            .copied()
            .flatten()
            .map(|checksums| checksums.algorithm);
        // The body is read before anything is refused, so that the client is there to hear it.
        let received = incoming.receive(self, required).await?;
        let checksums = wanted?.ok_or_else(|| s3_error!(NoSuchUpload))?;
        let sent = received.checksums.first().map(|sum| sum.algorithm);
        if checksums.named && sent != Some(checksums.algorithm) {
            return Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {}",
                checksums.algorithm.name().to_ascii_lowercase()
            ));
        }
        let part = Part {
            body: received.body,
            etag: received.etag,
            modified: now(),
            checksums: received.checksums,
        };
        let mut output = UploadPartOutput {
            e_tag: Some(ETag::Strong(part.etag.clone())),
            ..Default::default()
        };
        set_checksum!(output, part.checksums.first());
        self.keep_part(&input.bucket, &place, input.part_number, part)?;
        Ok(output)
    }

    pub(crate) fn upload_part_copy(
        &self,
        input: UploadPartCopyInput,
    ) -> S3Result<UploadPartCopyOutput> {
        check_part_number(input.part_number)?;
        let source = self.copy_source(
            &input.copy_source,
            &ReadConditions {
                if_match: input.copy_source_if_match,
                if_none_match: input.copy_source_if_none_match,
                if_modified_since: input.copy_source_if_modified_since,
                if_unmodified_since: input.copy_source_if_unmodified_since,
            },
        )?;
        let body = match input.copy_source_range.as_deref() {
            None => source.body.clone(),
            Some(range) => source.body.slice(copy_range(range, source.body.len())?),
        };
        let place = (input.key, input.upload_id);
        let algorithm = {
            let bucket = self.bucket(&input.bucket)?;
            let contents = bucket.lock();
            let upload = contents
                .uploads
                .get(&place)
                .ok_or_else(|| s3_error!(NoSuchUpload))?;
            upload.checksums.algorithm
        };
        let mut hasher = Hasher::new(algorithm);
        body.iter().for_each(|block| hasher.update(block));
        let part = Part {
            body,
            etag: format!("{:032x}-1", self.next_serial()),
            modified: now(),
            checksums: vec![hasher.finish()],
        };
        let mut result = CopyPartResult {
            e_tag: Some(ETag::Strong(part.etag.clone())),
            last_modified: Some(part.modified.into()),
            ..Default::default()
        };
        set_checksum!(result, part.checksums.first());
        self.keep_part(&input.bucket, &place, input.part_number, part)?;
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..Default::default()
        })
    }

    pub(crate) fn complete_upload(
        &self,
        mut input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let claims = WholeClaims {
            checksums: claims!(input),
            kind: input.checksum_type,
            size: input.mpu_object_size,
        };
        let conditions = WriteConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        };
        let listed = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let place = (input.key, input.upload_id);
        let bucket = self.bucket(&input.bucket)?;
        let mut contents = bucket.lock();
        let Contents {
            objects, uploads, ..
        } = &mut *contents;
        let upload = uploads.get(&place).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let parts = upload.chosen(&listed)?;
        conditions.check(objects.get(&place.0).map(Arc::as_ref))?;

        let (body, checksum) = upload.assemble(&parts);
        claims.check(&body, checksum.as_ref())?;
        let object = Object {
            body,
            etag: format!("{:032x}-{}", self.next_serial(), parts.len()),
            modified: now(),
            properties: upload.properties.clone(),
            checksum,
            part_sizes: parts.iter().map(|part| part.body.len()).collect(),
            version_id: None,
        };
        uploads.remove(&place);
        let object = contents.place(place.0.clone(), object, self.next_serial());
        drop(contents);

        let mut output = CompleteMultipartUploadOutput {
            version_id: object.version_id.clone(),
            location: Some(format!(
                "/{}/{}",
                input.bucket,
                crate::percent::encode(&place.0)
            )),
            bucket: Some(input.bucket),
            key: Some(place.0),
            checksum_type: object.checksum.as_ref().map(Checksum::kind_name),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            server_side_encryption: object.properties.server_side_encryption.clone(),
            ssekms_key_id: object.properties.ssekms_key_id.clone(),
            ..Default::default()
        };
        set_checksum!(output, &object.checksum);
        Ok(output)
    }

    pub(crate) fn abort_upload(
        &self,
        input: AbortMultipartUploadInput,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let bucket = self.bucket(&input.bucket)?;
        let upload = bucket.lock().uploads.remove(&(input.key, input.upload_id));
        upload
            .map(|_| AbortMultipartUploadOutput::default())
            .ok_or_else(|| s3_error!(NoSuchUpload))
    }

    fn keep_part(
        &self,
        bucket: &str,
        place: &(String, String),
        number: i32,
        part: Part,
    ) -> S3Result<()> {
        let bucket = self.bucket(bucket)?;
        let mut contents = bucket.lock();
        // The upload may have been aborted or completed while the part was on its way.
        let upload = contents
            .uploads
            .get_mut(place)
            .ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(number, part);
        Ok(())
    }
}

impl Upload {
    /// Returns the parts a completion lists, refusing a list S3 refuses.
    fn chosen(&self, listed: &[CompletedPart]) -> S3Result<Vec<&Part>> {
        if listed.is_empty() {
            return Err(s3_error!(
                MalformedXML,
                "A completion lists at least one part."
            ));
        }
        let ascending = |pair: &[CompletedPart]| match pair {
            [one, two] => one.part_number < two.part_number,
            _ => true,
        };
        if !listed.windows(2).all(ascending) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let parts: Vec<_> = listed
            .iter()
            .map(|listed| self.part(listed))
            .collect::<S3Result<_>>()?;
        if let Some((_last, others)) = parts.split_last()
            && others.iter().any(|part| part.body.len() < PART_BYTES_MIN)
        {
            return Err(s3_error!(EntityTooSmall));
        }
        Ok(parts)
    }

    fn part(&self, listed: &CompletedPart) -> S3Result<&Part> {
        let invalid = || {
            s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found. The part may not have been \
                 uploaded, or its entity tag or checksum may not have matched."
            )
        };
        let part = listed
            .part_number
            .and_then(|number| self.parts.get(&number));
        let part = part.ok_or_else(invalid)?;
        let mut claimed = listed.clone();
        let claims = claims!(claimed);
        let agrees = |(algorithm, value): &(Algorithm, String)| {
            part.checksum(*algorithm)
                .is_some_and(|sum| sum.to_wire() == *value)
        };
        let same_etag = listed
            .e_tag
            .as_ref()
            .is_some_and(|etag| etag.value() == part.etag);
        if same_etag && claims.iter().all(agrees) {
            Ok(part)
        } else {
            Err(invalid())
        }
    }

    /// Joins the parts, sharing their bytes.
    fn assemble(&self, parts: &[&Part]) -> (Blocks, Option<Checksum>) {
        let mut body = Blocks::default();
        parts.iter().for_each(|part| body.append(&part.body));
        let PartChecksums {
            algorithm,
            composite,
            ..
        } = self.checksums;
        let sums = parts
            .iter()
            .map(|part| Some((part.checksum(algorithm)?, part.body.len())));
        let sums = sums.collect::<Option<Vec<_>>>();
        (
            body,
            sums.and_then(|sums| Checksum::of_parts(&sums, composite)),
        )
    }
}

/// What a completion says about the object it makes.
struct WholeClaims {
    checksums: Vec<(Algorithm, String)>,
    kind: Option<ChecksumType>,
    size: Option<i64>,
}

impl WholeClaims {
    fn check(&self, body: &Blocks, checksum: Option<&Checksum>) -> S3Result<()> {
        if self
            .size
            .is_some_and(|size| u64::try_from(size) != Ok(body.len()))
        {
            return Err(s3_error!(
                InvalidRequest,
                "x-amz-mp-object-size is not the size of the parts"
            ));
        }
        if self.kind.is_some() && self.kind != checksum.map(Checksum::kind_name) {
            return Err(s3_error!(
                InvalidRequest,
                "The upload has another checksum type."
            ));
        }
        for (algorithm, claimed) in &self.checksums {
            match checksum {
                Some(sum) if sum.algorithm == *algorithm => sum.verify(claimed)?,
                Some(_) | None => {
                    return Err(s3_error!(
                        InvalidRequest,
                        "The upload uses another checksum."
                    ));
                }
            }
        }
        Ok(())
    }
}

impl PartChecksums {
    fn choose(
        algorithm: Option<&ChecksumAlgorithm>,
        kind: Option<&ChecksumType>,
    ) -> S3Result<Self> {
        let named = algorithm.is_some();
        let algorithm = algorithm.map_or(Ok(Algorithm::Crc64Nvme), Algorithm::parse)?;
        let default = match algorithm {
            Algorithm::Crc64Nvme => ChecksumType::FULL_OBJECT,
            Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Sha1 | Algorithm::Sha256 => {
                ChecksumType::COMPOSITE
            }
        };
        let kind = kind.map_or(default, ChecksumType::as_str);
        let composite = kind == ChecksumType::COMPOSITE;
        let possible = match algorithm {
            Algorithm::Crc64Nvme => !composite,
            Algorithm::Sha1 | Algorithm::Sha256 => composite,
            Algorithm::Crc32 | Algorithm::Crc32c => true,
        };
        if !possible || (!composite && kind != ChecksumType::FULL_OBJECT) {
            let name = algorithm.name();
            return Err(s3_error!(
                InvalidRequest,
                "The {kind} checksum type cannot be used with the {name} checksum algorithm."
            ));
        }
        Ok(Self {
            algorithm,
            composite,
            named,
        })
    }

    pub(crate) fn kind_name(self) -> ChecksumType {
        ChecksumType::from_static(if self.composite {
            ChecksumType::COMPOSITE
        } else {
            ChecksumType::FULL_OBJECT
        })
    }
}

fn check_part_number(number: i32) -> S3Result<()> {
    if (1..=PART_NUMBER_MAX).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(
        InvalidArgument,
        "Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive"
    ))
}

/// Parses the range of a part copy: both ends given, both inside the source.
fn copy_range(range: &str, total: u64) -> S3Result<std::ops::Range<u64>> {
    match Range::parse(range) {
        Ok(Range::Int {
            first,
            last: Some(last),
        }) if last < total => Ok(first..last + 1),
        Ok(Range::Int { last: Some(_), .. }) => Err(s3_error!(InvalidRange)),
        Ok(Range::Int { last: None, .. } | Range::Suffix { .. }) | Err(_) => Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last"
        )),
    }
}

const PART_BYTES_MIN: u64 = 5 << 20;
const PART_NUMBER_MAX: i32 = 10_000;
