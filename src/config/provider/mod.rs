//! What a provider is: each kind with its own settings, and with no other's.
//!
//! All kinds are written in the same section, and a table `[provider.NAME]` takes from `[identity]`
//! what it does not set. So what is written is read as one [`ProviderTable`], of which each kind
//! takes its part ([`ProviderSettings`]). A key that a kind does not take is unknown there.

use super::words::Provider;

mod api_gateway;
mod finishing;
mod lambda;
mod service_managed;
mod static_users;
mod table;
mod token;
mod webhook;

pub use self::api_gateway::ApiGateway;
pub(super) use self::finishing::{Around, Finishing};
pub use self::lambda::Lambda;
pub use self::service_managed::ServiceManaged;
pub use self::static_users::Static;
pub(super) use self::table::ProviderTable;
pub use self::table::{Aws, Signing};
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

/// Returns the kinds that take a key of `[identity]`; all of them take what is in none's list.
pub(super) fn takers(key: &str) -> Vec<Provider> {
    let takers = ALL.iter().filter(|(_, keys)| {
        let mut keys = keys.iter().copied();
        keys.any(|of| of.contains(&key))
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
