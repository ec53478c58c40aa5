//! What S3's answers mean: the one table from the SDK's errors to [`StorageErrorKind`].
//!
//! Two questions decide a commit whose answer is bad: did the request leave this machine, and did
//! the store say that it did nothing? Only when the first is "yes" and the second "we cannot know"
//! is the outcome unknown.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId as _, RequestIdExt as _};
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use aws_smithy_types::date_time::Format;

use crate::aws::{has_no_connection, needs_credentials};
use crate::causes::{chain, line};
use crate::clock::{Clock as _, SystemClock};
use crate::storage::{Bucket, Key, Operation, StorageError, StorageErrorKind};

/// The call that an error belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    /// `None` where all of them are asked about.
    pub(super) bucket: Option<&'a Bucket>,
    pub(super) key: Option<&'a Key>,
}

impl Call<'_> {
    /// Classifies an error of the SDK and words it for the operator.
    pub(super) fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> StorageError
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let kind = match error {
            // Never serialized, so never sent; the request itself is at fault.
            SdkError::ConstructionFailure(_) if !needs_credentials(error) => {
                StorageErrorKind::Refused
            }
            SdkError::ConstructionFailure(_) => StorageErrorKind::Unavailable,
            SdkError::DispatchFailure(_) if was_never_sent(error) => StorageErrorKind::Unavailable,
            SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => self.answer_lost(),
            SdkError::ResponseError(response) => self.by_status(response.raw().status().as_u16()),
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                self.by_code(answer.err().code().unwrap_or_default(), status)
            }
            _ => self.answer_lost(),
        };
        let answer = error.raw_response();
        let ahead = answer.and_then(store_ahead_seconds).unwrap_or_default();
        // To a HEAD S3 gives no reason. A request that was signed with a time that is off by as much
        // was refused for that; the next one is signed by S3's clock, and tells a true denial.
        let bare = kind == StorageErrorKind::Denied && error.code().is_none();
        let signed = answer.and_then(|answer| answer.extension::<SignedAgo>());
        let off = signed.is_some_and(|signed| signed.0.abs() > SKEW_SECONDS_MAX);
        let skewed = kind == StorageErrorKind::ClockSkew || (bare && off);
        let elsewhere = elsewhere(error);
        let mut cause = worded(error);
        if let Some(region) = elsewhere.as_deref().filter(|region| !region.is_empty()) {
            cause.push_str("; the bucket is in region ");
            cause.push_str(region);
        }
        if skewed {
            cause = format!("{cause}; the store's clock is {ahead} s ahead of this machine's");
        }
        let kind = if skewed {
            StorageErrorKind::ClockSkew
        } else {
            kind
        };
        StorageError {
            retry_after: answer.and_then(retry_after),
            elsewhere,
            key_refused: is_of_key(error),
            ..self.error(kind, &cause)
        }
    }

    /// Makes an error of this call.
    pub(super) fn error(&self, kind: StorageErrorKind, cause: &str) -> StorageError {
        let operation = self.operation.name();
        let detail = match (self.bucket, self.key) {
            (Some(bucket), Some(key)) => format!("{operation} s3://{bucket}/{key}: {cause}"),
            (Some(bucket), None) => format!("{operation} s3://{bucket}: {cause}"),
            (None, _) => format!("{operation}: {cause}"),
        };
        StorageError::new(kind, detail)
    }

    fn by_code(self, code: &str, status: u16) -> StorageErrorKind {
        match code {
            "NoSuchKey" | "NoSuchVersion" => StorageErrorKind::NotFound,
            "NoSuchBucket" | "InvalidBucketName" => StorageErrorKind::NoSuchBucket,
            "NoSuchUpload" => StorageErrorKind::NoSuchUpload,
            // 409: another conditional write or a delete came between; the base is gone too.
            "PreconditionFailed" | "ConditionalRequestConflict" => StorageErrorKind::Precondition,
            "InvalidRange" => StorageErrorKind::RangeNotSatisfiable,
            "AccessDenied"
            | "AllAccessDisabled"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "SignatureDoesNotMatch" => StorageErrorKind::Denied,
            "RequestTimeTooSkewed" => StorageErrorKind::ClockSkew,
            // In the body of a 200 the work had begun: what became of it is not known.
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" if status != 200 => {
                StorageErrorKind::Expired
            }
            "SlowDown"
            | "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "TooManyRequestsException"
                if status != 200 =>
            {
                StorageErrorKind::Throttled
            }
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch" => StorageErrorKind::ChecksumMismatch,
            // The store saw less than the whole request, or refused to begin: nothing was done.
            "RequestTimeout" | "IncompleteBody" | "OperationAborted" if status != 200 => {
                StorageErrorKind::Unavailable
            }
            "" if status == 400 => StorageErrorKind::RefusedBare,
            _ => self.by_status(status),
        }
    }

    fn by_status(self, status: u16) -> StorageErrorKind {
        match status {
            404 if matches!(self.operation, Operation::CheckBucket) => {
                StorageErrorKind::NoSuchBucket
            }
            404 => StorageErrorKind::NotFound,
            401 | 403 => StorageErrorKind::Denied,
            412 => StorageErrorKind::Precondition,
            416 => StorageErrorKind::RangeNotSatisfiable,
            429 => StorageErrorKind::Throttled,
            // Includes redirects to another region, and 501: asking again changes nothing.
            300..=499 | 501 => StorageErrorKind::Refused,
            // Other 5xx, and a success that could not be read.
            _ => self.answer_lost(),
        }
    }

    fn answer_lost(self) -> StorageErrorKind {
        if self.operation.commits() {
            StorageErrorKind::OutcomeUnknown
        } else {
            StorageErrorKind::Unavailable
        }
    }
}

