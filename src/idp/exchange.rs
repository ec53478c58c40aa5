//! One question and what came back, kept for a person who looks into it.

use std::time::Duration;

use async_trait::async_trait;

use super::{IdentityProvider, Judged, Question};
use crate::clock::Clock;
use crate::refusal::Refusal;

/// One question and what came back, in full; the body may hold what no log may.
#[derive(Debug)]
pub struct Exchange {
    /// Where the question went, without what may be secret in it; empty when it left no process.
    pub url: String,
    /// `None` when no answer began.
    pub status: Option<u16>,
    /// Of an answer with status 200, up to the bound.
    pub body: Vec<u8>,
    pub judged: Judged,
    /// Until the answer began; a connection that had to be made is part of it.
    pub first_byte: Option<Duration>,
    pub total: Duration,
}

impl Exchange {
    /// Returns what is known of a question that was not sent.
    #[must_use]
    pub fn unasked(refusal: Refusal) -> Self {
        Self {
            url: String::new(),
            status: None,
            body: Vec::new(),
            judged: Err(refusal),
            first_byte: None,
            total: Duration::ZERO,
        }
    }

    /// Asks a provider that sends nothing anywhere: there is a verdict to see and nothing else.
    pub(super) async fn in_process(
        provider: &dyn IdentityProvider,
        question: &Question,
        clock: &dyn Clock,
    ) -> Self {
        let began = clock.now();
        let judged = provider.ask(question).await;
        Self {
            url: String::new(),
            status: None,
            body: Vec::new(),
            judged,
            first_byte: None,
            total: clock.now().saturating_duration_since(began),
        }
    }
}

/// A provider that can say what it asked and what came back.
#[async_trait]
pub trait Examined: IdentityProvider {
    /// Asks as a login does and keeps what was seen.
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange;

    /// Returns the host, without brackets, and the port that are asked; `None` for a provider that
    /// asks nobody.
    fn place(&self) -> Option<(String, u16)>;
}
