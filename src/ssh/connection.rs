//! One connection from accept to its last line in the log.
//!
//! The task greets the client, hands the socket to the SSH library's loop, and watches: over the
//! deadlines, the drain, and what the callbacks decided. It says goodbye where the client can still
//! hear it and cuts the socket where it cannot.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::Disconnect;
use russh::server::{Handle, RunningSession, run_stream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{Instrument as _, Span, field};

use super::algorithms;
use super::callbacks::Callbacks;
use super::caps::Admitted;
use super::entrance::Entrance;
use super::error::ConnectionError;
use super::greeting::{self, Greeting};
use super::hello::{self, CipherOffer};
use super::places::Source;
use super::proxy::{Named, ProxyProtocol, Version};
use super::server::{Often, SshServer};
use super::state::{CLIENT_CLOSED, ConnectionState, Due, EndReason, LINGER, PROTOCOL_ERROR, due};
use super::stream::Stream;
use crate::auth::ConnectionAuth;

/// What a client whose user was revoked has to hear so, and again to close its side.
const REVOKED_PATIENCE: Duration = Duration::from_millis(500);

/// A connection as it was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) admitted: Admitted,
    pub(super) session_id: Box<str>,
}

/// Serves one connection to its end.
pub(super) async fn run(entrance: Arc<Entrance>, accepted: Accepted) {
    let server = entrance.server();
    let Accepted {
        tcp,
        peer,
        admitted,
        session_id,
    } = accepted;
    let peer = peer.ip().to_canonical();
    let span = tracing::info_span!(
        "connection",
        connection_id = server.next_connection_id(),
        session_id = &*session_id,
        listener = entrance.label(),
        user = field::Empty,
        source_ip = field::Empty,
        client = field::Empty,
        proxy_ip = field::Empty,
        proxy_protocol_v1_header = field::Empty,
        proxy_protocol_v2_header = field::Empty,
    );
    let state = Arc::new(ConnectionState::new(
        Arc::clone(server.clock()),
        Arc::clone(server.limits()),
        admitted,
    ));
    let _gone_at_last = state.gone.clone().drop_guard();
    let arrival = Arrival {
        entrance: &entrance,
        server,
        state: &state,
        greeting: Greeting::new(tcp),
        until: Instant::now() + server.limits().hello_timeout,
        peer,
        span: span.clone(),
    };
    async {
        let mut source_ip = peer;
        let result = arrival.converse(session_id, &mut source_ip).await;
        server.count_end(log_end(server, &state, &result, source_ip));
    }
    .instrument(span)
    .await;
}

/// A connection until the SSH library has it.
struct Arrival<'a> {
    entrance: &'a Arc<Entrance>,
    server: &'a Arc<SshServer>,
    state: &'a Arc<ConnectionState>,
    greeting: Greeting,
    /// When header, version line and the beginning of a packet have to be there.
    until: Instant,
    peer: IpAddr,
    span: Span,
}

