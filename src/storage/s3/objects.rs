//! Whole objects: head, get, list, put, copy, delete.

use std::time::Duration;

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::delete_object::DeleteObjectInput;
use aws_sdk_s3::operation::get_object::{GetObjectInput, GetObjectOutput};
use aws_sdk_s3::operation::head_object::HeadObjectInput;
use aws_sdk_s3::operation::list_objects_v2::{ListObjectsV2Input, ListObjectsV2Output};
use aws_sdk_s3::operation::put_object::PutObjectInput;
use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat};
use aws_sdk_s3::types::{ChecksumMode, EncodingType, MetadataDirective, TaggingDirective};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use super::carried::{self, Carried, carry};
use super::convert::{ContentRange, Fault, sums_of};
use super::errors::Call;
use super::loan::Loan;
use super::{S3Store, answer, as_it_is, at, call_on, convert, version_of};
use crate::causes::chain;
use crate::limits;
use crate::storage::{
    Bucket, BucketPage, Checksum, CopyObject, ETag, GetObject, ListCursor, ListPage, ListQuery,
    ListedObject, Location, ObjectBody, ObjectMeta, Operation, PartNumber, PartSize, Precondition,
    PutObject, Removed, Result, StorageError, StorageErrorKind, Stored, Tags, Version,
};

impl S3Store {
    pub(super) async fn head_object(&self, location: &Location) -> Result<ObjectMeta> {
        let call = call_on(Operation::Head, location);
        let mode = self.capabilities.checksums.then_some(ChecksumMode::Enabled);
        macro_rules! described {
            ($to:expr) => {
                at!($to, location)
                    .set_version_id(version_of(location))
                    .set_checksum_mode(mode)
            };
        }
        let limit = self.timeouts.call;
        let answered = answer!(
            self,
            call,
            described,
            HeadObjectInput,
            head_object,
            limit,
            as_it_is
        );
        let deletion = answered.as_ref().err().and_then(SdkError::raw_response);
        let id = location.key.version();
        if let Some(meta) = deletion
            .zip(id)
            .and_then(|(answer, id)| deleted(answer, id))
        {
            return Ok(meta);
        }
        let answer = answered.map_err(|error| call.failed(&error))?;
        let refused = |cause| call.error(StorageErrorKind::Unavailable, cause);
        let sums = sums_of!(answer);
        let etag = convert::etag_from(answer.e_tag()).map_err(refused)?;
        Ok(ObjectMeta {
            size: convert::size_from(answer.content_length()).map_err(refused)?,
            modified: convert::time_from(answer.last_modified()),
            checksum: convert::digest_from(&sums, answer.checksum_type(), &etag),
            etag,
            version_id: answer.version_id().map(Into::into),
            composite: convert::composite_from(&sums).map(Box::new),
            content_type: answer.content_type().map(Into::into),
            metadata: convert::metadata_from(answer.metadata()),
            properties: carried::properties_from(&answer).map(Box::new),
        })
    }

    pub(super) async fn part_head(
        &self,
        version: Version<'_>,
        part: PartNumber,
    ) -> Result<PartSize> {
        let call = call_on(Operation::Head, version.location);
        let number = i32::try_from(part.0).ok();
        macro_rules! described {
            ($to:expr) => {
                at!($to, version.location)
                    .set_version_id(version_of(version.location))
                    .if_match(&*version.etag.0)
                    .set_part_number(number)
            };
        }
        let limit = self.timeouts.call;
        let answer = answer!(
            self,
            call,
            described,
            HeadObjectInput,
            head_object,
            limit,
            as_it_is
        )
        .map_err(|error| call.failed(&error))?;
        // A store that does not know of parts tells of the whole object.
        let parts = answer.parts_count().and_then(|n| u32::try_from(n).ok());
        let ignored = "the store does not say how many parts the object has";
        Ok(PartSize {
            bytes: convert::size_from(answer.content_length())
                .map_err(|cause| call.error(StorageErrorKind::Unavailable, cause))?,
            parts: parts.ok_or_else(|| call.error(StorageErrorKind::Refused, ignored))?,
        })
    }

    pub(super) async fn object_tags(&self, location: &Location) -> Result<Tags> {
        let call = call_on(Operation::Tags, location);
        let answer = self
            .client
            .get_object_tagging()
            .bucket(location.bucket.as_str())
            .key(location.key.as_str())
            .set_version_id(location.key.version().map(str::to_owned))
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let tags = answer.tag_set().iter();
        Ok(tags
            .map(|tag| (tag.key().into(), tag.value().into()))
            .collect())
    }

