//! Counts and times the questions that really go out.

use std::sync::Arc;

use async_trait::async_trait;

use super::{IdentityProvider, IdpError, Question, Verdict};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Passes every question on and counts its verdict.
#[derive(Debug)]
pub struct Metered {
    name: Box<str>,
    provider: Arc<dyn IdentityProvider>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Metered {
    #[must_use]
    pub fn new(
        name: &str,
        provider: Arc<dyn IdentityProvider>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            name: name.into(),
            provider,
            metrics,
            clock,
        }
    }
}

#[async_trait]
impl IdentityProvider for Metered {
    async fn ask(&self, question: &Question) -> Result<Verdict, IdpError> {
        let asked = self.clock.now();
        let answer = self.provider.ask(question).await;
        let verdict = match &answer {
            Ok(Verdict::Allowed(_)) => "allowed",
            Ok(Verdict::Denied(_)) => "denied",
            Err(IdpError::Invalid { .. }) => "invalid",
            Err(IdpError::Unavailable { .. }) => "unavailable",
        };
        let took = self.clock.now().saturating_duration_since(asked);
        self.metrics.idp_call(&self.name, verdict, took);
        answer
    }
}
