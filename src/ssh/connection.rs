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
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{Instrument as _, field};

use super::algorithms::VERSION;
use super::callbacks::{Callbacks, ConnectionError};
use super::caps::Admitted;
use super::hello::{self, CipherOffer, VersionLine};
use super::listener::Gatehouse;
use super::state::{ConnectionState, Due, EndReason, LINGER, due};
use super::stream::Stream;
use crate::auth::{Authenticator, ConnectionAuth};

/// How long a client's key exchange offer is waited for after its version line; some wait for
/// ours first.
const OFFER_WAIT: Duration = Duration::from_millis(300);
/// What a client whose user was revoked has to hear so, and again to close its side.
const REVOKED_PATIENCE: Duration = Duration::from_millis(500);
/// Asked of the socket at once while it greets: an offer is about 1.5 KiB.
const GREETING_BYTES: usize = 2 * 1024;

/// Serves one connection to its end.
pub(super) async fn run(
    gatehouse: Arc<Gatehouse>,
    authenticator: Arc<Authenticator>,
    tcp: TcpStream,
    peer: SocketAddr,
    admitted: Admitted,
    session_id: Box<str>,
) {
    let source_ip = peer.ip().to_canonical();
    let span = tracing::info_span!(
        "connection",
        connection_id = gatehouse.next_connection_id(),
        session_id = &*session_id,
        user = field::Empty,
    );
    let state = Arc::new(ConnectionState::new(
        Arc::clone(gatehouse.clock()),
        Arc::clone(gatehouse.limits()),
        admitted,
    ));
    let _gone_at_last = state.gone.clone().drop_guard();
    let auth = ConnectionAuth::new(authenticator, source_ip, session_id);
    let callbacks = Callbacks::new(
        Arc::clone(&gatehouse),
        Arc::clone(&state),
        auth,
        span.clone(),
    );
    async {
        let result = converse(&gatehouse, &state, tcp, callbacks).await;
        gatehouse.count_end(log_end(&state, &result, source_ip));
    }
    .instrument(span)
    .await;
}

async fn converse(
    gatehouse: &Gatehouse,
    state: &Arc<ConnectionState>,
    mut tcp: TcpStream,
    callbacks: Callbacks,
) -> Result<(), ConnectionError> {
    let mut received = Vec::with_capacity(GREETING_BYTES);
    let offer = tokio::select! {
        offer = timeout(
            gatehouse.limits().hello_timeout,
            Box::pin(greet(&mut tcp, &mut received)),
        ) => offer,
        () = gatehouse.draining().cancelled() => {
            state.cut(EndReason::Draining);
            return Ok(());
        }
    };
    let offer = match offer {
        Ok(Ok(offer)) => offer,
        Ok(Err(error)) => {
            if error.kind() == io::ErrorKind::InvalidData {
                state.cut(EndReason::NotSsh);
            }
            return Err(russh::Error::IO(error).into());
        }
        Err(_elapsed) => {
            state.cut(EndReason::HelloTimeout);
            return Ok(());
        }
    };
    state.count_in(received.len());
    if offer.is_some() {
        state.hello_seen();
    }
    let config = gatehouse
        .offers()
        .choose(offer.unwrap_or(CipherOffer::Full));
    let sent = VERSION.len() + LINE_END.len();
    let stream = Stream::new(tcp, Arc::clone(state), received, sent);
    // Boxed: what only the beginning needs is given back, and an idle connection stays small.
    let session = Box::pin(run_stream(config, stream, callbacks)).await?;
    watch(gatehouse, state, session).await
}

const LINE_END: &[u8] = b"\r\n";

/// Exchanges version lines and reads the client's offer; `None` if it holds it back.
async fn greet(tcp: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<CipherOffer>> {
    tcp.write_all(&[VERSION.as_bytes(), LINE_END].concat())
        .await?;
    let line_end = loop {
        match hello::version_line(received) {
            VersionLine::EndsAt(end) => break end,
            VersionLine::Unfinished => read_more(tcp, received).await?,
            VersionLine::Foreign => return Err(io::ErrorKind::InvalidData.into()),
        }
    };
    let offer = async {
        loop {
            let packets = received.get(line_end..).unwrap_or_default();
            match hello::cipher_offer(packets) {
                Some(offer) => break io::Result::Ok(offer),
                None => read_more(tcp, received).await?,
            }
        }
    };
    timeout(OFFER_WAIT, offer).await.ok().transpose()
}

async fn read_more(tcp: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<()> {
    received.reserve(GREETING_BYTES);
    match tcp.read_buf(received).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn watch(
    gatehouse: &Gatehouse,
    state: &ConnectionState,
    mut session: RunningSession<Callbacks>,
) -> Result<(), ConnectionError> {
    let handle = session.handle();
    let mut said_goodbye = false;
    loop {
        let now = gatehouse.clock().now();
        let pause = match due(&state.moments(), now, gatehouse.limits()) {
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
        if gatehouse.cutting().is_cancelled() {
            state.conclude(EndReason::DrainTimeout);
        } else if gatehouse.draining().is_cancelled() && state.channels_open() == 0 {
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
            () = sleep(pause) => {}
            () = state.revoked(), if !revoked => state.conclude(EndReason::Revoked),
            () = state.changed.notified() => {}
            () = gatehouse.draining().cancelled(), if !gatehouse.draining().is_cancelled() => {}
            () = gatehouse.cutting().cancelled(), if !gatehouse.cutting().is_cancelled() => {}
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
        EndReason::Idle => (Disconnect::ByApplication, "idle for too long"),
        EndReason::Revoked => (Disconnect::ByApplication, "access was taken back"),
        EndReason::Draining | EndReason::DrainTimeout => {
            (Disconnect::ByApplication, "the gateway is restarting")
        }
        // These are cut without a word; one that comes here was cut just now.
        EndReason::NotSsh
        | EndReason::HelloTimeout
        | EndReason::LoginGrace
        | EndReason::StalledOutput
        | EndReason::RekeyBeforeLogin
        | EndReason::Misbehaved => return,
    };
    let telling = handle.disconnect(code, text.to_owned(), String::new());
    let patience = if reason == EndReason::Revoked {
        REVOKED_PATIENCE
    } else {
        LINGER
    };
    // The queue is full when the client takes nothing: then it cannot be told.
    if !matches!(timeout(patience, telling).await, Ok(Ok(()))) {
        tracing::debug!("the client could not be told why it is disconnected");
    }
}

/// Writes the line about a connection's end; returns the reason.
fn log_end(
    state: &ConnectionState,
    result: &Result<(), ConnectionError>,
    source_ip: IpAddr,
) -> &'static str {
    let (reason, error) = match (state.end(), result) {
        (Some(end), _) => (end.as_str(), None),
        (None, Ok(())) => ("client-closed", None),
        (None, Err(error)) if error.is_hang_up() => ("client-closed", None),
        (None, Err(error)) => match error.end_reason() {
            Some(end) => (end.as_str(), None),
            None => ("protocol-error", Some(error.to_string())),
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
    } else {
        tracing::info!(
            reason,
            error,
            %source_ip,
            duration_ms,
            "connection closed before login"
        );
    }
    reason
}
