//! Calls of the data path without the SDK's orchestrator.
//!
//! For each call the SDK puts its configuration together, applies the endpoint rules twice, writes
//! a user agent and asks some thirty hooks. Nearly all of that comes out the same each time. So the
//! SDK does it once for each bucket and kind of call, on a request that is not sent ([`draft`]),
//! and what came out is kept ([`prepared`]). A call is then one straight function: the SDK's
//! serializer, what was kept, a signature, the SDK's HTTP client, the SDK's deserializer.
//!
//! What the draft shows to be unusual is left to the SDK: other signatures than `AWS4-HMAC-SHA256`,
//! sessions of directory buckets, headers that are not known here
//! (`docs/decisions/0030-calls-without-the-orchestrator.md`).

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::{ConfigBag, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, BuildError, ConnectorError, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::identity::{Identity, ResolveCachedIdentity as _};
use aws_smithy_runtime_api::client::interceptors::context::{Input, Output};
use aws_smithy_runtime_api::client::runtime_components::GetIdentityResolver as _;

use self::failed::Failed;
use self::prepared::Prepared;
use super::errors::{Call, SigningTimes};
use crate::aws::AccessKey;
use crate::limits;
use crate::storage::{Bucket, Operation};

mod draft;
mod failed;
mod prepared;
mod sign;

/// How one store's calls are made without the orchestrator. Clones share what is kept.
#[derive(Debug, Clone)]
pub(super) struct Direct {
    kept: Arc<Kept>,
    signer: Signer,
    pub(super) by_path: bool,
}

/// Whose signature calls carry.
#[derive(Debug, Clone)]
enum Signer {
    Key(AccessKey),
    /// Asks the SDK's cache of credentials, of which the first draft knows.
    Cached(Arc<OnceLock<RuntimeComponents>>),
}

impl Direct {
    /// Signs by a key, or else by what the client's provider of credentials returns.
    pub(super) fn new(key: Option<&AccessKey>, by_path: bool) -> Self {
        Self {
            kept: Arc::default(),
            signer: Signer::of(key),
            by_path,
        }
    }

    /// Returns the same with another key.
    pub(super) fn with_key(&self, key: &AccessKey) -> Self {
        Self {
            signer: Signer::of(Some(key)),
            ..self.clone()
        }
    }

    /// Returns what makes this call, if the SDK's own way is not needed.
    pub(super) async fn prepared(
        &self,
        client: &Client,
        call: &Call<'_>,
        checksums: bool,
    ) -> Option<Arc<Prepared>> {
        let bucket = call.bucket?;
        // The SDK refuses such keys.
        if call.key.is_some_and(|key| key.as_str().trim().is_empty()) {
            return None;
        }
        let kind = self.kind(client, call.operation, checksums);
        match self.kept.find(bucket, kind) {
            Some(Way::BySdk) => return None,
            Some(Way::Direct(prepared)) if self.signer.is_ready() => return Some(prepared),
            Some(Way::Direct(_)) | None => {}
        }
        let draft = draft::drawn(client, call.operation, bucket, checksums);
        let drawn = Box::pin(draft).await?;
        if let Signer::Cached(components) = &self.signer {
            components.get_or_init(|| drawn.components);
        }
        let prepared = drawn.prepared.map(Arc::new);
        let way = prepared.clone().map_or(Way::BySdk, Way::Direct);
        self.kept.keep(bucket, kind, way);
        prepared
    }

    fn kind<'a>(&self, client: &'a Client, operation: Operation, checksums: bool) -> Kind<'a> {
        Kind {
            operation,
            region: client.config().region().map_or("", AsRef::as_ref),
            by_path: self.by_path,
            checksums,
            keyed: matches!(self.signer, Signer::Key(_)),
        }
    }

    /// Sends a call once, and reads the answer. `amend` sets what the input has no field for.
    pub(super) async fn send<I, O, E>(
        &self,
        (prepared, times): (&Prepared, &SigningTimes),
        input: Result<I, BuildError>,
        limit: Duration,
        amend: impl FnOnce(&mut HttpRequest),
    ) -> Result<O, SdkError<E, HttpResponse>>
    where
        I: Debug + Send + Sync + 'static,
        O: Debug + Send + Sync + 'static,
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let input = input.map_err(SdkError::construction_failure)?;
        let request = prepared.request(Input::erase(input));
        let mut request = request.map_err(SdkError::construction_failure)?;
        amend(&mut request);
        let attempt = self.attempt(prepared, times, request);
        match tokio::time::timeout(limit, attempt).await {
            Err(_elapsed) => Err(SdkError::timeout_error(Unanswered(limit))),
            Ok(Ok(output)) => output
                .downcast()
                .map_err(|_other| SdkError::timeout_error(OtherType)),
            Ok(Err(failed)) => Err(failed.typed()),
        }
    }

    async fn attempt(
        &self,
        prepared: &Prepared,
        times: &SigningTimes,
        mut request: HttpRequest,
    ) -> Result<Output, Failed> {
        let unsent = |error| SdkError::dispatch_failure(ConnectorError::other(error, None));
        let at = times.now();
        {
            let identity = self.signer.identity(&prepared.bag).await;
            let signed = identity.and_then(|identity| prepared.sign(&mut request, &identity, at));
            signed.map_err(|error| Failed::Other(unsent(error)))?;
        }
        prepared.number(&mut request, || self.kept.ids.next());
        let connection = CaptureSmithyConnection::new();
        request.add_extension(connection.clone());
        let mut response = match prepared.connector.call(request).await {
            Ok(response) => response,
            Err(error) => return Err(Failed::Other(SdkError::dispatch_failure(error))),
        };
        times.heard(&mut response, at);
        prepared.read(response, connection).await
    }
}

