//! When a session is over its time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::changes::Changes;
use super::status::{EXPIRED, REVOKED, Refusal};
use crate::auth::AuthenticatedUser;
use crate::clock::Clock;
use crate::idp::UserConfig;
use crate::storage::retry::Tries;
use crate::storage::{Location, StorageError};

/// The longest that a clock which was set forward goes unnoticed.
const STEP: Duration = Duration::from_secs(30);

/// Waits until the identity provider's answer is over its time, if it ever is.
pub(super) async fn expiry(clock: Arc<dyn Clock>, expires_at: Option<SystemTime>) {
    wait_until(&*clock, expires_at).await;
}

/// Whether what a session began may go on without it: not beyond the user's access. As long as it
/// lives the user counts as logged in, so that a revocation reaches what the session left behind.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    /// `None`: for what clears up after something that was stopped.
    user: Option<Arc<AuthenticatedUser>>,
    clock: Arc<dyn Clock>,
    changes: Changes,
    /// Somebody's session began it.
    is_session: bool,
}

impl Stop {
    pub(super) fn new(user: AuthenticatedUser, clock: Arc<dyn Clock>, changes: Changes) -> Self {
        Self {
            user: Some(Arc::new(user)),
            clock,
            changes,
            is_session: true,
        }
    }

    /// Returns one that stops nothing: for what no user's session began.
    pub(super) const fn of_process(clock: Arc<dyn Clock>, changes: Changes) -> Self {
        Self {
            user: None,
            clock,
            changes,
            is_session: false,
        }
    }

    /// Returns one that stops nothing: for what must come to its end since it was begun.
    pub(super) fn lifted(&self) -> Self {
        Self {
            user: None,
            clock: Arc::clone(&self.clock),
            changes: self.changes.clone(),
            is_session: self.is_session,
        }
    }

    /// Notes a change, which the store has carried out or may have: before anybody is told of it.
    pub(super) fn note(&self, location: &Location) {
        self.changes.note(location);
        if self.is_session {
            self.changes.note_time(location, self.clock.wall());
        }
    }

    /// Returns the clock that it goes by.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Refuses what must not be begun any more.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let Some(user) = &self.user else {
            return Ok(());
        };
        if user.revoked().is_cancelled() {
            return Err(REVOKED.into());
        }
        if is_over(user.config(), self.clock.wall()) {
            return Err(EXPIRED.into());
        }
        Ok(())
    }

    /// Waits until [`Stop::check`] refuses.
    pub(super) async fn over(&self) -> Refusal {
        let Some(user) = &self.user else {
            return std::future::pending().await;
        };
        let expired = wait_until(&*self.clock, user.config().expires_at);
        tokio::select! {
            biased;
            () = user.revoked().cancelled() => REVOKED.into(),
            () = expired => EXPIRED.into(),
        }
    }

    /// Waits until a call may be sent again that failed; `false`, and the error says why: it is
    /// too late for that, or it must not be.
    pub(super) async fn lets_again(&self, tries: &mut Tries, error: &mut StorageError) -> bool {
        let over = tokio::select! {
            biased;
            over = self.over() => over,
            again = tries.again_after(self.clock(), error) => return again,
        };
        let detail = &error.detail;
        let why = over.status.sentence;
        error.detail = format!("{detail} (not retried: {why})").into();
        false
    }
}

/// Says whether nothing may begin any more on the strength of an answer.
pub(super) fn is_over(config: &UserConfig, now: SystemTime) -> bool {
    config.expires_at.is_some_and(|end| end <= now)
}

async fn wait_until(clock: &dyn Clock, expires_at: Option<SystemTime>) {
    match expires_at {
        Some(end) => wait(clock, end, STEP).await,
        None => std::future::pending().await,
    }
}

async fn wait(clock: &dyn Clock, end: SystemTime, step: Duration) {
    while let Ok(left) = end.duration_since(clock.wall())
        && !left.is_zero()
    {
        clock.sleep(left.min(step)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;
    use crate::clock::SystemClock;

    #[derive(Debug)]
    struct Settable(Mutex<SystemTime>);

    impl Clock for Settable {
        fn now(&self) -> Instant {
            SystemClock.now()
        }

        fn wall(&self) -> SystemTime {
            *self.0.lock().unwrap()
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_forward_is_noticed() {
        let start = SystemClock.wall();
        let clock = Settable(Mutex::new(start));
        let end = start + Duration::from_secs(3_600);
        let over = wait(&clock, end, Duration::from_millis(5));
        tokio::pin!(over);
        let early = tokio::time::timeout(Duration::from_millis(50), over.as_mut()).await;
        assert!(early.is_err());
        *clock.0.lock().unwrap() = end;
        let patience = Duration::from_secs(10);
        assert_eq!(tokio::time::timeout(patience, over).await, Ok(()));
        // What is over is so at once.
        let over = wait(&clock, start, patience * 2);
        assert_eq!(tokio::time::timeout(patience, over).await, Ok(()));
    }
}
