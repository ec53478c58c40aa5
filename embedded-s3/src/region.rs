//! Buckets that are in a region: requests that are signed for another one are refused as Amazon's
//! S3 does it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use s3s::Body;

use crate::request_log::RequestRecord;

/// Where a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Such as `eu-west-1`.
    pub region: String,
    /// Whether every refusal names the region, and not the one of a HEAD of the bucket alone.
    pub named: bool,
}

/// The buckets that are in a region of their own.
#[derive(Debug, Default)]
pub(crate) struct Placements(Mutex<HashMap<String, Placement>>);

impl Placements {
    pub(crate) fn set(&self, bucket: &str, placement: Placement) {
        let mut placements = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        placements.insert(bucket.to_owned(), placement);
    }

    /// Returns the refusal of a request that is signed for another region than its bucket's.
    pub(crate) fn refusal(&self, parts: &Parts, record: &RequestRecord) -> Option<Response<Body>> {
        let placements = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let placement = placements.get(&record.bucket)?;
        let region = &placement.region;
        // Credential=KEY/DATE/REGION/s3/aws4_request
        let signed_for = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
        if signed_for.split('/').nth(2) == Some(region) {
            return None;
        }
        let (status, code) = match &*record.operation {
            "HeadBucket" | "HeadObject" => (StatusCode::BAD_REQUEST, ""),
            "ListObjectsV2" => (StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed"),
            _ => (StatusCode::MOVED_PERMANENTLY, "PermanentRedirect"),
        };
        let text = match code {
            "" => String::new(),
            code => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <Error><Code>{code}</Code><Message>Another region.</Message></Error>"
            ),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        if placement.named || record.operation == "HeadBucket" || code.is_empty() {
            let region = HeaderValue::from_str(region).ok()?;
            response.headers_mut().insert(BUCKET_REGION, region);
        }
        Some(response)
    }
}

const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");
