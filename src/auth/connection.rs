//! One connection's login: what is asked of the identity provider, how often, and what the client
//! is told.
//!
//! The provider is asked once per password attempt and once per user name for its keys, however
//! many keys an agent offers. What it answered stays here for as long as the connection lives, so
//! the offer of a key and the proof of it are judged by the same answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{self, Methods};
use super::authenticator::Authenticator;
use super::judgement::{Attempt, Client, Proven, Refused};
use super::keys::{Listing, OfferedKey};
use super::logged_in::Moment;
use super::offers::RefusedOffers;
use super::throttle::Lockout;
use super::{AuthMethod, AuthenticatedUser};
use crate::idp::{Credential, Judged};
use crate::limits;
use crate::refusal::{Reason, Refusal, Verdict};
use crate::secret::Secret;

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
    /// When the connection is cut if nobody is in.
    login_by: Instant,
    /// Passwords tried, and user names beyond the first whose keys were looked up.
    attempts: usize,
    key_offers: usize,
    questions: u64,
    look_ups: Vec<LookUp>,
    refused_offers: Option<RefusedOffers>,
    /// Whose key was proven while the password is still due.
    proven: Option<Proven>,
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
    /// Begins the login of a connection from `source_ip` that was accepted at `accepted`.
    #[must_use]
    pub fn new(
        authenticator: Arc<Authenticator>,
        source_ip: IpAddr,
        session_id: Box<str>,
        accepted: Instant,
    ) -> Self {
        let grace = authenticator.limits.login_grace;
        Self {
            source_ip: source_ip.to_canonical(),
            session_id,
            // A clock that cannot count so far leaves no time.
            login_by: accepted.checked_add(grace).unwrap_or(accepted),
            authenticator,
            attempts: 0,
            key_offers: 0,
            questions: 0,
            look_ups: Vec::new(),
            refused_offers: None,
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
        self.tell_refused_offers();
        let mut attempt = self.begin(user, AuthMethod::Password);
        let judged = match self.check_password(user, &password) {
            Err(reason) => Some(Err(attempt.refuse(reason.into()))),
            Ok(()) => {
                attempt.request_id = Some(self.next_request_id());
                let proven = self.proven.clone();
                let proven = proven.filter(|_| !self.methods().password_first());
                let client = attempt.client.clone();
                let attempt = attempt.password(password, proven);
                client.wait_for(&self.authenticator, attempt).await
            }
        };
        match judged {
            Some(Ok(user)) => Outcome::Accepted(user),
            Some(Err(Refused { refusals })) => {
                self.hold_back(began, refusals).await;
                self.refused()
            }
            None => self.refused(),
        }
    }

    /// Says whether a password may be asked about, and counts the try.
    fn check_password(&mut self, user: &str, password: &Secret) -> Result<(), Reason> {
        let settings = self.authenticator.settings;
        self.check_bounds()?;
        self.attempts = self.attempts.saturating_add(1);
        let proven = self.proven.as_ref();
        let proven = proven.is_some_and(|proven| *proven.user == *user);
        if !settings.methods.password_first() && !proven {
            return Err(Reason::MethodNotAllowed);
        }
        admission::check_name(settings.user_names, user)?;
        self.authenticator.kept_out(&[user], self.source_ip)?;
        admission::check_password(password.expose(), settings.password_bytes_max)?;
        let Authenticator { shared, clock, .. } = &*self.authenticator;
        let throttle = &shared.throttle;
        throttle.password(user, self.source_ip, clock.now())
    }

    /// Says whether a key is worth a proof; the client has not signed anything yet.
    ///
    /// An offer that fails is no failed login: most clients try their keys before a password. Those
    /// of one user are told in one line, once it is known that none of them was accepted; a
    /// provider that gave no usable answer is told at once.
    ///
    /// The first refusal comes as late as that of a password: how long a provider takes for a user
    /// that exists does not show.
    pub async fn key_offered(&mut self, user: &str, key: &OfferedKey) -> Outcome {
        let began = tokio::time::Instant::now();
        let mut attempt = self.begin(user, AuthMethod::PublicKey);
        attempt.fingerprint = Some(key.fingerprint());
        let look_ups = self.look_ups.len();
        let first = self.offer_begins(&attempt);
        self.key_offers = self.key_offers.saturating_add(1);
        let judged = self.judge_key(&mut attempt, key).await;
        match judged {
            Ok(_) => {
                if let Some(offers) = self.offers_of(&attempt.user) {
                    offers.accepted();
                }
                Outcome::Offered
            }
            Err(refusal) => {
                self.offer_refused(&attempt, refusal, look_ups < self.look_ups.len());
                if first {
                    self.hold_back(began, 0).await;
                }
                self.refused()
            }
        }
    }

    /// Notes an offer before anybody is asked; says whether it is the first one of its user.
    fn offer_begins(&mut self, attempt: &Attempt) -> bool {
        if let Some(offers) = self.offers_of(&attempt.user) {
            offers.begins(attempt.fingerprint.clone());
            return false;
        }
        self.tell_refused_offers();
        self.refused_offers = Some(RefusedOffers::new(attempt.clone()));
        !self.look_ups.iter().any(|known| known.user == attempt.user)
    }

    fn offer_refused(&mut self, attempt: &Attempt, refusal: Refusal, asked_now: bool) {
        tracing::debug!(
            session_id = &*self.session_id,
            fingerprint = attempt.fingerprint.as_deref(),
            reason = refusal.reason.as_str(),
            "key not accepted"
        );
        match refusal.verdict() {
            Verdict::Denied => {
                let now = self.authenticator.clock.now();
                if let Some(offers) = self.offers_of(&attempt.user) {
                    offers.asked(attempt.request_id.as_deref());
                    offers.refused(refusal, now);
                }
            }
            Verdict::Invalid | Verdict::Unavailable => {
                self.refused_offers = None;
                if asked_now {
                    attempt.refuse(refusal);
                }
            }
        }
    }

    fn offers_of(&mut self, user: &str) -> Option<&mut RefusedOffers> {
        let offers = self.refused_offers.as_mut();
        offers.filter(|offers| offers.are_of(user))
    }

    /// Writes down that none of the keys that were offered was accepted.
    fn tell_refused_offers(&mut self) {
        if let Some(offers) = self.refused_offers.take() {
            offers.tell();
        }
    }

    /// Judges a key whose signature the SSH layer has verified.
    pub async fn key_proved(&mut self, user: &str, key: &OfferedKey) -> Outcome {
        let mut attempt = self.begin(user, AuthMethod::PublicKey);
        attempt.fingerprint = Some(key.fingerprint());
        let judged = self.judge_key(&mut attempt, key).await;
        // The offers before the proof are part of it; those of another user are not.
        if self.offers_of(&attempt.user).is_some() {
            self.refused_offers = None;
        }
        self.tell_refused_offers();
        let entered = match judged {
            Ok(config) if self.methods() == Methods::KeyAndPassword => {
                self.proven = Some(Proven {
                    user: user.into(),
                    config,
                    asked: attempt.asked,
                });
                return Outcome::PasswordRequired;
            }
            Ok(config) => {
                let client = attempt.client.clone();
                let entering = attempt.enter(config);
                client.wait_for(&self.authenticator, entering).await
            }
            Err(refusal) => Some(Err(attempt.refuse(refusal))),
        };
        match entered {
            Some(Ok(user)) => Outcome::Accepted(user),
            Some(Err(_)) | None => {
                // A client may prove without having offered.
                self.key_offers = self.key_offers.saturating_add(1);
                self.refused()
            }
        }
    }

    async fn judge_key(&mut self, attempt: &mut Attempt, key: &OfferedKey) -> Judged {
        let settings = self.authenticator.settings;
        self.check_bounds()?;
        if !settings.methods.key() {
            return Err(Reason::MethodNotAllowed.into());
        }
        admission::check_name(settings.user_names, &attempt.user)?;
        self.authenticator
            .kept_out(&[&attempt.user], self.source_ip)?;
        let Authenticator { shared, clock, .. } = &*self.authenticator;
        let throttle = &shared.throttle;
        throttle.source(self.source_ip, clock.now())?;
        key.check()?;
        let config = self.look_up(attempt).await?;
        // The proof may come long after the answer.
        attempt.admit(&config)?;
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
        let Authenticator { shared, clock, .. } = &*self.authenticator;
        let throttle = &shared.throttle;
        if let Err(over) = throttle.look_up(&attempt.user, self.source_ip, clock.now()) {
            if over.first {
                shared.observer.locked_out(Lockout::Names);
            }
            return Err(Reason::TooManyNames.into());
        }
        // Otherwise one connection could ask about every name there is.
        if !self.look_ups.is_empty() {
            self.attempts = self.attempts.saturating_add(1);
        }
        attempt.request_id = Some(self.next_request_id());
        if let Some(offers) = self.offers_of(&attempt.user) {
            offers.asked(attempt.request_id.as_deref());
        }
        let asking = attempt.clone();
        let asking = async move { asking.ask(Credential::PublicKey).await };
        let client = attempt.client.clone();
        let answer = client.wait_for(&self.authenticator, asking).await;
        let answer = answer.unwrap_or_else(|| Err(Reason::FlightLost.into()));
        self.look_ups.push(LookUp {
            user: attempt.user.clone(),
            request_id: attempt.request_id.clone().unwrap_or_default(),
            asked: attempt.asked,
            answer: answer.clone(),
        });
        answer
    }

    /// Names a question: unique as long as session ids are, and readable beside them.
    fn next_request_id(&mut self) -> Box<str> {
        self.questions = self.questions.saturating_add(1);
        format!("{}-{}", self.session_id, self.questions).into()
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

    async fn hold_back(&self, began: tokio::time::Instant, refusals: u32) {
        let unit = self.authenticator.limits.refusal_delay;
        let delay = refusal_delay(unit, refusals, began.elapsed());
        tokio::time::sleep_until(began + delay).await;
    }

    fn refused(&self) -> Outcome {
        let limits = &self.authenticator.limits;
        Outcome::Refused {
            retry: self.attempts < limits.password_attempts_max
                && self.key_offers < limits.key_offers_max,
        }
    }

    fn begin(&self, user: &str, method: AuthMethod) -> Attempt {
        Attempt {
            authenticator: Arc::clone(&self.authenticator),
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
            // Nobody is asked about a longer name, and a client may send any.
            user: user.chars().take(USER_NAME_CHARS_KEPT).collect(),
            method,
            fingerprint: None,
            request_id: None,
            asked: self.authenticator.shared.logged_in.moment(),
            started: self.authenticator.clock.now(),
            ended: None,
            login_by: self.login_by,
            client: Client::default(),
        }
    }
}

impl Drop for ConnectionAuth {
    fn drop(&mut self) {
        self.tell_refused_offers();
    }
}

/// One more than the longest name has, so that what is cut off breaks the rule as well.
const USER_NAME_CHARS_KEPT: usize = limits::USER_NAME_BYTES_MAX + 1;

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
