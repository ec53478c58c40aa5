//! The operator's port: `/livez`, `/readyz` and `/metrics` over plain HTTP.
//!
//! It starts first and stops last, so that a draining gateway can be watched. It trusts nobody: the
//! head of a request has a deadline, a connection an age, and there are only so many of them.

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells what the operator's port shows.
pub trait Watched: Debug + Send + Sync + 'static {
    /// Says whether new connections should come here.
    fn readiness(&self) -> Readiness;

    /// Returns the text of `/metrics`.
    fn metrics(&self) -> String;
}

/// Whether new connections should come here. What the gateway depends on is not part of it: an
/// outage there would take every replica out at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Readiness {
    pub listening: bool,
    pub configured: bool,
    pub draining: bool,
}

/// The bounds of the operator's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminLimits {
    pub connections_max: usize,
    /// From the connection, or the last answer, until a request's head is there.
    pub head_timeout: Duration,
    /// After this a connection is cut, whatever it does.
    pub connection_age_max: Duration,
}

/// A bound port, not yet answering.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    limits: AdminLimits,
}

impl Readiness {
    /// Says whether `/readyz` answers 200.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        self.listening && self.configured && !self.draining
    }
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            connections_max: 32,
            head_timeout: Duration::from_secs(5),
            connection_age_max: Duration::from_secs(120),
        }
    }
}

impl Admin {
    /// Takes the port.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr, limits: AdminLimits) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, limits })
    }

    /// Returns the address, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is cancelled; then lets answers under way come to their end.
    pub async fn serve(self, watched: Arc<dyn Watched>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let accepting = async {
            loop {
                // The semaphore is never closed; waiting here leaves the rest in the backlog.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let stream = accept(&self.listener).await;
                let connection =
                    answer_all(stream, self.limits, Arc::clone(&watched), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
        };
        let _ = stop.run_until_cancelled(accepting).await;
        connections.close();
        connections.wait().await;
    }
}

/// Waits for a connection; errors of a single one, or a lack of descriptors, pass.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer_all(
    stream: TcpStream,
    limits: AdminLimits,
    watched: Arc<dyn Watched>,
    stop: CancellationToken,
) {
    let answering = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &*watched);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answering);
    tokio::pin!(connection);
    let age = tokio::time::sleep(limits.connection_age_max);
    tokio::select! {
        // Whatever the peer did wrong is its own affair.
        _ = connection.as_mut() => return,
        () = age => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    drop(tokio::time::timeout(limits.head_timeout, connection).await);
}

fn answer(method: &Method, path: &str, watched: &dyn Watched) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    match path {
        "/livez" => response(StatusCode::OK, TEXT, "alive\n"),
        "/readyz" => {
            let readiness = watched.readiness();
            let status = if readiness.is_ready() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            // Three flags always make JSON.
            let body = serde_json::to_string(&readiness).unwrap_or_default();
            response(status, JSON, body)
        }
        "/metrics" => response(StatusCode::OK, OPEN_METRICS, watched.metrics()),
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /livez, /readyz and /metrics\n",
        ),
    }
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HEAD_BYTES_MAX: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    #[derive(Debug, Default)]
    struct Scripted(Mutex<Readiness>);

    impl Watched for Scripted {
        fn readiness(&self) -> Readiness {
            *self.0.lock().unwrap()
        }

        fn metrics(&self) -> String {
            "portcullis_handles_open 3\n# EOF\n".to_owned()
        }
    }

    struct Running {
        address: SocketAddr,
        watched: Arc<Scripted>,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    #[expect(clippy::disallowed_methods, reason = "the test owns the task")]
    async fn start(limits: AdminLimits) -> Running {
        let admin = Admin::bind(SocketAddr::from(([127, 0, 0, 1], 0)), limits).await;
        let admin = admin.unwrap();
        let address = admin.local_addr().unwrap();
        let watched = Arc::new(Scripted::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(admin.serve(watched.clone(), stop.clone()));
        Running {
            address,
            watched,
            stop,
            task,
        }
    }

    async fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_gateway_is_ready_from_listening_until_draining_and_alive_throughout() {
        let admin = start(AdminLimits::default()).await;
        let ready = Readiness {
            listening: true,
            configured: true,
            draining: false,
        };
        for (readiness, status, body) in [
            (Readiness::default(), "503", "\"listening\":false"),
            (ready, "200", "\"listening\":true"),
            (
                Readiness {
                    draining: true,
                    ..ready
                },
                "503",
                "\"draining\":true",
            ),
        ] {
            *admin.watched.0.lock().unwrap() = readiness;
            let text = ask(admin.address, "GET /readyz").await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
            assert!(text.contains(body), "{text}");
            let text = ask(admin.address, "GET /livez").await;
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
    }

    #[tokio::test]
    async fn metrics_are_shown_and_other_paths_and_methods_are_not_there() {
        let admin = start(AdminLimits::default()).await;
        let text = ask(admin.address, "GET /metrics").await;
        assert!(text.contains("application/openmetrics-text"), "{text}");
        assert!(
            text.ends_with("portcullis_handles_open 3\n# EOF\n"),
            "{text}"
        );
        let text = ask(admin.address, "HEAD /metrics").await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
        assert!(
            ask(admin.address, "GET /etc")
                .await
                .starts_with("HTTP/1.1 404")
        );
        let text = ask(admin.address, "POST /livez").await;
        assert!(
            text.starts_with("HTTP/1.1 405") && text.contains("allow: GET, HEAD"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed_and_gives_its_place_to_the_next() {
        let limits = AdminLimits {
            connections_max: 1,
            head_timeout: Duration::from_millis(30),
            ..AdminLimits::default()
        };
        let admin = start(limits).await;
        let mut silent = TcpStream::connect(admin.address).await.unwrap();
        silent
            .write_all(b"GET /livez HTTP/1.1\r\nx: ")
            .await
            .unwrap();
        assert!(
            ask(admin.address, "GET /livez")
                .await
                .starts_with("HTTP/1.1 200")
        );
        let mut rest = Vec::new();
        silent.read_to_end(&mut rest).await.unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn it_stops_when_told_even_with_a_connection_open() {
        let limits = AdminLimits {
            head_timeout: Duration::from_millis(30),
            ..AdminLimits::default()
        };
        let admin = start(limits).await;
        let _open = TcpStream::connect(admin.address).await.unwrap();
        assert!(
            ask(admin.address, "GET /livez")
                .await
                .starts_with("HTTP/1.1 200")
        );
        admin.stop.cancel();
        admin.task.await.unwrap();
        assert!(TcpStream::connect(admin.address).await.is_err());
    }
}
