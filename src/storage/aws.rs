//! What the clients of AWS's services have in common: HTTP, region, and the gateway's credentials.

use std::error::Error;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::reconnect::Reconnecting;
use super::regions::BucketRegions;
use super::s3::Credentials;
use crate::limits;
use crate::secret::Secret;

/// Says why a store cannot be set up; no call has been made yet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the certificate authorities are not PEM certificates")]
    CaNotPem(#[source] rustls_pki_types::pem::Error),
    #[error("the certificate authorities' PEM text has no certificate")]
    CaEmpty,
    #[error("failed to set up TLS")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
}

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
            Credentials::Static {
                access_key,
                secret_key,
                session_token,
            } => Some(SharedCredentialsProvider::new(fixed(
                &access_key,
                &secret_key,
                session_token.as_ref(),
            ))),
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

/// Makes credentials that the SDK never renews.
pub(crate) fn fixed(
    access_key: &str,
    secret_key: &Secret,
    token: Option<&Secret>,
) -> aws_credential_types::Credentials {
    let token = token.map(|token| token.expose().to_owned());
    aws_credential_types::Credentials::new(access_key, secret_key.expose(), token, None, "static")
}

fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|url| url.starts_with("http://"))
}

/// Whose word is taken for who a server is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust<'a> {
    /// That of the system's certificate authorities.
    System,
    /// Theirs and that of these in PEM.
    Besides(&'a [u8]),
    /// That of these alone.
    Only(&'a [u8]),
}

impl<'a> Trust<'a> {
    fn with(ca_pem: Option<&'a [u8]>) -> Self {
        ca_pem.map_or(Self::System, Self::Besides)
    }
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
    let trust = Trust::with(ca_pem);
    Ok(Reconnecting::between(
        https(lasting(), trust)?,
        https(recent(), trust)?,
    ))
}

/// Builds an HTTP client that asks over TLS.
pub(crate) fn https(http: Builder, trust: Trust<'_>) -> Result<SharedHttpClient, ConnectError> {
    let (store, pem) = match trust {
        Trust::System => (TrustStore::default(), None),
        Trust::Besides(pem) => (TrustStore::default(), Some(pem)),
        Trust::Only(pem) => (TrustStore::empty(), Some(pem)),
    };
    let store = match pem {
        None => store,
        Some(pem) => {
            let certificates = CertificateDer::pem_slice_iter(pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(ConnectError::CaNotPem)?;
            if certificates.is_empty() {
                return Err(ConnectError::CaEmpty);
            }
            store.with_pem_certificate(pem)
        }
    };
    let context = TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| ConnectError::Tls(error.into()))?;
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    Ok(http
        .tls_provider(provider)
        .tls_context(context)
        .build_https())
}

/// Finds where the AWS chain has credentials from, if it has a link.
pub(crate) async fn default_chain(
    http: &SharedHttpClient,
    region: Region,
) -> Option<SharedCredentialsProvider> {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .region(region)
        .load()
        .await
        .credentials_provider()
}
