//! The service-managed provider: users that the gateway keeps itself, one readable document each,
//! in a directory or in a bucket that replicas share.
//!
//! Nobody else is asked, so there are keys and no passwords, as on Transfer Family.

use std::sync::Arc;

use async_trait::async_trait;

pub use self::bucket::InBucket;
pub use self::directory::Directory;
pub use self::documents::{Document, Documents, Failure, Names, Since, Version};
pub use self::fault::{Fault, Resource};
pub use self::in_memory::{InMemory, TakenRoom};
pub use self::rules::{Fields, add_tags};
pub use self::user::{
    HomeDirectoryType, MapEntry, MapType, PosixProfile, SshPublicKey, Tag, User, imported_at,
};
pub use self::users::{Listed, Page, Source, Users, UsersSettings};
use super::{Credential, Examined, Exchange, IdentityProvider, Judged, Question, UserNameRule};
use crate::clock::Clock;
use crate::refusal::Reason;

mod bucket;
mod directory;
mod documents;
mod fault;
mod file_name;
mod in_memory;
mod rules;
mod seen;
mod user;
mod users;

/// Answers out of the documents.
#[derive(Debug)]
pub struct ServiceManaged(Arc<Users>);

impl ServiceManaged {
    #[must_use]
    pub const fn new(users: Arc<Users>) -> Self {
        Self(users)
    }
}

#[async_trait]
impl IdentityProvider for ServiceManaged {
    async fn ask(&self, question: &Question) -> Judged {
        let name = &*question.username;
        match question.credential {
            Credential::Password(_) => Err(Reason::KeysOnly.into()),
            // No other name can have been created.
            Credential::PublicKey if !UserNameRule::Aws.allows(name) => {
                Err(Reason::UnknownUser.into())
            }
            Credential::PublicKey => {
                let (judged, source) = self.0.look_up(name).await;
                tracing::debug!(user = name, ?source, "service-managed user looked up");
                judged
            }
        }
    }
}

#[async_trait]
impl Examined for ServiceManaged {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        Exchange::in_process(self, question, clock).await
    }

    fn place(&self) -> Option<(String, u16)> {
        None
    }
}
