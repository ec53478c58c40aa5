//! Host keys out of files, which are read again when they change.

use std::borrow::Borrow;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::config::Listener;
use crate::gateway::Listeners;
use crate::idp::follow::{Followed, Reloaded, Seen};
use crate::metrics::Holding;
use crate::ssh::{HostKey, HostKeys};

/// Where the host keys are.
#[derive(Debug)]
pub(crate) struct HostKeyFiles {
    used: Vec<String>,
    next: Vec<String>,
    /// As they were before they were first read.
    seen: Seen,
}

impl HostKeyFiles {
    /// Finds the files; with a state directory and none configured, keys are made and kept there.
    pub(crate) fn of(listener: &Listener, state: Option<&str>) -> anyhow::Result<Self> {
        let mut used = listener.host_key_files.clone();
        if used.is_empty() {
            let Some(state) = state else {
                bail!("no host key: set host_key_files, or state_directory to generate one");
            };
            used = HostKey::kept_in(state)?;
        }
        let next = listener.host_key_next_files.clone();
        let seen = Seen::now(&[&*used, &*next].concat());
        Ok(Self { used, next, seen })
    }

    /// Says whether these are the same files.
    pub(crate) fn are(&self, other: &Self) -> bool {
        self.used == other.used && self.next == other.next
    }

    /// Reads all of them.
    pub(crate) fn read(&self) -> anyhow::Result<HostKeys> {
        let load = |path: &String| HostKey::load(path).with_context(|| format!("host key {path}"));
        let used = self.used.iter().map(load).collect::<Result<_, _>>()?;
        let next = self.next.iter().map(load).collect::<Result<_, _>>()?;
        Ok(HostKeys::new(used)?.with_next(next))
    }

    /// Gives what changes to new connections of the listeners of these names.
    pub(crate) fn followed(self, names: &[&str], listeners: Arc<Listeners>) -> FollowedHostKeys {
        FollowedHostKeys {
            paths: [&*self.used, &*self.next].concat(),
            files: self,
            names: names.iter().map(|name| (*name).into()).collect(),
            listeners,
        }
    }
}

/// Writes host keys to the log, with all the listeners that show them; a listener without a name
/// is not named.
pub(crate) fn announce<L: Borrow<str>>(keys: &HostKeys, listeners: &[L]) {
    let listeners = listeners.join(", ");
    let listener = Some(&*listeners).filter(|names| !names.is_empty());
    for key in keys.iter() {
        let (algorithm, fingerprint) = (key.algorithm(), key.fingerprint());
        tracing::info!(algorithm, fingerprint, listener, "host key");
    }
    for key in keys.next_keys() {
        let (algorithm, fingerprint) = (key.algorithm(), key.fingerprint());
        tracing::info!(algorithm, fingerprint, listener, "next host key");
    }
}

/// Host keys that new connections are shown.
#[derive(Debug)]
pub(crate) struct FollowedHostKeys {
    files: HostKeyFiles,
    paths: Vec<String>,
    names: Vec<Box<str>>,
    listeners: Arc<Listeners>,
}

impl Followed for FollowedHostKeys {
    fn holds(&self) -> Holding {
        Holding::HostKeys
    }

    fn changed(&self) -> bool {
        self.files.seen.changed(&self.paths)
    }

    fn reload(&self) -> Reloaded {
        match self.files.read() {
            Ok(keys) => {
                announce(&keys, &self.names);
                for name in &self.names {
                    // One that was stopped has no new connections.
                    let _ = self.listeners.set_host_keys(name, keys.clone());
                }
                Reloaded::Done
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "the host keys cannot be read: the old ones stay in use"
                );
                Reloaded::Failed
            }
        }
    }
}
