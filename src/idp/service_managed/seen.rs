//! What logins were told of users lately: fresh for seconds, and for a while longer when the place
//! of the documents cannot be asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::Judged;
use super::documents::Version;
use crate::limits::{USER_SEEN_BYTES, USERS_SEEN_BYTES_MAX};

/// Users that were asked about, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    users: HashMap<Box<str>, Sight>,
    bytes: usize,
    /// When it was last asked about a user that turned out to be gone.
    gone_at: Option<Instant>,
    /// Until when the place is not asked about users that were seen.
    away_until: Option<Instant>,
}

/// What was seen of one user.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) judged: Judged,
    pub(super) version: Version,
    /// When it was asked: the place may have changed since, however long the answer took.
    pub(super) asked_at: Instant,
    bytes: usize,
}

impl Sight {
    pub(super) const fn new(
        judged: Judged,
        version: Version,
        asked_at: Instant,
        document_bytes: usize,
    ) -> Self {
        Self {
            judged,
            version,
            asked_at,
            // The parsed answer has each text of the document about once more.
            bytes: document_bytes
                .saturating_mul(2)
                .saturating_add(USER_SEEN_BYTES),
        }
    }

    /// Says whether it was asked at most so long ago.
    pub(super) fn is_within(&self, time: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.asked_at) <= time
    }
}

impl Seen {
    pub(super) fn of(&self, name: &str) -> Option<Sight> {
        self.book().users.get(name).cloned()
    }

    /// Keeps what was seen, unless something newer is known.
    pub(super) fn keep(&self, name: &str, sight: Sight) {
        let mut book = self.book();
        // Who was asked about before somebody went may be the one who went.
        let outdated = book.gone_at.is_some_and(|gone| sight.asked_at <= gone);
        let newer = book.users.get(name);
        if outdated || newer.is_some_and(|newer| newer.asked_at > sight.asked_at) {
            return;
        }
        book.bytes = book.bytes.saturating_add(sight.bytes);
        if let Some(older) = book.users.insert(name.into(), sight) {
            book.bytes = book.bytes.saturating_sub(older.bytes);
        }
        while book.bytes > USERS_SEEN_BYTES_MAX && !book.users.is_empty() {
            book.shrink();
        }
    }

    /// Takes the version that was seen for the one that is there.
    pub(super) fn confirm(&self, name: &str, version: &Version, asked_at: Instant) {
        let mut book = self.book();
        if let Some(sight) = book.users.get_mut(name)
            && sight.version == *version
        {
            sight.asked_at = sight.asked_at.max(asked_at);
        }
    }

    /// Forgets a user: gone, or changed.
    pub(super) fn gone(&self, name: &str, now: Instant) {
        let mut book = self.book();
        book.gone_at = book.gone_at.max(Some(now));
        if let Some(sight) = book.users.remove(name) {
            book.bytes = book.bytes.saturating_sub(sight.bytes);
        }
    }

    /// Says whether the place was found away just now.
    pub(super) fn is_away(&self, now: Instant) -> bool {
        self.book().away_until.is_some_and(|until| now < until)
    }

    /// Notes whether the place is away, and until when nobody need look again.
    pub(super) fn set_away(&self, until: Option<Instant>) {
        self.book().away_until = until;
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Lets the quarter go that was asked about longest ago.
    fn shrink(&mut self) {
        let mut times: Vec<_> = self.users.values().map(|sight| sight.asked_at).collect();
        times.sort_unstable();
        let Some(last) = times.get(times.len() / 4).copied() else {
            return;
        };
        self.users.retain(|_, sight| sight.asked_at > last);
        let bytes = self.users.values().map(|sight| sight.bytes);
        self.bytes = bytes.fold(0, usize::saturating_add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::refusal::Reason;

    fn sight(asked_at: Instant, bytes: usize) -> Sight {
        let judged = Err(Reason::NoUsablePublicKey.into());
        Sight::new(judged, Version("1".into()), asked_at, bytes)
    }

    #[test]
    fn who_is_gone_does_not_come_back_with_an_old_answer() {
        let (seen, start) = (Seen::default(), SystemClock.now());
        let second = Duration::from_secs(1);
        seen.keep("ann", sight(start, 10));
        assert!(seen.of("ann").is_some());
        seen.gone("ann", start + second);
        seen.keep("ann", sight(start, 10));
        assert!(seen.of("ann").is_none());
        seen.keep("ann", sight(start + 2 * second, 10));
        assert!(seen.of("ann").is_some());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let (seen, start) = (Seen::default(), SystemClock.now());
        let bytes = USERS_SEEN_BYTES_MAX / 40;
        for at in 0..40_u32 {
            let asked_at = start + Duration::from_secs(at.into());
            seen.keep(&at.to_string(), sight(asked_at, bytes));
            assert!(seen.book().bytes <= USERS_SEEN_BYTES_MAX);
        }
        assert!(seen.of("39").is_some() && seen.of("0").is_none());
        let huge = sight(start + Duration::from_secs(99), USERS_SEEN_BYTES_MAX);
        seen.keep("huge", huge);
        assert!(seen.book().bytes <= USERS_SEEN_BYTES_MAX);
    }
}
