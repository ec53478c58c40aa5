//! One connection's login: what is asked of the identity provider, how often, and what the client
//! is told.
//!
//! The provider is asked once per password attempt and once per user name for its keys, however
//! many keys an agent offers. What it answered stays here for as long as the connection lives, so
//! the offer of a key and the proof of it are judged by the same answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{self, Methods, Refusal, Roles};
use super::attempt::{AttemptObserver, AttemptRecord, AttemptVerdict, loggable};
use super::door::{Door, DoorSettings, Turn};
use super::keys::{Listing, OfferedKey};
use super::roster::{Moment, Roster};
use super::{AuthMethod, AuthenticatedUser};
use crate::clock::Clock;
use crate::idp::{Credential, IdentityProvider, Question, UserConfig, UserNameRule, Verdict};
use crate::limits::{self, Limits};
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

/// Judges logins for the whole process; each connection has its own [`ConnectionAuth`].
#[derive(Debug)]
pub struct Authenticator {
    provider: Arc<dyn IdentityProvider>,
    stores: Arc<dyn Stores>,
    settings: AuthSettings,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    door: Arc<Door>,
    roster: Roster,
    observer: Option<Arc<dyn AttemptObserver>>,
}

impl Authenticator {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        stores: Arc<dyn Stores>,
        settings: AuthSettings,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            provider,
            stores,
            settings,
            limits,
            clock,
            door: Arc::new(Door::new(DoorSettings::default())),
            roster: Roster::default(),
            observer: None,
        }
    }

    /// Says whether a source may stand for many clients, or is trusted: one that is never made to
    /// wait.
    #[must_use]
    pub fn is_unthrottled(&self, source: IpAddr) -> bool {
        self.door.is_unthrottled(source)
    }

    /// Shares the memory of failures and of who is in with the other ports of the process.
    #[must_use]
    pub fn with_shared(mut self, door: Arc<Door>, roster: Roster) -> Self {
        self.door = door;
        self.roster = roster;
        self
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
    /// A refusal comes at a whole number of the limit's delays after the call, whatever its
    /// cause, and ever later when passwords of this user were wrong before.
    pub async fn password(&mut self, user: &str, password: Secret) -> Outcome {
        let began = tokio::time::Instant::now();
        let mut attempt = self.begin(user, AuthMethod::Password);
        let judged = self.judge_password(&mut attempt, password).await;
        if judged.is_ok() {
            let door = &self.authenticator.door;
            door.succeeded(user, self.source_ip);
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

    /// Counts a wrong password at the door; returns how many there were of this user.
    fn count_failure(&self, user: &str, refusal: &Refusal) -> u32 {
        if !refusal.is_wrong_credential() {
            return 0;
        }
        let Authenticator { door, clock, .. } = &*self.authenticator;
        door.failed(user, self.source_ip, clock.now())
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

    async fn judge_password(
        &mut self,
        attempt: &mut Attempt,
        password: Secret,
    ) -> Result<Arc<UserConfig>, Refusal> {
        let settings = self.authenticator.settings;
        self.check_bounds()?;
        self.attempts = self.attempts.saturating_add(1);
        let proven = self.proven.as_ref();
        let proven = proven.is_some_and(|proven| proven.user == attempt.user);
        if !settings.methods.password_first() && !proven {
            return Err(Refusal::denied(admission::METHOD));
        }
        admission::check_name(settings.user_names, &attempt.user)?;
        admission::check_password(password.expose(), settings.password_bytes_max)?;
        let Authenticator { door, clock, .. } = &*self.authenticator;
        door.password(&attempt.user, self.source_ip, clock.now())?;
        attempt.turn = door.turn(&attempt.user, self.source_ip).await;
        // Whoever went before may have failed once too often.
        door.password(&attempt.user, self.source_ip, clock.now())?;
        let credential = Credential::Password(password.clone());
        let answer = self.ask(attempt, credential).await;
        let config = answer.map_err(|refusal| refusal.without(&password))?;
        match &self.proven {
            // Revoked between the key and the password is revoked.
            Some(proven) if !settings.methods.password_first() => {
                attempt.asked = proven.asked;
                admission::agree(&proven.config, config)
            }
            Some(_) | None => Ok(config),
        }
    }

    async fn judge_key(
        &mut self,
        attempt: &mut Attempt,
        key: &OfferedKey,
    ) -> Result<Arc<UserConfig>, Refusal> {
        let settings = self.authenticator.settings;
        self.check_bounds()?;
        if !settings.methods.key() {
            return Err(Refusal::denied(admission::METHOD));
        }
        admission::check_name(settings.user_names, &attempt.user)?;
        let Authenticator { door, clock, .. } = &*self.authenticator;
        door.source(self.source_ip, clock.now())?;
        key.check().map_err(|rule| Refusal::denied(rule.reason()))?;
        let config = self.look_up(attempt).await?;
        // The proof may come long after the answer.
        self.admit(&config)?;
        match key.found_in(&config.public_keys) {
            Listing::Listed => Ok(config),
            Listing::Conditional => Err(Refusal::denied("key-options-unsupported")),
            Listing::Missing => Err(Refusal::denied("key-not-listed")),
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
            return Err(Refusal::denied(admission::TOO_MANY));
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
    async fn open(
        &self,
        judged: Result<Arc<UserConfig>, Refusal>,
    ) -> Result<(Arc<UserConfig>, Opened), Refusal> {
        let config = judged?;
        let grant = super::grant(&config, &self.session_id);
        let opened = self.authenticator.stores.open(grant).await?;
        Ok((config, opened))
    }

    fn accept(&self, attempt: Attempt, config: Arc<UserConfig>, opened: Opened) -> Outcome {
        let roster = &self.authenticator.roster;
        let Some(presence) = roster.enter(&attempt.user, &config.user, attempt.asked) else {
            self.finish(&attempt, Err(Refusal::denied(admission::REVOKED)));
            return self.refused();
        };
        self.finish(&attempt, Ok(&config));
        Outcome::Accepted(AuthenticatedUser {
            config,
            login_name: attempt.user,
            method: attempt.method,
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
            presence,
            opened,
        })
    }

    fn begin(&self, user: &str, method: AuthMethod) -> Attempt {
        Attempt {
            user: user.into(),
            method,
            fingerprint: None,
            request_id: None,
            asked: self.authenticator.roster.moment(),
            turn: None,
            started: self.authenticator.clock.now(),
        }
    }

    fn finish(&self, attempt: &Attempt, judged: Result<&UserConfig, Refusal>) {
        let config = judged.as_ref().ok().copied();
        let (verdict, reason, detail) = match judged {
            Ok(_) => (AttemptVerdict::Allowed, "", None),
            Err(refusal) => (refusal.verdict, refusal.reason, refusal.detail),
        };
        let provider = config.map(|config| config.provider.clone());
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
            provider: provider.filter(|name| !name.is_empty()),
            role: config.and_then(|config| config.role.clone()),
            warnings: config.map_or_else(Vec::new, |config| config.warnings.clone()),
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
