//! Resources of a Terraform state file: `aws_transfer_*` and `aws_iam_role`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::described::{
    DescribedKey, DescribedUser, Descriptions, HostKey, IamRole, Server, home_type, hostname,
    id_of, map_type, plain_fingerprint, secondary, trust_of,
};
use super::input::{InputError, Node};
use crate::idp::service_managed::{MapEntry, PosixProfile, Tag};

/// Takes in a whole state.
pub(super) fn take(found: &mut Descriptions, root: &Node<'_>) -> Result<(), InputError> {
    let version = root.number("version")?;
    if version != 4 {
        return Err(root.fault("version", format!("found {version}; allowed: 4")));
    }
    let mut users: BTreeMap<(String, String), DescribedUser> = BTreeMap::new();
    let mut keys: BTreeMap<(String, String), Vec<DescribedKey>> = BTreeMap::new();
    for resource in root.nodes("resources")? {
        if resource.filled("mode")?.is_some_and(|mode| mode == "data") {
            continue;
        }
        let kind = resource.need("type")?;
        for instance in resource.nodes("instances")? {
            let Some(attributes) = instance.node("attributes")? else {
                continue;
            };
            match &*kind {
                "aws_transfer_server" => {
                    let server = server_of(&attributes)?;
                    found.servers.insert(server.id.clone(), server);
                }
                "aws_transfer_user" => {
                    users.insert(whose(&attributes)?, user_of(&attributes)?);
                }
                "aws_transfer_ssh_key" => {
                    let body = attributes.need("body")?;
                    let id = attributes.filled("ssh_key_id")?;
                    let id = id.or_else(|| key_id(&attributes));
                    let key = DescribedKey {
                        id,
                        body: body.trim().to_owned(),
                        imported: None,
                    };
                    keys.entry(whose(&attributes)?).or_default().push(key);
                }
                "aws_transfer_host_key" => {
                    let fingerprint = attributes.need("host_key_fingerprint")?;
                    let key = HostKey {
                        id: attributes.filled("host_key_id")?,
                        key_type: None,
                        fingerprint: plain_fingerprint(&fingerprint),
                        description: attributes.filled("description")?,
                    };
                    found.keep_host_key(attributes.need("server_id")?, key);
                }
                "aws_iam_role" => {
                    let arn = attributes.need("arn")?;
                    let trust = trust_of(&attributes, "assume_role_policy")?;
                    found.roles.insert(arn.clone(), IamRole { arn, trust });
                }
                _ => {}
            }
        }
    }
    for (whose, own) in keys {
        match users.get_mut(&whose) {
            Some(user) => user.keys = own,
            None => {
                let (server, name) = whose;
                let why = format!("a key of user {name} of {server}, who is not in the state");
                return Err(root.fault("aws_transfer_ssh_key", why));
            }
        }
    }
    for (whose, user) in users {
        found.keep_user(whose, user, root)?;
    }
    Ok(())
}

fn whose(attributes: &Node<'_>) -> Result<(String, String), InputError> {
    let server = attributes.need("server_id")?;
    Ok((server, attributes.need("user_name")?))
}

/// The id of such a resource is `server/user/key`.
fn key_id(attributes: &Node<'_>) -> Option<String> {
    let id = attributes.filled("id").ok()??;
    let id = id.rsplit('/').next()?;
    id.starts_with("key-").then(|| id.to_owned())
}

fn server_of(server: &Node<'_>) -> Result<Server, InputError> {
    let none = Map::new();
    let empty = || Node::root("", &none);
    let endpoint = server.block("endpoint_details")?.unwrap_or_else(empty);
    let protocol = server.block("protocol_details")?.unwrap_or_else(empty);
    let proxy = protocol.block("proxy_config")?.unwrap_or_else(empty);
    let workflows = server.block("workflow_details")?.unwrap_or_else(empty);
    let has_workflows = !workflows.nodes("on_upload")?.is_empty()
        || !workflows.nodes("on_partial_upload")?.is_empty();
    let logging = server.filled("logging_role")?;
    let structured = server.texts("structured_log_destinations")?;
    let invocation = server.filled("invocation_role")?;
    let tags = match server.value("tags_all") {
        Some(_) => tags_of(server, "tags_all")?,
        None => tags_of(server, "tags")?,
    };
    let fingerprint = server.filled("host_key_fingerprint")?;
    Ok(Server {
        id: server.need("id")?,
        arn: server.filled("arn")?,
        domain: server.filled("domain")?,
        endpoint_type: server.filled("endpoint_type")?,
        addresses: endpoint.texts("address_allocation_ids")?,
        provider_type: server.filled("identity_provider_type")?,
        function: server.filled("function")?,
        url: server.filled("url")?,
        methods: server.filled("sftp_authentication_methods")?,
        protocols: server.texts("protocols")?,
        security_policy: server.filled("security_policy_name")?,
        banner: server.filled("pre_authentication_login_banner")?,
        hostname: hostname(&tags),
        has_workflows,
        setstat_option: protocol.filled("set_stat_option")?,
        proxy_mode: proxy.filled("sftp_mode")?,
        logs: logging.is_some() || !structured.is_empty(),
        own_roles: logging.into_iter().chain(invocation).collect(),
        fingerprint,
        user_count: None,
    })
}

fn user_of(user: &Node<'_>) -> Result<DescribedUser, InputError> {
    let mapping = |row: &Node<'_>| {
        Ok(MapEntry {
            entry: row.need("entry")?,
            target: row.need("target")?,
            map_type: map_type(row, "type")?,
        })
    };
    let mappings = user.nodes("home_directory_mappings")?;
    Ok(DescribedUser {
        role: user.filled("role")?,
        policy: user.filled("policy")?,
        home_type: home_type(user, "home_directory_type")?,
        home: user.filled("home_directory")?,
        mappings: mappings.iter().map(mapping).collect::<Result<_, _>>()?,
        posix: match user.block("posix_profile")? {
            Some(profile) => Some(PosixProfile {
                uid: id_of(&profile, "uid")?,
                gid: id_of(&profile, "gid")?,
                secondary_gids: secondary(&profile, "secondary_gids")?,
            }),
            None => None,
        },
        tags: tags_of(user, "tags")?,
        keys: Vec::new(),
    })
}

fn tags_of(node: &Node<'_>, name: &str) -> Result<Vec<Tag>, InputError> {
    let Some(tags) = node.node(name)? else {
        return Ok(Vec::new());
    };
    let tag = |key: &str| {
        let value = match tags.value(key) {
            Some(Value::String(value)) => value.clone(),
            _ => String::new(),
        };
        Tag {
            key: key.to_owned(),
            value,
        }
    };
    Ok(tags.names().map(tag).collect())
}
