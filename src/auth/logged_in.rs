//! Who is logged in, so that the operator can end a user's sessions at once.
//!
//! A revocation also stops a login that was in progress: a user who was answered before it, and comes
//! in after it, is turned away. Names are folded: a provider may let `Ann` in as `ann`.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::idp::{Network, folded};
use crate::limits;

/// The logged-in connections of the process.
#[derive(Debug, Clone, Default)]
pub struct LoggedIn(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    present: HashMap<u64, Present>,
    entries: u64,
    /// How many revocations there have been.
    revocations: u64,
    /// The latest of them, oldest first.
    revoked: VecDeque<Box<str>>,
}

#[derive(Debug)]
struct Present {
    login_name: Box<str>,
    user: Box<str>,
    source_ip: IpAddr,
    revoked: CancellationToken,
}

/// A moment between revocations: taken before a user is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

/// A connection among those that are logged in, until the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct LoginEntry(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    logged_in: LoggedIn,
    number: u64,
    revoked: CancellationToken,
}

impl LoggedIn {
    /// Returns the moment before which an answer is too old once its user has been revoked.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.book().revocations)
    }

    /// Enters a user by login name and canonical name; `None` if the user was revoked since the
    /// answer was asked for.
    pub(super) fn enter(
        &self,
        [login_name, user]: [&str; 2],
        source_ip: IpAddr,
        asked: Moment,
    ) -> Option<LoginEntry> {
        let (login_name, user) = (folded(login_name), folded(user));
        let mut book = self.book();
        if book.was_revoked_since(asked, &login_name, &user) {
            return None;
        }
        book.entries = book.entries.wrapping_add(1);
        let (number, revoked) = (book.entries, CancellationToken::new());
        book.present.insert(
            number,
            Present {
                login_name,
                user,
                source_ip,
                revoked: revoked.clone(),
            },
        );
        Some(LoginEntry(Arc::new(Entry {
            logged_in: self.clone(),
            number,
            revoked,
        })))
    }

    /// Ends the connections of a user, by login name or canonical name, and stops logins that are
    /// under way; returns how many connections there were.
    pub fn revoke(&self, user: &str) -> usize {
        let user = folded(user);
        let mut book = self.book();
        book.revocations = book.revocations.saturating_add(1);
        book.revoked.push_back(user.clone());
        if book.revoked.len() > limits::REVOCATIONS_REMEMBERED_MAX {
            book.revoked.pop_front();
        }
        let theirs = |present: &&Present| present.login_name == user || present.user == user;
        let ended = book.present.values().filter(theirs);
        ended.map(|present| present.revoked.cancel()).count()
    }

    /// Ends the connections that came from a network; returns how many there were.
    pub fn revoke_from(&self, network: &Network) -> usize {
        let book = self.book();
        let theirs = |present: &&Present| network.contains(present.source_ip);
        let ended = book.present.values().filter(theirs);
        ended.map(|present| present.revoked.cancel()).count()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn was_revoked_since(&self, asked: Moment, login_name: &str, user: &str) -> bool {
        let since = self.revocations.saturating_sub(asked.0);
        let since = usize::try_from(since).unwrap_or(usize::MAX);
        // Of those that are forgotten one may have been theirs.
        since > self.revoked.len()
            || self
                .revoked
                .iter()
                .rev()
                .take(since)
                .any(|revoked| **revoked == *login_name || **revoked == *user)
    }
}

impl LoginEntry {
    /// Stands alone: nobody can revoke it.
    pub(super) fn outside() -> Self {
        Self(Arc::new(Entry {
            logged_in: LoggedIn::default(),
            number: 0,
            revoked: CancellationToken::new(),
        }))
    }

    /// Is cancelled when the user is to leave at once.
    pub(super) fn revoked(&self) -> &CancellationToken {
        &self.0.revoked
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.logged_in.book().present.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn a_revoked_user_has_to_leave_and_the_others_stay() {
        let logged_in = LoggedIn::default();
        let now = logged_in.moment();
        let ann = logged_in.enter(["ann@@staff", "ann"], SOURCE, now).unwrap();
        let other_ann = logged_in.enter(["ann", "ann"], SOURCE, now).unwrap();
        let bob = logged_in.enter(["bob", "bob"], SOURCE, now).unwrap();
        assert_eq!(logged_in.revoke("ann"), 2);
        assert!(ann.revoked().is_cancelled() && other_ann.revoked().is_cancelled());
        assert!(!bob.revoked().is_cancelled());
        drop((ann, other_ann, bob));
        assert_eq!(logged_in.revoke("ann"), 0);
        assert!(logged_in.book().present.is_empty());
    }

    #[test]
    fn whoever_was_asked_about_before_a_revocation_comes_too_late() {
        let logged_in = LoggedIn::default();
        let asked = logged_in.moment();
        logged_in.revoke("ann");
        assert!(logged_in.enter(["ann", "ann"], SOURCE, asked).is_none());
        assert!(logged_in.enter(["x", "ann"], SOURCE, asked).is_none());
        assert!(logged_in.enter(["bob", "bob"], SOURCE, asked).is_some());
        assert!(
            logged_in
                .enter(["ann", "ann"], SOURCE, logged_in.moment())
                .is_some()
        );
        for _ in 0..=limits::REVOCATIONS_REMEMBERED_MAX {
            logged_in.revoke("somebody");
        }
        assert!(logged_in.enter(["bob", "bob"], SOURCE, asked).is_none());
    }

    #[test]
    fn another_spelling_of_a_name_is_no_way_around_a_revocation() {
        let logged_in = LoggedIn::default();
        let asked = logged_in.moment();
        let ann = logged_in.enter(["ANN", "ANN"], SOURCE, asked).unwrap();
        assert_eq!(logged_in.revoke("Ann"), 1);
        assert!(ann.revoked().is_cancelled());
        assert!(logged_in.enter(["aNN", "aNN"], SOURCE, asked).is_none());
    }

    #[test]
    fn a_network_that_is_blocked_has_to_leave_and_the_others_stay() {
        let logged_in = LoggedIn::default();
        let now = logged_in.moment();
        let ann = logged_in.enter(["ann", "ann"], SOURCE, now).unwrap();
        let elsewhere = "198.51.100.1".parse().unwrap();
        let other = logged_in.enter(["ann", "ann"], elsewhere, now).unwrap();
        assert_eq!(logged_in.revoke_from(&"192.0.2.0/24".parse().unwrap()), 1);
        assert!(ann.revoked().is_cancelled() && !other.revoked().is_cancelled());
    }
}
