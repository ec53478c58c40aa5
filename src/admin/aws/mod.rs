//! AWS's JSON protocol 1.1, as far as AWS's own tools ask a Transfer Family server about its users
//! and its identity provider.
//!
//! One table of operations; a request is verified before it is read.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::StatusCode;
use hyper::header::CONTENT_LENGTH;
use hyper::http::request::Parts;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::made::{ServerActions, TagChange, WantedServer};
use self::operation::Need;
pub use self::operation::{Operation, Scope};
use self::refusal::Refusal;
use self::request::{Request, Unique};
pub use self::server::{Made, Server, Servers};
pub use self::shown::{Shown, Transports};
pub use self::signature::AwsKey;
use self::signature::{Caller, claimed, verified};
use self::users::Done;
use crate::audit::{self, UserChange};
use crate::budget::{Pool, Share};
use crate::limits::{ADMIN_BODY_BYTES_MAX, AWS_BODIES_LARGE_MAX, LOG_INTERVAL};
use crate::metrics::Metrics;
use crate::seldom::Seldom;

mod arn;
mod descriptions;
mod made;
mod operation;
mod refusal;
mod request;
mod server;
pub mod server_settings;
mod shown;
mod signature;
mod test_identity_provider;
mod transport;
mod users;

/// The content type of every answer.
pub(super) const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Answers AWS's tools.
#[derive(Debug)]
pub struct Aws {
    keys: RwLock<Arc<[AwsKey]>>,
    servers: Servers,
    /// Makes servers beside those.
    made: Option<Arc<dyn ServerActions>>,
    metrics: Arc<Metrics>,
    /// Bodies that are larger than a command's.
    large: Semaphore,
    /// What all bodies together have of the process's account of bytes.
    memory: Share,
    refusals: Seldom,
}

/// What is known of a request, for the log and the metric.
#[derive(Debug, Default)]
struct Asked {
    operation: Option<Operation>,
    access_key_id: Option<Box<str>>,
}

impl Asked {
    fn word(&self) -> &'static str {
        self.operation.map_or("other", Operation::as_str)
    }
}

impl Aws {
    #[must_use]
    pub fn new(
        keys: Vec<AwsKey>,
        servers: Servers,
        metrics: Arc<Metrics>,
        account: &Arc<Pool>,
    ) -> Self {
        metrics.expect_api(Operation::ALL.iter().map(|one| one.as_str()));
        Self {
            keys: RwLock::new(keys.into()),
            servers,
            made: None,
            metrics,
            large: Semaphore::new(AWS_BODIES_LARGE_MAX),
            memory: account.share(),
            refusals: Seldom::default(),
        }
    }

    /// Shows the servers that are made here, and has them made.
    #[must_use]
    pub fn with_made(self, made: Arc<dyn ServerActions>) -> Self {
        Self {
            made: Some(made),
            ..self
        }
    }

    /// Asks for signatures with other secrets from the next request on.
    pub fn replace_keys(&self, keys: Vec<AwsKey>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    fn keys(&self) -> Arc<[AwsKey]> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }

