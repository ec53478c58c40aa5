//! What every room of a session needs: whose it is, the process, its tasks, its answers, and its
//! lines in the log.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{AbortHandle, JoinSet};

use crate::audit;
use crate::auth::AuthenticatedUser;
use crate::clock::Clock;
use crate::limits::LOG_INTERVAL;
use crate::seldom::Seldom;
use crate::sftp::{Attributes, Given, Pending, Status};
use crate::storage::SharedStore;
use crate::tasks;
use crate::vfs::VirtualPath;

use super::answers::Answers;
use super::environment::Environment;
use super::events::Events;
use super::expiry::Stop;
use super::status::refused_because;
use super::stored_time::Shows;
use super::untold::Untold;
use super::user_sessions::UserSession;

/// A session without what is open in it.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) environment: Environment,
    pub(crate) user: AuthenticatedUser,
    pub(crate) user_session: UserSession,
    pub(crate) answers: Answers,
    pub(crate) events: Events,
    pub(crate) untold: Untold,
    /// For what the session begins.
    pub(super) stop: Stop,
    /// Private: [`Shell::spawn`] is the only way in.
    tasks: JoinSet<()>,
}

impl Shell {
    pub(crate) fn new(
        environment: Environment,
        user: AuthenticatedUser,
        user_session: UserSession,
        answers: Answers,
        events: Events,
    ) -> Self {
        Self {
            stop: Stop::new(
                user.clone(),
                Arc::clone(&environment.clock),
                environment.changes.clone(),
            ),
            environment,
            user,
            user_session,
            answers,
            events,
            untold: Untold::default(),
            tasks: JoinSet::new(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.environment.clock.now()
    }

    pub(crate) fn store(&self) -> SharedStore {
        self.user.store().clone()
    }

    /// Says what clients are shown of what is stored with files.
    pub(crate) fn shows(&self) -> Shows {
        Shows {
            times: self.environment.stat_times,
            modes: self.environment.limits.keep_modes,
        }
    }

    /// Returns what is going to be stored with a file that is written, of what its client said in
    /// time for the upload, and after that.
    pub(crate) fn to_be_stored(&self, given: Given, late: Given) -> Given {
        let keeps_times = self.environment.limits.keep_times;
        let kept = Given {
            modified: late.modified.filter(|_| keeps_times),
            ..late
        };
        kept.or(given)
    }

    /// Leaves out of what a client says of a file what the operator does not want to be kept.
    pub(crate) fn kept(&self, attrs: Attributes) -> Attributes {
        if self.environment.limits.keep_modes {
            return attrs;
        }
        Attributes {
            permissions: None,
            owner: None,
            ..attrs
        }
    }

    /// Begins a task that ends with the session, and whose lines in the log name it.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        tasks::spawn(&mut self.tasks, task)
    }

    /// Forgets the tasks that have ended.
    pub(crate) fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }

    // ---- what fails, in the log: a client can cause it as often as it likes, so the lines about
    // one user are bounded, and those that are left out are counted ----

    /// Writes that an operation failed, unless too much of the kind was written lately.
    pub(crate) fn operation_failed(
        &self,
        operation: &'static str,
        path: &VirtualPath,
        detail: &str,
    ) {
        if let Some(unlogged) = self.line_due() {
            audit::storage_refused(operation, path, detail, unlogged);
        }
    }

    /// Refuses a request: what a user may not have leaves a line, with the path if it has one.
    pub(crate) fn refuse(
        &mut self,
        pending: Pending,
        path: Option<&VirtualPath>,
        new_path: Option<&VirtualPath>,
        status: Status,
    ) {
        let operation = pending.operation();
        if let Some(reason) = refused_because(operation, &status)
            && let Some(unlogged) = self.line_due()
        {
            audit::refused(operation, path, new_path, reason, unlogged);
        }
        self.answers.status(pending, status);
    }

    /// Says how many lines were left out before this one; `None`: this one as well.
    pub(crate) fn line_due(&self) -> Option<Unlogged> {
        due(self.user_session.failures(), &*self.environment.clock)
    }

    /// Writes why the session ends because of what the client sent.
    pub(crate) fn says_why_it_ends(&self, why: &dyn Display) {
        if let Some(unlogged) = self.line_due() {
            tracing::info!(unlogged, "session ends: {why}");
        }
    }

    /// Writes how many lines were left out, if nothing said so since.
    pub(crate) fn sum_up_failures(&self) {
        let unlogged = self.user_session.failures().left_out();
        if unlogged > 0 {
            tracing::warn!(unlogged, "lines about failures were omitted");
        }
    }

    /// Returns what bounds the lines of a task, and the clock for it.
    pub(crate) fn failures(&self) -> Failures {
        Failures {
            seldom: Arc::clone(self.user_session.failures()),
            clock: Arc::clone(&self.environment.clock),
        }
    }
}

/// Bounds the lines of a task about what fails.
#[derive(Debug, Clone)]
pub(crate) struct Failures {
    seldom: Arc<Seldom>,
    clock: Arc<dyn Clock>,
}

impl Failures {
    pub(super) const fn new(seldom: Arc<Seldom>, clock: Arc<dyn Clock>) -> Self {
        Self { seldom, clock }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn line_due(&self) -> Option<Unlogged> {
        due(&self.seldom, &*self.clock)
    }
}

/// How many lines were left out; `None` where that says nothing.
pub(crate) type Unlogged = Option<u64>;

pub(crate) fn due(failures: &Seldom, clock: &dyn Clock) -> Option<Unlogged> {
    let unlogged = failures.due(clock.now(), LOG_INTERVAL)?;
    Some((unlogged > 0).then_some(unlogged))
}
