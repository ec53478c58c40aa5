//! `[listener.NAME]`: where clients are received, and how. `listen` at the top and
//! `[provider.NAME].listen` are short forms of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::problem::Place;
use super::settings::{LISTENERS, PROVIDERS, join};
use super::source::Sources;
use super::{Algorithms, Config, Proxy, ProxyProtocol};

/// One address at which clients are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Of the table, or of the provider whose `listen` it is; `main` for `listen` at the top.
    pub name: String,
    /// Where it is written, such as `listener.partners`; empty at the top.
    pub section: String,
    pub listen: SocketAddr,
    /// In the order in which they are asked; empty: the only one, which has no name.
    pub providers: Vec<String>,
    pub proxy: Proxy,
    /// Empty: the keys of the state directory.
    pub host_key_files: Vec<String>,
    /// Announced and not used yet.
    pub host_key_next_files: Vec<String>,
    pub algorithms: Algorithms,
    /// Shown before login.
    pub banner: Option<String>,
}

/// What only a table `[listener.NAME]` has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerTable {
    /// `None` = off.
    pub listen: Option<SocketAddr>,
    /// Empty = all.
    pub providers: Vec<String>,
}

/// The name of the listener that `listen` at the top is.
pub(super) const MAIN: &str = "main";

/// A table with everything that it takes from the top of the file.
pub(super) struct Written {
    pub(super) name: String,
    pub(super) merged: Config,
}

impl Listener {
    /// Returns the setting of its address.
    #[must_use]
    pub fn setting(&self) -> String {
        join(&self.section, "listen")
    }

    /// Takes a table, whose other values come from the top of the file. Values that go together
    /// are not mixed: with host keys of its own it announces none of the others.
    fn of_table(written: &Written, all: &[String], sources: &Sources) -> Option<Self> {
        let (name, merged) = (&written.name, &written.merged);
        let section = join(LISTENERS.table, name);
        let is_written = |key: &str| sources.place(&join(&section, key)) != Place::Nowhere;
        let mut proxy = merged.proxy.clone();
        let trusts = proxy.protocol == ProxyProtocol::Required;
        if !trusts && !is_written("trusted_networks") {
            proxy.trusted_networks.clear();
        }
        let mut host_key_next_files = merged.ssh.host_key_next_files.clone();
        if is_written("host_key_files") && !is_written("host_key_next_files") {
            host_key_next_files.clear();
        }
        let providers = match &*merged.listener.providers {
            [] => all,
            own => own,
        };
        Some(Self {
            name: name.clone(),
            listen: merged.listener.listen?,
            providers: providers.to_vec(),
            proxy,
            host_key_files: merged.host_key_files.clone(),
            host_key_next_files,
            algorithms: merged.ssh.algorithms,
            banner: merged.sftp.banner.clone(),
            section,
        })
    }

    /// Takes one of the short forms, with everything else from the top of the file.
    fn short(config: &Config, name: &str, section: String, listen: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            section,
            listen,
            providers: Vec::new(),
            proxy: config.proxy.clone(),
            host_key_files: config.host_key_files.clone(),
            host_key_next_files: config.ssh.host_key_next_files.clone(),
            algorithms: config.ssh.algorithms,
            banner: config.sftp.banner.clone(),
        }
    }
}

/// Returns every listener, the main one first. It has the providers that no other listener names,
/// and beside tables it is there only where `listen` is written.
pub(super) fn all(config: &Config, tables: &[Written], sources: &Sources) -> Vec<Listener> {
    let names: Vec<String> = config
        .providers
        .iter()
        .map(|named| named.name.clone())
        .collect();
    let tabled = tables
        .iter()
        .filter(|table| table.merged.listener.listen.is_some())
        .flat_map(|table| &table.merged.listener.providers);
    let tabled: BTreeSet<&String> = tabled.collect();
    let mut listeners = Vec::new();
    let mut own: Vec<Listener> = Vec::new();
    let mut main = Listener::short(config, MAIN, String::new(), config.listen);
    for named in &config.providers {
        let Some(listen) = named.identity.listen else {
            if !tabled.contains(&named.name) {
                main.providers.push(named.name.clone());
            }
            continue;
        };
        // Providers with the same address share a listener, which has the name of the first.
        if let Some(listener) = own.iter_mut().find(|other| other.listen == listen) {
            listener.providers.push(named.name.clone());
            continue;
        }
        let section = join(PROVIDERS.table, &named.name);
        own.push(Listener {
            proxy: named.identity.proxy.clone(),
            providers: vec![named.name.clone()],
            ..Listener::short(config, &named.name, section, listen)
        });
    }
    let is_asked = tables.is_empty() || sources.place("listen") != Place::Nowhere;
    if is_asked && main.providers.is_empty() == names.is_empty() {
        listeners.push(main);
    }
    listeners.append(&mut own);
    let tables = tables.iter();
    listeners.extend(tables.filter_map(|table| Listener::of_table(table, &names, sources)));
    listeners
}
