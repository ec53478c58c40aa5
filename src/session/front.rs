//! The fronts of a session: how requests come to it. SFTP packets on a channel are one, requests
//! that are typed already are the other; a protocol that is served over a session is one more.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::channel::Inbound;
use crate::sftp::{
    DecodeError, FrameError, Frames, HandleId, Message, Request, RequestId, Status, decode,
};

/// Where requests come from.
pub(crate) trait Front: Send {
    /// Waits for more of the client; `false`: it sends no more.
    fn more(&mut self) -> impl Future<Output = bool> + Send;

    /// Returns the next request of what came.
    fn next(&mut self) -> Result<Option<Incoming>, Broken>;

    /// Is cancelled when the client is gone, also while nothing is taken from it.
    fn gone(&self) -> CancellationToken;

    /// Returns the file of which the client said that it is not to be seen, whatever comes before
    /// that among its requests.
    fn withdrawn(&self) -> Option<HandleId> {
        None
    }
}

/// One message, understood as far as possible.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The client greets: VERSION is due.
    Init,
    Request(RequestId, Request),
    /// It cannot be understood, and gets this answer.
    Refused(RequestId, &'static str, Status),
    /// What was written to a file is not to be seen: its CLOSE fails.
    Withdrawn(HandleId),
}

/// What ends a session, since nothing that follows can be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("not an SFTP packet: {0}")]
    Frame(#[from] FrameError),
    #[error("a request before INIT")]
    BeforeInit,
    #[error("a request without a number")]
    NoId,
}

/// SFTP packets, in the bytes of a channel.
#[derive(Debug)]
pub(crate) struct SftpFront<I> {
    inbound: I,
    frames: Frames,
    greeted: bool,
}

impl<I: Inbound> SftpFront<I> {
    pub(crate) fn new(inbound: I) -> Self {
        Self {
            inbound,
            frames: Frames::default(),
            greeted: false,
        }
    }
}

impl<I: Inbound> Front for SftpFront<I> {
    async fn more(&mut self) -> bool {
        let bytes: Option<Bytes> = self.inbound.next().await;
        let more = bytes.is_some();
        self.frames.push(bytes.unwrap_or_default());
        more
    }

    fn next(&mut self) -> Result<Option<Incoming>, Broken> {
        let Some(frame) = self.frames.next_frame()? else {
            return Ok(None);
        };
        let incoming = match decode(frame) {
            Ok(Message::Init { .. }) => {
                self.greeted = true;
                Incoming::Init
            }
            Ok(Message::Request { .. }) if !self.greeted => return Err(Broken::BeforeInit),
            Ok(Message::Request { id, request }) => Incoming::Request(id, request),
            Err(DecodeError::BadRequest { id }) => {
                Incoming::Refused(id, "unreadable", Status::BAD_MESSAGE)
            }
            Err(DecodeError::UnknownType { id, kind }) => {
                tracing::debug!(kind, "unknown request type");
                Incoming::Refused(id, "unknown", Status::OP_UNSUPPORTED)
            }
            Err(DecodeError::NoId) => return Err(Broken::NoId),
        };
        Ok(Some(incoming))
    }

    fn gone(&self) -> CancellationToken {
        self.inbound.gone()
    }
}

/// Requests that are typed already.
#[derive(Debug)]
pub(crate) struct TypedFront {
    asked: mpsc::Receiver<Incoming>,
    next: Option<Incoming>,
    /// Of whoever is asked for.
    gone: CancellationToken,
    withdrawn: Withdrawn,
}

/// Where a conversation says which file is withdrawn.
pub(crate) type Withdrawn = Arc<Mutex<Option<HandleId>>>;

impl TypedFront {
    pub(crate) const fn new(
        asked: mpsc::Receiver<Incoming>,
        gone: CancellationToken,
        withdrawn: Withdrawn,
    ) -> Self {
        Self {
            asked,
            next: None,
            gone,
            withdrawn,
        }
    }
}

impl Front for TypedFront {
    async fn more(&mut self) -> bool {
        self.next = tokio::select! {
            // What was asked before is answered.
            biased;
            next = self.asked.recv() => next,
            () = self.gone.cancelled() => None,
        };
        self.next.is_some()
    }

    fn next(&mut self) -> Result<Option<Incoming>, Broken> {
        Ok(self.next.take())
    }

    fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    fn withdrawn(&self) -> Option<HandleId> {
        *self
            .withdrawn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
