//! Several stores: `[storage]`, and beside it those of `[store.NAME]`, each of which opens logins in
//! its own way.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Grant, Opened, Stores};
use crate::refusal::{Reason, Refusal};
use crate::storage::Bucket;
use crate::storage::addressing::Buckets;
use crate::storage::routed::Routed;
use crate::storage::routes::Routes;

/// One store beside `[storage]`.
#[derive(Debug)]
pub struct NamedStore {
    pub name: Box<str>,
    pub stores: Arc<dyn Stores>,
    pub confines: Confines,
    /// It is one bucket, which has this name beside others: two names of a file would be taken
    /// for two files.
    pub bucket: Option<Bucket>,
}

/// What confines sessions at a store beside `[storage]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confines {
    /// Nothing that would do: who has a role is refused.
    Nothing,
    /// Their mappings alone.
    Mappings,
    /// The answer's role and policy, as at `[storage]`.
    Role,
}

/// Opens for each login what its mappings lead to.
#[derive(Debug)]
pub struct Several {
    main: Arc<dyn Stores>,
    /// Their numbers in the routes begin with 1.
    named: Vec<NamedStore>,
    routes: Arc<Routes>,
}

impl Several {
    #[must_use]
    pub fn new(main: Arc<dyn Stores>, named: Vec<NamedStore>, routes: Routes) -> Self {
        Self {
            main,
            named,
            routes: Arc::new(routes),
        }
    }

    fn named(&self, bucket: &Bucket) -> Option<&NamedStore> {
        let number = usize::from(self.routes.of(bucket));
        self.named.get(number.checked_sub(1)?)
    }

    /// Refuses a login that would have more of a store than its answer says.
    fn check(&self, grant: &Grant<'_>) -> Result<(), Refusal> {
        for (bucket, store) in grant
            .mapped
            .iter()
            .filter_map(|bucket| Some((bucket, self.named(bucket)?)))
        {
            let why = match (&grant.buckets, store.confines) {
                (Buckets::OfMappings, Confines::Role) => continue,
                (Buckets::OfMappings, _) if grant.policy.is_some() => {
                    "cannot apply the answer's policy"
                }
                (Buckets::OfRole { .. }, _) => "cannot confine a session by its role alone",
                (Buckets::OfMappings, Confines::Nothing) => "cannot apply the answer's role",
                (Buckets::OfMappings, Confines::Mappings) => continue,
            };
            let detail = format!("bucket {bucket} is in [store.{}], which {why}", store.name);
            return Err(Reason::StoreWithoutRoles.because(&detail));
        }
        Ok(())
    }
}

#[async_trait]
impl Stores for Several {
    async fn open(&self, grant: Grant<'_>) -> Result<Opened, Refusal> {
        self.check(&grant)?;
        let reached: BTreeSet<u16> = match grant.buckets {
            // Who is confined by a role alone must not reach what it does not confine.
            Buckets::OfRole { .. } => BTreeSet::from([MAIN]),
            Buckets::OfMappings if grant.mapped.is_empty() => BTreeSet::from([MAIN]),
            Buckets::OfMappings => grant.mapped.iter().map(|at| self.routes.of(at)).collect(),
        };
        let named = self.named.iter().map(|named| &named.stores);
        let mut stores = Vec::with_capacity(self.named.len().saturating_add(1));
        let mut role = None;
        for (number, one) in (MAIN..).zip(std::iter::once(&self.main).chain(named)) {
            if !reached.contains(&number) {
                stores.push(None);
                continue;
            }
            let opened = one.open(grant.clone()).await?;
            stores.push(Some(opened.store));
            role = role.or(opened.role);
        }
        Ok(Opened {
            store: Arc::new(Routed::new(Arc::clone(&self.routes), stores)),
            role,
        })
    }

    fn name_of(&self, bucket: &Bucket) -> Option<Bucket> {
        let name = self.named(bucket)?.bucket.as_ref()?;
        (name != bucket).then(|| name.clone())
    }
}

