//! What judges the logins of one port.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::admission::{Methods, Roles};
use super::attempt::AttemptObserver;
use super::logged_in::LoggedIn;
use super::throttle::{Throttle, ThrottleSettings};
use crate::clock::Clock;
use crate::idp::blocks::Blocks;
use crate::idp::history::LoginHistory;
use crate::idp::{IdentityProvider, UserNameRule};
use crate::limits::{self, Limits};
use crate::refusal::Reason;
use crate::storage::credentials::Stores;

/// What the operator decided about logging in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthSettings {
    pub methods: Methods,
    pub user_names: UserNameRule,
    pub roles: Roles,
    /// Tokens are longer than passwords.
    pub password_bytes_max: usize,
    /// `/.history` shows the versions of files.
    pub history: bool,
}

impl AuthSettings {
    /// Offers no password where `none` is true: no provider could take one.
    #[must_use]
    pub fn without_passwords(self, none: bool) -> Self {
        let methods = match self.methods {
            Methods::KeyOrPassword if none => Methods::Key,
            methods @ (Methods::KeyOrPassword
            | Methods::Password
            | Methods::Key
            | Methods::KeyAndPassword) => methods,
        };
        Self { methods, ..self }
    }
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            methods: Methods::default(),
            user_names: UserNameRule::default(),
            roles: Roles::default(),
            password_bytes_max: limits::PASSWORD_BYTES_MAX,
            history: false,
        }
    }
}

/// What all ports of the process share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub throttle: Arc<Throttle>,
    pub logged_in: LoggedIn,
    pub history: Arc<LoginHistory>,
    /// Whom the operator keeps out.
    pub blocks: Arc<Blocks>,
    /// Hears of every finished attempt, beside the log.
    pub observer: Arc<dyn AttemptObserver>,
    /// Attempts, which may outlive their connections.
    pub tasks: TaskTracker,
}

impl Shared {
    /// Begins with nobody logged in and no failures.
    #[must_use]
    pub fn new(
        throttle: ThrottleSettings,
        history: Arc<LoginHistory>,
        observer: Arc<dyn AttemptObserver>,
    ) -> Self {
        Self {
            throttle: Arc::new(Throttle::new(throttle, Arc::clone(&history))),
            logged_in: LoggedIn::default(),
            history,
            blocks: Arc::default(),
            observer,
            tasks: TaskTracker::new(),
        }
    }

    /// Takes the blocks that the operator's commands change.
    #[must_use]
    pub fn with_blocks(mut self, blocks: Arc<Blocks>) -> Self {
        self.blocks = blocks;
        self
    }
}

/// Judges the logins of one port; each connection has its own [`super::ConnectionAuth`].
#[derive(Debug)]
pub struct Authenticator {
    pub(super) provider: Arc<dyn IdentityProvider>,
    pub(super) stores: Arc<dyn Stores>,
    pub(super) settings: AuthSettings,
    pub(super) shared: Shared,
    pub(super) limits: Arc<Limits>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Authenticator {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        stores: Arc<dyn Stores>,
        settings: AuthSettings,
        shared: Shared,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            provider,
            stores,
            settings,
            shared,
            limits,
            clock,
        }
    }

    /// Says whether the operator keeps a source's network out.
    #[must_use]
    pub fn is_blocked(&self, source: IpAddr) -> bool {
        self.shared.blocks.has_source(source, self.clock.wall())
    }

    /// Says why a user is blocked, by login name or by the provider's name for them.
    pub(super) fn kept_out(&self, names: &[&str], source: IpAddr) -> Result<(), Reason> {
        self.shared.blocks.admit(names, source, self.clock.wall())
    }

    /// Says whether a source may stand for many clients, or is trusted: one that is never made to
    /// wait.
    #[must_use]
    pub fn is_unthrottled(&self, source: IpAddr) -> bool {
        self.shared.throttle.is_unthrottled(source)
    }
}
