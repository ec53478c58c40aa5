//! Leaves a provider alone that does not answer: logins fail at once instead of after its time-out,
//! and a provider that comes back is not met by all of them at the same time.
//!
//! Passwords and look-ups of keys have a breaker each: some services answer the one and fail at
//! every other, and must not seem gone because of it.
//!
//! What only strangers met with opens no breaker, and no older answer stands in because of it.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::state::{Asker, Breaker, Ending, Pass, WITNESSES};
use super::history::LoginHistory;
use super::{AuthMethod, IdentityProvider, Judged, Question, folded};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::refusal::{Health, Reason, Refusal};

#[derive(Debug)]
struct Breakers {
    password: Breaker,
    public_key: Breaker,
}

impl Breakers {
    const fn of(&mut self, method: AuthMethod) -> &mut Breaker {
        match method {
            AuthMethod::Password => &mut self.password,
            AuthMethod::PublicKey => &mut self.public_key,
        }
    }

    const fn any_is_open(&self) -> bool {
        self.password.is_open() || self.public_key.is_open()
    }
}

/// A provider behind a breaker. Belongs below the cache, whose older answers can then stand in.
#[derive(Debug)]
pub struct Guarded {
    provider: Arc<dyn IdentityProvider>,
    /// For the log and the metrics.
    name: Box<str>,
    /// As answers name it: empty where there is only one.
    provider_name: Box<str>,
    breakers: Mutex<Breakers>,
    history: Arc<LoginHistory>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Guarded {
    /// Puts a breaker before a provider that opens after so many failures in a row; zero never
    /// opens it.
    #[must_use]
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        provider_name: &str,
        failures_max: usize,
        history: Arc<LoginHistory>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let name = match provider_name {
            "" => "identity",
            name => name,
        };
        metrics.idp_breaker(name, false);
        Self {
            provider,
            name: name.into(),
            provider_name: provider_name.into(),
            breakers: Mutex::new(Breakers {
                password: Breaker::new(failures_max),
                public_key: Breaker::new(failures_max),
            }),
            history,
            metrics,
            clock,
        }
    }

    fn breakers(&self) -> MutexGuard<'_, Breakers> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, method: AuthMethod, pass: Pass, ending: Ending<'_>) {
        let now = self.clock.now();
        let mut breakers = self.breakers();
        let breaker = breakers.of(method);
        let was_open = breaker.is_open();
        breaker.ended(pass, ending, now);
        let is_open = breaker.is_open();
        // Under the lock, so that the gauge and the log tell the last change last.
        if is_open != was_open {
            self.metrics.idp_breaker(&self.name, breakers.any_is_open());
            let (provider, method) = (&*self.name, method.as_str());
            if is_open {
                tracing::warn!(
                    provider,
                    method,
                    "identity provider circuit breaker open: the provider gets no requests for a while"
                );
            } else {
                tracing::info!(
                    provider,
                    method,
                    "identity provider circuit breaker closed: the provider answers again"
                );
            }
        }
    }

    /// Marks a refusal where an outage shows that others met with, too.
    fn during_outage(&self, question: &Question, user: &str, refusal: Refusal) -> Refusal {
        let now = self.clock.now();
        // The asker is one of the known users, or none.
        let others = || {
            let known = self.history.known();
            let users = known.users_of(&self.provider_name, WITNESSES + 1, now);
            users.saturating_sub(usize::from(question.asking.known))
        };
        let method = question.credential.method();
        if self.breakers().of(method).is_outage_for(user, others) {
            refusal.during_outage()
        } else {
            refusal
        }
    }
}

#[async_trait]
impl IdentityProvider for Guarded {
    async fn ask(&self, question: &Question) -> Judged {
        let method = question.credential.method();
        let user = folded(&question.username);
        // Where one source stands for many, a stranger has the same one as those who were let in.
        let asker = if question.asking.known && !question.asking.stands_for_many {
            Asker::Known
        } else {
            Asker::Stranger
        };
        let admitted = self
            .breakers()
            .of(method)
            .admit(asker, &user, self.clock.now());
        let Some(pass) = admitted else {
            self.metrics.idp_kept_back(&self.name);
            let refusal = Reason::BreakerOpen
                .because("several consecutive requests were not answered")
                .of_provider(&self.provider_name);
            return Err(self.during_outage(question, &user, refusal));
        };
        let mut passage = Passage {
            guarded: self,
            method,
            pass,
            ending: Ending::Unknown,
        };
        let answer = self.provider.ask(question).await;
        let health = match &answer {
            Ok(_) => Health::Answered,
            Err(refusal) => refusal.reason.health(),
        };
        let now = self.clock.now();
        match &answer {
            Err(refusal) if refusal.reason == Reason::StatusDenied => {
                self.history.status_refused(&self.provider_name, now);
            }
            _ if health == Health::Answered => self.history.answered(&self.provider_name, now),
            Ok(_) | Err(_) => {}
        }
        passage.ending = match (health, asker) {
            (Health::Answered, _) => Ending::Answered,
            (Health::Gone, _) => Ending::Unreached,
            (Health::TimedOut | Health::GatewayFailed, Asker::Known) => Ending::Failed {
                user: &user,
                silent: true,
            },
            (Health::Failed, Asker::Known) => Ending::Failed {
                user: &user,
                silent: false,
            },
            (Health::TimedOut | Health::GatewayFailed | Health::Failed, Asker::Stranger) => {
                Ending::Reached
            }
            (Health::Nothing, _) => Ending::Unknown,
        };
        drop(passage);
        match answer {
            // Only no answer, or a proxy's word for it, can be bridged by an older one.
            Err(refusal)
                if matches!(
                    health,
                    Health::Gone | Health::TimedOut | Health::GatewayFailed
                ) =>
            {
                Err(self.during_outage(question, &user, refusal))
            }
            answer @ (Ok(_) | Err(_)) => answer,
        }
    }
}

/// A question on its way; its end is reported even when the login is given up.
struct Passage<'g> {
    guarded: &'g Guarded,
    method: AuthMethod,
    pass: Pass,
    ending: Ending<'g>,
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.guarded.ended(self.method, self.pass, self.ending);
    }
}
