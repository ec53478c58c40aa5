//! The operator's port, over plain HTTP: `/livez`, `/readyz`, `/metrics` and the keys of signed
//! questions, commands, and the one call of AWS's tools that is understood.
//!
//! It is bound before the ports for clients, answers once they are open, and stops last, so that a
//! draining gateway can be watched. It trusts nobody: the head of a request has a
//! deadline, a connection an age, and there are only so many of them.

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::aws::{Aws, AwsKey, Server};
use self::commands::Commands;
pub use self::commands::{Operated, Revoked};
use crate::limits;
use crate::secret::Secret;

mod aws;
mod commands;

/// What the port shows, and what it does.
#[derive(Debug, Clone)]
pub struct Duties {
    pub watched: Arc<dyn Watched>,
    pub operated: Arc<dyn Operated>,
    /// Asked of commands; without it they are taken from this machine alone.
    pub token: Option<Secret>,
    /// `None`: AWS's tools are not answered.
    pub aws: Option<Arc<Aws>>,
}

/// Tells what the operator's port shows.
pub trait Watched: Debug + Send + Sync + 'static {
    /// Says whether new connections should come here.
    fn readiness(&self) -> Readiness;

    /// Returns the text of `/metrics`.
    fn metrics(&self) -> String;

    /// Returns the public keys that questions to identity providers are signed with, as a JWK set;
    /// `None` when they are not.
    fn jwks(&self) -> Option<String>;
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
    pub async fn serve(self, duties: Duties, stop: CancellationToken) {
        let port = Arc::new(Port {
            watched: duties.watched,
            commands: Commands::new(duties.operated, duties.token),
            aws: duties.aws,
            body_timeout: self.limits.head_timeout,
        });
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let accepting = async {
            loop {
                // The semaphore is never closed; waiting here leaves the rest in the backlog.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let (stream, peer) = accept(&self.listener).await;
                let connection =
                    answer_all(stream, peer, self.limits, Arc::clone(&port), stop.clone());
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
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer_all(
    stream: TcpStream,
    peer: SocketAddr,
    limits: AdminLimits,
    port: Arc<Port>,
    stop: CancellationToken,
) {
    let answering = service_fn(move |request: Request<Incoming>| {
        let port = Arc::clone(&port);
        async move { Ok::<_, Infallible>(port.answer(request, peer).await) }
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

type Answer = Response<Full<Bytes>>;

/// Everything that answers.
#[derive(Debug)]
struct Port {
    watched: Arc<dyn Watched>,
    commands: Commands,
    aws: Option<Arc<Aws>>,
    body_timeout: Duration,
}

impl Port {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let (head, body) = request.into_parts();
        match head.method {
            Method::GET | Method::HEAD => return self.show(head.uri.path()),
            Method::POST => {}
            _ => return only("GET, HEAD, POST"),
        }
        if !self.takes(head.uri.path()) {
            return only("GET, HEAD");
        }
        let reading = Limited::new(body, limits::ADMIN_BODY_BYTES_MAX).collect();
        let body = match tokio::time::timeout(self.body_timeout, reading).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return response(StatusCode::PAYLOAD_TOO_LARGE, TEXT, "body not taken\n"),
            Err(_elapsed) => return response(StatusCode::REQUEST_TIMEOUT, TEXT, "too slow\n"),
        };
        self.act(&head, &body, peer).await
    }

    /// Says whether something is done at a path.
    fn takes(&self, path: &str) -> bool {
        Commands::takes(path) || (path == "/" && self.aws.is_some())
    }

    async fn act(&self, head: &request::Parts, body: &[u8], peer: SocketAddr) -> Answer {
        match &self.aws {
            Some(aws) if head.uri.path() == "/" => {
                let (status, body) = aws.answer(head, body, peer.ip()).await;
                response(status, aws::CONTENT_TYPE, body)
            }
            _ => {
                let (status, body) = self.commands.obey(head, body, peer.ip()).await;
                response(status, JSON, body)
            }
        }
    }

    fn show(&self, path: &str) -> Answer {
        match path {
            "/livez" => response(StatusCode::OK, TEXT, "alive\n"),
            "/readyz" => {
                let readiness = self.watched.readiness();
                let status = if readiness.is_ready() {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                // Three flags always make JSON.
                let body = serde_json::to_string(&readiness).unwrap_or_default();
                response(status, JSON, body)
            }
            "/metrics" => response(StatusCode::OK, OPEN_METRICS, self.watched.metrics()),
            "/.well-known/jwks.json" => match self.watched.jwks() {
                Some(keys) => response(StatusCode::OK, JSON, keys),
                None => response(StatusCode::NOT_FOUND, TEXT, "questions are not signed\n"),
            },
            _ => response(
                StatusCode::NOT_FOUND,
                TEXT,
                "there are /livez, /readyz, /metrics and /.well-known/jwks.json\n",
            ),
        }
    }
}

fn only(methods: &'static str) -> Answer {
    let text = format!("only {methods}\n");
    let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    let allowed = HeaderValue::from_static(methods);
    refusal.headers_mut().insert(ALLOW, allowed);
    refusal
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
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
    use std::net::IpAddr;
    use std::sync::Mutex;

    use async_trait::async_trait;
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

        fn jwks(&self) -> Option<String> {
            let keys = "{\"keys\":[]}".to_owned();
            self.0.lock().unwrap().configured.then_some(keys)
        }
    }

    /// Nothing is asked of it here.
    #[derive(Debug)]
    struct Idle;

    #[async_trait]
    impl Operated for Idle {
        async fn revoke(&self, _user: &str) -> Revoked {
            Revoked::default()
        }

        async fn forget(&self, _user: Option<&str>) -> usize {
            0
        }

        fn unlock(&self, _user: Option<&str>, _source: Option<IpAddr>) -> usize {
            0
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
        let duties = Duties {
            watched: watched.clone(),
            operated: Arc::new(Idle),
            token: None,
            aws: None,
        };
        let task = tokio::spawn(admin.serve(duties, stop.clone()));
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
    async fn keys_are_published_where_there_are_any() {
        let admin = start(AdminLimits::default()).await;
        let path = "GET /.well-known/jwks.json";
        let text = ask(admin.address, path).await;
        assert!(text.starts_with("HTTP/1.1 404"), "{text}");
        admin.watched.0.lock().unwrap().configured = true;
        let text = ask(admin.address, path).await;
        assert!(text.contains("content-type: application/json"), "{text}");
        assert!(text.ends_with("{\"keys\":[]}"), "{text}");
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
