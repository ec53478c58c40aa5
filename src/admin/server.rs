//! Accepts connections of one of the operator's ports and answers on them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::{Admission, Place, Places};
use super::{AdminLimits, Port};
use crate::clock::{Clock as _, SystemClock};
use crate::limits::LOG_INTERVAL;
use crate::metrics::{AdminEnd, Metrics};
use crate::seldom::Seldom;
use crate::tasks::spawn_tracked;

/// One port while it answers.
#[derive(Debug)]
pub(super) struct Serving {
    listener: TcpListener,
    limits: AdminLimits,
    port: Arc<Port>,
    metrics: Arc<Metrics>,
    places: Arc<Places>,
    refusals: Seldom,
    accept_errors: Seldom,
    handshakes: Arc<Handshakes>,
}

impl Serving {
    pub(super) fn new(
        listener: TcpListener,
        limits: AdminLimits,
        port: Arc<Port>,
        metrics: Arc<Metrics>,
    ) -> Self {
        // Its series is there before anybody connects.
        drop(metrics.admin_connection(port.name()));
        if port.tls().is_some() {
            metrics.expect_tls_failures(port.name());
        }
        Self {
            listener,
            limits,
            port,
            handshakes: Arc::new(Handshakes {
                metrics: Arc::clone(&metrics),
                failures: Seldom::default(),
            }),
            metrics,
            places: Places::new(limits.connections_max, limits.connections_per_source_max),
            refusals: Seldom::default(),
            accept_errors: Seldom::default(),
        }
    }

    /// Answers until `stop` is cancelled; then lets answers under way come to their end.
    pub(super) async fn run(self, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let accepting = async {
            loop {
                let (stream, peer) = self.accept().await;
                if let Some(place) = self.place(peer) {
                    let connection = Connection {
                        peer,
                        place,
                        limits: self.limits,
                        port: Arc::clone(&self.port),
                        stop: stop.clone(),
                    };
                    let connection = connection.serve(stream, Arc::clone(&self.handshakes));
                    let open = self.metrics.admin_connection(self.port.name());
                    let connection = async move {
                        connection.await;
                        drop(open);
                    };
                    drop(spawn_tracked(&connections, connection));
                }
            }
        };
        let _ = stop.run_until_cancelled(accepting).await;
        connections.close();
        connections.wait().await;
    }

    /// Waits for a connection; errors of a single one, or a lack of descriptors, pass.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    if let Some(unlogged) = self.accept_errors.due(SystemClock.now(), LOG_INTERVAL)
                    {
                        tracing::warn!(%error, unlogged, "admin connection not accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn place(&self, peer: SocketAddr) -> Option<Place> {
        let (place, source, end) = match self.places.admit(peer.ip()) {
            Admission::Place(place) => return Some(place),
            Admission::Evicted(place, source) => (Some(place), source, AdminEnd::Evicted),
            Admission::Refused => (None, peer.ip(), AdminEnd::Refused),
        };
        let port = self.port.name();
        self.metrics.admin_connection_over_limit(port, end);
        if let Some(unlogged) = self.refusals.due(SystemClock.now(), LOG_INTERVAL) {
            tracing::warn!(
                port, source_ip = %source, outcome = end.as_str(), unlogged,
                "too many connections to the admin port"
            );
        }
        place
    }
}

/// Counts the TLS handshakes that come to nothing.
#[derive(Debug)]
struct Handshakes {
    metrics: Arc<Metrics>,
    failures: Seldom,
}

impl Handshakes {
    fn failed(&self, port: &'static str, peer: SocketAddr, error: &io::Error) {
        self.metrics.admin_tls_failed(port);
        if let Some(unlogged) = self.failures.due(SystemClock.now(), LOG_INTERVAL) {
            tracing::info!(
                port, source_ip = %peer.ip(), %error, unlogged,
                "TLS handshake with the admin port failed"
            );
        }
    }
}

/// What a connection is served with.
struct Connection {
    peer: SocketAddr,
    place: Place,
    limits: AdminLimits,
    port: Arc<Port>,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, handshakes: Arc<Handshakes>) {
        let Some(tls) = self.port.tls() else {
            return self.answer_all(stream).await;
        };
        let shaking = tokio::time::timeout(self.limits.head_timeout, tls.accept(stream));
        let shaken = tokio::select! {
            shaken = shaking => shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            () = self.place.evicted() => return,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(stream) => self.answer_all(stream).await,
            Err(error) => handshakes.failed(self.port.name(), self.peer, &error),
        }
    }

    async fn answer_all(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let answering = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, Infallible>(self.port.answer(request, self.peer, &self.place).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(self.port.keeps_alive())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), answering);
        tokio::pin!(connection);
        let age = tokio::time::sleep(self.limits.connection_age_max);
        tokio::select! {
            // Whatever the peer did wrong is its own affair.
            _ = connection.as_mut() => return,
            () = self.place.evicted() => return,
            () = age => {}
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_PATIENCE).await;
        };
        tokio::select! {
            _ = connection => {}
            () = self.place.evicted() => {}
            () = stopped => {}
            () = tokio::time::sleep(ANSWER_PATIENCE) => {}
        }
    }
}

const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What a connection has to end when the port stops: an answer may be under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// What an old connection has: a long page of users takes a while, and must not be cut.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
