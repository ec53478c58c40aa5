//! Which operation a request is, told from its line and headers alone.
//!
//! Faults and the request log sit below the protocol adapter, where a connection can be broken;
//! there the adapter's own parsing is out of reach.

use hyper::header::{CONTENT_LENGTH, HeaderName, IF_MATCH, IF_NONE_MATCH, RANGE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Uri};

use crate::percent;
use crate::request_log::RequestRecord;

/// Describes a request that has just arrived.
pub(crate) fn describe(request: &Parts) -> RequestRecord {
    let (bucket, key) = place(&request.uri);
    let query = request.uri.query().unwrap_or_default();
    let headers = &request.headers;
    let decoded = HeaderName::from_static("x-amz-decoded-content-length");
    let length = text(headers, &decoded).or_else(|| text(headers, &CONTENT_LENGTH));
    RequestRecord {
        operation: operation(request, query, !bucket.is_empty(), !key.is_empty()).to_owned(),
        part_number: parameter(query, "partNumber").and_then(|number| number.parse().ok()),
        upload_id: parameter(query, "uploadId").map(percent::decode),
        prefix: parameter(query, "prefix").map(|prefix| percent::decode(&prefix.replace('+', " "))),
        range: text(headers, &RANGE).or_else(|| text(headers, &COPY_SOURCE_RANGE)),
        if_match: text(headers, &IF_MATCH),
        if_none_match: text(headers, &IF_NONE_MATCH),
        copy_source: text(headers, &COPY_SOURCE).map(|source| percent::decode(&source)),
        copy_source_if_match: text(headers, &COPY_SOURCE_IF_MATCH),
        session_token: text(headers, &SECURITY_TOKEN),
        bytes_in: length.and_then(|length| length.parse().ok()).unwrap_or(0),
        status: None,
        bytes_out: 0,
        bucket,
        key,
    }
}

fn operation(request: &Parts, query: &str, bucket: bool, key: bool) -> &'static str {
    let has = |name| parameter(query, name).is_some();
    let copies = request.headers.contains_key(&COPY_SOURCE);
    match (&request.method, bucket, key) {
        (&Method::GET, false, _) => "ListBuckets",
        (&Method::GET, true, false) if has("uploads") => "ListMultipartUploads",
        (&Method::GET, true, false) if has("location") => "GetBucketLocation",
        (&Method::GET, true, false) if has("versions") => "ListObjectVersions",
        (&Method::GET, true, false) if has("versioning") => "GetBucketVersioning",
        (&Method::PUT, true, false) if has("versioning") => "PutBucketVersioning",
        (&Method::GET, true, false) if parameter(query, "list-type") == Some("2") => {
            "ListObjectsV2"
        }
        (&Method::GET, true, false) => "ListObjects",
        (&Method::HEAD, true, false) => "HeadBucket",
        (&Method::PUT, true, false) => "CreateBucket",
        (&Method::DELETE, true, false) => "DeleteBucket",
        (&Method::POST, true, false) if has("delete") => "DeleteObjects",
        (&Method::GET, true, true) if has("uploadId") => "ListParts",
        (&Method::GET, true, true) if has("tagging") => "GetObjectTagging",
        (&Method::GET, true, true) => "GetObject",
        (&Method::HEAD, true, true) => "HeadObject",
        (&Method::PUT, true, true) if has("uploadId") && copies => "UploadPartCopy",
        (&Method::PUT, true, true) if has("uploadId") => "UploadPart",
        (&Method::PUT, true, true) if copies => "CopyObject",
        (&Method::PUT, true, true) => "PutObject",
        (&Method::DELETE, true, true) if has("uploadId") => "AbortMultipartUpload",
        (&Method::DELETE, true, true) => "DeleteObject",
        (&Method::POST, true, true) if has("uploads") => "CreateMultipartUpload",
        (&Method::POST, true, true) if has("uploadId") => "CompleteMultipartUpload",
        _ => "Unknown",
    }
}

fn place(uri: &Uri) -> (String, String) {
    let path = uri.path().strip_prefix('/').unwrap_or_default();
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    (percent::decode(bucket), percent::decode(key))
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .find_map(|pair| match pair.split_once('=') {
            Some((found, value)) => (found == name).then_some(value),
            None => (pair == name).then_some(""),
        })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");
const COPY_SOURCE_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");
