//! Counts and times the questions that really go out, and says whose the answers are, so that logs
//! and sessions can tell. What is odd about an answer is logged here, once per answer and not once
//! per login that it is remembered for.

use std::sync::Arc;

use async_trait::async_trait;

use super::warning::{Oddity, Warning};
use super::{IdentityProvider, Judged, Question};
use crate::clock::Clock;
use crate::limits::LOG_INTERVAL;
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal, verdict_word};
use crate::seldom::Seldom;

/// A provider with a name, or, where there is only one, with none. Belongs below the cache, which
/// then keeps answers that are named.
#[derive(Debug)]
pub struct Metered {
    name: Box<str>,
    provider: Arc<dyn IdentityProvider>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    lines: Lines,
}

/// Anybody may cause these lines, so that each kind has a bound of its own.
#[derive(Debug)]
struct Lines {
    oddities: Vec<(Oddity, Seldom)>,
    function_errors: Seldom,
}

impl Metered {
    #[must_use]
    pub fn new(
        name: &str,
        provider: Arc<dyn IdentityProvider>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let line = |oddity: &Oddity| (*oddity, Seldom::default());
        Self {
            name: name.into(),
            provider,
            metrics,
            clock,
            lines: Lines {
                oddities: Oddity::ALL.iter().map(line).collect(),
                function_errors: Seldom::default(),
            },
        }
    }

    /// Counts what was odd and taken all the same, and says what it should be.
    fn tell(&self, question: &Question, warning: &Warning) {
        let word = warning.oddity.as_str();
        self.metrics.idp_warning(&self.name, word);
        let line = self.lines.oddities.iter();
        let mut line = line.filter(|(oddity, _)| *oddity == warning.oddity);
        let due = |(_, line): &(Oddity, Seldom)| line.due(self.clock.now(), LOG_INTERVAL);
        let Some(unlogged) = line.next().and_then(due) else {
            return;
        };
        tracing::warn!(
            provider = self.shown_name(),
            user = &*question.username,
            request_id = &*question.request_id,
            warning = word,
            taken = warning.oddity.taken(),
            detail = warning.detail.as_deref(),
            change = warning.oddity.right(),
            unlogged,
            "the identity provider's answer has a mistake that was tolerated"
        );
    }

    /// A function that raises denies, and somebody should know that it is not one that says no.
    fn tell_of_function(&self, question: &Question, refusal: &Refusal) {
        let due = self
            .lines
            .function_errors
            .due(self.clock.now(), LOG_INTERVAL);
        let Some(unlogged) = due else {
            return;
        };
        // The rest of the answer may repeat the event, and with it the password.
        tracing::warn!(
            provider = self.shown_name(),
            request_id = &*question.request_id,
            error_type = refusal.detail.as_deref().unwrap_or("-"),
            unlogged,
            "the identity function raised an error"
        );
    }

    fn shown_name(&self) -> Option<&str> {
        Some(&*self.name).filter(|name| !name.is_empty())
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
        match &judged {
            Ok(config) => {
                for warning in &config.warnings {
                    self.tell(question, warning);
                }
            }
            Err(refusal) if refusal.reason == Reason::FunctionError => {
                self.tell_of_function(question, refusal);
            }
            Err(_) => {}
        }
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
