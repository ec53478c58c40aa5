//! `portcullis check-config`: what is wrong with a configuration, and with the store it names.

use clap::Args;

use super::memory::{self, Limit, ReceiveBuffer};
use super::store_probe::{self, NO_CREDENTIALS, Place};
use super::{ConfigSource, Failure, load, output};
use crate::causes;
use crate::compose::open_files::{self, Wanted};
use crate::compose::{Composition, partial_state, stores};
use crate::config::{
    self, Config, KeySource, Listener, ProviderSettings, ProxyProtocol, Purpose, StoreKind,
};
use crate::limits::Limits;
use crate::ssh::HostKey;
use crate::storage::PartLayout;

/// Options of `check-config`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    source: ConfigSource,
    /// Only print a file with every setting and its default.
    #[arg(long, conflicts_with_all = ["config", "probe"])]
    print_default: bool,
    /// Only print a minimal configuration.
    #[arg(long, conflicts_with_all = ["config", "probe", "print_default"])]
    print_minimal: bool,
    /// Also test what the bucket's store supports, with objects below this prefix that are removed
    /// again. With several stores, once for each.
    #[arg(long, value_name = "s3://BUCKET/PREFIX")]
    probe: Vec<Place>,
}

/// Checks a configuration and says that it is good.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    if options.print_default {
        output::print(&config::example());
        return Ok(());
    }
    if options.print_minimal {
        output::print(config::MINIMAL);
        return Ok(());
    }
    let config = load(&options.source, Purpose::Serve)?;
    let has_none = |listener: &Listener| listener.host_key_files.is_empty();
    let generates = config.listeners.iter().any(has_none);
    if let (true, Some(state)) = (generates, &config.state_directory) {
        HostKey::may_be_kept_in(state)
            .map_err(|why| Failure::Setting(format!("state_directory: {state:?}: {why}")))?;
    }
    for warning in &config.warnings {
        output::warning(warning);
    }
    host_keys(&config)?;
    if let Some(limit) = Limit::read("") {
        limit.check(&config.limits).map_err(Failure::Setting)?;
    }
    for named in &config.stores {
        root_is_there(named)?;
    }
    partial_state::check(&config).map_err(Failure::Setting)?;
    let composition = Composition::of(&config)?;
    let providers = providers(&composition);
    let admin = config
        .admin
        .listen
        .map_or_else(|| "off".to_owned(), |address| address.to_string());
    let probes = config.admin.probe_listen;
    let probes = probes.map_or_else(String::new, |address| format!(" · health checks {address}"));
    let api = config.admin.api_listen;
    let api = api.map_or_else(String::new, |address| {
        let tls = match config.admin.api_certificate_pem {
            Some(_) => "with TLS",
            None => "without TLS",
        };
        format!(" · AWS's tools {address} {tls}")
    });
    output::print(&format!(
        "configuration is good · ssh on {} · admin {admin}{api}{probes} · identity provider {providers}\n",
        addresses(&config.listeners),
    ));
    output::print(&listeners(&config.listeners));
    output::print(&format!("memory: {}\n", memory::sum(&config.limits)));
    output::print(&format!("files: {}\n", largest_file(&config.limits)));
    places(&config);
    if options.probe.is_empty() && config::credentials::are_plainly_absent(&config) {
        output::warning(NO_CREDENTIALS);
    }
    for place in &options.probe {
        probe(&config, place)?;
    }
    if !options.probe.is_empty() {
        probe_records(&config)?;
    }
    Ok(())
}

/// Refuses a directory that is none; whether it can be written to is tried when it is used.
fn root_is_there(named: &config::NamedStore) -> Result<(), Failure> {
    let Some(root) = named.table.root.as_deref() else {
        return Ok(());
    };
    let why = match std::fs::metadata(root) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "not a directory".to_owned(),
        Err(error) => causes::system(&error),
    };
    let name = &named.name;
    Err(Failure::Setting(format!(
        "store.{name}.root: {root:?}: {why}"
    )))
}

/// Says where the configuration keeps what, and what the kernel has.
fn places(config: &Config) {
    if let Some(place) = &config.sftp.partial_state {
        output::print(&format!("partial uploads: recorded in {place}\n"));
    }
    if let Some(buffer) = ReceiveBuffer::read("") {
        output::print(&format!("kernel: {}\n", buffer.describe()));
    }
    let wanted = Wanted::by(config);
    output::print(&format!("open files: up to {wanted}\n"));
    if let Some(short) = open_files::Limit::read().short_of(wanted) {
        output::warning(&short);
    }
}

/// Tries out the bucket in which uploads are recorded.
fn probe_records(config: &Config) -> Result<(), Failure> {
    let Some(place) = partial_state::in_bucket(config) else {
        return Ok(());
    };
    let place: Result<Place, _> = place.parse();
    let place = place.map_err(|why| Failure::Setting(format!("sftp.partial_state: {why}")))?;
    store_probe::run("storage", &config.storage, &place)
}

/// Tries out the store that serves a bucket.
fn probe(config: &Config, place: &Place) -> Result<(), Failure> {
    let failed = |error| Failure::Setting(format!("{error:#}"));
    let Some(named) = stores::of_bucket(config, place.bucket()).map_err(failed)? else {
        return store_probe::run("storage", &config.storage, place);
    };
    match named.table.kind {
        StoreKind::S3 => {
            let section = format!("store.{}", named.name);
            store_probe::run(&section, &named.storage, place)
        }
        StoreKind::Directory => {
            drop(stores::directory(named).map_err(failed)?);
            output::print(&format!("ok: [store.{}] is a directory\n", named.name));
            Ok(())
        }
    }
}

