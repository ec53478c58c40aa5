//! Who the gateway is to AWS when it asks an identity provider there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::Region;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_http_client::Builder;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use crate::aws::{self, Credentials, Trust};
use crate::clock::{Clock as _, SystemClock};
use crate::limits;
use crate::tasks::spawn_tracked;

/// Credentials are fetched again this long before they expire.
const RENEWAL_BEFORE_END: Duration = Duration::from_secs(300);

/// The keys of one identity, found when they are first needed.
#[derive(Debug)]
pub(super) struct Keys {
    found: Arc<Found>,
    /// Whoever holds it gets new keys.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Getting new ones goes on when the login that began it waits no longer.
    refreshes: TaskTracker,
}

#[derive(Debug)]
struct Found {
    source: Credentials,
    provider: OnceCell<SharedCredentialsProvider>,
    held: Mutex<Option<aws_credential_types::Credentials>>,
}

impl Keys {
    pub(super) fn new(source: Credentials) -> Self {
        let found = Found {
            source,
            provider: OnceCell::new(),
            held: Mutex::default(),
        };
        Self {
            found: Arc::new(found),
            turn: Arc::default(),
            refreshes: TaskTracker::new(),
        }
    }

    /// Returns where the keys come from, for a client that keeps them itself.
    pub(super) async fn provider(
        &self,
        region: &str,
    ) -> Result<SharedCredentialsProvider, CredentialsError> {
        self.found.provider(region).await
    }

    /// Returns keys that are valid now. While there are some, nobody waits for somebody else to get
    /// new ones, and the request that fetches them waits a moment.
    pub(super) async fn current(
        &self,
        region: &str,
    ) -> Result<aws_credential_types::Credentials, CredentialsError> {
        if let Some(keys) = self.found.lasting(RENEWAL_BEFORE_END) {
            return Ok(keys);
        }
        let Some(old) = self.found.lasting(Duration::ZERO) else {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            return match self.found.lasting(Duration::ZERO) {
                // Somebody got them meanwhile.
                Some(keys) => Ok(keys),
                None => self.refreshed(region, turn).await,
            };
        };
        let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() else {
            return Ok(old);
        };
        let refreshed = self.refreshed(region, turn);
        match tokio::time::timeout(limits::KEYS_WAIT, refreshed).await {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(_)) | Err(_) => Ok(old),
        }
    }

    async fn refreshed(
        &self,
        region: &str,
        turn: tokio::sync::OwnedMutexGuard<()>,
    ) -> Result<aws_credential_types::Credentials, CredentialsError> {
        let (found, region) = (Arc::clone(&self.found), region.to_owned());
        let refresh = async move {
            let keys = found.refresh(&region).await;
            drop(turn);
            keys
        };
        let refreshed = spawn_tracked(&self.refreshes, refresh).await;
        refreshed.unwrap_or_else(|panic| Err(CredentialsError::unhandled(panic)))
    }
}

impl Found {
    /// Returns the keys at hand, if they last so long.
    fn lasting(&self, margin: Duration) -> Option<aws_credential_types::Credentials> {
        let now = SystemClock.wall();
        let lasts = |keys: &&aws_credential_types::Credentials| {
            keys.expiry().is_none_or(|end| now + margin < end)
        };
        self.held().as_ref().filter(lasts).cloned()
    }

    async fn refresh(
        &self,
        region: &str,
    ) -> Result<aws_credential_types::Credentials, CredentialsError> {
        let keys = self.provider(region).await?.provide_credentials().await?;
        *self.held() = Some(keys.clone());
        Ok(keys)
    }

    fn held(&self) -> MutexGuard<'_, Option<aws_credential_types::Credentials>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn provider(&self, region: &str) -> Result<SharedCredentialsProvider, CredentialsError> {
        let provider = self.provider.get_or_try_init(|| self.find(region)).await?;
        Ok(provider.clone())
    }

    async fn find(&self, region: &str) -> Result<SharedCredentialsProvider, CredentialsError> {
        match &self.source {
            Credentials::Static(key) => Ok(SharedCredentialsProvider::new(key.clone())),
            Credentials::DefaultChain => {
                // With the system's roots: these calls go to AWS, not to the provider.
                let http = aws::https(Builder::new(), Trust::System)
                    .map_err(CredentialsError::invalid_configuration)?;
                let found = aws::default_chain(&http, Region::new(region.to_owned())).await;
                found.ok_or_else(|| CredentialsError::not_loaded("no source of credentials"))
            }
        }
    }
}

/// Returns the region that a full ARN names.
pub(super) fn region_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let is_arn = parts.next() == Some("arn");
    parts.nth(2).filter(|region| is_arn && !region.is_empty())
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
        let keys = Keys::new(Credentials::DefaultChain);
        let slow = SharedCredentialsProvider::new(Slow(Duration::from_millis(2_000)));
        keys.found.provider.set(slow).unwrap();
        *keys.found.held() = Some(lasting("old", 60));
        let id = async || {
            let found = keys.current("us-east-1").await.unwrap();
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
        *keys.found.held() = None;
        let began = SystemClock.now();
        let both = tokio::join!(id(), id());
        assert_eq!((&*both.0, &*both.1), ("new", "new"));
        assert!(began.elapsed() < Duration::from_millis(3_500));
    }

    #[tokio::test]
    async fn keys_of_the_configuration_are_used_and_not_shown() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let key = AccessKey::new("AKID", &secret("walnut-39"), Some(&secret("hazel-7")));
        let keys = Keys::new(Credentials::Static(key));
        let found = keys.current("us-east-1").await.unwrap();
        assert_eq!(found.access_key_id(), "AKID");
        assert_eq!(found.session_token(), Some("hazel-7"));
        let shown = format!("{keys:?}");
        assert!(
            !shown.contains("walnut-39") && !shown.contains("hazel-7"),
            "{shown}"
        );
    }
}
