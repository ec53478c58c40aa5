//! Whose credentials a session has at S3: a [`Grant`] becomes a store.
//!
//! [`Own`] are the gateway's, [`Keyring`] has keys for named roles, [`Assumed`] asks STS. Each is
//! asked once per login, before the login is accepted; a connection's channels share the answer.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

pub use self::assumed::{Assumed, StsSettings, Tag, USER_VARIABLE};
pub use self::keyring::{Keyring, RoleKeys};
pub use self::own::Own;
pub use self::session_name::{is_of_sts_name, session_name};
pub use self::several::{Confines, NamedStore, Several};
use super::addressing::Buckets;
use super::{Bucket, SharedStore};
use crate::clock::written;
use crate::refusal::{Reason, Refusal};

mod assumed;
mod keyring;
mod own;
mod renewed;
mod rotation;
mod session_name;
mod several;
mod sts_errors;

/// What the identity provider's answer says about storage, and for whom.
#[derive(Debug, Clone)]
pub struct Grant<'a> {
    /// The canonical name.
    pub user: &'a str,
    pub session_id: &'a str,
    /// Which of the configured providers answered; empty when there is only one.
    pub provider: &'a str,
    pub role: Option<&'a str>,
    /// JSON, its variables filled in.
    pub policy: Option<&'a str>,
    pub buckets: Buckets,
    /// Those that the answer names, each once.
    pub mapped: Vec<Bucket>,
}

impl Grant<'_> {
    /// Refuses a policy, where it would be ignored. The answer has been refused for it already;
    /// this is for callers that do not look.
    ///
    /// # Errors
    /// There is a policy.
    pub fn without_policy(&self, detail: &str) -> Result<(), Refusal> {
        match self.policy {
            None => Ok(()),
            Some(_) => Err(Reason::PolicyNotEnforceable.because(detail)),
        }
    }
}

/// Turns a grant into the store of one connection.
#[async_trait]
pub trait Stores: Debug + Send + Sync + 'static {
    /// Opens the store. What comes back works, as far as can be known without a call to S3.
    async fn open(&self, grant: Grant<'_>) -> Result<Opened, Refusal>;

    /// Returns the name under which everybody reaches a bucket that has several; `None`: it is
    /// this one.
    fn name_of(&self, _: &Bucket) -> Option<Bucket> {
        None
    }
}

/// A store, and how it came about.
#[derive(Debug, Clone)]
pub struct Opened {
    pub store: SharedStore,
    /// `None`: nothing was assumed.
    pub role: Option<Arc<AssumedRole>>,
}

/// A role that STS let the gateway assume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumedRole {
    /// As the answer, or the setting, names it.
    pub role: Box<str>,
    /// `RoleSessionName`, as it stands in the logs of S3.
    pub session_name: Box<str>,
    /// Of the first credentials; they are renewed before.
    pub expires_at: SystemTime,
}

impl AssumedRole {
    /// Returns when the first credentials end, such as `2026-12-31T00:00:00Z`.
    #[must_use]
    pub fn expiry(&self) -> String {
        written(self.expires_at)
    }
}

/// Refuses an answer that names no role.
fn role_missing() -> Refusal {
    Reason::RoleMissing.because("the answer has no role")
}
