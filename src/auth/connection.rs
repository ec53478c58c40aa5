//! One connection's login: what is asked of the identity provider, how often, and what the client
//! is told.
//!
//! The provider is asked once per password attempt and once per user name for its keys, however
//! many keys an agent offers. What it answered stays here for as long as the connection lives, so
//! the offer of a key and the proof of it are judged by the same answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{self, Methods, Roles};
use super::attempt::{AttemptObserver, AttemptRecord, loggable};
use super::keys::{Listing, OfferedKey};
use super::logged_in::{LoggedIn, Moment};
use super::throttle::{Throttle, Turn};
use super::{AuthMethod, AuthenticatedUser};
use crate::clock::Clock;
use crate::idp::{Credential, IdentityProvider, Judged, Question, UserConfig, UserNameRule};
use crate::limits::{self, Limits};
use crate::refusal::{Reason, Refusal, Verdict};
use crate::secret::Secret;
use crate::storage::credentials::{Opened, Stores};

/// What the operator decided about logging in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthSettings {
    pub methods: Methods,
    pub user_names: UserNameRule,
    pub roles: Roles,
    /// Tokens are longer than passwords.
    pub password_bytes_max: usize,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            methods: Methods::default(),
            user_names: UserNameRule::default(),
            roles: Roles::default(),
            password_bytes_max: limits::PASSWORD_BYTES_MAX,
        }
    }
}

/// What all ports of the process share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub throttle: Arc<Throttle>,
    pub logged_in: LoggedIn,
    /// Hears of every finished attempt, beside the log.
    pub observer: Arc<dyn AttemptObserver>,
}

/// Judges the logins of one port; each connection has its own [`ConnectionAuth`].
#[derive(Debug)]
pub struct Authenticator {
    provider: Arc<dyn IdentityProvider>,
    stores: Arc<dyn Stores>,
    settings: AuthSettings,
    shared: Shared,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
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

    /// Says whether a source may stand for many clients, or is trusted: one that is never made to
    /// wait.
    #[must_use]
    pub fn is_unthrottled(&self, source: IpAddr) -> bool {
        self.shared.throttle.is_unthrottled(source)
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
    /// Whose key was proven while the password is still due.
    proven: Option<Proven>,
}

/// A user whose key was proven, and what was answered to the look-up.
#[derive(Debug)]
struct Proven {
    user: Box<str>,
    config: Arc<UserConfig>,
    asked: Moment,
}

/// What came of the one keyless question about a user; an outage too is not asked about again.
#[derive(Debug, Clone)]
struct LookUp {
    user: Box<str>,
    request_id: Box<str>,
    asked: Moment,
    answer: Judged,
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
    /// A refusal comes at a whole number of the limit's delays after the call, whatever its
    /// cause, and ever later when passwords of this user were wrong before.
    pub async fn password(&mut self, user: &str, password: Secret) -> Outcome {
        let began = tokio::time::Instant::now();
        let mut attempt = self.begin(user, AuthMethod::Password);
        let judged = self.judge_password(&mut attempt, password).await;
        if judged.is_ok() {
            let throttle = &self.authenticator.shared.throttle;
            throttle.succeeded(user, self.source_ip);
        }
        match self.open(judged).await {
            Ok((config, opened)) => self.accept(attempt, config, opened),
            Err(refusal) => {
                let failures = self.count_failure(user, &refusal);
                attempt.turn = None;
                self.finish(&attempt, Err(refusal));
                let unit = self.authenticator.limits.refusal_delay;
                let delay = refusal_delay(unit, failures, began.elapsed());
                tokio::time::sleep_until(began + delay).await;
                self.refused()
            }
        }
    }

