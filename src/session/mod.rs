//! ONE USER ON ONE CHANNEL: an SFTP session from its first packet to its last.

mod act;
mod actor;
mod admission;
mod answers;
mod calls;
mod carrying;
mod changed;
mod changes;
mod channel;
mod check_request;
mod checking;
mod checksums;
mod commit;
mod copied;
mod copy_request;
mod copying;
mod deletion;
mod described;
mod endings;
mod environment;
mod events;
mod expiry;
mod files;
mod fresh;
mod front;
mod gathered;
mod guessed;
mod kept;
mod known;
mod list;
mod listed;
mod listed_times;
mod listing;
mod looking;
mod moving;
mod names;
mod onward;
mod open_file;
mod opening;
mod order;
mod out;
mod partial;
mod paths;
mod plan;
mod pressure;
mod progress;
mod reading;
mod recovery;
mod removing;
mod rename;
mod renamed;
mod requests;
mod scene;
mod seen_sums;
mod shell;
mod status;
mod stored_time;
mod sums;
mod times;
mod typed;
mod unsettled;
mod untold;
mod upload_records;
mod user_sessions;
mod work;
mod writer;
mod writing;

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::AuthenticatedUser;
use crate::budget::Gate;

pub use self::changes::Changes;
pub use self::channel::{Gone, Inbound, Outbound};
pub use self::environment::{Environment, summing};
pub use self::kept::Kept;
pub use self::listed_times::ListedTimes;
pub use self::out::Said;
pub use self::recovery::Recovery;
pub(crate) use self::status::CHANGED;
pub use self::typed::{Admitted, ENDED, TypedSession, Withdrawal, admitted, open};
pub use self::unsettled::Unsettled;
pub use self::upload_records::{RecordSettings, UploadRecords};
pub use self::user_sessions::UserSessions;

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
    let user_session = match admit(&environment, &user) {
        Ok(user_session) => user_session,
        Err(sentence) => {
            let sentence = Bytes::from_static(sentence.as_bytes());
            // Whether it is heard or not, the session is over.
            outbound.send_stderr(sentence).await.unwrap_or_default();
            return;
        }
    };
    tracing::debug!(channel, "sftp session begins");
    let out = Arc::new(Out::new(user_session.memory().account.clone()));
    let writing = writer::write(Arc::clone(&out), outbound);
    let front = SftpFront::new(inbound);
    actor::run(environment, user, user_session, gate, front, out, writing).await;
    tracing::debug!(channel, "sftp session ended");
}
