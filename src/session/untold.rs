//! What S3 does not tell a session, so that it is asked once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::storage::Bucket;

/// Buckets whose objects do not tell the sizes of their parts to this session; they are not asked
/// again. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Untold(Arc<Mutex<BTreeSet<Bucket>>>);

impl Untold {
    pub(crate) fn has(&self, bucket: &Bucket) -> bool {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.contains(bucket)
    }

    /// Notes a bucket; `true`: it is the first time.
    pub(crate) fn note(&self, bucket: &Bucket) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= UNTOLD_MAX {
            buckets.pop_first();
        }
        buckets.insert(bucket.clone())
    }
}

/// Of the buckets of one session.
const UNTOLD_MAX: usize = 64;
