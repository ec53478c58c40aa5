//! A store that notes every call on its way.

use std::sync::{Mutex, PoisonError};

use crate::storage::layer::{About, Layer};
use crate::storage::{Bucket, Capabilities, Operation, Result, SharedStore};

/// One call, as IAM sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) operation: Operation,
    /// `s3://bucket/key`; of a listing the prefix, of all buckets `s3://`.
    pub(super) place: String,
}

/// Passes every call on.
#[derive(Debug)]
pub(super) struct Recording {
    inner: SharedStore,
    calls: Mutex<Vec<Recorded>>,
}

impl Recording {
    pub(super) fn new(inner: SharedStore) -> Self {
        Self {
            inner,
            calls: Mutex::default(),
        }
    }

    /// Takes out what was called since.
    pub(super) fn calls(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Layer for Recording {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let call = Recorded {
            operation: about.operation,
            place: match about.bucket {
                Some(bucket) => format!("s3://{bucket}/{}", about.key),
                None => "s3://".to_owned(),
            },
        };
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
        run(self.inner.clone()).await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
    }
}
