//! What S3's answers mean: the one table from the SDK's errors to [`StorageErrorKind`].
//!
//! Two questions decide a commit whose answer is bad: did the request leave this machine, and did
//! the store say that it did nothing? Only when the first is "yes" and the second "we cannot know"
//! is the outcome unknown.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId as _, RequestIdExt as _};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use crate::clock::{Clock as _, SystemClock};
use crate::storage::causes::{causes, chain, line, needs_credentials};
use crate::storage::{Bucket, Key, Operation, StorageError, StorageErrorKind};

/// The call that an error belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    pub(super) bucket: &'a Bucket,
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
        // To a HEAD S3 gives no reason; a clock that is off by as much is the likely one.
        let bare = kind == StorageErrorKind::Denied && error.code().is_none();
        let skewed =
            kind == StorageErrorKind::ClockSkew || (bare && ahead.abs() > SKEW_SECONDS_MAX);
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
            ..self.error(kind, &cause)
        }
    }

    /// Makes an error of this call.
    pub(super) fn error(&self, kind: StorageErrorKind, cause: &str) -> StorageError {
        let operation = self.operation.name();
        let bucket = self.bucket;
        let detail = match self.key {
            Some(key) => format!("{operation} s3://{bucket}/{key}: {cause}"),
            None => format!("{operation} s3://{bucket}: {cause}"),
        };
        StorageError::new(kind, detail)
    }

    fn by_code(self, code: &str, status: u16) -> StorageErrorKind {
        match code {
            "NoSuchKey" | "NoSuchVersion" => StorageErrorKind::NotFound,
            "NoSuchBucket" => StorageErrorKind::NoSuchBucket,
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

/// Returns how long the store asks not to be asked again, where it says so in seconds.
fn retry_after(answer: &HttpResponse) -> Option<Duration> {
    let seconds = answer.headers().get("retry-after")?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// Returns how far the store's clock is ahead of this machine's, by its answer.
fn store_ahead_seconds(answer: &HttpResponse) -> Option<i64> {
    let date = answer.headers().get("date")?;
    let date = DateTime::from_str(date, Format::HttpDate).ok()?;
    let here = DateTime::from(SystemClock.wall());
    Some(date.secs().saturating_sub(here.secs()))
}

/// Says whether the error arose before a connection was there to send on.
fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    needs_credentials(error)
        || causes(error).any(|cause| {
            cause
                .downcast_ref::<hyper_util::client::legacy::Error>()
                .is_some_and(hyper_util::client::legacy::Error::is_connect)
        })
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
            bucket: &Bucket::parse("b").unwrap(),
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
