//! An endpoint of Lambda's `Invoke` that runs functions, or does what a script says.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::sigv4::Verifier;

/// What becomes of one invocation.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The function answers this.
    Payload(Vec<u8>),
    /// The function ends in this error.
    Error(Value),
    /// Lambda itself refuses: status, code, message.
    Refused(u16, &'static str, &'static str),
    /// Something that is no answer of Lambda's.
    Page(u16, &'static str),
    /// A payload of this many bytes.
    Long(usize),
    Late(Duration),
}

impl Outcome {
    pub(crate) fn json(payload: &Value) -> Self {
        Self::Payload(payload.to_string().into_bytes())
    }
}

/// One invocation as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    pub(crate) function: String,
    pub(crate) qualifier: Option<String>,
    pub(crate) event: String,
    pub(crate) invocation_type: String,
    pub(crate) authorization: String,
    /// The path as it was sent.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

#[derive(Debug, Default)]
struct Shared {
    /// Handlers by the name of their function: a folder and `module.function`.
    functions: BTreeMap<String, (String, String)>,
    script: Mutex<VecDeque<Outcome>>,
    /// Whose signatures are taken; `None`: nobody looks at them.
    verifier: Option<Verifier>,
    seen: Mutex<Vec<Invocation>>,
    connections: AtomicUsize,
}

/// Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct FakeLambda {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl FakeLambda {
    /// Does what the script says, invocation by invocation; after it, denies.
    pub(crate) async fn scripted(script: impl IntoIterator<Item = Outcome>) -> Self {
        let shared = Shared::default();
        shared.script.lock().unwrap().extend(script);
        Self::start(shared, None).await
    }

    pub(crate) async fn scripted_tls(script: Vec<Outcome>, acceptor: TlsAcceptor) -> Self {
        let shared = Shared::default();
        shared.script.lock().unwrap().extend(script);
        Self::start(shared, Some(acceptor)).await
    }

    /// Does what the script says for those whose signature is right.
    pub(crate) async fn verifying(verifier: Verifier) -> Self {
        let shared = Shared {
            verifier: Some(verifier),
            ..Shared::default()
        };
        Self::start(shared, None).await
    }

    /// Runs handlers in Python: rows of function, folder and `module.function`.
    pub(crate) async fn running(functions: &[(&str, &str, &str)]) -> Self {
        let owned =
            |row: &(&str, &str, &str)| (row.0.to_owned(), (row.1.to_owned(), row.2.to_owned()));
        let functions = functions.iter().map(owned).collect();
        let shared = Shared {
            functions,
            ..Shared::default()
        };
        Self::start(shared, None).await
    }

    async fn start(shared: Shared, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(shared);
        let state = Arc::clone(&shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::SeqCst);
                let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
                connections.spawn(async move {
                    let respond = service_fn(move |request| respond(request, Arc::clone(&state)));
                    let http = hyper::server::conn::http1::Builder::new();
                    match acceptor {
                        None => drop(http.serve_connection(TokioIo::new(stream), respond).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                drop(http.serve_connection(TokioIo::new(stream), respond).await);
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            shared,
            _tasks: tasks,
        }
    }

    /// Goes on with this once the script so far has been done.
    pub(crate) fn then(&self, script: impl IntoIterator<Item = Outcome>) {
        self.shared.script.lock().unwrap().extend(script);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn invocations(&self) -> Vec<Invocation> {
        self.shared.seen.lock().unwrap().clone()
    }
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let event = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| {
        let value = head.headers.get(name);
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    let path = head.uri.path().split_once("/2015-03-31/functions/");
    let function = path.and_then(|(_, path)| path.strip_suffix("/invocations"));
    let Some(function) = function.filter(|_| head.method == "POST") else {
        return Ok(refused(
            404,
            "UnknownOperationException",
            "no such operation",
        ));
    };
    let qualifier = head.uri.query().and_then(|query| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(name, value)| (name == "Qualifier").then(|| decoded(value)))
    });
    let invocation = Invocation {
        function: decoded(function),
        qualifier,
        event: String::from_utf8(event.to_vec()).unwrap(),
        invocation_type: header("x-amz-invocation-type"),
        authorization: header("authorization"),
        path: head.uri.path().to_owned(),
        headers: head.headers.clone(),
    };
    let verifier = shared.verifier.as_ref();
    if let Some((code, message)) =
        verifier.and_then(|verifier| verifier.refusal(&head, invocation.event.as_bytes()))
    {
        return Ok(refused(403, code, &message));
    }
    shared.seen.lock().unwrap().push(invocation.clone());
    let scripted = shared.script.lock().unwrap().pop_front();
    let outcome = match scripted {
        Some(outcome) => outcome,
        None => run(&invocation, &shared).await,
    };
    Ok(match outcome {
        Outcome::Payload(payload) => answered(payload, None),
        Outcome::Error(error) => answered(error.to_string().into_bytes(), Some("Unhandled")),
        Outcome::Refused(status, code, message) => refused(status, code, message),
        Outcome::Page(status, text) => {
            let mut response = Response::new(Full::from(text));
            *response.status_mut() = status.try_into().unwrap();
            response
        }
        Outcome::Long(bytes) => answered(vec![b' '; bytes], None),
        Outcome::Late(by) => {
            tokio::time::sleep(by).await;
            answered(b"{}".to_vec(), None)
        }
    })
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// Lambda's status is 200 whether the function answered or raised.
fn answered(payload: Vec<u8>, function_error: Option<&'static str>) -> Response<Full<Bytes>> {
    let mut response = Response::builder().header("X-Amz-Executed-Version", "$LATEST");
    if let Some(kind) = function_error {
        response = response.header("X-Amz-Function-Error", kind);
    }
    response.body(Full::from(payload)).unwrap()
}

fn refused(status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    let body = json!({"Type": "User", "Message": message, "message": message});
    Response::builder()
        .status(status)
        .header("x-amzn-ErrorType", code)
        .body(Full::from(body.to_string()))
        .unwrap()
}

async fn run(invocation: &Invocation, shared: &Shared) -> Outcome {
    let name = invocation.function.rsplit(':').next().unwrap();
    let Some((folder, handler)) = shared.functions.get(name) else {
        if shared.functions.is_empty() {
            return Outcome::json(&json!({}));
        }
        return Outcome::Refused(404, "ResourceNotFoundException", "Function not found: idp");
    };
    let mut child = python(&["-B", "-c", include_str!("invoke.py"), handler])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(invocation.event.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let mut result: Value = serde_json::from_slice(&output.stdout).unwrap();
    match result.get_mut("error") {
        Some(error) => Outcome::Error(error.take()),
        None => Outcome::json(&result["payload"]),
    }
}

pub(crate) fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments).kill_on_drop(true);
    command
}
