//! What ends the SSH library's loop, and the word that we have for it.

use std::io;

use super::state::EndReason;

/// Ends the library's loop.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error("the connection was cut")]
    Cut,
}

impl ConnectionError {
    /// Says whether the client simply went away.
    pub(super) fn is_hang_up(&self) -> bool {
        match self {
            Self::Ssh(russh::Error::IO(error)) => matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
            ),
            Self::Ssh(error) => matches!(error, russh::Error::Disconnect | russh::Error::HUP),
            Self::Cut => true,
        }
    }

    /// Names what the library ended the connection for, where we have a word for it.
    pub(super) fn end_reason(&self) -> Option<EndReason> {
        match self {
            // The kernel gave up, having waited as long as we would for the client to take output.
            Self::Ssh(russh::Error::IO(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Some(EndReason::StalledOutput)
            }
            Self::Ssh(russh::Error::RekeyBeforeLogin) => Some(EndReason::RekeyBeforeLogin),
            Self::Ssh(_) | Self::Cut => None,
        }
    }
}
