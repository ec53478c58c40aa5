//! What each port expects of a load balancer.

use std::net::SocketAddr;

use super::Failure;
use crate::config::{self, Config};
use crate::idp::{Network, NetworkError};
use crate::ssh::ProxyProtocol;

/// Returns what the ports expect, by their addresses; others expect nothing.
///
/// # Errors
/// A network cannot be parsed.
pub(super) fn proxies(config: &Config) -> Result<Vec<(SocketAddr, ProxyProtocol)>, Failure> {
    let main = (String::new(), config.listen, &config.proxy);
    let further = config.providers.iter().filter_map(|named| {
        let address = named.identity.listen?;
        let section = format!("provider.{}.", named.name);
        Some((section, address, &named.identity.proxy))
    });
    std::iter::once(main)
        .chain(further)
        .map(|(section, address, proxy)| Ok((address, protocol(&section, proxy)?)))
        .collect()
}

fn protocol(section: &str, proxy: &config::Proxy) -> Result<ProxyProtocol, Failure> {
    Ok(match proxy.protocol {
        config::ProxyProtocol::Off => ProxyProtocol::Off,
        config::ProxyProtocol::Ignore => ProxyProtocol::Ignore,
        config::ProxyProtocol::Required => {
            let setting = format!("{section}trusted_networks");
            let trusted = networks(&setting, &proxy.trusted_networks)?;
            ProxyProtocol::Required { trusted }
        }
    })
}

/// Reads the networks of a setting.
///
/// # Errors
/// One is none.
pub(super) fn networks(setting: &str, texts: &[String]) -> Result<Vec<Network>, Failure> {
    let network = |text: &String| {
        let wrong = |error: NetworkError| Failure::Setting(format!("{setting}: {error}"));
        text.trim().parse().map_err(wrong)
    };
    texts.iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NamedProvider;

    #[test]
    fn each_port_has_a_setting_of_its_own() {
        let required = |network: &str| config::Proxy {
            protocol: config::ProxyProtocol::Required,
            trusted_networks: vec![network.to_owned()],
        };
        let mut config = Config::default();
        config.proxy.protocol = config::ProxyProtocol::Ignore;
        let mut identity = config.identity.clone();
        identity.listen = Some(SocketAddr::from(([127, 0, 0, 1], 2223)));
        identity.proxy = required("10.0.0.0/8");
        config.providers = vec![NamedProvider {
            name: "partners".to_owned(),
            identity,
        }];
        let found = proxies(&config).unwrap();
        let trusted = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(found[0], (config.listen, ProxyProtocol::Ignore));
        assert_eq!(found[1].1, ProxyProtocol::Required { trusted });
        config.providers[0].identity.proxy = required("balancer");
        let complaint = proxies(&config).unwrap_err().to_string();
        assert!(
            complaint.contains("provider.partners.trusted_networks"),
            "{complaint}"
        );
    }
}
