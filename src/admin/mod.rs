//! The operator's port, over plain HTTP: `/livez`, `/readyz`, `/metrics` and the keys of signed
//! questions, commands, and the calls of AWS's tools that are understood.
//!
//! It is bound before the ports for clients, answers once they are open, and stops last, so that a
//! draining gateway can be watched. It trusts nobody: the head of a request has a
//! deadline, a connection an age, and there are only so many of them (`places`).
//!
//! AWS's tools can have a port of their own, with TLS, whose calls the operator's port then leaves
//! to it. Another port can answer probes alone, for networks that may not see the rest.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::aws::server_settings;
pub use self::aws::{
    Aws, AwsKey, Made, Operation, Scope, Server, ServerActions, Servers, Shown, TagChange,
    Transports, WantedServer,
};
use self::body::{HeldBody, Unread};
use self::commands::Commands;
pub use self::commands::{AdminActions, AdminTokens, Revoked};
use self::places::Place;
pub use self::tls::{Certificate, CertificateError, Tls};
use crate::metrics::{Metrics, prometheus_text, takes_open_metrics};

mod aws;
mod body;
mod commands;
mod places;
mod server;
mod tls;

/// What the port shows, and what it does.
#[derive(Debug, Clone)]
pub struct AdminServices {
    pub admin_status: Arc<dyn AdminStatus>,
    pub actions: Arc<dyn AdminActions>,
    /// Asked of commands; without any they are taken from this machine alone.
    pub tokens: Arc<AdminTokens>,
    /// `None`: AWS's tools are not answered.
    pub aws: Option<Arc<Aws>>,
}

/// Tells what the operator's port shows.
pub trait AdminStatus: Debug + Send + Sync + 'static {
    /// Says whether new connections should come here.
    fn readiness(&self) -> Readiness;

    /// Returns the text of `/metrics`.
    fn metrics(&self) -> String;

    /// Returns the public keys that questions to identity providers are signed with, as a JWK set;
    /// `None` when they are not.
    fn jwks(&self) -> Option<String>;
}

/// Whether new connections should come here. What the gateway depends on has no part in that: an
/// outage there would take every replica out at once, and a store that is shown as away only by
/// calls to it would never be called again.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Readiness {
    pub listening: bool,
    pub draining: bool,
    /// Sections of the configuration whose stores do not answer: shown, no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stores_away: Vec<Box<str>>,
}

/// The bounds of each of the operator's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminLimits {
    pub connections_max: usize,
    /// A source beyond it loses its own oldest connection.
    pub connections_per_source_max: usize,
    /// From the connection, or the last answer, until a request's head is there.
    pub head_timeout: Duration,
    /// After this a connection ends, with the answer that is under way.
    pub connection_age_max: Duration,
}

impl AdminLimits {
    /// Those of a port for AWS's tools alone: a script may send hundreds of requests at once.
    #[must_use]
    pub fn for_aws() -> Self {
        Self {
            connections_max: 256,
            connections_per_source_max: 200,
            ..Self::default()
        }
    }
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
    pub const fn is_ready(&self) -> bool {
        self.listening && !self.draining
    }
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            connections_max: 32,
            connections_per_source_max: 16,
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
    pub async fn serve(
        self,
        services: AdminServices,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        let port = Port::Operator(Operator {
            admin_status: services.admin_status,
            commands: Commands::new(services.actions, services.tokens),
            aws: services.aws,
            body_timeout: self.limits.head_timeout,
        });
        self.run(port, metrics, stop).await;
    }

    /// The same for a port that answers `/livez` and `/readyz`, and nothing else.
    pub async fn serve_probes(
        self,
        admin_status: Arc<dyn AdminStatus>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        self.run(Port::Probes(admin_status), metrics, stop).await;
    }

    /// The same for a port that answers AWS's tools, and nothing else; `tls`: `None`: in the clear.
    pub async fn serve_aws(
        self,
        aws: Arc<Aws>,
        tls: Option<Arc<Tls>>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        let body_timeout = self.limits.head_timeout;
        let port = Port::Aws(AwsPort {
            aws,
            tls,
            body_timeout,
        });
        self.run(port, metrics, stop).await;
    }

    async fn run(self, port: Port, metrics: Arc<Metrics>, stop: CancellationToken) {
        let Self { listener, limits } = self;
        let serving = server::Serving::new(listener, limits, Arc::new(port), metrics);
        serving.run(stop).await;
    }
}

type Answer = Response<Full<Bytes>>;

/// What answers on a port.
#[derive(Debug)]
enum Port {
    Operator(Operator),
    Aws(AwsPort),
    Probes(Arc<dyn AdminStatus>),
}

impl Port {
    /// Returns the word of the log and the metric.
    const fn name(&self) -> &'static str {
        match self {
            Self::Operator(_) => "admin",
            Self::Aws(_) => "api",
            Self::Probes(_) => "probe",
        }
    }

    /// A probe asks once.
    const fn keeps_alive(&self) -> bool {
        match self {
            Self::Operator(_) | Self::Aws(_) => true,
            Self::Probes(_) => false,
        }
    }

    fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Aws(port) => port.tls.as_deref(),
            Self::Operator(_) | Self::Probes(_) => None,
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr, place: &Place) -> Answer {
        match self {
            Self::Operator(operator) => operator.answer(request, peer, place).await,
            Self::Aws(port) => port.answer(request, peer, place).await,
            Self::Probes(admin_status) => {
                let Some(_busy) = place.begin() else {
                    return std::future::pending().await;
                };
                match *request.method() {
                    Method::GET | Method::HEAD => probe(&**admin_status, request.uri().path())
                        .unwrap_or_else(|| not_there("not found; paths: /livez and /readyz\n")),
                    _ => only("GET, HEAD"),
                }
            }
        }
    }
}

