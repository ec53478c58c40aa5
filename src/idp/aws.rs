//! Who the gateway is to AWS when it asks an identity provider there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::Region;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_http_client::Builder;
use tokio::sync::OnceCell;

use crate::aws::{self, Credentials, Trust};
use crate::clock::{Clock as _, SystemClock};
use crate::limits;
use crate::refreshing::{Refreshing, Schedule, Source};

/// Credentials are fetched again this long before they expire.
const RENEWAL_BEFORE_END: Duration = Duration::from_secs(300);
/// Those of the AWS chain that do not say when they expire are fetched again after so long: a
/// command that prints them may print others by then.
const RENEWAL_WITHOUT_END: Duration = Duration::from_secs(900);

/// The keys of one identity in a region, found when they are first needed.
#[derive(Debug)]
pub(super) struct Keys(Refreshing<Found>);

#[derive(Debug)]
struct Found {
    source: Credentials,
    region: String,
    /// Time to find keys.
    patience: Duration,
    provider: OnceCell<SharedCredentialsProvider>,
}

impl Keys {
    pub(super) fn new(source: Credentials, region: &str) -> Self {
        Self::of(Found {
            source,
            region: region.to_owned(),
            patience: limits::AWS_CHAIN_WAIT,
            provider: OnceCell::new(),
        })
    }

    fn of(found: Found) -> Self {
        Self(Refreshing::new(
            found,
            Duration::ZERO,
            Arc::new(SystemClock),
        ))
    }

    /// Returns keys that are valid now.
    pub(super) async fn current(
        &self,
    ) -> Result<aws_credential_types::Credentials, Arc<CredentialsError>> {
        self.0.get().await.map(|held| held.value)
    }
}

#[async_trait]
impl Source for Found {
    type Value = aws_credential_types::Credentials;
    type Error = Arc<CredentialsError>;

    async fn fetch(&self) -> Result<(Self::Value, Schedule), Self::Error> {
        let found = async { self.provider().await?.provide_credentials().await };
        let keys = tokio::time::timeout(self.patience, found)
            .await
            .unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(self.patience)))?;
        let schedule = match &self.source {
            Credentials::Static(_) => Schedule::LASTING,
            Credentials::DefaultChain => schedule(&keys),
        };
        Ok((keys, schedule))
    }

    fn broken(why: &str) -> Self::Error {
        Arc::new(CredentialsError::unhandled(why.to_owned()))
    }
}

impl Found {
    async fn provider(&self) -> Result<SharedCredentialsProvider, CredentialsError> {
        let provider = self.provider.get_or_try_init(|| self.find()).await?;
        Ok(provider.clone())
    }

    async fn find(&self) -> Result<SharedCredentialsProvider, CredentialsError> {
        match &self.source {
            Credentials::Static(key) => Ok(SharedCredentialsProvider::new(key.clone())),
            Credentials::DefaultChain => {
                // With the system's roots: these calls go to AWS, not to the provider.
                let http = aws::https(Builder::new(), Trust::System)
                    .map_err(CredentialsError::invalid_configuration)?;
                let found = aws::default_chain(&http, Region::new(self.region.clone())).await;
                found.ok_or_else(|| CredentialsError::not_loaded("no source of credentials"))
            }
        }
    }
}

fn schedule(keys: &aws_credential_types::Credentials) -> Schedule {
    let now = SystemClock.now();
    let Some(end) = keys.expiry() else {
        return Schedule::renewed_after(now, RENEWAL_WITHOUT_END);
    };
    let left = end.duration_since(SystemClock.wall()).unwrap_or_default();
    Schedule::after(now, left.saturating_sub(RENEWAL_BEFORE_END), left)
}

/// Returns the region that a full ARN names.
pub(super) fn region_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let is_arn = parts.next() == Some("arn");
    parts.nth(2).filter(|region| is_arn && !region.is_empty())
}

/// Returns the domain that AWS's endpoints of a region are in: each partition has its own.
pub(super) fn dns_suffix(region: &str) -> &'static str {
    const OTHERS: &[(&str, &str)] = &[
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
    ];
    let mut others = OTHERS.iter();
    let found = others.find(|(begin, _)| region.starts_with(begin));
    found.map_or("amazonaws.com", |(_, suffix)| suffix)
}

