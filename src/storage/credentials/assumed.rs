//! `roles = "assume"`: STS gives each connection credentials of its user's role, narrowed by the
//! answer's session policy.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_config::identity::IdentityCache;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::types::Credentials;

use super::renewed::{Fresh, Renewal, Renewed};
use super::rotation::{KeyTold, Rotation};
use super::{
    AssumedRole, Grant, Opened, Stores, is_of_sts_name, role_missing, session_name, sts_errors,
};
use crate::aws::{AccessKey, ConnectError};
use crate::clock::Clock;
use crate::limits;
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;
use crate::storage::addressing::{Buckets, ByPath};
use crate::storage::metered::Meter;
use crate::storage::s3::S3Store;

/// What the operator decides about assuming roles.
#[derive(Debug, Clone, Default)]
pub struct StsSettings {
    /// `None` is AWS's own endpoint of the region.
    pub endpoint: Option<String>,
    /// `None` is that of the store.
    pub region: Option<String>,
    pub external_id: Option<String>,
    /// With [`USER_VARIABLE`] for the user's name.
    pub source_identity: Option<String>,
    pub duration: Duration,
    pub tags: Vec<Tag>,
    /// Keys of the tags that hold for roles assumed with the role as well.
    pub transitive_tags: Vec<String>,
    /// For one `AssumeRole` with its repetitions.
    pub timeout: Duration,
    /// Assumed when an answer names none.
    pub default_role: Option<Box<str>>,
    /// The gateway's name in session names.
    pub server_id: Box<str>,
    /// The same for answers of one provider.
    pub server_ids: Vec<(Box<str>, Box<str>)>,
}

/// A session tag; [`USER_VARIABLE`] in its value is the user's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// Asks STS once per connection, and again before its credentials end.
#[derive(Debug)]
pub struct Assumed {
    parts: Arc<Parts>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Parts {
    sts: aws_sdk_sts::Client,
    /// The same with a second key.
    next: Option<(aws_sdk_sts::Client, Rotation)>,
    store: S3Store,
    settings: StsSettings,
    meter: Meter,
    clock: Arc<dyn Clock>,
}

/// One connection's request, repeated at each renewal.
#[derive(Debug)]
struct Request {
    parts: Arc<Parts>,
    role: Box<str>,
    session_name: Box<str>,
    policy: Option<Box<str>>,
    source_identity: Option<String>,
    tags: Vec<Tag>,
    buckets: Buckets,
}

impl Assumed {
    /// Prepares the STS client, which has the store's own credentials.
    ///
    /// # Errors
    /// TLS to the endpoint cannot be set up.
    pub fn new(
        store: S3Store,
        settings: StsSettings,
        meter: Meter,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        Self::rotating(store, (None, "storage"), settings, meter, clock)
    }

    /// The same with a second key, for when STS no longer takes the first, and with the name of the
    /// section that has both.
    ///
    /// # Errors
    /// TLS to the endpoint cannot be set up.
    pub fn rotating(
        store: S3Store,
        (next, section): (Option<&AccessKey>, &str),
        settings: StsSettings,
        meter: Meter,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        let base = store.base();
        let region = settings.region.clone();
        let region = region.map_or_else(|| base.region.clone(), aws_config::Region::new);
        let attempt = settings.timeout / ATTEMPTS_MAX;
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(base.http_for(settings.endpoint.as_deref())?)
            .region(region)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(attempt)
                    .operation_timeout(settings.timeout)
                    .build(),
            );
        config.set_endpoint_url(settings.endpoint.clone());
        config.set_credentials_provider(base.own.clone());
        config.set_identity_cache(base.identity_cache());
        let config = config.build();
        let next = next.map(|next| {
            let second = config.to_builder().credentials_provider(next.clone());
            let second = second.identity_cache(IdentityCache::no_cache());
            let rotation = Rotation::new(section, &meter, Arc::clone(&clock));
            (aws_sdk_sts::Client::from_conf(second.build()), rotation)
        });
        let sts = aws_sdk_sts::Client::from_conf(config);
        let parts = Arc::new(Parts {
            sts,
            next,
            store,
            settings,
            meter,
            clock: Arc::clone(&clock),
        });
        Ok(Self { parts, clock })
    }
}

