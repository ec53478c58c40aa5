//! What AWS's tools are told of servers.

use serde_json::{Value, json};

use super::arn::Named;
use super::made::LISTED;
use super::refusal::Refusal;
use super::request::{Request, set, token};
use super::server::{Server, Servers};
use super::transport;
use crate::auth::Methods;

pub(super) async fn describe(
    servers: &Servers,
    request: Request<'_>,
    region: &str,
) -> Result<Value, Refusal> {
    let id = request.required("ServerId")?;
    let all = servers.of(id)?;
    let mut server = summary(id, &all, region).await?;
    set(&mut server, "Protocols", json!(["SFTP"]));
    set(&mut server, "Tags", json!([]));
    let shown = all.iter().flat_map(|server| server.transports.shown());
    let shown: Vec<_> = shown.collect();
    if let Some(fingerprint) = transport::first_fingerprint(&shown) {
        set(&mut server, "HostKeyFingerprint", fingerprint.into());
        let policy = transport::policy_of(&shown);
        set(&mut server, "SecurityPolicyName", policy.into());
    }
    if let Some(first) = all.iter().find(|server| server.users.is_none()) {
        let details = json!({"SftpAuthenticationMethods": methods(first.auth.methods)});
        set(&mut server, "IdentityProviderDetails", details);
    }
    if let Some(made) = all.iter().find_map(|server| server.made.as_ref()) {
        for (key, value) in made.description.as_object().into_iter().flatten() {
            set(&mut server, key, value.clone());
        }
        set(&mut server, "Tags", json!(made.tags));
    }
    Ok(json!({"Server": server}))
}

pub(super) async fn list(
    servers: &Servers,
    request: Request<'_>,
    region: &str,
) -> Result<Value, Refusal> {
    let (max, after) = (request.max_results()?, request.next_token()?);
    let ids = servers.ids();
    let skip = match &after {
        None => 0,
        Some(after) => {
            let last = ids.iter().position(|id| id == after);
            last.map_or(ids.len(), |last| last.saturating_add(1))
        }
    };
    let mut page = Vec::new();
    for id in ids.iter().skip(skip).take(max.into()) {
        page.push(summary(id, &servers.of(id)?, region).await?);
    }
    let end = skip.saturating_add(page.len());
    let next = (ids.len() > end).then(|| ids.get(end.saturating_sub(1)));
    let mut answer = json!({"Servers": page});
    if let Some(Some(last)) = next {
        set(&mut answer, "NextToken", token(last).into());
    }
    Ok(answer)
}

/// What both say.
async fn summary(id: &str, all: &[&Server], region: &str) -> Result<Value, Refusal> {
    let mut server = json!({
        "Arn": Named::Server(id).write(region),
        "Domain": "S3",
        "EndpointType": "PUBLIC",
        "ServerId": id,
        "State": "ONLINE",
    });
    if let Some(kind) = all.iter().find_map(|server| server.provider_type) {
        set(&mut server, "IdentityProviderType", kind.into());
    }
    if let Some(made) = all.iter().find_map(|server| server.made.as_ref()) {
        for key in LISTED {
            if let Some(value) = made.description.get(key) {
                set(&mut server, key, value.clone());
            }
        }
    }
    if let Some(users) = all.iter().find_map(|server| server.users.as_deref())
        && let Some(count) = users.count().await?
    {
        set(&mut server, "UserCount", count.into());
    }
    Ok(server)
}

/// Returns AWS's word.
const fn methods(methods: Methods) -> &'static str {
    match methods {
        Methods::KeyOrPassword => "PUBLIC_KEY_OR_PASSWORD",
        Methods::Password => "PASSWORD",
        Methods::Key => "PUBLIC_KEY",
        Methods::KeyAndPassword => "PUBLIC_KEY_AND_PASSWORD",
    }
}
