//! Servers that AWS's tools make, change, start and stop: for a process that carries several, such
//! as `quickstart --transfer-api`.

use std::fmt::Debug;
use std::net::IpAddr;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::arn::Named;
use super::operation::Operation;
use super::refusal::Refusal;
use super::request::{Request, shown};
use super::server::Server;
use super::server_settings::ServerSettings;
use super::signature::Caller;
use crate::audit;
use crate::idp::service_managed::{Fault, Tag};
use crate::secret::Secret;

/// Carries servers.
#[async_trait]
pub trait ServerActions: Debug + Send + Sync + 'static {
    /// Returns all of them, as they are now.
    fn servers(&self) -> Vec<Server>;

    /// Makes a server and returns its id.
    async fn create(&self, wanted: WantedServer, tags: Vec<Tag>) -> Result<String, Fault>;

    async fn update(&self, id: &str, change: WantedServer) -> Result<(), Fault>;

    /// Receives clients, or goes on to do so.
    async fn start(&self, id: &str) -> Result<(), Fault>;

    /// Receives no more clients, or goes on to receive none.
    async fn stop(&self, id: &str) -> Result<(), Fault>;

    async fn delete(&self, id: &str) -> Result<(), Fault>;

    async fn tag(&self, id: &str, change: TagChange) -> Result<(), Fault>;
}

/// What a request says of a server.
#[derive(Debug, Clone, Default)]
pub struct WantedServer {
    pub settings: ServerSettings,
    /// The private host key; an empty one says nothing.
    pub host_key: Option<Secret>,
}

/// What becomes of tags.
#[derive(Debug, Clone)]
pub enum TagChange {
    Add(Vec<Tag>),
    Remove(Vec<String>),
}

/// What the members of a listing are, of those of a description.
pub(super) const LISTED: [&str; 5] = [
    "Domain",
    "EndpointType",
    "IdentityProviderType",
    "LoggingRole",
    "State",
];

/// Does what is asked of a server itself; `None`: it is not about one.
pub(super) async fn perform(
    made: &dyn ServerActions,
    operation: Operation,
    body: &Value,
    caller: &Caller,
    source_ip: IpAddr,
) -> Result<Option<Value>, Refusal> {
    let request = Request::of(operation, body)?;
    let id = || request.required("ServerId");
    let named = |id: &str| json!({"ServerId": id});
    let (id, answer) = match operation {
        Operation::CreateServer => {
            let id = made.create(wanted(request, body)?, request.tags()?).await?;
            let answer = named(&id);
            (id, answer)
        }
        Operation::UpdateServer => {
            let id = id()?;
            made.update(id, wanted(request, body)?).await?;
            (id.to_owned(), named(id))
        }
        Operation::StartServer => {
            let id = id()?;
            made.start(id).await?;
            (id.to_owned(), json!({}))
        }
        Operation::StopServer => {
            let id = id()?;
            made.stop(id).await?;
            (id.to_owned(), json!({}))
        }
        Operation::DeleteServer => {
            let id = id()?;
            made.delete(id).await?;
            (id.to_owned(), json!({}))
        }
        Operation::TagResource | Operation::UntagResource => {
            let Named::Server(id) = Named::parse(request.required("Arn")?)? else {
                return Ok(None);
            };
            let change = if operation == Operation::TagResource {
                TagChange::Add(request.added_tags()?)
            } else {
                TagChange::Remove(request.removed_tag_keys()?)
            };
            made.tag(id, change).await?;
            (id.to_owned(), json!({}))
        }
        Operation::CreateUser
        | Operation::UpdateUser
        | Operation::DeleteUser
        | Operation::DescribeUser
        | Operation::ListUsers
        | Operation::ImportSshPublicKey
        | Operation::DeleteSshPublicKey
        | Operation::ListTagsForResource
        | Operation::DescribeServer
        | Operation::ListServers
        | Operation::ListHostKeys
        | Operation::DescribeHostKey
        | Operation::ListSecurityPolicies
        | Operation::DescribeSecurityPolicy
        | Operation::TestIdentityProvider => return Ok(None),
    };
    audit::server_changed(operation.as_str(), &id, &caller.access_key_id, source_ip);
    Ok(Some(answer))
}

/// Reads what is said of a server.
fn wanted(request: Request<'_>, body: &Value) -> Result<WantedServer, Refusal> {
    if let Some(storage) = request.text("HostKeyStorageType")?
        && storage != "SERVICE_MANAGED"
    {
        let message = "HostKeyStorageType must be SERVICE_MANAGED here";
        return Err(Refusal::invalid(message));
    }
    let host_key = request.text("HostKey")?.filter(|key| !key.is_empty());
    let mut members = body.as_object().cloned().unwrap_or_default();
    for key in ["HostKey", "HostKeyStorageType", "ServerId", "Tags"] {
        members.remove(key);
    }
    let settings =
        serde_json::from_value(Value::Object(members)).map_err(|error| unreadable(&error))?;
    Ok(WantedServer {
        settings,
        host_key: host_key.map(|key| Secret::new(key.to_owned())),
    })
}

/// Says what is wrong with a member; one that is not known is another error than one of a wrong
/// type.
fn unreadable(error: &serde_json::Error) -> Refusal {
    let why = shown(&error.to_string());
    let kind = if ["unknown field", "missing field"]
        .iter()
        .any(|words| why.starts_with(words))
    {
        "InvalidRequestException"
    } else {
        "SerializationException"
    };
    Refusal::new(kind, &why)
}
