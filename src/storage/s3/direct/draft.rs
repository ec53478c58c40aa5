//! One request that the SDK prepares and that is not sent, to see what it makes of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::endpoint::Endpoint;
use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    ConfigBag, FrozenLayer, Intercept, RuntimeComponents, RuntimePlugin as _,
};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::delete_object::DeleteObject;
use aws_sdk_s3::operation::get_object::GetObject;
use aws_sdk_s3::operation::head_object::HeadObject;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2;
use aws_sdk_s3::operation::put_object::PutObject;
use aws_sdk_s3::operation::upload_part::UploadPart;
use aws_smithy_runtime_api::client::http::{HttpClient as _, HttpConnectorSettings};
use aws_smithy_types::Document;
use bytes::Bytes;

use super::prepared::{Prepared, SCHEME};
use super::sign::Scope;
use crate::storage::s3::loan::Loan;
use crate::storage::{Bucket, Operation};

/// What a draft brought.
#[derive(Debug)]
pub(super) struct Drawn {
    /// `None`: something is unusual.
    pub(super) prepared: Option<Prepared>,
    pub(super) components: RuntimeComponents,
}

/// Has the SDK prepare a call. `None`: it could not, which the call itself will tell.
pub(super) async fn drawn(
    client: &Client,
    operation: Operation,
    bucket: &Bucket,
    checksums: bool,
) -> Option<Drawn> {
    let draft = Draft {
        operation,
        seen: Arc::default(),
    };
    let shown = draft.clone();
    let bucket = bucket.as_str();
    let sum = checksums.then(|| "AAAAAAAAAAA=".to_owned());
    let loan = Loan::new(Bytes::new());
    // Each ends with an error, because it is not sent.
    macro_rules! draw {
        ($request:expr) => {
            drop($request.customize().interceptor(draft).send().await)
        };
    }
    match operation {
        Operation::Head => draw!(client.head_object().bucket(bucket).key(KEY)),
        Operation::Get => draw!(client.get_object().bucket(bucket).key(KEY)),
        Operation::List => draw!(client.list_objects_v2().bucket(bucket)),
        Operation::Delete => draw!(client.delete_object().bucket(bucket).key(KEY)),
        Operation::Put => {
            let request = client.put_object().bucket(bucket).key(KEY);
            draw!(request.set_checksum_crc64_nvme(sum).body(loan.body()));
        }
        Operation::Part => {
            let request = client.upload_part().bucket(bucket).key(KEY);
            let request = request.upload_id(KEY).part_number(1).body(loan.body());
            draw!(request.set_checksum_crc64_nvme(sum));
        }
        Operation::Tags
        | Operation::ListVersions
        | Operation::Copy
        | Operation::Create
        | Operation::PartCopy
        | Operation::Parts
        | Operation::Complete
        | Operation::Abort
        | Operation::CheckBucket
        | Operation::ListBuckets => return None,
    }
    shown.seen().drawn.take()
}

/// Looks at a request while the SDK prepares it, and keeps it from being sent.
#[derive(Debug, Clone)]
struct Draft {
    operation: Operation,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Names of the headers that the serializer writes, and that are there before the signature.
    serialized: Vec<String>,
    unsigned: Vec<String>,
    drawn: Option<Drawn>,
}

#[derive(Debug, thiserror::Error)]
#[error("a draft is not sent")]
struct NotSent;

