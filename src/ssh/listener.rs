//! Accepts connections, keeps to the caps, owns every task, and drains.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::algorithms::{Offers, Transport};
use super::caps::{Caps, Seldom, Tally};
use super::connection;
use super::ended::Ended;
use super::host_keys::HostKeys;
use super::state::LINGER;
use super::subsystem::ServeChannel;
use crate::auth::Authenticator;
use crate::clock::Clock;
use crate::limits::{BANNER_BYTES_MAX, Limits};

/// After an accept error that does not concern one connection, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two log lines about the same trouble.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// What sessions have after the cut to put their own affairs in order.
const CUT_GRACE: Duration = Duration::from_secs(5);

const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;

/// What all connections share.
#[derive(Debug)]
pub struct Gatehouse {
    channels: Arc<dyn ServeChannel>,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    banner: Option<Box<str>>,
    /// As it was at the start: host keys may have changed.
    transport: Transport,
    offers: RwLock<Arc<Offers>>,
    caps: Arc<Caps>,
    connection_ids: AtomicU64,
    /// Connections and sessions alike.
    tasks: TaskTracker,
    draining: CancellationToken,
    cutting: CancellationToken,
    refusals: Seldom,
    accept_errors: Seldom,
    ended: Ended,
}

/// What a [`Gatehouse`] is made of.
#[derive(Debug)]
pub struct GatehouseParts {
    pub transport: Transport,
    /// Serves the `sftp` channels of those who are in.
    pub channels: Arc<dyn ServeChannel>,
    pub limits: Arc<Limits>,
    pub clock: Arc<dyn Clock>,
    /// Shown before login; cut to 4 KiB.
    pub banner: Option<Box<str>>,
}

impl Gatehouse {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: GatehouseParts) -> Arc<Self> {
        let GatehouseParts {
            transport,
            channels,
            limits,
            clock,
            banner,
        } = parts;
        let offers = Offers::new(&transport, &limits);
        Arc::new(Self {
            channels,
            transport,
            clock,
            banner: banner.map(|text| shortened(&text).into()),
            offers: RwLock::new(Arc::new(offers)),
            caps: Caps::new(&limits),
            limits,
            connection_ids: AtomicU64::new(1),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            cutting: CancellationToken::new(),
            refusals: Seldom::default(),
            accept_errors: Seldom::default(),
            ended: Ended::default(),
        })
    }

    /// Shows new connections other host keys; those that are open keep theirs.
    pub fn set_host_keys(&self, host_keys: HostKeys) {
        let mut transport = self.transport.clone();
        transport.host_keys = host_keys;
        let offers = Offers::new(&transport, &self.limits);
        *self.offers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(offers);
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

    pub(super) fn count_end(&self, reason: &'static str) {
        self.ended.count(reason);
    }

    /// Returns how long a drain may take.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.limits.drain_timeout
    }

    /// Returns how many connections and sessions still run.
    #[must_use]
    pub fn tasks_running(&self) -> usize {
        self.tasks.len()
    }

    /// Ends every connection: at once where nothing runs, when its sessions are done elsewhere,
    /// and at the drain timeout whatever is left.
    pub async fn drain(&self) {
        self.draining.cancel();
        self.tasks.close();
        if timeout(self.limits.drain_timeout, self.tasks.wait())
            .await
            .is_ok()
        {
            return;
        }
        tracing::warn!(
            tasks = self.tasks.len(),
            "drain timeout: cutting what is left"
        );
        self.cutting.cancel();
        if timeout(LINGER + CUT_GRACE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::error!(tasks = self.tasks.len(), "sessions outlive the drain");
        }
    }

    /// Begins a connection, or closes it if a cap is reached.
    fn receive(self: &Arc<Self>, tcp: TcpStream, peer: SocketAddr, who: &Arc<Authenticator>) {
        let admitted = match self.caps.admit(peer.ip(), who.is_unthrottled(peer.ip())) {
            Ok(admitted) => admitted,
            Err(over) => {
                drop(tcp);
                if let Some(unlogged) = self.refusals.due(self.clock.now(), LOG_INTERVAL) {
                    tracing::warn!(reason = %over, %peer, unlogged, "connection refused");
                }
                return;
            }
        };
        let session_id = match session_id() {
            Ok(session_id) => session_id,
            Err(error) => {
                tracing::error!(%error, "no randomness for a session id: connection refused");
                return;
            }
        };
        if let Err(error) = self.prepare(&tcp) {
            tracing::debug!(%error, "socket options were not taken");
        }
        self.tasks.spawn(connection::run(
            Arc::clone(self),
            Arc::clone(who),
            tcp,
            peer,
            admitted,
            session_id,
        ));
    }

    fn prepare(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.limits.stalled_output_timeout))?;
        Ok(())
    }

    pub(super) fn channels(&self) -> &Arc<dyn ServeChannel> {
        &self.channels
    }

    pub(super) const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn banner(&self) -> Option<&str> {
        self.banner.as_deref()
    }

    pub(super) fn offers(&self) -> Arc<Offers> {
        Arc::clone(&self.offers.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn next_connection_id(&self) -> u64 {
        self.connection_ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub(super) const fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    pub(super) const fn cutting(&self) -> &CancellationToken {
        &self.cutting
    }
}

/// A port on which clients are received.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Opens the port.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(TcpListener::bind(address).await?))
    }

    /// Returns where clients are received, with the port the system chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Receives clients, whose logins `authenticator` judges, until `stop`.
    pub async fn serve(
        self,
        gatehouse: Arc<Gatehouse>,
        authenticator: Arc<Authenticator>,
        stop: CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = self.0.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((tcp, peer)) => gatehouse.receive(tcp, peer, &authenticator),
                Err(error) => {
                    let now = gatehouse.clock.now();
                    if let Some(unlogged) = gatehouse.accept_errors.due(now, LOG_INTERVAL) {
                        tracing::warn!(%error, unlogged, "failed to accept a connection");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// 16 hexadecimal digits that name a connection in logs and at the identity provider.
fn session_id() -> Result<Box<str>, getrandom::Error> {
    Ok(format!("{:016x}", getrandom::u64()?).into())
}

fn shortened(banner: &str) -> &str {
    let mut end = banner.len().min(BANNER_BYTES_MAX);
    while !banner.is_char_boundary(end) {
        end -= 1;
    }
    banner.get(..end).unwrap_or_default()
}
