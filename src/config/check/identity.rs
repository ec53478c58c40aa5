//! Providers: each complete in itself, and none in another's way.

use self::users::Kept;
use super::Url;
use crate::config::settings::{PROVIDERS, join, variable};
use crate::config::{
    Cache, Config, Event, Identity, NamedProvider, Provider, Proxy, ProxyProtocol, Sign,
};

mod token;
mod users;

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
        proxies(config, name, identity, refuse);
    }
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
    without_effect(config, section, identity, &mut refuse);
    match identity.provider {
        Provider::Webhook => {
            url(section, identity, &mut refuse);
            headers(identity, &mut refuse);
            token::proof(identity, &mut refuse);
            times(config, identity, &mut refuse);
        }
        Provider::ApiGateway => {
            url(section, identity, &mut refuse);
            headers(identity, &mut refuse);
            times(config, identity, &mut refuse);
            keys(identity, &mut refuse);
        }
        Provider::Lambda => {
            function(section, identity, &mut refuse);
            times(config, identity, &mut refuse);
            keys(identity, &mut refuse);
        }
        Provider::Static => missing(
            section,
            "users_file",
            identity.users_file.is_some(),
            &mut refuse,
        ),
        Provider::ServiceManaged => {
            let kept = Kept {
                place: identity.users.place.as_deref(),
                methods: identity.methods,
                has_state_directory: config.state_directory.is_some(),
                has_conditional_put: config.storage.capabilities.conditional_put,
            };
            kept.check(&mut refuse);
        }
        Provider::Token => {
            token::check(section, identity, &mut refuse);
            times(config, identity, &mut refuse);
        }
    }
}

/// A setting that some providers do not look at.
struct Particular {
    key: &'static str,
    of: &'static [Provider],
    written: fn(&Identity) -> bool,
}

const fn particular(
    key: &'static str,
    of: &'static [Provider],
    written: fn(&Identity) -> bool,
) -> Particular {
    Particular { key, of, written }
}

const PARTICULAR: &[Particular] = {
    use Provider::{ApiGateway, Lambda, ServiceManaged, Static, Token, Webhook};
    const HTTP: &[Provider] = &[Webhook, ApiGateway];
    const NETWORK: &[Provider] = &[Webhook, ApiGateway, Lambda];
    const REMOTE: &[Provider] = &[Webhook, ApiGateway, Lambda, Token];
    const AWS: &[Provider] = &[Lambda, ApiGateway];
    &[
        particular("users_file", &[Static], |i| i.users_file.is_some()),
        particular("users_store", &[ServiceManaged], |i| {
            i.users.place.is_some()
        }),
        particular("url", HTTP, |i| !i.url.is_empty()),
        particular("urls", &[Webhook], |i| !i.more_urls.is_empty()),
        particular("headers", HTTP, |i| !i.headers.is_empty()),
        particular("client_certificate_file", &[Webhook], |i| {
            i.client_certificate_pem.is_some()
        }),
        particular("signing_key_files", &[Webhook], |i| {
            !i.signing.key_files.is_empty()
        }),
        particular("hmac_secret", &[Webhook], |i| i.hmac_secret.is_some()),
        particular("hmac_secret_next", &[Webhook], |i| {
            i.hmac_secret_next.is_some()
        }),
        particular("token_jwks_url", &[Token], |i| i.token.jwks_url.is_some()),
        particular("token_jwks_file", &[Token], |i| i.token.jwks_file.is_some()),
        particular("token_mappings", &[Token], |i| !i.token.mappings.is_empty()),
        particular("event", &[Webhook], |i| i.event != Event::default()),
        particular("send_session_id", &[Webhook], |i| i.send_session_id),
        particular("ca_file", REMOTE, |i| i.ca_pem.is_some()),
        particular("plaintext", NETWORK, |i| i.plaintext),
        particular("cache_seconds", REMOTE, |i| remembers(&i.cache)),
        particular("sign", &[ApiGateway], |i| i.sign != Sign::default()),
        particular("function", &[Lambda], |i| i.function.name.is_some()),
        particular("qualifier", &[Lambda], |i| i.function.qualifier.is_some()),
        particular("omit_blank_password", &[Webhook, Lambda], |i| {
            i.function.omit_blank_password
        }),
        particular("aws_endpoint", &[Lambda], |i| i.aws.endpoint.is_some()),
        particular("aws_region", AWS, |i| i.aws.region.is_some()),
        particular("aws_access_key_id", AWS, |i| i.aws.access_key_id.is_some()),
    ]
};

fn remembers(cache: &Cache) -> bool {
    let times = [cache.allowed_for, cache.denied_for, cache.stale_for];
    times.iter().any(|time| !time.is_zero())
}

