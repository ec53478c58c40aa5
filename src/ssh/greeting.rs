//! What is read of a client before the SSH library sees a byte: a balancer's header, the version
//! line, and the key exchange offer.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::algorithms::VERSION;
use super::hello::{self, CipherOffer, VersionLine};
use super::proxy::{self, Frame, Named, Version};

/// How long a client's key exchange offer is waited for after its version line; some wait for
/// ours first.
const OFFER_WAIT: Duration = Duration::from_millis(300);
/// Asked of the socket at once while it greets: an offer is about 1.5 KiB.
const GREETING_BYTES: usize = 2 * 1024;
const LINE_END: &[u8] = b"\r\n";

/// A client that has not said enough yet.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) tcp: TcpStream,
    /// What came after a balancer's header.
    pub(super) received: Vec<u8>,
}

impl Greeting {
    /// What the greeting sends.
    pub(super) const BYTES_SENT: usize = VERSION.len() + LINE_END.len();

    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            received: Vec::with_capacity(GREETING_BYTES),
        }
    }

    /// Reads the header with which a balancer says whose connection this is.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if there is none that can be used.
    pub(super) async fn header(&mut self) -> io::Result<(Named, Version)> {
        let wrong = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        loop {
            match proxy::frame(&self.received) {
                Frame::Unfinished => match self.read_more().await {
                    Err(error) if !self.received.is_empty() && is_end(&error) => {
                        return Err(wrong("the PROXY header is incomplete"));
                    }
                    read => read?,
                },
                Frame::Missing => return Err(wrong("no PROXY header")),
                Frame::TooLong => return Err(wrong("the PROXY header is too long")),
                Frame::EndsAt(end, version) => {
                    let header = self.received.get(..end).unwrap_or_default();
                    let named = proxy::named(header, version);
                    self.received.drain(..end);
                    let named = named.ok_or_else(|| wrong("the PROXY header is malformed"))?;
                    return Ok((named, version));
                }
            }
        }
    }

    /// Sends our version line, after which some balancers send their header.
    pub(super) async fn begin(&mut self) -> io::Result<()> {
        let line = [VERSION.as_bytes(), LINE_END].concat();
        self.tcp.write_all(&line).await
    }

    /// Passes over a header of version 2; says whether there was one.
    pub(super) async fn skip_header(&mut self) -> io::Result<bool> {
        loop {
            match proxy::frame_v2(&self.received) {
                Frame::Unfinished => self.read_more().await?,
                Frame::Missing => return Ok(false),
                Frame::TooLong => return Err(io::ErrorKind::InvalidData.into()),
                Frame::EndsAt(end, _) => {
                    self.received.drain(..end);
                    return Ok(true);
                }
            }
        }
    }

    /// Reads the client's version line and its offer; `None` if it holds the latter back.
    pub(super) async fn offer(&mut self) -> io::Result<Option<CipherOffer>> {
        let line_end = loop {
            match hello::version_line(&self.received) {
                VersionLine::EndsAt(end) => break end,
                VersionLine::Unfinished => self.read_more().await?,
                VersionLine::Foreign => return Err(io::ErrorKind::InvalidData.into()),
            }
        };
        let offer = async {
            loop {
                let packets = self.received.get(line_end..).unwrap_or_default();
                match hello::cipher_offer(packets) {
                    Some(offer) => break io::Result::Ok(offer),
                    None => self.read_more().await?,
                }
            }
        };
        timeout(OFFER_WAIT, offer).await.ok().transpose()
    }

    async fn read_more(&mut self) -> io::Result<()> {
        self.received.reserve(GREETING_BYTES);
        match self.tcp.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}

/// Returns whose connection it is after a header: an address that was not told is the balancer's.
pub(super) const fn source(named: Named, peer: IpAddr) -> IpAddr {
    match named {
        Named::Client(address) => address,
        Named::Local | Named::Nobody => peer,
    }
}
