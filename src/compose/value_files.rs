//! Files whose text is the value of a setting (secrets, certificates), which are read again when
//! they change.
//!
//! The whole configuration is built again, with everything but these files as it was at the start,
//! and checked as at the start. New values are put in use all together, or none of them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Config, Origin};
use crate::idp::follow::{Followed, Reloaded, Seen};
use crate::metrics::Holding;

/// Puts what was prepared in use.
type Commit = Box<dyn FnOnce() + Send>;

/// Prepares the values of the first configuration in place of those of the second.
type Prepare = dyn Fn(&Config, &Config) -> Result<Commit, String> + Send + Sync;

/// The files, and who has their values.
pub(crate) struct FollowedValues {
    origin: Origin,
    paths: Vec<String>,
    seen: Seen,
    held: Mutex<Arc<Config>>,
    prepare: Box<Prepare>,
}

impl FollowedValues {
    /// Follows the files of a configuration, whose values are in use.
    pub(crate) fn new<E: fmt::Display>(
        origin: Origin,
        config: &Config,
        prepare: impl Fn(&Config, &Config) -> Result<Commit, E> + Send + Sync + 'static,
    ) -> Self {
        Self {
            origin,
            paths: config.files.iter().map(|file| file.path.clone()).collect(),
            // They may have changed since they were read.
            seen: Seen::nothing(),
            held: Mutex::new(Arc::new(config.clone())),
            prepare: Box::new(move |new, held| {
                prepare(new, held).map_err(|error| error.to_string())
            }),
        }
    }

    /// Puts new values in use, and returns their settings.
    fn take_up(&self) -> Result<Vec<String>, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.origin.config_again(&held);
        let new = new.map_err(|errors| errors.to_string())?;
        let changed = new.values_changed_since(&held);
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let commit = (self.prepare)(&new, &held)?;
        let changed = changed.into_iter().map(str::to_owned).collect();
        commit();
        *held = Arc::new(new);
        Ok(changed)
    }
}

impl Followed for FollowedValues {
    fn holds(&self) -> Holding {
        Holding::Secrets
    }

    fn changed(&self) -> bool {
        self.seen.changed(&self.paths)
    }

    fn reload(&self) -> Reloaded {
        if self.origin.is_outdated() {
            tracing::warn!(
                "the configuration file has changed: restart to apply it; only the files that it \
                 names are reloaded"
            );
        }
        let changed = match self.take_up() {
            Ok(changed) => changed,
            Err(problems) => {
                let count = problems.lines().count();
                for problem in problems.lines().take(PROBLEMS_LOGGED_MAX) {
                    tracing::error!(
                        problem,
                        problems = count,
                        "a file of a setting cannot be used: the old values stay in use"
                    );
                }
                return Reloaded::Failed;
            }
        };
        let (late, now): (Vec<_>, Vec<_>) = changed.iter().partition(|name| needs_restart(name));
        if !now.is_empty() {
            let settings = now.into_iter().map(String::as_str).collect::<Vec<_>>();
            tracing::info!(settings = settings.join(", "), "secrets reloaded");
        }
        for setting in late {
            tracing::warn!(setting, "file changed: restart to apply it");
        }
        if changed.is_empty() {
            Reloaded::Unchanged
        } else {
            Reloaded::Done
        }
    }
}

/// Says whether a value is used for the whole life of the process: all connections to S3 have
/// the certificate authorities that they began with.
fn needs_restart(setting: &str) -> bool {
    setting == "storage.ca_file" || (setting.starts_with("store.") && setting.ends_with(".ca_file"))
}

/// `check-config` says them all.
const PROBLEMS_LOGGED_MAX: usize = 10;

impl fmt::Debug for FollowedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedValues")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
