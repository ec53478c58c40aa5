//! Which listener a command tries a login at.

use std::net::SocketAddr;

use clap::Args;

use super::Failure;
use crate::config::{Config, Listener};

/// Options that choose one.
#[derive(Debug, Clone, Args)]
pub(super) struct ChosenListener {
    /// Port that the client connects to, where there are several; by default the main one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The same by its name in the configuration.
    #[arg(long, value_name = "NAME", conflicts_with = "listen")]
    listener: Option<String>,
}

impl ChosenListener {
    /// Returns the listener that is meant; `Err`: an address that none has.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn of<'c>(
        &self,
        config: &'c Config,
    ) -> Result<Result<&'c Listener, SocketAddr>, Failure> {
        let mut all = config.listeners.iter();
        if let Some(name) = &self.listener {
            return all
                .find(|listener| listener.name == *name)
                .map(Ok)
                .ok_or_else(|| {
                    let names = config.listeners.iter().map(|listener| &*listener.name);
                    let names = names.collect::<Vec<_>>().join(", ");
                    Failure::Usage(format!("--listener: no {name:?}; there are: {names}"))
                });
        }
        let wanted = self.listen.unwrap_or_else(|| {
            let first = config.listeners.first();
            first.map_or(config.listen, |listener| listener.listen)
        });
        let found = all.find(|listener| listener.listen == wanted);
        Ok(found.ok_or(wanted))
    }
}
