//! How many sessions each user has: the identity provider may bound them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sessions of the process, counted by user.
#[derive(Debug, Clone, Default)]
pub struct Seats(Arc<Mutex<HashMap<Box<str>, u32>>>);

/// One session's place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    user: Box<str>,
}

impl Seats {
    /// Takes a place if the user may have another session.
    pub(crate) fn take(&self, user: &str, max: Option<u32>) -> Option<Seat> {
        let mut counts = self.counts();
        let taken = counts.get(user).copied().unwrap_or(0);
        if max.is_some_and(|max| taken >= max) {
            return None;
        }
        counts.insert(user.into(), taken.saturating_add(1));
        Some(Seat {
            seats: self.clone(),
            user: user.into(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Box<str>, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.seats.counts();
        let left = counts
            .get(&self.user)
            .map_or(0, |taken| taken.saturating_sub(1));
        if left == 0 {
            counts.remove(&self.user);
        } else {
            counts.insert(self.user.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_as_many_sessions_as_the_provider_allows() {
        let seats = Seats::default();
        let first = seats.take("ann", Some(2));
        let second = seats.take("ann", Some(2));
        assert!(first.is_some() && second.is_some());
        assert!(seats.take("ann", Some(2)).is_none());
        assert!(seats.take("bob", Some(1)).is_some());
        drop(first);
        assert!(seats.take("ann", Some(2)).is_some());
        drop(second);
        assert!(seats.counts().is_empty());
    }
}