/// Everything that the operator's port answers with.
#[derive(Debug)]
struct Operator {
    admin_status: Arc<dyn AdminStatus>,
    commands: Commands,
    aws: Option<Arc<Aws>>,
    body_timeout: Duration,
}

impl Operator {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr, place: &Place) -> Answer {
        let (head, body) = request.into_parts();
        match head.method {
            Method::GET | Method::HEAD => {
                let Some(_busy) = place.begin() else {
                    return std::future::pending().await;
                };
                return self.show(&head);
            }
            Method::POST => {}
            _ => return only("GET, HEAD, POST"),
        }
        if !self.takes(head.uri.path()) {
            return only("GET, HEAD");
        }
        let aws = self.aws.as_ref().filter(|_| head.uri.path() == "/");
        let body = match read(aws, &head, body, self.body_timeout, peer).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        // A body that came slowly kept its place from nobody; now the command does.
        let Some(_busy) = place.begin() else {
            return std::future::pending().await;
        };
        self.act(&head, &body.text, peer).await
    }

    /// Says whether something is done at a path.
    fn takes(&self, path: &str) -> bool {
        Commands::takes(path) || (path == "/" && self.aws.is_some())
    }

    async fn act(&self, head: &request::Parts, body: &[u8], peer: SocketAddr) -> Answer {
        match &self.aws {
            Some(aws) if head.uri.path() == "/" => answer_aws(aws, head, body, peer).await,
            _ => {
                let (status, body) = self.commands.run(head, body, peer.ip()).await;
                response(status, JSON, body)
            }
        }
    }

    fn show(&self, head: &request::Parts) -> Answer {
        let path = head.uri.path();
        if let Some(answer) = probe(&*self.admin_status, path) {
            return answer;
        }
        match path {
            "/metrics" => self.metrics(head),
            "/.well-known/jwks.json" => match self.admin_status.jwks() {
                Some(keys) => response(StatusCode::OK, JSON, keys),
                None => not_there("requests to the provider are not signed\n"),
            },
            _ => not_there(
                "not found; paths: /livez, /readyz, /metrics and \
                            /.well-known/jwks.json\n",
            ),
        }
    }

    /// Answers in the format that is asked for; parsers of the older one refuse the newer.
    fn metrics(&self, head: &request::Parts) -> Answer {
        let metrics = self.admin_status.metrics();
        let accepts = head.headers.get_all(ACCEPT).iter();
        if accepts
            .filter_map(|accept| accept.to_str().ok())
            .any(takes_open_metrics)
        {
            return response(StatusCode::OK, OPEN_METRICS, metrics);
        }
        response(StatusCode::OK, PROMETHEUS, prometheus_text(&metrics))
    }
}

/// A port for AWS's tools alone.
#[derive(Debug)]
struct AwsPort {
    aws: Arc<Aws>,
    tls: Option<Arc<Tls>>,
    body_timeout: Duration,
}

impl AwsPort {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr, place: &Place) -> Answer {
        let (head, body) = request.into_parts();
        if head.uri.path() != "/" {
            return not_there("not found: this port answers AWS's tools, at /\n");
        }
        if head.method != Method::POST {
            return only("POST");
        }
        let read = read(Some(&self.aws), &head, body, self.body_timeout, peer).await;
        let body = match read {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let Some(_busy) = place.begin() else {
            return std::future::pending().await;
        };
        answer_aws(&self.aws, &head, &body.text, peer).await
    }
}

async fn answer_aws(aws: &Aws, head: &request::Parts, body: &[u8], peer: SocketAddr) -> Answer {
    let (status, body) = aws.answer(head, body, peer.ip()).await;
    response(status, aws::CONTENT_TYPE, body)
}

/// Reads a body, or says why it is not read.
async fn read<'a>(
    aws: Option<&'a Arc<Aws>>,
    head: &request::Parts,
    body: Incoming,
    timeout: Duration,
    peer: SocketAddr,
) -> Result<HeldBody<'a>, Answer> {
    let read = body::read(aws, head, body, timeout).await;
    read.map_err(|unread| {
        let (status, body) = match (unread, aws) {
            (Unread::TooSlow, _) => {
                return response(StatusCode::REQUEST_TIMEOUT, TEXT, "too slow\n");
            }
            (Unread::TooLarge | Unread::NoMemory, None) => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return response(status, TEXT, "a body is not accepted\n");
            }
            (Unread::TooLarge, Some(aws)) => aws.too_large(peer.ip()),
            (Unread::NoMemory, Some(aws)) => aws.without_memory(peer.ip()),
        };
        response(status, aws::CONTENT_TYPE, body)
    })
}

/// Answers probes; `None`: it is none.
fn probe(admin_status: &dyn AdminStatus, path: &str) -> Option<Answer> {
    match path {
        "/livez" => Some(response(StatusCode::OK, TEXT, "alive\n")),
        "/readyz" => {
            let readiness = admin_status.readiness();
            let status = if readiness.is_ready() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            // Flags and names always make JSON.
            let body = serde_json::to_string(&readiness).unwrap_or_default();
            Some(response(status, JSON, body))
        }
        _ => None,
    }
}

fn not_there(words: &'static str) -> Answer {
    response(StatusCode::NOT_FOUND, TEXT, words)
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
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests;
