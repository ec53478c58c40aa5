//! From descriptions to what the gateway reads: documents of users, and a configuration.

use std::fmt::Write as _;

use super::described::{DescribedUser, Descriptions, Server};
use super::toml_text::{comment, list, quoted};
use crate::idp::service_managed::{Fields, HomeDirectoryType, SshPublicKey, User, imported_at};

/// Where the files are to be, as the configuration names them.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// A directory for all of them.
    pub into: &'a str,
    /// The port of the first server; the others have those after it.
    pub port: u16,
}

/// What is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// With the id of the server.
    pub users: Vec<(String, User)>,
    pub configuration: Option<String>,
    /// What cannot move, and why.
    pub left_out: Vec<String>,
    /// What has to be looked at afterwards.
    pub notes: Vec<String>,
}

/// Makes users and a configuration out of descriptions.
#[must_use]
pub fn import(found: &Descriptions, places: Places<'_>) -> Imported {
    let mut imported = Imported::default();
    for ((server, name), user) in &found.users {
        match kept_as(name, user) {
            Ok(kept) => imported.users.push((server.clone(), kept)),
            Err(why) => imported
                .left_out
                .push(format!("user {name} of {server}: {why}")),
        }
    }
    let mut listed = found
        .listed
        .keys()
        .filter(|who| !found.users.contains_key(*who));
    if let Some((server, name)) = listed.next() {
        let more = listed.count().saturating_add(1);
        imported.left_out.push(format!(
            "{more} users are listed and not described, such as {name} of {server}: add the \
             output of aws transfer describe-user"
        ));
    }
    let mut servers = Vec::new();
    for server in found.servers.values() {
        match Kind::of(server) {
            Ok(kind) => servers.push((server, kind)),
            Err(why) => imported
                .left_out
                .push(format!("server {}: {why}", server.id)),
        }
    }
    if !servers.is_empty() {
        let text = configuration(found, &servers, places, &mut imported.notes);
        imported.configuration = Some(text);
    }
    imported
}

/// Returns the document of a described user.
///
/// # Errors
/// What the gateway would refuse, as its API does.
pub(super) fn kept_as(name: &str, user: &DescribedUser) -> Result<User, String> {
    let is_logical = user.home_type == HomeDirectoryType::Logical;
    // Terraform writes `/` for what is not set, and AWS forgets it.
    let home = user.home.clone();
    let home = home.filter(|home| !(is_logical && home == "/"));
    let fields = Fields {
        role: user.role.clone(),
        policy: user.policy.clone(),
        home_directory_type: Some(user.home_type),
        home_directory: home,
        home_directory_mappings: is_logical.then(|| user.mappings.clone()),
        posix_profile: user.posix.clone(),
    };
    let tags = user.tags.clone();
    let mut kept = User::create(name, fields, tags).map_err(|fault| fault.to_string())?;
    for (at, key) in user.keys.iter().enumerate() {
        let id = key.id.clone();
        let key = SshPublicKey {
            // Ids of AWS's form; a state file may have none.
            ssh_public_key_id: id.unwrap_or_else(|| format!("key-{at:017x}")),
            ssh_public_key_body: key.body.clone(),
            date_imported: imported_at(key.imported.as_deref()),
        };
        kept.import(key).map_err(|fault| fault.to_string())?;
    }
    Ok(kept)
}

