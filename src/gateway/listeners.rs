//! The listeners of a gateway: each started and stopped by itself while the others go on. What they
//! share is the process's: its limits, its memory, who is locked out.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{AuthSettings, Authenticator, Shared};
use crate::clock::Clock;
use crate::idp::IdentityProvider;
use crate::limits::Limits;
use crate::metrics::{ListenerReading, Metrics};
use crate::session::Environment;
use crate::ssh::{
    Entrance, EntranceParts, HostKeys, Listener, ProxyProtocol, SshServer, Transport,
};
use crate::storage::credentials::Stores;
use crate::tasks::spawn_tracked;

/// What a listener is made of; its address is bound already.
#[derive(Debug)]
pub struct ListenerParts {
    /// In log lines and metrics; empty for the only one.
    pub name: Box<str>,
    pub listener: Listener,
    /// Who decides about its logins.
    pub provider: Arc<dyn IdentityProvider>,
    pub auth: AuthSettings,
    pub transport: Transport,
    pub proxy: ProxyProtocol,
    /// Shown before login.
    pub banner: Option<Box<str>>,
}

impl ListenerParts {
    /// Makes a listener without a name, with the defaults of everything else.
    #[must_use]
    pub fn new(
        listener: Listener,
        provider: Arc<dyn IdentityProvider>,
        host_keys: HostKeys,
    ) -> Self {
        Self {
            name: Box::default(),
            listener,
            provider,
            auth: AuthSettings::default(),
            transport: host_keys.into(),
            proxy: ProxyProtocol::default(),
            banner: None,
        }
    }
}

/// Whether a listener receives clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerState {
    Listening,
    /// Its last connections come to their end.
    Stopping,
    /// It ended without having been stopped.
    Failed,
}

/// A listener, for people and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    pub name: Box<str>,
    pub address: SocketAddr,
    pub state: ListenerState,
    pub connections: usize,
}

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("a listener of this name listens already, or still stops")]
    Running,
    #[error("the gateway stops")]
    Draining,
    #[error("the address cannot be told: {0}")]
    Address(#[from] io::Error),
}

/// Starts and stops listeners while the gateway runs.
#[derive(Debug)]
pub struct Listeners {
    shared: ListenerShared,
    running: Mutex<Running>,
    /// One task for each listener, from its start until its last connection has ended.
    tasks: TaskTracker,
}

