//! The composition root: puts the parts together, runs them, and takes them down in order.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminActions, AdminStatus, Readiness, Revoked};
use crate::allocator;
use crate::auth::{
    AttemptObserver, AttemptRecord, AuthSettings, Authenticator, Lockout, Shared, ThrottleSettings,
};
use crate::budget::Budget;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, ListTimes, Sftp};
use crate::idp::IdentityProvider;
use crate::idp::blocks::{Blocked, Blocks};
use crate::idp::cache::Cached;
use crate::idp::history::LoginHistory;
use crate::idp::signature::{self, Keys};
use crate::limits::{self, Limits};
use crate::metrics::{Metrics, Readings};
use crate::reaper::Reaper;
use crate::session::{
    Environment, Kept, ListedTimes, Recovery, Unsettled, UploadRecords, UserSessions, summing,
};
use crate::ssh::{Listener, SshServer, SshServerParts, Transport};
use crate::storage::Nonces;
use crate::storage::credentials::Stores;
use crate::vfs::PartialUploads;
use crate::{tasks, telemetry};

/// One port, and who decides there about logins.
#[derive(Debug)]
pub struct Entrance {
    pub listener: Listener,
    pub provider: Arc<dyn IdentityProvider>,
    pub auth: AuthSettings,
}

/// What a gateway is made of.
#[derive(Debug)]
pub struct GatewayParts {
    /// The main one first.
    pub entrances: Vec<Entrance>,
    /// Every memory of answers, to be cleared when the operator says so.
    pub caches: Vec<Arc<Cached>>,
    pub throttle: ThrottleSettings,
    /// Asked by the providers, filled by logins.
    pub history: Arc<LoginHistory>,
    /// Asked of logins and providers, changed by the operator.
    pub blocks: Arc<Blocks>,
    pub transport: Transport,
    /// Whose credentials sessions have at S3.
    pub stores: Arc<dyn Stores>,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub sftp: Sftp,
    /// Where uploads are recorded.
    pub upload_records: UploadRecords,
    /// What questions to identity providers are signed with.
    pub signing_keys: Vec<Arc<Keys>>,
}

/// A gateway that receives clients.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    ssh: Arc<SshServer>,
    reaper: Reaper,
    drain: CancellationToken,
    listeners: JoinSet<()>,
    /// Ends with this value.
    tending: JoinSet<()>,
    view: Arc<View>,
}

/// What the operator's port shows of a gateway.
#[derive(Debug)]
struct View {
    ssh: Arc<SshServer>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    drain: CancellationToken,
    /// Cancelled when any listener ends, also by a panic.
    listener_ended: CancellationToken,
    caches: Vec<Arc<Cached>>,
    shared: Shared,
    upload_records: UploadRecords,
    signing_keys: Vec<Arc<Keys>>,
}

#[async_trait]
impl AdminActions for View {
    async fn revoke(&self, user: &str) -> Revoked {
        // Forgotten first: nobody comes back in with an answer from before.
        let answers = self.forget(Some(user)).await;
        // Whoever was thrown out is no witness of an outage.
        self.shared.history.known().forget(user);
        let connections = self.shared.logged_in.revoke(user);
        self.upload_records.revoked(user, SystemClock.wall());
        Revoked {
            connections,
            answers,
        }
    }

    async fn forget(&self, user: Option<&str>) -> usize {
        let mut answers = 0_usize;
        for cache in &self.caches {
            answers = answers.saturating_add(match user {
                Some(user) => cache.flush_user(user).await,
                None => cache.flush_all(),
            });
        }
        answers
    }

    fn blocks(&self) -> Arc<Blocks> {
        Arc::clone(&self.shared.blocks)
    }

    async fn end_blocked(&self, blocked: &Blocked) -> usize {
        match blocked {
            Blocked::User(user) => self.revoke(user).await.connections,
            Blocked::Network(network) => self.shared.logged_in.revoke_from(network),
            // Whoever is in stays: their provider has answered.
            Blocked::Provider(_) => 0,
        }
    }

    fn unlock(&self, user: Option<&str>, source: Option<IpAddr>) -> usize {
        self.shared.throttle.unlock(user, source)
    }
}

impl AdminStatus for View {
    fn readiness(&self) -> Readiness {
        let draining = self.drain.is_cancelled();
        Readiness {
            listening: !self.listener_ended.is_cancelled(),
            draining,
        }
    }