    /// Counts a wrong password; returns how many there were of this user.
    fn count_failure(&self, user: &str, refusal: &Refusal) -> u32 {
        let Authenticator { shared, clock, .. } = &*self.authenticator;
        let counts = refusal.reason.counts();
        let throttle = &shared.throttle;
        throttle.failed(user, self.source_ip, counts, clock.now())
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
                if refusal.verdict() == Verdict::Denied || asked == self.look_ups.len() {
                    tracing::debug!(
                        session_id = &*self.session_id,
                        fingerprint = attempt.fingerprint.as_deref(),
                        reason = refusal.reason.as_str(),
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
        let judged = match self.judge_key(&mut attempt, key).await {
            Ok(config) if self.authenticator.settings.methods == Methods::KeyAndPassword => {
                self.proven = Some(Proven {
                    user: user.into(),
                    config,
                    asked: attempt.asked,
                });
                return Outcome::PasswordRequired;
            }
            judged => judged,
        };
        match self.open(judged).await {
            Ok((config, opened)) => self.accept(attempt, config, opened),
            Err(refusal) => {
                // A client may prove without having offered.
                self.key_offers = self.key_offers.saturating_add(1);
                self.finish(&attempt, Err(refusal));
                self.refused()
            }
        }
    }

    async fn judge_password(&mut self, attempt: &mut Attempt, password: Secret) -> Judged {
        let settings = self.authenticator.settings;
        self.check_bounds()?;
        self.attempts = self.attempts.saturating_add(1);
        let proven = self.proven.as_ref();
        let proven = proven.is_some_and(|proven| proven.user == attempt.user);
        if !settings.methods.password_first() && !proven {
            return Err(Reason::MethodNotAllowed.into());
        }
        admission::check_name(settings.user_names, &attempt.user)?;
        admission::check_password(password.expose(), settings.password_bytes_max)?;
        let Authenticator { shared, clock, .. } = &*self.authenticator;
        let throttle = &shared.throttle;
        throttle.password(&attempt.user, self.source_ip, clock.now())?;
        attempt.turn = throttle.turn(&attempt.user, self.source_ip).await;
        // Whoever went before may have failed once too often.
        throttle.password(&attempt.user, self.source_ip, clock.now())?;
        let credential = Credential::Password(password.clone());
        let answer = self.ask(attempt, credential).await;
        let config = answer.map_err(|refusal| admission::without(refusal, &password))?;
        match &self.proven {
            // Revoked between the key and the password is revoked.
            Some(proven) if !settings.methods.password_first() => {
                attempt.asked = proven.asked;
                Ok(admission::agree(&proven.config, config)?)
            }
            Some(_) | None => Ok(config),
        }
    }

    async fn judge_key(&mut self, attempt: &mut Attempt, key: &OfferedKey) -> Judged {
        let settings = self.authenticator.settings;
        self.check_bounds()?;
        if !settings.methods.key() {
            return Err(Reason::MethodNotAllowed.into());
        }
        admission::check_name(settings.user_names, &attempt.user)?;
        let Authenticator { shared, clock, .. } = &*self.authenticator;
        let throttle = &shared.throttle;
        throttle.source(self.source_ip, clock.now())?;
        key.check()?;
        let config = self.look_up(attempt).await?;
        // The proof may come long after the answer.
        self.admit(&config)?;
        let reason = match key.found_in(&config.public_keys) {
            Listing::Listed => return Ok(config),
            Listing::Conditional => Reason::KeyOptionsUnsupported,
            Listing::Missing => Reason::KeyNotListed,
        };
        Err(Refusal::new(reason).of_provider(&config.provider))
    }

    /// Asks for a user's keys, once per connection.
    async fn look_up(&mut self, attempt: &mut Attempt) -> Judged {
        let known = self
            .look_ups
            .iter()
            .find(|known| known.user == attempt.user);
        if let Some(known) = known {
            attempt.request_id = Some(known.request_id.clone());
            attempt.asked = known.asked;
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
            asked: attempt.asked,
            answer: answer.clone(),
        });
        answer
    }

    async fn ask(&mut self, attempt: &mut Attempt, credential: Credential) -> Judged {
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
        let config = self.authenticator.provider.ask(&question).await?;
        self.admit(&config)?;
        Ok(config)
    }

    fn admit(&self, config: &UserConfig) -> Result<(), Refusal> {
        let Authenticator {
            settings, clock, ..
        } = &*self.authenticator;
        admission::admit(config, settings.roles, self.source_ip, clock.wall())
            .map_err(|reason| Refusal::new(reason).of_provider(&config.provider))
    }

    fn check_bounds(&self) -> Result<(), Reason> {
        let limits = &self.authenticator.limits;
        // The last offer that counts may still be proven, so this is not `>=` for keys.
        if self.attempts >= limits.password_attempts_max || self.key_offers > limits.key_offers_max
        {
            return Err(Reason::TooManyAttempts);
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

    /// Opens S3 for whom the provider let in: who cannot have it is not let in.
    async fn open(&self, judged: Judged) -> Result<(Arc<UserConfig>, Opened), Refusal> {
        let config = judged?;
        let grant = super::grant(&config, &self.session_id);
        match self.authenticator.stores.open(grant).await {
            Ok(opened) => Ok((config, opened)),
            Err(refusal) => Err(refusal.of_provider(&config.provider)),
        }
    }

    fn accept(&self, attempt: Attempt, config: Arc<UserConfig>, opened: Opened) -> Outcome {
        let logged_in = &self.authenticator.shared.logged_in;
        let Some(entry) = logged_in.enter(&attempt.user, &config.user, attempt.asked) else {
            self.finish(&attempt, Err(Reason::Revoked.into()));
            return self.refused();
        };
        self.finish(&attempt, Ok(&config));
        Outcome::Accepted(AuthenticatedUser {
            config,
            login_name: attempt.user,
            method: attempt.method,
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
            entry,
            opened,
        })
    }

    fn begin(&self, user: &str, method: AuthMethod) -> Attempt {
        Attempt {
            user: user.into(),
            method,
            fingerprint: None,
            request_id: None,
            asked: self.authenticator.shared.logged_in.moment(),
            turn: None,
            started: self.authenticator.clock.now(),
        }
    }

    fn finish(&self, attempt: &Attempt, judged: Result<&UserConfig, Refusal>) {
        let (config, refusal) = match judged {
            Ok(config) => (Some(config), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let let_in_by = config.map(|config| config.provider.clone());
        let provider = match &refusal {
            None => let_in_by.filter(|name| !name.is_empty()),
            Some(refusal) => refusal.provider.clone(),
        };
        let clock = &self.authenticator.clock;
        let record = AttemptRecord {
            user: loggable(&attempt.user),
            method: attempt.method,
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
            refusal,
            request_id: attempt.request_id.clone(),
            fingerprint: attempt.fingerprint.clone(),
            provider,
            role: config.and_then(|config| config.role.clone()),
            warnings: config.map_or_else(Vec::new, |config| config.warnings.clone()),
            duration: clock.now().saturating_duration_since(attempt.started),
        };
        record.log();
        let observer = &self.authenticator.shared.observer;
        observer.attempt_finished(&record);
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
    /// Before the question.
    asked: Moment,
    /// Held from before the question until a failure is counted.
    turn: Option<Turn>,
    started: Instant,
}

/// Says when a refused password is answered, from the beginning of the attempt.
///
/// It doubles with every failure up to a bound, and is a whole number of units: how long a
/// provider took for a user that exists, and for one that does not, should not show.
fn refusal_delay(unit: Duration, failures: u32, elapsed: Duration) -> Duration {
    if unit.is_zero() {
        return Duration::ZERO;
    }
    let doublings = failures.saturating_sub(1).min(10);
    let grown = unit.saturating_mul(1 << doublings);
    let least = grown.min(limits::REFUSAL_DELAY_MAX).max(unit).max(elapsed);
    let units = least.as_nanos().div_ceil(unit.as_nanos());
    unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
}
