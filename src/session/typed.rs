//! A session without a protocol around it: requests in, replies out, both as typed values.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::actor;
use super::admission::admit;
use super::environment::Environment;
use super::front::TypedFront;
use super::out::{Out, Said};
use crate::auth::AuthenticatedUser;
use crate::budget::Gate;
use crate::sftp::{HandleId, Reply, Request, RequestId, Status};

/// One end of a conversation with a session, which ends when it is dropped.
#[derive(Debug)]
pub struct TypedSession {
    asks: mpsc::Sender<(RequestId, Request)>,
    said: mpsc::UnboundedReceiver<Said>,
    next: u32,
}

/// Begins a session for a user of this process. The future serves it.
pub fn open(
    environment: Environment,
    user: AuthenticatedUser,
) -> (TypedSession, impl Future<Output = ()> + Send) {
    let (asks, asked) = mpsc::channel(1);
    let (says, said) = mpsc::unbounded_channel();
    let serving = async move {
        let Ok(user_session) = admit(&environment, &user) else {
            return;
        };
        let out = Arc::new(Out::typed(user_session.memory().account.clone(), says));
        let finished = Arc::clone(&out);
        let writing = async move { finished.is_finished().await };
        let (gate, front) = (Arc::new(Gate::default()), TypedFront::new(asked));
        actor::run(environment, user, user_session, gate, front, out, writing).await;
    };
    let session = TypedSession {
        asks,
        said,
        next: 0,
    };
    (session, serving)
}

impl TypedSession {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The status of a refusal; a failure if the session is gone.
    pub async fn ask(&mut self, request: Request) -> Result<Said, Status> {
        let id = RequestId(self.next);
        self.next = self.next.wrapping_add(1);
        let gone = Status::failure("The session ended");
        self.asks.send((id, request)).await.map_err(|_| gone)?;
        loop {
            match self.said.recv().await.ok_or(gone)? {
                Said::Sentence(_) => {}
                Said::Reply(_, Reply::Status(status)) if status != Status::OK => {
                    return Err(status);
                }
                said @ (Said::Reply(..) | Said::Data(..)) => return Ok(said),
            }
        }
    }

    /// Asks for a handle.
    ///
    /// # Errors
    /// The status of a refusal.
    pub async fn open(&mut self, request: Request) -> Result<HandleId, Status> {
        match self.ask(request).await? {
            Said::Reply(_, Reply::Handle(handle)) => Ok(handle),
            Said::Reply(..) | Said::Data(..) | Said::Sentence(_) => Err(Status::FAILURE),
        }
    }
}
