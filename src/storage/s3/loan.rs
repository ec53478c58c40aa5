//! A payload that is given back when its call ends, whatever becomes of the connection.
//!
//! The HTTP library notices that nobody waits for an answer only when the socket moves again. A
//! store that stops reading in the middle of a part would keep the part's slot for as long as TCP
//! is patient, long after the call was given up. So the body copies what it sends, frame by frame,
//! and the payload itself stays here.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A payload lent to the HTTP library until the loan is dropped.
#[derive(Debug)]
pub(super) struct Loan(Arc<Mutex<Bytes>>);

impl Loan {
    pub(super) fn new(payload: Bytes) -> Self {
        Self(Arc::new(Mutex::new(payload)))
    }

    /// Returns a body that can be sent as often as the call is tried.
    pub(super) fn body(&self) -> ByteStream {
        let payload = Arc::clone(&self.0);
        let length = lock(&payload).len();
        ByteStream::new(SdkBody::retryable(move || {
            SdkBody::from_body_1_x(Lent {
                payload: Arc::clone(&payload),
                sent: 0,
                length,
            })
        }))
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        drop(std::mem::take(&mut *lock(&self.0)));
    }
}

/// One sending of a payload.
struct Lent {
    payload: Arc<Mutex<Bytes>>,
    sent: usize,
    length: usize,
}

/// The call ended before its payload was sent.
#[derive(Debug, thiserror::Error)]
#[error("the call was cancelled")]
struct GivenUp;

impl Body for Lent {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        if self.sent >= self.length {
            return Poll::Ready(None);
        }
        let frame = {
            let payload = lock(&self.payload);
            let end = payload.len().min(self.sent.saturating_add(FRAME_BYTES));
            Bytes::copy_from_slice(payload.get(self.sent..end).unwrap_or_default())
        };
        if frame.is_empty() {
            return Poll::Ready(Some(Err(GivenUp)));
        }
        self.sent = self.sent.saturating_add(frame.len());
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent >= self.length
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.length.saturating_sub(self.sent);
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

fn lock(payload: &Mutex<Bytes>) -> MutexGuard<'_, Bytes> {
    payload.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is copied at a time: as much as a socket takes at once.
const FRAME_BYTES: usize = 64 * 1024;
