//! What the clients of S3 and STS stand on: HTTP, region, and the gateway's credentials.

use aws_config::Region;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::config::SharedIdentityCache;
use aws_smithy_http_client::Builder;

use super::reconnect::Reconnecting;
use super::regions::BucketRegions;
use crate::aws::{ConnectError, Credentials, Trust, default_chain, https};
use crate::limits;

/// What a client is built on.
#[derive(Debug)]
pub(super) struct AwsBase {
    pub(super) http: SharedHttpClient,
    /// Whether `http` can ask over TLS.
    pub(super) encrypted: bool,
    pub(super) region: Region,
    /// The gateway's own credentials; `None`: the AWS chain has no link.
    pub(super) own: Option<SharedCredentialsProvider>,
    pub(super) from_chain: bool,
    ca_pem: Option<Vec<u8>>,
    pub(super) bucket_regions: BucketRegions,
}

impl AwsBase {
    /// Prepares the HTTP client and the credentials; nothing is asked yet.
    pub(super) async fn prepare(
        endpoint: Option<&str>,
        ca_pem: Option<Vec<u8>>,
        region: String,
        credentials: Credentials,
    ) -> Result<Self, ConnectError> {
        let from_chain = matches!(credentials, Credentials::DefaultChain);
        // Where nothing is asked over TLS, a machine without certificate authorities will do.
        let encrypted = from_chain || !is_plain(endpoint);
        let http = if encrypted {
            encrypted_connections(ca_pem.as_deref())?
        } else {
            Reconnecting::between(lasting().build_http(), recent().build_http())
        };
        let region = Region::new(region);
        let own = match credentials {
            Credentials::DefaultChain => default_chain(&http, region.clone()).await,
            Credentials::Static(key) => Some(SharedCredentialsProvider::new(key)),
        };
        Ok(Self {
            http,
            encrypted,
            region,
            own,
            from_chain,
            ca_pem,
            bucket_regions: BucketRegions::default(),
        })
    }

    /// Returns how long the SDK may keep the gateway's own credentials: those of the configuration
    /// are at hand, and may be replaced.
    pub(super) fn identity_cache(&self) -> SharedIdentityCache {
        if self.from_chain {
            IdentityCache::lazy().build()
        } else {
            IdentityCache::no_cache()
        }
    }

    /// Returns an HTTP client that can reach an endpoint: the same one if it can.
    pub(super) fn http_for(
        &self,
        endpoint: Option<&str>,
    ) -> Result<SharedHttpClient, ConnectError> {
        if self.encrypted || is_plain(endpoint) {
            Ok(self.http.clone())
        } else {
            encrypted_connections(self.ca_pem.as_deref())
        }
    }
}

fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|url| url.starts_with("http://"))
}

/// Builds clients whose connections end soon after they were used: hundreds of them after a peak
/// hold megabytes.
fn lasting() -> Builder {
    Builder::new().pool_idle_timeout(limits::S3_CONNECTION_IDLE)
}

/// Builds clients that use nothing that may have died meanwhile.
fn recent() -> Builder {
    Builder::new().pool_idle_timeout(limits::S3_CONNECTION_RECENT)
}

fn encrypted_connections(ca_pem: Option<&[u8]>) -> Result<SharedHttpClient, ConnectError> {
    let trust = ca_pem.map_or(Trust::System, Trust::Besides);
    Ok(Reconnecting::between(
        https(lasting(), trust)?,
        https(recent(), trust)?,
    ))
}
