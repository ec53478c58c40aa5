//! Why there is no answer: the one table from that to the reason of a refused login.

use std::time::Duration;

use super::answer::Fault;
use crate::causes::worded;
use crate::idp::wire;
use crate::refusal::{Reason, Refusal};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent: there was no connection in this time.
    ConnectTimeout(Duration),
    /// Nothing was sent: there was no connection.
    Connect(String),
    /// The connection broke before an answer began; the request may have arrived.
    Lost(String),
    /// The connection broke in the middle of the answer.
    Broken(String),
    Answer(Fault),
    /// The body is compressed.
    Encoded,
}

impl Failure {
    /// Returns what it means for a login.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        match self {
            Self::ConnectTimeout(patience) => {
                let detail = format!("no connection within {} ms", patience.as_millis());
                Reason::ConnectTimeout.because(&detail)
            }
            Self::Connect(detail) => Reason::Connect.because(&worded(detail)),
            Self::Lost(detail) | Self::Broken(detail) => Reason::Transport.because(&detail),
            Self::Answer(fault @ (Fault::HeadTooLong | Fault::BodyTooLong)) => {
                Reason::AnswerTooLarge.because(&fault.to_string())
            }
            Self::Answer(fault @ (Fault::NotHttp | Fault::Framing(_) | Fault::Cut)) => {
                Reason::Transport.because(&fault.to_string())
            }
            Self::Encoded => wire::encoded("it has a Content-Encoding"),
        }
    }
}
