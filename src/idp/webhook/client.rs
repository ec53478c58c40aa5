//! The HTTP client: whom it trusts, as whom it comes, and what it never does by itself.

use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, HeaderValue};
use reqwest::{Certificate, Client, Identity, Response, redirect, retry};

use crate::secret::Secret;

/// Shorter than what servers commonly allow (Node's 5 s is the shortest), since a question sent on
/// a connection that the server is about to close is lost and must not be repeated.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// What a client is made of.
#[derive(Debug, Clone, Default)]
pub(in crate::idp) struct ClientSettings<'a> {
    pub(in crate::idp) connect_timeout: Duration,
    /// The only roots to trust, instead of the system's.
    pub(in crate::idp) ca_pem: Option<&'a [u8]>,
    /// A certificate and its private key, in PEM, one after the other.
    pub(in crate::idp) identity_pem: Option<&'a Secret>,
    /// Says that `https://` is asked at all.
    pub(in crate::idp) encrypted: bool,
}

/// Says why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the certificates of ca_file: {0}")]
    Certificates(#[source] reqwest::Error),
    #[error("the certificates of ca_file: no PEM block `CERTIFICATE` found")]
    NoCertificate,
    #[error("client_certificate_file and client_key: no certificate with its private key in PEM")]
    Identity,
    #[error("the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

/// Makes a client that follows no redirect, repeats nothing and asks no proxy.
///
/// # Errors
/// Names what cannot be used.
pub(in crate::idp) fn client(settings: &ClientSettings<'_>) -> Result<Client, ClientError> {
    let mut client = Client::builder()
        .http1_only()
        .retry(retry::never())
        .redirect(redirect::Policy::none())
        // A proxy taken silently from the environment would see the passwords.
        .no_proxy()
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT);
    if let Some(pem) = settings.ca_pem {
        let roots = Certificate::from_pem_bundle(pem).map_err(ClientError::Certificates)?;
        // To trust nobody is surely not what was meant.
        if roots.is_empty() {
            return Err(ClientError::NoCertificate);
        }
        client = client.tls_certs_only(roots);
    } else if !settings.encrypted {
        // Nobody is to be trusted, so a machine without certificate authorities will do.
        client = client.tls_certs_only([]);
    }
    if let Some(pem) = settings.identity_pem {
        // The error might quote the key.
        let identity = Identity::from_pem(pem.expose().as_bytes());
        client = client.identity(identity.map_err(|_| ClientError::Identity)?);
    }
    client.build().map_err(ClientError::Client)
}

/// Returns in which coding a body comes, although none was asked for.
pub(in crate::idp) fn encoding(response: &Response) -> Option<String> {
    let mut codings = response.headers().get_all(CONTENT_ENCODING).iter();
    let is_plain = |coding: &&HeaderValue| {
        let coding = coding.as_bytes().trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    let found = codings.find(|coding| !is_plain(coding))?;
    Some(format!("Content-Encoding is {found:?}"))
}