fn without_effect(config: &Config, section: &str, identity: &Identity, refuse: Refuse<'_>) {
    let provider = identity.provider;
    // What stands in [identity] may be meant for the others.
    let inherited = (section != PROVIDERS.section).then_some(&config.identity);
    for Particular { key, of, written } in PARTICULAR {
        let is_own = written(identity) && !inherited.is_some_and(written);
        if is_own && !of.contains(&provider) {
            let message = if provider == Provider::default() {
                let words: Vec<_> = of.iter().map(|of| format!("{:?}", of.as_str())).collect();
                format!(
                    "has no effect; set provider = {} as well",
                    words.join(" or ")
                )
            } else {
                let word = provider.as_str();
                format!("has no effect with provider = {word:?}; leave it out")
            };
            refuse(key, message);
        }
    }
    let omits = identity.function.omit_blank_password
        && !inherited.is_some_and(|i| i.function.omit_blank_password);
    if omits && provider == Provider::Webhook && identity.event == Event::Plain {
        let message = "has no effect; set event = \"transfer-family\" as well";
        refuse("omit_blank_password", message.to_owned());
    }
    if provider == Provider::ApiGateway && identity.sign == Sign::None && inherited.is_none() {
        let aws = &identity.aws;
        for (key, written) in [
            ("aws_region", aws.region.is_some()),
            ("aws_access_key_id", aws.access_key_id.is_some()),
        ] {
            if written {
                refuse(key, "has no effect; set sign = \"aws\" as well".to_owned());
            }
        }
    }
}

fn missing(section: &str, key: &str, is_set: bool, refuse: Refuse<'_>) {
    if !is_set {
        let name = variable(&join(section, key));
        let message = format!("missing: set {key} under [{section}], or {name}");
        refuse(key, message);
    }
}

fn function(section: &str, identity: &Identity, refuse: Refuse<'_>) {
    missing(
        section,
        "function",
        identity.function.name.is_some(),
        refuse,
    );
    match identity.aws.endpoint.as_deref().map(Url::parse) {
        Some(Err(message)) => refuse("aws_endpoint", message.to_owned()),
        Some(Ok(url)) => in_clear("aws_endpoint", &url, identity, refuse),
        None => {}
    }
    let function = identity.function.name.as_deref().unwrap_or_default();
    if !function.is_empty() && !function.starts_with("arn:") && identity.aws.region.is_none() {
        let name = variable(&join(section, "aws_region"));
        let message = format!(
            "missing: set aws_region under [{section}], or {name}, or give the function's full ARN"
        );
        refuse("aws_region", message);
    }
}

/// Keys are complete or not there.
fn keys(identity: &Identity, refuse: Refuse<'_>) {
    let aws = &identity.aws;
    match (&aws.access_key_id, &aws.secret_access_key) {
        (Some(_), None) => refuse(
            "aws_secret_access_key",
            "missing: aws_access_key_id needs it (or aws_secret_access_key_file)".to_owned(),
        ),
        (None, Some(_)) => refuse(
            "aws_access_key_id",
            "missing: aws_secret_access_key needs it".to_owned(),
        ),
        (None, None) if aws.session_token.is_some() => refuse(
            "aws_session_token",
            "has no effect without aws_access_key_id and aws_secret_access_key".to_owned(),
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

fn url(section: &str, identity: &Identity, refuse: Refuse<'_>) {
    match Url::parse(&identity.url) {
        _ if identity.url.is_empty() => {
            let name = variable(&join(section, "url"));
            let message = format!("missing: set url under [{section}], or {name}");
            refuse("url", message);
        }
        Err(message) => refuse("url", message.to_owned()),
        Ok(url) => in_clear("url", &url, identity, refuse),
    }
    for url in &identity.more_urls {
        match Url::parse(url) {
            Err(message) => refuse("urls", message.to_owned()),
            Ok(url) => in_clear("urls", &url, identity, refuse),
        }
    }
}

fn in_clear(key: &str, url: &Url<'_>, identity: &Identity, refuse: Refuse<'_>) {
    if !url.encrypted && !url.is_loopback() && !identity.plaintext {
        let host = url.host;
        let message = format!(
            "passwords would be sent to {host} unencrypted; allowed: https://, or plaintext = true"
        );
        refuse(key, message);
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

fn headers(identity: &Identity, refuse: Refuse<'_>) {
    // RFC 9110 §5.6.2: a token.
    let of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    for (name, value) in &identity.headers {
        let message = if name.is_empty() || !name.chars().all(of_token) {
            format!("{name:?} is not a header name; allowed: letters, digits and -")
        } else if value.expose().chars().any(char::is_control) {
            format!("the value of {name} has a control character; allowed: one line of text")
        } else {
            continue;
        };
        refuse("headers", message);
    }
}
