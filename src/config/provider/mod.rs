//! What a provider is: each kind with its own settings, and with no other's.
//!
//! All kinds are written in the same section, and a table `[provider.NAME]` takes from `[identity]`
//! what it does not set. So what is written is read as one [`ProviderTable`], of which each kind
//! takes its part ([`ProviderSettings`]). A key that a kind does not take is unknown there.

use std::time::Duration;

use super::words::{Event, Methods, Provider, Sign};
use crate::secret::Secret;

mod api_gateway;
mod finishing;
mod lambda;
mod service_managed;
mod static_users;
mod token;
mod webhook;

pub use self::api_gateway::ApiGateway;
pub(super) use self::finishing::{Around, Finishing};
pub use self::lambda::Lambda;
pub use self::service_managed::ServiceManaged;
pub use self::static_users::Static;
pub use self::token::{KeySource, Token};
pub use self::webhook::{ClientCertificate, Webhook};

/// A provider of one kind.
#[derive(Debug, Clone)]
pub enum ProviderSettings {
    Webhook(Webhook),
    ApiGateway(ApiGateway),
    Lambda(Lambda),
    Static(Static),
    Token(Token),
    ServiceManaged(ServiceManaged),
}

impl ProviderSettings {
    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> Provider {
        match self {
            Self::Webhook(_) => Provider::Webhook,
            Self::ApiGateway(_) => Provider::ApiGateway,
            Self::Lambda(_) => Provider::Lambda,
            Self::Static(_) => Provider::Static,
            Self::Token(_) => Provider::Token,
            Self::ServiceManaged(_) => Provider::ServiceManaged,
        }
    }

    /// Takes what is of the kind that is written; `None`: something is missing, which is said.
    pub(super) fn finish(table: &ProviderTable, finishing: &mut Finishing<'_>) -> Option<Self> {
        Some(match table.kind {
            Provider::Webhook => Self::Webhook(Webhook::finish(table, finishing)?),
            Provider::ApiGateway => Self::ApiGateway(ApiGateway::finish(table, finishing)?),
            Provider::Lambda => Self::Lambda(Lambda::finish(table, finishing)?),
            Provider::Static => Self::Static(Static::finish(table, finishing)?),
            Provider::Token => Self::Token(Token::finish(table, finishing)?),
            Provider::ServiceManaged => {
                Self::ServiceManaged(ServiceManaged::finish(table, finishing))
            }
        })
    }
}

/// A webhook that no configuration has: it has no URL.
impl Default for ProviderSettings {
    fn default() -> Self {
        Self::Webhook(Webhook::of(&ProviderTable::default()))
    }
}

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
pub(super) struct ProviderTable {
    pub(super) kind: Provider,
    pub(super) url: String,
    pub(super) more_urls: Vec<String>,
    pub(super) users_file: Option<String>,
    pub(super) users_place: Option<String>,
    pub(super) users_cached_for: Duration,
    pub(super) users_stale_for: Duration,
    pub(super) event: Event,
    pub(super) function: Option<String>,
    pub(super) qualifier: Option<String>,
    pub(super) omit_blank_password: bool,
    pub(super) sign: Sign,
    pub(super) aws: Aws,
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) ca_pem: Option<String>,
    pub(super) client_certificate_pem: Option<String>,
    pub(super) client_key_pem: Option<Secret>,
    pub(super) signing: Signing,
    pub(super) hmac_secret: Option<Secret>,
    pub(super) hmac_secret_next: Option<Secret>,
    pub(super) token: token::Written,
    pub(super) plaintext: bool,
    pub(super) accept_keys_with_password: bool,
    pub(super) send_session_id: bool,
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
            token: token::Written::default(),
            plaintext: false,
            accept_keys_with_password: false,
            send_session_id: false,
        }
    }
}

/// Returns the kinds that take a key of `[identity]`; all of them take what is in none's list.
pub(super) fn takers(key: &str) -> Vec<Provider> {
    let takers = ALL.iter().filter(|(_, keys)| {
        let mut keys = keys.iter().copied();
        keys.any(|of| of.iter().any(|own| *own == key))
    });
    let takers: Vec<Provider> = takers.map(|(kind, _)| *kind).collect();
    if takers.is_empty() {
        return ALL.iter().map(|(kind, _)| *kind).collect();
    }
    takers
}

/// Keys of several kinds that ask over the network.
const REMOTE: &[&str] = &[
    "ca_file",
    "breaker_failures",
    "connect_timeout_ms",
    "cache_seconds",
    "cache_denied_seconds",
    "cache_stale_seconds",
    "cache_bytes_max",
];

/// Keys of those that send passwords to a service.
const SERVICE: &[&str] = &["plaintext", "accept_keys_with_password"];

/// Each kind, and the keys that only it and some others take.
const ALL: &[(Provider, &[&[&str]])] = &[
    (Provider::Webhook, &[webhook::KEYS, REMOTE, SERVICE, TIMED]),
    (
        Provider::ApiGateway,
        &[api_gateway::KEYS, REMOTE, SERVICE, TIMED],
    ),
    (Provider::Lambda, &[lambda::KEYS, REMOTE, SERVICE, TIMED]),
    (Provider::Static, &[static_users::KEYS]),
    (Provider::Token, &[token::KEYS, REMOTE, TIMED]),
    (Provider::ServiceManaged, &[service_managed::KEYS, TIMED]),
];

/// Those that may have to be waited for.
const TIMED: &[&str] = &["total_timeout_ms"];
