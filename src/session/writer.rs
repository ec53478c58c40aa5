//! Sends what a session says.
//!
//! The writer belongs to the session's task, which polls it in every turn: where the channel takes
//! what is said at once, nobody has to be woken, and no other thread comes to run half of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::channel::{Gone, Outbound};
use super::out::{Chunk, Out};

/// Sends what is said.
pub(crate) struct Writer {
    out: Arc<Out>,
    /// Until the session is finished or the channel is gone.
    writing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// How much the channel had taken when that was told last.
    told: u64,
}

/// What a writer tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// The channel took something.
    Some,
    /// Nobody listens any more.
    Gone,
}

impl Writer {
    /// `writing` ends by itself only when nobody listens any more, or the session is finished.
    pub(crate) fn new(out: Arc<Out>, writing: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            out,
            writing: Some(Box::pin(writing)),
            told: 0,
        }
    }

    /// Sends on, until something was taken. It has to be polled again after anything is said.
    pub(crate) async fn write(&mut self) -> Wrote {
        std::future::poll_fn(|context| {
            let Some(writing) = &mut self.writing else {
                return Poll::Pending;
            };
            if writing.as_mut().poll(context).is_ready() {
                self.writing = None;
                return Poll::Ready(Wrote::Gone);
            }
            let sent = self.out.sent();
            if sent == self.told {
                return Poll::Pending;
            }
            self.told = sent;
            Poll::Ready(Wrote::Some)
        })
        .await
    }

    /// Sends the rest.
    pub(crate) async fn finish(self) {
        self.out.finish();
        if let Some(writing) = self.writing {
            writing.await;
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("out", &self.out)
            .finish_non_exhaustive()
    }
}

/// Sends what gathers, until the session is finished or the channel is gone.
pub(crate) async fn write<O: Outbound>(out: Arc<Out>, mut outbound: O) {
    // Whoever is gone is seen by the end of the writer.
    send_all(&out, &mut outbound).await.unwrap_or_default();
}

async fn send_all<O: Outbound>(out: &Out, outbound: &mut O) -> Result<(), Gone> {
    loop {
        let finished = out.is_over();
        for text in out.texts() {
            outbound.send_stderr(text).await?;
        }
        let Some(Chunk { bytes, own }) = out.next_chunk() else {
            if finished {
                return Ok(());
            }
            tokio::select! {
                () = until(|| out.has_more()) => {}
                () = out.spoken() => {}
            }
            continue;
        };
        let length = bytes.len();
        outbound.send(bytes).await?;
        out.took(length, own);
    }
}

/// Waits until the session says no more, where somebody hears what it says as it is.
pub(crate) async fn finished(out: Arc<Out>) {
    until(|| out.is_over()).await;
}

/// Waits for what only the session's own task does, which polls this after whatever it did.
async fn until(is_done: impl Fn() -> bool) {
    std::future::poll_fn(|_| {
        if is_done() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
