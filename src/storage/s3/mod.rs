//! S3 over HTTP: [`ObjectStore`] on the AWS SDK.
//!
//! What differs from the SDK's defaults, and why:
//!
//! - Payloads go out under a [`loan`], unsigned and without `aws-chunked`: the CRC-64/NVME that the
//!   caller already has travels in a header and protects them end to end.
//! - Each call is sent once. The SDK's retries are off: they are counted, and one budget that
//!   drains once is shared by the whole process. What is repeated is decided by
//!   [`retry`](super::retry).
//! - An answer that is not provably whole is a failure ([`whole`], [`convert`]).
//! - Deadlines are ours, per try, scaled by the payload; stalled-stream protection is off.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, RequestChecksumCalculation, ResponseChecksumValidation, SharedIdentityCache,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use bytes::Bytes;
use tokio_util::task::TaskTracker;

use self::direct::Direct;
use self::errors::{Call, SigningTimes};
pub use self::settings::{Encryption, Settings, Timeouts};
use self::whole::WholeAnswers;
use super::aws::AwsBase;
use super::{
    Bucket, BucketPage, Capabilities, CompleteUpload, CompletedPart, CopyObject, ETag, GetObject,
    Key, ListPage, ListQuery, Location, NewObject, ObjectBody, ObjectMeta, ObjectStore, Operation,
    PartNumber, PartSize, PutObject, Removed, Result, StorageError, StorageErrorKind, Stored, Tags,
    UploadId, UploadPart, UploadPartCopy, Version, VersionPage, VersionQuery,
};
use crate::aws::{AccessKey, ConnectError, Credentials};
use crate::tasks::spawn_tracked;

mod carried;
mod convert;
mod direct;
mod errors;
mod lifecycle;
mod loan;
mod objects;
mod settings;
mod uploads;
mod versions;
mod whole;

/// An S3 endpoint, seen with one set of credentials. Clones share everything.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: aws_sdk_s3::Client,
    capabilities: Capabilities,
    timeouts: Timeouts,
    storage_class: Option<StorageClass>,
    encryption: Option<ServerSideEncryption>,
    kms_key_id: Option<String>,
    follow_regions: bool,
    /// Listings on their way.
    lists: TaskTracker,
    signing_times: SigningTimes,
    direct: Direct,
    base: Arc<AwsBase>,
}

impl S3Store {
    /// Prepares the HTTP client and the credentials; the first call opens the first connection.
    ///
    /// # Errors
    /// When the certificate authorities cannot be read.
    pub async fn connect(settings: Settings) -> std::result::Result<Self, ConnectError> {
        let key = match &settings.credentials {
            Credentials::Static(key) => Some(key),
            Credentials::DefaultChain => None,
        };
        let direct = Direct::new(key, settings.path_style);
        let base = AwsBase::prepare(
            settings.endpoint.as_deref(),
            settings.ca_pem,
            settings.region,
            settings.credentials,
        )
        .await?;
        let signing_times = SigningTimes::default();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(base.http.clone())
            .interceptor(WholeAnswers)
            .interceptor(signing_times.clone())
            .region(base.region.clone())
            .force_path_style(settings.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeout_config(
                settings.timeouts.connect,
                settings.timeouts.call,
            ));
        config.set_endpoint_url(settings.endpoint);
        config.set_credentials_provider(base.own.clone());
        config.set_identity_cache(base.identity_cache());
        let (encryption, kms_key_id) = match settings.encryption {
            Encryption::None => (None, None),
            Encryption::S3 => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms { key_id } => (Some(ServerSideEncryption::AwsKms), Some(key_id)),
        };
        Ok(Self {
            client: aws_sdk_s3::Client::from_conf(config.build()),
            capabilities: settings.capabilities,
            timeouts: settings.timeouts,
            storage_class: settings.storage_class.as_deref().map(StorageClass::from),
            encryption,
            kms_key_id,
            follow_regions: settings.follow_regions,
            lists: TaskTracker::new(),
            signing_times,
            direct,
            base: Arc::new(base),
        })
    }

    /// Returns the same endpoint with other credentials, over the same HTTP connections.
    #[must_use]
    pub fn with_credentials(&self, provider: impl ProvideCredentials + 'static) -> Self {
        let direct = Direct::new(None, self.direct.by_path);
        self.with_provider(provider, IdentityCache::lazy().build(), direct)
    }

    /// Returns the same endpoint with another key, over the same HTTP connections.
    #[must_use]
    pub fn with_key(&self, key: &AccessKey) -> Self {
        let direct = self.direct.with_key(key);
        self.with_provider(key.clone(), IdentityCache::no_cache(), direct)
    }

    fn with_provider(
        &self,
        provider: impl ProvideCredentials + 'static,
        cache: SharedIdentityCache,
        direct: Direct,
    ) -> Self {
        let config = self.client.config().to_builder();
        let config = config.credentials_provider(provider).identity_cache(cache);
        let config = config.build();
        Self {
            client: aws_sdk_s3::Client::from_conf(config),
            direct,
            ..self.clone()
        }
    }

    /// Returns the same store, which puts buckets into the path of the URL.
    pub(super) fn by_path(&self) -> Self {
        let config = self.client.config().to_builder().force_path_style(true);
        let mut direct = self.direct.clone();
        direct.by_path = true;
        Self {
            client: aws_sdk_s3::Client::from_conf(config.build()),
            direct,
            ..self.clone()
        }
    }

    /// Says whether the credentials come from the AWS chain.
    pub(super) fn is_from_chain(&self) -> bool {
        self.base.from_chain
    }

