//! Buffers that are no larger than they have to be, and are given back.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::Error;
use crate::server::Session;
use crate::session::CommonSession;
use crate::sshbuffer::{IncomingSshPacket, SSHBuffer};

/// What a buffer may keep while it is empty.
const KEPT_BYTES: usize = 4 * 1024;
/// Output that is gathered into one write; the last message comes on top.
const GATHERED_BYTES: usize = 16 * 1024;
/// After so long without anything to do buffers for output are given back.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// Gives back a buffer in which there is nothing.
fn release(buffer: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    }
}

/// Empties a buffer for output, and halves it where little of it was used.
pub(crate) fn written(buffer: &mut Vec<u8>) {
    let (used, capacity) = (buffer.len(), buffer.capacity());
    buffer.clear();
    if capacity > KEPT_BYTES && used < capacity / 4 {
        buffer.shrink_to(capacity / 2);
    }
}

/// Reads the beginning of a packet. While it has to be waited for, there is no packet.
pub(crate) async fn read_first<R: AsyncRead + Unpin>(
    stream: &mut R,
    first: &mut [u8],
    packet: &mut Vec<u8>,
) -> io::Result<()> {
    let mut reading = pin!(stream.read_exact(first));
    poll_fn(|cx| {
        let polled = reading.as_mut().poll(cx);
        if polled.is_pending() {
            packet.clear();
            release(packet);
        }
        polled.map_ok(drop)
    })
    .await
}

impl<C> CommonSession<C> {
    /// Says whether more output may be gathered before it is written.
    pub(crate) fn has_room(&mut self) -> bool {
        let waiting = self.encrypted.as_ref().map_or(0, |it| it.write.len());
        let encrypted = self.packet_writer.buffer().buffer.len();
        waiting.saturating_add(encrypted) < GATHERED_BYTES
    }

    /// Says whether buffers for output are larger than they have to be while there is none.
    pub(crate) fn holds_buffers(&mut self) -> bool {
        let waiting = self.encrypted.as_ref().map_or(0, |it| it.write.capacity());
        let encrypted = self.packet_writer.buffer().buffer.capacity();
        waiting.max(encrypted) > KEPT_BYTES
    }

    pub(crate) fn release_buffers(&mut self) {
        release(&mut self.packet_writer.buffer().buffer);
        if let Some(encrypted) = &mut self.encrypted {
            release(&mut encrypted.write);
        }
    }
}

impl Session {
    /// Takes a packet out of the buffer that it was read to, which is given back with it.
    pub(crate) fn taken(&mut self, read: &mut SSHBuffer) -> Result<IncomingSshPacket, Error> {
        let compressed = self.common.encrypted.as_ref().is_some_and(|encrypted| {
            !matches!(encrypted.decompress, crate::compression::Decompress::None)
        });
        if compressed {
            return self.maybe_decompress(read);
        }
        let mut buffer = std::mem::take(&mut read.buffer);
        // The length and that of the padding.
        buffer.drain(..5.min(buffer.len()));
        Ok(IncomingSshPacket {
            buffer,
            seqn: read.seqn,
        })
    }

    /// Forgets the queues of channels that were closed from here: the peer's answer to that finds
    /// no channel any more.
    pub(crate) fn forget_closed_channels(&mut self) {
        if let Some(encrypted) = &self.common.encrypted {
            self.channels
                .retain(|id, _| encrypted.channels.contains_key(id));
        }
    }

    /// Forgets what the last key exchange was about, once its keys are in use.
    pub(crate) fn forget_offers(&mut self) {
        let encrypted = self.common.encrypted.as_mut();
        if let Some(exchange) = encrypted.and_then(|encrypted| encrypted.exchange.as_mut()) {
            exchange.client_kex_init = Default::default();
            exchange.server_kex_init = Default::default();
            exchange.client_ephemeral = Vec::new();
            exchange.server_ephemeral = Vec::new();
        }
    }
}
