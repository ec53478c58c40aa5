//! Accepts connections, and keeps to the caps.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::connection::{self, Accepted};
use super::entrance::Entrance;
use super::places::Source;
use super::proxy::ProxyProtocol;
use super::server::Often;
use crate::limits::{Limits, SOCKET_UNSENT_BYTES_MAX};
use crate::tasks::spawn_tracked;

/// After an accept error that does not concern one connection, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;

/// A port on which clients are received.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
}

impl Listener {
    /// Opens the port.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            tcp: TcpListener::bind(address).await?,
        })
    }

    /// Returns where clients are received, with the port the system chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Receives clients at an entrance, until that drains.
    pub async fn serve(self, entrance: Arc<Entrance>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = entrance.draining().cancelled() => break,
            };
            match accepted {
                Ok((tcp, peer)) => receive(&entrance, tcp, peer),
                Err(error) => {
                    if let Some(unlogged) = entrance.server().line_due(Often::AcceptError) {
                        let listener = entrance.label();
                        tracing::warn!(%error, listener, unlogged, "failed to accept a connection");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Begins a connection, or closes it if a cap is reached or it comes from elsewhere than a
/// balancer that has to be trusted.
fn receive(entrance: &Arc<Entrance>, tcp: TcpStream, peer: SocketAddr) {
    let (server, who) = (entrance.server(), entrance.authenticator());
    let address = peer.ip();
    let source = match entrance.proxy() {
        ProxyProtocol::Off | ProxyProtocol::Ignore => Some(Source {
            address,
            exempt: who.is_unthrottled(address),
        }),
        // The header will name it.
        ProxyProtocol::Required { trusted } if trusted.iter().any(|it| it.contains(address)) => {
            None
        }
        ProxyProtocol::Required { .. } => {
            server.caps().untrusted();
            if let Some(unlogged) = server.line_due(Often::Stranger) {
                let reason = "proxy-untrusted";
                let source_ip = address.to_canonical();
                let listener = entrance.label();
                tracing::warn!(reason, %source_ip, listener, unlogged, "connection refused");
            }
            return;
        }
    };
    if source.is_some() && who.is_blocked(address) {
        server.blocked(address.to_canonical(), entrance.label());
        return;
    }
    let now = server.clock().now();
    let admitted = match server.caps().admit(source, now) {
        Ok(admitted) => admitted,
        Err(over) => {
            drop(tcp);
            server.refused(over, address.to_canonical(), entrance.label());
            return;
        }
    };
    let session_id = match session_id() {
        Ok(session_id) => session_id,
        Err(error) => {
            tracing::error!(%error, "no random numbers for a session id: connection refused");
            return;
        }
    };
    if let Err(error) = prepare(&tcp, server.limits()) {
        tracing::debug!(%error, "socket options could not be set");
    }
    let accepted = Accepted {
        tcp,
        peer,
        admitted,
        session_id,
    };
    if let Some(listener) = entrance.label() {
        server.metrics().accepted_by(listener);
    }
    let connection = connection::run(Arc::clone(entrance), accepted);
    drop(spawn_tracked(entrance.connections(), connection));
}

fn prepare(tcp: &TcpStream, limits: &Limits) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(limits.stalled_output_timeout))?;
        // Sizes of its buffers would switch off the kernel's tuning, and long lines need it.
        socket.set_tcp_notsent_lowat(SOCKET_UNSENT_BYTES_MAX)?;
    }
    Ok(())
}

/// 16 hexadecimal digits that name a connection in logs and at the identity provider.
fn session_id() -> Result<Box<str>, getrandom::Error> {
    Ok(format!("{:016x}", getrandom::u64()?).into())
}
