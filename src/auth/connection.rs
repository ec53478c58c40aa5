//! One connection's login: what is asked of the identity provider, how often, and what the client
//! is told.
//!
//! The provider is asked once per password attempt and once per user name for its keys, however
//! many keys an agent offers. What it answered stays here for as long as the connection lives, so
//! the offer of a key and the proof of it are judged by the same answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::admission::{self, Methods, Refusal, Roles};
use super::attempt::{AttemptObserver, AttemptRecord, AttemptVerdict};
use super::keys::OfferedKey;
use super::{AuthMethod, AuthenticatedUser};
use crate::clock::Clock;
use crate::idp::{Credential, IdentityProvider, Question, UserConfig, UserNameRule, Verdict};
use crate::limits::{self, Limits};
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

/// What came of the one keyless question about a user; an outage too is not asked about again.
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

    /// Returns the methods that a client may begin with.
    #[must_use]
    pub fn methods(&self) -> Methods {
        self.authenticator.settings.methods
    }

    /// Judges a password: one question at most, never repeated.
    ///
    /// A refusal comes no sooner than the limit's delay after the call, whatever its cause.
    pub async fn password(&mut self, user: &str, password: Secret) -> Outcome {
        let delay = tokio::time::sleep(self.authenticator.limits.refusal_delay);
        let mut attempt = self.begin(user, AuthMethod::Password);
        match self.judge_password(&mut attempt, password).await {
            Ok(config) => self.accept(attempt, config),
            Err(refusal) => {
                self.finish(&attempt, Err(refusal));
                delay.await;
                self.refused()
            }
        }
    }

    /// Says whether a key is worth a proof; the client has not signed anything yet.
    ///
    /// An offer that fails is no failed login: most clients try their keys before a password. Only
    /// a provider that gave no usable answer is reported, once per user name.
    pub async fn key_offered(&mut self, user: &str, key: &OfferedKey) -> Outcome {
        let mut attempt = self.begin(user, AuthMethod::PublicKey);
        attempt.fingerprint = Some(key.fingerprint());
        let asked = self.look_ups.len();
        self.key_offers = self.key_offers.saturating_add(1);
        match self.judge_key(&mut attempt, key).await {
            Ok(_) => Outcome::Offered,
            Err(refusal) => {
                if refusal.verdict == AttemptVerdict::Denied || asked == self.look_ups.len() {
                    tracing::debug!(
                        session_id = &*self.session_id,
                        fingerprint = attempt.fingerprint.as_deref(),
                        reason = refusal.reason,
                        "key not accepted"
                    );
                } else {
                    self.finish(&attempt, Err(refusal));
                }
                self.refused()
            }
        }
    }

    /// Judges a key whose signature the SSH layer has verified.
    pub async fn key_proved(&mut self, user: &str, key: &OfferedKey) -> Outcome {
        let mut attempt = self.begin(user, AuthMethod::PublicKey);
        attempt.fingerprint = Some(key.fingerprint());
        match self.judge_key(&mut attempt, key).await {
            Ok(_) if self.authenticator.settings.methods == Methods::KeyAndPassword => {
                self.proven = Some(user.into());
                Outcome::PasswordRequired
            }
            Ok(config) => self.accept(attempt, config),
            Err(refusal) => {
                // A client may prove without having offered.
                self.key_offers = self.key_offers.saturating_add(1);
                self.finish(&attempt, Err(refusal));
                self.refused()
            }
        }
    }

    async fn judge_password(
        &mut self,
        attempt: &mut Attempt,
        password: Secret,
    ) -> Result<Arc<UserConfig>, Refusal> {
        let settings = self.authenticator.settings;
        self.check_bounds()?;
        self.attempts = self.attempts.saturating_add(1);
        let proven = self.proven.as_deref() == Some(&*attempt.user);
        if !settings.methods.password_first() && !proven {
            return Err(Refusal::denied("method-not-allowed"));
        }
        admission::check_name(settings.user_names, &attempt.user)?;
        admission::check_password(password.expose())?;
        let credential = Credential::Password(password.clone());
        let answer = self.ask(attempt, credential).await;
        answer.map_err(|refusal| refusal.without(&password))
    }

    async fn judge_key(
        &mut self,
        attempt: &mut Attempt,
        key: &OfferedKey,
    ) -> Result<Arc<UserConfig>, Refusal> {
        let settings = self.authenticator.settings;
        self.check_bounds()?;
        if !settings.methods.key() {
            return Err(Refusal::denied("method-not-allowed"));
        }
        admission::check_name(settings.user_names, &attempt.user)?;
        key.check().map_err(|rule| Refusal::denied(rule.reason()))?;
        let config = self.look_up(attempt).await?;
        // The proof may come long after the answer.
        self.admit(&config)?;
        if key.is_listed(&config.public_keys) {
            Ok(config)
        } else {
            Err(Refusal::denied("key-not-listed"))
        }
    }

    /// Asks for a user's keys, once per connection.
    async fn look_up(&mut self, attempt: &mut Attempt) -> Result<Arc<UserConfig>, Refusal> {
        let known = self
            .look_ups
            .iter()
            .find(|known| known.user == attempt.user);
        if let Some(known) = known {
            attempt.request_id = Some(known.request_id.clone());
            return known.answer.clone();
        }
        // Otherwise one connection could ask about every name there is.
        if !self.look_ups.is_empty() {
            self.attempts = self.attempts.saturating_add(1);
        }
        let answer = self.ask(attempt, Credential::PublicKey).await;
        self.look_ups.push(LookUp {
            user: attempt.user.clone(),
            request_id: attempt.request_id.clone().unwrap_or_default(),
            answer: answer.clone(),
        });
        answer
    }

    async fn ask(
        &mut self,
        attempt: &mut Attempt,
        credential: Credential,
    ) -> Result<Arc<UserConfig>, Refusal> {
        self.questions = self.questions.saturating_add(1);
        // Unique as long as session ids are, and readable beside them.
        let request_id: Box<str> = format!("{}-{}", self.session_id, self.questions).into();
        attempt.request_id = Some(request_id.clone());
        let question = Question {
            request_id,
            username: attempt.user.clone(),
            credential,
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
        };
        match self.authenticator.provider.ask(&question).await? {
            Verdict::Allowed(config) => {
                self.admit(&config)?;
                Ok(config)
            }
            Verdict::Denied(denied) => Err(denied.into()),
        }
    }

    fn admit(&self, config: &UserConfig) -> Result<(), Refusal> {
        let Authenticator {
            settings, clock, ..
        } = &*self.authenticator;
        admission::admit(config, settings.roles, self.source_ip, clock.wall())
    }

    fn check_bounds(&self) -> Result<(), Refusal> {
        let limits = &self.authenticator.limits;
        // The last offer that counts may still be proven, so this is not `>=` for keys.
        if self.attempts >= limits.password_attempts_max || self.key_offers > limits.key_offers_max
        {
            return Err(Refusal::denied("too-many-attempts"));
        }
        Ok(())
    }

    fn refused(&self) -> Outcome {
        let limits = &self.authenticator.limits;
        Outcome::Refused {
            retry: self.attempts < limits.password_attempts_max
                && self.key_offers < limits.key_offers_max,
        }
    }

    fn accept(&self, attempt: Attempt, config: Arc<UserConfig>) -> Outcome {
        self.finish(&attempt, Ok(&config));
        Outcome::Accepted(AuthenticatedUser {
            config,
            login_name: attempt.user,
            method: attempt.method,
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
        })
    }

    fn begin(&self, user: &str, method: AuthMethod) -> Attempt {
        Attempt {
            user: user.into(),
            method,
            fingerprint: None,
            request_id: None,
            started: self.authenticator.clock.now(),
        }
    }

    fn finish(&self, attempt: &Attempt, judged: Result<&UserConfig, Refusal>) {
        let (verdict, reason, detail, role, warnings) = match judged {
            Ok(config) => {
                let (role, warnings) = (config.role.clone(), config.warnings.clone());
                (AttemptVerdict::Allowed, "", None, role, warnings)
            }
            Err(refusal) => {
                let Refusal {
                    verdict,
                    reason,
                    detail,
                } = refusal;
                (verdict, reason, detail, None, Vec::new())
            }
        };
        let clock = &self.authenticator.clock;
        let record = AttemptRecord {
            user: loggable(&attempt.user),
            method: attempt.method,
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
            verdict,
            reason,
            detail,
            request_id: attempt.request_id.clone(),
            fingerprint: attempt.fingerprint.clone(),
            role,
            warnings,
            duration: clock.now().saturating_duration_since(attempt.started),
        };
        record.log();
        if let Some(observer) = &self.authenticator.observer {
            observer.attempt_finished(&record);
        }
    }
}

/// One attempt while it is judged.
#[derive(Debug)]
struct Attempt {
    user: Box<str>,
    method: AuthMethod,
    fingerprint: Option<Box<str>>,
    /// The question that was asked, once it was.
    request_id: Option<Box<str>>,
    started: Instant,
}

/// Makes a name fit for a line of the log, whatever the client sent.
fn loggable(user: &str) -> Box<str> {
    let mut text = String::new();
    for c in user.chars().take(limits::USER_NAME_BYTES_MAX) {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text.into()
}
