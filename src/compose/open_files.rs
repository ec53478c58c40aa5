//! How many files the process may have open at once, sockets included, and how many its
//! configuration may come to.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin::AdminLimits;
use crate::config::{Config, StoreKind};
use crate::limits::{ALL_DIRECTORIES_CALLS_MAX, DIRECTORY_UPLOADS_MAX, PROCESS_FILES};

/// The limit of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// What holds now.
    soft: u64,
    /// What the process may raise it to.
    hard: u64,
}

/// What a configuration may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    connections: u64,
    /// Of uploads to directories and of calls there, if there are any.
    of_directories: u64,
    of_admin: u64,
}

/// Raises the limit as far as the process may, and says in the log if that is too little.
pub(crate) fn prepare(config: &Config) {
    let (limit, wanted) = (Limit::read(), Wanted::by(config));
    let raised = limit.raised();
    let set = match raised {
        Ok(raised) => raised,
        Err(error) => {
            let Limit { soft, hard } = limit;
            tracing::warn!(soft, hard, %error, "the limit of open files cannot be raised");
            limit
        }
    };
    if set.soft < wanted.all() {
        let (limit, wanted) = (set.soft, wanted.all());
        tracing::warn!(
            limit,
            wanted,
            "the limit of open files is lower than what the configuration may come to: raise \
             LimitNOFILE of the unit, or lower limits.connections_max"
        );
    } else if set.soft > limit.soft {
        let (from, to) = (limit.soft, set.soft);
        tracing::info!(from, to, "limit of open files raised");
    }
}

impl Limit {
    /// Reads it.
    pub(crate) fn read() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Without a limit the kernel still has one.
        Self {
            soft: current.unwrap_or(u64::MAX),
            hard: maximum.unwrap_or(u64::MAX),
        }
    }

    fn raised(self) -> std::io::Result<Self> {
        if self.soft >= self.hard {
            return Ok(self);
        }
        let most = Some(self.hard).filter(|hard| *hard < u64::MAX);
        let wanted = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(Resource::Nofile, wanted)?;
        Ok(Self {
            soft: self.hard,
            ..self
        })
    }

    /// Says what is short of it, once it is raised.
    pub(crate) fn short_of(self, wanted: Wanted) -> Option<String> {
        let hard = self.hard;
        (hard < wanted.all()).then(|| {
            format!(
                "the limit of open files ({hard}) is lower than what the configuration may come \
                 to ({wanted}): raise LimitNOFILE of the unit, or ulimit -H -n, or lower \
                 limits.connections_max"
            )
        })
    }
}

impl Wanted {
    /// Adds up what a configuration allows.
    pub(crate) fn by(config: &Config) -> Self {
        let is_directory = |kind| kind == StoreKind::Directory;
        let mut stores = config.stores.iter().map(|named| named.table.kind);
        let of_directories = if stores.any(is_directory) {
            DIRECTORY_UPLOADS_MAX.saturating_add(ALL_DIRECTORIES_CALLS_MAX)
        } else {
            0
        };
        let (admin, aws) = (AdminLimits::default(), AdminLimits::for_aws());
        let ports = [
            (config.admin.listen, admin),
            (config.admin.probe_listen, admin),
            (config.admin.api_listen, aws),
        ];
        let of_admin = ports
            .iter()
            .filter(|(address, _)| address.is_some())
            .map(|(_, limits)| limits.connections_max);
        Self {
            connections: number(config.limits.connections_max),
            of_directories: number(of_directories),
            of_admin: number(of_admin.sum()),
        }
    }

    /// Returns the sum: a session that works has a call under way, or a file open that it reads.
    fn all(self) -> u64 {
        self.connections
            .saturating_mul(2)
            .saturating_add(self.of_directories)
            .saturating_add(self.of_admin)
            .saturating_add(PROCESS_FILES)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, connections) = (self.all(), self.connections);
        write!(f, "{all}: {connections} connections, as many to stores")?;
        if self.of_directories > 0 {
            write!(f, ", {} for directories", self.of_directories)?;
        }
        let rest = self.of_admin.saturating_add(PROCESS_FILES);
        write!(f, ", {rest} for the rest")
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted {
        connections: 2_000,
        of_directories: 4_224,
        of_admin: 32,
    };

    #[test]
    fn a_limit_that_is_too_low_is_told_with_its_numbers() {
        let all = 4_000 + 4_224 + 32 + PROCESS_FILES;
        let limit = |hard| Limit { soft: 1_024, hard };
        assert_eq!(
            limit(all).short_of(WANTED),
            None,
            "it is raised at the start"
        );
        let short = limit(all - 1).short_of(WANTED).unwrap();
        for part in [
            format!("({})", all - 1),
            format!("({all}: 2000 connections, as many to stores, 4224 for directories, "),
            "LimitNOFILE".to_owned(),
        ] {
            assert!(short.contains(&part), "{part}: {short}");
        }
        let without = Wanted {
            of_directories: 0,
            ..WANTED
        };
        assert!(!without.to_string().contains("directories"));
        assert_eq!(limit(u64::MAX).short_of(WANTED), None);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let before = Limit::read();
        let raised = before.raised().unwrap();
        assert_eq!(raised.soft, before.hard);
        assert_eq!(Limit::read().hard, before.hard);
        assert!(Limit::read().soft >= before.soft);
    }
}
