//! Listeners: what tables and short forms come to; each complete in itself, and none in another's
//! way.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::identity::proxy;
use crate::config::listener::MAIN;
use crate::config::settings::{LISTENERS, PROVIDERS, join, variable};
use crate::config::source::Sources;
use crate::config::{Config, Listener, ProxyProtocol};
use crate::limits::BANNER_BYTES_MAX;

type Refuse<'r> = &'r mut dyn FnMut(&str, String);

/// A table with everything that it takes from the top of the file.
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) merged: Config,
}

/// Puts the listeners of a configuration into it, and what there is to warn of.
pub(crate) fn put(config: &mut Config, tables: &[Written], sources: &Sources) {
    config.listeners = all(config, tables, sources);
    let has_no_effect = !config.listeners.is_empty()
        && config.listeners.iter().all(|one| !one.section.is_empty())
        && sources.has("listen");
    if has_no_effect {
        config.warnings.push(NO_EFFECT.to_owned());
    }
    for named in &config.providers {
        let name = &named.name;
        let has = |listener: &Listener| listener.providers.contains(name);
        let names = |table: &&Written| table.merged.listener.providers.contains(name);
        let off = tables.iter().find(names);
        let Some(off) = off.filter(|_| !config.listeners.iter().any(has)) else {
            continue;
        };
        config.warnings.push(format!(
            "nobody can log in with [provider.{name}]: only [listener.{}] names it, which is off",
            off.name
        ));
        config.providers_off.push(name.clone());
    }
}

/// Returns every listener, the main one first. It has the providers that no other listener names,
/// also none that is off, and beside tables it is there only where `listen` is written.
fn all(config: &Config, tables: &[Written], sources: &Sources) -> Vec<Listener> {
    let without_listen = config
        .providers
        .iter()
        .filter(|named| named.identity.listen.is_none());
    let without_listen: Vec<String> = without_listen.map(|named| named.name.clone()).collect();
    let tabled = tables
        .iter()
        .flat_map(|table| &table.merged.listener.providers);
    let tabled: BTreeSet<&String> = tabled.collect();
    let mut listeners = Vec::new();
    let mut own: Vec<Listener> = Vec::new();
    let mut main = short(config, MAIN, String::new(), config.listen);
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
        // The main one has this name already; no table can have one with a dot.
        let name = if named.name == MAIN {
            &section
        } else {
            &named.name
        };
        own.push(Listener {
            proxy: named.identity.proxy.clone(),
            providers: vec![named.name.clone()],
            ..short(config, name, section.clone(), listen)
        });
    }
    let is_asked = tables.is_empty() || sources.has("listen");
    if is_asked && main.providers.is_empty() == config.providers.is_empty() {
        listeners.push(main);
    }
    listeners.append(&mut own);
    let tables = tables.iter();
    listeners.extend(tables.filter_map(|table| of_table(table, &without_listen, sources)));
    listeners
}

