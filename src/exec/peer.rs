//! The client at the other end of a command's channel.

use bytes::{Buf as _, Bytes};
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use crate::limits::SCP_LINE_BYTES_MAX;
use crate::session::{Gone, Inbound, Outbound};

/// Reads what the client sends, and writes to it.
#[derive(Debug)]
pub(super) struct Peer<I, O> {
    inbound: I,
    outbound: O,
    /// What came and was not looked at.
    buffer: Bytes,
    /// Cancelled when the session has ended.
    over: CancellationToken,
}

/// What a client says of what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Good,
    Bad,
    Fatal,
}

impl<I: Inbound, O: Outbound> Peer<I, O> {
    pub(super) const fn new(inbound: I, outbound: O, over: CancellationToken) -> Self {
        Self {
            inbound,
            outbound,
            buffer: Bytes::new(),
            over,
        }
    }

    /// Waits until something is there; `false`: the client sends no more.
    async fn fill(&mut self) -> Result<bool, Fault> {
        while self.buffer.is_empty() {
            let bytes = tokio::select! {
                biased;
                bytes = self.inbound.next() => bytes,
                () = self.over.cancelled() => return Err(Fault::Ended),
            };
            match bytes {
                Some(bytes) => self.buffer = bytes,
                None => return Ok(false),
            }
        }
        Ok(true)
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
        self.outbound
            .send(bytes.into())
            .await
            .map_err(|Gone| Fault::Gone)
    }

    /// Says that all is well, as the protocol of `scp` does.
    pub(super) async fn confirm(&mut self) -> Result<(), Fault> {
        self.send(Bytes::from_static(b"\0")).await
    }

    /// Writes to the person at the other end.
    pub(super) async fn say(&mut self, text: impl Into<Bytes>) -> Result<(), Fault> {
        self.outbound
            .send_stderr(text.into())
            .await
            .map_err(|Gone| Fault::Gone)
    }

    /// Notes that a command makes progress though nothing is sent.
    pub(super) fn is_under_way(&self) {
        self.outbound.is_under_way();
    }
}