    /// `None`: it is still the version that is known.
    pub(super) async fn get_object(
        &self,
        location: &Location,
        get: GetObject<'_>,
        known: Option<&ETag>,
    ) -> Result<Option<ObjectBody>> {
        let call = call_on(Operation::Get, location);
        let GetObject { range, etag } = get;
        macro_rules! described {
            ($to:expr) => {
                at!($to, location)
                    .set_version_id(version_of(location))
                    .set_range(range.map(convert::range_text))
                    .set_if_match(etag.map(|etag| etag.0.to_string()))
                    .set_if_none_match(known.map(|etag| etag.0.to_string()))
            };
        }
        // As a bare header: asked for as a parameter, the SDK would check each body by itself.
        let asks = self.capabilities.checksums && range.is_none_or(|range| range.start == 0);
        let asking = move |request: &mut HttpRequest| {
            if asks {
                let headers = request.headers_mut();
                headers.insert("x-amz-checksum-mode", "ENABLED");
            }
        };
        let limit = self.timeouts.call;
        let answered = answer!(
            self,
            call,
            described,
            GetObjectInput,
            get_object,
            limit,
            asking
        );
        let refusal = answered.as_ref().err().and_then(SdkError::raw_response);
        if known.is_some() && refusal.is_some_and(|answer| answer.status().as_u16() == 304) {
            return Ok(None);
        }
        let mut answer = answered.map_err(|error| call.failed(&error))?;
        let refused = |cause| {
            let kind = if cause == convert::RANGE_IGNORED {
                StorageErrorKind::Refused
            } else {
                StorageErrorKind::Unavailable
            };
            call.error(kind, cause)
        };
        let sent = convert::extent(range, answer.content_range(), answer.content_length());
        let sent = sent.map_err(refused)?;
        let frames = std::mem::take(&mut answer.body);
        let meta = got_meta(&answer, sent).map_err(refused)?;
        let length = sent.range.end.saturating_sub(sent.range.start);
        Ok(Some(ObjectBody {
            meta,
            frames: frames_of(frames, length, self.timeouts.body_idle, call),
        }))
    }

    pub(super) async fn list_objects(
        &self,
        bucket: &Bucket,
        query: &ListQuery,
    ) -> Result<ListPage> {
        let call = Call {
            operation: Operation::List,
            bucket: Some(bucket),
            key: None,
        };
        let (start_after, continuation) = match &query.after {
            None => (None, None),
            Some(ListCursor::StartAfter(key)) => (Some(key.clone()), None),
            Some(ListCursor::Continuation(token)) => (None, Some(token.clone())),
        };
        macro_rules! described {
            ($to:expr) => {
                $to.bucket(bucket.as_str())
                    .prefix(&query.prefix)
                    .set_delimiter(query.delimited.then(|| "/".to_owned()))
                    .set_start_after(start_after)
                    .set_continuation_token(continuation)
                    .max_keys(i32::from(query.max))
                    // XML cannot carry every character that a key may have.
                    .encoding_type(EncodingType::Url)
            };
        }
        let limit = self.timeouts.call;
        let answer = answer!(
            self,
            call,
            described,
            ListObjectsV2Input,
            list_objects_v2,
            limit,
            as_it_is
        )
        .map_err(|error| call.failed(&error))?;
        listed(&answer, self.capabilities.is_truncated)
            .map_err(|cause| call.error(StorageErrorKind::Unavailable, cause))
    }

    pub(super) async fn listed_buckets(&self, after: Option<&str>, max: u16) -> Result<BucketPage> {
        let call = Call {
            operation: Operation::ListBuckets,
            bucket: None,
            key: None,
        };
        let answer = self
            .client
            .list_buckets()
            .max_buckets(i32::from(max))
            .set_continuation_token(after.map(ToOwned::to_owned))
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        if answer.buckets.is_none() {
            let cause = "the answer does not say which buckets there are";
            return Err(call.error(StorageErrorKind::Unavailable, cause));
        }
        let names = answer.buckets().iter().map(|bucket| {
            let name = bucket.name().map(ToOwned::to_owned);
            name.ok_or_else(|| {
                let cause = "a listed bucket has no name";
                call.error(StorageErrorKind::Unavailable, cause)
            })
        });
        let names = names.collect::<Result<Vec<_>>>()?;
        if names.len() > limits::BUCKETS_PER_ANSWER_MAX {
            let cause = "the answer has more buckets than can be shown";
            return Err(call.error(StorageErrorKind::Refused, cause));
        }
        let next = answer.continuation_token().filter(|next| !next.is_empty());
        Ok(BucketPage {
            names,
            next: next.map(ToOwned::to_owned),
        })
    }

