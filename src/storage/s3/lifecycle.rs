//! What the bucket itself does with uploads that nobody finished.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule};

use super::S3Store;
use super::errors::worded;
use crate::storage::Bucket;

impl S3Store {
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
