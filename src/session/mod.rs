//! ONE USER ON ONE CHANNEL: an SFTP session from its first packet to its last.

mod act;
mod actor;
mod admission;
mod answers;
mod calls;
mod channel;
mod checksums;
mod commit;
mod copied;
mod copying;
mod deletion;
mod door;
mod endings;
mod environment;
mod events;
mod expiry;
mod files;
mod fresh;
mod front;
mod kept;
mod known;
mod list;
mod listed;
mod listing;
mod looking;
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
mod removing;
mod rename;
mod requests;
mod scene;
mod seats;
mod shell;
mod status;
mod untold;
mod work;
mod writing;

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::AuthenticatedUser;
use crate::budget::Gate;

pub use self::channel::{Gone, Inbound, Outbound};
pub use self::door::{Door, open};
pub use self::environment::Environment;
pub use self::kept::Kept;
pub use self::out::Said;
pub use self::seats::Seats;

use self::admission::admit;
use self::front::SftpFront;
use self::out::Out;

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
