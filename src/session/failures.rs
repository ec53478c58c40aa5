//! What fails, in the log: a client can cause it as often as it likes, so the lines about one user
//! are bounded, and those that are left out are counted.

use std::fmt::Display;

use tracing::field::display;

use crate::audit;
use crate::clock::Clock;
use crate::limits::LOG_INTERVAL;
use crate::seldom::Seldom;
use crate::vfs::VirtualPath;

use super::actor::Session;

impl Session {
    /// Writes that an operation failed, unless too much of the kind was written lately.
    pub(super) fn operation_failed(
        &self,
        operation: &'static str,
        path: &VirtualPath,
        detail: &str,
    ) {
        if let Some(unlogged) = self.line_due() {
            audit::storage_refused(operation, path, detail, unlogged);
        }
    }

    /// Says how many lines were left out before this one; `None`: this one as well.
    pub(super) fn line_due(&self) -> Option<Unlogged> {
        due(self.seat.failures(), &*self.environment.clock)
    }

    /// Writes why the session ends because of what the client sent.
    pub(super) fn says_why_it_ends(&self, why: &str, error: Option<&dyn Display>) {
        if let Some(unlogged) = self.line_due() {
            let error = error.map(display);
            tracing::info!(error, unlogged, "session ends: {why}");
        }
    }

    /// Writes how many lines were left out, if nothing said so since.
    pub(super) fn sum_up_failures(&self) {
        let unlogged = self.seat.failures().left_out();
        if unlogged > 0 {
            tracing::warn!(unlogged, "lines about failures were left out");
        }
    }
}

/// How many lines were left out; `None` where that says nothing.
pub(super) type Unlogged = Option<u64>;

pub(super) fn due(failures: &Seldom, clock: &dyn Clock) -> Option<Unlogged> {
    let unlogged = failures.due(clock.now(), LOG_INTERVAL)?;
    Some((unlogged > 0).then_some(unlogged))
}