/// The number of `[storage]` in the routes.
const MAIN: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::credentials::Own;
    use crate::storage::memory::MemoryStore;
    use crate::storage::routes::Pattern;
    use crate::storage::{ListQuery, StorageErrorKind};

    fn several(confines: Confines) -> Several {
        let (near, far) = (bucket("near"), bucket("far"));
        let mut routes = Routes::default();
        routes.add(Pattern::parse("far").unwrap(), 1);
        let named = NamedStore {
            name: "archive".into(),
            stores: Arc::new(Own::new(Arc::new(MemoryStore::new(&[&far])))),
            confines,
            bucket: None,
        };
        let main = Own::new(Arc::new(MemoryStore::new(&[&near])));
        Several::new(Arc::new(main), vec![named], routes)
    }

    fn bucket(name: &str) -> Bucket {
        Bucket::parse(name).unwrap()
    }

    fn grant<'a>(mapped: &[&str], policy: Option<&'a str>, buckets: Buckets) -> Grant<'a> {
        Grant {
            user: "ann",
            session_id: "1",
            provider: "",
            role: None,
            policy,
            buckets,
            mapped: mapped.iter().map(|name| bucket(name)).collect(),
        }
    }

    #[tokio::test]
    async fn a_login_reaches_the_stores_of_its_mappings() {
        let stores = several(Confines::Mappings);
        let both = grant(&["near", "far"], None, Buckets::OfMappings);
        let store = stores.open(both).await.unwrap().store;
        let query = ListQuery::first("");
        assert!(store.list(&bucket("near"), &query).await.is_ok());
        assert!(store.list(&bucket("far"), &query).await.is_ok());
        let one = grant(&["far"], None, Buckets::OfMappings);
        let store = stores.open(one).await.unwrap().store;
        let denied = store.list(&bucket("near"), &query).await.unwrap_err();
        assert_eq!(denied.kind, StorageErrorKind::Denied);
    }

    #[test]
    fn a_bucket_of_several_names_has_one() {
        let mut routes = Routes::default();
        for name in ["data", "fs-01"] {
            routes.add(Pattern::parse(name).unwrap(), 1);
        }
        let named = NamedStore {
            name: "data".into(),
            stores: Arc::new(Own::new(Arc::new(MemoryStore::new(&[])))),
            confines: Confines::Mappings,
            bucket: Some(bucket("data")),
        };
        let main = Own::new(Arc::new(MemoryStore::new(&[&bucket("near")])));
        let stores = Several::new(Arc::new(main), vec![named], routes);
        assert_eq!(stores.name_of(&bucket("fs-01")), Some(bucket("data")));
        for own in ["data", "near"] {
            assert_eq!(stores.name_of(&bucket(own)), None, "{own}");
        }
    }

    #[tokio::test]
    async fn what_a_store_cannot_enforce_is_refused() {
        let home = || Buckets::OfRole {
            home: Some(bucket("far")),
        };
        for (confines, policy, buckets) in [
            (Confines::Mappings, Some("{}"), Buckets::OfMappings),
            (Confines::Nothing, None, Buckets::OfMappings),
            (Confines::Mappings, None, home()),
            (Confines::Role, None, home()),
        ] {
            let stores = several(confines);
            let refused = stores.open(grant(&["near", "far"], policy, buckets)).await;
            assert_eq!(refused.unwrap_err().reason, Reason::StoreWithoutRoles);
        }
        // A store with roles of its own takes both.
        let stores = several(Confines::Role);
        let taken = grant(&["far"], None, Buckets::OfMappings);
        assert!(stores.open(taken).await.is_ok());
        let policy = grant(&["far"], Some("{}"), Buckets::OfMappings);
        let refused = stores.open(policy).await.unwrap_err();
        assert_eq!(
            refused.reason,
            Reason::PolicyNotEnforceable,
            "by the store itself"
        );
        // Nor is it reached by a name that the client chose.
        let walks = grant(&["near"], None, Buckets::OfRole { home: None });
        let store = several(Confines::Mappings).open(walks).await.unwrap().store;
        let denied = store.list(&bucket("far"), &ListQuery::first("")).await;
        assert_eq!(denied.unwrap_err().kind, StorageErrorKind::Denied);
    }
}
