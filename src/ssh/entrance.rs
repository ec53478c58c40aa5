//! What the connections of one listener share: who judges their logins, what they are offered, and
//! their end. Several listeners can be in a process; its limits hold for all of them together.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::algorithms::{Offers, Transport};
use super::host_keys::HostKeys;
use super::proxy::ProxyProtocol;
use super::server::SshServer;
use super::state::LINGER;
use super::subsystem::ServeChannel;
use crate::auth::Authenticator;
use crate::limits::BANNER_BYTES_MAX;

/// What sessions have after the cut to put their own affairs in order.
const CUT_GRACE: Duration = Duration::from_secs(5);

/// One listener, as its connections see it.
#[derive(Debug)]
pub struct Entrance {
    name: Box<str>,
    server: Arc<SshServer>,
    authenticator: Arc<Authenticator>,
    channels: Arc<dyn ServeChannel>,
    proxy: ProxyProtocol,
    banner: Option<Box<str>>,
    offers: RwLock<Arc<Offers>>,
    connections: TaskTracker,
    sessions: TaskTracker,
    draining: CancellationToken,
    cutting: CancellationToken,
}

/// What an [`Entrance`] is made of.
#[derive(Debug)]
pub struct EntranceParts {
    /// In log lines; empty for the only one.
    pub name: Box<str>,
    pub authenticator: Arc<Authenticator>,
    /// Serves the `sftp` channels of those who are in.
    pub channels: Arc<dyn ServeChannel>,
    pub transport: Transport,
    /// What a load balancer sends before the client's own bytes.
    pub proxy: ProxyProtocol,
    /// Shown before login; cut to 4 KiB.
    pub banner: Option<Box<str>>,
    /// Cancelled when this listener is to end: connections without a session end at once.
    pub draining: CancellationToken,
}

impl Entrance {
    /// Puts the parts together.
    #[must_use]
    pub fn new(server: Arc<SshServer>, parts: EntranceParts) -> Arc<Self> {
        let EntranceParts {
            name,
            authenticator,
            channels,
            transport,
            proxy,
            banner,
            draining,
        } = parts;
        let offers = Offers::new(&transport, server.limits());
        Arc::new(Self {
            name,
            server,
            authenticator,
            channels,
            proxy,
            banner: banner.map(|text| shortened(&text).into()),
            offers: RwLock::new(Arc::new(offers)),
            connections: TaskTracker::new(),
            sessions: TaskTracker::new(),
            draining,
            cutting: CancellationToken::new(),
        })
    }

    /// Shows new connections other host keys; those that are open keep theirs.
    pub fn set_host_keys(&self, host_keys: HostKeys) {
        let transport = Transport {
            host_keys,
            ..self.transport()
        };
        let offers = Offers::new(&transport, self.server.limits());
        *self.offers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(offers);
    }

    /// Returns what new connections are shown.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.offers().transport().clone()
    }

    /// Returns how many of its connections are open.
    #[must_use]
    pub fn connections_open(&self) -> usize {
        self.connections.len()
    }

    /// Returns how many connections and sessions still run.
    #[must_use]
    pub fn tasks_running(&self) -> usize {
        self.connections.len().saturating_add(self.sessions.len())
    }

    /// Ends every connection: at once where nothing runs, when its sessions are done elsewhere,
    /// and at the drain timeout whatever is left.
    pub async fn drain(&self) {
        self.draining.cancel();
        if self.ended_within(self.server.limits().drain_timeout).await {
            return;
        }
        tracing::warn!(
            listener = self.label(),
            tasks = self.tasks_running(),
            "drain time-out: disconnecting the remaining clients"
        );
        self.cutting.cancel();
        if !self.ended_within(LINGER + CUT_GRACE).await {
            tracing::error!(
                listener = self.label(),
                tasks = self.tasks_running(),
                "sessions are still open after the drain"
            );
        }
    }

    async fn ended_within(&self, patience: Duration) -> bool {
        self.connections.close();
        let ended = async {
            self.connections.wait().await;
            // A session may outlive its connection; none begins without one.
            self.sessions.close();
            self.sessions.wait().await;
        };
        timeout(patience, ended).await.is_ok()
    }

    /// Returns its name for log lines, if it has one.
    pub(super) fn label(&self) -> Option<&str> {
        Some(&*self.name).filter(|name| !name.is_empty())
    }

    pub(super) const fn server(&self) -> &Arc<SshServer> {
        &self.server
    }

    pub(super) const fn authenticator(&self) -> &Arc<Authenticator> {
        &self.authenticator
    }

    pub(super) const fn proxy(&self) -> &ProxyProtocol {
        &self.proxy
    }

    pub(super) fn channels(&self) -> &Arc<dyn ServeChannel> {
        &self.channels
    }

    pub(super) fn banner(&self) -> Option<&str> {
        self.banner.as_deref()
    }

    pub(super) fn offers(&self) -> Arc<Offers> {
        Arc::clone(&self.offers.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) const fn connections(&self) -> &TaskTracker {
        &self.connections
    }

    pub(super) const fn sessions(&self) -> &TaskTracker {
        &self.sessions
    }

    pub(super) const fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    pub(super) const fn cutting(&self) -> &CancellationToken {
        &self.cutting
    }
}

fn shortened(banner: &str) -> &str {
    let mut end = banner.len().min(BANNER_BYTES_MAX);
    while !banner.is_char_boundary(end) {
        end -= 1;
    }
    banner.get(..end).unwrap_or_default()
}