/// For tests that compare both ways.
#[cfg(test)]
impl Direct {
    /// Returns the same, which shares nothing that is kept.
    pub(super) fn unshared(&self) -> Self {
        Self {
            kept: Arc::default(),
            ..self.clone()
        }
    }

    /// Has all calls of a bucket go through the orchestrator.
    pub(super) fn leave_to_sdk(&self, client: &Client, bucket: &Bucket, checksums: bool) {
        for operation in Operation::ALL {
            let kind = self.kind(client, operation, checksums);
            self.kept.keep(bucket, kind, Way::BySdk);
        }
    }
}

impl Signer {
    fn of(key: Option<&AccessKey>) -> Self {
        key.map_or_else(
            || Self::Cached(Arc::default()),
            |key| Self::Key(key.clone()),
        )
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::Key(_) => true,
            Self::Cached(components) => components.get().is_some(),
        }
    }

    async fn identity(&self, bag: &ConfigBag) -> Result<Identity, BoxError> {
        let components = match self {
            Self::Key(key) => return Ok(key.identity()),
            Self::Cached(components) => components.get().ok_or_else(none_found)?,
        };
        let resolver = components.identity_resolver(prepared::SCHEME);
        let resolver = resolver.ok_or_else(none_found)?;
        let cache = components.identity_cache();
        cache
            .resolve_cached_identity(resolver, components, bag)
            .await
    }
}

fn none_found() -> CredentialsError {
    CredentialsError::not_loaded("no credentials are configured")
}

/// What the drafts brought, of every store of one endpoint.
#[derive(Debug, Default)]
struct Kept {
    held: Mutex<Held>,
    ids: Ids,
}

#[derive(Debug, Default)]
struct Held {
    by_bucket: HashMap<Bucket, Vec<Entry>>,
    entries: usize,
}

#[derive(Debug)]
struct Entry {
    region: Box<str>,
    of: (Operation, [bool; 3]),
    way: Way,
}

/// How a call is made.
#[derive(Debug, Clone)]
enum Way {
    Direct(Arc<Prepared>),
    BySdk,
}

/// What decides over what a draft brings, beside the bucket.
#[derive(Debug, Clone, Copy)]
struct Kind<'a> {
    region: &'a str,
    operation: Operation,
    by_path: bool,
    checksums: bool,
    keyed: bool,
}

impl Kind<'_> {
    const fn of(self) -> (Operation, [bool; 3]) {
        (self.operation, [self.by_path, self.checksums, self.keyed])
    }
}

impl Kept {
    fn find(&self, bucket: &Bucket, kind: Kind<'_>) -> Option<Way> {
        let held = self.held();
        let mut entries = held.by_bucket.get(bucket)?.iter();
        let entry = entries.find(|entry| entry.of == kind.of() && *entry.region == *kind.region);
        entry.map(|entry| entry.way.clone())
    }

    fn keep(&self, bucket: &Bucket, kind: Kind<'_>, way: Way) {
        let mut held = self.held();
        if held.entries >= limits::S3_PREPARED_MAX {
            *held = Held::default();
        }
        held.entries = held.entries.saturating_add(1);
        let entries = held.by_bucket.entry(bucket.clone()).or_default();
        entries.push(Entry {
            region: kind.region.into(),
            of: kind.of(),
            way,
        });
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbers that tell one call from another in the store's logs.
#[derive(Debug, Default)]
struct Ids {
    random: RandomState,
    last: AtomicU64,
}

impl Ids {
    fn next(&self) -> String {
        let last = self.last.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (
            self.random.hash_one((last, 0)),
            self.random.hash_one((last, 1)),
        );
        let (a, b, c) = (high >> 32, (high >> 16) & 0xFFFF, high & 0xFFF);
        let (d, e) = (((low >> 48) & 0x3FFF) | 0x8000, low & 0xFFFF_FFFF_FFFF);
        format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct Unanswered(Duration);

#[derive(Debug, thiserror::Error)]
#[error("the answer is that of another call")]
struct OtherType;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_found_by_all_that_decides_over_it() {
        let kept = Kept::default();
        let kind = Kind {
            region: "eu-west-1",
            operation: Operation::Get,
            by_path: false,
            checksums: true,
            keyed: true,
        };
        let bucket = |n: usize| Bucket::parse(&format!("bucket-{n}")).unwrap();
        for n in 0..limits::S3_PREPARED_MAX {
            kept.keep(&bucket(n), kind, Way::BySdk);
        }
        assert!(kept.find(&bucket(0), kind).is_some());
        for other in [
            Kind {
                region: "us-west-2",
                ..kind
            },
            Kind {
                operation: Operation::Put,
                ..kind
            },
            Kind {
                by_path: true,
                ..kind
            },
            Kind {
                checksums: false,
                ..kind
            },
            Kind {
                keyed: false,
                ..kind
            },
        ] {
            assert!(kept.find(&bucket(0), other).is_none(), "{other:?}");
        }
        kept.keep(&bucket(limits::S3_PREPARED_MAX), kind, Way::BySdk);
        assert!(kept.find(&bucket(0), kind).is_none());
        assert_eq!(kept.held().entries, 1);
    }

    #[test]
    fn each_call_has_a_number_of_its_own_in_the_form_of_the_sdk() {
        let ids = Ids::default();
        let all: HashSet<String> = (0..1_000).map(|_| ids.next()).collect();
        assert_eq!(all.len(), 1_000);
        for id in all {
            let lengths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        }
    }
}