    pub(super) async fn put_object(
        &self,
        location: &Location,
        payload: Bytes,
        put: PutObject<'_>,
    ) -> Result<Stored> {
        let call = call_on(Operation::Put, location);
        let PutObject {
            object,
            checksum,
            condition,
        } = put;
        let limit = self.timeouts.of_payload(payload.len());
        let (if_match, if_none_match) = condition_if(self.capabilities.conditional_put, condition);
        let loan = Loan::new(payload);
        macro_rules! described {
            ($to:expr) => {{
                let to = at!($to, location)
                    .set_if_match(if_match)
                    .set_if_none_match(if_none_match)
                    .set_checksum_crc64_nvme(self.checksum_header(checksum))
                    .set_tagging(carried::tagging(&object.tags))
                    // It is not in memory as the SDK sees it, so that it is not signed.
                    .body(loan.body());
                carry!(to, Carried::of(self, object))
            }};
        }
        let expires = carried::expires(object);
        let answer = answer!(
            self,
            call,
            described,
            PutObjectInput,
            put_object,
            limit,
            expires
        )
        .map_err(|error| call.failed(&error))?;
        Ok(Stored {
            etag: convert::etag_from(answer.e_tag())
                .map_err(|cause| call.error(StorageErrorKind::OutcomeUnknown, cause))?,
            checksum: convert::checksum_from(answer.checksum_crc64_nvme()),
            version_id: answer.version_id().map(Into::into),
        })
    }

    pub(super) async fn copy_object(
        &self,
        target: &Location,
        copy: CopyObject<'_>,
    ) -> Result<Stored> {
        let call = call_on(Operation::Copy, target);
        let CopyObject {
            source,
            object,
            condition,
        } = copy;
        let (if_match, if_none_match) = condition_if(self.capabilities.conditional_copy, condition);
        let request = self
            .client
            .copy_object()
            .bucket(target.bucket.as_str())
            .key(target.key.as_str())
            .copy_source(convert::copy_source(source.location))
            .copy_source_if_match(&*source.etag.0)
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .metadata_directive(MetadataDirective::Replace);
        // Without a directive the source's tags are copied.
        let tagging = carried::tagging(&object.tags);
        let request = request
            .set_tagging_directive(tagging.as_ref().map(|_| TaggingDirective::Replace))
            .set_tagging(tagging);
        let answer = carry!(request, Carried::of(self, object))
            .customize()
            .mutate_request(carried::expires(object))
            .config_override(self.within(self.timeouts.store_work))
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let Some(result) = answer.copy_object_result() else {
            let cause = "the answer does not say what was stored";
            return Err(call.error(StorageErrorKind::OutcomeUnknown, cause));
        };
        Ok(Stored {
            etag: convert::etag_from(result.e_tag())
                .map_err(|cause| call.error(StorageErrorKind::OutcomeUnknown, cause))?,
            checksum: convert::whole_checksum_from(
                result.checksum_crc64_nvme(),
                result.checksum_type(),
            ),
            version_id: answer.version_id().map(Into::into),
        })
    }

    pub(super) async fn delete_object(
        &self,
        location: &Location,
        etag: Option<&ETag>,
    ) -> Result<Removed> {
        let call = call_on(Operation::Delete, location);
        let etag = etag.filter(|_| self.capabilities.conditional_delete);
        macro_rules! described {
            ($to:expr) => {
                at!($to, location).set_if_match(etag.map(|etag| etag.0.to_string()))
            };
        }
        let limit = self.timeouts.call;
        let outcome = answer!(
            self,
            call,
            described,
            DeleteObjectInput,
            delete_object,
            limit,
            as_it_is
        );
        match outcome.map_err(|error| call.failed(&error)) {
            Err(error) if error.kind == StorageErrorKind::NotFound && etag.is_none() => {
                Ok(Removed::default())
            }
            outcome => outcome.map(|answer| Removed {
                version_id: answer.version_id().map(Into::into),
                delete_marker: answer.delete_marker().unwrap_or_default(),
            }),
        }
    }

    pub(super) fn checksum_header(&self, checksum: Checksum) -> Option<String> {
        self.capabilities
            .checksums
            .then(|| convert::checksum_text(checksum))
    }
}

/// Splits a condition into `If-Match` and `If-None-Match`, where the store honours them.
pub(super) fn condition_if(
    honoured: bool,
    condition: &Precondition,
) -> (Option<String>, Option<String>) {
    match condition {
        Precondition::IfMatch(etag) if honoured => (Some(etag.0.to_string()), None),
        Precondition::IfNoneMatch if honoured => (None, Some("*".to_owned())),
        Precondition::None | Precondition::IfMatch(_) | Precondition::IfNoneMatch => (None, None),
    }
}

