//! `provider = "webhook"`: a POST to a URL.

use super::super::words::Event;
use super::finishing::Finishing;
use super::table::{ProviderTable, Signing};
use crate::secret::Secret;

/// A service of the operator's own.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "settings, each of its own")]
pub struct Webhook {
    pub url: String,
    /// Asked in order when `url` cannot be reached.
    pub more_urls: Vec<String>,
    pub event: Event,
    /// Of Transfer Family's event.
    pub omit_blank_password: bool,
    /// Sent with every question.
    pub headers: Vec<(String, Secret)>,
    /// The only roots to trust, in PEM; `None` = the system's.
    pub ca_pem: Option<String>,
    pub client_certificate: Option<ClientCertificate>,
    pub signing: Signing,
    pub hmac_secret: Option<Secret>,
    pub hmac_secret_next: Option<Secret>,
    pub plaintext: bool,
    pub accept_keys_with_password: bool,
    pub send_session_id: bool,
}

/// The gateway's own certificate for TLS, and its private key, in PEM.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    pub certificate_pem: String,
    pub key_pem: Secret,
}

pub(super) const KEYS: &[&str] = &[
    "url",
    "urls",
    "event",
    "omit_blank_password",
    "headers",
    "client_certificate_file",
    "client_key",
    "signing_key_files",
    "signing_issuer",
    "signing_audience",
    "signing_lifetime_seconds",
    "hmac_secret",
    "hmac_secret_next",
    "send_session_id",
];

impl Webhook {
    pub(super) fn finish(table: &ProviderTable, finishing: &mut Finishing<'_>) -> Option<Self> {
        let url = finishing.required_url(&table.url, table.plaintext);
        for url in &table.more_urls {
            finishing.url("urls", url, table.plaintext);
        }
        finishing.headers(&table.headers);
        proof(table, finishing);
        Some(Self {
            url: url?,
            ..Self::of(table)
        })
    }

    /// Takes what is written as it is.
    pub(super) fn of(table: &ProviderTable) -> Self {
        let certificate = table.client_certificate_pem.clone();
        let pair = certificate.zip(table.client_key_pem.clone());
        Self {
            url: table.url.clone(),
            more_urls: table.more_urls.clone(),
            event: table.event,
            omit_blank_password: table.omit_blank_password,
            headers: table.headers.clone(),
            ca_pem: table.ca_pem.clone(),
            client_certificate: pair.map(|(certificate_pem, key_pem)| ClientCertificate {
                certificate_pem,
                key_pem,
            }),
            signing: table.signing.clone(),
            hmac_secret: table.hmac_secret.clone(),
            hmac_secret_next: table.hmac_secret_next.clone(),
            plaintext: table.plaintext,
            accept_keys_with_password: table.accept_keys_with_password,
            send_session_id: table.send_session_id,
        }
    }
}

/// What proves to a service that a question is the gateway's.
fn proof(table: &ProviderTable, finishing: &mut Finishing<'_>) {
    let certificate = table.client_certificate_pem.is_some();
    match (certificate, table.client_key_pem.is_some()) {
        (true, false) => finishing.refuse(
            "client_key",
            "missing: client_certificate_file needs it (or client_key_file)",
        ),
        (false, true) => {
            finishing.refuse("client_certificate_file", "missing: client_key needs it");
        }
        (true, true) | (false, false) => {}
    }
    let signing = &table.signing;
    let signed = !signing.key_files.is_empty();
    let is_authorization = |(name, _): &(String, _)| name.eq_ignore_ascii_case("authorization");
    if signed && table.headers.iter().any(is_authorization) {
        let message = "signing_key_files sends an Authorization header too; allowed: one of them";
        finishing.refuse("headers", message);
    }
    if !signed && (signing.issuer.is_some() || signing.audience.is_some()) {
        let message = "missing: signing_issuer and signing_audience need it";
        finishing.refuse("signing_key_files", message);
    }
}
