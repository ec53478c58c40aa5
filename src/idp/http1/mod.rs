//! A client of HTTP/1.1 that sends what it is given, byte by byte, and reads bounded answers: that
//! of the providers at AWS.
//!
//! A request is handed to a connection once. An idle connection is tried before that: one that its
//! server has closed is dropped while nothing has been sent.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore, crypto};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use self::answer::{Body, Fault};
use self::failure::Failure;
use crate::endpoint::Endpoint;
use crate::limits;

pub mod answer;
pub mod failure;
pub mod request;

/// Shorter than what servers commonly allow (Node's 5 s is the shortest).
const IDLE_MAX: Duration = Duration::from_secs(4);
const READ_BYTES: usize = 16 * 1024;
/// Heads such as `103 Early Hints` before the answer.
const INTERIM_HEADS_MAX: usize = 8;
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 8;

/// Says why questions could not be sent over TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificates of `ca_file`: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("the certificates of `ca_file`: no PEM block `CERTIFICATE` found")]
    NoCertificate,
    #[error("the url's host is not a name that a certificate can have")]
    Name,
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// Status line and headers as they came.
    head: Vec<u8>,
    /// Empty where the client does not read it.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Returns the value of a header, the first one of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        answer::header(&self.head, name)
    }

    /// Says whether the status is one of success.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        is_success(self.status)
    }
}

/// Of which answers the body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// Of those with status 200: what stands in others is of no use, and may be endless.
    OfOk,
    /// Of all of them: an error says in its body what it is.
    OfAll,
}

/// Sends requests to one place.
pub struct Client {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    bodies: Bodies,
    connect_timeout: Duration,
    idle: Mutex<Vec<(Instant, Connection)>>,
}

type Connection = Box<dyn Stream>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.endpoint).finish()
    }
}

impl Client {
    /// Prepares TLS where it is needed; `ca_pem` holds the only roots to trust, instead of the
    /// system's.
    ///
    /// # Errors
    /// TLS cannot be set up with these.
    pub fn new(
        endpoint: Endpoint,
        bodies: Bodies,
        ca_pem: Option<&[u8]>,
        connect_timeout: Duration,
    ) -> Result<Self, TlsError> {
        let tls = if endpoint.encrypted {
            let host = endpoint.host.to_string();
            let name = ServerName::try_from(host).map_err(|_| TlsError::Name)?;
            Some((TlsConnector::from(Arc::new(tls(ca_pem)?)), name))
        } else {
            None
        };
        Ok(Self {
            endpoint,
            tls,
            bodies,
            connect_timeout,
            idle: Mutex::default(),
        })
    }

