//! Puts the name of a provider into its answers, so that logs and sessions can tell whose they are.

use std::sync::Arc;

use async_trait::async_trait;

use super::{IdentityProvider, IdpError, Question, Verdict};

/// A provider with a name, or, where there is only one, with none. Belongs below the cache, which then keeps answers that are named.
#[derive(Debug)]
pub struct Named {
    name: Box<str>,
    provider: Arc<dyn IdentityProvider>,
}

impl Named {
    #[must_use]
    pub fn new(name: &str, provider: Arc<dyn IdentityProvider>) -> Self {
        let name = name.into();
        Self { name, provider }
    }
}

#[async_trait]
impl IdentityProvider for Named {
    async fn ask(&self, question: &Question) -> Result<Verdict, IdpError> {
        let mut verdict = self.provider.ask(question).await?;
        if self.name.is_empty() {
            return Ok(verdict);
        }
        if let Verdict::Allowed(config) = &mut verdict {
            // Fresh from the parser there is one owner, and nothing is copied.
            Arc::make_mut(config).provider = self.name.clone();
        }
        Ok(verdict)
    }
}
