//! Multipart uploads.

use aws_sdk_s3::operation::upload_part::UploadPartInput;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart as WirePart,
    Part as ListedPart,
};
use bytes::Bytes;

use super::carried::{self, Carried, carry};
use super::convert::Fault;
use super::loan::Loan;
use super::objects::condition_if;
use super::{S3Store, answer, as_it_is, at, call_on, convert};
use crate::storage::{
    CompleteUpload, CompletedPart, Location, NewObject, Operation, PartNumber, Result,
    StorageErrorKind, Stored, UploadId, UploadPart, UploadPartCopy,
};

impl S3Store {
    pub(super) async fn create_upload(
        &self,
        location: &Location,
        object: &NewObject,
    ) -> Result<UploadId> {
        let call = call_on(Operation::Create, location);
        let checksums = self.capabilities.checksums;
        let request = self
            .client
            .create_multipart_upload()
            .bucket(location.bucket.as_str())
            .key(location.key.as_str())
            .set_checksum_algorithm(checksums.then_some(ChecksumAlgorithm::Crc64Nvme))
            .set_checksum_type(checksums.then_some(ChecksumType::FullObject))
            .set_tagging(carried::tagging(&object.tags));
        let answer = carry!(request, Carried::of(self, object))
            .customize()
            .mutate_request(carried::expires(object))
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let Some(id) = answer.upload_id().filter(|id| !id.is_empty()) else {
            return Err(call.error(StorageErrorKind::Unavailable, "the answer has no upload id"));
        };
        Ok(UploadId(id.into()))
    }

    pub(super) async fn upload_part(
        &self,
        location: &Location,
        payload: Bytes,
        part: UploadPart<'_>,
    ) -> Result<CompletedPart> {
        let call = call_on(Operation::Part, location);
        let UploadPart {
            upload,
            number,
            checksum,
        } = part;
        let limit = self.timeouts.of_payload(payload.len());
        let size = payload.len();
        let loan = Loan::new(payload);
        macro_rules! described {
            ($to:expr) => {
                at!($to, location)
                    .upload_id(&*upload.0)
                    .part_number(wire_number(number))
                    .set_checksum_crc64_nvme(self.checksum_header(checksum))
                    // It is not in memory as the SDK sees it, so that it is not signed.
                    .body(loan.body())
            };
        }
        let answer = answer!(
            self,
            call,
            described,
            UploadPartInput,
            upload_part,
            limit,
            as_it_is
        )
        .map_err(|error| call.failed(&error))?;
        Ok(CompletedPart {
            number,
            etag: convert::etag_from(answer.e_tag())
                .map_err(|cause| call.error(StorageErrorKind::Unavailable, cause))?,
            checksum: convert::checksum_from(answer.checksum_crc64_nvme()),
            size: u64::try_from(size).unwrap_or(u64::MAX),
        })
    }

    pub(super) async fn upload_part_copy(
        &self,
        location: &Location,
        part: UploadPartCopy<'_>,
    ) -> Result<CompletedPart> {
        let call = call_on(Operation::PartCopy, location);
        let UploadPartCopy {
            upload,
            number,
            source,
            range,
        } = part;
        let bytes = range.end.saturating_sub(range.start);
        let answer = self
            .client
            .upload_part_copy()
            .bucket(location.bucket.as_str())
            .key(location.key.as_str())
            .upload_id(&*upload.0)
            .part_number(wire_number(number))
            .copy_source(convert::copy_source(source.location))
            .copy_source_if_match(&*source.etag.0)
            .copy_source_range(convert::range_text(range))
            .customize()
            .config_override(self.within(self.timeouts.of_store_work(bytes)))
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let Some(result) = answer.copy_part_result() else {
            let cause = "the answer does not say what was stored";
            return Err(call.error(StorageErrorKind::Unavailable, cause));
        };
        Ok(CompletedPart {
            number,
            etag: convert::etag_from(result.e_tag())
                .map_err(|cause| call.error(StorageErrorKind::Unavailable, cause))?,
            checksum: convert::checksum_from(result.checksum_crc64_nvme()),
            size: bytes,
        })
    }

