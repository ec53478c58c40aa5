//! Who was let in lately: pairs of a user and a source. What befalls their questions says something
//! about the provider; what befalls a stranger's may be the stranger's own doing.
//!
//! Only a login that succeeded adds an entry, so nobody without an account can fill the table, and
//! each user has only so many sources in it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{folded, host_of};
use crate::limits;

/// The successful logins of the last day, for the whole process.
#[derive(Debug, Default)]
pub struct KnownLogins(Mutex<HashMap<Box<str>, Vec<Login>>>);

#[derive(Debug)]
struct Login {
    source: IpAddr,
    /// Which of the configured providers let the user in.
    provider: Box<str>,
    at: Instant,
}

impl KnownLogins {
    /// Remembers that a provider let a user in from a source.
    pub fn let_in(&self, user: &str, source: IpAddr, provider: &str, now: Instant) {
        let mut users = self.users();
        let user = folded(user);
        if !users.contains_key(&user) && users.len() >= limits::KNOWN_USERS_MAX {
            make_room(&mut users, now);
        }
        let logins = users.entry(user).or_default();
        let source = host_of(source);
        logins.retain(|login| login.source != source && login.is_recent(now));
        if logins.len() >= limits::KNOWN_SOURCES_PER_USER_MAX {
            logins.remove(0);
        }
        logins.push(Login {
            source,
            provider: provider.into(),
            at: now,
        });
    }

    /// Says whether a user was let in from a source within the last day.
    #[must_use]
    pub fn contains(&self, user: &str, source: IpAddr, now: Instant) -> bool {
        let source = host_of(source);
        let users = self.users();
        let logins = users.get(&folded(user));
        logins.is_some_and(|logins| {
            logins
                .iter()
                .any(|login| login.source == source && login.is_recent(now))
        })
    }

    /// Counts the users that a provider let in, up to `enough`.
    #[must_use]
    pub fn users_of(&self, provider: &str, enough: usize, now: Instant) -> usize {
        let theirs = |login: &Login| *login.provider == *provider && login.is_recent(now);
        let users = self.users();
        let known = users.values().filter(|logins| logins.iter().any(theirs));
        known.take(enough).count()
    }

    /// Makes a stranger of a user whose access was taken back.
    pub fn forget(&self, user: &str) {
        self.users().remove(&folded(user));
    }

    fn users(&self) -> MutexGuard<'_, HashMap<Box<str>, Vec<Login>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Login {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < KNOWN_FOR
    }
}

/// How long a login says that its user belongs here.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Keeps the table in its bound: first what is over goes, then the part that was in longest ago.
fn make_room(users: &mut HashMap<Box<str>, Vec<Login>>, now: Instant) {
    users.retain(|_, logins| logins.iter().any(|login| login.is_recent(now)));
    if users.len() < limits::KNOWN_USERS_MAX {
        return;
    }
    let last = |logins: &[Login]| logins.last().map_or(now, |login| login.at);
    let mut ages: Vec<Instant> = users.values().map(|logins| last(logins)).collect();
    ages.sort_unstable();
    let oldest = ages.get(ages.len() / 16).copied().unwrap_or(now);
    users.retain(|_, logins| last(logins) > oldest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_login_is_known_for_a_day_from_its_own_source() {
        let (known, now) = (KnownLogins::default(), SystemClock.now());
        known.let_in("Ann", ip("2001:db8::1"), "", now);
        assert!(known.contains("ann", ip("2001:db8::2"), now));
        assert!(!known.contains("ann", ip("2001:db8:0:1::1"), now));
        assert!(!known.contains("bob", ip("2001:db8::1"), now));
        assert!(!known.contains("ann", ip("2001:db8::1"), now + KNOWN_FOR));
        known.forget("ANN");
        assert!(!known.contains("ann", ip("2001:db8::1"), now));
    }

    #[test]
    fn users_are_counted_once_and_by_their_provider() {
        let (known, now) = (KnownLogins::default(), SystemClock.now());
        for (user, source, provider) in [
            ("ann", "192.0.2.1", "a"),
            ("ann", "192.0.2.2", "a"),
            ("bob", "192.0.2.1", "a"),
            ("cid", "192.0.2.1", "b"),
        ] {
            known.let_in(user, ip(source), provider, now);
        }
        assert_eq!(known.users_of("a", 9, now), 2);
        assert_eq!(known.users_of("a", 1, now), 1);
        assert_eq!(known.users_of("b", 9, now), 1);
        assert_eq!(known.users_of("a", 9, now + KNOWN_FOR), 0);
    }

    #[test]
    fn the_table_is_bounded_by_users_and_by_the_sources_of_each() {
        let (known, now) = (KnownLogins::default(), SystemClock.now());
        for at in 0..u16::try_from(limits::KNOWN_SOURCES_PER_USER_MAX + 5).unwrap() {
            let [high, low] = at.to_be_bytes();
            known.let_in("ann", IpAddr::from([10, 0, high, low]), "", now);
        }
        let kept = known.users().get("ann").map(Vec::len);
        assert_eq!(kept, Some(limits::KNOWN_SOURCES_PER_USER_MAX));
        for at in 0..limits::KNOWN_USERS_MAX + 100 {
            let later = now + Duration::from_millis(u64::try_from(at).unwrap());
            known.let_in(&format!("user-{at}"), ip("192.0.2.1"), "", later);
        }
        assert!(known.users().len() <= limits::KNOWN_USERS_MAX);
    }
}
