//! Counts and times the questions that really go out, and says whose the answers are, so that logs
//! and sessions can tell.

use std::sync::Arc;

use async_trait::async_trait;

use super::{IdentityProvider, Judged, Question};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::refusal::verdict_word;

/// A provider with a name, or, where there is only one, with none. Belongs below the cache, which
/// then keeps answers that are named.
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
    async fn ask(&self, question: &Question) -> Judged {
        let asked = self.clock.now();
        let judged = self.provider.ask(question).await;
        let took = self.clock.now().saturating_duration_since(asked);
        let verdict = verdict_word(judged.as_ref().err());
        self.metrics.idp_call(&self.name, verdict, took);
        match judged {
            Ok(mut config) if !self.name.is_empty() => {
                // Fresh from the parser there is one owner, and nothing is copied.
                Arc::make_mut(&mut config).provider = self.name.clone();
                Ok(config)
            }
            Ok(config) => Ok(config),
            Err(refusal) => Err(refusal.of_provider(&self.name)),
        }
    }
}
