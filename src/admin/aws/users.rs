//! The operations on users: what AWS's tools ask, in the words of [`Users`].
//!
//! [`Users`]: crate::idp::service_managed::Users

use std::time::SystemTime;

use serde_json::{Value, json};

use super::arn::Named;
use super::refusal::Refusal;
use super::request::{Request, set, token};
use super::server::Servers;
use super::transport;
use crate::idp::service_managed::{Listed, User};
use crate::idp::wire::timestamp;

/// What was done: the answer, and for the log whose user it was.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) answer: Value,
    pub(super) server_id: String,
    pub(super) user: String,
    pub(super) key_id: Option<String>,
}

impl Done {
    fn new(server_id: &str, user: &str, answer: Value) -> Self {
        Self {
            answer,
            server_id: server_id.to_owned(),
            user: user.to_owned(),
            key_id: None,
        }
    }
}

pub(super) async fn create(servers: &Servers, request: Request<'_>) -> Result<Done, Refusal> {
    let (id, name) = (request.required("ServerId")?, request.required("UserName")?);
    let users = servers.users(id)?;
    let (fields, tags) = (request.user_fields()?, request.tags()?);
    let key = request.text("SshPublicKeyBody")?;
    let key_id = users.create(name, fields, tags, key).await?;
    let answer = json!({"ServerId": id, "UserName": name});
    Ok(Done {
        key_id,
        ..Done::new(id, name, answer)
    })
}

pub(super) async fn update(servers: &Servers, request: Request<'_>) -> Result<Done, Refusal> {
    let (id, name) = (request.required("ServerId")?, request.user_name()?);
    let users = servers.users(id)?;
    let fields = request.user_fields()?;
    users
        .change(name, |user| user.update(fields.clone()))
        .await?;
    Ok(Done::new(
        id,
        name,
        json!({"ServerId": id, "UserName": name}),
    ))
}

pub(super) async fn delete(servers: &Servers, request: Request<'_>) -> Result<Done, Refusal> {
    let (id, name) = (request.required("ServerId")?, request.user_name()?);
    servers.users(id)?.delete(name).await?;
    Ok(Done::new(id, name, json!({})))
}

pub(super) async fn import_key(servers: &Servers, request: Request<'_>) -> Result<Done, Refusal> {
    let (id, name) = (request.required("ServerId")?, request.user_name()?);
    let body = request.required("SshPublicKeyBody")?;
    let key = servers.users(id)?.import_key(name, body).await?;
    let answer = json!({"ServerId": id, "SshPublicKeyId": key, "UserName": name});
    Ok(Done {
        key_id: Some(key),
        ..Done::new(id, name, answer)
    })
}

pub(super) async fn delete_key(servers: &Servers, request: Request<'_>) -> Result<Done, Refusal> {
    let (id, name) = (request.required("ServerId")?, request.user_name()?);
    let key = request.required("SshPublicKeyId")?;
    let users = servers.users(id)?;
    users.change(name, |user| user.remove_key(key)).await?;
    Ok(Done {
        key_id: Some(key.to_owned()),
        ..Done::new(id, name, json!({}))
    })
}

pub(super) async fn tag(servers: &Servers, request: Request<'_>) -> Result<Done, Refusal> {
    let (id, name) = tagged(request.required("Arn")?)?;
    let tags = request.added_tags()?;
    let users = servers.users(id)?;
    users.change(name, |user| user.tag(tags.clone())).await?;
    Ok(Done::new(id, name, json!({})))
}

pub(super) async fn untag(servers: &Servers, request: Request<'_>) -> Result<Done, Refusal> {
    let (id, name) = tagged(request.required("Arn")?)?;
    let keys = request.removed_tag_keys()?;
    let remove = |user: &mut User| {
        user.untag(&keys);
        Ok(())
    };
    servers.users(id)?.change(name, remove).await?;
    Ok(Done::new(id, name, json!({})))
}

/// Returns the user whose tags are meant; nothing else has any.
fn tagged(arn: &str) -> Result<(&str, &str), Refusal> {
    match Named::parse(arn)? {
        Named::User { server, name } => Ok((server, name)),
        Named::Server(_) | Named::HostKey { .. } => {
            Err(Refusal::invalid("the gateway keeps tags of users alone"))
        }
    }
}

