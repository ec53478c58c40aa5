//! One attempt, judged to its end whether or not its client waits for it.
//!
//! A client may go away at any moment. What was not asked by then is not asked; what was asked is
//! counted and written down like every other attempt, or guesses that are cut off would be free.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptRecord, loggable};
use super::authenticator::Authenticator;
use super::logged_in::Moment;
use super::{AuthMethod, AuthenticatedUser, admission};
use crate::idp::{Asking, Beginning, Credential, Judged, Question, UserConfig};
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;
use crate::tasks::spawn_tracked;

/// What an attempt is about, and what is known of it so far.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) source_ip: IpAddr,
    pub(super) session_id: Box<str>,
    pub(super) user: Box<str>,
    pub(super) method: AuthMethod,
    pub(super) fingerprint: Option<Box<str>>,
    /// The question that was asked, once it was.
    pub(super) request_id: Option<Box<str>>,
    /// Before the question.
    pub(super) asked: Moment,
    pub(super) started: Instant,
    /// `None` until it is known to be over: it is over when it is written down.
    pub(super) ended: Option<Instant>,
    /// When the connection is cut if nobody is in.
    pub(super) login_by: Instant,
    pub(super) client: Client,
}

/// Whether the client of an attempt is still there.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    beginning: Beginning,
    gone: CancellationToken,
}

/// Tells an attempt that its client has gone, when it is dropped before the attempt has ended.
#[derive(Debug)]
struct Waiting {
    client: Client,
    ended: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.ended {
            self.client.beginning.give_up();
            self.client.gone.cancel();
        }
    }
}

impl Client {
    /// Runs an attempt to its end, also when this call is given up; `None` if it panicked.
    pub(super) async fn wait_for<T: Send + 'static>(
        self,
        authenticator: &Authenticator,
        attempt: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let mut waiting = Waiting {
            client: self,
            ended: false,
        };
        let ended = spawn_tracked(&authenticator.shared.tasks, attempt).await;
        waiting.ended = true;
        ended
            .inspect_err(|error| tracing::error!(%error, "a login attempt was lost"))
            .ok()
    }
}

/// A key that was proven before the password, and what was answered to its look-up.
#[derive(Debug, Clone)]
pub(super) struct Proven {
    pub(super) user: Box<str>,
    pub(super) config: Arc<UserConfig>,
    pub(super) asked: Moment,
}

/// An attempt that failed, and has been written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// Refusals of this user at this source that make the next one come later.
    pub(super) refusals: u32,
}

impl Attempt {
    /// Judges a password that may be asked about, and lets its user in.
    pub(super) async fn password(
        mut self,
        password: Secret,
        proven: Option<Proven>,
    ) -> Result<AuthenticatedUser, Refused> {
        let authenticator = Arc::clone(&self.authenticator);
        let throttle = &authenticator.shared.throttle;
        let turn = tokio::select! {
            turn = throttle.turn(&self.user, self.source_ip) => turn,
            () = self.client.beginning.given_up() => {
                return Err(self.refuse(Reason::GivenUp.into()));
            }
        };
        let judged = self.judge_password(&password, proven).await;
        let ended = match judged {
            Ok(config) => {
                throttle.succeeded(&self.user, self.source_ip);
                self.enter(config).await
            }
            Err(refusal) => Err(self.refuse(admission::without(refusal, &password))),
        };
        // Only now that a failure is counted the next one may be asked about.
        drop(turn);
        ended
    }

    async fn judge_password(&mut self, password: &Secret, proven: Option<Proven>) -> Judged {
        let authenticator = Arc::clone(&self.authenticator);
        // Whoever went before may have failed once too often.
        let now = authenticator.clock.now();
        let throttle = &authenticator.shared.throttle;
        throttle.password(&self.user, self.source_ip, now)?;
        let config = self.ask(Credential::Password(password.clone())).await?;
        match proven {
            // Revoked between the key and the password is revoked.
            Some(proven) => {
                self.asked = proven.asked;
                let provider = config.provider.clone();
                admission::agree(&proven.config, config)
                    .map_err(|reason| Refusal::new(reason).of_provider(&provider))
            }
            None => Ok(config),
        }
    }

    /// Asks the provider, and holds a yes to what the gateway can keep.
    pub(super) async fn ask(&self, credential: Credential) -> Judged {
        let Authenticator {
            provider,
            shared,
            clock,
            ..
        } = &*self.authenticator;
        let known = shared.history.known();
        let question = Question {
            request_id: self.request_id.clone().unwrap_or_default(),
            username: self.user.clone(),
            credential,
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
            asking: Asking {
                known: known.contains(&self.user, self.source_ip, clock.now()),
                stands_for_many: shared.throttle.is_unthrottled(self.source_ip),
                answer_by: Some(self.login_by),
                beginning: self.client.beginning.clone(),
            },
        };
        let config = provider.ask(&question).await?;
        self.admit(&config)?;
        Ok(config)
    }

