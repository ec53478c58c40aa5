//! Conditional requests: which entity tags and dates let a request through.

use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use crate::store::Object;

/// The conditions of a write on what the key holds now.
#[derive(Debug, Default)]
pub(crate) struct WriteConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// Reads the conditions from the headers, for requests whose parsed form does not carry them.
    pub(crate) fn of_headers(headers: &HeaderMap) -> S3Result<Self> {
        let parse = |name| {
            let value = headers.get(name).map(|value| value.as_bytes());
            value.map(ETagCondition::parse_http_header).transpose()
        };
        let invalid = |_| s3_error!(InvalidArgument, "The ETag of a condition is malformed.");
        Ok(Self {
            if_match: parse(IF_MATCH).map_err(invalid)?,
            if_none_match: parse(IF_NONE_MATCH).map_err(invalid)?,
        })
    }

    pub(crate) fn check(&self, existing: Option<&Object>) -> S3Result<()> {
        match (&self.if_match, existing) {
            (None, _) => {}
            (Some(_), None) => return Err(s3_error!(NoSuchKey)),
            (Some(wanted), Some(object)) if names(wanted, object) => {}
            (Some(_), Some(_)) => return Err(failed("If-Match")),
        }
        match (&self.if_none_match, existing) {
            (None, _) | (Some(ETagCondition::Any), None) => Ok(()),
            (Some(ETagCondition::Any), Some(_)) => Err(failed("If-None-Match")),
            // S3 knows only the asterisk here.
            (Some(ETagCondition::ETag(_)), _) => Err(s3_error!(
                NotImplemented,
                "If-None-Match on a write takes only *."
            )),
        }
    }
}

/// The conditions of a read.
#[derive(Debug, Default)]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Checks in the order of RFC 9110 §13.2.2: an `ETag` condition hides the date condition.
    pub(crate) fn check(&self, object: &Object) -> S3Result<()> {
        let modified = Timestamp::from(object.modified);
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(wanted), _) if !names(wanted, object) => return Err(failed("If-Match")),
            (None, Some(date)) if modified > *date => return Err(failed("If-Unmodified-Since")),
            (Some(_) | None, _) => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(unwanted), _) if names(unwanted, object) => Err(s3_error!(NotModified)),
            (None, Some(date)) if modified <= *date => Err(s3_error!(NotModified)),
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Checks the source of a copy, where every failure is a failed precondition.
    pub(crate) fn check_source(&self, object: &Object) -> S3Result<()> {
        self.check(object)
            .map_err(|_| failed("x-amz-copy-source-If"))
    }
}

/// Returns the present, to the second: what `Last-Modified` can express.
#[expect(
    clippy::disallowed_methods,
    reason = "Last-Modified is the store's own wall clock"
)]
pub(crate) fn now() -> SystemTime {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(since_epoch.as_secs())
}

fn names(condition: &ETagCondition, object: &Object) -> bool {
    condition
        .as_etag()
        .is_none_or(|etag| etag.value() == object.etag)
}

fn failed(condition: &str) -> S3Error {
    s3_error!(
        PreconditionFailed,
        "At least one of the pre-conditions you specified did not hold: {condition}"
    )
}