impl Arrival<'_> {
    async fn converse(
        mut self,
        session_id: Box<str>,
        source_ip: &mut IpAddr,
    ) -> Result<(), ConnectionError> {
        let proxy = self.entrance.proxy();
        if let ProxyProtocol::Required { .. } = proxy {
            let Some(source) = self.named().await? else {
                return Ok(());
            };
            *source_ip = source;
        }
        self.span.record("source_ip", field::display(*source_ip));
        let Some(offer) = self.greet(*proxy == ProxyProtocol::Ignore).await? else {
            return Ok(());
        };
        let Self {
            entrance,
            server,
            state,
            greeting,
            span,
            ..
        } = self;
        let auth = ConnectionAuth::new(
            Arc::clone(entrance.authenticator()),
            *source_ip,
            session_id,
            self.state.accepted_at(),
        );
        let callbacks = Callbacks::new(Arc::clone(entrance), Arc::clone(state), auth, span);
        let config = entrance.offers().choose(offer);
        let Greeting { tcp, received } = greeting;
        state.found(algorithms::found(&config, &received));
        let stream = Stream::new(tcp, Arc::clone(state), received, Greeting::BYTES_SENT);
        // Boxed: what only the beginning needs is given back, and an idle connection stays small.
        let session = Box::pin(run_stream(config, stream, callbacks)).await?;
        watch((entrance, server), state, session).await
    }

    /// Learns from a balancer whose connection this is; `None` if it was cut.
    async fn named(&mut self) -> Result<Option<IpAddr>, ConnectionError> {
        let who = self.entrance.authenticator();
        let header = Box::pin(self.greeting.header());
        let header = waited(self.entrance, self.state, self.until, header).await;
        self.state.count_in(self.greeting.received.len());
        let (named, version) = match header {
            None => return Ok(None),
            Some(Ok(header)) => header,
            Some(Err(error)) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    self.state.cut(EndReason::ProxyHeader);
                }
                return Err(russh::Error::IO(error).into());
            }
        };
        self.note_header(version, "applied");
        if named == Named::Local {
            self.state.note_health_check();
        }
        let address = greeting::source(named, self.peer);
        if who.is_blocked(address) {
            self.state.cut(EndReason::Blocked);
            // The span names the listener.
            self.server.blocked(address, None);
            return Ok(None);
        }
        let source = Source {
            address,
            exempt: who.is_unthrottled(address),
        };
        if let Err(over) = self.state.named(source) {
            self.state.cut(EndReason::SourceLimit);
            self.server.refused(over, address, None);
            return Ok(None);
        }
        Ok(Some(address))
    }

    /// Exchanges version lines and reads the client's offer; `None` if the connection was cut.
    async fn greet(&mut self, skip_header: bool) -> Result<Option<CipherOffer>, ConnectionError> {
        let before = self.greeting.received.len();
        let mut skipped = false;
        let greeting = &mut self.greeting;
        let greeted = Box::pin(async {
            greeting.begin().await?;
            if skip_header {
                skipped = greeting.skip_header().await?;
            }
            greeting.offer().await
        });
        let offer = waited(self.entrance, self.state, self.until, greeted).await;
        if let Some(client) = hello::software(&self.greeting.received) {
            self.span.record("client", client);
        }
        let received = self.greeting.received.len();
        self.state.count_in(received.saturating_sub(before));
        if skipped {
            self.note_header(Version::V2, "ignored");
        }
        match offer {
            None => Ok(None),
            Some(Ok(offer)) => {
                if offer.is_some() {
                    self.state.hello_seen();
                }
                Ok(Some(offer.unwrap_or(CipherOffer::Full)))
            }
            Some(Err(error)) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    self.state.cut(EndReason::NotSsh);
                }
                Err(russh::Error::IO(error).into())
            }
        }
    }

    /// Says in every line of the connection what became of its header, as Transfer Family does.
    fn note_header(&self, version: Version, what: &str) {
        self.span.record("proxy_ip", field::display(self.peer));
        let name = match version {
            Version::V1 => "proxy_protocol_v1_header",
            Version::V2 => "proxy_protocol_v2_header",
        };
        self.span.record(name, what);
    }
}

/// Waits for what a client has to send, no longer than it may have; `None` if it was cut.
async fn waited<T>(
    entrance: &Entrance,
    state: &ConnectionState,
    until: Instant,
    sent: impl Future<Output = T>,
) -> Option<T> {
    let reason = tokio::select! {
        sent = timeout_at(until, sent) => match sent {
            Ok(sent) => return Some(sent),
            Err(_elapsed) => EndReason::HelloTimeout,
        },
        () = entrance.draining().cancelled() => EndReason::Draining,
        () = state.displaced() => EndReason::Displaced,
    };
    state.cut(reason);
    None
}

async fn watch(
    (entrance, server): (&Entrance, &SshServer),
    state: &ConnectionState,
    mut session: RunningSession<Callbacks>,
) -> Result<(), ConnectionError> {
    let handle = session.handle();
    let mut said_goodbye = false;
    loop {
        let now = server.clock().now();
        let pause = match due(&state.moments(), now, server.limits()) {
            Due::NotBefore(at) => at.saturating_duration_since(now),
            Due::Over(EndReason::Idle) => {
                state.conclude(EndReason::Idle);
                LINGER
            }
            Due::Over(reason) => {
                state.cut(reason);
                return session.await;
            }
            Due::Lingered => {
                state.sever();
                return session.await;
            }
        };
        if entrance.cutting().is_cancelled() {
            state.conclude(EndReason::DrainTimeout);
        } else if entrance.draining().is_cancelled() && state.channels_open() == 0 {
            state.conclude(EndReason::Draining);
        }
        if let Some(reason) = state.end().filter(|_| !said_goodbye) {
            said_goodbye = true;
            say_goodbye(state, &handle, reason).await;
            if reason == EndReason::Revoked {
                // It is not waited for: the user is to be out at once.
                let closed = timeout(REVOKED_PATIENCE, &mut session).await;
                state.sever();
                return match closed {
                    Ok(result) => result,
                    Err(_elapsed) => session.await,
                };
            }
            continue;
        }
        let revoked = state.end() == Some(EndReason::Revoked);
        tokio::select! {
            result = &mut session => return result,
            () = state.displaced() => {
                state.cut(EndReason::Displaced);
                return session.await;
            }
            () = sleep(pause) => {}
            () = state.revoked(), if !revoked => state.conclude(EndReason::Revoked),
            () = state.changed.notified() => {}
            () = entrance.draining().cancelled(), if !entrance.draining().is_cancelled() => {}
            () = entrance.cutting().cancelled(), if !entrance.cutting().is_cancelled() => {}
        }
    }
}