/// Says how large a file may be, and what sets that.
fn largest_file(limits: &Limits) -> String {
    let layout = PartLayout::of(limits);
    let (bytes, store) = (layout.object_bytes(), limits.object_bytes_max);
    let (size, largest) = (bytes >> 30, layout.largest_bytes() >> 20);
    let why = if bytes < store {
        format!(
            "10,000 parts that grow to {largest} MiB (limits.part_bytes, \
             limits.upload_memory_bytes_max); the store allows {} GiB",
            store >> 30
        )
    } else {
        "the store's largest object (storage.object_bytes_max)".to_owned()
    };
    format!("up to {size} GiB: {why}")
}

/// Reads the keys of every listener, and shows each file's once.
fn host_keys(config: &Config) -> Result<(), Failure> {
    let mut seen = Vec::new();
    let all = config.listeners.iter();
    let all = all.flat_map(|one| one.host_key_files.iter().chain(&one.host_key_next_files));
    for path in all {
        if seen.contains(&path) {
            continue;
        }
        let key = HostKey::load(path).map_err(|source| Failure::HostKey {
            path: path.clone(),
            source,
        })?;
        if HostKey::is_readable_by_everybody(path) {
            output::warning(&format!(
                "host key {path:?} can be read by everybody: chmod 600 {path:?}"
            ));
        }
        let (algorithm, fingerprint) = (key.algorithm(), key.fingerprint());
        output::print(&format!("host key {algorithm} {fingerprint}\n"));
        seen.push(path);
    }
    Ok(())
}

fn addresses(listeners: &[Listener]) -> String {
    let addresses = listeners.iter().map(|listener| listener.listen.to_string());
    addresses.collect::<Vec<_>>().join(", ")
}

/// Says of each listener what it does otherwise than others; nothing of the only one.
fn listeners(listeners: &[Listener]) -> String {
    if let [_] = listeners {
        return String::new();
    }
    let described = listeners.iter().map(|listener| {
        let Listener { name, listen, .. } = listener;
        let providers = match &*listener.providers {
            [] => String::new(),
            names => format!(" · providers {}", names.join(", ")),
        };
        let algorithms = listener.algorithms.as_str();
        let keys = match &*listener.host_key_files {
            [] => "of state_directory".to_owned(),
            files => files.join(", "),
        };
        let proxy = match listener.proxy.protocol {
            ProxyProtocol::Off => String::new(),
            mode @ (ProxyProtocol::Ignore | ProxyProtocol::Required) => {
                format!(" · PROXY header {}", mode.as_str())
            }
        };
        format!(
            "listener {name}: {listen}{providers} · {algorithms} algorithms · host keys {keys}{proxy}\n"
        )
    });
    described.collect()
}

/// Says where every provider is.
fn providers(composition: &Composition<'_>) -> String {
    let described = composition.opened.iter().map(|opened| {
        let identity = opened.identity;
        let place = match &identity.settings {
            ProviderSettings::Static(_) => {
                let users = opened.file.as_ref().map_or(0, |file| file.users());
                format!("static, users: {users}")
            }
            ProviderSettings::Lambda(lambda) => function(lambda, opened.provider.place()),
            ProviderSettings::ApiGateway(api) => format!("api-gateway at {}", origin(&api.url)),
            ProviderSettings::Token(token) => {
                let place = match &token.keys {
                    KeySource::Url { url, .. } => origin(url),
                    KeySource::File(_) => "of a file".to_owned(),
                };
                format!("token, keys: {place}")
            }
            ProviderSettings::ServiceManaged(_) => {
                format!("service-managed, users in {}", opened.users_place())
            }
            ProviderSettings::Webhook(webhook) => origin(&webhook.url),
        };
        match opened.name {
            "" => place,
            name => format!("{name} ({place})"),
        }
    });
    described.collect::<Vec<_>>().join(", ")
}

/// Names a function and where it is asked.
fn function(lambda: &config::Lambda, place: Option<(String, u16)>) -> String {
    let qualifier = lambda.qualifier.iter().map(|q| format!(":{q}"));
    let name = std::iter::once(lambda.function.clone());
    let name: String = name.chain(qualifier).collect();
    let host = place.map_or_else(String::new, |(host, _)| format!(" at {host}"));
    format!("lambda {name}{host}")
}

/// Returns a URL without its path and query: those may carry a key.
fn origin(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

const EXAMPLES: &str = "\
Examples:
  portcullis check-config --print-minimal > portcullis.toml
  portcullis check-config --print-default > portcullis.toml
  portcullis check-config --config portcullis.toml
  portcullis check-config --config portcullis.toml --probe s3://my-bucket/tmp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_file_has_its_reason() {
        let limits = Limits::default();
        assert_eq!(
            largest_file(&limits),
            "up to 492 GiB: 10,000 parts that grow to 64 MiB (limits.part_bytes, \
             limits.upload_memory_bytes_max); the store allows 50000 GiB"
        );
        let roomy = Limits {
            upload_memory_bytes_max: 6 << 30,
            object_bytes_max: 5 << 40,
            ..limits
        };
        assert_eq!(
            largest_file(&roomy),
            "up to 5120 GiB: the store's largest object (storage.object_bytes_max)"
        );
    }

    #[test]
    fn a_shown_url_has_no_path() {
        assert_eq!(
            origin("https://idp.example.com:8443/x?key=1"),
            "https://idp.example.com:8443"
        );
        assert_eq!(origin("http://localhost"), "http://localhost");
    }
}
