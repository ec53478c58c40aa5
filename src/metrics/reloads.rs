//! Files that were read again.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::registrar::{Labels, Registrar};

/// What files hold that are read again when they change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    Users,
    HostKeys,
    SigningKeys,
    TokenKeys,
    /// Values of settings: passwords, tokens, keys, certificates.
    Secrets,
}

impl Holding {
    const ALL: [Self; 5] = [
        Self::Users,
        Self::HostKeys,
        Self::SigningKeys,
        Self::TokenKeys,
        Self::Secrets,
    ];

    /// Returns the word of the log and the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::HostKeys => "host-keys",
            Self::SigningKeys => "signing-keys",
            Self::TokenKeys => "token-keys",
            Self::Secrets => "secrets",
        }
    }
}

/// The series of all of them.
#[derive(Debug)]
pub(super) struct Reloads(Family<Labels<2>, Counter>);

impl Reloads {
    pub(super) fn new(all: &mut Registrar) -> Self {
        let reloads = Self(all.counters(
            "reloads",
            "files, outcome",
            "Files read again after a change or SIGHUP: users, host-keys, signing-keys, token-keys or secrets; done, or failed (the old content stays in use)",
        ));
        for holding in Holding::ALL {
            for done in [true, false] {
                drop(reloads.of(holding, done));
            }
        }
        reloads
    }

    pub(super) fn count(&self, holding: Holding, done: bool) {
        let _ = self.of(holding, done).inc();
    }

    fn of(&self, holding: Holding, done: bool) -> Counter {
        let outcome = if done { "done" } else { "failed" };
        let labels = [("files", holding.as_str()), ("outcome", outcome)];
        self.0.get_or_create_owned(&labels)
    }
}