/// Says whether the store refused the key, and not what was asked with it.
fn is_of_key<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    // In the body of a 200 the work had begun.
    status != Some(200)
        && matches!(
            error.code(),
            Some(
                "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "InvalidToken"
                    | "ExpiredToken"
                    | "ExpiredTokenException"
            )
        )
}

/// Returns how long the store asks not to be asked again, where it says so in seconds.
fn retry_after(answer: &HttpResponse) -> Option<Duration> {
    let seconds = answer.headers().get("retry-after")?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// Returns how far the store's clock is ahead of this machine's, by its answer.
fn store_ahead_seconds(answer: &HttpResponse) -> Option<i64> {
    let here = DateTime::from(SystemClock.wall());
    Some(answered_at(answer)?.saturating_sub(here.secs()))
}

fn answered_at(answer: &HttpResponse) -> Option<i64> {
    let date = answer.headers().get("date")?;
    Some(DateTime::from_str(date, Format::HttpDate).ok()?.secs())
}

/// How many seconds lie between the time that a request was signed with and the store's time in
/// its answer, to which it is attached.
#[derive(Debug, Clone, Copy)]
struct SignedAgo(i64);

/// The time that a request was signed with, until its answer comes.
#[derive(Debug, Clone, Copy)]
struct SignedAt(i64);

impl Storable for SignedAt {
    type Storer = StoreReplace<Self>;
}

/// Attaches to each answer how old the request's signature was by the store's clock, and keeps how
/// far that one is ahead of this machine's.
#[derive(Debug, Clone, Default)]
pub(super) struct SigningTimes {
    ahead_seconds: Arc<AtomicI64>,
}

impl SigningTimes {
    /// Returns how far the store's clock is ahead, if it is known to be much.
    pub(super) fn ahead(&self) -> Duration {
        let seconds = self.ahead_seconds.load(Ordering::Relaxed);
        let much = Some(seconds).filter(|seconds| *seconds > SKEW_SECONDS_MAX);
        let much = much.and_then(|seconds| u64::try_from(seconds).ok());
        Duration::from_secs(much.unwrap_or_default())
    }

    /// Returns the time to sign with: the store's, as far as its last answer told.
    pub(super) fn now(&self) -> SystemTime {
        let (here, ahead) = (
            SystemClock.wall(),
            self.ahead_seconds.load(Ordering::Relaxed),
        );
        let by = Duration::from_secs(ahead.unsigned_abs());
        let there = if ahead < 0 {
            here.checked_sub(by)
        } else {
            here.checked_add(by)
        };
        there.unwrap_or(here)
    }

    /// Attaches to an answer how old the signature of its request was.
    pub(super) fn heard(&self, answer: &mut HttpResponse, signed: SystemTime) {
        self.heard_at(answer, Some(DateTime::from(signed).secs()));
    }

    fn heard_at(&self, answer: &mut HttpResponse, signed: Option<i64>) {
        // What a cache answers is of another time.
        if let Some(ahead) = store_ahead_seconds(answer)
            && !answer.headers().contains_key("age")
        {
            self.ahead_seconds.store(ahead, Ordering::Relaxed);
        }
        if let (Some(signed), Some(answered)) = (signed, answered_at(answer)) {
            answer.add_extension(SignedAgo(answered.saturating_sub(signed)));
        }
    }
}

impl Intercept for SigningTimes {
    fn name(&self) -> &'static str {
        "SigningTimes"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let signed = context.request().headers().get("x-amz-date");
        if let Some(signed) = signed.and_then(signed_at) {
            config.interceptor_state().store_put(SignedAt(signed));
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let signed = config.load::<SignedAt>().map(|signed| signed.0);
        self.heard_at(context.response_mut(), signed);
        Ok(())
    }
}

/// Reads `20261128T060500Z`.
fn signed_at(text: &str) -> Option<i64> {
    let digits = |range: std::ops::Range<usize>| text.get(range);
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    Some(DateTime::from_str(&text, Format::DateTime).ok()?.secs())
}

/// Says whether the error arose before a connection was there to send on.
fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    needs_credentials(error) || has_no_connection(error)
}

