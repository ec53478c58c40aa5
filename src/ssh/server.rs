//! What all connections of the process share, at whichever listener: caps, the counts of users, and
//! the bounds of log lines.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field;

use super::caps::{Caps, Tally};
use super::early::{Early, Sum};
use super::ended::Ended;
use super::per_user::{PerUser, UserConnection};
use super::places::OverCap;
use super::state::{CLIENT_CLOSED, EndReason, PROTOCOL_ERROR};
use crate::budget::Pool;
use crate::clock::Clock;
use crate::idp::UserConfig;
use crate::limits::{LOG_INTERVAL, LOG_REFUSED_MAX, Limits};
use crate::metrics::Metrics;
use crate::seldom::Seldom;

/// What all connections share.
#[derive(Debug)]
pub struct SshServer {
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    caps: Arc<Caps>,
    per_user: PerUser,
    connection_ids: AtomicU64,
    refusals: Seldom,
    displacements: Seldom,
    headers: Seldom,
    strangers: Seldom,
    blocked: Seldom,
    accept_errors: Seldom,
    /// Requests for something else than SFTP.
    refused: Seldom,
    early: Mutex<Early>,
    ended: Ended,
    metrics: Arc<Metrics>,
}

/// What a [`SshServer`] is made of.
#[derive(Debug)]
pub struct SshServerParts {
    /// Lends connections memory for what they move.
    pub account: Arc<Pool>,
    pub limits: Arc<Limits>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

impl SshServer {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: SshServerParts) -> Arc<Self> {
        let SshServerParts {
            account,
            limits,
            clock,
            metrics,
        } = parts;
        Arc::new(Self {
            clock,
            caps: Caps::new(&limits),
            per_user: PerUser::new(account),
            limits,
            connection_ids: AtomicU64::new(1),
            refusals: Seldom::default(),
            displacements: Seldom::default(),
            headers: Seldom::default(),
            strangers: Seldom::default(),
            blocked: Seldom::default(),
            accept_errors: Seldom::default(),
            refused: Seldom::up_to(LOG_REFUSED_MAX),
            early: Mutex::default(),
            ended: Ended::with(end_reasons()),
            metrics,
        })
    }

    /// Returns the counts of connections.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.caps.tally()
    }

    /// Returns how often connections ended for each reason.
    #[must_use]
    pub fn ended(&self) -> Vec<(&'static str, u64)> {
        self.ended.totals()
    }

    /// Writes how many connections ended before login and have no line of their own, once a minute
    /// is over.
    pub fn sum_up(&self) {
        let sums = self.early(|early| early.due(self.clock.now()));
        log_sums(sums);
    }

    /// Says whether a connection that ended before login has a line of its own.
    pub(super) fn early_line_due(&self, source: IpAddr, reason: &'static str) -> bool {
        self.early(|early| early.note(self.clock.now(), source, reason))
    }

    fn early<T>(&self, look: impl FnOnce(&mut Early) -> T) -> T {
        look(&mut self.early.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn count_end(&self, reason: &'static str) {
        self.ended.count(reason);
    }

    /// Writes all that is left to be summed up, when no connection comes any more.
    pub fn sum_up_rest(&self) {
        log_sums(self.early(Early::take));
    }

    pub(super) const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) const fn caps(&self) -> &Arc<Caps> {
        &self.caps
    }

    /// Counts a connection for its user, or says how many the user may have.
    pub(super) fn take_for_user(&self, config: &UserConfig) -> Result<UserConnection, usize> {
        let taken = self.per_user.take(config, &self.limits);
        taken.inspect_err(|_| self.caps.over_user_limit())
    }

    /// Says whether another line of a kind is due, and how many were left out since the last.
    pub(super) fn line_due(&self, kind: Often) -> Option<u64> {
        let lines = match kind {
            Often::Displaced => &self.displacements,
            Often::ProxyHeader => &self.headers,
            Often::Stranger => &self.strangers,
            Often::Blocked => &self.blocked,
            Often::AcceptError => &self.accept_errors,
            Often::Refused => &self.refused,
        };
        lines.due(self.clock.now(), LOG_INTERVAL)
    }

    /// Writes that a connection was refused because of a limit, now and then.
    pub(super) fn refused(&self, over: OverCap, source_ip: IpAddr, listener: Option<&str>) {
        if let Some(unlogged) = self.refusals.due(self.clock.now(), LOG_INTERVAL) {
            let reason = field::display(over);
            tracing::warn!(reason, %source_ip, listener, unlogged, "connection refused");
        }
    }

    /// Counts a connection of a network that the operator keeps out, and says so now and then.
    pub(super) fn blocked(&self, source_ip: IpAddr, listener: Option<&str>) {
        self.caps.blocked();
        if let Some(unlogged) = self.line_due(Often::Blocked) {
            let reason = "blocked";
            tracing::warn!(reason, %source_ip, listener, unlogged, "connection refused");
        }
    }

    pub(super) fn next_connection_id(&self) -> u64 {
        self.connection_ids.fetch_add(1, Ordering::Relaxed)
    }
}

/// Lines that strangers can cause by thousands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Often {
    Displaced,
    ProxyHeader,
    /// From elsewhere than a balancer that has to be trusted.
    Stranger,
    /// From a network that the operator keeps out.
    Blocked,
    AcceptError,
    /// A user asks for something else than SFTP.
    Refused,
}

fn end_reasons() -> impl Iterator<Item = &'static str> {
    let ours = EndReason::ALL.iter().map(|reason| reason.as_str());
    ours.chain([CLIENT_CLOSED, PROTOCOL_ERROR])
}

fn log_sums(sums: Vec<Sum>) {
    for sum in sums {
        let source_ip = sum.source.map(field::display);
        let (connections, reasons) = (sum.connections, sum.reasons);
        tracing::info!(
            source_ip,
            connections,
            reasons,
            "more connections closed before login"
        );
    }
}
