//! What is known of a bucket: its region, and what it does with uploads that nobody finished.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule};

use super::S3Store;
use super::errors::{Call, region_header, worded};
use crate::storage::regions::BucketRegions;
use crate::storage::{Bucket, Operation, StorageError};

impl S3Store {
    /// Says whether buckets in other regions are asked there.
    pub(crate) const fn follows_regions(&self) -> bool {
        self.follow_regions
    }

    /// Returns the configured region.
    pub(crate) fn region(&self) -> &str {
        self.base.region.as_ref()
    }

    /// Returns what the process knows of buckets in other regions.
    pub(in crate::storage) fn bucket_regions(&self) -> &BucketRegions {
        &self.base.bucket_regions
    }

    /// Returns the same store, which asks in another region.
    #[must_use]
    pub(crate) fn within_region(&self, region: &str) -> Self {
        let config = self.client.config().to_builder();
        let config = config.region(Region::new(region.to_owned())).build();
        Self {
            client: Client::from_conf(config),
            ..self.clone()
        }
    }

    /// Asks in which region a bucket is; `None` = the store does not say.
    ///
    /// # Errors
    /// It does not say, and refuses.
    pub async fn bucket_region(&self, bucket: &Bucket) -> Result<Option<Box<str>>, StorageError> {
        let call = Call {
            operation: Operation::CheckBucket,
            bucket: Some(bucket),
            key: None,
        };
        let request = self.client.head_bucket().bucket(bucket.as_str());
        match request.send().await {
            Ok(answer) => Ok(answer.bucket_region().map(Into::into)),
            Err(error) => match region_header(&error) {
                Some(region) => Ok(Some(region.into())),
                None => Err(call.failed(&error)),
            },
        }
    }

    /// Returns after how many days the bucket aborts unfinished uploads below a prefix; `None` = it
    /// never does.
    ///
    /// # Errors
    /// The rules cannot be read; says why in words for the operator.
    pub async fn aborts_uploads_after(
        &self,
        bucket: &Bucket,
        prefix: &str,
    ) -> Result<Option<i32>, String> {
        let answer = self
            .client
            .get_bucket_lifecycle_configuration()
            .bucket(bucket.as_str())
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer.rules().iter().filter_map(|r| days(r, prefix)).min()),
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Ok(None),
            Err(error) => Err(worded(&error)),
        }
    }
}

fn days(rule: &LifecycleRule, prefix: &str) -> Option<i32> {
    let days = rule
        .abort_incomplete_multipart_upload()?
        .days_after_initiation()?;
    #[expect(
        deprecated,
        reason = "older rules keep their prefix outside of the filter"
    )]
    let outside = rule.prefix();
    let filtered = rule.filter().and_then(|filter| filter.prefix());
    // An upload has no tags and no size yet, so that a rule that asks for them is not about it.
    let about_uploads = rule.filter().is_none_or(|filter| {
        filter.tag().is_none()
            && filter.and().is_none()
            && filter.object_size_greater_than().is_none()
            && filter.object_size_less_than().is_none()
    });
    let covers = |of_rule: Option<&str>| of_rule.is_none_or(|of_rule| prefix.starts_with(of_rule));
    let enabled = *rule.status() == ExpirationStatus::Enabled;
    (enabled && about_uploads && covers(outside) && covers(filtered)).then_some(days)
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{AbortIncompleteMultipartUpload, LifecycleRuleFilter, Tag};

    use super::*;

    fn rule(status: ExpirationStatus, filter: LifecycleRuleFilter) -> LifecycleRule {
        let abort = AbortIncompleteMultipartUpload::builder();
        LifecycleRule::builder()
            .status(status)
            .filter(filter)
            .abort_incomplete_multipart_upload(abort.days_after_initiation(7).build())
            .build()
            .unwrap()
    }

    #[test]
    fn a_rule_counts_where_it_holds() {
        let filter = LifecycleRuleFilter::builder;
        let tag = Tag::builder().key("k").value("v").build().unwrap();
        let on = ExpirationStatus::Enabled;
        for (rule, expected) in [
            (rule(on.clone(), filter().build()), Some(7)),
            (rule(on.clone(), filter().prefix("").build()), Some(7)),
            (rule(on.clone(), filter().prefix("home/").build()), Some(7)),
            (rule(on.clone(), filter().prefix("logs/").build()), None),
            (rule(on, filter().tag(tag).build()), None),
            (rule(ExpirationStatus::Disabled, filter().build()), None),
        ] {
            assert_eq!(days(&rule, "home/ann/"), expected, "{rule:?}");
        }
    }
}
