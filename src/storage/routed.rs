//! Asks each bucket at the store that serves it.

use std::sync::Arc;

use super::layer::{About, Layer};
use super::routes::Routes;
use super::{Bucket, Capabilities, Result, SharedStore, StorageError, StorageErrorKind};

/// Several stores that look like one.
#[derive(Debug)]
pub struct Routed {
    routes: Arc<Routes>,
    /// By their numbers in the routes; `None`: this session has no access to it.
    stores: Vec<Option<SharedStore>>,
}

impl Routed {
    /// Puts the choice before stores, each in the place that its number says. The first one serves
    /// what no pattern matches, and names the buckets.
    #[must_use]
    pub const fn new(routes: Arc<Routes>, stores: Vec<Option<SharedStore>>) -> Self {
        Self { routes, stores }
    }

    fn store(&self, number: u16) -> Option<&SharedStore> {
        self.stores.get(usize::from(number))?.as_ref()
    }
}

impl Layer for Routed {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let number = about.bucket.map_or(0, |bucket| self.routes.of(bucket));
        if about
            .source
            .is_some_and(|source| self.routes.of(source) != number)
        {
            // The other store may have a bucket of the same name, with something else in it.
            let detail = format!("{about}: its source is in another store");
            return Err(StorageError::new(StorageErrorKind::Refused, detail));
        }
        let Some(store) = self.store(number) else {
            let detail = format!("{about}: the login has no access to this bucket's store");
            return Err(StorageError::new(StorageErrorKind::Denied, detail));
        };
        run(Arc::clone(store)).await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        let number = self.routes.of(bucket);
        let store = self.store(number);
        Capabilities {
            store: number,
            ..store.map_or_else(Capabilities::all, |store| store.capabilities(bucket))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStore;
    use crate::storage::routes::Pattern;
    use crate::storage::{
        CopyObject, ETag, Key, ListQuery, Location, NewObject, Nonce, ObjectStore as _,
        Precondition, Version,
    };

    fn routed(second: Option<SharedStore>) -> Routed {
        let mut routes = Routes::default();
        routes.add(Pattern::parse("far*").unwrap(), 1);
        let near: SharedStore = Arc::new(MemoryStore::new(&[&bucket("near"), &bucket("far")]));
        Routed::new(Arc::new(routes), vec![Some(near), second])
    }

    fn bucket(name: &str) -> Bucket {
        Bucket::parse(name).unwrap()
    }

    #[tokio::test]
    async fn a_bucket_is_asked_only_at_its_own_store() {
        let far: SharedStore = Arc::new(MemoryStore::new(&[&bucket("far-away")]));
        let store = routed(Some(far));
        let query = ListQuery::first("");
        assert!(store.list(&bucket("near"), &query).await.is_ok());
        assert!(store.list(&bucket("far-away"), &query).await.is_ok());
        let missing = store.list(&bucket("far"), &query).await.unwrap_err();
        assert_eq!(missing.kind, StorageErrorKind::NoSuchBucket);
        let number = |name| Layer::capabilities(&store, &bucket(name)).store;
        let [near, far] = ["near", "far"].map(number);
        assert_eq!((near, far), (0, 1));
        let all = store.list_buckets(None, 10).await.unwrap();
        assert_eq!(all.names, ["far", "near"]);
    }

    #[tokio::test]
    async fn what_a_login_has_no_access_to_is_denied_and_no_copy_crosses_stores() {
        let store = routed(None);
        let query = ListQuery::first("");
        let denied = store.list(&bucket("far"), &query).await.unwrap_err();
        assert_eq!(denied.kind, StorageErrorKind::Denied);
        let store = routed(Some(Arc::new(MemoryStore::new(&[&bucket("far")]))));
        let at = |name| Location {
            bucket: bucket(name),
            key: Key::parse("k").unwrap(),
        };
        let (source, etag) = (at("far"), ETag("\"x\"".into()));
        let copy = CopyObject {
            source: Version {
                location: &source,
                etag: &etag,
            },
            object: &NewObject::new(Nonce::new().unwrap()),
            condition: &Precondition::None,
        };
        let refused = store.copy(&at("near"), copy).await.unwrap_err();
        assert_eq!(refused.kind, StorageErrorKind::Refused);
    }
}
