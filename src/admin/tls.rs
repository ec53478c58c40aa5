//! TLS of the port for AWS's tools: a certificate and its key, which may change meanwhile.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::{ServerConfig, crypto};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::secret::Secret;

/// Shows a certificate to who connects.
pub struct Tls(RwLock<Arc<ServerConfig>>);

/// A certificate and its key, which belong together.
#[derive(Clone)]
pub struct Certificate(Arc<ServerConfig>);

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate: {}", no_pem(.0, "CERTIFICATE"))]
    Certificate(pem::Error),
    #[error("the private key: {}", no_pem(.0, "PRIVATE KEY"))]
    Key(pem::Error),
    #[error("the private key does not belong to the certificate, which comes first in its chain")]
    Mismatch,
    #[error("the certificate cannot be used: {0}")]
    Unusable(rustls::Error),
}

fn no_pem(error: &pem::Error, block: &str) -> String {
    if matches!(error, pem::Error::NoItemsFound) {
        format!("no PEM block `{block}` found")
    } else {
        error.to_string()
    }
}

impl From<rustls::Error> for CertificateError {
    fn from(error: rustls::Error) -> Self {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            return Self::Mismatch;
        }
        Self::Unusable(error)
    }
}

impl Certificate {
    /// Reads a certificate with its chain, and the private key.
    ///
    /// # Errors
    /// One of them is none, or they do not belong together.
    pub fn parse(chain: &str, key: &Secret) -> Result<Self, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(CertificateError::Certificate)?;
        if chain.is_empty() {
            return Err(CertificateError::Certificate(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
        let key = key.map_err(CertificateError::Key)?;
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth();
        let mut config = config.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

impl Tls {
    #[must_use]
    pub fn new(certificate: Certificate) -> Self {
        Self(RwLock::new(certificate.0))
    }

    /// Shows another certificate from the next connection on.
    pub fn replace(&self, certificate: Certificate) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificate.0;
    }

    /// Agrees with a client on keys; the caller bounds the time.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}
