//! A channel as a session sees it: bytes that come, bytes that go.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// What the client sends, as it arrives.
pub trait Inbound: Send + 'static {
    /// Returns the next bytes, or `None` when the client sends no more.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;

    /// Is cancelled when the channel or its connection is gone, also while nothing is taken from
    /// it.
    fn gone(&self) -> CancellationToken;

    /// Returns the next bytes like [`Self::next`]; the client gets no credit for them yet.
    fn early(&mut self) -> impl Future<Output = Option<Bytes>> + Send {
        self.next()
    }

    /// Gives the client credit for so many of the bytes that came early.
    fn used(&mut self, _bytes: usize) {}

    /// Notes that so many of them are thrown away. The client gets no credit for those.
    fn dropped(&mut self, _bytes: usize) {}

    /// Throws away what comes after the last bytes, until the client is gone.
    fn rest(&mut self) -> impl Future<Output = ()> + Send {
        let gone = self.gone();
        async move { gone.cancelled().await }
    }
}

/// What goes to the client.
pub trait Outbound: Send + 'static {
    /// Sends bytes, waiting for the client's window.
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends text to the channel's standard error, for people.
    fn send_stderr(&mut self, text: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Notes that something is done for the client though nothing is sent: it is not idle.
    fn is_under_way(&self) {}
}

/// The channel or its connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel is gone")]
pub struct Gone;