#[async_trait]
impl Stores for Assumed {
    async fn open(&self, grant: Grant<'_>) -> Result<Opened, Refusal> {
        let settings = &self.parts.settings;
        let role = grant.role.or(settings.default_role.as_deref());
        let role = role.ok_or_else(role_missing)?;
        let of_provider = |(provider, _): &&(Box<str>, Box<str>)| **provider == *grant.provider;
        let server_id = settings.server_ids.iter().find(of_provider);
        let server_id = server_id.map_or(&settings.server_id, |(_, id)| id);
        let request = Arc::new(Request {
            parts: Arc::clone(&self.parts),
            role: role.into(),
            session_name: session_name(grant.user, grant.session_id, server_id),
            policy: grant.policy.map(Into::into),
            source_identity: source_identity(settings, grant.user)?,
            tags: tags(&settings.tags, grant.user)?,
            buckets: grant.buckets,
        });
        let (fresh, expires_at) = request.assume().await?;
        let assumed = AssumedRole {
            role: request.role.clone(),
            session_name: request.session_name.clone(),
            expires_at,
        };
        Ok(Opened {
            store: Arc::new(Renewed::new(fresh, request, Arc::clone(&self.clock))),
            role: Some(Arc::new(assumed)),
        })
    }
}

#[async_trait]
impl Renewal for Request {
    async fn renew(&self) -> Result<Fresh, Refusal> {
        self.assume().await.map(|(fresh, _)| fresh)
    }
}

impl Request {
    async fn assume(&self) -> Result<(Fresh, SystemTime), Refusal> {
        let outcome = self.ask_with_either().await;
        let word = outcome
            .as_ref()
            .map_or_else(|refusal| refusal.reason.as_str(), |_| "done");
        self.parts.meter.role_asked(word);
        outcome
    }

    /// Asks with the key in use, and where STS does not take it with the other one.
    async fn ask_with_either(&self) -> Result<(Fresh, SystemTime), Refusal> {
        let first = &self.parts.sts;
        let Some((second, rotation)) = &self.parts.next else {
            return self.ask(first).await;
        };
        // Whatever else STS says, it says to a key that it knows.
        let told = |refusal: &Refusal| {
            if refusal.reason == Reason::StsCredentials {
                KeyTold::Unknown
            } else if refusal.reason == Reason::StsUnavailable {
                KeyTold::Nothing
            } else {
                KeyTold::Known
            }
        };
        rotation
            .either([first, second], |sts| self.ask(sts), told)
            .await
    }

    async fn ask(&self, sts: &aws_sdk_sts::Client) -> Result<(Fresh, SystemTime), Refusal> {
        let Parts {
            store,
            settings,
            meter,
            clock,
            ..
        } = &*self.parts;
        let seconds = i32::try_from(settings.duration.as_secs()).unwrap_or(i32::MAX);
        let mut call = sts
            .assume_role()
            .role_arn(&*self.role)
            .role_session_name(&*self.session_name)
            .duration_seconds(seconds)
            .set_external_id(settings.external_id.clone())
            .set_source_identity(self.source_identity.clone())
            .set_policy(self.policy.as_deref().map(ToOwned::to_owned));
        for Tag { key, value } in &self.tags {
            let tag = aws_sdk_sts::types::Tag::builder().key(key).value(value);
            let tag = tag
                .build()
                .map_err(|error| Reason::SessionTag.because(&format!("{key:?}: {error}")))?;
            call = call.tags(tag);
        }
        for key in &settings.transitive_tags {
            call = call.transitive_tag_keys(key);
        }
        let answer = call.send().await;
        let answer = answer.map_err(|error| sts_errors::refused(&error, &self.role))?;
        let credentials = answer
            .credentials
            .ok_or_else(|| Reason::StsAnswer.because("STS answered without credentials"))?;
        let expires_at = SystemTime::try_from(credentials.expiration)
            .map_err(|_| Reason::StsAnswer.because("STS returned an invalid expiry time"))?;
        let fresh = Fresh {
            store: meter.over(ByPath::before(with(store, credentials), &self.buckets)),
            lifetime: lifetime(expires_at, clock.wall()),
        };
        Ok((fresh, expires_at))
    }
}

