//! A session without a protocol around it: requests in, replies out, both as typed values.

use std::sync::{Arc, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::actor;
use super::admission::admit;
use super::environment::Environment;
use super::front::{Incoming, TypedFront, Withdrawn};
use super::out::{Out, Said};
use super::user_sessions::UserSession;
use super::writer;
use crate::auth::AuthenticatedUser;
use crate::budget::{Gate, Share};
use crate::seldom::Seldom;
use crate::sftp::{HandleId, Reply, Request, RequestId, Status};

/// One end of a conversation with a session, which ends when it is dropped.
#[derive(Debug)]
pub struct TypedSession {
    asks: mpsc::Sender<Incoming>,
    said: mpsc::UnboundedReceiver<Said>,
    next: u32,
    /// For the person, and not shown yet.
    sentences: Vec<String>,
    withdrawn: Withdrawn,
}

/// The way to withdraw one file at once, also while requests wait.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    handle: HandleId,
    withdrawn: Withdrawn,
}

/// The other end.
struct Ends {
    asked: mpsc::Receiver<Incoming>,
    says: mpsc::UnboundedSender<Said>,
    withdrawn: Withdrawn,
}

/// A session for somebody who is served over it.
#[derive(Debug)]
pub struct Admitted {
    pub session: TypedSession,
    /// For what is held for the client beside the session.
    pub account: Share,
    /// The turns of the user's checksums.
    pub sums: Arc<Semaphore>,
    /// Bounds the user's lines in the log.
    pub(crate) lines: Arc<Seldom>,
}

/// Begins a session for a user of this process. The future serves it.
pub fn open(
    environment: Environment,
    user: AuthenticatedUser,
) -> (TypedSession, impl Future<Output = ()> + Send) {
    let (session, ends) = ends();
    let serving = async move {
        let Ok(user_session) = admit(&environment, &user) else {
            return;
        };
        // Whoever asks in this process stays until it has its answers.
        let (gate, gone) = (Arc::default(), CancellationToken::new());
        serve(environment, user, user_session, gate, gone, ends).await;
    };
    (session, serving)
}

/// Begins a session for a client of another protocol, whose end `gone` tells. The future serves it,
/// and closes the connection's `gate` while the session holds too much.
///
/// # Errors
/// The user may have no session; the sentence is for the person.
pub fn admitted(
    environment: Environment,
    user: AuthenticatedUser,
    gate: Arc<Gate>,
    gone: CancellationToken,
) -> Result<(Admitted, impl Future<Output = ()> + Send), &'static str> {
    let user_session = admit(&environment, &user)?;
    let (session, ends) = ends();
    let admitted = Admitted {
        session,
        account: user_session.memory().account.clone(),
        sums: Arc::clone(user_session.sums()),
        lines: Arc::clone(user_session.failures()),
    };
    let serving = serve(environment, user, user_session, gate, gone, ends);
    Ok((admitted, serving))
}

fn ends() -> (TypedSession, Ends) {
    let (asks, asked) = mpsc::channel(1);
    let (says, said) = mpsc::unbounded_channel();
    let withdrawn = Withdrawn::default();
    let session = TypedSession {
        asks,
        said,
        next: 0,
        sentences: Vec::new(),
        withdrawn: Arc::clone(&withdrawn),
    };
    let ends = Ends {
        asked,
        says,
        withdrawn,
    };
    (session, ends)
}

async fn serve(
    environment: Environment,
    user: AuthenticatedUser,
    user_session: UserSession,
    gate: Arc<Gate>,
    gone: CancellationToken,
    ends: Ends,
) {
    let out = Arc::new(Out::typed(user_session.memory().account.clone(), ends.says));
    let writing = writer::finished(Arc::clone(&out));
    let front = TypedFront::new(ends.asked, gone, ends.withdrawn);
    actor::run(environment, user, user_session, gate, front, out, writing).await;
}

impl TypedSession {
    /// Asks, without waiting for the answer; it waits until the session takes the request.
    ///
    /// # Errors
    /// [`ENDED`].
    pub async fn send(&mut self, request: Request) -> Result<RequestId, Status> {
        let id = RequestId(self.next);
        self.next = self.next.wrapping_add(1);
        self.put(Incoming::Request(id, request)).await?;
        Ok(id)
    }

    /// Says that what was written to a file is not to be seen: its CLOSE, which is still due,
    /// fails.
    ///
    /// # Errors
    /// [`ENDED`].
    pub async fn withdraw(&self, handle: HandleId) -> Result<(), Status> {
        self.withdrawal(handle).withdraw();
        self.put(Incoming::Withdrawn(handle)).await
    }

    /// Returns a way to withdraw a file without waiting. It holds if the client is gone before the
    /// session hears more of the file.
    #[must_use]
    pub fn withdrawal(&self, handle: HandleId) -> Withdrawal {
        Withdrawal {
            handle,
            withdrawn: Arc::clone(&self.withdrawn),
        }
    }

    async fn put(&self, incoming: Incoming) -> Result<(), Status> {
        self.asks.send(incoming).await.map_err(|_| ENDED)
    }

    /// Waits for the next answer; `None`: the session ended.
    pub async fn hear(&mut self) -> Option<Said> {
        loop {
            match self.said.recv().await? {
                Said::Sentence(text) => {
                    if self.sentences.len() < SENTENCES_KEPT_MAX {
                        self.sentences.push(text);
                    }
                }
                said @ (Said::Reply(..) | Said::Data(..)) => return Some(said),
            }
        }
    }

    /// Returns an answer that is there already.
    pub fn heard(&mut self) -> Option<Said> {
        // One that is there comes at once, however much was taken before it.
        tokio::task::unconstrained(self.hear())
            .now_or_never()
            .flatten()
    }

    /// Takes what the session said to the person.
    pub fn sentences(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sentences)
    }

    /// Asks, and waits for the answer; answers to what was asked before are passed over.
    ///
    /// # Errors
    /// The status of a refusal; [`ENDED`] if the session is gone.
    pub async fn ask(&mut self, request: Request) -> Result<Said, Status> {
        let asked = self.send(request).await?;
        loop {
            match self.hear().await.ok_or(ENDED)? {
                Said::Reply(id, Reply::Status(status)) if id == asked && status != Status::OK => {
                    return Err(status);
                }
                said @ (Said::Reply(id, _) | Said::Data(id, _)) if id == asked => return Ok(said),
                Said::Reply(..) | Said::Data(..) | Said::Sentence(_) => {}
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

impl Withdrawal {
    /// Begins with a file of no session, for tests.
    #[cfg(test)]
    pub(crate) fn of(handle: HandleId) -> Self {
        let withdrawn = Withdrawn::default();
        Self { handle, withdrawn }
    }

    /// Says that the file is not to be seen.
    pub fn withdraw(&self) {
        *self.cell() = Some(self.handle);
    }

    /// Forgets that it was withdrawn: the handle stands for nothing any more.
    pub fn forget(&self) {
        let mut withdrawn = self.cell();
        if *withdrawn == Some(self.handle) {
            *withdrawn = None;
        }
    }

    /// Returns the file that was withdrawn, for tests.
    #[cfg(test)]
    pub(crate) fn withdrawn(&self) -> Option<HandleId> {
        *self.cell()
    }

    fn cell(&self) -> MutexGuard<'_, Option<HandleId>> {
        self.withdrawn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked of a session that is over.
pub const ENDED: Status = Status::failure("The session ended");
const SENTENCES_KEPT_MAX: usize = 8;
