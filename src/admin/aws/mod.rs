//! AWS's JSON protocol 1.1, as far as AWS's own tools ask a Transfer Family server about its
//! identity provider.
//!
//! One table of operations; a request is verified before it is read.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::StatusCode;
use hyper::http::request;
use serde_json::{Value, json};

pub use self::signature::AwsKey;
use crate::auth::AuthSettings;
use crate::clock::Clock;
use crate::idp::Examined;
use crate::idp::blocks::Blocks;
use crate::limits::LOG_INTERVAL;
use crate::secret::Secret;
use crate::seldom::Seldom;
use crate::storage::credentials::Stores;

mod signature;
mod test_identity_provider;

/// The content type of every answer.
pub(super) const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// A Transfer Family server, as AWS's tools see it: one id, and who is asked in its name.
#[derive(Debug, Clone)]
pub struct Server {
    pub id: Box<str>,
    /// Of the provider; empty for the only one.
    pub name: Box<str>,
    pub provider: Arc<dyn Examined>,
    /// What a login has to keep to.
    pub auth: AuthSettings,
    /// The names that are this provider's alone.
    pub user_prefix: Option<Box<str>>,
    pub user_suffix: Option<Box<str>>,
}

/// Answers AWS's tools.
#[derive(Debug)]
pub struct Aws {
    key: RwLock<AwsKey>,
    /// Several may have one id: they are asked in order.
    servers: Vec<Server>,
    stores: Arc<dyn Stores>,
    /// Whom the operator keeps out.
    blocks: Arc<Blocks>,
    clock: Arc<dyn Clock>,
    refusals: Seldom,
}

/// An error in AWS's words.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    kind: &'static str,
    message: String,
}

impl Refusal {
    fn new(kind: &'static str, message: &str) -> Self {
        let message = message.to_owned();
        Self { kind, message }
    }

    fn invalid(message: &str) -> Self {
        Self::new("InvalidRequestException", message)
    }
}

impl Aws {
    #[must_use]
    pub fn new(
        key: AwsKey,
        servers: Vec<Server>,
        stores: Arc<dyn Stores>,
        blocks: Arc<Blocks>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            key: RwLock::new(key),
            servers,
            stores,
            blocks,
            clock,
            refusals: Seldom::default(),
        }
    }

    /// Asks for signatures with another secret from the next request on.
    pub fn replace_secret(&self, secret: Secret) {
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        key.secret_access_key = secret;
    }

    /// Answers one request.
    pub(super) async fn answer(
        &self,
        head: &request::Parts,
        body: &[u8],
        peer: IpAddr,
    ) -> (StatusCode, String) {
        match self.perform(head, body, peer).await {
            Ok(answer) => (StatusCode::OK, answer.to_string()),
            Err(Refusal { kind, message }) => {
                if let Some(unlogged) = self.refusals.due(self.clock.now(), LOG_INTERVAL) {
                    tracing::info!(source_ip = %peer, kind, unlogged, "request of an AWS tool refused");
                }
                let body = json!({"__type": kind, "message": message});
                (StatusCode::BAD_REQUEST, body.to_string())
            }
        }
    }

    async fn perform(
        &self,
        head: &request::Parts,
        body: &[u8],
        peer: IpAddr,
    ) -> Result<Value, Refusal> {
        let key = self
            .key
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        key.verify(head, body, self.clock.wall())?;
        let target = head.headers.get("x-amz-target");
        let target = target.and_then(|value| value.to_str().ok()).unwrap_or("");
        let operation = target.strip_prefix("TransferService.");
        let unreadable = || Refusal::new("SerializationException", "the body is not JSON");
        let body: Value = serde_json::from_slice(body).map_err(|_| unreadable())?;
        match operation {
            Some("TestIdentityProvider") => {
                test_identity_provider::perform(self, &body, peer).await
            }
            Some(other) => Err(Refusal::new(
                "UnknownOperationException",
                &format!("{other} is not supported; only TestIdentityProvider is"),
            )),
            None => Err(Refusal::new(
                "UnknownOperationException",
                "X-Amz-Target must begin with TransferService.",
            )),
        }
    }
}
