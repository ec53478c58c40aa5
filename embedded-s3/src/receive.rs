//! Reading a request body into the store, checked against everything the client said about it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use hyper::{HeaderMap, StatusCode};
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{ChecksumAlgorithm, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders, s3_error};

use crate::blocks::{BlockFiller, Blocks};
use crate::checksum::{Algorithm, Checksum, Hasher};
use crate::store::Store;

/// A body that has not been read yet, with what the client claims about it.
pub(crate) struct Incoming {
    pub(crate) body: Option<StreamingBlob>,
    pub(crate) length: Option<i64>,
    pub(crate) content_md5: Option<String>,
    pub(crate) claims: Vec<(Algorithm, String)>,
    pub(crate) algorithm: Option<ChecksumAlgorithm>,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<TrailingHeaders>,
}

/// A body read whole and found to be what was claimed.
pub(crate) struct Received {
    pub(crate) body: Blocks,
    pub(crate) etag: String,
    /// The checksums of the algorithms the client named and the store asked for, in that order.
    pub(crate) checksums: Vec<Checksum>,
}

impl Incoming {
    /// Reads the body, computing the claimed checksums and that of `required`.
    pub(crate) async fn receive(
        self,
        store: &Store,
        required: Option<Algorithm>,
    ) -> S3Result<Received> {
        let in_trailer: Vec<_> = Algorithm::in_trailer(&self.headers).collect();
        let named = self.algorithm.as_ref().map(Algorithm::parse).transpose()?;
        let mut hashers: Vec<Hasher> = Vec::new();
        let claimed = self.claims.iter().map(|(algorithm, _)| *algorithm);
        for algorithm in claimed
            .chain(in_trailer.iter().copied())
            .chain(named)
            .chain(required)
        {
            if hashers.iter().all(|hasher| hasher.algorithm() != algorithm) {
                hashers.push(Hasher::new(algorithm));
            }
        }
        if hashers.is_empty() {
            // S3 gives every object a checksum, this one unless the client chose another.
            hashers.push(Hasher::new(Algorithm::Crc64Nvme));
        }

        let mut filler = BlockFiller::new(self.length.unwrap_or(0).try_into().unwrap_or(0));
        if let Some(mut body) = self.body {
            while let Some(frame) = body.next().await {
                let frame = frame.map_err(|error| broken_body(&error))?;
                hashers.iter_mut().for_each(|hasher| hasher.update(&frame));
                filler.write(&frame);
            }
        }
        let body = filler.finish();
        let checksums: Vec<_> = hashers.into_iter().map(Hasher::finish).collect();

        let mut claims = self.claims;
        for algorithm in in_trailer {
            claims.push((algorithm, trailer(self.trailers.as_ref(), algorithm)?));
        }
        for (algorithm, claimed) in &claims {
            if let Some(sum) = checksums.iter().find(|sum| sum.algorithm == *algorithm) {
                sum.verify(claimed)?;
            }
        }
        let etag = etag(store, &body, self.content_md5.as_deref())?;
        Ok(Received {
            body,
            etag,
            checksums,
        })
    }
}

/// Returns the `ETag` of new bytes, verifying `content_md5` if the client sent it.
///
/// Small bodies and those whose MD5 was asked for have it as their `ETag`, as on S3. For the rest the
/// MD5 would cost more than everything else together: they get a number, with a dash so that no
/// client takes it for an MD5.
fn etag(store: &Store, body: &Blocks, content_md5: Option<&str>) -> S3Result<String> {
    if content_md5.is_none() && body.len() > MD5_ETAG_BYTES_MAX {
        return Ok(format!("{:032x}-1", store.next_serial()));
    }
    let mut md5 = Md5::new();
    body.iter().for_each(|block| md5.update(block));
    let sum = md5.finalize();
    if let Some(claimed) = content_md5 {
        let claimed = STANDARD
            .decode(claimed)
            .map_err(|_| s3_error!(InvalidDigest))?;
        if claimed.len() != sum.len() {
            return Err(s3_error!(InvalidDigest));
        }
        if claimed != sum {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match."
            ));
        }
    }
    Ok(sum.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn trailer(trailers: Option<&TrailingHeaders>, algorithm: Algorithm) -> S3Result<String> {
    let value = trailers.and_then(|trailers| {
        trailers.read(|headers| {
            let value = headers.get(algorithm.header())?;
            value.to_str().ok().map(|value| value.trim().to_owned())
        })
    });
    value
        .flatten()
        .ok_or_else(|| s3_error!(InvalidRequest, "The announced trailer is missing."))
}

/// Names the reason a body ended early; the adapter's error types are private, their text is not.
fn broken_body(error: &StdError) -> S3Error {
    let text = error.to_string();
    if text.contains("SignatureMismatch") {
        return s3_error!(SignatureDoesNotMatch, "A chunk signature does not match.");
    }
    if text.contains("Sha256Mismatch") {
        let mut error = S3Error::with_message(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
        error.set_status_code(StatusCode::BAD_REQUEST);
        return error;
    }
    s3_error!(IncompleteBody, "The request body could not be read: {text}")
}

/// Up to this size an MD5 costs less than the request around it.
const MD5_ETAG_BYTES_MAX: u64 = 16 * 1024;
