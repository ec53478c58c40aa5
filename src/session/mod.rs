//! ONE USER ON ONE CHANNEL: an SFTP session from its first packet to its last.

mod act;
mod actor;
mod answers;
mod commit;
mod copied;
mod door;
mod events;
mod expiry;
mod files;
mod front;
mod known;
mod list;
mod listing;
mod moving;
mod names;
mod opening;
mod order;
mod out;
mod paths;
mod plan;
mod pressure;
mod progress;
mod reading;
mod rename;
mod requests;
mod seats;
mod shell;
mod status;
mod work;
mod writing;

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::auth::AuthenticatedUser;
use crate::budget::{Budget, Gate};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::reaper::Reaper;
use crate::storage::Nonces;

pub use self::door::{Door, Said, open};
use self::front::SftpFront;
use self::out::Out;
use self::seats::Seat;
pub use self::seats::Seats;

/// What the client sends, as it arrives.
pub trait Inbound: Send + 'static {
    /// Returns the next bytes, or `None` when the client sends no more.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;

    /// Is cancelled when the channel or its connection is gone, also while nothing is taken from
    /// it.
    fn gone(&self) -> CancellationToken;
}

/// What goes to the client.
pub trait Outbound: Send + 'static {
    /// Sends bytes, waiting for the client's window.
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends text to the channel's standard error, for people.
    fn send_stderr(&mut self, text: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;
}

/// The channel or its connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel is gone")]
pub struct Gone;

/// What a session needs of the process.
#[derive(Debug, Clone)]
pub struct Environment {
    pub budget: Arc<Budget>,
    pub reaper: Reaper,
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    /// Counts the sessions of each user.
    pub seats: Seats,
    pub nonces: Nonces,
    /// Cancelled when the gateway drains: sessions end when nothing is open.
    pub drain: CancellationToken,
}

/// Serves one channel until the client is done, the channel is gone, or the gateway drains.
///
/// `gate` belongs to the connection: the session closes it when it holds too many bytes.
pub async fn serve<I: Inbound, O: Outbound>(
    environment: Environment,
    user: AuthenticatedUser,
    channel: u32,
    gate: Arc<Gate>,
    inbound: I,
    mut outbound: O,
) {
    let seat = match admit(&environment, &user) {
        Ok(seat) => seat,
        Err(sentence) => {
            let sentence = Bytes::from_static(sentence.as_bytes());
            // Whether it is heard or not, the session is over.
            outbound.send_stderr(sentence).await.unwrap_or_default();
            return;
        }
    };
    tracing::debug!(channel, "sftp session begins");
    let out = Arc::new(Out::new(seat.memory().account.clone()));
    let writing = out::write(Arc::clone(&out), outbound);
    let front = SftpFront::new(inbound);
    actor::run(environment, user, seat, gate, front, out, writing).await;
    tracing::debug!(channel, "sftp session ended");
}

/// Gives a user a place for one more session, or says why there is none.
fn admit(environment: &Environment, user: &AuthenticatedUser) -> Result<Seat, &'static str> {
    let (config, clock) = (user.config(), &*environment.clock);
    let failures = environment.seats.failures(config);
    if expiry::is_over(config, clock.wall()) {
        if let Some(unlogged) = shell::due(&failures, clock) {
            tracing::warn!(target: "portcullis::audit", unlogged, "session refused: the identity provider's answer has expired");
        }
        return Err("the login is over its time: log in again\n");
    }
    environment.seats.take(config, clock.now()).ok_or_else(|| {
        if let Some(unlogged) = shell::due(&failures, clock) {
            tracing::warn!(target: "portcullis::audit", max = config.limits.sessions, unlogged, "session refused: the user has as many as allowed");
        }
        "too many sessions: close another one first\n"
    })
}