/// Reads what S3 says where the version that was asked for is a deletion; `None`: it is none.
fn deleted(answer: &HttpResponse, id: &str) -> Option<ObjectMeta> {
    let header = |name| answer.headers().get(name);
    let is_deletion =
        answer.status().as_u16() == 405 && header("x-amz-delete-marker") == Some("true");
    let at = header("last-modified").filter(|_| is_deletion)?;
    let at = DateTime::from_str(at, DateTimeFormat::HttpDate).ok()?;
    Some(ObjectMeta {
        size: 0,
        etag: ETag::of_deletion(),
        version_id: Some(id.into()),
        modified: convert::time_from(Some(&at)),
        checksum: None,
        composite: None,
        content_type: None,
        metadata: Vec::new(),
        properties: None,
    })
}

fn got_meta(
    answer: &GetObjectOutput,
    sent: ContentRange,
) -> std::result::Result<ObjectMeta, Fault> {
    let brought = sent.range.end.saturating_sub(sent.range.start);
    let sums = sums_of!(answer);
    let etag = convert::etag_from(answer.e_tag())?;
    // With a range that happens to be one part, S3 sends the part's checksum.
    let checksum = (sent.size == brought)
        .then(|| convert::digest_from(&sums, answer.checksum_type(), &etag))
        .flatten();
    Ok(ObjectMeta {
        size: sent.size,
        etag,
        version_id: answer.version_id().map(Into::into),
        modified: convert::time_from(answer.last_modified()),
        checksum,
        composite: None,
        content_type: answer.content_type().map(Into::into),
        metadata: convert::metadata_from(answer.metadata()),
        properties: None,
    })
}

/// Passes frames on as they are, and turns every early end into an error.
fn frames_of(
    body: ByteStream,
    length: u64,
    idle: Duration,
    call: Call<'_>,
) -> BoxStream<'static, Result<Bytes>> {
    let broken = call.error(StorageErrorKind::Unavailable, "the body");
    stream::unfold(Some((body, length, broken)), move |state| async move {
        let (mut body, left, broken) = state?;
        let ended = |how: &str| {
            let detail = format!("{} {how}", broken.detail);
            Some((Err(StorageError::new(broken.kind, detail)), None))
        };
        match tokio::time::timeout(idle, body.next()).await {
            Ok(Some(Ok(frame))) => {
                let got = u64::try_from(frame.len()).unwrap_or(u64::MAX);
                match left.checked_sub(got) {
                    Some(left) => Some((Ok(frame), Some((body, left, broken)))),
                    None => ended("has more bytes than announced"),
                }
            }
            Ok(None) if left == 0 => None,
            Ok(None) => ended("was cut"),
            Ok(Some(Err(error))) => ended(&format!("was interrupted: {}", chain(&error))),
            Err(_idle) => ended(&format!("was interrupted: nothing arrived for {idle:?}")),
        }
    })
    .boxed()
}

fn listed(answer: &ListObjectsV2Output, honest: bool) -> std::result::Result<ListPage, Fault> {
    let name = |text: &str| match answer.encoding_type() {
        Some(EncodingType::Url) => convert::decoded(text),
        _ => text.to_owned(),
    };
    let objects = answer.contents().iter().map(|object| {
        Ok(ListedObject {
            key: object.key().map(name).ok_or("a listed object has no key")?,
            size: convert::size_from(object.size())?,
            etag: convert::etag_from(object.e_tag())?,
            modified: convert::time_from(object.last_modified()),
            mode: None,
            owner: None,
        })
    });
    let prefixes = answer.common_prefixes().iter();
    let prefixes = prefixes.map(|common| {
        let prefix = common.prefix().map(name);
        prefix.ok_or("a listed prefix is empty")
    });
    let page = ListPage {
        objects: objects.collect::<std::result::Result<_, Fault>>()?,
        prefixes: prefixes.collect::<std::result::Result<_, Fault>>()?,
        next: convert::next_page(
            honest,
            answer.is_truncated(),
            answer.next_continuation_token(),
        )?,
    };
    // Some stores do not count prefixes, so that there may be more.
    let listed = page.objects.len().saturating_add(page.prefixes.len());
    let announced = answer
        .key_count()
        .and_then(|count| usize::try_from(count).ok());
    if announced.is_some_and(|announced| listed < announced) {
        return Err("the answer lists fewer names than it counts");
    }
    Ok(page)
}
