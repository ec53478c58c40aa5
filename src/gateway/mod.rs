//! The composition root: puts the parts together, runs them, and takes them down in order.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::listeners::{ListenerParts, ListenerState, ListenerStatus, Listeners, StartError};

use self::listeners::ListenerShared;
use self::view::View;
use crate::admin::{AdminActions, AdminStatus};
use crate::allocator;
use crate::auth::{AttemptObserver, AttemptRecord, Lockout, Shared, ThrottleSettings};
use crate::budget::{Budget, Pool};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, ListTimes, Sftp};
use crate::idp::blocks::Blocks;
use crate::idp::cache::Cached;
use crate::idp::history::LoginHistory;
use crate::idp::signature::Keys;
use crate::limits::{self, Limits};
use crate::metrics::Metrics;
use crate::reaper::Reaper;
use crate::session::{
    Changes, Environment, Kept, ListedTimes, Recovery, Unsettled, UploadRecords, UserSessions,
    summing,
};
use crate::ssh::{SshServer, SshServerParts};
use crate::storage::Nonces;
use crate::storage::credentials::Stores;
use crate::storage::health::StoreHealth;
use crate::tasks;
use crate::vfs::PartialUploads;

mod listeners;
mod view;

/// What a gateway is made of, beside its listeners.
#[derive(Debug)]
pub struct GatewayParts {
    /// Every memory of answers, to be cleared when the operator says so.
    pub caches: Vec<Arc<Cached>>,
    pub throttle: ThrottleSettings,
    /// Asked by the providers, filled by logins.
    pub history: Arc<LoginHistory>,
    /// Asked of logins and providers, changed by the operator.
    pub blocks: Arc<Blocks>,
    /// Whose credentials sessions have at S3.
    pub stores: Arc<dyn Stores>,
    /// Which of them answer.
    pub store_health: StoreHealth,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub sftp: Sftp,
    /// Where uploads are recorded.
    pub upload_records: UploadRecords,
    /// What questions to identity providers are signed with.
    pub signing_keys: Vec<Arc<Keys>>,
}

impl GatewayParts {
    /// Makes parts with the defaults of all but the stores.
    #[must_use]
    pub fn new(stores: Arc<dyn Stores>, metrics: Arc<Metrics>) -> Self {
        let throttle = ThrottleSettings::default();
        Self {
            caches: Vec::new(),
            history: Arc::new(LoginHistory::new(throttle.window)),
            throttle,
            blocks: Arc::default(),
            stores,
            store_health: StoreHealth::default(),
            limits: Limits::default(),
            metrics,
            sftp: Sftp::default(),
            upload_records: UploadRecords::default(),
            signing_keys: Vec::new(),
        }
    }
}

/// A gateway that receives clients.
#[derive(Debug)]
pub struct Gateway {
    listeners: Arc<Listeners>,
    ssh: Arc<SshServer>,
    reaper: Reaper,
    drain: CancellationToken,
    /// Ends with this value.
    tending: JoinSet<()>,
    view: Arc<View>,
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
            changes: Changes::default(),
            upload_records,
            exec: sftp.exec,
            summing: summing(),
            drain: self.drain.clone(),
        }
    }
}

impl Gateway {
    /// Puts the parts together. Clients are received by the listeners that are
    /// [started](Listeners::start).
    #[must_use]
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts {
            caches,
            throttle,
            history,
            blocks,
            stores,
            store_health,
            limits,
            metrics,
            sftp,
            upload_records,
            signing_keys,
        } = parts;
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
            account: Arc::clone(budget.account()),
            limits: Arc::clone(&limits),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        });
        let logins = LoginCount(Arc::clone(&metrics));
        let shared = Shared::new(throttle, history, Arc::new(logins)).with_blocks(blocks);
        let listeners = Arc::new(Listeners::new(ListenerShared {
            ssh: Arc::clone(&ssh),
            environment,
            stores,
            logins: shared.clone(),
            limits,
            clock,
            metrics: Arc::clone(&metrics),
        }));
        let view = Arc::new(View {
            ssh: Arc::clone(&ssh),
            listeners: Arc::clone(&listeners),
            budget: Arc::clone(&budget),
            metrics,
            drain: drain.clone(),
            caches,
            shared,
            upload_records,
            signing_keys,
            store_health,
        });
        Self {
            listeners,
            reaper,
            drain,
            tending: tended(budget, Arc::clone(&ssh), recovery),
            ssh,
            view,
        }
    }

    /// Puts the parts together and starts one listener.
    ///
    /// # Errors
    /// Its address cannot be told.
    pub fn start(parts: GatewayParts, listener: ListenerParts) -> Result<Self, StartError> {
        let gateway = Self::new(parts);
        gateway.listeners.start(listener)?;
        Ok(gateway)
    }

    /// Returns the listeners, which start and stop while the gateway runs.
    #[must_use]
    pub const fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// Returns the address of the listener that was started first.
    ///
    /// # Panics
    /// No listener runs.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let all = self.listeners.all();
        all.first().expect("a listener runs").address
    }

    /// Returns the account of bytes of the process.
    #[must_use]
    pub fn account(&self) -> &Arc<Pool> {
        self.view.budget.account()
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

    /// Returns what all connections share, to count them.
    #[must_use]
    pub const fn ssh(&self) -> &Arc<SshServer> {
        &self.ssh
    }

    /// Stops accepting, lets transfers finish within the drain timeout, cuts what is left, and
    /// waits a moment for the commits and aborts that outlive their sessions.
    pub async fn drain(mut self) {
        self.drain.cancel();
        self.listeners.drain().await;
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

/// One that was not drained receives nobody any more.
impl Drop for Gateway {
    fn drop(&mut self) {
        self.listeners.close();
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
