//! Leaves a provider alone that does not answer: logins fail at once instead of after its time-out,
//! and a provider that comes back is not met by all of them at the same time.
//!
//! Passwords and look-ups of keys have a breaker each: some services answer the one and fail at
//! every other, and must not seem gone because of it.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::state::{Breaker, Ending, Pass};
use super::{AuthMethod, IdentityProvider, Judged, Question};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal, Verdict};

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
    name: Box<str>,
    breakers: Mutex<Breakers>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Guarded {
    /// Puts a breaker before a provider that opens after so many failures in a row, at least one.
    /// The only provider has no name.
    #[must_use]
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        name: &str,
        failures_max: usize,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        metrics.idp_breaker(label(name), false);
        Self {
            provider,
            name: name.into(),
            breakers: Mutex::new(Breakers {
                password: Breaker::new(failures_max),
                public_key: Breaker::new(failures_max),
            }),
            metrics,
            clock,
        }
    }

    fn breakers(&self) -> MutexGuard<'_, Breakers> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, method: AuthMethod, pass: Pass, ending: Ending) {
        let now = self.clock.now();
        let mut breakers = self.breakers();
        let breaker = breakers.of(method);
        let was_open = breaker.is_open();
        breaker.ended(pass, ending, now);
        let is_open = breaker.is_open();
        // Under the lock, so that the gauge and the log tell the last change last.
        if is_open != was_open {
            self.metrics
                .idp_breaker(label(&self.name), breakers.any_is_open());
            let (provider, method) = (label(&self.name), method.as_str());
            if is_open {
                tracing::warn!(
                    provider,
                    method,
                    "the identity provider is left alone for a while"
                );
            } else {
                tracing::info!(provider, method, "the identity provider answers again");
            }
        }
    }
}

#[async_trait]
impl IdentityProvider for Guarded {
    async fn ask(&self, question: &Question) -> Judged {
        let method = question.credential.method();
        let admitted = self.breakers().of(method).admit(self.clock.now());
        let Some(pass) = admitted else {
            self.metrics.idp_kept_back(label(&self.name));
            let refusal = Reason::BreakerOpen.because("it did not answer several times in a row");
            return Err(refusal.of_provider(&self.name));
        };
        let mut passage = Passage {
            guarded: self,
            method,
            pass,
            ending: Ending::Abandoned,
        };
        let judged = self.provider.ask(question).await;
        passage.ending = match judged.as_ref().map_err(Refusal::verdict) {
            Err(Verdict::Unavailable) => Ending::Unavailable,
            Ok(_) | Err(Verdict::Denied | Verdict::Invalid) => Ending::Answered,
        };
        judged
    }
}

/// Returns the name for metrics and log lines.
const fn label(name: &str) -> &str {
    if name.is_empty() { "identity" } else { name }
}

/// A question on its way; its end is reported even when the login is given up.
struct Passage<'g> {
    guarded: &'g Guarded,
    method: AuthMethod,
    pass: Pass,
    ending: Ending,
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.guarded.ended(self.method, self.pass, self.ending);
    }
}
