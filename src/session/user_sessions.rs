//! What a user has in common with their other sessions: how many there are, and how fast bytes go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::budget::{Budget, UserMemory};
use crate::clock::{Clock, sleep_until};
use crate::idp::{UserConfig, UserLimits, folded};
use crate::limits::{
    CHANGES_PER_USER_MAX, CLOSES_KEPT_PER_USER_MAX, LISTED_HEADS_PER_USER_MAX,
    LOG_FAILURES_PER_USER_MAX, LOG_INTERVAL, MOVES_PER_USER_MAX,
};
use crate::seldom::Seldom;
use crate::transfer::Pace;

/// The sessions of the process, by user.
#[derive(Debug, Clone)]
pub struct UserSessions {
    by_user: Arc<Mutex<HashMap<Person, Taken>>>,
    /// Where the identity provider says nothing.
    per_user_max: u32,
    budget: Arc<Budget>,
}

/// The provider, and the canonical name in one spelling: namesakes are not the same user.
type Person = (Box<str>, Box<str>);

/// What a user has taken, and after the last session what they still owe.
#[derive(Debug)]
struct Taken {
    sessions: u32,
    shared: Shared,
}

/// What all sessions of a user have in common.
#[derive(Debug, Clone)]
struct Shared {
    pace: Option<SharedPace>,
    /// Bounds the lines about what fails.
    failures: Arc<Seldom>,
    memory: UserMemory,
    /// For long moves, which may outlive the sessions.
    moves: Arc<Semaphore>,
    /// For changes of names, which may outlive them as well.
    changes: Arc<Semaphore>,
    /// For uploads whose client is gone.
    kept: Arc<Semaphore>,
    /// For files of listings that are asked about.
    listed_heads: Arc<Semaphore>,
    /// For checksums that are computed.
    sums: Arc<Semaphore>,
}

/// How fast a user's bytes go, each way.
#[derive(Debug, Clone)]
struct SharedPace {
    received: Arc<Mutex<Pace>>,
    sent: Arc<Mutex<Pace>>,
}

/// One session's place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct UserSession {
    user_sessions: UserSessions,
    user: Person,
    shared: Shared,
}

impl UserSessions {
    /// Allows each user this many sessions, unless an answer says otherwise.
    #[must_use]
    pub fn new(per_user_max: usize, budget: Arc<Budget>) -> Self {
        Self {
            budget,
            by_user: Arc::default(),
            per_user_max: u32::try_from(per_user_max).unwrap_or(u32::MAX),
        }
    }

    /// Takes a place if the user may have another session.
    pub(crate) fn take(&self, config: &UserConfig, now: Instant) -> Option<UserSession> {
        let limits: UserLimits = config.limits;
        let user: Person = (config.provider.clone(), folded(&config.user));
        let mut by_user = self.by_user();
        by_user.retain(|_, taken| taken.sessions > 0 || !taken.shared.is_rested(now));
        let sessions = by_user.get(&user).map_or(0, |taken| taken.sessions);
        if sessions >= limits.sessions.unwrap_or(self.per_user_max) {
            return None;
        }
        let taken = by_user
            .entry(user.clone())
            .or_insert_with(|| Taken::new(&self.budget));
        taken.sessions = sessions.saturating_add(1);
        match (limits.bytes_per_second, &taken.shared.pace) {
            (Some(rate), None) => taken.shared.pace = Some(SharedPace::new(rate)),
            // The latest answer holds for all.
            (Some(rate), Some(pace)) => pace.change(rate),
            (None, _) => taken.shared.pace = None,
        }
        Some(UserSession {
            user_sessions: self.clone(),
            user,
            shared: taken.shared.clone(),
        })
    }

    /// Returns what bounds the lines about a user who may have no session.
    pub(crate) fn failures(&self, config: &UserConfig) -> Arc<Seldom> {
        let user: Person = (config.provider.clone(), folded(&config.user));
        let mut by_user = self.by_user();
        let taken = by_user
            .entry(user)
            .or_insert_with(|| Taken::new(&self.budget));
        Arc::clone(&taken.shared.failures)
    }

    fn by_user(&self) -> MutexGuard<'_, HashMap<Person, Taken>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn new(budget: &Budget) -> Self {
        let shared = Shared {
            pace: None,
            failures: Arc::new(Seldom::up_to(LOG_FAILURES_PER_USER_MAX)),
            memory: budget.user(),
            moves: Arc::new(Semaphore::new(MOVES_PER_USER_MAX)),
            changes: Arc::new(Semaphore::new(CHANGES_PER_USER_MAX)),
            kept: Arc::new(Semaphore::new(CLOSES_KEPT_PER_USER_MAX)),
            listed_heads: Arc::new(Semaphore::new(LISTED_HEADS_PER_USER_MAX)),
            sums: Arc::new(Semaphore::new(1)),
        };
        Self {
            sessions: 0,
            shared,
        }
    }
}