/// Sends the client a last message; from here on it has [`LINGER`].
async fn say_goodbye(state: &ConnectionState, handle: &Handle, reason: EndReason) {
    state.begin_closing();
    let (code, text) = match reason {
        EndReason::LoginRefused => (
            Disconnect::NoMoreAuthMethodsAvailable,
            "too many failed logins",
        ),
        EndReason::UserLimit => (
            Disconnect::TooManyConnections,
            "this user has too many connections: close some of them first",
        ),
        EndReason::Idle => (Disconnect::ByApplication, "idle for too long"),
        EndReason::Revoked => (Disconnect::ByApplication, "access was revoked"),
        // Of the whole gateway, or of this listener alone.
        EndReason::Draining | EndReason::DrainTimeout => {
            (Disconnect::ByApplication, "the gateway is closing this port: connect again later")
        }
        // These are cut without a word; one that comes here was cut just now.
        EndReason::NotSsh
        | EndReason::ProxyHeader
        | EndReason::SourceLimit
        | EndReason::Blocked
        | EndReason::HelloTimeout
        | EndReason::LoginGrace
        | EndReason::Displaced
        | EndReason::StalledOutput
        | EndReason::RekeyBeforeLogin
        // The client was told as it happened.
        | EndReason::WindowExceeded => return,
    };
    let telling = handle.disconnect(code, text.to_owned(), String::new());
    let patience = if reason == EndReason::Revoked {
        REVOKED_PATIENCE
    } else {
        LINGER
    };
    // The queue is full when the client takes nothing: then it cannot be told.
    if !matches!(timeout(patience, telling).await, Ok(Ok(()))) {
        tracing::debug!("the client did not get the reason for its disconnection");
    }
}

/// Writes the line about a connection's end; returns the reason.
fn log_end(
    server: &SshServer,
    state: &ConnectionState,
    result: &Result<(), ConnectionError>,
    source_ip: IpAddr,
) -> &'static str {
    let (reason, error) = match (state.end(), result) {
        (Some(end @ EndReason::ProxyHeader), Err(error)) => (end.as_str(), Some(error.to_string())),
        (Some(end), _) => (end.as_str(), None),
        (None, Ok(())) => (CLIENT_CLOSED, None),
        (None, Err(error)) if error.is_hang_up() => (CLIENT_CLOSED, None),
        (None, Err(error)) => match error.end_reason() {
            Some(end) => (end.as_str(), None),
            None => (PROTOCOL_ERROR, Some(error.to_string())),
        },
    };
    let (bytes_in, bytes_out) = state.bytes();
    let duration_ms = u64::try_from(state.age().as_millis()).unwrap_or(u64::MAX);
    if state.user.get().is_some() {
        tracing::info!(
            activity = "DISCONNECTED",
            reason,
            error,
            %source_ip,
            duration_ms,
            bytes_in,
            bytes_out,
            channels = state.channels_opened(),
            "disconnected"
        );
        return reason;
    }
    log_end_before_login(server, state, reason, error.as_deref(), source_ip);
    reason
}

fn log_end_before_login(
    server: &SshServer,
    state: &ConnectionState,
    reason: &'static str,
    error: Option<&str>,
    source_ip: IpAddr,
) {
    let (bytes_in, _) = state.bytes();
    let duration_ms = u64::try_from(state.age().as_millis()).unwrap_or(u64::MAX);
    match state.end() {
        // Anybody can cause these by thousands.
        Some(EndReason::Displaced) => {
            if let Some(unlogged) = server.line_due(Often::Displaced) {
                tracing::warn!(
                    reason,
                    %source_ip,
                    duration_ms,
                    unlogged,
                    "connection closed to make room for another network"
                );
            }
        }
        Some(EndReason::ProxyHeader) => {
            server.caps().without_proxy_header();
            if let Some(unlogged) = server.line_due(Often::ProxyHeader) {
                tracing::warn!(reason, error, proxy_ip = %source_ip, unlogged, "connection refused");
            }
        }
        // It was refused, and written down, like those over a limit at their accept.
        Some(EndReason::SourceLimit | EndReason::Blocked) => {}
        None if reason == CLIENT_CLOSED && (bytes_in == 0 || state.was_health_check()) => {
            server.caps().without_data();
            tracing::debug!(%source_ip, duration_ms, "connection closed without data");
        }
        Some(
            EndReason::NotSsh
            | EndReason::HelloTimeout
            | EndReason::LoginGrace
            | EndReason::LoginRefused
            | EndReason::UserLimit
            | EndReason::Idle
            | EndReason::StalledOutput
            | EndReason::RekeyBeforeLogin
            | EndReason::WindowExceeded
            | EndReason::Revoked
            | EndReason::Draining
            | EndReason::DrainTimeout,
        )
        | None => {
            if server.early_line_due(source_ip, reason) {
                tracing::info!(
                    reason,
                    error,
                    %source_ip,
                    duration_ms,
                    "connection closed before login"
                );
            }
        }
    }
}
