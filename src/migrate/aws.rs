//! What AWS's command line prints.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::described::{
    DescribedKey, DescribedUser, Descriptions, HostKey, IamRole, Server, home_type, hostname,
    id_of, map_type, plain_fingerprint, secondary, trust_of,
};
use super::input::{InputError, Node};
use crate::clock::written;
use crate::idp::service_managed::{MapEntry, PosixProfile, Tag};

/// Takes in one description; false: it is none that is known.
pub(super) fn take(found: &mut Descriptions, root: &Node<'_>) -> Result<bool, InputError> {
    if let Some(server) = root.node("Server")? {
        let server = server_of(&server)?;
        found.servers.insert(server.id.clone(), server);
    } else if let Some(user) = root.node("User")? {
        let name = user.need("UserName")?;
        let server = server_id(root, &user, "user/")?;
        found.keep_user((server, name), user_of(&user)?, root)?;
    } else if root.has("Users") && root.has("ServerId") {
        let server = root.need("ServerId")?;
        for user in root.nodes("Users")? {
            let keys = user.number("SshPublicKeyCount")?;
            let name = user.need("UserName")?;
            found.listed.insert((server.clone(), name), keys);
        }
    } else if let Some(key) = root.node("HostKey")? {
        let server = server_id(root, &key, "host-key/")?;
        found.keep_host_key(server, host_key_of(&key, "HostKeyFingerprint")?);
    } else if root.has("HostKeys") {
        for key in root.nodes("HostKeys")? {
            let server = server_id(root, &key, "host-key/")?;
            found.keep_host_key(server, host_key_of(&key, "Fingerprint")?);
        }
    } else if let Some(role) = root.node("Role")? {
        let arn = role.need("Arn")?;
        let trust = trust_of(&role, "AssumeRolePolicyDocument")?;
        found.roles.insert(arn.clone(), IamRole { arn, trust });
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn server_of(server: &Node<'_>) -> Result<Server, InputError> {
    let none = Map::new();
    let empty = Node::root("", &none);
    let provider = server.node("IdentityProviderDetails")?;
    let provider = provider.unwrap_or_else(|| empty.clone());
    let endpoint = server.node("EndpointDetails")?;
    let protocol = server
        .node("ProtocolDetails")?
        .unwrap_or_else(|| empty.clone());
    let proxy = protocol.node("ProxyConfig")?;
    let workflows = server
        .node("WorkflowDetails")?
        .unwrap_or_else(|| empty.clone());
    let has_workflows =
        !workflows.nodes("OnUpload")?.is_empty() || !workflows.nodes("OnPartialUpload")?.is_empty();
    let logging = server.filled("LoggingRole")?;
    let structured = server.texts("StructuredLogDestinations")?;
    let invocation = provider.filled("InvocationRole")?;
    Ok(Server {
        id: server.need("ServerId")?,
        arn: server.filled("Arn")?,
        domain: server.filled("Domain")?,
        endpoint_type: server.filled("EndpointType")?,
        addresses: match endpoint {
            Some(endpoint) => endpoint.texts("AddressAllocationIds")?,
            None => Vec::new(),
        },
        provider_type: server.filled("IdentityProviderType")?,
        function: provider.filled("Function")?,
        url: provider.filled("Url")?,
        methods: provider.filled("SftpAuthenticationMethods")?,
        protocols: server.texts("Protocols")?,
        security_policy: server.filled("SecurityPolicyName")?,
        banner: server.filled("PreAuthenticationLoginBanner")?,
        hostname: hostname(&tags_of(server, "Tags")?),
        has_workflows,
        setstat_option: protocol.filled("SetStatOption")?,
        proxy_mode: match proxy {
            Some(proxy) => proxy.filled("SftpMode")?,
            None => None,
        },
        logs: logging.is_some() || !structured.is_empty(),
        own_roles: logging.into_iter().chain(invocation).collect(),
        fingerprint: server.filled("HostKeyFingerprint")?,
        user_count: match server.value("UserCount") {
            Some(_) => Some(server.number("UserCount")?),
            None => None,
        },
    })
}

fn user_of(user: &Node<'_>) -> Result<DescribedUser, InputError> {
    let mapping = |row: &Node<'_>| {
        Ok(MapEntry {
            entry: row.need("Entry")?,
            target: row.need("Target")?,
            map_type: map_type(row, "Type")?,
        })
    };
    let key = |key: &Node<'_>| {
        Ok(DescribedKey {
            id: key.filled("SshPublicKeyId")?,
            body: key.need("SshPublicKeyBody")?,
            imported: time_of(key, "DateImported"),
        })
    };
    let mappings = user.nodes("HomeDirectoryMappings")?;
    let keys = user.nodes("SshPublicKeys")?;
    Ok(DescribedUser {
        role: user.filled("Role")?,
        policy: user.filled("Policy")?,
        home_type: home_type(user, "HomeDirectoryType")?,
        home: user.filled("HomeDirectory")?,
        mappings: mappings.iter().map(mapping).collect::<Result<_, _>>()?,
        posix: match user.node("PosixProfile")? {
            Some(profile) => Some(PosixProfile {
                uid: id_of(&profile, "Uid")?,
                gid: id_of(&profile, "Gid")?,
                secondary_gids: secondary(&profile, "SecondaryGids")?,
            }),
            None => None,
        },
        tags: tags_of(user, "Tags")?,
        keys: keys.iter().map(key).collect::<Result<_, _>>()?,
    })
}

fn tags_of(node: &Node<'_>, name: &str) -> Result<Vec<Tag>, InputError> {
    let tag = |tag: &Node<'_>| {
        Ok(Tag {
            key: tag.need("Key")?,
            value: tag.text("Value")?.unwrap_or_default(),
        })
    };
    node.nodes(name)?.iter().map(tag).collect()
}

fn host_key_of(key: &Node<'_>, fingerprint: &str) -> Result<HostKey, InputError> {
    Ok(HostKey {
        id: key.filled("HostKeyId")?,
        key_type: key.filled("Type")?,
        fingerprint: plain_fingerprint(&key.need(fingerprint)?),
        description: key.filled("Description")?,
    })
}

/// Returns a time as text; the first version of AWS's command line prints seconds.
fn time_of(node: &Node<'_>, name: &str) -> Option<String> {
    match node.value(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let text = number.to_string();
            let seconds = text.split('.').next()?.parse().ok()?;
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            time.map(written)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns the server of a description: it says so, or its ARN does.
fn server_id(root: &Node<'_>, node: &Node<'_>, kind: &str) -> Result<String, InputError> {
    if let Some(id) = root.filled("ServerId")? {
        return Ok(id);
    }
    let arn = node.filled("Arn")?.unwrap_or_default();
    let named = arn.split_once(kind).map(|(_, rest)| rest);
    let id = named.and_then(|rest| rest.split('/').next());
    match id.filter(|id| !id.is_empty()) {
        Some(id) => Ok(id.to_owned()),
        None => Err(root.fault("ServerId", "missing, and no Arn names the server")),
    }
}