    /// Returns the same store, which remembers no credentials of the AWS chain.
    pub(super) fn with_chain_anew(&self) -> Self {
        match &self.base.own {
            Some(own) => self.with_credentials(own.clone()),
            None => self.clone(),
        }
    }

    /// Returns what clients of other services of the same account stand on.
    pub(super) fn base(&self) -> &AwsBase {
        &self.base
    }

    /// Returns the same endpoint, taken for one that honours other conditions.
    #[must_use]
    pub fn with_capabilities(&self, capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            ..self.clone()
        }
    }

    /// Gives a call this long.
    fn within(&self, limit: Duration) -> Builder {
        aws_sdk_s3::Config::builder().timeout_config(timeout_config(self.timeouts.connect, limit))
    }
}

/// The connect time-out is named every time: the SDK keeps one connection pool for each value.
fn timeout_config(connect: Duration, attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(connect)
        .operation_attempt_timeout(attempt)
        .build()
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        self.head_object(location).await
    }

    async fn part_size(&self, version: Version<'_>, part: PartNumber) -> Result<PartSize> {
        self.part_head(version, part).await
    }

    async fn tags(&self, location: &Location) -> Result<Tags> {
        self.object_tags(location).await
    }

    async fn get(&self, location: &Location, get: GetObject<'_>) -> Result<ObjectBody> {
        let got = self.get_object(location, get, None).await?;
        // Nothing is left out where no version is known.
        got.ok_or_else(|| {
            let call = call_on(Operation::Get, location);
            call.error(StorageErrorKind::Unavailable, "304 without a condition")
        })
    }

    async fn get_unless(&self, location: &Location, known: &ETag) -> Result<Option<ObjectBody>> {
        self.get_object(location, GetObject::default(), Some(known))
            .await
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        // A LIST that nobody waits for any more still comes to its end: to cut it would cost its
        // connection.
        let (store, bucket, query) = (self.clone(), bucket.clone(), query.clone());
        let listing = async move { store.list_objects(&bucket, &query).await };
        let listing = spawn_tracked(&self.lists, listing);
        listing.await.unwrap_or_else(|error| {
            Err(StorageError::new(
                StorageErrorKind::Unavailable,
                error.to_string(),
            ))
        })
    }

    async fn versions(&self, bucket: &Bucket, query: &VersionQuery) -> Result<VersionPage> {
        let honest = self.capabilities.is_truncated;
        versions::list((&self.client, honest), bucket, query).await
    }

    async fn put(&self, location: &Location, payload: Bytes, put: PutObject<'_>) -> Result<Stored> {
        self.put_object(location, payload, put).await
    }

    async fn copy(&self, target: &Location, copy: CopyObject<'_>) -> Result<Stored> {
        self.copy_object(target, copy).await
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<Removed> {
        self.delete_object(location, etag).await
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        self.create_upload(location, object).await
    }

    async fn part(
        &self,
        location: &Location,
        payload: Bytes,
        part: UploadPart<'_>,
    ) -> Result<CompletedPart> {
        self.upload_part(location, payload, part).await
    }

    async fn part_copy(
        &self,
        location: &Location,
        part: UploadPartCopy<'_>,
    ) -> Result<CompletedPart> {
        self.upload_part_copy(location, part).await
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        self.list_parts(location, upload).await
    }

    async fn complete(&self, location: &Location, complete: CompleteUpload<'_>) -> Result<Stored> {
        self.complete_upload(location, complete).await
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        self.abort_upload(location, upload).await
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        let call = Call {
            operation: Operation::CheckBucket,
            bucket: Some(bucket),
            key: None,
        };
        let outcome = self
            .client
            .head_bucket()
            .bucket(bucket.as_str())
            .send()
            .await;
        outcome.map(drop).map_err(|error| call.failed(&error))
    }

    async fn list_buckets(&self, after: Option<&str>, max: u16) -> Result<BucketPage> {
        self.listed_buckets(after, max).await
    }

    fn capabilities(&self, _: &Bucket) -> Capabilities {
        self.capabilities
    }
}

/// Sends a call: directly, or by the SDK where it has to be. Its parameters, which the macro
/// `$described` sets, have the same names in both.
macro_rules! answer {
    ($store:expr, $call:expr, $described:ident, $input:ident, $fluent:ident, $limit:expr, $amend:expr) => {{
        let (store, limit, amend) = ($store, $limit, $amend);
        let checksums = store.capabilities.checksums;
        match store
            .direct
            .prepared(&store.client, &$call, checksums)
            .await
        {
            Some(prepared) => {
                let input = $described!($input::builder()).build();
                let by = (&*prepared, &store.signing_times);
                store.direct.send(by, input, limit, amend).await
            }
            None => {
                let request = $described!(store.client.$fluent())
                    .customize()
                    .mutate_request(amend)
                    .config_override(store.within(limit));
                // Its future is large, and seldom there.
                Box::pin(request.send()).await
            }
        }
    }};
}
use answer;

/// Says where, in the parameters of a call.
macro_rules! at {
    ($to:expr, $location:expr) => {
        $to.bucket($location.bucket.as_str())
            .key($location.key.as_str())
    };
}
use at;

fn version_of(location: &Location) -> Option<String> {
    location.key.version().map(ToOwned::to_owned)
}

/// Leaves a request as it is.
fn as_it_is(_: &mut HttpRequest) {}

fn call_on(operation: Operation, location: &Location) -> Call<'_> {
    Call {
        operation,
        bucket: Some(&location.bucket),
        key: Some::<&Key>(&location.key),
    }
}

#[cfg(test)]
mod tests;