impl Draft {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepared(
        &self,
        request: &HttpRequest,
        components: &RuntimeComponents,
        config: &ConfigBag,
        seen: &Seen,
    ) -> Option<Prepared> {
        let endpoint = config.load::<Endpoint>()?;
        let timeouts = config.load::<TimeoutConfig>()?;
        let mut signed = Vec::new();
        let mut unsigned = Vec::new();
        let mut numbered = None;
        for (name, value) in request.headers() {
            if seen.serialized.iter().any(|known| known == name) {
                continue;
            }
            let before = seen.unsigned.iter().any(|known| known == name);
            match (before, name) {
                (true, "user-agent") => signed.push(("user-agent", value.to_owned())),
                (true, "x-amz-user-agent") => signed.push(("x-amz-user-agent", value.to_owned())),
                (false, "amz-sdk-request") => unsigned.push(("amz-sdk-request", value.to_owned())),
                (false, "amz-sdk-invocation-id") => numbered = Some("amz-sdk-invocation-id"),
                (
                    false,
                    "authorization"
                    | "x-amz-date"
                    | "x-amz-content-sha256"
                    | "x-amz-security-token",
                ) => {}
                (true | false, _) => return None,
            }
        }
        let mut settings = HttpConnectorSettings::builder();
        settings.set_connect_timeout(timeouts.connect_timeout());
        settings.set_read_timeout(timeouts.read_timeout());
        let client = components.http_client()?;
        let mut bag = ConfigBag::base();
        bag.interceptor_state().store_put(timeouts.clone());
        if let Some(retries) = config.load::<RetryConfig>() {
            bag.interceptor_state().store_put(retries.clone());
        }
        Some(Prepared {
            operation: self.operation,
            codec: codec(self.operation)?,
            base: base(endpoint)?,
            signed,
            numbered,
            unsigned,
            scope: scope(endpoint, request)?,
            connector: client.http_connector(&settings.build(), components),
            bag,
        })
    }
}

impl Intercept for Draft {
    fn name(&self) -> &'static str {
        "Draft"
    }

    fn read_after_serialization(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.seen().serialized = names(context.request());
        Ok(())
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.seen().unsigned = names(context.request());
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut seen = self.seen();
        let prepared = self.prepared(context.request(), components, config, &seen);
        if prepared.is_none() {
            let operation = self.operation.name();
            tracing::debug!(
                operation,
                "calls of this bucket go through the SDK's orchestrator"
            );
        }
        seen.drawn = Some(Drawn {
            prepared,
            components: components.clone(),
        });
        Err(NotSent.into())
    }
}

/// Returns what serializes inputs and reads answers.
fn codec(operation: Operation) -> Option<FrozenLayer> {
    match operation {
        Operation::Head => HeadObject::new().config(),
        Operation::Get => GetObject::new().config(),
        Operation::List => ListObjectsV2::new().config(),
        Operation::Put => PutObject::new().config(),
        Operation::Delete => DeleteObject::new().config(),
        Operation::Part => UploadPart::new().config(),
        Operation::Tags
        | Operation::ListVersions
        | Operation::Copy
        | Operation::Create
        | Operation::PartCopy
        | Operation::Parts
        | Operation::Complete
        | Operation::Abort
        | Operation::CheckBucket
        | Operation::ListBuckets => None,
    }
}

fn names(request: &HttpRequest) -> Vec<String> {
    let headers = request.headers().iter();
    headers.map(|(name, _)| name.to_owned()).collect()
}

/// Returns the URL that paths are put behind, unless the endpoint asks for more than a URL.
fn base(endpoint: &Endpoint) -> Option<Box<str>> {
    let url = endpoint.url();
    let is_plain = endpoint.headers().next().is_none() && !url.contains(['?', '#']);
    is_plain.then(|| url.strip_suffix('/').unwrap_or(url).into())
}

/// Returns what is signed for, where the first choice of the endpoint is the usual signature.
fn scope(endpoint: &Endpoint, request: &HttpRequest) -> Option<Scope> {
    let field = |name: &str| -> Option<Document> {
        if let Some(scheme) = endpoint.auth_schemes().first() {
            return if name == "name" {
                Some(Document::String(scheme.name().to_owned()))
            } else {
                scheme.get(name).cloned()
            };
        }
        let Document::Array(schemes) = endpoint.properties().get("authSchemes")? else {
            return None;
        };
        schemes.first()?.as_object()?.get(name).cloned()
    };
    let text = |name| field(name).and_then(|value| value.as_string().map(ToOwned::to_owned));
    let (region, service) = (text("signingRegion")?, text("signingName")?);
    let is_usual = text("name")? == SCHEME.inner()
        && field("disableDoubleEncoding").is_none_or(|value| value == Document::Bool(true))
        && field("disableNormalizePath").is_none_or(|value| value == Document::Bool(true));
    // What the SDK signed says the same.
    let signed = request.headers().get("authorization")?;
    let said = format!("/{region}/{service}/aws4_request,");
    let is_so = signed.starts_with("AWS4-HMAC-SHA256 ") && signed.contains(&said);
    (is_usual && is_so).then(|| Scope::new(&region, &service))
}

const KEY: &str = "draft";
