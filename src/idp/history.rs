//! What the process remembers of earlier logins and answers, so that what a stranger causes can be
//! told from what befalls everybody.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::known::KnownLogins;
use super::status_only::StatusOnly;

/// Shared by the providers, which ask it, and by logins, which fill it.
#[derive(Debug)]
pub struct LoginHistory {
    known: KnownLogins,
    statuses: Mutex<StatusOnly>,
    /// How long failed logins count.
    window: Duration,
}

impl LoginHistory {
    /// Begins without any; `window` is how long failed logins count.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            known: KnownLogins::default(),
            statuses: Mutex::default(),
            window,
        }
    }

    /// Returns the users that were let in lately.
    #[must_use]
    pub const fn known(&self) -> &KnownLogins {
        &self.known
    }

    /// Remembers that a provider let a user in from a source.
    pub fn let_in(&self, user: &str, source: IpAddr, provider: &str, now: Instant) {
        self.known.let_in(user, source, provider, now);
    }

    /// Takes note of a 401 or a 403 of a provider.
    pub(super) fn status_refused(&self, provider: &str, now: Instant) {
        self.statuses().refused(provider, now);
    }

    /// Takes note of any other answer of a provider.
    pub(super) fn answered(&self, provider: &str, now: Instant) {
        if self.statuses().answered(provider, self.window, now) {
            tracing::warn!(
                provider,
                window_seconds = self.window.as_secs(),
                "the identity provider answered nothing but 401 and 403 for a whole window and \
                 answers again: check the gateway's own authorization; failed logins of that time \
                 are forgotten"
            );
        }
    }

    /// Returns up to when the 401s and 403s of a provider count for nothing.
    #[must_use]
    pub fn statuses_forgotten_at(&self, provider: &str) -> Option<Instant> {
        self.statuses().forgotten_at(provider)
    }

    fn statuses(&self) -> MutexGuard<'_, StatusOnly> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
