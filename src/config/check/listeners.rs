//! Listeners: each complete in itself, and none in another's way.

use super::identity::proxy;
use crate::config::listener::MAIN;
use crate::config::problem::Place;
use crate::config::settings::{LISTENERS, join, variable};
use crate::config::source::Sources;
use crate::config::{Config, Listener};
use crate::limits::BANNER_BYTES_MAX;

type Refuse<'r> = &'r mut dyn FnMut(&str, String);

pub(super) fn check(config: &Config, sources: &Sources, refuse: Refuse<'_>) {
    banner("sftp", config.sftp.banner.as_deref(), refuse);
    tables(config, sources, refuse);
    let is_written = |path: &str| sources.place(path) != Place::Nowhere;
    for (at, listener) in config.listeners.iter().enumerate() {
        let before = config.listeners.split_at(at).0;
        apart(listener, before, refuse);
        providers(config, listener, refuse);
        methods(config, listener, refuse);
        let section = &listener.section;
        if !section.starts_with(LISTENERS.table) {
            continue;
        }
        let own = ["proxy_protocol", "trusted_networks"];
        if own.iter().any(|key| is_written(&join(section, key))) {
            proxy(section, &listener.proxy, refuse);
        }
        if is_written(&join(section, "banner")) {
            banner(section, listener.banner.as_deref(), refuse);
        }
    }
    if config.listeners.is_empty() {
        let message = "missing: nobody could log in: set it, or listen under a [listener.NAME]";
        refuse("listen", message.to_owned());
    }
    for named in &config.providers {
        let is_named = |listener: &Listener| listener.providers.contains(&named.name);
        if !config.listeners.is_empty() && !config.listeners.iter().any(is_named) {
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
fn tables(config: &Config, sources: &Sources, refuse: Refuse<'_>) {
    for name in sources.names(&LISTENERS) {
        let section = join(LISTENERS.table, &name);
        let path = join(&section, "listen");
        if sources.place(&path) == Place::Nowhere {
            let variable = variable(&path);
            let message = format!("missing: set listen under [{section}], or {variable}");
            refuse(&path, message);
        }
        let mut others = config.listeners.iter();
        if let Some(other) =
            others.find(|other| other.name == name && !other.section.starts_with(LISTENERS.table))
        {
            let setting = other.setting();
            let message = format!("allowed: another name: {setting} is the listener {name:?}");
            refuse(&section, message);
        }
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
        "this is the main port (listen); allowed: another one".to_owned()
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