    pub(super) async fn list_parts(
        &self,
        location: &Location,
        upload: &UploadId,
    ) -> Result<Vec<CompletedPart>> {
        let call = call_on(Operation::Parts, location);
        let mut parts = Vec::new();
        let mut marker = None;
        loop {
            let answer = self
                .client
                .list_parts()
                .bucket(location.bucket.as_str())
                .key(location.key.as_str())
                .upload_id(&*upload.0)
                .set_part_number_marker(marker.take())
                .send()
                .await
                .map_err(|error| call.failed(&error))?;
            let refused = |cause| call.error(StorageErrorKind::Unavailable, cause);
            for part in answer.parts() {
                parts.push(listed_part(part).map_err(refused)?);
            }
            let next = convert::next_page(
                self.capabilities.is_truncated,
                answer.is_truncated(),
                answer.next_part_number_marker(),
            );
            marker = next.map_err(refused)?;
            if marker.is_none() {
                parts.sort_unstable_by_key(|part| part.number);
                return Ok(parts);
            }
            // Such pages would go on for ever.
            if answer.parts().is_empty() || parts.len() > PARTS_LISTED_MAX {
                return Err(refused("the list of parts does not end"));
            }
        }
    }

    pub(super) async fn complete_upload(
        &self,
        location: &Location,
        complete: CompleteUpload<'_>,
    ) -> Result<Stored> {
        let call = call_on(Operation::Complete, location);
        let CompleteUpload {
            upload,
            parts,
            checksum,
            condition,
        } = complete;
        let (if_match, if_none_match) =
            condition_if(self.capabilities.conditional_complete, condition);
        let checksum = checksum.and_then(|checksum| self.checksum_header(checksum));
        let bytes = parts.iter().map(|part| part.size);
        let bytes = bytes.fold(0, u64::saturating_add);
        let wire_parts = parts.iter().map(|part| self.wire_part(part)).collect();
        let answer = self
            .client
            .complete_multipart_upload()
            .bucket(location.bucket.as_str())
            .key(location.key.as_str())
            .upload_id(&*upload.0)
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .set_checksum_type(checksum.as_ref().map(|_| ChecksumType::FullObject))
            .set_checksum_crc64_nvme(checksum)
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(wire_parts))
                    .build(),
            )
            .customize()
            .config_override(self.within(self.timeouts.of_store_work(bytes)))
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(Stored {
            etag: convert::etag_from(answer.e_tag())
                .map_err(|cause| call.error(StorageErrorKind::OutcomeUnknown, cause))?,
            checksum: convert::whole_checksum_from(
                answer.checksum_crc64_nvme(),
                answer.checksum_type(),
            ),
            version_id: answer.version_id().map(Into::into),
        })
    }

    pub(super) async fn abort_upload(&self, location: &Location, upload: &UploadId) -> Result<()> {
        let call = call_on(Operation::Abort, location);
        let outcome = self
            .client
            .abort_multipart_upload()
            .bucket(location.bucket.as_str())
            .key(location.key.as_str())
            .upload_id(&*upload.0)
            .send()
            .await;
        match outcome.map_err(|error| call.failed(&error)) {
            Err(error) if error.kind == StorageErrorKind::NoSuchUpload => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    fn wire_part(&self, part: &CompletedPart) -> WirePart {
        let checksum = part.checksum.and_then(|sum| self.checksum_header(sum));
        WirePart::builder()
            .part_number(wire_number(part.number))
            .e_tag(&*part.etag.0)
            .set_checksum_crc64_nvme(checksum)
            .build()
    }
}

fn listed_part(part: &ListedPart) -> std::result::Result<CompletedPart, Fault> {
    let number = part.part_number().and_then(|number| number.try_into().ok());
    Ok(CompletedPart {
        number: PartNumber(number.ok_or("a listed part has no number")?),
        etag: convert::etag_from(part.e_tag())?,
        checksum: convert::checksum_from(part.checksum_crc64_nvme()),
        size: convert::size_from(part.size())?,
    })
}

/// S3 refuses a number beyond its bound by itself.
fn wire_number(number: PartNumber) -> i32 {
    i32::try_from(number.0).unwrap_or(i32::MAX)
}

/// Some stores list a part that was sent again twice.
const PARTS_LISTED_MAX: usize = 20_000;
