//! `[listener.NAME]`: where clients are received, and how. `listen` at the top and
//! `[provider.NAME].listen` are short forms of it.

use std::net::SocketAddr;

use super::path::join;
use super::words::{Algorithms, ProxyProtocol};

/// How a port learns whose connection a load balancer passes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    pub protocol: ProxyProtocol,
    /// Who may say so, as text.
    pub trusted_networks: Vec<String>,
}

/// One address at which clients are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Of the table, or of the provider whose `listen` it is; `main` for `listen` at the top, and
    /// `provider.main` for a provider called so. No two are the same.
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
    /// Not written = all without a `listen` of their own.
    pub providers: Vec<String>,
}

/// The name of the listener that `listen` at the top is.
pub(super) const MAIN: &str = "main";

impl Listener {
    /// Returns the setting of its address.
    #[must_use]
    pub fn setting(&self) -> String {
        join(&self.section, "listen")
    }
}
