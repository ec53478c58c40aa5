//! The listeners that a configuration names: bound, with the keys they show and what they expect
//! of a load balancer.

use anyhow::Context as _;

use super::host_keys::{self, HostKeyFiles};
use super::providers::{self, Asked};
use super::unusable::Unusable;
use crate::auth::{AuthSettings, ThrottleSettings};
use crate::config::{self, Config};
use crate::gateway::ListenerParts;
use crate::idp::{Network, NetworkError};
use crate::ssh::{HostKeys, Listener, ProxyProtocol, Transport};

/// A listener that can be bound.
#[derive(Debug)]
pub(crate) struct Opening<'c> {
    listener: &'c config::Listener,
    /// Empty for the only one.
    label: &'c str,
    proxy: ProxyProtocol,
    host_keys: HostKeys,
}

/// The host keys of listeners that have them from the same files.
#[derive(Debug)]
pub(crate) struct SharedKeys<'c> {
    pub(crate) files: HostKeyFiles,
    /// Of the listeners, as [`label`] has them.
    pub(crate) labels: Vec<&'c str>,
}

/// Returns the name of a listener in log lines and metrics: the only one has none.
pub(crate) fn label<'c>(config: &'c Config, listener: &'c config::Listener) -> &'c str {
    match &*config.listeners {
        [_] => "",
        _ => &listener.name,
    }
}

/// Reads what every listener needs, each file once; `proxies`: what each expects of a load balancer.
///
/// # Errors
/// A key cannot be used.
pub(crate) fn open<'c>(
    config: &'c Config,
    proxies: &[ProxyProtocol],
) -> anyhow::Result<(Vec<Opening<'c>>, Vec<SharedKeys<'c>>)> {
    let mut openings = Vec::with_capacity(config.listeners.len());
    let mut shared: Vec<(SharedKeys<'_>, HostKeys)> = Vec::new();
    for (listener, proxy) in config.listeners.iter().zip(proxies) {
        let files = HostKeyFiles::of(listener, config.state_directory.as_deref())?;
        let label = label(config, listener);
        let known = shared.iter_mut().find(|(keys, _)| keys.files.are(&files));
        let host_keys = if let Some((keys, read)) = known {
            keys.labels.push(label);
            read.clone()
        } else {
            let read = files.read()?;
            let labels = vec![label];
            shared.push((SharedKeys { files, labels }, read.clone()));
            read
        };
        openings.push(Opening {
            listener,
            label,
            proxy: proxy.clone(),
            host_keys,
        });
    }
    for (keys, read) in &shared {
        host_keys::announce(read, &keys.labels);
    }
    let shared = shared.into_iter().map(|(keys, _)| keys).collect();
    Ok((openings, shared))
}

impl Opening<'_> {
    /// Takes the address, and puts who decides there about logins behind it.
    ///
    /// # Errors
    /// The address is taken, or not one of this machine.
    pub(crate) async fn bind(
        self,
        config: &Config,
        asked: &[Asked<'_, '_>],
    ) -> anyhow::Result<ListenerParts> {
        let Self {
            listener,
            label,
            proxy,
            host_keys,
        } = self;
        let address = listener.listen;
        let bound = Listener::bind(address).await.with_context(|| {
            let setting = listener.setting();
            format!("failed to listen on {address} ({setting})")
        })?;
        let (provider, auth) = providers::at(listener, asked);
        let auth = AuthSettings {
            history: config.sftp.history,
            ..auth
        };
        Ok(ListenerParts {
            name: label.into(),
            listener: bound,
            provider,
            auth,
            transport: Transport {
                host_keys,
                algorithms: listener.algorithms,
                rekey_bytes: config.ssh.rekey_bytes,
                alone: None,
            },
            proxy,
            banner: listener.banner.as_deref().map(Into::into),
        })
    }
}

/// Returns what the configuration says about throttling.
///
/// # Errors
/// A network cannot be parsed.
pub(crate) fn throttle(login: &config::Login) -> Result<ThrottleSettings, Unusable> {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(ThrottleSettings {
        failures_max: count(login.failures_max),
        failures_per_source_max: count(login.failures_per_source_max),
        names_per_source_max: login.names_per_source_max,
        window: login.failure_window,
        lockout: login.lockout,
        unthrottled: networks("login.unthrottled_networks", &login.unthrottled_networks)?,
    })
}

/// Returns what a listener expects of a load balancer.
///
/// # Errors
/// A network cannot be parsed.
pub(crate) fn proxy(listener: &config::Listener) -> Result<ProxyProtocol, Unusable> {
    let proxy = &listener.proxy;
    Ok(match proxy.protocol {
        config::ProxyProtocol::Off => ProxyProtocol::Off,
        config::ProxyProtocol::Ignore => ProxyProtocol::Ignore,
        config::ProxyProtocol::Required => {
            let setting = match &*listener.section {
                "" => "trusted_networks".to_owned(),
                section => format!("{section}.trusted_networks"),
            };
            let trusted = networks(&setting, &proxy.trusted_networks)?;
            ProxyProtocol::Required { trusted }
        }
    })
}

/// Reads the networks of a setting.
///
/// # Errors
/// One is none.
fn networks(setting: &str, texts: &[String]) -> Result<Vec<Network>, Unusable> {
    let network = |text: &String| {
        let wrong = |error: NetworkError| Unusable::Setting(format!("{setting}: {error}"));
        text.trim().parse().map_err(wrong)
    };
    texts.iter().map(network).collect()
}
