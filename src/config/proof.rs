//! Settings about proofs: what questions are signed with, and what tokens must have.

use std::time::Duration;

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

/// What the `token` provider takes for a password, and what it makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub jwks_url: Option<String>,
    pub jwks_file: Option<String>,
    pub jwks_fresh_for: Duration,
    pub jwks_stale_for: Duration,
    pub jwks_refetch_after: Duration,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub algorithms: Vec<String>,
    pub clock_skew: Duration,
    pub user_claim: String,
    /// Rows of `entry=target:access`, with claims in braces.
    pub mappings: Vec<String>,
    pub home: Option<String>,
    pub role: Option<String>,
    pub policy: Option<String>,
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

impl Default for Token {
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
