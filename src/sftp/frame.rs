//! Cuts the channel's bytes into packets (draft-02 §3), without copying what is large.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::request::{Payload, WRITE};
use crate::limits;

/// One packet without its length word. A WRITE's data stays in the slices in which it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    pub head: Bytes,
    pub payload: Payload,
}

/// A length that no version 3 packet has: what follows cannot be made sense of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a packet of length 0")]
    Empty,
    #[error("a packet of {length} bytes; allowed: up to {max}", max = limits::PACKET_BYTES_MAX)]
    TooLong { length: usize },
}

/// Collects bytes until they make packets.
#[derive(Debug, Default)]
pub struct Frames {
    slices: VecDeque<Bytes>,
    /// Small arrivals are joined here: each slice costs more than a few bytes.
    tail: BytesMut,
    buffered: usize,
}

impl Frames {
    /// Takes what arrived.
    pub fn push(&mut self, bytes: Bytes) {
        let joins = bytes.len() < JOINED_BYTES_MAX && self.buffered > 0;
        self.buffered = self.buffered.saturating_add(bytes.len());
        if joins {
            self.tail.extend_from_slice(&bytes);
        } else if !bytes.is_empty() {
            self.flush_tail();
            self.slices.push_back(bytes);
        }
    }

    /// Returns the next whole packet.
    ///
    /// # Errors
    /// The length word is impossible; the session has to end.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.peek_u32(0) else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if length > limits::PACKET_BYTES_MAX {
            return Err(FrameError::TooLong { length });
        }
        if self.buffered < LENGTH_BYTES.saturating_add(length) {
            return Ok(None);
        }
        self.flush_tail();
        let head_length = self.head_length(length);
        drop(self.take(LENGTH_BYTES));
        let head = self.take(head_length);
        let payload = self.take_slices(length.saturating_sub(head_length));
        Ok(Some(Frame { head, payload }))
    }

    /// Returns how many bytes wait for the rest of their packet.
    #[must_use]
    pub const fn buffered(&self) -> usize {
        self.buffered
    }

    /// Returns where a WRITE's data begins; any other packet is head alone.
    fn head_length(&self, length: usize) -> usize {
        let kind = self.peek(LENGTH_BYTES);
        let handle = self.peek_u32(LENGTH_BYTES.saturating_add(5));
        match (kind, handle) {
            (Some(WRITE), Some(handle)) => {
                let handle = usize::try_from(handle).unwrap_or(usize::MAX);
                let fixed = 1 + 4 + 4 + 8 + 4;
                let head = handle.saturating_add(fixed);
                // A handle that leaves no room for the rest is an error for the decoder to find.
                if head <= length { head } else { length }
            }
            _ => length,
        }
    }

    fn peek(&self, mut at: usize) -> Option<u8> {
        for slice in self
            .slices
            .iter()
            .map(|slice| &**slice)
            .chain([&*self.tail])
        {
            match slice.get(at) {
                Some(byte) => return Some(*byte),
                None => at = at.saturating_sub(slice.len()),
            }
        }
        None
    }

    fn peek_u32(&self, at: usize) -> Option<u32> {
        let byte = |more| self.peek(at.saturating_add(more));
        Some(u32::from_be_bytes([byte(0)?, byte(1)?, byte(2)?, byte(3)?]))
    }

    /// Removes the first `length` bytes, which must be there, as one slice.
    fn take(&mut self, length: usize) -> Bytes {
        if let Some(first) = self
            .slices
            .front_mut()
            .filter(|first| first.len() >= length)
        {
            let taken = first.split_to(length);
            if first.is_empty() {
                self.slices.pop_front();
            }
            self.buffered = self.buffered.saturating_sub(length);
            return taken;
        }
        let mut joined = BytesMut::with_capacity(length);
        for slice in self.take_slices(length).slices {
            joined.extend_from_slice(&slice);
        }
        joined.freeze()
    }

    /// Removes the first `length` bytes in the slices in which they came.
    fn take_slices(&mut self, length: usize) -> Payload {
        let mut payload = Payload::default();
        while payload.length < length {
            let Some(mut slice) = self.slices.pop_front() else {
                break;
            };
            let wanted = length.saturating_sub(payload.length);
            if slice.len() > wanted {
                let rest = slice.split_off(wanted);
                self.slices.push_front(rest);
            }
            payload.length = payload.length.saturating_add(slice.len());
            payload.slices.push(slice);
        }
        self.buffered = self.buffered.saturating_sub(payload.length);
        payload
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.slices.push_back(self.tail.split().freeze());
        }
    }
}

