//! What is told of a finished attempt to log in.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use super::AuthMethod;

/// Hears of every finished attempt, for metrics and lock-outs.
pub trait AttemptObserver: Debug + Send + Sync + 'static {
    /// Is called once per attempt, before the client is answered; must not block.
    fn attempt_finished(&self, attempt: &AttemptRecord);
}

/// One finished attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The name the client gave, control characters escaped.
    pub user: Box<str>,
    pub method: AuthMethod,
    pub source_ip: IpAddr,
    pub session_id: Box<str>,
    pub verdict: AttemptVerdict,
    /// Stable word for why, such as `no-usable-public-key`; empty for *allowed*.
    pub reason: &'static str,
    /// For people: never a secret, never for the client.
    pub detail: Option<Box<str>>,
    /// The question that was asked; absent when none was.
    pub request_id: Option<Box<str>>,
    /// `SHA256:…`, for keys.
    pub fingerprint: Option<Box<str>>,
    /// From the answer of an allowed user.
    pub role: Option<Box<str>>,
    pub duration: Duration,
}

/// The four verdicts, for the log and the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptVerdict {
    Allowed,
    Denied,
    Invalid,
    Unavailable,
}

impl AttemptVerdict {
    /// Returns the word of the log and the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}