    fn metrics(&self) -> String {
        let tally = self.ssh.tally();
        let (uploads, read_ahead) = self.budget.taken_bytes();
        let (uploads_max, read_ahead_max) = self.budget.limit_bytes();
        self.metrics.observe(&Readings {
            connections_open: tally.connections,
            connections_before_login: tally.unauthenticated,
            connections_accepted: tally.accepted_total,
            connections_refused: [
                ("limit", tally.refused_total),
                ("displaced", tally.displaced_total),
                ("user-limit", tally.over_user_limit_total),
                ("blocked", tally.blocked_total),
                ("proxy-untrusted", tally.untrusted_total),
                ("proxy-header", tally.without_proxy_header_total),
            ],
            connections_without_data: tally.without_data_total,
            upload_memory_taken_bytes: uploads,
            upload_memory_limit_bytes: uploads_max,
            uploads_waiting: self.budget.uploads().waiting(),
            upload_memory_is_strict: self.budget.uploads().is_strict(),
            read_ahead_taken_bytes: read_ahead,
            read_ahead_limit_bytes: read_ahead_max,
            session_memory_taken_bytes: self.budget.account().taken_bytes(),
            session_memory_limit_bytes: self.budget.account().limit_bytes(),
            session_memory_waiting: self.budget.account().waiting(),
            session_memory_refused: self.budget.account().refused(),
            blocks: self.shared.blocks.list(SystemClock.wall()).len(),
            log_lines_lost: telemetry::lost_lines(),
            log_waiting_bytes: telemetry::waiting_bytes(),
        });
        self.metrics.connections_ended(&self.ssh.ended());
        self.metrics.encode()
    }

    fn jwks(&self) -> Option<String> {
        signature::published(&self.signing_keys)
    }
}

/// Counts what the login rules report.
#[derive(Debug)]
struct LoginCount(Arc<Metrics>);

impl AttemptObserver for LoginCount {
    fn attempt_finished(&self, attempt: &AttemptRecord) {
        let reason = attempt.refusal.as_ref();
        let reason = reason.map_or("", |refusal| refusal.reason.as_str());
        let provider = attempt.provider.as_deref();
        let (method, verdict) = (attempt.method.as_str(), attempt.verdict());
        self.0
            .login(provider, method, verdict, reason, attempt.duration);
    }

    fn locked_out(&self, lockout: Lockout) {
        self.0.locked_out(lockout.as_str());
    }
}

/// What all sessions of the process share.
struct Process<'a> {
    budget: &'a Arc<Budget>,
    reaper: &'a Reaper,
    limits: &'a Arc<Limits>,
    metrics: &'a Arc<Metrics>,
    clock: &'a Arc<dyn Clock>,
    drain: &'a CancellationToken,
}

impl Process<'_> {
    /// Returns what it lends to each session.
    fn lends(&self, sftp: &Sftp, upload_records: UploadRecords) -> Environment {
        let (limits, budget) = (self.limits, self.budget);
        Environment {
            budget: Arc::clone(budget),
            reaper: self.reaper.clone(),
            limits: Arc::clone(limits),
            metrics: Arc::clone(self.metrics),
            clock: Arc::clone(self.clock),
            user_sessions: UserSessions::new(limits.sessions_per_user_max, Arc::clone(budget)),
            nonces: Nonces::default(),
            kept: Kept::new(sftp.keep_empty_directories),
            names_fresh_for: sftp.names_fresh_for,
            stat_times: sftp.stat_times,
            listed_times: listed_times(sftp.list_times, limits),
            partial_uploads: partial_uploads(sftp.partial_uploads),
            unsettled: Unsettled::default(),
            upload_records,
            exec: sftp.exec,
            summing: summing(),
            drain: self.drain.clone(),
        }
    }
}

impl Gateway {
    /// Puts the parts together and begins to receive clients.
    ///
    /// # Errors
    /// A listener's address cannot be told.
    pub fn start(parts: GatewayParts) -> io::Result<Self> {
        let GatewayParts {
            entrances,
            caches,
            throttle,
            history,
            blocks,
            stores,
            limits,
            metrics,
            sftp,
            upload_records,
            ..
        } = parts;
        let addresses = addresses_of(&entrances)?;
        let (clock, limits): (Arc<dyn Clock>, _) = (Arc::new(SystemClock), Arc::new(limits));
        let reaper = Reaper::new(Arc::clone(&metrics), Arc::clone(&clock));
        let (budget, drain) = (Budget::new(&limits), CancellationToken::new());
        let process = Process {
            budget: &budget,
            reaper: &reaper,
            limits: &limits,
            metrics: &metrics,
            clock: &clock,
            drain: &drain,
        };
        let environment = process.lends(&sftp, upload_records.clone());
        let recovery = Recovery::new(
            environment.clone(),
            Arc::clone(&stores),
            Arc::clone(&blocks),
        );
        let ssh = SshServer::new(SshServerParts {
            transport: parts.transport,
            channels: Arc::new(environment),
            account: Arc::clone(budget.account()),
            limits: Arc::clone(&limits),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            banner: sftp.banner.map(Into::into),
        });
        let logins = LoginCount(Arc::clone(&metrics));
        let shared = Shared::new(throttle, history, Arc::new(logins)).with_blocks(blocks);
        let (mut listeners, listener_ended) = (JoinSet::new(), CancellationToken::new());
        for entrance in entrances {
            let (stores, limits, clock) = (stores.clone(), limits.clone(), clock.clone());
            let (listener, provider, auth) = (entrance.listener, entrance.provider, entrance.auth);
            let judge = Authenticator::new(provider, stores, auth, shared.clone(), limits, clock);
            let serving = listener.serve(Arc::clone(&ssh), Arc::new(judge), drain.clone());
            tasks::spawn(&mut listeners, until_ended(serving, listener_ended.clone()));
        }
        let view = Arc::new(View {
            ssh: Arc::clone(&ssh),
            budget: Arc::clone(&budget),
            metrics,
            drain: drain.clone(),
            listener_ended,
            caches,
            shared,
            upload_records,
            signing_keys: parts.signing_keys,
        });
        Ok(Self {
            addresses,
            reaper,
            drain,
            listeners,
            tending: tended(budget, Arc::clone(&ssh), recovery),
            ssh,
            view,
        })
    }