impl Shared {
    /// Says whether none of the user's changes goes on without a session.
    fn has_changed(&self) -> bool {
        self.moves.available_permits() >= MOVES_PER_USER_MAX
            && self.changes.available_permits() >= CHANGES_PER_USER_MAX
    }

    fn is_rested(&self, now: Instant) -> bool {
        let pace = self.pace.as_ref();
        let rested = pace.is_none_or(|pace| {
            held(&pace.received).is_rested(now) && held(&pace.sent).is_rested(now)
        });
        rested && self.has_changed() && self.failures.is_rested(now, LOG_INTERVAL)
    }
}

impl SharedPace {
    fn new(rate: u64) -> Self {
        let pace = || Arc::new(Mutex::new(Pace::new(rate)));
        Self {
            received: pace(),
            sent: pace(),
        }
    }

    fn change(&self, rate: u64) {
        held(&self.received).change(rate);
        held(&self.sent).change(rate);
    }
}

/// How fast bytes of a user go one way; `None`: as fast as they can.
#[derive(Debug, Clone)]
pub(crate) struct OneWay(Option<Arc<Mutex<Pace>>>);

impl OneWay {
    /// Waits until so many bytes may have gone, in small steps: others of the user wait no longer
    /// than for one of them.
    pub(crate) async fn wait_for(&self, clock: &dyn Clock, bytes: u64) {
        let Some(pace) = &self.0 else {
            return;
        };
        let mut left = bytes;
        while left > 0 {
            let now = clock.now();
            let again_at = held(pace).again_at(now);
            if let Some(at) = again_at {
                sleep_until(clock, at).await;
                continue;
            }
            let step = left.min(PACED_BYTES);
            held(pace).moved(step, now);
            left = left.saturating_sub(step);
        }
    }
}

impl UserSession {
    /// Returns what bounds the lines about what fails for this user.
    pub(crate) const fn failures(&self) -> &Arc<Seldom> {
        &self.shared.failures
    }

    /// Returns the turns of the user's uploads whose client is gone.
    pub(crate) const fn kept(&self) -> &Arc<Semaphore> {
        &self.shared.kept
    }

    /// Returns the turns of the user's changes of names.
    pub(crate) const fn changes(&self) -> &Arc<Semaphore> {
        &self.shared.changes
    }

    /// Returns the turns of the user's questions about listed files.
    pub(crate) const fn listed_heads(&self) -> &Arc<Semaphore> {
        &self.shared.listed_heads
    }

    /// Returns the turns of the user's checksums.
    pub(crate) const fn sums(&self) -> &Arc<Semaphore> {
        &self.shared.sums
    }

    /// Returns the turns of the user's long moves.
    pub(crate) const fn moves(&self) -> &Arc<Semaphore> {
        &self.shared.moves
    }

    /// Returns the user's shares of the process's memory.
    pub(crate) const fn memory(&self) -> &UserMemory {
        &self.shared.memory
    }

    /// Returns how fast bytes come, for work that goes on without the session.
    pub(crate) fn incoming(&self) -> OneWay {
        let pace = self.shared.pace.as_ref();
        OneWay(pace.map(|pace| Arc::clone(&pace.received)))
    }

    /// Returns how fast bytes go out, for work beside the answers to READs.
    pub(crate) fn outgoing(&self) -> OneWay {
        let pace = self.shared.pace.as_ref();
        OneWay(pace.map(|pace| Arc::clone(&pace.sent)))
    }

    /// Notes file bytes that came.
    pub(crate) fn received(&self, bytes: u64, now: Instant) {
        if let Some(pace) = &self.shared.pace {
            held(&pace.received).moved(bytes, now);
        }
    }

    /// Notes file bytes that went out.
    pub(crate) fn sent(&self, bytes: u64, now: Instant) {
        if let Some(pace) = &self.shared.pace {
            held(&pace.sent).moved(bytes, now);
        }
    }

    /// Returns until when more bytes of the client have to wait.
    pub(crate) fn receives_again_at(&self, now: Instant) -> Option<Instant> {
        held(&self.shared.pace.as_ref()?.received).again_at(now)
    }

    /// Returns until when more bytes to the client have to wait.
    pub(crate) fn sends_again_at(&self, now: Instant) -> Option<Instant> {
        held(&self.shared.pace.as_ref()?.sent).again_at(now)
    }
}

impl Drop for UserSession {
    fn drop(&mut self) {
        let mut by_user = self.user_sessions.by_user();
        if let Some(taken) = by_user.get_mut(&self.user) {
            taken.sessions = taken.sessions.saturating_sub(1);
            // A new connection would be a way out of the debt, or to more lines or moves.
            let owes = taken.shared.pace.is_some() || !taken.shared.has_changed();
            if taken.sessions == 0 && !owes && taken.shared.failures.is_unused() {
                by_user.remove(&self.user);
            }
        }
    }
}

