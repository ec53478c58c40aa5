//! What goes to the client: replies gather in one buffer, a writer task sends them on.
//!
//! While the writer waits for the client's window the next replies gather behind it, so that they
//! leave in full channel packets. The session asks [`Out::is_full`] before it makes more data.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Gone, Outbound};
use crate::limits;
use crate::sftp::{Replies, Reply, RequestId};

/// Shared by the session and its writer.
#[derive(Debug, Default)]
pub(crate) struct Out {
    replies: Mutex<Replies>,
    stderr: Mutex<Vec<Bytes>>,
    /// Bytes that are encoded and not yet sent.
    queued: AtomicUsize,
    /// Bytes that the channel took, ever.
    sent: AtomicU64,
    finished: AtomicBool,
    filled: Notify,
    drained: Notify,
}

impl Out {
    /// Encodes one reply.
    pub(crate) fn reply(&self, id: RequestId, reply: &Reply) {
        self.encode(|replies| replies.reply(id, reply));
    }

    /// Encodes file data.
    pub(crate) fn data(&self, id: RequestId, length: u32, slices: Vec<Bytes>) {
        self.encode(|replies| replies.data(id, length, slices.into_iter()));
    }

    pub(crate) fn version(&self) {
        self.encode(Replies::version);
    }

    /// Sends a sentence for people.
    pub(crate) fn stderr(&self, text: String) {
        self.stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Bytes::from(text));
        self.filled.notify_one();
    }

    /// Takes the sentences that wait, for tests.
    #[cfg(test)]
    pub(crate) fn take_stderr(&self) -> Vec<String> {
        let mut waiting = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        waiting.drain(..).map(text).collect()
    }

    /// Says whether the client has to take some of what is there first.
    pub(crate) fn is_full(&self) -> bool {
        self.queued.load(Ordering::Acquire) >= limits::REPLY_BYTES_QUEUED_MAX
    }

    /// Says whether other answers than data pile up: the client asks faster than it listens.
    pub(crate) fn is_crowded(&self) -> bool {
        self.queued.load(Ordering::Acquire) >= limits::REPLY_BYTES_QUEUED_SOFT_MAX
    }

    /// Says whether anything waits to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        self.queued.load(Ordering::Acquire) > 0
    }

    /// Returns how many bytes the channel took.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until the client took something.
    pub(crate) async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Lets the writer end after what is queued.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.filled.notify_one();
    }

    fn encode(&self, encode: impl FnOnce(&mut Replies)) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let before = replies.buffer.len();
        encode(&mut replies);
        let added = replies.buffer.len().saturating_sub(before);
        drop(replies);
        self.queued.fetch_add(added, Ordering::AcqRel);
        self.filled.notify_one();
    }

    fn take(&self) -> Bytes {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut replies.buffer).freeze()
    }
}

/// Sends what gathers, until the session is finished or the channel is gone.
pub(crate) async fn write<O: Outbound>(out: Arc<Out>, mut outbound: O) -> Result<O, Gone> {
    loop {
        let finished = out.finished.load(Ordering::Acquire);
        let texts = std::mem::take(&mut *out.stderr.lock().unwrap_or_else(PoisonError::into_inner));
        for text in texts {
            outbound.send_stderr(text).await?;
        }
        let mut bytes = out.take();
        if bytes.is_empty() {
            if finished {
                return Ok(outbound);
            }
            out.filled.notified().await;
            continue;
        }
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(limits::CHANNEL_CHUNK_BYTES_MAX));
            let length = chunk.len();
            outbound.send(chunk).await?;
            out.queued.fetch_sub(length, Ordering::AcqRel);
            out.sent
                .fetch_add(u64::try_from(length).unwrap_or(0), Ordering::AcqRel);
            out.drained.notify_one();
        }
    }
}
