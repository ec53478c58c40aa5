//! `[identity]` and `[provider.NAME]`: whom to ask and how.

use std::net::SocketAddr;
use std::time::Duration;

use super::listener::Proxy;
use super::provider::{ProviderSettings, ProviderTable};
use super::words::{Methods, PathHomes, Provider, Roles, UserNames};

/// `[provider.NAME]`: one provider of several.
#[derive(Debug, Clone)]
pub struct NamedProvider {
    pub name: String,
    pub identity: Identity,
}

/// `[identity]`: whom to ask and how.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Names of the providers in the order in which they are asked; none = this one alone.
    pub providers: Vec<String>,
    /// What this provider is, with the settings of its kind alone.
    pub settings: ProviderSettings,
    /// The same as it is written.
    pub(super) table: ProviderTable,
    /// `None` = the gateway's.
    pub server_id: Option<String>,
    /// A port of its own.
    pub listen: Option<SocketAddr>,
    /// Of that port.
    pub proxy: Proxy,
    pub user_suffix: Option<String>,
    pub user_prefix: Option<String>,
    /// Unanswered questions in a row after which a provider is left alone; 0 = never.
    pub breaker_failures: usize,
    pub questions_max: usize,
    pub connect_timeout: Duration,
    pub total_timeout: Duration,
    pub methods: Methods,
    pub user_names: UserNames,
    pub roles: Roles,
    pub path_homes: PathHomes,
    /// For answers that name none.
    pub default_role: Option<String>,
    pub cache: Cache,
}

/// How long answers are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Also the longest that an answer may ask for; zero = not at all.
    pub allowed_for: Duration,
    pub denied_for: Duration,
    pub stale_for: Duration,
    pub bytes_max: u64,
}

impl Identity {
    /// Returns the kind of the provider.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        self.settings.kind()
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            settings: ProviderSettings::default(),
            table: ProviderTable::default(),
            server_id: None,
            listen: None,
            proxy: Proxy::default(),
            user_suffix: None,
            user_prefix: None,
            breaker_failures: 5,
            questions_max: 64,
            connect_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(8),
            methods: Methods::default(),
            user_names: UserNames::default(),
            roles: Roles::default(),
            path_homes: PathHomes::default(),
            default_role: None,
            cache: Cache::default(),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            allowed_for: Duration::ZERO,
            denied_for: Duration::ZERO,
            stale_for: Duration::ZERO,
            bytes_max: 64 * 1024 * 1024,
        }
    }
}
