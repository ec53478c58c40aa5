//! A provider that the operator can switch off: then it is not asked, and nothing is remembered of
//! it either.

use std::sync::Arc;

use async_trait::async_trait;

use super::blocks::Blocks;
use super::{IdentityProvider, Judged, Question};
use crate::clock::Clock;
use crate::refusal::{Reason, Refusal};

/// Asks a provider unless it is blocked.
#[derive(Debug)]
pub struct Switched {
    asked: Arc<dyn IdentityProvider>,
    name: Box<str>,
    blocks: Arc<Blocks>,
    clock: Arc<dyn Clock>,
}

impl Switched {
    /// Puts the switch before a provider and its cache.
    #[must_use]
    pub fn new(
        asked: Arc<dyn IdentityProvider>,
        name: &str,
        blocks: Arc<Blocks>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let name = name.into();
        Self {
            asked,
            name,
            blocks,
            clock,
        }
    }
}

#[async_trait]
impl IdentityProvider for Switched {
    async fn ask(&self, question: &Question) -> Judged {
        if self.blocks.has_provider(&self.name, self.clock.wall()) {
            return Err(Refusal::new(Reason::ProviderBlocked).of_provider(&self.name));
        }
        self.asked.ask(question).await
    }
}
