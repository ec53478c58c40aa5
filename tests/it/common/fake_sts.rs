//! An STS that hands out the keys of an embedded S3, each time with another session token.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use portcullis::storage::credentials::StsSettings;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct FakeSts {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    access_key: String,
    secret_key: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What each credential lives.
    lifetime: Duration,
    delay: Duration,
    /// Status and code of the answer, while it refuses.
    refusal: Option<(u16, String)>,
    /// Access keys that are refused.
    unknown_keys: Vec<String>,
    asked: Vec<BTreeMap<String, String>>,
}

impl FakeSts {
    pub(crate) async fn start(access_key: &str, secret_key: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            state: Mutex::new(State {
                lifetime: Duration::from_secs(3_600),
                delay: Duration::ZERO,
                refusal: None,
                unknown_keys: Vec::new(),
                asked: Vec::new(),
            }),
        });
        let mut tasks = JoinSet::new();
        let state = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(&state)));
            }
        });
        Self {
            address,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn settings(&self) -> StsSettings {
        StsSettings {
            endpoint: Some(self.endpoint()),
            duration: Duration::from_secs(900),
            timeout: Duration::from_secs(2),
            server_id: "s-0123456789abcdef0".into(),
            ..StsSettings::default()
        }
    }

    pub(crate) fn live(&self, lifetime: Duration) {
        self.shared.state.lock().unwrap().lifetime = lifetime;
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.state.lock().unwrap().delay = delay;
    }

    /// Refuses from now on, or no longer.
    pub(crate) fn refuse(&self, refusal: Option<(u16, &str)>) {
        let refusal = refusal.map(|(status, code)| (status, code.to_owned()));
        self.shared.state.lock().unwrap().refusal = refusal;
    }

    /// Does not know an access key from now on.
    pub(crate) fn forget_key(&self, access_key: &str) {
        let mut state = self.shared.state.lock().unwrap();
        state.unknown_keys.push(access_key.to_owned());
    }

    /// Returns the parameters of every request.
    pub(crate) fn asked(&self) -> Vec<BTreeMap<String, String>> {
        self.shared.state.lock().unwrap().asked.clone()
    }
}

/// Returns the session token of the nth answer, counted from 1.
pub(crate) fn token(nth: usize) -> String {
    format!("token-{nth}")
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let respond = service_fn(|request: Request<hyper::body::Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let signed = request.headers().get("authorization");
            let signed = signed
                .map_or("", |value| value.to_str().unwrap())
                .to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let fields = form(std::str::from_utf8(&body).unwrap());
            let (delay, status, text) = shared.answer(fields, &signed);
            tokio::time::sleep(delay).await;
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status.try_into().unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // A client that goes away is none of the test's business.
    drop(http.serve_connection(TokioIo::new(stream), respond).await);
}

fn form(body: &str) -> BTreeMap<String, String> {
    let text = |part: &str| {
        let part = part.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&part).decode_utf8();
        decoded.unwrap().into_owned()
    };
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (text(key), text(value)))
        .collect()
}

impl Shared {
    fn answer(&self, fields: BTreeMap<String, String>, signed: &str) -> (Duration, u16, String) {
        let mut state = self.state.lock().unwrap();
        state.asked.push(fields);
        let is_unknown = |key: &String| signed.contains(&format!("Credential={key}/"));
        let unknown = state.unknown_keys.iter().any(is_unknown);
        let unknown = unknown.then(|| (403, "InvalidClientTokenId".to_owned()));
        if let Some((status, code)) = unknown.as_ref().or(state.refusal.as_ref()) {
            let text = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
                 <Message>as scripted</Message></Error></ErrorResponse>"
            );
            return (state.delay, *status, text);
        }
        let Self {
            access_key,
            secret_key,
            ..
        } = self;
        let token = token(state.asked.len());
        let end = DateTime::from(now() + state.lifetime);
        let end = end.fmt(Format::DateTime).unwrap();
        let text = format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>\
             <AccessKeyId>{access_key}</AccessKeyId>\
             <SecretAccessKey>{secret_key}</SecretAccessKey>\
             <SessionToken>{token}</SessionToken><Expiration>{end}</Expiration>\
             </Credentials></AssumeRoleResult></AssumeRoleResponse>"
        );
        (state.delay, 200, text)
    }
}

#[expect(clippy::disallowed_methods, reason = "a server has a clock of its own")]
fn now() -> SystemTime {
    SystemTime::now()
}