    /// Returns where clients are received, in the order of the entrances.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the main entrance's address.
    ///
    /// # Panics
    /// The gateway was made without an entrance.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        *self.addresses.first().expect("a gateway has an entrance")
    }

    /// Returns what the operator's port shows.
    #[must_use]
    pub fn admin_status(&self) -> Arc<dyn AdminStatus> {
        let view: Arc<View> = Arc::clone(&self.view);
        view
    }

    /// Returns what the operator can have done.
    #[must_use]
    pub fn actions(&self) -> Arc<dyn AdminActions> {
        let view: Arc<View> = Arc::clone(&self.view);
        view
    }

    /// Returns what all connections share, to count them or to change host keys.
    #[must_use]
    pub const fn ssh(&self) -> &Arc<SshServer> {
        &self.ssh
    }

    /// Stops accepting, lets transfers finish within the drain timeout, cuts what is left, and
    /// waits a moment for the commits and aborts that outlive their sessions.
    pub async fn drain(mut self) {
        self.drain.cancel();
        while self.listeners.join_next().await.is_some() {}
        self.ssh.drain().await;
        let (judged, cleaned_up) = tokio::join!(
            timeout(limits::DRAIN_REST_MAX, self.questions_end()),
            timeout(limits::DRAIN_REST_MAX, self.reaper.drain()),
        );
        if judged.is_err() {
            tracing::warn!("some login attempts had no result yet");
        }
        if cleaned_up.is_err() {
            let unfinished = self.reaper.name_unfinished();
            tracing::warn!(
                unfinished,
                "operations of closed sessions did not end in time"
            );
        }
        self.tending.shutdown().await;
        let leaves = self.view.upload_records.leave();
        if timeout(limits::LEASE_LEFT_WITHIN, leaves).await.is_err() {
            tracing::debug!("the lease on upload records is left to its end");
        }
    }

    /// Waits for attempts that outlive their connections, and for what they ask.
    async fn questions_end(&self) {
        let attempts = &self.view.shared.tasks;
        attempts.close();
        attempts.wait().await;
        for cache in &self.view.caches {
            cache.drain().await;
        }
    }
}

/// Says where listings take times and modes from.
fn listed_times(wanted: ListTimes, limits: &Limits) -> ListedTimes {
    ListedTimes::new(wanted == ListTimes::Kept).with_modes(limits.keep_modes)
}

/// Says what becomes of files whose client disconnects before CLOSE, unless an answer does.
const fn partial_uploads(configured: config::PartialUploads) -> PartialUploads {
    match configured {
        config::PartialUploads::Discard => PartialUploads::Discard,
        config::PartialUploads::Keep => PartialUploads::Keep,
    }
}

fn addresses_of(entrances: &[Entrance]) -> io::Result<Vec<SocketAddr>> {
    let listeners = entrances.iter().map(|one| &one.listener);
    listeners.map(Listener::local_addr).collect()
}

/// Has memory given back that nobody uses any more, sums written, and uploads of processes that are
/// gone finished, until the set is dropped.
fn tended(budget: Arc<Budget>, ssh: Arc<SshServer>, recovery: Option<Recovery>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    if let Some(recovery) = recovery {
        tasks::spawn(&mut set, recovery.run());
    }
    tasks::spawn(&mut set, async move {
        let mut often = tokio::time::interval(limits::GIVE_BACK_INTERVAL);
        loop {
            often.tick().await;
            budget.let_idle_go();
            allocator::give_back();
            ssh.sum_up();
        }
    });
    set
}

/// Serves, and tells when that ends, also by a panic.
async fn until_ended(serving: impl Future<Output = ()>, listener_ended: CancellationToken) {
    let _marks_end = listener_ended.drop_guard();
    serving.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_panicked_is_told() {
        let (listener_ended, mut set) = (CancellationToken::new(), JoinSet::new());
        tasks::spawn(
            &mut set,
            until_ended(std::future::pending(), listener_ended.clone()),
        );
        tokio::task::yield_now().await;
        assert!(!listener_ended.is_cancelled());
        let panics = until_ended(
            async { panic!("as a listener might") },
            listener_ended.clone(),
        );
        tasks::spawn(&mut set, panics);
        listener_ended.cancelled().await;
    }
}