/// As much as a packet brings.
const PACED_BYTES: u64 = 32 * 1024;

fn held(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use futures_util::FutureExt as _;
    use futures_util::future::{BoxFuture, ready};

    use super::*;
    use crate::clock::SystemClock;
    use crate::limits::Limits;
    use crate::vfs::{Access, HomeDirectory};

    /// A clock on which no time passes but what is slept.
    #[derive(Debug)]
    struct Skipping(Mutex<Instant>);

    impl Clock for Skipping {
        fn now(&self) -> Instant {
            *self.0.lock().unwrap()
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            *self.0.lock().unwrap() += duration;
            ready(()).boxed()
        }
    }

    fn user_sessions(per_user_max: usize) -> UserSessions {
        UserSessions::new(per_user_max, Budget::new(&Limits::default()))
    }

    fn user(name: &str, sessions: Option<u32>, bytes_per_second: Option<u64>) -> UserConfig {
        let home = HomeDirectory::path("/bucket/home", Access::ReadWrite).unwrap();
        UserConfig {
            limits: UserLimits {
                sessions,
                bytes_per_second,
                ..UserLimits::default()
            },
            ..UserConfig::new(name, home)
        }
    }

    #[test]
    fn a_user_has_as_many_sessions_as_the_provider_allows() {
        let (user_sessions, now) = (user_sessions(1), SystemClock.now());
        let [ann, other_ann] = ["ann", "Ann"].map(|name| user(name, Some(2), None));
        let bob = user("bob", None, None);
        let first = user_sessions.take(&ann, now);
        let second = user_sessions.take(&other_ann, now);
        assert!(first.is_some() && second.is_some());
        assert!(user_sessions.take(&ann, now).is_none());
        let his = user_sessions.take(&bob, now);
        assert!(his.is_some());
        assert!(user_sessions.take(&bob, now).is_none());
        drop(first);
        assert!(user_sessions.take(&ann, now).is_some());
        drop((second, his));
        assert!(user_sessions.by_user().is_empty());
    }

    #[test]
    fn a_namesake_of_another_provider_is_somebody_else() {
        let (user_sessions, now) = (user_sessions(1), SystemClock.now());
        let ann = user("ann", None, None);
        let namesake = UserConfig {
            provider: "staff".into(),
            ..ann.clone()
        };
        let _seat = user_sessions.take(&ann, now).unwrap();
        assert!(user_sessions.take(&ann, now).is_none());
        assert!(user_sessions.take(&namesake, now).is_some());
    }

    #[test]
    fn the_sessions_of_a_user_share_one_pace() {
        let (user_sessions, now) = (user_sessions(9), SystemClock.now());
        let one = user_sessions
            .take(&user("ann", None, Some(1_000)), now)
            .unwrap();
        let other = user_sessions
            .take(&user("ann", None, Some(1_000)), now)
            .unwrap();
        let bob = user_sessions.take(&user("bob", None, None), now).unwrap();
        for user_session in [&one, &bob] {
            user_session.received(5_000, now);
        }
        assert!(other.receives_again_at(now).is_some() && other.sends_again_at(now).is_none());
        assert!(bob.receives_again_at(now).is_none());
    }

    #[tokio::test]
    async fn what_passes_through_comes_no_faster_than_its_user_may_send() {
        let (user_sessions, start) = (user_sessions(9), SystemClock.now());
        let start = start + Duration::from_secs(10);
        for (rate, seconds) in [(Some(64 * 1024), 14..16), (None, 0..1)] {
            let clock = Skipping(Mutex::new(start));
            let name = format!("{rate:?}");
            let session = user_sessions.take(&user(&name, None, rate), start).unwrap();
            session.incoming().wait_for(&clock, 1024 * 1024).await;
            let took = clock.now().duration_since(start);
            assert!(seconds.contains(&took.as_secs()), "{rate:?} {took:?}");
            // What others of the user wait for is one step.
            let owed = session.receives_again_at(clock.now());
            assert!(owed.is_none_or(|at| at <= clock.now() + Duration::from_secs(1)));
        }
    }

    #[test]
    fn a_new_connection_still_owes_what_was_moved_too_fast() {
        let (user_sessions, now) = (user_sessions(9), SystemClock.now());
        let (ann, bob) = (user("ann", None, Some(1_000)), user("bob", None, None));
        user_sessions.take(&ann, now).unwrap().sent(5_000, now);
        let again = user_sessions.take(&ann, now).unwrap();
        assert!(again.sends_again_at(now).is_some() && again.receives_again_at(now).is_none());
        drop(again);
        // Who owes nothing any more is forgotten.
        let later = now + Duration::from_secs(6);
        drop(user_sessions.take(&bob, later));
        assert!(user_sessions.by_user().is_empty());
    }
}
