//! Everything that may be written for one kind of provider or another.

use std::time::Duration;

use super::super::words::{Event, Provider, Sign};
use crate::secret::Secret;

/// Who the gateway is to AWS when it asks a provider there.
#[derive(Debug, Clone, Default)]
pub struct Aws {
    /// `None` = the one that stands in the function's ARN or the url.
    pub region: Option<String>,
    /// `None` = AWS's own.
    pub endpoint: Option<String>,
    /// `None` = the AWS chain.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
}

/// How questions are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// Private keys, as paths: the first one signs, all are published.
    pub key_files: Vec<String>,
    /// `None` = the server id.
    pub issuer: Option<String>,
    /// `None` = the origin of the URL.
    pub audience: Option<String>,
    pub lifetime: Duration,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            key_files: Vec::new(),
            issuer: None,
            audience: None,
            lifetime: Duration::from_secs(60),
        }
    }
}

/// Everything that may be written for one kind of provider or another.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "settings, each of its own")]
pub(crate) struct ProviderTable {
    pub(crate) kind: Provider,
    pub(crate) url: String,
    pub(crate) more_urls: Vec<String>,
    pub(crate) users_file: Option<String>,
    pub(crate) users_place: Option<String>,
    pub(crate) users_cached_for: Duration,
    pub(crate) users_stale_for: Duration,
    pub(crate) event: Event,
    pub(crate) function: Option<String>,
    pub(crate) qualifier: Option<String>,
    pub(crate) omit_blank_password: bool,
    pub(crate) sign: Sign,
    pub(crate) aws: Aws,
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) ca_pem: Option<String>,
    pub(crate) client_certificate_pem: Option<String>,
    pub(crate) client_key_pem: Option<Secret>,
    pub(crate) signing: Signing,
    pub(crate) hmac_secret: Option<Secret>,
    pub(crate) hmac_secret_next: Option<Secret>,
    pub(crate) token: TokenTable,
    pub(crate) plaintext: bool,
    pub(crate) accept_keys_with_password: bool,
    pub(crate) send_session_id: bool,
}

impl Default for ProviderTable {
    fn default() -> Self {
        Self {
            kind: Provider::default(),
            url: String::new(),
            more_urls: Vec::new(),
            users_file: None,
            users_place: None,
            users_cached_for: Duration::from_secs(2),
            users_stale_for: Duration::from_secs(3_600),
            event: Event::default(),
            function: None,
            qualifier: None,
            omit_blank_password: false,
            sign: Sign::default(),
            aws: Aws::default(),
            headers: Vec::new(),
            ca_pem: None,
            client_certificate_pem: None,
            client_key_pem: None,
            signing: Signing::default(),
            hmac_secret: None,
            hmac_secret_next: None,
            token: TokenTable::default(),
            plaintext: false,
            accept_keys_with_password: false,
            send_session_id: false,
        }
    }
}

/// What is written about tokens.
#[derive(Debug, Clone)]
pub(crate) struct TokenTable {
    pub(crate) jwks_url: Option<String>,
    pub(crate) jwks_file: Option<String>,
    pub(crate) jwks_fresh_for: Duration,
    pub(crate) jwks_stale_for: Duration,
    pub(crate) jwks_refetch_after: Duration,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) algorithms: Vec<String>,
    pub(crate) clock_skew: Duration,
    pub(crate) user_claim: String,
    pub(crate) mappings: Vec<String>,
    pub(crate) home: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) policy: Option<String>,
}

impl Default for TokenTable {
    fn default() -> Self {
        Self {
            jwks_url: None,
            jwks_file: None,
            jwks_fresh_for: Duration::from_secs(300),
            jwks_stale_for: Duration::from_secs(3_600),
            jwks_refetch_after: Duration::from_secs(30),
            issuer: None,
            audience: None,
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            clock_skew: Duration::from_secs(30),
            user_claim: "preferred_username".to_owned(),
            mappings: Vec::new(),
            home: None,
            role: None,
            policy: None,
        }
    }
}
