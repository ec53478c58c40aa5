//! Asks each bucket in its own region.
//!
//! Of AWS's endpoints each serves the buckets of its region, and refuses others without doing
//! anything: the region that it names is remembered for the whole process, and the call is made
//! again there, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::layer::{About, Layer};
use super::regions::is_region;
use super::s3::S3Store;
use super::{Bucket, Capabilities, Result, SharedStore, StorageError};

/// A store whose calls go to the regions of their buckets.
#[derive(Debug)]
pub(crate) struct Regional {
    store: S3Store,
    /// The same in the configured region.
    here: SharedStore,
    /// The same in others.
    elsewhere: Mutex<HashMap<Arc<str>, SharedStore>>,
}

impl Regional {
    /// Puts the layer before a store, where its endpoints are AWS's own.
    pub(crate) fn before(store: S3Store) -> SharedStore {
        if !store.follows_regions() {
            return Arc::new(store);
        }
        Arc::new(Self {
            here: Arc::new(store.clone()),
            store,
            elsewhere: Mutex::default(),
        })
    }

    /// Returns the store that asks in a region.
    fn within(&self, region: Option<&Arc<str>>) -> SharedStore {
        let region = region.filter(|region| ***region != *self.store.region());
        let Some(region) = region else {
            return Arc::clone(&self.here);
        };
        let mut elsewhere = self
            .elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = elsewhere.get(region).cloned();
        there.unwrap_or_else(|| {
            let there: SharedStore = Arc::new(self.store.within_region(region));
            if elsewhere.len() >= REGIONS_MAX {
                elsewhere.clear();
            }
            drop(elsewhere.insert(Arc::clone(region), Arc::clone(&there)));
            there
        })
    }

    /// Returns the region that the bucket is in instead of `asked`, where a refusal says so.
    async fn other_region(
        &self,
        bucket: &Bucket,
        asked: Option<&Arc<str>>,
        error: &StorageError,
    ) -> Option<Arc<str>> {
        let named = match error.elsewhere.as_deref()? {
            "" => self.store.bucket_region(bucket).await.ok()??,
            named => named.into(),
        };
        let asked = match asked {
            Some(asked) => &**asked,
            None => self.store.region(),
        };
        (is_region(&named) && *named != *asked).then(|| Arc::from(named))
    }
}

impl Layer for Regional {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let Some(bucket) = about.bucket else {
            return run(Arc::clone(&self.here)).await;
        };
        let regions = self.store.bucket_regions();
        let known = regions.of(bucket);
        let error = match run(self.within(known.as_ref())).await {
            Err(error) if error.elsewhere.is_some() => error,
            outcome => return outcome,
        };
        let other = self.other_region(bucket, known.as_ref(), &error).await;
        let Some(region) = other else {
            return Err(error);
        };
        if regions.remember(bucket, Arc::clone(&region)) {
            regions.log(bucket, &region);
        }
        run(self.within(Some(&region))).await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.here.capabilities(bucket)
    }
}

/// Of AWS there are a few dozen.
const REGIONS_MAX: usize = 64;
