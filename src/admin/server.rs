//! Accepts connections of one of the operator's ports and answers on them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
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
        Self {
            listener,
            limits,
            port,
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
                    let connection = answer_all(
                        stream,
                        peer,
                        place,
                        self.limits,
                        Arc::clone(&self.port),
                        stop.clone(),
                    );
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

async fn answer_all(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    limits: AdminLimits,
    port: Arc<Port>,
    stop: CancellationToken,
) {
    let place = Arc::new(place);
    let here = Arc::clone(&place);
    let keep_alive = port.keeps_alive();
    let answering = service_fn(move |request: Request<Incoming>| {
        let (port, place) = (Arc::clone(&port), Arc::clone(&here));
        async move { Ok::<_, Infallible>(port.answer(request, peer, &place).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(keep_alive)
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answering);
    tokio::pin!(connection);
    let age = tokio::time::sleep(limits.connection_age_max);
    tokio::select! {
        // Whatever the peer did wrong is its own affair.
        _ = connection.as_mut() => return,
        () = place.evicted() => return,
        () = age => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    drop(tokio::time::timeout(STOP_PATIENCE, connection).await);
}

const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What a connection has to end when the port stops: an answer may be under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
