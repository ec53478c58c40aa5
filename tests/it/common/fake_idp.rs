//! A scripted HTTP server that records what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(u16, Value),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, then the next question.
    Piece(Vec<u8>),
    /// These bytes one by one, without haste.
    Trickle(Vec<u8>),
    /// An answer of JSON after so long.
    Late(Duration, Value),
    Redirect(String),
    /// A correct answer, one byte per second.
    Drip(Value),
    /// A body without end; it stops when the client goes.
    Endless,
    /// `Content-Length` of a gigabyte, and as much of it as is taken.
    Gigabyte,
    /// Reads the question and closes.
    Close,
    /// Reads the question and stays silent.
    Hang,
}

/// One question as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Value,
    /// The body as it was sent.
    pub(crate) bytes: Vec<u8>,
}

impl Asked {
    /// Returns the value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct FakeIdp {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    script: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    bytes_sent: AtomicUsize,
}

impl FakeIdp {
    /// Answers with the script, one reply per request; after it, with a denial.
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_with(script, None).await
    }

    /// The same over TLS.
    pub(crate) async fn start_tls(
        script: impl IntoIterator<Item = Reply>,
        acceptor: TlsAcceptor,
    ) -> Self {
        Self::start_with(script, Some(acceptor)).await
    }

    async fn start_with(
        script: impl IntoIterator<Item = Reply>,
        acceptor: Option<TlsAcceptor>,
    ) -> Self {
        super::suite_log::begin();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.script.lock().unwrap().extend(script);
        let mut tasks = JoinSet::new();
        let state = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                state.connections.fetch_add(1, Ordering::SeqCst);
                let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream, state).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, state).await;
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

    pub(crate) fn url(&self) -> String {
        format!("http://{}/login?key=walnut-39", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Body bytes that were handed to the socket.
    pub(crate) fn bytes_sent(&self) -> usize {
        self.shared.bytes_sent.load(Ordering::SeqCst)
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read_request(&mut stream).await {
        shared.asked.lock().unwrap().push(asked);
        let next = shared.script.lock().unwrap().pop_front();
        let reply = next.unwrap_or_else(|| Reply::Json(200, serde_json::json!({})));
        if write_reply(stream.get_mut(), reply, &shared)
            .await
            .is_none()
        {
            break;
        }
        drop(stream.get_mut().flush().await);
    }
    drop(stream.get_mut().shutdown().await);
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked {
        head,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        bytes: body,
    })
}

async fn write_json<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: u16,
    body: &Value,
) -> Option<()> {
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.ok()
}

/// Returns `None` when the connection is to be closed.
async fn write_reply<S: AsyncWrite + Unpin>(
    stream: &mut S,
    reply: Reply,
    shared: &Shared,
) -> Option<()> {
    match reply {
        Reply::Json(status, body) => write_json(stream, status, &body).await,
        Reply::Raw(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            None
        }
        Reply::Piece(bytes) => stream.write_all(&bytes).await.ok(),
        Reply::Trickle(bytes) => {
            for byte in bytes {
                stream.write_all(&[byte]).await.ok()?;
                stream.flush().await.ok()?;
                tokio::task::yield_now().await;
            }
            Some(())
        }
        Reply::Redirect(to) => {
            let answer = format!("HTTP/1.1 307 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok()
        }
        Reply::Late(after, body) => {
            tokio::time::sleep(after).await;
            write_json(stream, 200, &body).await
        }
        Reply::Drip(body) => {
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.ok()?;
            for byte in body.bytes() {
                stream.write_all(&[byte]).await.ok()?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Some(())
        }
        Reply::Endless => {
            let head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await.ok()?;
            let chunk = [
                b"10000\r\n".to_vec(),
                vec![b' '; 0x1_0000],
                b"\r\n".to_vec(),
            ]
            .concat();
            loop {
                stream.write_all(&chunk).await.ok()?;
                shared.bytes_sent.fetch_add(0x1_0000, Ordering::SeqCst);
            }
        }
        Reply::Gigabyte => {
            let head = b"HTTP/1.1 200 X\r\ncontent-length: 1000000000\r\n\r\n";
            stream.write_all(head).await.ok()?;
            for _ in 0..1_000_000_000 / 0x1_0000 {
                stream.write_all(&[b' '; 0x1_0000]).await.ok()?;
                shared.bytes_sent.fetch_add(0x1_0000, Ordering::SeqCst);
            }
            None
        }
        Reply::Close => None,
        Reply::Hang => std::future::pending().await,
    }
}
