//! How things end that are counted.

use prometheus_client::metrics::gauge::Gauge;

/// Whether the memory of answers could help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    Hit,
    Miss,
    /// An older answer stood in while the provider was unavailable.
    Stale,
}

/// A question that is being asked.
#[derive(Debug)]
pub struct UnderWay(pub(super) Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let _ = self.0.dec();
    }
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEnd {
    /// An upload is durable; a download was read to its end.
    Completed,
    /// The client closed or left before the end.
    Abandoned,
    Failed,
}

/// How a move ended that took a turn of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveEnd {
    Done,
    Failed,
    /// The user's access was taken back, or had its end.
    Stopped,
}

/// What became of an upload that nobody will complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    Done,
    /// Left to the bucket's lifecycle rule.
    GivenUp,
}
