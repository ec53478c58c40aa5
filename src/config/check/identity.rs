//! Providers: each complete in itself, and none in another's way.

use crate::config::provider;
use crate::config::settings::{PROVIDERS, join};
use crate::config::source::Sources;
use crate::config::{Config, Event, Identity, NamedProvider, Provider, Proxy, ProxyProtocol, Sign};

type Refuse<'r> = &'r mut dyn FnMut(&str, String);

pub(super) fn check(config: &Config, sources: &Sources, refuse: Refuse<'_>) {
    if config.providers.is_empty() {
        alone(&config.identity, refuse);
        let section = PROVIDERS.section;
        one(config, sources, section, &config.identity, refuse);
        return;
    }
    order(config, refuse);
    for NamedProvider { name, identity } in &config.providers {
        let section = join(PROVIDERS.table, name);
        one(config, sources, &section, identity, refuse);
        proxies(config, name, identity, refuse);
    }
    let identities = config.providers.iter().map(|named| &named.identity);
    let kinds: Vec<_> = identities.map(|identity| identity.table.kind).collect();
    let section = (PROVIDERS.section, "no [provider.NAME] takes it");
    foreign(sources, section, &config.identity, &kinds, refuse);
}

/// The only provider answers for every name on the one port.
fn alone(identity: &Identity, refuse: Refuse<'_>) {
    for name in &identity.providers {
        let message = format!("{name:?} has no table [provider.{name}]");
        refuse("identity.providers", message);
    }
    for (key, written) in [
        ("listen", identity.listen.is_some()),
        (
            "proxy_protocol",
            identity.proxy.protocol != ProxyProtocol::Off,
        ),
        (
            "trusted_networks",
            !identity.proxy.trusted_networks.is_empty(),
        ),
        ("user_suffix", identity.user_suffix.is_some()),
        ("user_prefix", identity.user_prefix.is_some()),
    ] {
        if written {
            let message = "is allowed only in a table [provider.NAME]".to_owned();
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
            refuse("identity.providers", format!("{name:?} occurs twice"));
        }
    }
    for name in tables {
        if !order.contains(name) {
            let message = format!(
                "{name:?} is missing: list every table, in the order in which \
                                   they are used"
            );
            refuse("identity.providers", message);
        }
    }
}

/// A port has one way to learn whose connection it gets.
fn proxies(config: &Config, name: &str, identity: &Identity, refuse: Refuse<'_>) {
    let section = join(PROVIDERS.table, name);
    if identity.listen.is_none() {
        if identity.proxy != Proxy::default() {
            let message = "has an effect only beside listen; for the main port set it at the top";
            refuse(&join(&section, "proxy_protocol"), message.to_owned());
        }
        return;
    }
    proxy(&section, &identity.proxy, refuse);
    let mut providers = config.providers.iter().map(|named| &named.identity);
    let first = providers.find(|other| other.listen == identity.listen);
    if first.is_some_and(|first| first.proxy != identity.proxy) {
        let message = "allowed: the same as for the other providers on the same port, with the \
                       same trusted_networks";
        refuse(&join(&section, "proxy_protocol"), message.to_owned());
    }
}

/// Somebody is believed where a header is required, and only there.
pub(super) fn proxy(section: &str, proxy: &Proxy, refuse: Refuse<'_>) {
    let path = join(section, "trusted_networks");
    match (proxy.protocol, proxy.trusted_networks.is_empty()) {
        (ProxyProtocol::Required, true) => {
            let message = "missing: proxy_protocol = \"required\" needs the networks of the load \
                balancers, since anybody else could claim any address";
            refuse(&path, message.to_owned());
        }
        (ProxyProtocol::Off | ProxyProtocol::Ignore, false) => {
            let message = "has no effect; set proxy_protocol = \"required\" as well";
            refuse(&path, message.to_owned());
        }
        (ProxyProtocol::Required, false) | (ProxyProtocol::Off | ProxyProtocol::Ignore, true) => {}
    }
}

fn one(config: &Config, sources: &Sources, section: &str, identity: &Identity, refuse: Refuse<'_>) {
    let refuse_at: Refuse<'_> = &mut *refuse;
    let mut refuse = |key: &str, message: String| refuse_at(&join(section, key), message);
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
    without_effect(config, section, identity, &mut refuse);
    match identity.table.kind {
        Provider::Webhook | Provider::ApiGateway | Provider::Lambda | Provider::Token => {
            times(config, identity, &mut refuse);
        }
        Provider::Static | Provider::ServiceManaged => {}
    }
    let kind = identity.table.kind;
    let found = format!("unknown with provider = {:?}", kind.as_str());
    foreign(sources, (section, &found), identity, &[kind], refuse_at);
}

/// Refuses keys that none of these kinds takes, and says whose they are. A default that is written
/// down, as `check-config --print-default` does, is none.
fn foreign(
    sources: &Sources,
    (section, found): (&str, &str),
    identity: &Identity,
    kinds: &[Provider],
    refuse: Refuse<'_>,
) {
    let mut defaults = Config::default();
    let mut written = Config {
        identity: identity.clone(),
        ..Config::default()
    };
    for setting in PROVIDERS.settings() {
        let path = join(section, setting.key);
        let takers = provider::takers(setting.key);
        let is_known = kinds.iter().any(|kind| takers.contains(kind));
        if is_known || !sources.has(&path) || setting.kind.is_default(&mut written, &mut defaults) {
            continue;
        }
        let takers: Vec<_> = takers
            .iter()
            .map(|kind| format!("{:?}", kind.as_str()))
            .collect();
        let takers = takers.join(" or ");
        refuse(&path, format!("{found}; it belongs to provider = {takers}"));
    }
}

/// What has no effect beside another key of the same kind.
fn without_effect(config: &Config, section: &str, identity: &Identity, refuse: Refuse<'_>) {
    let table = &identity.table;
    // What stands in [identity] may be meant for the others.
    let inherited = (section != PROVIDERS.section).then_some(&config.identity.table);
    let omits = table.omit_blank_password && !inherited.is_some_and(|i| i.omit_blank_password);
    if omits && table.kind == Provider::Webhook && table.event == Event::Plain {
        let message = "has no effect; set event = \"transfer-family\" as well";
        refuse("omit_blank_password", message.to_owned());
    }
    if table.kind == Provider::ApiGateway && table.sign == Sign::None && inherited.is_none() {
        for (key, written) in [
            ("aws_region", table.aws.region.is_some()),
            ("aws_access_key_id", table.aws.access_key_id.is_some()),
        ] {
            if written {
                refuse(key, "has no effect; set sign = \"aws\" as well".to_owned());
            }
        }
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
            refuse(
                name,
                "has no effect while cache_seconds is 0; set that as well".to_owned(),
            );
        }
    }
}
