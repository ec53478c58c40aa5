//! What a user has in common with their other sessions: how many there are, and how fast bytes go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::idp::UserLimits;
use crate::transfer::Pace;

/// The sessions of the process, by user.
#[derive(Debug, Clone)]
pub struct Seats {
    by_user: Arc<Mutex<HashMap<Box<str>, Taken>>>,
    /// Where the identity provider says nothing.
    per_user_max: u32,
}

/// What a user has taken.
#[derive(Debug, Default)]
struct Taken {
    sessions: u32,
    pace: Option<SharedPace>,
}

/// How fast a user's bytes go, each way.
#[derive(Debug, Clone)]
struct SharedPace {
    received: Arc<Mutex<Pace>>,
    sent: Arc<Mutex<Pace>>,
}

/// One session's place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    user: Box<str>,
    pace: Option<SharedPace>,
}

impl Seats {
    /// Allows each user this many sessions, unless an answer says otherwise.
    #[must_use]
    pub fn new(per_user_max: usize) -> Self {
        Self {
            by_user: Arc::default(),
            per_user_max: u32::try_from(per_user_max).unwrap_or(u32::MAX),
        }
    }

    /// Takes a place if the user may have another session.
    pub(crate) fn take(&self, user: &str, limits: &UserLimits) -> Option<Seat> {
        let mut by_user = self.by_user();
        let sessions = by_user.get(user).map_or(0, |taken| taken.sessions);
        if sessions >= limits.sessions.unwrap_or(self.per_user_max) {
            return None;
        }
        let taken = by_user.entry(user.into()).or_default();
        taken.sessions = sessions.saturating_add(1);
        match (limits.bytes_per_second, &taken.pace) {
            (Some(rate), None) => taken.pace = Some(SharedPace::new(rate)),
            // The latest answer holds for all.
            (Some(rate), Some(pace)) => pace.change(rate),
            (None, _) => taken.pace = None,
        }
        Some(Seat {
            seats: self.clone(),
            user: user.into(),
            pace: taken.pace.clone(),
        })
    }

    fn by_user(&self) -> MutexGuard<'_, HashMap<Box<str>, Taken>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Seat {
    /// Notes file bytes that came.
    pub(crate) fn received(&self, bytes: u64, now: Instant) {
        if let Some(pace) = &self.pace {
            held(&pace.received).moved(bytes, now);
        }
    }

    /// Notes file bytes that went out.
    pub(crate) fn sent(&self, bytes: u64, now: Instant) {
        if let Some(pace) = &self.pace {
            held(&pace.sent).moved(bytes, now);
        }
    }

    /// Says whether more bytes of the client have to wait.
    pub(crate) fn receives_too_fast(&self, now: Instant) -> bool {
        let pace = self.pace.as_ref();
        pace.is_some_and(|pace| held(&pace.received).is_ahead(now))
    }

    /// Says whether more bytes to the client have to wait.
    pub(crate) fn sends_too_fast(&self, now: Instant) -> bool {
        let pace = self.pace.as_ref();
        pace.is_some_and(|pace| held(&pace.sent).is_ahead(now))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_user = self.seats.by_user();
        if let Some(taken) = by_user.get_mut(&self.user) {
            taken.sessions = taken.sessions.saturating_sub(1);
            if taken.sessions == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}

fn held(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn limits(sessions: Option<u32>, bytes_per_second: Option<u64>) -> UserLimits {
        UserLimits {
            sessions,
            bytes_per_second,
            ..UserLimits::default()
        }
    }

    #[test]
    fn a_user_has_as_many_sessions_as_the_provider_allows() {
        let seats = Seats::new(1);
        let two = limits(Some(2), None);
        let first = seats.take("ann", &two);
        let second = seats.take("ann", &two);
        assert!(first.is_some() && second.is_some());
        assert!(seats.take("ann", &two).is_none());
        let bob = seats.take("bob", &limits(None, None));
        assert!(bob.is_some());
        assert!(seats.take("bob", &limits(None, None)).is_none());
        drop(first);
        assert!(seats.take("ann", &two).is_some());
        drop((second, bob));
        assert!(seats.by_user().is_empty());
    }

    #[test]
    fn the_sessions_of_a_user_share_one_pace() {
        let (seats, now) = (Seats::new(9), SystemClock.now());
        let one = seats.take("ann", &limits(None, Some(1_000))).unwrap();
        let other = seats.take("ann", &limits(None, Some(1_000))).unwrap();
        let bob = seats.take("bob", &limits(None, None)).unwrap();
        for seat in [&one, &bob] {
            seat.received(5_000, now);
        }
        assert!(other.receives_too_fast(now) && !other.sends_too_fast(now));
        assert!(!bob.receives_too_fast(now));
    }
}
