//! Several stores: `[storage]`, and beside it those of `[store.NAME]`, which everybody reaches with
//! the gateway's own credentials there.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Grant, Opened, Stores};
use crate::refusal::{Reason, Refusal};
use crate::storage::addressing::Buckets;
use crate::storage::routed::Routed;
use crate::storage::routes::Routes;
use crate::storage::{Bucket, SharedStore};

/// One store beside `[storage]`.
#[derive(Debug)]
pub struct NamedStore {
    pub name: Box<str>,
    pub store: SharedStore,
    /// Sessions may use it although nothing but their mappings confines them there.
    pub by_mappings: bool,
    /// It is one bucket, which has this name beside others: two names of a file would be taken
    /// for two files.
    pub bucket: Option<Bucket>,
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
            let why = match &grant.buckets {
                _ if grant.policy.is_some() => "cannot apply the answer's policy",
                Buckets::OfRole { .. } => "cannot confine a session by its role",
                Buckets::OfMappings if !store.by_mappings => "cannot apply the answer's role",
                Buckets::OfMappings => continue,
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
        // Who is confined by a role must not reach what no role confines.
        let (reaches_named, all_named) = match grant.buckets {
            Buckets::OfRole { .. } => (false, false),
            Buckets::OfMappings => {
                let all = grant.mapped.iter().all(|at| self.named(at).is_some());
                (true, all && !grant.mapped.is_empty())
            }
        };
        let opened = if all_named {
            None
        } else {
            Some(self.main.open(grant).await?)
        };
        let (main, role) = match opened {
            Some(Opened { store, role }) => (Some(store), role),
            None => (None, None),
        };
        let named = self.named.iter();
        let named = named.map(|named| reaches_named.then(|| Arc::clone(&named.store)));
        let stores = std::iter::once(main).chain(named).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::credentials::Own;
    use crate::storage::memory::MemoryStore;
    use crate::storage::routes::Pattern;
    use crate::storage::{ListQuery, StorageErrorKind};

    fn several(by_mappings: bool) -> Several {
        let (near, far) = (bucket("near"), bucket("far"));
        let mut routes = Routes::default();
        routes.add(Pattern::parse("far").unwrap(), 1);
        let named = NamedStore {
            name: "archive".into(),
            store: Arc::new(MemoryStore::new(&[&far])),
            by_mappings,
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
        let stores = several(true);
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
            store: Arc::new(MemoryStore::new(&[])),
            by_mappings: true,
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
        for (by_mappings, policy, buckets) in [
            (true, Some("{}"), Buckets::OfMappings),
            (false, None, Buckets::OfMappings),
            (true, None, home()),
        ] {
            let stores = several(by_mappings);
            let refused = stores.open(grant(&["near", "far"], policy, buckets)).await;
            assert_eq!(refused.unwrap_err().reason, Reason::StoreWithoutRoles);
        }
        // Nor is it reached by a name that the client chose.
        let walks = grant(&["near"], None, Buckets::OfRole { home: None });
        let store = several(true).open(walks).await.unwrap().store;
        let denied = store.list(&bucket("far"), &ListQuery::first("")).await;
        assert_eq!(denied.unwrap_err().kind, StorageErrorKind::Denied);
    }
}
