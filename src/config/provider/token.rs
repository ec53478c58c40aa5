//! `provider = "token"`: nobody is asked, the password is a token.

use std::time::Duration;

use super::super::url::Url;
use super::super::words::Methods;
use super::finishing::Finishing;
use super::table::ProviderTable;

/// What is taken for a password, and what is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub keys: KeySource,
    pub issuer: String,
    pub audience: String,
    pub algorithms: Vec<String>,
    pub clock_skew: Duration,
    pub user_claim: String,
    /// Rows of `entry=target:access`, with claims in braces.
    pub mappings: Vec<String>,
    pub home: Option<String>,
    pub role: Option<String>,
    pub policy: Option<String>,
}

/// Where the issuer's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    File(String),
    Url {
        url: String,
        fresh_for: Duration,
        stale_for: Duration,
        refetch_after: Duration,
        ca_pem: Option<String>,
    },
}

pub(super) const KEYS: &[&str] = &[
    "token_jwks_url",
    "token_jwks_file",
    "token_jwks_fresh_seconds",
    "token_jwks_stale_seconds",
    "token_jwks_refetch_seconds",
    "token_issuer",
    "token_audience",
    "token_algorithms",
    "token_clock_skew_seconds",
    "token_user_claim",
    "token_mappings",
    "token_home",
    "token_role",
    "token_policy",
];

/// Signatures that a public key verifies.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

impl Token {
    pub(super) fn finish(table: &ProviderTable, finishing: &mut Finishing<'_>) -> Option<Self> {
        let token = &table.token;
        let keys = keys(table, finishing);
        let issuer = finishing.required("token_issuer", token.issuer.as_ref());
        let audience = finishing.required("token_audience", token.audience.as_ref());
        for (key, is_missing) in [
            ("token_algorithms", token.algorithms.is_empty()),
            ("token_mappings", token.mappings.is_empty()),
        ] {
            if is_missing {
                finishing.missing(key);
            }
        }
        for name in &token.algorithms {
            if !ALGORITHMS.contains(&name.as_str()) {
                let message = format!("found {name:?}; allowed: {}", ALGORITHMS.join(", "));
                finishing.refuse("token_algorithms", message);
            }
        }
        match finishing.around.methods {
            Methods::Key | Methods::KeyAndPassword => {
                let message = "nobody could log in: a token provider does not support keys";
                finishing.refuse("methods", message);
            }
            Methods::KeyOrPassword | Methods::Password => {}
        }
        Some(Self {
            keys: keys?,
            issuer: issuer?,
            audience: audience?,
            algorithms: token.algorithms.clone(),
            clock_skew: token.clock_skew,
            user_claim: token.user_claim.clone(),
            mappings: token.mappings.clone(),
            home: token.home.clone(),
            role: token.role.clone(),
            policy: token.policy.clone(),
        })
    }
}

fn keys(table: &ProviderTable, finishing: &mut Finishing<'_>) -> Option<KeySource> {
    let token = &table.token;
    match token.jwks_url.as_deref().map(Url::parse) {
        Some(Err(message)) => finishing.refuse("token_jwks_url", message),
        Some(Ok(url)) if !url.is_private() => {
            let message = "over http:// an attacker can replace the keys and let anybody in; \
                           allowed: https://";
            finishing.refuse("token_jwks_url", message);
        }
        Some(Ok(_)) | None => {}
    }
    match (&token.jwks_url, &token.jwks_file) {
        (Some(_), Some(_)) => {
            let message = "allowed: token_jwks_url or token_jwks_file, not both";
            finishing.refuse("token_jwks_file", message);
            None
        }
        (Some(url), None) => Some(KeySource::Url {
            url: url.clone(),
            fresh_for: token.jwks_fresh_for,
            stale_for: token.jwks_stale_for,
            refetch_after: token.jwks_refetch_after,
            ca_pem: table.ca_pem.clone(),
        }),
        (None, Some(file)) => Some(KeySource::File(file.clone())),
        (None, None) => {
            finishing.missing("token_jwks_url");
            None
        }
    }
}