/// Returns the region that an answer names as that of the bucket.
pub(super) fn region_header<E>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.raw_response()?.headers().get("x-amz-bucket-region")
}

/// Returns where the bucket is, if S3 refused because it is in another region; empty where it did
/// not say.
fn elsewhere<E>(error: &SdkError<E, HttpResponse>) -> Option<Box<str>>
where
    E: ProvideErrorMetadata,
{
    let status = error.raw_response()?.status().as_u16();
    let code = error.as_service_error().and_then(E::code);
    let code = code.unwrap_or_default();
    let named = region_header(error).unwrap_or_default();
    let says_so = match (status, code) {
        (301 | 307, _)
        | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => true,
        // A bare one.
        (400, "") => !named.is_empty(),
        _ => false,
    };
    says_so.then(|| named.into())
}

/// Words an error for one line of the operator's log. Neither form shows a request's headers.
pub(super) fn worded<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let text = if let SdkError::ServiceError(answer) = error {
        let status = answer.raw().status().as_u16();
        let (code, message) = (answer.err().code(), answer.err().message());
        let code = code.unwrap_or("no code");
        // An answer that is no answer of S3's says at least why it could not be read.
        let message = message.map_or_else(|| chain(answer.err()), ToOwned::to_owned);
        let request = error.request_id().unwrap_or("-");
        let extended = error.extended_request_id().unwrap_or("-");
        format!("{status} {code}: {message} (request {request}, {extended})")
    } else {
        chain(error.source().unwrap_or(error))
    };
    line(&text)
}

/// S3 refuses from a quarter of an hour on; answers come late, and clocks are not exact.
const SKEW_SECONDS_MAX: i64 = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use StorageErrorKind as Kind;

    fn kind(operation: Operation, code: &str, status: u16) -> Kind {
        let call = Call {
            operation,
            bucket: Some(&Bucket::parse("b").unwrap()),
            key: None,
        };
        call.by_code(code, status)
    }

    #[test]
    fn only_a_commit_whose_answer_tells_nothing_has_an_unknown_outcome() {
        let rows = [
            (Operation::Put, "InternalError", 500, Kind::OutcomeUnknown),
            (
                Operation::Complete,
                "InternalError",
                200,
                Kind::OutcomeUnknown,
            ),
            (Operation::Complete, "SlowDown", 200, Kind::OutcomeUnknown),
            (Operation::Copy, "ExpiredToken", 200, Kind::OutcomeUnknown),
            (Operation::Put, "ExpiredToken", 400, Kind::Expired),
            (Operation::Copy, "", 502, Kind::OutcomeUnknown),
            (
                Operation::Put,
                "ServiceUnavailable",
                503,
                Kind::OutcomeUnknown,
            ),
            (Operation::Put, "SlowDown", 503, Kind::Throttled),
            (Operation::Put, "RequestTimeout", 400, Kind::Unavailable),
            (
                Operation::Put,
                "PreconditionFailed",
                412,
                Kind::Precondition,
            ),
            (Operation::Put, "EntityTooLarge", 400, Kind::Refused),
            (Operation::Part, "InternalError", 500, Kind::Unavailable),
            (Operation::Get, "", 503, Kind::Unavailable),
            (Operation::Delete, "InternalError", 500, Kind::Unavailable),
        ];
        for (operation, code, status, expected) in rows {
            assert_eq!(kind(operation, code, status), expected, "{code} {status}");
        }
    }

    #[test]
    fn the_time_of_a_signature_is_read() {
        assert_eq!(signed_at("19700102T000001Z"), Some(86_401));
        for bad in ["", "19700102", "1970-01-02T00:00:01Z"] {
            assert_eq!(signed_at(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_without_a_code_are_told_by_their_status() {
        let rows = [
            (Operation::Head, 404, Kind::NotFound),
            (Operation::CheckBucket, 404, Kind::NoSuchBucket),
            (Operation::CheckBucket, 301, Kind::Refused),
            (Operation::Head, 400, Kind::RefusedBare),
            (Operation::Head, 405, Kind::Refused),
            (Operation::Head, 403, Kind::Denied),
            (Operation::Get, 412, Kind::Precondition),
            (Operation::Get, 416, Kind::RangeNotSatisfiable),
            (Operation::List, 429, Kind::Throttled),
            (Operation::Put, 501, Kind::Refused),
        ];
        for (operation, status, expected) in rows {
            assert_eq!(kind(operation, "", status), expected, "{status}");
        }
    }
}
