//! The signature of a request, with the settings that the SDK has for S3.

use std::time::SystemTime;

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::error::BoxError;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;

/// For which service and region a request is signed, and how.
#[derive(Debug)]
pub(super) struct Scope {
    region: Box<str>,
    service: Box<str>,
    settings: SigningSettings,
}

impl Scope {
    pub(super) fn new(region: &str, service: &str) -> Self {
        let mut settings = SigningSettings::default();
        // S3 takes a path as it was sent.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        Self {
            region: region.into(),
            service: service.into(),
            settings,
        }
    }

    /// Adds the headers of the signature. A body that is not in memory is not signed.
    pub(super) fn sign(
        &self,
        request: &mut HttpRequest,
        identity: &Identity,
        at: SystemTime,
    ) -> Result<(), BoxError> {
        let params = v4::SigningParams::builder()
            .identity(identity)
            .region(&self.region)
            .name(&self.service)
            .time(at)
            .settings(self.settings.clone())
            .build()?
            .into();
        let body = request.body().bytes();
        let body = body.map_or(SignableBody::UnsignedPayload, SignableBody::Bytes);
        let headers = request.headers().iter();
        let signable = SignableRequest::new(request.method(), request.uri(), headers, body)?;
        let (instructions, _signature) = sign(signable, &params)?.into_parts();
        let (headers, _query) = instructions.into_parts();
        for header in headers {
            let value = header.value().to_owned();
            // None of them was there before.
            let _was = request.headers_mut().try_insert(header.name(), value)?;
        }
        Ok(())
    }
}
