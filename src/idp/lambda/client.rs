//! The SDK's client, with its own opinions about time and repetition turned off.

use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
pub(super) use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_lambda::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::config::{
    BehaviorVersion, ConfigBag, Intercept, Region, RuntimeComponents, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_lambda::primitives::SdkBody;
use aws_sdk_lambda::{Client, Config, error::BoxError};
use aws_smithy_http_client::Builder;
use http_body_util::Limited;

use super::LambdaSettingsError;
use crate::aws::{self, Trust};
use crate::limits;

/// As for the webhook: shorter than what servers commonly allow.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The connections to Lambda.
#[derive(Debug)]
pub(super) struct Connection(SharedHttpClient);

impl Connection {
    /// `ca_pem` holds the only roots to trust, instead of the system's.
    pub(super) fn new(encrypted: bool, ca_pem: Option<&[u8]>) -> Result<Self, LambdaSettingsError> {
        let http = Builder::new().pool_idle_timeout(POOL_IDLE_TIMEOUT);
        if !encrypted {
            return Ok(Self(http.build_http()));
        }
        let trust = ca_pem.map_or(Trust::System, Trust::Only);
        Ok(Self(aws::https(http, trust)?))
    }

    pub(super) fn client(
        &self,
        credentials: SharedCredentialsProvider,
        region: String,
        endpoint: Option<String>,
        connect_timeout: Duration,
    ) -> Client {
        let timeouts = TimeoutConfig::builder().connect_timeout(connect_timeout);
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.0.clone())
            .region(Region::new(region))
            .credentials_provider(credentials)
            // A repeated password could lock its user out.
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(BoundedAnswer);
        config.set_endpoint_url(endpoint);
        Client::from_conf(config.build())
    }
}

/// An answer is compressed, although nobody asked for that.
#[derive(Debug, thiserror::Error)]
#[error("it has a Content-Encoding")]
pub(super) struct Encoded;

/// The SDK reads an answer to its end, wherever that is.
#[derive(Debug)]
struct BoundedAnswer;

impl Intercept for BoundedAnswer {
    fn name(&self) -> &'static str {
        "BoundedAnswer"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let coding = response.headers().get("content-encoding").map(str::trim);
        let is_plain = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case("identity");
        if response.status().as_u16() == 200 && !coding.is_none_or(is_plain) {
            return Err(Encoded.into());
        }
        let body = response.body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, limits::ANSWER_BYTES_MAX));
        Ok(())
    }
}
