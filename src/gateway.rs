//! The composition root: puts the parts together, runs them, and takes them down in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{Readiness, Watched};
use crate::auth::{AttemptObserver, AttemptRecord, AuthSettings, Authenticator};
use crate::budget::Budget;
use crate::clock::{Clock, SystemClock};
use crate::idp::IdentityProvider;
use crate::limits::Limits;
use crate::metrics::{Metrics, Readings};
use crate::reaper::Reaper;
use crate::session::{Environment, Seats};
use crate::ssh::{Gatehouse, GatehouseParts, HostKeys, Listener};
use crate::storage::SharedStore;
use crate::storage::metered::{CallObserver, Metered};

/// What a gateway is made of.
#[derive(Debug)]
pub struct GatewayParts {
    pub listener: Listener,
    pub host_keys: HostKeys,
    pub provider: Arc<dyn IdentityProvider>,
    pub auth: AuthSettings,
    pub store: SharedStore,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub banner: Option<Box<str>>,
}

/// A gateway that receives clients.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    gatehouse: Arc<Gatehouse>,
    reaper: Reaper,
    drain: CancellationToken,
    listener: JoinSet<()>,
    view: Arc<View>,
}

/// What the operator's port shows of a gateway.
#[derive(Debug)]
struct View {
    gatehouse: Arc<Gatehouse>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    drain: CancellationToken,
}

impl Watched for View {
    fn readiness(&self) -> Readiness {
        let draining = self.drain.is_cancelled();
        Readiness {
            listening: !draining,
            configured: true,
            draining,
        }
    }

    fn metrics(&self) -> String {
        let tally = self.gatehouse.tally();
        let (uploads, read_ahead) = self.budget.taken_bytes();
        let (uploads_max, read_ahead_max) = self.budget.limit_bytes();
        self.metrics.observe(&Readings {
            connections_open: tally.connections,
            connections_before_login: tally.unauthenticated,
            connections_accepted: tally.accepted_total,
            connections_over_limit: tally.refused_total,
            upload_memory_taken_bytes: uploads,
            upload_memory_limit_bytes: uploads_max,
            uploads_waiting: self.budget.waiting(),
            read_ahead_taken_bytes: read_ahead,
            read_ahead_limit_bytes: read_ahead_max,
        });
        self.metrics.encode()
    }
}

/// Counts what the login rules report.
#[derive(Debug)]
struct LoginCount(Arc<Metrics>);

impl AttemptObserver for LoginCount {
    fn attempt_finished(&self, attempt: &AttemptRecord) {
        self.0.login(
            attempt.method.as_str(),
            attempt.verdict.as_str(),
            attempt.duration,
        );
    }
}

impl Gateway {
    /// Puts the parts together and begins to receive clients.
    ///
    /// # Errors
    /// The listener's address cannot be told.
    pub fn start(parts: GatewayParts) -> io::Result<Self> {
        let GatewayParts {
            listener,
            host_keys,
            provider,
            auth,
            store,
            limits,
            metrics,
            banner,
        } = parts;
        let address = listener.local_addr()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = Arc::new(limits);
        let (reaper, drain) = (Reaper::new(Arc::clone(&metrics)), CancellationToken::new());
        let budget = Budget::new(&limits);
        let observer: Arc<dyn CallObserver> = Arc::<Metrics>::clone(&metrics);
        let environment = Environment {
            store: Arc::new(Metered::new(store, Arc::clone(&clock), observer)),
            budget: Arc::clone(&budget),
            reaper: reaper.clone(),
            limits: Arc::clone(&limits),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            seats: Seats::default(),
            drain: drain.clone(),
        };
        let authenticator =
            Authenticator::new(provider, auth, Arc::clone(&limits), Arc::clone(&clock))
                .with_observer(Arc::new(LoginCount(Arc::clone(&metrics))));
        let gatehouse = Gatehouse::new(GatehouseParts {
            host_keys,
            authenticator: Arc::new(authenticator),
            channels: Arc::new(environment),
            limits,
            clock,
            banner,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.serve(Arc::clone(&gatehouse), drain.clone()));
        let view = Arc::new(View {
            gatehouse: Arc::clone(&gatehouse),
            budget,
            metrics,
            drain: drain.clone(),
        });
        Ok(Self {
            address,
            gatehouse,
            reaper,
            drain,
            listener: tasks,
            view,
        })
    }

    /// Returns where clients are received.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what the operator's port shows.
    #[must_use]
    pub fn watched(&self) -> Arc<dyn Watched> {
        let view: Arc<View> = Arc::clone(&self.view);
        view
    }

    /// Returns what all connections share, to count them or to change host keys.
    #[must_use]
    pub const fn gatehouse(&self) -> &Arc<Gatehouse> {
        &self.gatehouse
    }

    /// Stops accepting, lets transfers finish within the drain timeout, cuts what is left, and
    /// waits for the commits and aborts that outlive their sessions.
    pub async fn drain(mut self) {
        self.drain.cancel();
        while self.listener.join_next().await.is_some() {}
        let timeout = self.gatehouse.drain_timeout();
        if tokio::time::timeout(timeout, self.reaper.drain())
            .await
            .is_err()
        {
            tracing::warn!("some uploads could not be cleaned up in time");
        }
    }
}
