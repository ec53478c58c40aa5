//! Receive windows that grow when the application says so.

use ssh_encoding::Encode as _;

use crate::server::{Handle, Msg, Session};
use crate::{ChannelId, ChannelMsg, Error, msg};

/// Bytes that may come between our offer of a key exchange and the peer's, beside channel data,
/// which its window bounds.
pub(crate) const BEFORE_EXCHANGE_MAX: u32 = 32 * 1024;
/// What a request for a channel costs until it is answered.
const CHANNEL_OPEN_COST: u32 = 2 * 1024;

impl Handle {
    /// Lets the client send so many more bytes on a channel. Nothing has to be waited for: each
    /// call stands for bytes that the client sent before.
    pub fn grow_window(&self, channel: ChannelId, bytes: u32) {
        let message = Msg::Channel(channel, ChannelMsg::WindowAdjusted { new_size: bytes });
        // Where the session is gone there is no window.
        drop(self.priority_sender.send(Box::new(message)));
    }
}

impl Session {
    pub(crate) fn grow_window(&mut self, channel: ChannelId, bytes: u32) -> Result<(), Error> {
        if let Some(encrypted) = self.common.encrypted.as_mut()
            && let Some(channel) = encrypted.channels.get_mut(&channel)
        {
            channel.sender_window_size = channel.sender_window_size.saturating_add(bytes);
            push_packet!(encrypted.write, {
                encrypted.write.push(msg::CHANNEL_WINDOW_ADJUST);
                channel.recipient_channel.encode(&mut encrypted.write)?;
                bytes.encode(&mut encrypted.write)?;
            });
        }
        Ok(())
    }
}

/// What a packet counts for while the answer to our offer of a key exchange is awaited.
pub(crate) fn cost_before_exchange(packet: &[u8]) -> u32 {
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    match packet.first() {
        Some(&(msg::CHANNEL_DATA | msg::CHANNEL_EXTENDED_DATA)) => 0,
        Some(&msg::CHANNEL_OPEN) => length.saturating_add(CHANNEL_OPEN_COST),
        _ => length,
    }
}
