//! Host keys out of files, which are read again when they change.

use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::idp::follow::{Followed, Reloaded, Seen};
use crate::metrics::Holding;
use crate::ssh::{HostKey, HostKeys, SshServer};

/// Where the host keys are.
#[derive(Debug)]
pub(super) struct HostKeyFiles {
    used: Vec<String>,
    next: Vec<String>,
    /// As they were before they were first read.
    seen: Seen,
}

impl HostKeyFiles {
    /// Finds the files; with a state directory and none configured, keys are made and kept there.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let mut used = config.host_key_files.clone();
        if used.is_empty() {
            let Some(state) = &config.state_directory else {
                bail!("no host key: set host_key_files, or state_directory to generate one");
            };
            used = HostKey::kept_in(state)?;
        }
        let next = config.ssh.host_key_next_files.clone();
        let seen = Seen::now(&[&*used, &*next].concat());
        Ok(Self { used, next, seen })
    }

    /// Reads all of them and says so in the log.
    pub(super) fn read(&self) -> anyhow::Result<HostKeys> {
        let load = |path: &String| HostKey::load(path).with_context(|| format!("host key {path}"));
        let used = self.used.iter().map(load).collect::<Result<_, _>>()?;
        let next = self.next.iter().map(load).collect::<Result<_, _>>()?;
        let keys = HostKeys::new(used)?.with_next(next);
        for key in keys.iter() {
            let (algorithm, fingerprint) = (key.algorithm(), key.fingerprint());
            tracing::info!(algorithm, fingerprint, "host key");
        }
        for key in keys.next_keys() {
            let (algorithm, fingerprint) = (key.algorithm(), key.fingerprint());
            tracing::info!(algorithm, fingerprint, "next host key");
        }
        Ok(keys)
    }

    /// Gives what changes to new connections.
    pub(super) fn followed(self, ssh: Arc<SshServer>) -> FollowedHostKeys {
        FollowedHostKeys {
            paths: [&*self.used, &*self.next].concat(),
            files: self,
            ssh,
        }
    }
}

/// Host keys that new connections are shown.
#[derive(Debug)]
pub(super) struct FollowedHostKeys {
    files: HostKeyFiles,
    paths: Vec<String>,
    ssh: Arc<SshServer>,
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
                self.ssh.set_host_keys(keys);
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
