//! Leaves a provider alone that does not answer: logins fail at once instead of after its time-out,
//! and a provider that comes back is not met by all of them at the same time.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::state::{Breaker, Ending, Pass};
use super::{IdentityProvider, IdpError, Question, Verdict};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// A provider behind a breaker. Belongs below the cache, whose older answers can then stand in.
#[derive(Debug)]
pub struct Guarded {
    provider: Arc<dyn IdentityProvider>,
    name: Box<str>,
    breaker: Mutex<Breaker>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Guarded {
    /// Puts a breaker before a provider that opens after so many failures in a row, at least one.
    #[must_use]
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        name: &str,
        failures_max: usize,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        metrics.idp_breaker(name, false);
        Self {
            provider,
            name: name.into(),
            breaker: Mutex::new(Breaker::new(failures_max)),
            metrics,
            clock,
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, pass: Pass, ending: Ending) {
        let now = self.clock.now();
        let mut breaker = self.breaker();
        let was_open = breaker.is_open();
        breaker.ended(pass, ending, now);
        let is_open = breaker.is_open();
        // Under the lock, so that the gauge and the log tell the last change last.
        if is_open != was_open {
            self.metrics.idp_breaker(&self.name, is_open);
            let provider = &*self.name;
            if is_open {
                tracing::warn!(provider, "the identity provider is left alone for a while");
            } else {
                tracing::info!(provider, "the identity provider answers again");
            }
        }
    }
}

#[async_trait]
impl IdentityProvider for Guarded {
    async fn ask(&self, question: &Question) -> Result<Verdict, IdpError> {
        let admitted = self.breaker().admit(self.clock.now());
        let Some(pass) = admitted else {
            self.metrics.idp_kept_back(&self.name);
            return Err(IdpError::Unavailable {
                reason: "breaker-open",
                detail: "it did not answer several times in a row".into(),
            });
        };
        let mut passage = Passage {
            guarded: self,
            pass,
            ending: Ending::Abandoned,
        };
        let answer = self.provider.ask(question).await;
        passage.ending = match &answer {
            Err(IdpError::Unavailable { .. }) => Ending::Unavailable,
            Ok(_) | Err(IdpError::Invalid { .. }) => Ending::Answered,
        };
        answer
    }
}

/// A question on its way; its end is reported even when the login is given up.
struct Passage<'g> {
    guarded: &'g Guarded,
    pass: Pass,
    ending: Ending,
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.guarded.ended(self.pass, self.ending);
    }
}
