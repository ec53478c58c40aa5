//! What moves work with, and what they have to keep to.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::budget::{Budget, Charge, UserMemory};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::metrics::{Metrics, MoveEnd};
use crate::reaper::Reaper;
use crate::sftp::Status;
use crate::storage::{Bucket, ETag, Location, Nonces, ObjectStore, SharedStore};
use crate::vfs::VirtualPath;

use super::deletion::{Deletion, Sight, What};
use super::environment::Environment;
use super::events::Events;
use super::expiry::Stop;
use super::out::Out;
use super::progress::Progress;
use super::shell::{Failures, Shell, Unlogged};
use super::status::Refusal;
use super::user_sessions::{OneWay, UserSession};

/// What a move works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) store: &'a SharedStore,
    /// Ends what a copy in parts leaves behind.
    pub(crate) reaper: &'a Reaper,
    pub(crate) nonces: Nonces,
    pub(crate) metrics: &'a Metrics,
    pub(crate) bounds: &'a Bounds,
    pub(crate) progress: &'a Progress,
}

/// The same for work that goes on by itself, whatever becomes of its session.
#[derive(Debug)]
pub(super) struct OwnScene {
    store: SharedStore,
    reaper: Reaper,
    nonces: Nonces,
    metrics: Arc<Metrics>,
    pub(super) bounds: Bounds,
    progress: Progress,
}

impl OwnScene {
    pub(super) fn new(shell: &Shell, path: &VirtualPath) -> Self {
        let (bounds, out) = (Bounds::of(shell), shell.answers.out());
        Self::of(&shell.environment, &shell.store(), bounds, (path, out))
    }

    /// The same for the work of no session.
    pub(super) fn of(
        environment: &Environment,
        store: &SharedStore,
        bounds: Bounds,
        (path, out): (&VirtualPath, &Arc<Out>),
    ) -> Self {
        let clock = &environment.clock;
        Self {
            store: Arc::clone(store),
            reaper: environment.reaper.clone(),
            nonces: environment.nonces,
            metrics: Arc::clone(&environment.metrics),
            bounds,
            progress: Progress::new("copying", path.clone(), Arc::clone(out), Arc::clone(clock)),
        }
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            store: &self.store,
            reaper: &self.reaper,
            nonces: self.nonces,
            metrics: &self.metrics,
            bounds: &self.bounds,
            progress: &self.progress,
        }
    }
}

/// What a user's moves have to keep to.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(super) budget: Arc<Budget>,
    pub(super) limits: Arc<Limits>,
    pub(super) metrics: Arc<Metrics>,
    /// What the user has of the process's memory.
    pub(super) shares: UserMemory,
    /// How fast bytes come that pass through the gateway.
    pub(super) incoming: OneWay,
    /// How fast bytes go that are read for the user.
    pub(super) outgoing: OneWay,
    /// The turns of checksums: the user's, and the process's.
    pub(super) sums: [Arc<Semaphore>; 2],
    turns: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    pub(super) listed_heads: Arc<Semaphore>,
    pub(super) stop: Stop,
    /// For what has to come to its end, whatever becomes of the user.
    pub(super) clears_up: Stop,
    /// End with the session, for what has not begun by then.
    events: Events,
    /// Bound the lines about what fails.
    pub(super) failures: Failures,
}

impl Bounds {
    pub(super) fn of(shell: &Shell) -> Self {
        let (events, failures) = (shell.events.clone(), shell.failures());
        let (environment, session) = (&shell.environment, &shell.user_session);
        Self::new(environment, session, shell.stop.clone(), events, failures)
    }

    pub(super) fn new(
        environment: &Environment,
        session: &UserSession,
        stop: Stop,
        events: Events,
        failures: Failures,
    ) -> Self {
        Self {
            budget: Arc::clone(&environment.budget),
            limits: Arc::clone(&environment.limits),
            metrics: Arc::clone(&environment.metrics),
            shares: session.memory().clone(),
            incoming: session.incoming(),
            outgoing: session.outgoing(),
            sums: [session.sums(), &environment.summing].map(Arc::clone),
            turns: Arc::clone(session.moves()),
            changes: Arc::clone(session.changes()),
            listed_heads: Arc::clone(session.listed_heads()),
            clears_up: stop.lifted(),
            stop,
            events,
            failures,
        }
    }

