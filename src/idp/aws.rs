//! Who the gateway is to AWS when it asks an identity provider there.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_http_client::tls;
use tokio::sync::{Mutex, OnceCell};

use crate::clock::{Clock as _, SystemClock};
pub use crate::storage::s3::Credentials;

/// Credentials are fetched anew this long before they end.
const RENEWAL_BEFORE_END: Duration = Duration::from_secs(300);

/// The keys of one identity, found when they are first needed.
#[derive(Debug)]
pub(super) struct Keys {
    source: Credentials,
    provider: OnceCell<SharedCredentialsProvider>,
    held: Mutex<Option<aws_credential_types::Credentials>>,
}

impl Keys {
    pub(super) fn new(source: Credentials) -> Self {
        Self {
            source,
            provider: OnceCell::new(),
            held: Mutex::default(),
        }
    }

    /// Returns where the keys come from, for a client that keeps them itself.
    pub(super) async fn provider(
        &self,
        region: &str,
    ) -> Result<SharedCredentialsProvider, CredentialsError> {
        let provider = self.provider.get_or_try_init(|| self.find(region)).await?;
        Ok(provider.clone())
    }

    /// Returns keys that are valid now.
    pub(super) async fn current(
        &self,
        region: &str,
    ) -> Result<aws_credential_types::Credentials, CredentialsError> {
        let mut held = self.held.lock().await;
        let now = SystemClock.wall();
        let lasts = |keys: &aws_credential_types::Credentials, margin: Duration| {
            keys.expiry().is_none_or(|end| now + margin < end)
        };
        if let Some(keys) = held.as_ref().filter(|keys| lasts(keys, RENEWAL_BEFORE_END)) {
            return Ok(keys.clone());
        }
        match self.provider(region).await?.provide_credentials().await {
            Ok(keys) => {
                *held = Some(keys.clone());
                Ok(keys)
            }
            Err(error) => {
                let old = held.as_ref().filter(|keys| lasts(keys, Duration::ZERO));
                old.cloned().ok_or(error)
            }
        }
    }

    async fn find(&self, region: &str) -> Result<SharedCredentialsProvider, CredentialsError> {
        match &self.source {
            Credentials::Static {
                access_key,
                secret_key,
                session_token,
            } => {
                let token = session_token
                    .as_ref()
                    .map(|token| token.expose().to_owned());
                Ok(SharedCredentialsProvider::new(
                    aws_credential_types::Credentials::new(
                        access_key,
                        secret_key.expose(),
                        token,
                        None,
                        "static",
                    ),
                ))
            }
            Credentials::DefaultChain => {
                // With the system's roots: these calls go to AWS, not to the provider.
                let http = aws_smithy_http_client::Builder::new()
                    .tls_provider(tls::Provider::Rustls(
                        tls::rustls_provider::CryptoMode::AwsLc,
                    ))
                    .build_https();
                aws_config::defaults(BehaviorVersion::latest())
                    .http_client(http)
                    .region(Region::new(region.to_owned()))
                    .load()
                    .await
                    .credentials_provider()
                    .ok_or_else(|| CredentialsError::not_loaded("no source of credentials"))
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

    #[tokio::test]
    async fn keys_of_the_configuration_are_used_and_not_shown() {
        let keys = Keys::new(Credentials::Static {
            access_key: "AKID".to_owned(),
            secret_key: Secret::new("walnut-39".to_owned()),
            session_token: Some(Secret::new("hazel-7".to_owned())),
        });
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
