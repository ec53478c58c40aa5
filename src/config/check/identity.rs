//! Providers: each complete in itself, and none in another's way.

use super::Url;
use crate::config::settings::{PROVIDERS, join, variable};
use crate::config::{Config, Identity, NamedProvider, Provider};

type Refuse<'r> = &'r mut dyn FnMut(&str, String);

pub(super) fn check(config: &Config, refuse: Refuse<'_>) {
    if config.providers.is_empty() {
        alone(&config.identity, refuse);
        provider(config, PROVIDERS.section, &config.identity, refuse);
        return;
    }
    order(config, refuse);
    for NamedProvider { name, identity } in &config.providers {
        provider(config, &join(PROVIDERS.table, name), identity, refuse);
    }
    listeners(config, refuse);
}

/// The only provider answers for every name on the one port.
fn alone(identity: &Identity, refuse: Refuse<'_>) {
    for name in &identity.providers {
        let message = format!("{name:?} has no table [provider.{name}]");
        refuse("identity.providers", message);
    }
    for (key, written) in [
        ("listen", identity.listen.is_some()),
        ("user_suffix", identity.user_suffix.is_some()),
        ("user_prefix", identity.user_prefix.is_some()),
    ] {
        if written {
            let message = "has a meaning only in a table [provider.NAME]".to_owned();
            refuse(&format!("identity.{key}"), message);
        }
    }
}

/// Every provider stands in the order, once.
fn order(config: &Config, refuse: Refuse<'_>) {
    let order = &config.identity.providers;
    let tables: Vec<_> = config.providers.iter().map(|named| &named.name).collect();
    for name in order {
        if !tables.contains(&name) {
            let message = format!("{name:?} has no table [provider.{name}]");
            refuse("identity.providers", message);
        } else if order.iter().filter(|other| *other == name).count() > 1 {
            refuse("identity.providers", format!("{name:?} stands there twice"));
        }
    }
    for name in tables {
        if !order.contains(name) {
            let message = format!("{name:?} is missing: the order is that of asking");
            refuse("identity.providers", message);
        }
    }
}

/// What is advertised on a port before the user is known is the same for all of its providers.
fn listeners(config: &Config, refuse: Refuse<'_>) {
    for NamedProvider { name, identity } in &config.providers {
        if identity.listen == Some(config.listen) {
            let message = "this is the main port (listen); allowed: another one".to_owned();
            refuse(&format!("provider.{name}.listen"), message);
        }
        let first = config
            .providers
            .iter()
            .find(|other| other.identity.listen == identity.listen);
        let methods = match identity.listen {
            None => config.identity.methods,
            Some(_) => first.map_or(identity.methods, |first| first.identity.methods),
        };
        if identity.methods != methods {
            let message = format!(
                "allowed: {:?}, as for the others that are asked on the same port",
                methods.as_str()
            );
            refuse(&format!("provider.{name}.methods"), message);
        }
    }
}

fn provider(config: &Config, section: &str, identity: &Identity, refuse: Refuse<'_>) {
    let mut refuse = |key: &str, message: String| refuse(&join(section, key), message);
    for (key, affix) in [
        ("user_suffix", &identity.user_suffix),
        ("user_prefix", &identity.user_prefix),
    ] {
        if affix
            .as_deref()
            .is_some_and(|affix| affix.contains(char::is_control))
        {
            refuse(key, "has a control character".to_owned());
        }
    }
    match identity.provider {
        Provider::Webhook => webhook(config, section, identity, &mut refuse),
        Provider::Static => static_file(section, identity, &mut refuse),
    }
}

fn static_file(section: &str, identity: &Identity, refuse: Refuse<'_>) {
    if identity.users_file.is_none() {
        let name = variable(&join(section, "users_file"));
        let message = format!("missing: set users_file under [{section}], or {name}");
        refuse("users_file", message);
    }
    // What stands in [identity] may be meant for the others.
    if section != PROVIDERS.section {
        return;
    }
    let cache = &identity.cache;
    let times = [cache.allowed_for, cache.denied_for, cache.stale_for];
    for (name, written) in [
        ("url", !identity.url.is_empty()),
        ("headers", !identity.headers.is_empty()),
        ("ca_file", identity.ca_pem.is_some()),
        ("cache_seconds", times.iter().any(|time| !time.is_zero())),
    ] {
        if written {
            let message = "has no effect with provider = \"static\"; leave it out".to_owned();
            refuse(name, message);
        }
    }
}

fn webhook(config: &Config, section: &str, identity: &Identity, refuse: Refuse<'_>) {
    if identity.users_file.is_some() {
        let message = "has no effect; set provider = \"static\" as well".to_owned();
        refuse("users_file", message);
    }
    url(section, identity, refuse);
    headers(identity, refuse);
    times(config, identity, refuse);
}

fn url(section: &str, identity: &Identity, refuse: Refuse<'_>) {
    match Url::parse(&identity.url) {
        _ if identity.url.is_empty() => {
            let name = variable(&join(section, "url"));
            let message = format!("missing: set url under [{section}], or {name}");
            refuse("url", message);
        }
        Err(message) => refuse("url", message.to_owned()),
        Ok(url) if !url.encrypted && !url.is_loopback() && !identity.plaintext => {
            let host = url.host;
            let message = format!(
                "passwords would travel to {host} in clear; allowed: https://, or plaintext = true"
            );
            refuse("url", message);
        }
        Ok(_) => {}
    }
}

/// Times of a provider that is asked over the network, and of its cache.
fn times(config: &Config, identity: &Identity, refuse: Refuse<'_>) {
    if identity.connect_timeout > identity.total_timeout {
        let message = "allowed: up to total_timeout_ms".to_owned();
        refuse("connect_timeout_ms", message);
    }
    if identity.total_timeout >= config.limits.login_grace {
        let grace = config.limits.login_grace.as_secs();
        let message = format!("allowed: less than limits.login_grace_seconds, which is {grace}");
        refuse("total_timeout_ms", message);
    }
    let cache = &identity.cache;
    for (name, time) in [
        ("cache_denied_seconds", cache.denied_for),
        ("cache_stale_seconds", cache.stale_for),
    ] {
        if cache.allowed_for.is_zero() && !time.is_zero() {
            refuse(name, "has no effect while cache_seconds is 0".to_owned());
        }
    }
}

fn headers(identity: &Identity, refuse: Refuse<'_>) {
    // RFC 9110 §5.6.2: a token.
    let of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    for (name, value) in &identity.headers {
        let message = if name.is_empty() || !name.chars().all(of_token) {
            format!("{name:?} is no name of a header; allowed: letters, digits and -")
        } else if value.expose().chars().any(char::is_control) {
            format!("the value of {name} has a control character; allowed: one line of text")
        } else {
            continue;
        };
        refuse("headers", message);
    }
}