/// Takes a table, whose other values come from the top of the file. Values that go together
/// are not mixed: with host keys of its own it announces none of the others. An empty list of
/// providers stays empty, and is refused.
fn of_table(written: &Written, by_default: &[String], sources: &Sources) -> Option<Listener> {
    let (name, merged) = (&written.name, &written.merged);
    let section = join(LISTENERS.table, name);
    let is_written = |key: &str| sources.has(&join(&section, key));
    let mut proxy = merged.proxy.clone();
    let trusts = proxy.protocol == ProxyProtocol::Required;
    if !trusts && !is_written("trusted_networks") {
        proxy.trusted_networks.clear();
    }
    let mut host_key_next_files = merged.ssh.host_key_next_files.clone();
    if is_written("host_key_files") && !is_written("host_key_next_files") {
        host_key_next_files.clear();
    }
    let providers = if is_written("providers") {
        &merged.listener.providers
    } else {
        by_default
    };
    Some(Listener {
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
fn short(config: &Config, name: &str, section: String, listen: SocketAddr) -> Listener {
    Listener {
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

pub(super) fn check(config: &Config, sources: &Sources, refuse: Refuse<'_>) {
    banner("sftp", config.sftp.banner.as_deref(), refuse);
    tables(sources, refuse);
    let is_written = |path: &str| sources.has(path);
    let main_is_asked = sources.names(&LISTENERS).is_empty() || is_written("listen");
    let has_main = config.listeners.iter().any(|one| one.section.is_empty());
    for (at, listener) in config.listeners.iter().enumerate() {
        let before = config.listeners.split_at(at).0;
        apart(listener, before, refuse);
        other_name(listener, before, refuse);
        // Also where the main one has no provider.
        let is_short = listener.section.starts_with(PROVIDERS.table);
        if is_short && main_is_asked && !has_main && listener.listen == config.listen {
            refuse(&listener.setting(), IS_MAIN.to_owned());
        }
        providers(config, listener, refuse);
        methods(config, listener, refuse);
        let section = &listener.section;
        if !section.starts_with(LISTENERS.table) {
            continue;
        }
        let own = ["proxy_protocol", "trusted_networks"];
        some_provider(config, section, listener, sources, refuse);
        if own.iter().any(|key| is_written(&join(section, key))) {
            proxy(section, &listener.proxy, refuse);
        }
        if is_written(&join(section, "banner")) {
            banner(section, listener.banner.as_deref(), refuse);
        }
    }
    if config.listeners.is_empty() {
        let message = if is_written("listen") {
            "nobody could log in: every provider is one of a [listener.NAME] that is off"
        } else {
            "missing: nobody could log in: set it, or listen under a [listener.NAME]"
        };
        refuse("listen", message.to_owned());
    }
    // A listener without any is refused for that.
    let is_known = !config.listeners.is_empty()
        && config.listeners.iter().all(|one| !one.providers.is_empty());
    for named in config.providers.iter().filter(|_| is_known) {
        let is_named = |listener: &Listener| listener.providers.contains(&named.name);
        let is_off = config.providers_off.contains(&named.name);
        if !is_off && !config.listeners.iter().any(is_named) {
            let name = &named.name;
            let message = format!(
                "no listener has this provider; add {name:?} to the providers of a \
                 [listener.NAME], or set listen at the top"
            );
            refuse(&format!("provider.{name}"), message);
        }
    }
}

/// Every table has an address.
fn tables(sources: &Sources, refuse: Refuse<'_>) {
    for name in sources.names(&LISTENERS) {
        let section = join(LISTENERS.table, &name);
        let path = join(&section, "listen");
        if !sources.has(&path) {
            let variable = variable(&path);
            let message = format!("missing: set listen under [{section}], or {variable}");
            refuse(&path, message);
        }
    }
}

/// A listener of a table has providers, where they have names.
fn some_provider(
    config: &Config,
    section: &str,
    listener: &Listener,
    sources: &Sources,
    refuse: Refuse<'_>,
) {
    let path = join(section, "providers");
    let is_written = sources.has(&path);
    if !listener.providers.is_empty() || (!is_written && config.providers.is_empty()) {
        return;
    }
    let message = if is_written {
        "found none; allowed: at least one name, or leave it out"
    } else {
        "missing: every provider has a listen of its own, so name those that this listener has"
    };
    refuse(&path, message.to_owned());
}

/// Log lines, metrics and commands tell listeners by their names.
fn other_name(listener: &Listener, before: &[Listener], refuse: Refuse<'_>) {
    let name = &listener.name;
    if let Some(other) = before.iter().find(|other| other.name == *name) {
        let setting = other.setting();
        let message = format!("allowed: another name: {setting} is the listener {name:?}");
        refuse(&listener.section, message);
    }
}

/// No other listener has the address; port 0 is a free one each time.
fn apart(listener: &Listener, before: &[Listener], refuse: Refuse<'_>) {
    let mut before = before.iter();
    let taken = before.find(|other| other.listen == listener.listen && other.listen.port() != 0);
    let Some(other) = taken else {
        return;
    };
    let message = if other.name == MAIN && other.section.is_empty() {
        IS_MAIN.to_owned()
    } else {
        format!("this is {} as well; allowed: another one", other.setting())
    };
    refuse(&listener.setting(), message);
}

/// Every provider is there, once.
fn providers(config: &Config, listener: &Listener, refuse: Refuse<'_>) {
    let path = join(&listener.section, "providers");
    for name in &listener.providers {
        if !config.providers.iter().any(|named| named.name == *name) {
            refuse(&path, format!("{name:?} has no table [provider.{name}]"));
        } else if listener
            .providers
            .iter()
            .filter(|other| *other == name)
            .count()
            > 1
        {
            refuse(&path, format!("{name:?} occurs twice"));
        }
    }
}

/// What is advertised at a listener before the user is known is the same for all of its providers.
fn methods(config: &Config, listener: &Listener, refuse: Refuse<'_>) {
    let identity = |name: &String| {
        let mut all = config.providers.iter();
        all.find(|named| named.name == *name)
            .map(|named| &named.identity)
    };
    let first = listener.providers.first().and_then(identity);
    let methods = match first {
        Some(first) if !listener.section.is_empty() => first.methods,
        Some(_) | None => config.identity.methods,
    };
    for name in &listener.providers {
        if identity(name).is_some_and(|identity| identity.methods != methods) {
            let message = format!(
                "allowed: {:?}, as for the other providers on the same port",
                methods.as_str()
            );
            refuse(&format!("provider.{name}.methods"), message);
        }
    }
}

fn banner(section: &str, banner: Option<&str>, refuse: Refuse<'_>) {
    let found = banner.unwrap_or_default().len();
    if found > BANNER_BYTES_MAX {
        let message = format!("found {found} bytes; allowed: up to {BANNER_BYTES_MAX}");
        refuse(&join(section, "banner"), message);
    }
}

const NO_EFFECT: &str = "listen has no effect: other listeners name every provider";

const IS_MAIN: &str = "this is the main port (listen); allowed: another one";
