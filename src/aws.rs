//! What the clients of AWS's services have in common: access keys, whom they trust over TLS, and
//! what their errors were caused by.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::causes::causes;
use crate::secret::Secret;

/// Where credentials come from.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// The AWS chain: environment, profile, web identity, ECS or EKS, EC2.
    DefaultChain,
    Static(AccessKey),
}

/// An access key whose secret can be replaced while clients sign with it; clones share it.
///
/// The SDK must not cache it: a client that uses one has no identity cache.
#[derive(Debug, Clone)]
pub struct AccessKey(Arc<RwLock<aws_credential_types::Credentials>>);

impl AccessKey {
    #[must_use]
    pub fn new(id: &str, secret: &Secret, session_token: Option<&Secret>) -> Self {
        Self(Arc::new(RwLock::new(signing(id, secret, session_token))))
    }

    /// Signs with another secret from the next request on.
    pub fn replace(&self, secret: &Secret, session_token: Option<&Secret>) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = signing(held.access_key_id(), secret, session_token);
    }

    /// Returns what is signed with now.
    pub(crate) fn current(&self) -> aws_credential_types::Credentials {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }
}

impl ProvideCredentials for AccessKey {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Ok(self.current()))
    }
}

fn signing(
    id: &str,
    secret: &Secret,
    session_token: Option<&Secret>,
) -> aws_credential_types::Credentials {
    let token = session_token.map(|token| token.expose().to_owned());
    aws_credential_types::Credentials::new(id, secret.expose(), token, None, "static")
}

/// Says why a client cannot be set up; no call has been made yet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the certificate authorities are not PEM certificates")]
    CaNotPem(#[source] rustls_pki_types::pem::Error),
    #[error("the certificate authorities' PEM text has no certificate")]
    CaEmpty,
    #[error("failed to set up TLS")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
}

/// Whose word is taken for who a server is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust<'a> {
    /// That of the system's certificate authorities.
    System,
    /// Theirs and that of these in PEM.
    Besides(&'a [u8]),
}

/// Builds an HTTP client that asks over TLS.
pub(crate) fn https(http: Builder, trust: Trust<'_>) -> Result<SharedHttpClient, ConnectError> {
    let (store, pem) = match trust {
        Trust::System => (TrustStore::default(), None),
        Trust::Besides(pem) => (TrustStore::default(), Some(pem)),
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

/// Says whether there were no credentials to ask with.
pub(crate) fn needs_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<CredentialsError>)
}

/// Says whether an error arose before a connection was there to send on.
pub(crate) fn has_no_connection(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        cause
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_secret_counts_in_every_clone_and_is_not_shown() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let key = AccessKey::new("AKID", &secret("walnut-39"), Some(&secret("hazel-7")));
        let used = key.clone();
        key.replace(&secret("ochre-12"), None);
        let held = used.current();
        assert_eq!(held.access_key_id(), "AKID");
        assert_eq!(held.secret_access_key(), "ochre-12");
        assert_eq!(held.session_token(), None);
        let shown = format!("{:?}", Credentials::Static(used));
        assert!(!shown.contains("ochre-12"), "{shown}");
    }
}
