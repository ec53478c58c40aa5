//! In which regions buckets are, where S3 said that it is not the configured one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::Bucket;
use crate::clock::{Clock as _, SystemClock};
use crate::limits::{BUCKET_REGIONS_MAX, LOG_INTERVAL, REGION_BYTES_MAX};
use crate::seldom::Seldom;

/// What the process has learnt; the oldest is forgotten first.
#[derive(Debug, Default)]
pub(super) struct BucketRegions {
    learnt: Mutex<Learnt>,
    /// A user who walks over foreign buckets could write one line for each.
    line: Seldom,
}

#[derive(Debug, Default)]
struct Learnt {
    regions: HashMap<Bucket, Arc<str>>,
    /// The same buckets, the oldest first.
    order: VecDeque<Bucket>,
}

impl BucketRegions {
    /// Returns the region of a bucket, if it is another than the configured one.
    pub(super) fn of(&self, bucket: &Bucket) -> Option<Arc<str>> {
        let learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        learnt.regions.get(bucket).cloned()
    }

    /// Says in the log that a bucket is elsewhere.
    pub(super) fn log(&self, bucket: &Bucket, region: &str) {
        if let Some(unlogged) = self.line.due(SystemClock.now(), LOG_INTERVAL) {
            tracing::info!(%bucket, region, unlogged, "bucket is in another region: retrying there");
        }
    }

    /// Remembers a region; says whether that is new.
    pub(super) fn remember(&self, bucket: &Bucket, region: Arc<str>) -> bool {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = learnt.regions.get_mut(bucket) {
            let new = *known != region;
            *known = region;
            return new;
        }
        if learnt.order.len() >= BUCKET_REGIONS_MAX
            && let Some(oldest) = learnt.order.pop_front()
        {
            drop(learnt.regions.remove(&oldest));
        }
        learnt.order.push_back(bucket.clone());
        drop(learnt.regions.insert(bucket.clone(), region));
        true
    }
}

/// Says whether a text can be the name of a region: it becomes part of a host name.
pub(super) fn is_region(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.len() <= REGION_BYTES_MAX && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_remembered_and_the_oldest_is_forgotten() {
        let regions = BucketRegions::default();
        let bucket = |n: usize| Bucket::parse(&format!("bucket-{n}")).unwrap();
        for n in 0..=BUCKET_REGIONS_MAX {
            assert!(regions.remember(&bucket(n), "eu-west-1".into()));
        }
        assert_eq!(regions.of(&bucket(0)), None);
        assert_eq!(regions.of(&bucket(1)).as_deref(), Some("eu-west-1"));
        assert!(!regions.remember(&bucket(1), "eu-west-1".into()));
        assert!(regions.remember(&bucket(1), "us-west-2".into()));
        assert_eq!(regions.of(&bucket(1)).as_deref(), Some("us-west-2"));
    }

    #[test]
    fn only_what_can_stand_in_a_host_name_is_a_region() {
        for good in ["eu-west-1", "us-gov-east-1", "cn-north-1"] {
            assert!(is_region(good), "{good}");
        }
        let long = "a".repeat(REGION_BYTES_MAX + 1);
        for bad in ["", "eu.west", "evil.example/", "EU", "a b", &*long] {
            assert!(!is_region(bad), "{bad}");
        }
    }
}
