//! How many connections there may be: in all, before login, and from one source.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::places::{Bounds, OverCap, Places, Source, Ticket};
use crate::limits::Limits;

/// The connections there are.
#[derive(Debug)]
pub(super) struct Caps {
    book: Mutex<Book>,
    totals: Totals,
}

#[derive(Debug)]
struct Book {
    places: Places,
    /// Ends each connection that has not logged in.
    displaced: HashMap<Ticket, CancellationToken>,
}

/// Connections since the start, by what became of them.
#[derive(Debug, Default)]
struct Totals {
    accepted: AtomicU64,
    refused: AtomicU64,
    displaced: AtomicU64,
    over_user_limit: AtomicU64,
    without_data: AtomicU64,
    untrusted: AtomicU64,
    blocked: AtomicU64,
    without_proxy_header: AtomicU64,
}

/// The connections of this process, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Open now.
    pub connections: usize,
    /// Open now and not logged in.
    pub unauthenticated: usize,
    /// Accepted since the start.
    pub accepted_total: u64,
    /// Closed at once because of a cap, since the start.
    pub refused_total: u64,
    /// Closed before login to make room for another network, since the start.
    pub displaced_total: u64,
    /// Refused after login because the user had too many, since the start.
    pub over_user_limit_total: u64,
    /// Closed by the client before it sent anything, since the start.
    pub without_data_total: u64,
    /// Closed at once since they did not come from a trusted balancer, since the start.
    pub untrusted_total: u64,
    /// Closed since the operator keeps their network out, since the start.
    pub blocked_total: u64,
    /// Closed for want of a PROXY header that could be used, since the start.
    pub without_proxy_header_total: u64,
}

impl Caps {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let bounds = Bounds {
            connections_max: limits.connections_max,
            waiting_max: limits.unauthenticated_connections_max,
            per_source_max: limits.connections_per_source_max,
        };
        Arc::new(Self {
            book: Mutex::new(Book {
                places: Places::new(bounds),
                displaced: HashMap::new(),
            }),
            totals: Totals::default(),
        })
    }

    /// Counts a connection in, until the answer is dropped; another one may have to end for it.
    pub(super) fn admit(
        self: &Arc<Self>,
        source: Option<Source>,
        now: Instant,
    ) -> Result<Admitted, OverCap> {
        let mut book = self.book();
        let arrival = match book.places.admit(source, now) {
            Ok(arrival) => arrival,
            Err(over) => {
                add(&self.totals.refused);
                return Err(over);
            }
        };
        let displaced = CancellationToken::new();
        let gone = arrival.displaced.and_then(|it| book.displaced.remove(&it));
        book.displaced.insert(arrival.ticket, displaced.clone());
        drop(book);
        add(&self.totals.accepted);
        if let Some(gone) = gone {
            add(&self.totals.displaced);
            gone.cancel();
        }
        Ok(Admitted {
            caps: Arc::clone(self),
            ticket: arrival.ticket,
            displaced,
        })
    }

    /// Counts a connection that was refused because its user has too many.
    pub(super) fn over_user_limit(&self) {
        add(&self.totals.over_user_limit);
    }

    /// Counts a connection on which nothing came, as health checks make them.
    pub(super) fn without_data(&self) {
        add(&self.totals.without_data);
    }

    /// Counts a connection that had to come from a trusted balancer and did not.
    pub(super) fn untrusted(&self) {
        add(&self.totals.untrusted);
    }

    /// Counts a connection whose network the operator keeps out.
    pub(super) fn blocked(&self) {
        add(&self.totals.blocked);
    }

    /// Counts a connection for want of a header that could be used.
    pub(super) fn without_proxy_header(&self) {
        add(&self.totals.without_proxy_header);
    }

    pub(super) fn tally(&self) -> Tally {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        let book = self.book();
        Tally {
            connections: book.places.connections(),
            unauthenticated: book.places.waiting(),
            accepted_total: read(&self.totals.accepted),
            refused_total: read(&self.totals.refused),
            displaced_total: read(&self.totals.displaced),
            over_user_limit_total: read(&self.totals.over_user_limit),
            without_data_total: read(&self.totals.without_data),
            untrusted_total: read(&self.totals.untrusted),
            blocked_total: read(&self.totals.blocked),
            without_proxy_header_total: read(&self.totals.without_proxy_header),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(total: &AtomicU64) {
    total.fetch_add(1, Ordering::Relaxed);
}

/// A connection that counts.
#[derive(Debug)]
pub(super) struct Admitted {
    caps: Arc<Caps>,
    ticket: Ticket,
    displaced: CancellationToken,
}

impl Admitted {
    /// Is cancelled when the connection has to make room for another.
    pub(super) const fn displaced(&self) -> &CancellationToken {
        &self.displaced
    }

    /// Counts the connection for its source, once a proxy has named that.
    pub(super) fn named(&self, source: Source) -> Result<(), OverCap> {
        let named = self.caps.book().places.name(self.ticket, source);
        named.inspect_err(|_| add(&self.caps.totals.refused))
    }

    /// Lets the connection give way later than those whose key exchange is not finished.
    pub(super) fn keys_exchanged(&self) {
        self.caps.book().places.keys_exchanged(self.ticket);
    }

    /// Makes room for another connection that has not logged in.
    pub(super) fn authenticated(&self) {
        let mut book = self.caps.book();
        book.places.authenticated(self.ticket);
        book.displaced.remove(&self.ticket);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut book = self.caps.book();
        book.places.leave(self.ticket);
        book.displaced.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[test]
    fn whoever_is_displaced_is_told_and_counted() {
        let caps = Caps::new(&Limits {
            unauthenticated_connections_max: 2,
            ..Limits::default()
        });
        let from = |text: &str| {
            Some(Source {
                address: text.parse().unwrap(),
                exempt: false,
            })
        };
        let now = SystemClock.now();
        let first = caps.admit(from("10.0.0.1"), now).unwrap();
        let second = caps.admit(from("10.0.0.1"), now).unwrap();
        first.keys_exchanged();
        let third = caps.admit(from("10.0.0.2"), now).unwrap();
        assert!(second.displaced().is_cancelled());
        assert!(!first.displaced().is_cancelled() && !third.displaced().is_cancelled());
        let tally = caps.tally();
        assert_eq!((tally.unauthenticated, tally.displaced_total), (2, 1));
        first.authenticated();
        first.authenticated();
        assert_eq!(caps.tally().unauthenticated, 1);
        drop((first, second, third));
        let tally = caps.tally();
        assert_eq!((tally.connections, tally.accepted_total), (0, 3));
        assert!(caps.book().displaced.is_empty());
    }
}
