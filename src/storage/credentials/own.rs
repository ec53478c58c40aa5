//! `roles = "gateway"`: everybody uses the gateway's own credentials.

use async_trait::async_trait;

use super::renewed::{Fresh, Renewal, Renewed};
use super::rotation;
use super::{Grant, Opened, Stores};
use crate::aws::AccessKey;
use crate::clock::Clock;
use crate::refusal::Refusal;
use crate::storage::SharedStore;
use crate::storage::metered::Meter;
use crate::storage::regional::Regional;
use crate::storage::s3::S3Store;
use std::sync::Arc;

/// One store for all: a login costs a reference.
#[derive(Debug)]
pub struct Own(SharedStore);

impl Own {
    /// Gives everybody this store.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self(store)
    }

    /// Returns the store that everybody gets.
    #[must_use]
    pub fn store(&self) -> SharedStore {
        self.0.clone()
    }

    /// Gives everybody the gateway's view of S3. Credentials of the AWS chain are requested again
    /// when S3 says that they have expired before their time; static ones cannot be.
    #[must_use]
    pub fn of(store: S3Store, meter: Meter, clock: Arc<dyn Clock>) -> Self {
        Self::rotating(store, (None, "storage"), meter, clock)
    }

    /// The same with a second key, for when S3 no longer takes the first, and with the name of the
    /// section that has both.
    #[must_use]
    pub fn rotating(
        store: S3Store,
        (next, section): (Option<&AccessKey>, &str),
        meter: Meter,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let metered = rotation::counted(&store, next, section, &meter, Arc::clone(&clock));
        if !store.is_from_chain() {
            return Self(metered);
        }
        let fresh = Fresh {
            store: metered,
            lifetime: None,
        };
        let chain = Arc::new(Chain { store, meter });
        Self(Arc::new(Renewed::new(fresh, chain, clock)))
    }
}

#[async_trait]
impl Stores for Own {
    async fn open(&self, grant: Grant<'_>) -> Result<Opened, Refusal> {
        grant.without_policy("the gateway's own credentials cannot enforce a session policy")?;
        Ok(Opened {
            store: self.0.clone(),
            role: None,
        })
    }
}

/// The AWS chain, whose credentials the SDK renews by itself unless they end early.
#[derive(Debug)]
struct Chain {
    store: S3Store,
    meter: Meter,
}

#[async_trait]
impl Renewal for Chain {
    async fn renew(&self) -> Result<Fresh, Refusal> {
        Ok(Fresh {
            store: self
                .meter
                .over(Regional::before(self.store.with_chain_anew())),
            lifetime: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Reason;
    use crate::storage::addressing::Buckets;
    use crate::storage::memory::MemoryStore;

    #[tokio::test]
    async fn a_policy_that_nobody_would_enforce_is_refused() {
        let own = Own::new(Arc::new(MemoryStore::new(&[])));
        let grant = |policy| Grant {
            user: "ann",
            session_id: "1",
            provider: "",
            role: None,
            policy,
            buckets: Buckets::OfMappings,
            mapped: Vec::new(),
        };
        let refused = own.open(grant(Some("{}"))).await.unwrap_err();
        assert_eq!(refused.reason, Reason::PolicyNotEnforceable);
        assert!(own.open(grant(None)).await.is_ok());
    }
}