/// What all listeners of the process share.
#[derive(Debug)]
pub(super) struct ListenerShared {
    pub(super) ssh: Arc<SshServer>,
    /// Lent to sessions, each with the end of its own listener.
    pub(super) environment: Environment,
    pub(super) stores: Arc<dyn Stores>,
    pub(super) logins: Shared,
    pub(super) limits: Arc<Limits>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Running {
    all: Vec<Arc<Run>>,
    /// The process drains: none starts any more.
    closed: bool,
}

/// One listener from its start to the end of its last connection.
#[derive(Debug)]
struct Run {
    name: Box<str>,
    address: SocketAddr,
    entrance: Arc<Entrance>,
    /// Cancelled when it is to end.
    stop: CancellationToken,
    /// Cancelled when it is so, whatever the cause.
    accepts_no_more: CancellationToken,
    /// Cancelled when its last connection has ended.
    over: CancellationToken,
}

impl Run {
    fn status(&self) -> ListenerStatus {
        ListenerStatus {
            name: self.name.clone(),
            address: self.address,
            state: match (
                self.stop.is_cancelled(),
                self.accepts_no_more.is_cancelled(),
            ) {
                (true, _) => ListenerState::Stopping,
                (false, true) => ListenerState::Failed,
                (false, false) => ListenerState::Listening,
            },
            connections: self.entrance.connections_open(),
        }
    }
}

impl Listeners {
    pub(super) fn new(shared: ListenerShared) -> Self {
        Self {
            shared,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Begins to receive clients, and returns where.
    ///
    /// # Errors
    /// Another one has the name, or the process drains.
    pub fn start(&self, parts: ListenerParts) -> Result<SocketAddr, StartError> {
        self.start_unless(parts, |_| true)
    }

    /// The same in the place of one of this name that stops: its last connections end meanwhile.
    ///
    /// # Errors
    /// One of this name listens, or the process drains.
    pub fn start_again(&self, parts: ListenerParts) -> Result<SocketAddr, StartError> {
        self.start_unless(parts, |run| !run.stop.is_cancelled())
    }

    /// Waits until those of a name that stop accept no more: their address is free then.
    pub async fn closed(&self, name: &str) {
        let is_stopping = |run: &&Arc<Run>| *run.name == *name && run.stop.is_cancelled();
        let stopping: Vec<_> = {
            let running = self.running();
            running.all.iter().filter(is_stopping).cloned().collect()
        };
        for run in stopping {
            run.accepts_no_more.cancelled().await;
        }
    }

    fn start_unless(
        &self,
        parts: ListenerParts,
        bars: impl Fn(&Run) -> bool,
    ) -> Result<SocketAddr, StartError> {
        let address = parts.listener.local_addr()?;
        let mut running = self.running();
        running.forget_ended();
        if running.closed {
            return Err(StartError::Draining);
        }
        let mut same = running.all.iter().filter(|run| run.name == parts.name);
        if same.any(|run| bars(run)) {
            return Err(StartError::Running);
        }
        let (listener, run) = self.run(parts, address);
        running.all.push(Arc::clone(&run));
        // Under the lock: a drain that begins now waits for its tasks.
        let accepting = spawn_tracked(&self.tasks, listener.serve(Arc::clone(&run.entrance)));
        drop(spawn_tracked(&self.tasks, until_over(accepting, run)));
        drop(running);
        Ok(address)
    }

    fn run(&self, parts: ListenerParts, address: SocketAddr) -> (Listener, Arc<Run>) {
        let ListenerShared {
            ssh,
            environment,
            stores,
            logins,
            limits,
            clock,
            metrics,
        } = &self.shared;
        let stop = CancellationToken::new();
        let judge = Authenticator::new(
            parts.provider,
            Arc::clone(stores),
            parts.auth,
            logins.clone(),
            Arc::clone(limits),
            Arc::clone(clock),
        );
        if !parts.name.is_empty() {
            metrics.expect_listener(&parts.name);
        }
        let entrance = Entrance::new(
            Arc::clone(ssh),
            EntranceParts {
                name: parts.name.clone(),
                authenticator: Arc::new(judge),
                channels: Arc::new(Environment {
                    drain: stop.clone(),
                    ..environment.clone()
                }),
                transport: parts.transport,
                proxy: parts.proxy,
                banner: parts.banner,
                draining: stop.clone(),
            },
        );
        let run = Arc::new(Run {
            name: parts.name,
            address,
            entrance,
            stop,
            accepts_no_more: CancellationToken::new(),
            over: CancellationToken::new(),
        });
        (parts.listener, run)
    }

    /// Ends a listener: it accepts no more, transfers end within the drain time-out, what is left
    /// is cut. Returns when all of it is done, or `false` if there is none of that name. It ends
    /// also if nobody waits for this.
    pub async fn stop(&self, name: &str) -> bool {
        let Some(run) = self.find(name) else {
            return false;
        };
        run.stop.cancel();
        run.over.cancelled().await;
        self.running().forget_ended();
        true
    }

    /// The same without waiting: it is there as [`ListenerState::Stopping`] until it has ended.
    pub fn begin_stop(&self, name: &str) -> bool {
        let found = self.find(name);
        found.inspect(|run| run.stop.cancel()).is_some()
    }

    /// Returns all of them, in the order of their start.
    #[must_use]
    pub fn all(&self) -> Vec<ListenerStatus> {
        let mut running = self.running();
        running.forget_ended();
        running.all.iter().map(|run| run.status()).collect()
    }

    /// Shows new connections of one listener other host keys; `false`: there is none of that name.
    pub fn set_host_keys(&self, name: &str, host_keys: HostKeys) -> bool {
        let found = self.find(name);
        found
            .inspect(|run| run.entrance.set_host_keys(host_keys))
            .is_some()
    }

    /// Returns what new connections of one listener are shown; `None`: there is none of that name.
    #[must_use]
    pub fn transport(&self, name: &str) -> Option<Transport> {
        self.find(name).map(|run| run.entrance.transport())
    }

    /// Says whether one of them ended by itself, as by a panic.
    pub(super) fn any_failed(&self) -> bool {
        let failed = |status: &ListenerStatus| status.state == ListenerState::Failed;
        self.all().iter().any(failed)
    }

    /// Returns how many connections each has; none where one listener has no name.
    pub(super) fn readings(&self) -> Vec<ListenerReading> {
        let mut readings: Vec<ListenerReading> = Vec::new();
        for status in self.all() {
            let ListenerStatus {
                name, connections, ..
            } = status;
            let known = readings.iter_mut().find(|one| one.listener == name);
            match known {
                _ if name.is_empty() => {}
                // One that stops, and the one in its place.
                Some(known) => {
                    known.connections_open = known.connections_open.saturating_add(connections);
                }
                None => readings.push(ListenerReading {
                    listener: name,
                    connections_open: connections,
                }),
            }
        }
        readings
    }

    /// Ends all of them at once, and lets none start any more.
    pub(super) async fn drain(&self) {
        self.close();
        self.tasks.close();
        self.tasks.wait().await;
        self.shared.ssh.sum_up_rest();
    }

    /// The same without waiting.
    pub(super) fn close(&self) {
        let mut running = self.running();
        running.closed = true;
        for run in &running.all {
            run.stop.cancel();
        }
    }

    fn find(&self, name: &str) -> Option<Arc<Run>> {
        let mut running = self.running();
        running.forget_ended();
        // The one in the place of another came last.
        let found = running.all.iter().rfind(|run| *run.name == *name);
        found.cloned()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Leaves out those that came to the end that was asked of them.
    fn forget_ended(&mut self) {
        self.all.retain(|run| !run.over.is_cancelled());
    }
}

/// Waits until a listener is stopped, and ends with its last connection. One that accepts no more
/// without having been stopped, as after a panic, stays to be seen until then.
async fn until_over(accepting: JoinHandle<()>, run: Arc<Run>) {
    if accepting.await.is_err() {
        tracing::error!(
            listener = &*run.name,
            "the listener failed: restart the gateway"
        );
    }
    run.accepts_no_more.cancel();
    run.stop.cancelled().await;
    run.entrance.drain().await;
    run.over.cancel();
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::gateway::{Gateway, GatewayParts};
    use crate::idp::{Judged, Question};
    use crate::refusal::{Reason, Refusal};
    use crate::ssh::HostKey;
    use crate::storage::credentials::Own;
    use crate::storage::memory::MemoryStore;

    #[derive(Debug)]
    struct Nobody;

    #[async_trait]
    impl IdentityProvider for Nobody {
        async fn ask(&self, _question: &Question) -> Judged {
            Err(Refusal::new(Reason::UnknownUser))
        }
    }

    #[tokio::test]
    async fn a_listener_that_panicked_is_seen_until_it_is_stopped() {
        let stores = Arc::new(Own::new(Arc::new(MemoryStore::new(&[]))));
        let gateway = Gateway::new(GatewayParts::new(stores, Arc::default()));
        let listeners = gateway.listeners();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await;
        let host_keys = HostKeys::new(vec![HostKey::generate().unwrap()]).unwrap();
        let parts = ListenerParts::new(listener.unwrap(), Arc::new(Nobody), host_keys);
        let (_, run) = listeners.run(parts, ([127, 0, 0, 1], 1).into());
        listeners.running().all.push(Arc::clone(&run));
        let panics = async { panic!("as a listener might") };
        let panics = spawn_tracked(&listeners.tasks, panics);
        drop(spawn_tracked(&listeners.tasks, until_over(panics, run)));
        while !listeners.any_failed() {
            tokio::task::yield_now().await;
        }
        assert!(!gateway.admin_status().readiness().is_ready());
        assert!(listeners.stop("").await);
        assert!(listeners.all().is_empty());
        assert!(gateway.admin_status().readiness().is_ready());
    }
}