/// Returns how long new credentials last. That they have ended already says that a clock is wrong:
/// then S3 decides, or each call would assume the role again.
fn lifetime(expires_at: SystemTime, now: SystemTime) -> Option<Duration> {
    let left = expires_at.duration_since(now).ok();
    let left = left.filter(|left| !left.is_zero());
    if left.is_none() {
        tracing::warn!(
            "new credentials have already expired by this machine's clock: check the clock"
        );
    }
    left
}

fn with(store: &S3Store, credentials: Credentials) -> S3Store {
    let secret_key = Secret::new(credentials.secret_access_key);
    let token = Secret::new(credentials.session_token);
    let key = AccessKey::new(&credentials.access_key_id, &secret_key, Some(&token));
    store.with_key(&key)
}

/// Fills the user's name in. A name that STS would not take is refused, not changed: permissions
/// may hang on it.
fn tags(tags: &[Tag], user: &str) -> Result<Vec<Tag>, Refusal> {
    let fill = |tag: &Tag| {
        let value = tag.value.replace(USER_VARIABLE, user);
        if is_tag_value(&value) {
            Ok(Tag {
                key: tag.key.clone(),
                value,
            })
        } else {
            let detail = format!(
                "{:?} with this user's name is not a valid tag value",
                tag.key
            );
            Err(Reason::SessionTag.because(&detail))
        }
    };
    tags.iter().map(fill).collect()
}

/// The same for the source identity.
fn source_identity(settings: &StsSettings, user: &str) -> Result<Option<String>, Refusal> {
    let Some(template) = &settings.source_identity else {
        return Ok(None);
    };
    let identity = template.replace(USER_VARIABLE, user);
    if (2..=limits::SOURCE_IDENTITY_CHARS_MAX).contains(&identity.len())
        && identity.chars().all(is_of_sts_name)
    {
        Ok(Some(identity))
    } else {
        Err(Reason::SourceIdentity.because(
            "sts.source_identity with this user's name is not \
                                            valid",
        ))
    }
}

fn is_tag_value(value: &str) -> bool {
    let taken = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    value.chars().count() <= limits::SESSION_TAG_VALUE_CHARS_MAX && value.chars().all(taken)
}

/// Stands for the user's name in the value of a tag and in the source identity.
pub const USER_VARIABLE: &str = "${transfer:UserName}";

/// `AssumeRole` changes nothing, so it may be repeated.
const ATTEMPTS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_ended_before_they_came_end_when_s3_says_so() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let hour = Duration::from_secs(3_600);
        assert_eq!(lifetime(now + hour, now), Some(hour));
        assert_eq!(lifetime(now, now), None);
        assert_eq!(lifetime(now - Duration::from_secs(1), now), None);
    }

    #[test]
    fn a_source_identity_takes_the_name_as_it_is_or_not_at_all() {
        let of = |template: &str, user: &str| {
            let settings = StsSettings {
                source_identity: Some(template.to_owned()),
                ..StsSettings::default()
            };
            source_identity(&settings, user).map_err(|refusal| refusal.reason)
        };
        let named = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            of(USER_VARIABLE, "ann@example.com"),
            named("ann@example.com")
        );
        assert_eq!(of("sftp-${transfer:UserName}", "a"), named("sftp-a"));
        for user in ["a", "zoë", "a b", "a/b", "a\nb", "", &"a".repeat(65)] {
            assert_eq!(
                of(USER_VARIABLE, user),
                Err(Reason::SourceIdentity),
                "{user}"
            );
        }
        assert_eq!(
            source_identity(&StsSettings::default(), "zoë").unwrap(),
            None
        );
    }

    #[test]
    fn a_tag_takes_the_name_as_it_is_or_not_at_all() {
        let tag = |value: &str| Tag {
            key: "user".to_owned(),
            value: value.to_owned(),
        };
        let all = [tag("${transfer:UserName}"), tag("x-${transfer:UserName}")];
        let filled = tags(&all, "zoë@example.com").unwrap();
        assert_eq!(filled, [tag("zoë@example.com"), tag("x-zoë@example.com")]);
        for user in ["a*b", "a\nb", "a${x}", &"a".repeat(257)] {
            let error = tags(&all, user).unwrap_err();
            assert_eq!(error.reason, Reason::SessionTag, "{user}");
        }
    }
}