    /// Waits for room for a body that is larger than a command's; `None`: it has none, since it is
    /// small, or since its sender names none of the keys.
    pub(super) async fn room_for(&self, head: &Parts) -> Option<SemaphorePermit<'_>> {
        let length = head.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let is_small = length.is_some_and(|length| length <= ADMIN_BODY_BYTES_MAX);
        if is_small || !claimed(&self.keys(), head) {
            return None;
        }
        self.large.acquire().await.ok()
    }

    /// Returns where bodies have their memory from.
    pub(super) const fn memory(&self) -> &Share {
        &self.memory
    }

    /// Answers one request.
    pub(super) async fn answer(
        &self,
        head: &Parts,
        body: &[u8],
        peer: IpAddr,
    ) -> (StatusCode, String) {
        let mut asked = Asked::default();
        match self.perform(head, body, peer, &mut asked).await {
            Ok(answer) => {
                self.metrics.api_request(asked.word(), "done");
                (StatusCode::OK, answer.to_string())
            }
            Err(refusal) => self.refuse(&refusal, refusal.status(), &asked, peer),
        }
    }

    /// Refuses a body that was not read to its end.
    pub(super) fn too_large(&self, peer: IpAddr) -> (StatusCode, String) {
        let refusal = Refusal::new("RequestEntityTooLarge", "the body is too large");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        self.refuse(&refusal, status, &Asked::default(), peer)
    }

    /// Refuses a body for which there is no memory: AWS's tools try again.
    pub(super) fn without_memory(&self, peer: IpAddr) -> (StatusCode, String) {
        let message = "the gateway has no memory for the request at the moment: try again";
        let refusal = Refusal::new("ThrottlingException", message);
        self.refuse(&refusal, refusal.status(), &Asked::default(), peer)
    }

    fn refuse(
        &self,
        refusal: &Refusal,
        status: StatusCode,
        asked: &Asked,
        peer: IpAddr,
    ) -> (StatusCode, String) {
        let outcome = if status.is_server_error() {
            "failed"
        } else {
            "refused"
        };
        let operation = asked.word();
        self.metrics.api_request(operation, outcome);
        if let Some(unlogged) = self.refusals.due(self.servers.clock.now(), LOG_INTERVAL) {
            let (kind, access_key_id) = (refusal.kind, asked.access_key_id.as_deref());
            tracing::info!(
                source_ip = %peer, kind, operation, access_key_id, unlogged,
                "request of an AWS tool refused"
            );
        }
        (status, refusal.body().to_string())
    }

    async fn perform(
        &self,
        head: &Parts,
        body: &[u8],
        peer: IpAddr,
        asked: &mut Asked,
    ) -> Result<Value, Refusal> {
        let caller = verified(&self.keys(), head, body, self.servers.clock.wall())?;
        asked.access_key_id = Some(caller.access_key_id.clone());
        let unreadable = |_| {
            Refusal::new(
                "SerializationException",
                "the body is not JSON, or says a thing twice",
            )
        };
        let Unique(body) = serde_json::from_slice(body).map_err(unreadable)?;
        let operation = named(head)?;
        let need = operation.need();
        if need == Need::Serve && self.made.is_none() {
            return Err(absent(operation.as_str()));
        }
        asked.operation = Some(operation);
        if !caller.scope.allows(need) {
            let message = format!(
                "the access key may not call {}: it needs the scope {}",
                operation.as_str(),
                need.scopes()
            );
            return Err(Refusal::new("AccessDeniedException", &message));
        }
        self.run(operation, &body, &caller, peer).await
    }

    async fn run(
        &self,
        operation: Operation,
        body: &Value,
        caller: &Caller,
        peer: IpAddr,
    ) -> Result<Value, Refusal> {
        let region = &*caller.region;
        let mut now = None;
        if let Some(made) = &self.made {
            let done = made::perform(&**made, operation, body, caller, peer).await?;
            if let Some(done) = done {
                return Ok(done);
            }
            now = Some(self.servers.with(made.servers()));
        }
        let servers = now.as_ref().unwrap_or(&self.servers);
        let request = Request::of(operation, body)?;
        let done = match operation {
            Operation::TestIdentityProvider => {
                return test_identity_provider::perform(servers, body, peer).await;
            }
            Operation::DescribeUser => return users::describe(servers, request, region).await,
            Operation::ListUsers => return users::list(servers, request, region).await,
            Operation::ListTagsForResource => return users::list_tags(servers, request).await,
            Operation::DescribeServer => {
                return descriptions::describe(servers, request, region).await;
            }
            Operation::ListServers => return descriptions::list(servers, request, region).await,
            Operation::ListHostKeys => return transport::list_keys(servers, request, region),
            Operation::DescribeHostKey => {
                return transport::describe_key(servers, request, region);
            }
            Operation::ListSecurityPolicies => return transport::list_policies(request),
            Operation::DescribeSecurityPolicy => return transport::describe_policy(request),
            Operation::CreateServer
            | Operation::UpdateServer
            | Operation::StartServer
            | Operation::StopServer
            | Operation::DeleteServer => return Err(absent(operation.as_str())),
            Operation::CreateUser => users::create(servers, request).await?,
            Operation::UpdateUser => users::update(servers, request).await?,
            Operation::DeleteUser => users::delete(servers, request).await?,
            Operation::ImportSshPublicKey => users::import_key(servers, request).await?,
            Operation::DeleteSshPublicKey => users::delete_key(servers, request).await?,
            Operation::TagResource => users::tag(servers, request).await?,
            Operation::UntagResource => users::untag(servers, request).await?,
        };
        Ok(told(operation, caller, peer, done))
    }
}

/// Writes the line of record of a change.
fn told(operation: Operation, caller: &Caller, source_ip: IpAddr, done: Done) -> Value {
    audit::user_changed(UserChange {
        operation: operation.as_str(),
        of_server: &done.server_id,
        user: &done.user,
        ssh_public_key_id: done.key_id.as_deref(),
        access_key_id: &caller.access_key_id,
        source_ip,
    });
    if done.answer.is_null() {
        return json!({});
    }
    done.answer
}

/// Returns the operation that a request names.
fn named(head: &Parts) -> Result<Operation, Refusal> {
    let target = head.headers.get("x-amz-target");
    let target = target.and_then(|value| value.to_str().ok()).unwrap_or("");
    let Some(word) = target.strip_prefix("TransferService.") else {
        let message = "X-Amz-Target must begin with TransferService.";
        return Err(Refusal::new("UnknownOperationException", message));
    };
    Operation::from_word(word).ok_or_else(|| absent(word))
}

/// Refuses an operation that is not there.
fn absent(word: &str) -> Refusal {
    let message =
        format!("{word} is not supported; docs/transfer-family.md of Portcullis lists what is");
    Refusal::new("UnknownOperationException", &message)
}