    /// Returns the clock that everything here goes by.
    pub(super) fn clock(&self) -> &dyn Clock {
        self.stop.clock()
    }

    /// Waits until the user's other changes leave room for one more: those of sessions that are
    /// over go on, and while the store fails each is repeated.
    pub(super) async fn change(&self) -> Result<Turn, Refusal> {
        let say = |unlogged| {
            tracing::info!(unlogged, "a change waits: the user has reached the limit");
        };
        self.turn_of(&self.changes, say).await
    }

    /// Takes one of the user's turns, or says that it waits for one.
    async fn turn_of(
        &self,
        turns: &Arc<Semaphore>,
        say: impl FnOnce(Unlogged),
    ) -> Result<Turn, Refusal> {
        if let Ok(permit) = Arc::clone(turns).try_acquire_owned() {
            return Ok(Turn {
                waited: false,
                _permit: permit,
            });
        }
        if let Some(unlogged) = self.failures.line_due() {
            say(unlogged);
        }
        let turn = self.unless_over(Arc::clone(turns).acquire_owned());
        Ok(Turn {
            waited: true,
            // Nobody closes it.
            _permit: turn.await?.map_err(|_| Status::FAILURE)?,
        })
    }

    /// Waits for bytes of the account; who wants more than a user ever gets hears `too_much`.
    pub(super) async fn memory(&self, bytes: u64, too_much: Status) -> Result<Charge, Refusal> {
        let account = &self.shares.account;
        // A user never gets more than half.
        let most = account.pool().limit_bytes() / 2;
        if bytes > most {
            let detail = format!(
                "the move needs {bytes} bytes, limits.session_memory_bytes_max leaves {most}"
            );
            return Err(Refusal {
                status: too_much,
                detail: Some(detail.into()),
            });
        }
        self.unless_over(account.take(bytes)).await
    }

    /// Waits for what cannot begin without it, as long as somebody waits for that.
    pub(super) async fn unless_over<T>(&self, wait: impl Future<Output = T>) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            refusal = self.stop.over() => Err(refusal),
            () = self.events.ended() => Err(Status::failure("The session ended").into()),
            value = wait => Ok(value),
        }
    }
}

/// A turn of one of the user's changes.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn {
    /// What was seen before may be otherwise by now.
    pub(super) waited: bool,
    _permit: OwnedSemaphorePermit,
}

/// Says whether two buckets are in different stores.
pub(super) fn are_apart(store: &dyn ObjectStore, one: &Bucket, other: &Bucket) -> bool {
    let store = |bucket| store.capabilities(bucket).store;
    one != other && store(one) != store(other)
}

impl Scene<'_> {
    /// Waits until the user's other long moves leave room for one more.
    pub(super) async fn turn(&self) -> Result<Turn, Refusal> {
        let say = |unlogged| self.progress.waits(unlogged);
        self.bounds.turn_of(&self.bounds.turns, say).await
    }

    /// Says whether two buckets are in different stores: none of them copies from the other.
    pub(super) fn are_apart(&self, one: &Bucket, other: &Bucket) -> bool {
        are_apart(&**self.store, one, other)
    }

    /// The deletion of one version of what was copied, or of a copy that is taken back: begun, it
    /// comes to its end.
    pub(super) fn deletion<'b>(&'b self, location: &'b Location, found: &'b ETag) -> Deletion<'b> {
        Deletion {
            store: &**self.store,
            stop: &self.bounds.clears_up,
            location,
            found: Sight::by_etag(found),
            what: What::Version,
        }
    }

    pub(super) fn move_ended(&self, done: bool) {
        self.metrics.move_ended(self.end(done));
    }

    /// Counts a copy that a client asked for.
    pub(super) fn copy_ended(&self, done: bool) {
        self.metrics.copy_ended(self.end(done));
    }

    fn end(&self, done: bool) -> MoveEnd {
        match (done, self.bounds.stop.check()) {
            (true, _) => MoveEnd::Done,
            (false, Ok(())) => MoveEnd::Failed,
            (false, Err(_)) => MoveEnd::Stopped,
        }
    }
}