    /// Checks an answer against what holds now.
    pub(super) fn admit(&self, config: &UserConfig) -> Result<(), Refusal> {
        let Authenticator {
            settings, clock, ..
        } = &*self.authenticator;
        admission::admit(config, settings.roles, self.source_ip, clock.wall())
            .map_err(|reason| Refusal::new(reason).of_provider(&config.provider))
    }

    /// Opens S3 for whom the provider let in, and writes the login down: who cannot have S3 is not
    /// let in.
    pub(super) async fn enter(self, config: Arc<UserConfig>) -> Result<AuthenticatedUser, Refused> {
        let config = super::with_one_name_each(config, &*self.authenticator.stores);
        let config = super::with_history(config, self.authenticator.settings.history);
        let gone = self.client.gone.clone();
        let refused = |reason: Reason| Refusal::new(reason).of_provider(&config.provider);
        if gone.is_cancelled() {
            return Err(self.refuse(refused(Reason::ClientGone)));
        }
        let authenticator = Arc::clone(&self.authenticator);
        let (stores, clock) = (&*authenticator.stores, &authenticator.clock);
        let opened = match super::open(&config, &self.session_id, stores, clock).await {
            Ok(opened) => opened,
            Err(refusal) => return Err(self.refuse(refusal.of_provider(&config.provider))),
        };
        if gone.is_cancelled() {
            return Err(self.refuse(refused(Reason::ClientGone)));
        }
        let shared = &authenticator.shared;
        let names = [&*self.user, &*config.user];
        let entered = shared.logged_in.enter(names, self.source_ip, self.asked);
        let Some(entry) = entered else {
            return Err(self.refuse(refused(Reason::Revoked)));
        };
        // Entered first: a block either ends this connection or is seen here.
        if let Err(reason) = authenticator.kept_out(&names, self.source_ip) {
            return Err(self.refuse(refused(reason)));
        }
        let now = authenticator.clock.now();
        let history = &shared.history;
        history.let_in(&self.user, self.source_ip, &config.provider, now);
        shared.throttle.entered(&self.user, self.source_ip);
        self.finish(Ok(&config));
        Ok(AuthenticatedUser {
            config,
            login_name: self.user,
            method: self.method,
            source_ip: self.source_ip,
            session_id: self.session_id,
            entry,
            opened,
        })
    }

    /// Counts a refusal for what it is, and writes it down.
    pub(super) fn refuse(&self, refusal: Refusal) -> Refused {
        let shared = &self.authenticator.shared;
        let now = self.authenticator.clock.now();
        // Nobody guesses keys, and most clients offer some that are not listed.
        let penalty = match self.method {
            AuthMethod::Password => {
                let throttle = &shared.throttle;
                throttle.refused(&self.user, self.source_ip, &refusal, now)
            }
            AuthMethod::PublicKey => super::throttle::Penalty::default(),
        };
        // Nothing was asked, and nobody waits.
        if refusal.reason != Reason::GivenUp {
            self.finish(Err(refusal));
        }
        for lockout in penalty.lockouts {
            shared.observer.locked_out(lockout);
        }
        Refused {
            refusals: penalty.refusals,
        }
    }

    fn finish(&self, judged: Result<&UserConfig, Refusal>) {
        let config = judged.as_ref().ok().copied();
        let refusal = judged.err();
        let clock = &self.authenticator.clock;
        let provider = match (config, &refusal) {
            (Some(config), _) => Some(config.provider.clone()),
            (None, Some(refusal)) => refusal.provider.clone(),
            (None, None) => None,
        };
        let record = AttemptRecord {
            user: loggable(&self.user),
            method: self.method,
            source_ip: self.source_ip,
            session_id: self.session_id.clone(),
            refusal,
            request_id: self.request_id.clone(),
            fingerprint: self.fingerprint.clone(),
            provider,
            role: config.and_then(|config| config.role.clone()),
            warnings: config.map_or_else(Vec::new, |config| config.warnings.clone()),
            duration: self
                .ended
                .unwrap_or_else(|| clock.now())
                .saturating_duration_since(self.started),
        };
        record.log();
        self.authenticator.shared.observer.attempt_finished(&record);
    }
}
