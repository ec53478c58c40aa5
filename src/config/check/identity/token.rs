//! Tokens and signatures: what belongs together, and what must not be allowed at all.

use super::{Refuse, Url};
use crate::config::settings::{join, variable};
use crate::config::{Identity, Methods};

/// Signatures that a public key verifies.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// A provider that takes tokens for passwords.
pub(super) fn check(section: &str, identity: &Identity, refuse: Refuse<'_>) {
    let token = &identity.token;
    let mut missing = |key: &str| {
        let name = variable(&join(section, key));
        refuse(
            key,
            format!("missing: set {key} under [{section}], or {name}"),
        );
    };
    if token.jwks_url.is_none() && token.jwks_file.is_none() {
        missing("token_jwks_url");
    }
    for (key, is_missing) in [
        ("token_issuer", token.issuer.is_none()),
        ("token_audience", token.audience.is_none()),
        ("token_algorithms", token.algorithms.is_empty()),
        ("token_mappings", token.mappings.is_empty()),
    ] {
        if is_missing {
            missing(key);
        }
    }
    if token.jwks_url.is_some() && token.jwks_file.is_some() {
        let message = "allowed: token_jwks_url or token_jwks_file, not both".to_owned();
        refuse("token_jwks_file", message);
    }
    match token.jwks_url.as_deref().map(Url::parse) {
        Some(Err(message)) => refuse("token_jwks_url", message.to_owned()),
        Some(Ok(url)) if !url.encrypted && !url.is_loopback() => {
            let message = "over http:// an attacker can replace the keys and let anybody in; allowed: \
                 https://";
            refuse("token_jwks_url", message.to_owned());
        }
        Some(Ok(_)) | None => {}
    }
    for name in &token.algorithms {
        if !ALGORITHMS.contains(&name.as_str()) {
            let message = format!("found {name:?}; allowed: {}", ALGORITHMS.join(", "));
            refuse("token_algorithms", message);
        }
    }
    if matches!(identity.methods, Methods::Key | Methods::KeyAndPassword) {
        let message = "nobody could log in: a token provider does not support keys".to_owned();
        refuse("methods", message);
    }
}

/// What proves to a service that a question is the gateway's.
pub(super) fn proof(identity: &Identity, refuse: Refuse<'_>) {
    let certificate = identity.client_certificate_pem.is_some();
    match (certificate, identity.client_key_pem.is_some()) {
        (true, false) => {
            let message = "missing: client_certificate_file needs it (or client_key_file)";
            refuse("client_key", message.to_owned());
        }
        (false, true) => {
            let message = "missing: client_key needs it".to_owned();
            refuse("client_certificate_file", message);
        }
        (true, true) | (false, false) => {}
    }
    let signed = !identity.signing.key_files.is_empty();
    let is_authorization = |(name, _): &(String, _)| name.eq_ignore_ascii_case("authorization");
    if signed && identity.headers.iter().any(is_authorization) {
        let message = "signing_key_files sends an Authorization header too; allowed: one of them";
        refuse("headers", message.to_owned());
    }
    if !signed && (identity.signing.issuer.is_some() || identity.signing.audience.is_some()) {
        let message = "missing: signing_issuer and signing_audience need it".to_owned();
        refuse("signing_key_files", message);
    }
}
