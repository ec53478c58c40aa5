//! The client at the other end of a command's channel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use tokio_util::sync::CancellationToken;

use super::arrived::Arrived;
use super::fault::Fault;
use crate::clock::{Clock, within};
use crate::limits::SCP_LINE_BYTES_MAX;
use crate::session::{Gone, Outbound, Withdrawal};

/// Reads what the client sends, and writes to it.
#[derive(Debug)]
pub(super) struct Peer<O> {
    arrived: Arc<Arrived>,
    outbound: O,
    clock: Arc<dyn Clock>,
    /// Cancelled when the client is gone.
    gone: CancellationToken,
    /// What came and was not looked at.
    buffer: Bytes,
    /// Cancelled when the session has ended.
    over: CancellationToken,
    /// When the client is not heard any more, once that was seen.
    last_words_at: Option<Instant>,
}

/// What a client says of what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Good,
    Bad,
    Fatal,
}

impl<O: Outbound> Peer<O> {
    pub(super) const fn new(
        arrived: Arc<Arrived>,
        outbound: O,
        clock: Arc<dyn Clock>,
        gone: CancellationToken,
        over: CancellationToken,
    ) -> Self {
        Self {
            arrived,
            outbound,
            clock,
            gone,
            buffer: Bytes::new(),
            over,
            last_words_at: None,
        }
    }

    /// Is cancelled when the client is gone.
    pub(super) const fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Waits until something is there; `false`: the client sends no more.
    async fn fill(&mut self) -> Result<bool, Fault> {
        while self.buffer.is_empty() {
            let bytes = tokio::select! {
                biased;
                () = self.over.cancelled() => self.last_words().await?,
                bytes = self.arrived.next() => bytes,
            };
            match bytes {
                Some(bytes) => self.buffer = bytes,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits for more though the session is over: where every file is done, as in a drain, the
    /// client has to say only that it has all, or that it ends.
    async fn last_words(&mut self) -> Result<Option<Bytes>, Fault> {
        let now = self.clock.now();
        let latest = now.checked_add(LAST_WORDS_FOR).unwrap_or(now);
        let until = *self.last_words_at.get_or_insert(latest);
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return Err(Fault::Ended);
        }
        let next = within(&*self.clock, left, self.arrived.next()).await;
        next.ok_or(Fault::Ended)
    }

    /// Withdraws a file of which so many bytes are due as soon as the client says that they are not
    /// the file's, whatever it does then.
    pub(super) fn watch_verdict(&self, due: u64, withdrawal: Withdrawal) {
        let here = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        match due.checked_sub(here) {
            Some(due) => self.arrived.watch_verdict(due, withdrawal),
            None => {
                let at = usize::try_from(due).unwrap_or(usize::MAX);
                if self.buffer.get(at) != Some(&0) {
                    withdrawal.withdraw();
                }
            }
        }
    }

    /// Returns the next bytes, as they came, but no more than `most`; `None`: there are no more.
    pub(super) async fn bytes(&mut self, most: u64) -> Result<Option<Bytes>, Fault> {
        if !self.fill().await? {
            return Ok(None);
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let length = self.buffer.len().min(most);
        Ok(Some(self.buffer.split_to(length)))
    }

    /// Returns the next line without its end; `None`: there are no more.
    pub(super) async fn line(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let mut line = Vec::new();
        loop {
            if !self.fill().await? {
                // The beginning of a line is none.
                return if line.is_empty() {
                    Ok(None)
                } else {
                    Err(Fault::Gone)
                };
            }
            let end = self.buffer.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(self.buffer.len());
            if line.len().saturating_add(length) > SCP_LINE_BYTES_MAX {
                return Err(Fault::Protocol("line too long"));
            }
            line.extend_from_slice(&self.buffer.split_to(length));
            if end.is_some() {
                self.buffer.advance(1);
                return Ok(Some(line));
            }
        }
    }

    /// Waits for what the client says of what it was sent.
    pub(super) async fn word(&mut self) -> Result<Word, Fault> {
        let byte = self.bytes(1).await?.ok_or(Fault::Gone)?;
        let word = match byte.first() {
            Some(0) => return Ok(Word::Good),
            Some(1) => Word::Bad,
            Some(2) => Word::Fatal,
            Some(_) | None => return Err(Fault::Protocol("expected an answer")),
        };
        // The reason, which is for the client's own people.
        self.line().await?.ok_or(Fault::Gone)?;
        Ok(word)
    }

    pub(super) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Fault> {
        self.arrived.sends(true);
        let sent = self.outbound.send(bytes.into()).await;
        self.arrived.sends(false);
        sent.map_err(|Gone| Fault::Gone)
    }

    /// Says that all is well, as the protocol of `scp` does.
    pub(super) async fn confirm(&mut self) -> Result<(), Fault> {
        self.send(Bytes::from_static(b"\0")).await
    }

    /// Writes to the person at the other end.
    pub(super) async fn say(&mut self, text: impl Into<Bytes>) -> Result<(), Fault> {
        self.arrived.sends(true);
        let sent = self.outbound.send_stderr(text.into()).await;
        self.arrived.sends(false);
        sent.map_err(|Gone| Fault::Gone)
    }

    /// Notes that a command makes progress though nothing is sent.
    pub(super) fn is_under_way(&self) {
        self.outbound.is_under_way();
    }
}

/// How long a client is heard after its session: a round trip or two.
const LAST_WORDS_FOR: Duration = Duration::from_secs(5);