pub(super) async fn list_tags(servers: &Servers, request: Request<'_>) -> Result<Value, Refusal> {
    let arn = request.required("Arn")?;
    let tags = match Named::parse(arn)? {
        Named::User { server, name } => servers.users(server)?.describe(name).await?.tags,
        Named::Server(id) => {
            let all = servers.of(id)?;
            let made = all.iter().find_map(|server| server.made.as_deref());
            made.map(|made| made.tags.clone()).unwrap_or_default()
        }
        Named::HostKey { server, id } => {
            transport::find_key(servers, server, id)?;
            Vec::new()
        }
    };
    let (max, after) = (request.max_results()?, request.next_token()?);
    // The keys are in the order in which they came, each once.
    let skip = match &after {
        None => 0,
        Some(after) => {
            let last = tags.iter().position(|tag| tag.key == *after);
            last.map_or(tags.len(), |last| last.saturating_add(1))
        }
    };
    let page: Vec<_> = tags.iter().skip(skip).take(max.into()).collect();
    let mut answer = json!({"Arn": arn, "Tags": page});
    let more = tags.len() > skip.saturating_add(page.len());
    if let Some(last) = page.last().filter(|_| more) {
        set(&mut answer, "NextToken", token(&last.key).into());
    }
    Ok(answer)
}

pub(super) async fn describe(
    servers: &Servers,
    request: Request<'_>,
    region: &str,
) -> Result<Value, Refusal> {
    let (id, name) = (request.required("ServerId")?, request.user_name()?);
    let user = servers.users(id)?.describe(name).await?;
    Ok(json!({"ServerId": id, "User": described(id, &user, region)}))
}

fn described(server: &str, user: &User, region: &str) -> Value {
    let name = &user.user_name;
    let keys = user.ssh_public_keys.iter().map(|key| {
        json!({
            "DateImported": seconds(&key.date_imported),
            "SshPublicKeyBody": key.ssh_public_key_body,
            "SshPublicKeyId": key.ssh_public_key_id,
        })
    });
    let keys: Vec<_> = keys.collect();
    let mut described = json!({
        "Arn": Named::User { server, name }.write(region),
        "UserName": name,
        "Role": user.role,
        "HomeDirectoryType": user.home_directory_type.as_str(),
        "SshPublicKeys": keys,
        "Tags": user.tags,
    });
    // What is not there is left out, as AWS does.
    if let Some(policy) = &user.policy {
        set(&mut described, "Policy", policy.as_str().into());
    }
    if let Some(home) = &user.home_directory {
        set(&mut described, "HomeDirectory", home.as_str().into());
    }
    if !user.home_directory_mappings.is_empty() {
        let rows = json!(user.home_directory_mappings);
        set(&mut described, "HomeDirectoryMappings", rows);
    }
    if let Some(profile) = &user.posix_profile {
        set(&mut described, "PosixProfile", json!(profile));
    }
    described
}

pub(super) async fn list(
    servers: &Servers,
    request: Request<'_>,
    region: &str,
) -> Result<Value, Refusal> {
    let id = request.required("ServerId")?;
    let (max, after) = (request.max_results()?, request.next_token()?);
    let page = servers.users(id)?.list(after.as_deref(), max).await?;
    let users = page.users.iter().map(|user| listed(id, user, region));
    let users: Vec<_> = users.collect();
    let mut answer = json!({"ServerId": id, "Users": users});
    if let Some(next) = &page.next {
        set(&mut answer, "NextToken", token(next).into());
    }
    Ok(answer)
}

fn listed(server: &str, user: &Listed, region: &str) -> Value {
    let name = &user.user_name;
    let mut row = json!({
        "Arn": Named::User { server, name }.write(region),
        "HomeDirectoryType": user.home_directory_type.as_str(),
        "Role": user.role,
        "SshPublicKeyCount": user.keys,
        "UserName": name,
    });
    if let Some(home) = &user.home_directory {
        set(&mut row, "HomeDirectory", home.as_str().into());
    }
    row
}

/// Times are numbers on this wire; a document that somebody wrote may have none.
fn seconds(text: &str) -> u64 {
    let time = timestamp::parse(text).unwrap_or(SystemTime::UNIX_EPOCH);
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
