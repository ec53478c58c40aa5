//! A provider that gives way to another one while logins go on.
//!
//! What stands before it (cache, circuit breaker, limits) stays as it is; a question that is under
//! way ends with the provider that it began with.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use super::{Examined, Exchange, IdentityProvider, Judged, Question};
use crate::clock::Clock;

/// Asks the newest of several.
#[derive(Debug)]
pub struct Replaceable(RwLock<Arc<dyn Examined>>);

impl Replaceable {
    #[must_use]
    pub fn new(first: Arc<dyn Examined>) -> Self {
        Self(RwLock::new(first))
    }

    /// Asks another one from the next question on.
    pub fn replace(&self, next: Arc<dyn Examined>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn current(&self) -> Arc<dyn Examined> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

#[async_trait]
impl IdentityProvider for Replaceable {
    async fn ask(&self, question: &Question) -> Judged {
        self.current().ask(question).await
    }
}

#[async_trait]
impl Examined for Replaceable {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        self.current().examine(question, clock).await
    }

    fn place(&self) -> Option<(String, u16)> {
        self.current().place()
    }
}
