//! What ends a command before its time.

/// Why nothing more can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client is gone, or sends no more where it has to.
    Gone,
    /// The session is over: the login expired or was revoked, or the gateway drains.
    Ended,
    /// The client does not speak the protocol.
    Protocol(&'static str),
    /// A file failed, and what the client would go on to send is too much to be thrown away.
    Abandoned,
}
