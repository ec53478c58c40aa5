//! SFTP as the front of a session: bytes of the channel in, requests out.

use bytes::Bytes;

use crate::sftp::{DecodeError, Frames, Message, Request, RequestId, Status, decode};

/// Understands what the client sends.
#[derive(Debug, Default)]
pub(crate) struct SftpFront {
    frames: Frames,
    greeted: bool,
}

/// One packet, understood as far as possible.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The client greets: VERSION is due.
    Init,
    Request(RequestId, Request),
    /// It cannot be understood, and gets this answer.
    Refused(RequestId, &'static str, Status),
}

/// What ends a session, since nothing that follows can be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("not an SFTP packet: {0}")]
    Frame(#[from] crate::sftp::FrameError),
    #[error("a request before INIT")]
    BeforeInit,
    #[error("a request without a number")]
    NoId,
}

impl SftpFront {
    /// Takes what came.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.frames.push(bytes);
    }

    /// Returns the next packet, if it is complete.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Broken> {
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
}
