//! Descriptions held against the gateway's configuration: what moves, and what is still to be done.

use std::collections::{BTreeMap, BTreeSet};

use self::addresses::addresses;
use self::keys::{algorithms, host_keys};
use self::roles::{permissions, trust};
use self::servers::server;
use self::users::users;
use super::described::Descriptions;
use super::report::{Finding, Report, Topic};
use super::trust::Principal;
use crate::config::{Methods, PartialUploads, PathHomes, Provider, ProxyProtocol, Roles};
use crate::idp::service_managed::User;

mod addresses;
mod keys;
mod roles;
mod servers;
mod users;

/// What the configuration says, as far as a move depends on it.
#[derive(Debug, Clone)]
pub struct Gateway {
    pub providers: Vec<Configured>,
    pub roles: Roles,
    pub path_homes: PathHomes,
    pub external_id: Option<String>,
    pub has_session_tags: bool,
    pub has_source_identity: bool,
    /// Roles that have a table `[role.NAME]`, by their ARNs.
    pub role_tables: BTreeSet<String>,
    pub partial_uploads: PartialUploads,
    /// Where clients arrive whose server no provider has.
    pub main: Served,
    pub macs: Vec<&'static str>,
    /// File systems that are served.
    pub fs_ids: Vec<String>,
    /// The gateway's own identity at AWS, if it was named.
    pub principal: Option<Principal>,
}

/// A provider of the configuration.
#[derive(Debug, Clone)]
pub struct Configured {
    pub server_id: String,
    pub provider: Provider,
    /// It is asked as Transfer Family asks.
    pub asks_as_aws: bool,
    pub function: Option<String>,
    pub url: String,
    pub methods: Methods,
    pub served: Served,
    pub users: KeptUsers,
}

/// What clients meet at the listener of a provider.
#[derive(Debug, Clone, Default)]
pub struct Served {
    pub listener: String,
    /// Further listeners with the same provider.
    pub others: Vec<String>,
    pub port: u16,
    pub proxy: ProxyProtocol,
    pub banner: Option<String>,
    /// Fingerprints of the keys that are used.
    pub host_keys: Vec<String>,
    /// Fingerprints of the keys that are only announced.
    pub host_keys_next: Vec<String>,
    pub is_compatible: bool,
    pub key_exchanges: Vec<&'static str>,
}

/// Users that the gateway keeps already.
#[derive(Debug, Clone)]
pub enum KeptUsers {
    /// The provider keeps none.
    None,
    /// They are where this command does not look.
    Elsewhere(String),
    Read {
        /// Those that were described; a document may be unreadable.
        users: BTreeMap<String, Result<User, String>>,
        /// The names of those that were not.
        others: Vec<String>,
    },
}

/// Holds every description against the configuration.
#[must_use]
pub fn check(found: &Descriptions, gateway: &Gateway) -> Report {
    let mut report = Report::default();
    let out = &mut report.findings;
    if found.servers.is_empty() {
        out.push(Finding::open(
            Topic::Server,
            "no server is described",
            "add the output of aws transfer describe-server",
        ));
    }
    strays(found, out);
    for described in found.servers.values() {
        let id = &*described.id;
        let providers = &gateway.providers;
        let configured = providers.iter().find(|one| one.server_id == id);
        let served = configured.map_or(&gateway.main, |one| &one.served);
        server(described, configured, gateway, out);
        if !served.others.is_empty() {
            let others = served.others.join(", ");
            let text = format!(
                "{id}: compared with the listener {}; also served, and not compared: {others}",
                served.listener
            );
            out.push(Finding::note(Topic::Server, text));
        }
        users(described, found, configured, gateway, out);
        algorithms(described, found, served, &gateway.macs, out);
        host_keys(described, found, served, out);
        addresses(described, configured, out);
    }
    permissions(found, gateway, out);
    trust(found, gateway, out);
    if found.servers.len() > 1 {
        let text = "several servers in one process have the same host keys, credentials and limits";
        out.push(Finding::note(Topic::Difference, text).numbered(32));
    }
    for (number, text) in ALWAYS {
        out.push(Finding::note(Topic::Difference, *text).numbered(*number));
    }
    report
}

/// Names servers of which only users or keys are described: nothing of them is compared.
fn strays(found: &Descriptions, out: &mut Vec<Finding>) {
    let users = found.users.keys().chain(found.listed.keys());
    let of_users: BTreeSet<_> = users.map(|(server, _)| server).collect();
    let of_keys = found.host_keys.keys().map(|(server, _)| server).collect();
    let groups: [(_, BTreeSet<&String>, _); 2] = [
        (Topic::Users, of_users, "users"),
        (Topic::HostKeys, of_keys, "host keys"),
    ];
    for (topic, servers, what) in groups {
        let others = servers
            .into_iter()
            .filter(|id| !found.servers.contains_key(*id));
        for id in others {
            out.push(Finding::open(
                topic,
                format!("{id}: its {what} are described and were not compared: it is not itself"),
                "add the output of aws transfer describe-server",
            ));
        }
    }
}

/// Differences that no description shows.
const ALWAYS: &[(u8, &str)] = &[
    (3, "the version line is SSH-2.0-Portcullis_…"),
    (
        10,
        "the gateway locks out users and sources that fail too often",
    ),
    (21, "a file can be opened for reading and writing at once"),
    (
        22,
        "directories can be renamed; posix-rename replaces a file",
    ),
    (24, "a time that is set before the upload begins is kept"),
    (
        26,
        "a file needs its directory: a path whose directory does not exist is refused",
    ),
    (28, "modes in listings differ"),
    (
        29,
        "objects have other metadata: consumers of user-agent-id need another source",
    ),
    (33, "2,000 connections per process, by default"),
];