/// Who is asked about a server's logins.
#[derive(Debug, Clone, Copy)]
enum Kind<'s> {
    ServiceManaged,
    Lambda { function: &'s str },
    ApiGateway { url: &'s str },
}

impl<'s> Kind<'s> {
    fn of(server: &'s Server) -> Result<Self, String> {
        match server.provider_type.as_deref() {
            None | Some("SERVICE_MANAGED") => Ok(Self::ServiceManaged),
            Some("AWS_LAMBDA") => match &server.function {
                Some(function) => Ok(Self::Lambda { function }),
                None => Err("AWS_LAMBDA without a Function".to_owned()),
            },
            Some("API_GATEWAY") => match &server.url {
                Some(url) => Ok(Self::ApiGateway { url }),
                None => Err("API_GATEWAY without a Url".to_owned()),
            },
            Some("AWS_DIRECTORY_SERVICE") => {
                Err("AWS_DIRECTORY_SERVICE cannot move: write a webhook".to_owned())
            }
            Some(other) => Err(format!("the provider type {other:?} is unknown")),
        }
    }

    fn settings(self, server: &Server, into: &str) -> String {
        let mut text = match self {
            Self::ServiceManaged => format!(
                "provider = \"service-managed\"\nusers_store = {}\n",
                quoted(&format!("{into}/users"))
            ),
            Self::Lambda { function } => {
                format!("provider = \"lambda\"\nfunction = {}\n", quoted(function))
            }
            Self::ApiGateway { url } => format!(
                "provider = \"api-gateway\"\nurl = {}\nsign = \"aws\"\n",
                quoted(url)
            ),
        };
        // In a table as well: it would have those of [identity] otherwise.
        let methods = match (self, server.methods.as_deref()) {
            (Self::ServiceManaged, _) | (_, Some("PUBLIC_KEY")) => "key",
            (_, Some("PASSWORD")) => "password",
            (_, Some("PUBLIC_KEY_AND_PASSWORD")) => "key-and-password",
            (Self::Lambda { .. } | Self::ApiGateway { .. }, _) => "key-or-password",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "methods = \"{methods}\"");
        text
    }
}

fn configuration(
    found: &Descriptions,
    servers: &[(&Server, Kind<'_>)],
    places: Places<'_>,
    notes: &mut Vec<String>,
) -> String {
    let into = places.into;
    let ids: Vec<_> = servers
        .iter()
        .map(|(server, _)| server.id.as_str())
        .collect();
    let first = ids.first().copied().unwrap_or_default();
    let mut text = comment(&format!("The gateway in place of {}.", ids.join(", ")));
    text += "# Before it serves: portcullis migrate check --config with this file.\n";
    let _ = writeln!(text, "server_id = {}", quoted(first));
    let _ = writeln!(text, "listen = \"0.0.0.0:{}\"", places.port);
    text += "# Makes new host keys; for the old ones name their files in host_key_files.\n";
    let _ = writeln!(
        text,
        "state_directory = {}",
        quoted(&format!("{into}/state"))
    );
    text += "\n[identity]\n";
    let tables = match servers {
        [(server, kind)] => {
            text += &kind.settings(server, into);
            String::new()
        }
        several => {
            let names: Vec<_> = (1..=several.len())
                .map(|at| format!("server{at}"))
                .collect();
            let _ = writeln!(
                text,
                "providers = {}",
                list(names.iter().map(String::as_str))
            );
            // The main port has the methods of its provider.
            if let Some((server, kind)) = several.first() {
                let settings = kind.settings(server, into);
                let methods = settings.lines().find(|line| line.starts_with("methods"));
                let methods = methods.map(|line| format!("{line}\n"));
                text += methods.as_deref().unwrap_or_default();
            }
            tables(several, &names, places)
        }
    };
    text += "roles = \"assume\"\n";
    let mut users = found.users.values();
    if users.any(|user| user.home_type == HomeDirectoryType::Path) {
        text += "# As on AWS: the role decides what a user with a PATH home can reach.\n";
        text += "path_homes = \"role\"\n";
    }
    text += &tables;
    text += &shared(servers, notes);
    text
}

/// Writes a table for each server; all but the first have a port of their own.
fn tables(servers: &[(&Server, Kind<'_>)], names: &[String], places: Places<'_>) -> String {
    let mut text = String::new();
    let ports = (places.port..=u16::MAX).map(u32::from);
    for (((server, kind), name), port) in servers.iter().zip(names).zip(ports) {
        let _ = writeln!(text, "\n[provider.{name}]");
        let _ = writeln!(text, "server_id = {}", quoted(&server.id));
        if port != u32::from(places.port) {
            let _ = writeln!(text, "listen = \"0.0.0.0:{port}\"");
        }
        text += &kind.settings(server, places.into);
    }
    text
}

/// Writes what one process has once.
fn shared(servers: &[(&Server, Kind<'_>)], notes: &mut Vec<String>) -> String {
    let mut text = String::new();
    let mut regions: Vec<_> = servers.iter().filter_map(|(one, _)| one.region()).collect();
    regions.dedup();
    if let [region, others @ ..] = &*regions {
        let _ = writeln!(text, "\n[storage]\nregion = {}", quoted(region));
        if !others.is_empty() {
            let more = others.join(", ");
            notes.push(format!(
                "servers of other regions ({more}) are asked in {region}"
            ));
        }
    }
    let policies = servers
        .iter()
        .filter_map(|(one, _)| one.security_policy.as_deref());
    let named = policies.filter_map(super::algorithms::Policy::named);
    if named
        .flat_map(|policy| policy.kex)
        .any(|kex| kex.contains("group1"))
    {
        text += "\n[ssh]\n# For clients without elliptic curves.\nalgorithms = \"compatible\"\n";
    }
    let mut banners: Vec<_> = servers
        .iter()
        .filter_map(|(one, _)| one.banner.as_deref())
        .collect();
    banners.dedup();
    if let [banner, others @ ..] = &*banners {
        let _ = writeln!(text, "\n[sftp]\nbanner = {}", quoted(banner));
        if !others.is_empty() {
            notes.push("the servers have different banners: the first one is used".to_owned());
        }
    }
    for (server, _) in servers {
        let id = &server.id;
        if server.proxy_mode.as_deref() == Some("PROXY_PROTOCOL_V2_ENFORCED") {
            notes.push(format!(
                "{id}: set proxy_protocol = \"required\" and trusted_networks of its load balancer"
            ));
        }
    }
    text
}