const LENGTH_BYTES: usize = 4;
/// Arrivals smaller than this are copied behind each other.
const JOINED_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sftp::{Message, Request, decode};

    fn write_packet(handle: &[u8], data: &[u8]) -> Vec<u8> {
        let mut body = vec![WRITE, 0, 0, 0, 7];
        body.extend(u32::try_from(handle.len()).unwrap().to_be_bytes());
        body.extend(handle);
        body.extend(9_u64.to_be_bytes());
        body.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        body.extend(data);
        let mut packet = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        packet.extend(body);
        packet
    }

    #[test]
    fn a_write_in_two_arrivals_is_not_copied() {
        let packet = Bytes::from(write_packet(&[0, 0, 0, 1], &[5; 32_768]));
        let mut frames = Frames::default();
        frames.push(packet.slice(..20_000));
        assert_eq!(frames.next_frame(), Ok(None));
        frames.push(packet.slice(20_000..));
        let frame = frames.next_frame().unwrap().unwrap();
        assert_eq!(frame.payload.slices.len(), 2);
        assert_eq!(frame.payload.slices[1].as_ptr(), packet[20_000..].as_ptr());
        assert_eq!(frame.payload.length, 32_768);
        assert_eq!(frames.buffered(), 0);
    }

    #[test]
    fn single_bytes_are_joined() {
        let packet = write_packet(&[0, 0, 0, 1], &[5; 100_000]);
        let mut frames = Frames::default();
        for byte in &packet {
            frames.push(Bytes::copy_from_slice(&[*byte]));
        }
        let frame = frames.next_frame().unwrap().unwrap();
        assert!(frame.payload.slices.len() <= 2);
        assert_eq!(frame.payload.length, 100_000);
    }

    #[test]
    fn impossible_lengths_end_the_stream() {
        let mut frames = Frames::default();
        frames.push(Bytes::from_static(&[0, 0, 0, 0]));
        assert_eq!(frames.next_frame(), Err(FrameError::Empty));
        let mut frames = Frames::default();
        frames.push(Bytes::from_static(&[0, 4, 0, 1]));
        assert_eq!(
            frames.next_frame(),
            Err(FrameError::TooLong {
                length: 0x0004_0001
            })
        );
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_packets(
            packets in prop::collection::vec((0_usize..5, prop::collection::vec(any::<u8>(), 0..6_000)), 1..5),
            cuts in prop::collection::vec(1_usize..7_000, 1..40),
        ) {
            let mut stream = Vec::new();
            for (handle, data) in &packets {
                stream.extend(write_packet(&vec![0; *handle], data));
            }
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            let mut rest = Bytes::from(stream);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                frames.push(rest.split_to((*cut).min(rest.len())));
                while let Some(frame) = frames.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen.len(), packets.len());
            for (frame, (_, data)) in seen.into_iter().zip(&packets) {
                let Ok(Message::Request { request: Request::Write { payload, .. }, .. }) = decode(frame)
                    else { return Err(TestCaseError::fail("not a write")) };
                prop_assert_eq!(&payload.slices.concat(), data);
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(decode(Frame { head: Bytes::from(bytes.clone()), payload: Payload::default() }));
            let mut frames = Frames::default();
            frames.push(Bytes::from(bytes));
            while let Ok(Some(frame)) = frames.next_frame() {
                drop(decode(frame));
            }
        }
    }
}
