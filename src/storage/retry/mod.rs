//! What becomes of a call that failed and may succeed a little later: the one place that decides
//! whether it is tried again, and when.
//!
//! Calls are repeated by time, not by count. Each has one deadline for all its tries, by what it is
//! for ([`Patience`]): seconds for a look, minutes for what is under way. Between tries it waits
//! ever longer, at random, or as long as the store asks for. All calls of the process to one store
//! are repeated so often in a second and no more; a retry that finds that used up waits once more:
//! an outage of one store holds no retry of another back. What changes a key is repeated by the
//! caller, after checking the key.

use std::sync::Arc;

use async_trait::async_trait;

pub use self::policy::{Patience, RetrySettings, may_be_repeated};
pub use self::tries::{Retries, RetryObserver, Tries};
use super::credentials::{Grant, Opened, Stores};
use super::layer::{About, Layer};
use super::{
    Bucket, Capabilities, ObjectStore, Operation, Result, SharedStore, StorageError,
    StorageErrorKind,
};
use crate::clock::{Clock, within};
use crate::refusal::Refusal;

mod policy;
mod tries;

/// Repeats what failed.
#[derive(Debug, Clone)]
pub struct Retrying {
    inner: SharedStore,
    retries: Retries,
    /// The least that every call has.
    patience: Patience,
}

impl Retrying {
    /// Has the calls of a store repeated, each as its kind deserves.
    #[must_use]
    pub const fn new(inner: SharedStore, retries: Retries) -> Self {
        Self {
            inner,
            retries,
            patience: Patience::Look,
        }
    }

    /// Returns the number of the store that serves a bucket.
    fn number(&self, bucket: &Bucket) -> u16 {
        self.inner.capabilities(bucket).store
    }
}

impl Layer for Retrying {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let operation = about.operation;
        let patience = match (Patience::of(operation), self.patience) {
            (None, _) => return run(self.inner.clone()).await,
            (Some(own), Patience::Look) => own,
            (Some(_), Patience::UnderWay) => Patience::UnderWay,
        };
        let clock = self.retries.clock();
        let store = about.bucket.map_or(0, |bucket| self.number(bucket));
        let mut tries = Tries::new(&self.retries, patience, operation, store);
        loop {
            let call = run(self.inner.clone());
            let outcome = match tries.cut_after(clock.now()) {
                Some(left) => within(clock, left, call)
                    .await
                    .unwrap_or_else(|| Err(unanswered(about))),
                None => call.await,
            };
            match outcome {
                Err(mut error) if may_be_repeated(error.kind) => {
                    if !tries.again_after(clock, &mut error).await {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
    }

    fn patient(&self) -> Option<SharedStore> {
        Some(Arc::new(Self {
            patience: Patience::UnderWay,
            ..self.clone()
        }))
    }

    fn tries(&self, operation: Operation, bucket: &Bucket) -> Option<Tries> {
        let (patience, store) = (Patience::UnderWay, self.number(bucket));
        Some(Tries::new(&self.retries, patience, operation, store))
    }
}

/// A look whose time was over before the store answered.
fn unanswered(about: About<'_>) -> StorageError {
    StorageError::new(
        StorageErrorKind::Unavailable,
        format!("{about}: no answer in time"),
    )
}

/// Returns the store for calls on which something depends that is under way: they are all repeated
/// for minutes.
#[must_use]
pub fn patient(store: &SharedStore) -> SharedStore {
    store.patient().unwrap_or_else(|| store.clone())
}

/// Begins the tries of what is under way in a bucket and is repeated by its caller.
#[must_use]
pub fn tries(
    store: &dyn ObjectStore,
    operation: Operation,
    bucket: &Bucket,
    clock: &dyn Clock,
) -> Tries {
    let tries = store.tries(operation, bucket);
    tries.unwrap_or_else(|| Tries::alone(operation, clock.now()))
}

/// Opens stores whose calls are repeated.
#[derive(Debug)]
pub struct Persistent {
    stores: Arc<dyn Stores>,
    retries: Retries,
}

impl Persistent {
    #[must_use]
    pub const fn new(stores: Arc<dyn Stores>, retries: Retries) -> Self {
        Self { stores, retries }
    }
}

#[async_trait]
impl Stores for Persistent {
    async fn open(&self, grant: Grant<'_>) -> std::result::Result<Opened, Refusal> {
        let Opened { store, role } = self.stores.open(grant).await?;
        let store = Arc::new(Retrying::new(store, self.retries.clone()));
        Ok(Opened { store, role })
    }

    fn name_of(&self, bucket: &Bucket) -> Option<Bucket> {
        self.stores.name_of(bucket)
    }
}

#[cfg(test)]
mod tests;
