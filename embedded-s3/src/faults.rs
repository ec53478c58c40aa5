//! Scripted faults: what goes wrong, with which request, how often.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use s3s::{Body, StdError};
use tokio::sync::watch;

use crate::alteration::Alteration;
use crate::request_log::RequestRecord;

/// A fault waiting for the requests it applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The operation it applies to, such as `PutObject`; none for any.
    pub operation: Option<String>,
    /// The bucket it applies to; none for any.
    pub bucket: Option<String>,
    /// A text the key, or the prefix of a listing, must contain; none for any.
    pub key_contains: Option<String>,
    /// The session token it must be signed with; none for any or none.
    pub session_token: Option<String>,
    /// Whether it applies only to requests that name a part.
    pub of_parts: bool,
    /// How many matching requests pass unharmed first.
    pub skip: u32,
    /// How many requests it then applies to.
    pub times: u32,
    /// How many matching requests pass unharmed between two that it applies to.
    pub spares: u32,
    /// What happens to them.
    pub action: Action,
}

impl Fault {
    /// Returns a fault that strikes the next request of `operation`, once.
    pub fn on(operation: &str, action: Action) -> Self {
        Self {
            operation: Some(operation.to_owned()),
            ..Self::any(action)
        }
    }

    /// Returns a fault that strikes the next request of any kind, once.
    pub fn any(action: Action) -> Self {
        Self {
            operation: None,
            bucket: None,
            key_contains: None,
            session_token: None,
            of_parts: false,
            skip: 0,
            times: 1,
            spares: 0,
            action,
        }
    }

    /// Limits the fault to a bucket.
    #[must_use]
    pub fn in_bucket(self, bucket: &str) -> Self {
        Self {
            bucket: Some(bucket.to_owned()),
            ..self
        }
    }

    /// Limits the fault to keys, or prefixes of listings, that contain `text`.
    #[must_use]
    pub fn key_containing(self, text: &str) -> Self {
        Self {
            key_contains: Some(text.to_owned()),
            ..self
        }
    }

    /// Limits the fault to requests that are signed with a session token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self {
            session_token: Some(token.to_owned()),
            ..self
        }
    }

    /// Limits the fault to requests that name a part.
    #[must_use]
    pub fn of_parts(self) -> Self {
        Self {
            of_parts: true,
            ..self
        }
    }

    /// Lets the first `skip` matching requests pass.
    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Strikes `times` times; `u32::MAX` is for good.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Lets `spares` matching requests pass after each one that it strikes.
    #[must_use]
    pub fn sparing(self, spares: u32) -> Self {
        Self { spares, ..self }
    }

    fn matches(&self, request: &RequestRecord) -> bool {
        let operation = |operation: &String| *operation == request.operation;
        let name = request.prefix.as_ref().unwrap_or(&request.key);
        self.operation.as_ref().is_none_or(operation)
            && self
                .bucket
                .as_ref()
                .is_none_or(|bucket| *bucket == request.bucket)
            && self
                .key_contains
                .as_ref()
                .is_none_or(|text| name.contains(text))
            && (!self.of_parts || request.part_number.is_some())
            && (self.session_token.is_none() || self.session_token == request.session_token)
    }
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Refuses the request with this HTTP status and S3 error code; nothing is carried out.
    Status(u16, String),
    /// Refuses the request with `SlowDown` and asks for so many seconds without another.
    RetryAfter(u64),
    /// Refuses the request with `RequestTimeTooSkewed`, as a server whose clock is so many seconds
    /// ahead.
    ClockAhead(u64),
    /// Answers later.
    Delay(Duration),
    /// Breaks the connection after so many bytes of an answer announced in full.
    CutBody {
        /// The bytes that still arrive.
        after: u64,
    },
    /// Carries the request out, then breaks the connection without an answer.
    LoseAnswer,
    /// Carries the request out and changes its answer.
    Alter(Vec<Alteration>),
    /// Answers 200 with an error for a body, as a copy or a completion may; nothing is carried out.
    ErrorIn200,
    /// Does not answer until the faults are cleared, then carries the request out.
    Hang,
}

/// The faults of one server.
#[derive(Debug)]
pub(crate) struct Faults {
    script: Mutex<Vec<Fault>>,
    cleared: watch::Sender<()>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            script: Mutex::default(),
            cleared: watch::Sender::new(()),
        }
    }

    pub(crate) fn add(&self, fault: Fault) {
        self.script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fault);
    }

    pub(crate) fn clear(&self) {
        self.script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.cleared.send_replace(());
    }

    /// Returns what is to happen to `request`, and what tells that the faults were cleared since.
    pub(crate) fn strike(&self, request: &RequestRecord) -> Option<(Action, watch::Receiver<()>)> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let mut matching = script.iter_mut().filter(|fault| fault.matches(request));
        let due = loop {
            let fault = matching.next()?;
            match fault.skip.checked_sub(1) {
                Some(left) => fault.skip = left,
                None => break fault,
            }
        };
        if due.times != u32::MAX {
            due.times = due.times.saturating_sub(1);
        }
        due.skip = due.spares;
        let action = due.action.clone();
        script.retain(|fault| fault.times > 0);
        Some((action, self.cleared.subscribe()))
    }
}

/// A body that fails after so many bytes, which breaks the connection.
pub(crate) struct CutShort {
    body: Body,
    left: u64,
    flushed: bool,
}

impl CutShort {
    pub(crate) fn new(body: Body, after: u64) -> Self {
        Self {
            body,
            left: after,
            flushed: false,
        }
    }
}

impl hyper::body::Body for CutShort {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        if self.left == 0 {
            // One pause lets the HTTP layer send what it holds before it sees the failure.
            if !std::mem::replace(&mut self.flushed, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err("the body is cut short as scripted".into())));
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context)?);
        let data = frame
            .and_then(|frame| frame.into_data().ok())
            .map(|mut data| {
                data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= data.len() as u64;
                Ok(Frame::data(data))
            });
        Poll::Ready(data)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: &str, key: &str) -> RequestRecord {
        RequestRecord {
            operation: operation.to_owned(),
            key: key.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_fault_skips_strikes_and_is_spent() {
        let faults = Faults::new();
        let struck = |operation, key| faults.strike(&request(operation, key)).is_some();
        faults.add(
            Fault::on("GetObject", Action::Hang)
                .key_containing("b")
                .skip(1)
                .times(2),
        );
        assert!(!struck("PutObject", "b"));
        assert!(!struck("GetObject", "a"));
        let got = [(); 4].map(|()| struck("GetObject", "abc"));
        assert_eq!(got, [false, true, true, false]);
    }

    #[test]
    fn a_fault_may_strike_every_other_request() {
        let faults = Faults::new();
        faults.add(Fault::any(Action::Hang).sparing(1).times(2));
        let got = [(); 5].map(|()| faults.strike(&request("GetObject", "")).is_some());
        assert_eq!(got, [true, false, true, false, false]);
    }

    #[test]
    fn a_fault_for_good_lasts_until_cleared() {
        let faults = Faults::new();
        faults.add(Fault::any(Action::LoseAnswer).times(u32::MAX));
        assert!((0..9).all(|_| faults.strike(&request("GetObject", "")).is_some()));
        faults.clear();
        assert!(faults.strike(&request("GetObject", "")).is_none());
    }
}
