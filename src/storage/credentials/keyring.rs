//! `roles = "map"`: keys for each role that an answer may name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::rotation;
use super::{Grant, Opened, Stores, role_missing};
use crate::aws::AccessKey;
use crate::clock::Clock;
use crate::refusal::{Reason, Refusal};
use crate::storage::SharedStore;
use crate::storage::metered::Meter;
use crate::storage::s3::S3Store;

/// The keys that stand for a role.
#[derive(Debug, Clone)]
pub struct RoleKeys {
    /// As answers name it.
    pub role: Box<str>,
    pub key: AccessKey,
    /// For when S3 no longer takes the first.
    pub next: Option<AccessKey>,
    /// The section of the configuration.
    pub section: String,
}

/// A store for each role, all over the same connections.
pub struct Keyring {
    stores: HashMap<Box<str>, SharedStore>,
    default_role: Option<Box<str>>,
}

impl Keyring {
    /// Gives `store` other keys, role by role.
    #[must_use]
    pub fn new(
        store: &S3Store,
        roles: impl IntoIterator<Item = RoleKeys>,
        default_role: Option<Box<str>>,
        meter: &Meter,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let opened = |keys: RoleKeys| {
            let store = store.with_key(&keys.key);
            let (next, section) = (keys.next.as_ref(), &keys.section);
            let counted = rotation::counted(&store, next, section, meter, Arc::clone(clock));
            (keys.role, counted)
        };
        Self {
            stores: roles.into_iter().map(opened).collect(),
            default_role,
        }
    }
}

#[async_trait]
impl Stores for Keyring {
    async fn open(&self, grant: Grant<'_>) -> Result<Opened, Refusal> {
        grant.without_policy("access keys cannot enforce a session policy")?;
        let role = grant.role.or(self.default_role.as_deref());
        let role = role.ok_or_else(role_missing)?;
        let store = self.stores.get(role).ok_or_else(|| {
            Reason::RoleUnknown.because(&format!("no table [role.NAME] has arn = {role:?}"))
        })?;
        Ok(Opened {
            store: store.clone(),
            role: None,
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.stores.keys()).finish()
    }
}
