//! The quickstart's identity provider: a real webhook for one user, on a loopback port.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::secret::Secret;
use crate::tasks;

/// Longest question that is read.
const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// After a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the plain contract for one user until it is dropped.
#[derive(Debug)]
pub struct BundledWebhook {
    address: SocketAddr,
    /// The listener, which owns its connections; dropping aborts them all.
    _tasks: JoinSet<()>,
}

impl BundledWebhook {
    /// Starts to listen. `answer` is the plain answer of a successful login, without `allow`; its
    /// `publicKeys`, if any, are given to key look-ups alone.
    ///
    /// # Errors
    /// The answer is no JSON object, or no loopback port is to be had.
    pub async fn start(user: &str, password: Secret, answer: Value) -> io::Result<Self> {
        let user = Arc::new(User::new(user, &password, answer)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        tasks::spawn(&mut accepting, accept(listener, user));
        Ok(Self {
            address,
            _tasks: accepting,
        })
    }

    /// Returns where to ask.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// The one user, with both answers ready to send.
#[derive(Debug)]
struct User {
    name: Box<str>,
    password_digest: [u8; 32],
    has_keys: bool,
    to_password: Bytes,
    to_key: Bytes,
}

impl User {
    fn new(name: &str, password: &Secret, answer: Value) -> io::Result<Self> {
        let Value::Object(mut answer) = answer else {
            let error = "the bundled webhook's answer must be a JSON object";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        };
        answer.insert("allow".to_owned(), Value::Bool(true));
        let to_key = Value::Object(answer.clone()).to_string().into();
        let keys = answer.remove("publicKeys");
        Ok(Self {
            name: name.into(),
            password_digest: Sha256::digest(password.expose()).into(),
            has_keys: keys.is_some_and(|keys| keys.as_array().is_some_and(|k| !k.is_empty())),
            to_password: Value::Object(answer).to_string().into(),
            to_key,
        })
    }

    fn answer(&self, question: &Value) -> Bytes {
        let text = |key| question.get(key).and_then(Value::as_str);
        let known = text("username") == Some(&*self.name);
        // Digests have one length, so the comparison does not tell that of the password.
        let digest: [u8; 32] = Sha256::digest(text("password").unwrap_or_default()).into();
        let right = bool::from(digest.ct_eq(&self.password_digest));
        match text("method") {
            Some("password") if known && right => self.to_password.clone(),
            Some("public-key") if known && self.has_keys => self.to_key.clone(),
            _ => Bytes::from_static(br#"{"allow":false}"#),
        }
    }
}

async fn accept(listener: TcpListener, user: Arc<User>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error concerns one connection, or passes.
                if let Ok((stream, _)) = accepted {
                    tasks::spawn(&mut connections, serve(stream, Arc::clone(&user)));
                } else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, user: Arc<User>) {
    let answer = service_fn(move |request| {
        let user = Arc::clone(&user);
        async move { Ok::<_, Infallible>(respond(request, &user).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection to the bundled webhook ended");
    }
}

async fn respond(request: Request<Incoming>, user: &User) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return with_status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = Limited::new(request.into_body(), QUESTION_BYTES_MAX);
    let Ok(body) = body.collect().await else {
        return with_status(StatusCode::BAD_REQUEST);
    };
    let Ok(question) = serde_json::from_slice(&body.to_bytes()) else {
        return with_status(StatusCode::BAD_REQUEST);
    };
    let mut response = Response::new(Full::new(user.answer(&question)));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn with_status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
