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
pub(in crate::config) struct ProviderTable {
    pub(in crate::config) kind: Provider,
    pub(in crate::config) url: String,
    pub(in crate::config) more_urls: Vec<String>,
    pub(in crate::config) users_file: Option<String>,
    pub(in crate::config) users_place: Option<String>,
    pub(in crate::config) users_cached_for: Duration,
    pub(in crate::config) users_stale_for: Duration,
    pub(in crate::config) event: Event,
    pub(in crate::config) function: Option<String>,
    pub(in crate::config) qualifier: Option<String>,
    pub(in crate::config) omit_blank_password: bool,
    pub(in crate::config) sign: Sign,
    pub(in crate::config) aws: Aws,
    pub(in crate::config) headers: Vec<(String, Secret)>,
    pub(in crate::config) ca_pem: Option<String>,
    pub(in crate::config) client_certificate_pem: Option<String>,
    pub(in crate::config) client_key_pem: Option<Secret>,
    pub(in crate::config) signing: Signing,
    pub(in crate::config) hmac_secret: Option<Secret>,
    pub(in crate::config) hmac_secret_next: Option<Secret>,
    pub(in crate::config) token: TokenTable,
    pub(in crate::config) plaintext: bool,
    pub(in crate::config) accept_keys_with_password: bool,
    pub(in crate::config) send_session_id: bool,
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
pub(in crate::config) struct TokenTable {
    pub(in crate::config) jwks_url: Option<String>,
    pub(in crate::config) jwks_file: Option<String>,
    pub(in crate::config) jwks_fresh_for: Duration,
    pub(in crate::config) jwks_stale_for: Duration,
    pub(in crate::config) jwks_refetch_after: Duration,
    pub(in crate::config) issuer: Option<String>,
    pub(in crate::config) audience: Option<String>,
    pub(in crate::config) algorithms: Vec<String>,
    pub(in crate::config) clock_skew: Duration,
    pub(in crate::config) user_claim: String,
    pub(in crate::config) mappings: Vec<String>,
    pub(in crate::config) home: Option<String>,
    pub(in crate::config) role: Option<String>,
    pub(in crate::config) policy: Option<String>,
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