/// Returns the region of AWS's own name of an API: `ID.execute-api.REGION.amazonaws.com`, or that
/// of a private one, `ID-VPCE.execute-api.REGION.…` or `VPCE.execute-api.REGION.vpce.…`.
pub(super) fn region_of_api(host: &str) -> Option<&str> {
    let (_, rest) = host.split_once(".execute-api.")?;
    let (region, rest) = rest.split_once('.')?;
    let is_aws = rest.ends_with("amazonaws.com") || rest.ends_with("amazonaws.com.cn");
    (is_aws && !region.is_empty()).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::AccessKey;
    use crate::secret::Secret;

    #[test]
    fn regions_stand_in_names() {
        for (arn, region) in [
            (
                "arn:aws:lambda:eu-west-1:123456789012:function:idp",
                Some("eu-west-1"),
            ),
            (
                "arn:aws-cn:lambda:cn-north-1:123456789012:function:idp:live",
                Some("cn-north-1"),
            ),
            ("123456789012:function:idp", None),
            ("idp", None),
            ("arn:aws:iam::123456789012:role/x", None),
        ] {
            assert_eq!(region_of_arn(arn), region, "{arn}");
        }
        for (host, region) in [
            ("abc.execute-api.us-east-1.amazonaws.com", Some("us-east-1")),
            (
                "abc-vpce-1.execute-api.eu-west-1.amazonaws.com",
                Some("eu-west-1"),
            ),
            (
                "vpce-1-2.execute-api.eu-west-1.vpce.amazonaws.com",
                Some("eu-west-1"),
            ),
            (
                "abc.execute-api.cn-north-1.amazonaws.com.cn",
                Some("cn-north-1"),
            ),
            ("login.example.com", None),
            ("abc.execute-api.us-east-1.example.com", None),
        ] {
            assert_eq!(region_of_api(host), region, "{host}");
        }
    }

    #[test]
    fn keys_that_do_not_say_when_they_expire_are_fetched_again() {
        let undated = aws_credential_types::Credentials::new("id", "x", None, None, "test");
        let now = SystemClock.now();
        let schedule = schedule(&undated);
        let past = |age: Duration| schedule.is_due(now + age);
        assert!(!past(RENEWAL_WITHOUT_END - Duration::from_secs(60)));
        assert!(past(RENEWAL_WITHOUT_END + Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn a_chain_that_does_not_answer_is_given_up() {
        let slow = SharedCredentialsProvider::new(Slow(Duration::from_secs(3_600)));
        let keys = Keys::of(Found {
            source: Credentials::DefaultChain,
            region: "us-east-1".to_owned(),
            patience: Duration::from_millis(50),
            provider: OnceCell::new_with(Some(slow)),
        });
        let error = keys.current().await.unwrap_err();
        let timed_out = matches!(*error, CredentialsError::ProviderTimedOut(_));
        assert!(timed_out, "{error:?}");
    }

    /// Gives keys that last so long, after a while.
    #[derive(Debug)]
    struct Slow(Duration);

    impl aws_credential_types::provider::ProvideCredentials for Slow {
        fn provide_credentials<'a>(
            &'a self,
        ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            aws_credential_types::provider::future::ProvideCredentials::new(async {
                tokio::time::sleep(self.0).await;
                Ok(lasting("new", 3_600))
            })
        }
    }

    fn lasting(id: &str, seconds: u64) -> aws_credential_types::Credentials {
        let end = SystemClock.wall() + Duration::from_secs(seconds);
        aws_credential_types::Credentials::new(id, "x", None, Some(end), "test")
    }

    #[tokio::test]
    async fn while_keys_are_valid_nobody_waits_long_for_new_ones() {
        let keys = Keys::new(Credentials::DefaultChain, "us-east-1");
        let slow = SharedCredentialsProvider::new(Slow(Duration::from_millis(2_000)));
        keys.0.source().provider.set(slow).unwrap();
        let hold = |credentials| {
            let schedule = schedule(&credentials);
            keys.0.hold(credentials, schedule);
        };
        hold(lasting("old", 60));
        let id = async || {
            let found = keys.current().await.unwrap();
            found.access_key_id().to_owned()
        };
        let began = SystemClock.now();
        let (mine, others) = tokio::join!(id(), async {
            tokio::task::yield_now().await;
            (id().await, began.elapsed())
        });
        assert_eq!((&*mine, &*others.0), ("old", "old"));
        let (mine, others) = (began.elapsed(), others.1);
        assert!(
            others < Duration::from_millis(500),
            "nobody waits for another"
        );
        assert!(mine < Duration::from_millis(1_700), "{mine:?}");
        // What was begun goes on.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(id().await, "new");
        // Without valid ones everybody waits, for one refresh.
        hold(lasting("over", 0));
        let began = SystemClock.now();
        let both = tokio::join!(id(), id());
        assert_eq!((&*both.0, &*both.1), ("new", "new"));
        assert!(began.elapsed() < Duration::from_millis(3_500));
    }

    #[tokio::test]
    async fn keys_of_the_configuration_are_used_and_not_shown() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let key = AccessKey::new("AKID", &secret("walnut-39"), Some(&secret("hazel-7")));
        let keys = Keys::new(Credentials::Static(key), "us-east-1");
        let found = keys.current().await.unwrap();
        assert_eq!(found.access_key_id(), "AKID");
        assert_eq!(found.session_token(), Some("hazel-7"));
        let shown = format!("{keys:?}");
        assert!(
            !shown.contains("walnut-39") && !shown.contains("hazel-7"),
            "{shown}"
        );
    }
}
