//! WHO IS THIS: from an attempt on a connection to a verdict.
//!
//! The SSH layer makes one [`ConnectionAuth`] per connection and hands it what the client offers.
//! Here it is decided what is asked of the identity provider, and how often.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

pub use self::admission::{Methods, Roles};
pub use self::attempt::{AttemptObserver, AttemptRecord};
pub use self::authenticator::{AuthSettings, Authenticator, Shared};
pub use self::connection::{ConnectionAuth, Outcome};
pub use self::keys::OfferedKey;
pub use self::logged_in::LoggedIn;
use self::logged_in::LoginEntry;
pub use self::throttle::{Lockout, Throttle, ThrottleSettings};
use crate::clock::{Clock, SystemClock};
use crate::idp::UserConfig;
pub use crate::idp::{AuthMethod, UserNameRule, host_of};
use crate::refusal::{Reason, Refusal};
use crate::storage::SharedStore;
use crate::storage::credentials::{AssumedRole, Grant, Opened, Stores};
use crate::storage::history::History;
use crate::storage::with_settings::WithSettings;

mod admission;
mod attempt;
mod authenticator;
mod connection;
mod judgement;
mod keys;
mod logged_in;
mod offers;
mod throttle;

/// Says why nobody could log in with a password, whatever the provider thinks of it.
#[must_use]
pub fn password_fault(password: &str, bytes_max: usize) -> Option<Reason> {
    admission::check_password(password, bytes_max).err()
}

/// Proves that the login succeeded: only this module makes one.
#[derive(Debug, Clone)]
pub struct AuthenticatedUser {
    config: Arc<UserConfig>,
    login_name: Box<str>,
    method: AuthMethod,
    source_ip: IpAddr,
    session_id: Box<str>,
    entry: LoginEntry,
    opened: Opened,
}

impl AuthenticatedUser {
    /// Is cancelled when the user is to leave at once, whatever is open.
    #[must_use]
    pub fn revoked(&self) -> &CancellationToken {
        self.entry.revoked()
    }

    #[must_use]
    pub fn config(&self) -> &Arc<UserConfig> {
        &self.config
    }

    /// Returns the name the client logged in with; the canonical one is in the configuration.
    #[must_use]
    pub fn login_name(&self) -> &str {
        &self.login_name
    }

    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        self.method
    }

    #[must_use]
    pub const fn source_ip(&self) -> IpAddr {
        self.source_ip
    }

    /// Returns the connection's id, as Transfer Family's logs call it.
    #[must_use]
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Returns S3 as this user may see it; the connection's channels share it.
    #[must_use]
    pub fn store(&self) -> &SharedStore {
        &self.opened.store
    }

    /// Returns the role that was assumed, where one was.
    #[must_use]
    pub fn role(&self) -> Option<&AssumedRole> {
        self.opened.role.as_deref()
    }

    /// Makes a user out of nothing, for tests and benches of what comes after login.
    #[must_use]
    pub fn dangerous_without_login(
        config: Arc<UserConfig>,
        source_ip: IpAddr,
        session_id: &str,
        store: SharedStore,
    ) -> Self {
        let login_name = config.user.clone();
        let method = AuthMethod::Password;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let opened = with_settings(&config, Opened { store, role: None }, &clock);
        Self {
            config,
            login_name,
            method,
            source_ip,
            session_id: session_id.into(),
            entry: LoginEntry::outside(),
            opened,
        }
    }
}

/// Opens S3 for a user: new objects carry what the answer asks for, and old versions are shown where
/// the home has a history.
async fn open(
    config: &Arc<UserConfig>,
    session_id: &str,
    stores: &dyn Stores,
    clock: &Arc<dyn Clock>,
) -> Result<Opened, Refusal> {
    let opened = stores.open(grant(config, session_id)).await?;
    refuse_unkept(config, &opened)?;
    Ok(with_settings(config, opened, clock))
}

/// Refuses a login that asks for what the store of a mapping would silently leave out: whoever asks
/// for a key or a lock relies on it.
fn refuse_unkept(config: &UserConfig, opened: &Opened) -> Result<(), Refusal> {
    for (bucket, settings) in config.object_settings() {
        let Some(bucket) = bucket else {
            continue;
        };
        let capabilities = opened.store.capabilities(bucket);
        let detail = if capabilities.directories {
            format!("bucket {bucket} is a directory")
        } else if settings.is_lock() && !capabilities.checksums {
            format!("bucket {bucket}: a lock needs storage.checksums")
        } else {
            continue;
        };
        return Err(Reason::StoreWithoutObjectSettings.because(&detail));
    }
    Ok(())
}

fn with_settings(config: &Arc<UserConfig>, opened: Opened, clock: &Arc<dyn Clock>) -> Opened {
    let mut store = opened.store;
    if config.object_settings().next().is_some() {
        let settings = Arc::<UserConfig>::clone(config);
        store = Arc::new(WithSettings::new(store, settings, Arc::clone(clock)));
    }
    if config.home.has_history() {
        store = Arc::new(History::new(store));
    }
    Opened { store, ..opened }
}

/// Says whether the gateway would let in whom a provider's answer describes, as at a login: by
/// what it can keep, from a source, with the storage that the answer asks for.
///
/// # Errors
/// Why not.
pub async fn would_enter(
    config: &UserConfig,
    settings: &AuthSettings,
    stores: &dyn Stores,
    (source_ip, session_id): (IpAddr, &str),
    now: SystemTime,
) -> Result<(), Refusal> {
    admission::admit(config, settings.roles, source_ip, now)?;
    let opened = stores.open(grant(config, session_id)).await?;
    refuse_unkept(config, &opened)
}

/// Lets `/.history` of a home show what its files were, if that is wanted.
pub(crate) fn with_history(config: Arc<UserConfig>, wanted: bool) -> Arc<UserConfig> {
    if !wanted {
        return config;
    }
    let home = config.home.clone().with_history();
    Arc::new(config.entered(home))
}

/// Gives every bucket of a home the one name under which all reach it: by that it is told whether
/// two paths mean the same file.
fn with_one_name_each(config: Arc<UserConfig>, stores: &dyn Stores) -> Arc<UserConfig> {
    match config.home.with_names(&|bucket| stores.name_of(bucket)) {
        Some(home) => Arc::new(config.entered(home)),
        None => config,
    }
}

/// Returns what a user's answer says about storage.
#[must_use]
pub fn grant<'a>(config: &'a UserConfig, session_id: &'a str) -> Grant<'a> {
    let mappings = config.home.mappings();
    let mapped: BTreeSet<_> = mappings.iter().map(|mapping| &mapping.bucket).collect();
    Grant {
        user: &config.user,
        session_id,
        provider: &config.provider,
        role: config.role.as_deref(),
        policy: config.policy.as_deref(),
        buckets: config.home.buckets(),
        mapped: mapped.into_iter().cloned().collect(),
    }
}
