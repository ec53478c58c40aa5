//! Puts buckets that a client chose into the path of the URL.
//!
//! A bucket in the host name has connections of its own, each with a look-up and a handshake, which
//! stay open for a while: a client that asks for one name after another would choose how many of
//! them the process holds. In the path all buckets of a region share one host.

use std::sync::Arc;

use super::layer::{About, Layer};
use super::regional::Regional;
use super::s3::S3Store;
use super::{Bucket, Capabilities, Result, SharedStore};

/// Who chooses the buckets that a session asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Buckets {
    /// The provider, by its mappings.
    OfMappings,
    /// The client, as far as the role lets; the provider chose that of the home, if it has one.
    OfRole { home: Option<Bucket> },
}

/// A store that addresses one bucket as configured, and the others by the path.
#[derive(Debug)]
pub(super) struct ByPath {
    home: Option<(Bucket, SharedStore)>,
    others: SharedStore,
}

impl ByPath {
    /// Puts what is needed before a store.
    pub(super) fn before(store: S3Store, buckets: &Buckets) -> SharedStore {
        let home = match buckets {
            Buckets::OfMappings => return Regional::before(store),
            Buckets::OfRole { home } => home.clone(),
        };
        let others = Regional::before(store.by_path());
        Arc::new(Self {
            home: home.map(|home| (home, Regional::before(store))),
            others,
        })
    }
}

impl Layer for ByPath {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let store = match &self.home {
            Some((home, store)) if about.bucket == Some(home) => store,
            Some(_) | None => &self.others,
        };
        run(Arc::clone(store)).await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.others.capabilities(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStore;
    use crate::storage::{ListQuery, ObjectStore as _};

    #[tokio::test]
    async fn only_the_buckets_that_the_provider_named_may_have_hosts_of_their_own() {
        let bucket = |name| Bucket::parse(name).unwrap();
        let (home, other) = (bucket("home"), bucket("other"));
        let others: SharedStore = Arc::new(MemoryStore::new(&[&other]));
        let store = ByPath {
            home: Some((home.clone(), Arc::new(MemoryStore::new(&[&home])))),
            others,
        };
        let query = ListQuery::first("");
        assert!(store.list(&home, &query).await.is_ok());
        assert!(store.list(&other, &query).await.is_ok());
        let all = store.list_buckets(None, 10).await.unwrap();
        assert_eq!(all.names, ["other"]);
    }
}
