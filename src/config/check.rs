//! Values that are right alone and wrong together.

use std::net::IpAddr;

use super::problem::Problem;
use super::settings::variable;
use super::source::Sources;
use super::{Config, Encryption, Identity, Provider};
use crate::limits::BANNER_BYTES_MAX;

/// Finds everything that cannot work together, or is missing.
pub(super) fn combinations(config: &Config, sources: &Sources, problems: &mut Vec<Problem>) {
    let mut refuse = |path: &str, message: String| {
        problems.push(Problem::new(sources.place(path), path, message));
    };
    host_keys(config, &mut refuse);
    identity(config, &mut refuse);
    headers(config, &mut refuse);
    storage(config, &mut refuse);
    limits(config, &mut refuse);
    let banner = config.sftp.banner.as_deref().unwrap_or_default();
    if banner.len() > BANNER_BYTES_MAX {
        let found = banner.len();
        let message = format!("found {found} bytes; allowed: up to {BANNER_BYTES_MAX}");
        refuse("sftp.banner", message);
    }
}

fn host_keys(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    if config.host_key_files.is_empty() && config.state_directory.is_none() {
        let message = "no host key: clients could not recognise the gateway after a restart. \
            Set host_key_files = [\"host_key\"] (make one: ssh-keygen -t ed25519 -N '' -f host_key), \
            or state_directory for a key that the gateway makes and keeps";
        refuse("host_key_files", message.to_owned());
    }
}

fn identity(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    match config.identity.provider {
        Provider::Webhook => webhook(config, refuse),
        Provider::Static => static_file(&config.identity, refuse),
    }
}

fn static_file(identity: &Identity, refuse: &mut dyn FnMut(&str, String)) {
    if identity.users_file.is_none() {
        let name = variable("identity.users_file");
        let message = format!("missing: set users_file under [identity], or {name}");
        refuse("identity.users_file", message);
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
            refuse(&format!("identity.{name}"), message);
        }
    }
}

fn webhook(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    let identity = &config.identity;
    if identity.users_file.is_some() {
        let message = "has no effect; set provider = \"static\" as well".to_owned();
        refuse("identity.users_file", message);
    }
    match Url::parse(&identity.url) {
        _ if identity.url.is_empty() => {
            let name = variable("identity.url");
            let message = format!("missing: set url under [identity], or {name}");
            refuse("identity.url", message);
        }
        Err(message) => refuse("identity.url", message.to_owned()),
        Ok(url) if !url.encrypted && !url.is_loopback() && !identity.plaintext => {
            let host = url.host;
            let message = format!(
                "passwords would travel to {host} in clear; allowed: https://, or plaintext = true"
            );
            refuse("identity.url", message);
        }
        Ok(_) => {}
    }
    if identity.connect_timeout > identity.total_timeout {
        let message = "allowed: up to total_timeout_ms".to_owned();
        refuse("identity.connect_timeout_ms", message);
    }
    if identity.total_timeout >= config.limits.login_grace {
        let grace = config.limits.login_grace.as_secs();
        let message = format!("allowed: less than limits.login_grace_seconds, which is {grace}");
        refuse("identity.total_timeout_ms", message);
    }
    let cache = &identity.cache;
    for (name, time) in [
        ("cache_denied_seconds", cache.denied_for),
        ("cache_stale_seconds", cache.stale_for),
    ] {
        if cache.allowed_for.is_zero() && !time.is_zero() {
            let message = "has no effect while cache_seconds is 0".to_owned();
            refuse(&format!("identity.{name}"), message);
        }
    }
}

fn headers(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    // RFC 9110 §5.6.2: a token.
    let of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    for (name, value) in &config.identity.headers {
        let message = if name.is_empty() || !name.chars().all(of_token) {
            format!("{name:?} is no name of a header; allowed: letters, digits and -")
        } else if value.expose().chars().any(char::is_control) {
            format!("the value of {name} has a control character; allowed: one line of text")
        } else {
            continue;
        };
        refuse("identity.headers", message);
    }
}

fn storage(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    let storage = &config.storage;
    if let Some(Err(message)) = storage.endpoint.as_deref().map(Url::parse) {
        refuse("storage.endpoint", message.to_owned());
    }
    match (storage.encryption, &storage.kms_key_id) {
        (Encryption::Kms, None) => refuse(
            "storage.kms_key_id",
            "missing: encryption = \"kms\" needs it".to_owned(),
        ),
        (Encryption::None | Encryption::S3, Some(_)) => refuse(
            "storage.kms_key_id",
            "has no effect; set encryption = \"kms\" as well".to_owned(),
        ),
        (Encryption::Kms, Some(_)) | (Encryption::None | Encryption::S3, None) => {}
    }
    match (&storage.access_key_id, &storage.secret_access_key) {
        (Some(_), None) => refuse(
            "storage.secret_access_key",
            "missing: access_key_id needs it (or secret_access_key_file)".to_owned(),
        ),
        (None, Some(_)) => refuse(
            "storage.access_key_id",
            "missing: secret_access_key needs it".to_owned(),
        ),
        (None, None) if storage.session_token.is_some() => refuse(
            "storage.session_token",
            "has no effect without access_key_id and secret_access_key".to_owned(),
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

fn limits(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    let limits = &config.limits;
    let mut at_most = |name: &str, holds: bool, other: &str| {
        if !holds {
            let message = format!("allowed: up to limits.{other}");
            refuse(&format!("limits.{name}"), message);
        }
    };
    at_most(
        "unauthenticated_connections_max",
        limits.unauthenticated_connections_max <= limits.connections_max,
        "connections_max",
    );
    at_most(
        "connections_per_source_max",
        limits.connections_per_source_max <= limits.connections_max,
        "connections_max",
    );
    at_most(
        "part_bytes",
        limits.part_bytes <= limits.upload_memory_bytes_max,
        "upload_memory_bytes_max",
    );
    at_most(
        "read_ahead_per_handle_bytes_max",
        limits.read_ahead_per_handle_bytes_max <= limits.download_memory_bytes_max,
        "download_memory_bytes_max",
    );
    at_most(
        "hello_timeout_seconds",
        limits.hello_timeout <= limits.login_grace,
        "login_grace_seconds",
    );
    if limits.keepalive_interval < limits.login_grace {
        let message = "allowed: at least limits.login_grace_seconds, or keep-alives would precede \
            the login";
        refuse("limits.keepalive_interval_seconds", message.to_owned());
    }
}

/// As much of a URL as the checks need.
struct Url<'a> {
    encrypted: bool,
    host: &'a str,
}

impl<'a> Url<'a> {
    /// Takes `http://` and `https://`; what it refuses it does not quote, since it may be a secret.
    fn parse(text: &'a str) -> Result<Self, &'static str> {
        let (encrypted, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://"))
        {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("allowed: a URL that begins with https:// or http://"),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err("a URL with a user or password in it; allowed: headers instead");
        }
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err("a URL without a host; allowed: such as https://login.example.com/sftp");
        }
        Ok(Self { encrypted, host })
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}