    /// Sends a request and reads its answer; `headed` hears of the status before the body comes.
    /// With `again`, a request whose connection broke before an answer began is sent once more.
    ///
    /// # Errors
    /// There is no answer that can be read.
    pub async fn send(
        &self,
        request: &[u8],
        again: bool,
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Result<HttpAnswer, Failure> {
        let connection = match self.quiet_one() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        match self.exchange(connection, request, headed).await {
            Err(Failure::Lost(_)) if again => {
                let connection = self.connect().await?;
                self.exchange(connection, request, headed).await
            }
            outcome => outcome,
        }
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        request: &[u8],
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Result<HttpAnswer, Failure> {
        let lost = |error: io::Error| Failure::Lost(error.to_string());
        connection.write_all(request).await.map_err(lost)?;
        connection.flush().await.map_err(lost)?;
        let mut reader = Reader::new(&mut connection);
        let (head, text) = reader.head().await?;
        let status = head.status;
        headed(status);
        let is_read = match self.bodies {
            Bodies::OfOk => status == 200,
            Bodies::OfAll => true,
        };
        let (body, is_clean) = if !is_read {
            (Vec::new(), false)
        } else if head.encoded && is_success(status) {
            return Err(Failure::Encoded);
        } else {
            reader.body(&head).await?
        };
        if is_clean && head.keeps_open {
            self.keep(connection);
        }
        let head = text;
        Ok(HttpAnswer { status, head, body })
    }

    /// Opens a connection, with its handshake, within the time for that.
    async fn connect(&self) -> Result<Connection, Failure> {
        let patience = self.connect_timeout;
        timeout(patience, self.open())
            .await
            .unwrap_or(Err(Failure::ConnectTimeout(patience)))
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let refused = |error: io::Error| Failure::Connect(error.to_string());
        let place = (&*self.endpoint.host, self.endpoint.port);
        let found = lookup_host(place).await.map_err(refused)?;
        let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
        let socket = first(&addresses, self.connect_timeout).await?;
        // A request is one write: there is nothing to gather.
        socket.set_nodelay(true).map_err(refused)?;
        match &self.tls {
            None => Ok(Box::new(socket)),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), socket).await;
                Ok(Box::new(stream.map_err(refused)?))
            }
        }
    }

    /// Returns an idle connection on which its server has neither said anything nor hung up.
    fn quiet_one(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|(since, _)| since.elapsed() < IDLE_MAX);
        while let Some((_, mut connection)) = idle.pop() {
            if is_quiet(&mut *connection) {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        idle.retain(|(since, _)| since.elapsed() < IDLE_MAX);
        if idle.len() < limits::IDLE_CONNECTIONS_MAX {
            idle.push((Instant::now(), connection));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one answer.
struct Reader<'c> {
    connection: &'c mut Connection,
    /// What was read and not understood yet.
    bytes: Vec<u8>,
    chunk: Vec<u8>,
}

impl<'c> Reader<'c> {
    fn new(connection: &'c mut Connection) -> Self {
        Self {
            connection,
            bytes: Vec::new(),
            chunk: vec![0; READ_BYTES],
        }
    }

    /// Returns what the head says, and the head itself.
    async fn head(&mut self) -> Result<(answer::Head, Vec<u8>), Failure> {
        let (mut interim, mut began) = (0, false);
        loop {
            match answer::parse_head(&self.bytes).map_err(Failure::Answer)? {
                Some(head) => {
                    let length = head.bytes.min(self.bytes.len());
                    let text = self.bytes.drain(..length).collect();
                    if !head.is_interim() {
                        return Ok((head, text));
                    }
                    interim += 1;
                    if interim > INTERIM_HEADS_MAX {
                        return Err(Failure::Answer(Fault::HeadTooLong));
                    }
                }
                None => match self.read().await {
                    Ok(0) if !began => {
                        let said = "the connection was closed without an answer";
                        return Err(Failure::Lost(said.to_owned()));
                    }
                    Ok(0) => return Err(Failure::Answer(Fault::Cut)),
                    Ok(_) => began = true,
                    Err(error) if !began => return Err(Failure::Lost(error.to_string())),
                    Err(error) => return Err(Failure::Broken(error.to_string())),
                },
            }
        }
    }

    /// Returns the body, and whether nothing came after it.
    async fn body(mut self, head: &answer::Head) -> Result<(Vec<u8>, bool), Failure> {
        let mut body = Body::new(head.framing).map_err(Failure::Answer)?;
        loop {
            let rest = body.take(&self.bytes).map_err(Failure::Answer)?;
            let is_clean = rest.is_empty();
            self.bytes.clear();
            if body.is_complete() {
                return Ok((body.end().map_err(Failure::Answer)?, is_clean));
            }
            match self.read().await {
                Ok(0) => return Ok((body.end().map_err(Failure::Answer)?, false)),
                Ok(_) => {}
                Err(error) => return Err(Failure::Broken(error.to_string())),
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let read = self.connection.read(&mut self.chunk).await?;
        let new = self.chunk.get(..read).unwrap_or_default();
        self.bytes.extend_from_slice(new);
        Ok(read)
    }
}

/// Connects to the first address that answers; one that is silent leaves time for the next.
async fn first(addresses: &[SocketAddr], patience: Duration) -> Result<TcpStream, Failure> {
    let mut failure = Failure::Connect("the host has no address".to_owned());
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    for address in addresses {
        match timeout(patience / count, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => failure = Failure::Connect(error.to_string()),
            Err(_) => failure = Failure::ConnectTimeout(patience),
        }
    }
    Err(failure)
}

const fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

/// Says whether nothing came and nothing ended, as far as this machine knows by now.
fn is_quiet(connection: &mut dyn Stream) -> bool {
    let mut byte = [0];
    let mut read = ReadBuf::new(&mut byte);
    let mut waker = Context::from_waker(Waker::noop());
    Pin::new(connection)
        .poll_read(&mut waker, &mut read)
        .is_pending()
}

fn tls(ca_pem: Option<&[u8]>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions()?;
    let config = match ca_pem {
        None => config.with_platform_verifier()?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
            // To trust nobody is surely not what was meant.
            if roots.is_empty() {
                return Err(TlsError::NoCertificate);
            }
            config.with_root_certificates(roots)
        }
    };
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
