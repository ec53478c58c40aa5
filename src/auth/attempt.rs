//! What is told of a finished attempt to log in.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use super::AuthMethod;
use super::throttle::Lockout;
use crate::idp::Warning;
use crate::idp::warning::words;
use crate::limits;
use crate::refusal::{Refusal, Verdict, verdict_word};

/// Where the audit lines go.
const AUDIT_TARGET: &str = "portcullis::audit";

/// Hears of every finished attempt, for metrics and lock-outs.
pub trait AttemptObserver: Debug + Send + Sync + 'static {
    /// Is called once per attempt, before the client is answered; must not block.
    fn attempt_finished(&self, attempt: &AttemptRecord);

    /// Is called when somebody is locked out from now on; must not block.
    fn locked_out(&self, lockout: Lockout);
}

/// One finished attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The name the client gave, control characters escaped.
    pub user: Box<str>,
    pub method: AuthMethod,
    pub source_ip: IpAddr,
    pub session_id: Box<str>,
    /// `None`: the user is in.
    pub refusal: Option<Refusal>,
    /// The question that was asked; absent when none was.
    pub request_id: Option<Box<str>>,
    /// `SHA256:…`, for keys; several with commas between them.
    pub fingerprint: Option<Box<str>>,
    /// Which provider let the user in, or refused, the only one's name being empty; absent when
    /// none was asked.
    pub provider: Option<Box<str>>,
    /// From the answer of an allowed user.
    pub role: Option<Box<str>>,
    /// What was odd in the answer but tolerated.
    pub warnings: Vec<Warning>,
    pub duration: Duration,
}

impl AttemptRecord {
    /// Returns the word of the log and the metric.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        verdict_word(self.refusal.as_ref())
    }

    /// Writes the one audit line of the attempt, as loud as its verdict.
    pub(super) fn log(&self) {
        let refusal = self.refusal.as_ref();
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    target: AUDIT_TARGET,
                    user = &*self.user,
                    method = self.method.as_str(),
                    source_ip = %self.source_ip,
                    session_id = &*self.session_id,
                    verdict = self.verdict(),
                    reason = refusal.map(|refusal| refusal.reason.as_str()),
                    detail = refusal.and_then(|refusal| refusal.detail.as_deref()),
                    request_id = self.request_id.as_deref(),
                    fingerprint = self.fingerprint.as_deref(),
                    provider = self.provider.as_deref().filter(|name| !name.is_empty()),
                    role = self.role.as_deref(),
                    warnings = (!self.warnings.is_empty()).then(|| words(&self.warnings).join(",")),
                    duration_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
                    $text
                )
            };
        }
        match refusal.map(Refusal::verdict) {
            None => line!(info, "login allowed"),
            Some(Verdict::Denied) => line!(info, "login refused"),
            Some(Verdict::Invalid | Verdict::Unavailable) => line!(warn, "login refused"),
        }
    }
}

/// Makes a name fit for a line of the log, whatever the client sent.
pub(super) fn loggable(user: &str) -> Box<str> {
    let mut text = String::new();
    for c in user.chars().take(limits::USER_NAME_BYTES_MAX) {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text.into()
}
