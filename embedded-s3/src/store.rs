//! Buckets, objects and the locks that make conditional writes atomic.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use s3s::{S3Result, s3_error};

use crate::blocks::Blocks;
use crate::checksum::Checksum;
use crate::conditions::now;
use crate::multipart::Upload;
use crate::properties::Properties;
use crate::versions::Versions;

/// All buckets of one server.
#[derive(Debug, Default)]
pub(crate) struct Store {
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    serial: AtomicU64,
}

impl Store {
    pub(crate) fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets
            .get(name)
            .cloned()
            .ok_or_else(|| s3_error!(NoSuchBucket))
    }

    pub(crate) fn create(&self, name: &str) -> S3Result<()> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        match buckets.entry(name.to_owned()) {
            Entry::Occupied(_) => Err(s3_error!(BucketAlreadyOwnedByYou)),
            Entry::Vacant(free) => {
                free.insert(Bucket::empty());
                Ok(())
            }
        }
    }

    pub(crate) fn bucket_or_new(&self, name: &str) -> Arc<Bucket> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(buckets.entry(name.to_owned()).or_insert_with(Bucket::empty))
    }

    pub(crate) fn remove(&self, name: &str) -> S3Result<()> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(name).ok_or_else(|| s3_error!(NoSuchBucket))?;
        if !bucket.lock().objects.is_empty() {
            return Err(s3_error!(BucketNotEmpty));
        }
        buckets.remove(name);
        Ok(())
    }

    pub(crate) fn names(&self) -> Vec<(String, SystemTime)> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets
            .iter()
            .map(|(name, bucket)| (name.clone(), bucket.created))
            .collect()
    }

    /// Returns a number never returned before, for entity tags and upload ids.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// One bucket; everything in it changes under one lock, which is never held across an await.
#[derive(Debug)]
pub(crate) struct Bucket {
    created: SystemTime,
    contents: Mutex<Contents>,
}

impl Bucket {
    fn empty() -> Arc<Self> {
        Arc::new(Self {
            created: now(),
            contents: Mutex::default(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn object(&self, key: &str) -> S3Result<Arc<Object>> {
        self.lock()
            .objects
            .get(key)
            .cloned()
            .ok_or_else(|| s3_error!(NoSuchKey))
    }
}

/// What a bucket holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// By exact key; the order of `String` is the UTF-8 byte order S3 lists in.
    pub(crate) objects: BTreeMap<String, Arc<Object>>,
    /// By key and upload id.
    pub(crate) uploads: BTreeMap<(String, String), Upload>,
    pub(crate) versions: Versions,
}

/// An object, immutable once written: a reader keeps what it began to read.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) body: Blocks,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
    pub(crate) properties: Properties,
    pub(crate) checksum: Option<Checksum>,
    /// Of the parts that it was made of; empty for an object that came in one.
    pub(crate) part_sizes: Vec<u64>,
    /// None where the bucket keeps no versions.
    pub(crate) version_id: Option<String>,
}
