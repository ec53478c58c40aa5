//! The bytes of an object, as shared blocks.
//!
//! A block is allocated in its final size and filled by copying, so that it does not pin the much
//! larger read buffers of the HTTP layer. Once filled it is never copied again: slices, assembled
//! multipart objects, copies and answers share it.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use s3s::StdError;
use s3s::dto::StreamingBlob;
use s3s::stream::{ByteStream, RemainingLength};

/// An immutable sequence of bytes, cheap to clone, to slice and to append to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    blocks: Vec<Bytes>,
    length: u64,
}

impl Blocks {
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.blocks.iter()
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.blocks.extend(other.blocks.iter().cloned());
        self.length += other.length;
    }

    /// Returns the bytes of `range` that exist.
    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        let mut slice = Self::default();
        let mut start = 0;
        for block in &self.blocks {
            let end = start + block.len() as u64;
            let from = range.start.max(start);
            let to = range.end.min(end);
            if from < to {
                slice.push(block.slice(offset(from - start)..offset(to - start)));
            }
            if end >= range.end {
                break;
            }
            start = end;
        }
        slice
    }

    /// Returns the whole as one piece; copies unless there is a single block.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match self.blocks.as_slice() {
            [] => Bytes::new(),
            [only] => only.clone(),
            blocks => blocks.concat().into(),
        }
    }

    pub(crate) fn into_body(self) -> StreamingBlob {
        StreamingBlob::new(BlockStream {
            remaining: offset(self.length),
            blocks: self.blocks.into(),
        })
    }

    fn push(&mut self, block: Bytes) {
        if !block.is_empty() {
            self.length += block.len() as u64;
            self.blocks.push(block);
        }
    }
}

impl From<Bytes> for Blocks {
    fn from(bytes: Bytes) -> Self {
        let mut blocks = Self::default();
        blocks.push(bytes);
        blocks
    }
}

/// Copies frames of any size into blocks of the right size.
#[derive(Debug)]
pub(crate) struct BlockFiller {
    blocks: Blocks,
    filling: Vec<u8>,
    announced: u64,
}

impl BlockFiller {
    /// Starts a body of which `announced` bytes are expected; the figure only sizes the blocks.
    pub(crate) fn new(announced: u64) -> Self {
        Self {
            blocks: Blocks::default(),
            filling: Vec::new(),
            announced,
        }
    }

    pub(crate) fn write(&mut self, mut frame: &[u8]) {
        while !frame.is_empty() {
            if self.filling.capacity() == 0 {
                let expected = self.announced.saturating_sub(self.blocks.len());
                let expected = usize::try_from(expected)
                    .unwrap_or(BLOCK_BYTES)
                    .min(BLOCK_BYTES);
                self.filling =
                    Vec::with_capacity(if expected == 0 { BLOCK_BYTES } else { expected });
            }
            let room = self.filling.capacity() - self.filling.len();
            let (now, later) = frame.split_at(room.min(frame.len()));
            self.filling.extend_from_slice(now);
            frame = later;
            if self.filling.len() == self.filling.capacity() {
                self.blocks.push(std::mem::take(&mut self.filling).into());
            }
        }
    }

    pub(crate) fn finish(mut self) -> Blocks {
        self.filling.shrink_to_fit();
        self.blocks.push(self.filling.into());
        self.blocks
    }
}

struct BlockStream {
    blocks: VecDeque<Bytes>,
    remaining: usize,
}

impl Stream for BlockStream {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let block = self.blocks.pop_front();
        self.remaining -= block.as_ref().map_or(0, Bytes::len);
        Poll::Ready(block.map(Ok))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.blocks.len(), Some(self.blocks.len()))
    }
}

impl ByteStream for BlockStream {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(self.remaining)
    }
}

/// Offsets lie within bytes held in memory, so they fit the address space.
fn offset(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Large enough that a gigabyte is a thousand blocks, small enough that a half-filled one is no loss.
const BLOCK_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(frames: &[&[u8]], announced: u64) -> Blocks {
        let mut filler = BlockFiller::new(announced);
        for frame in frames {
            filler.write(frame);
        }
        filler.finish()
    }

    #[test]
    fn frames_come_back_whole_whatever_was_announced() {
        let big = vec![7u8; BLOCK_BYTES + 5];
        for announced in [0, 1, 6, (BLOCK_BYTES + 5) as u64, u64::MAX] {
            assert_eq!(
                filled(&[b"abc", b"", b"def"], announced).to_bytes(),
                "abcdef"
            );
            assert_eq!(filled(&[&big, b"x"], announced).len(), big.len() as u64 + 1);
        }
    }

    #[test]
    fn a_slice_spans_blocks_and_stops_at_the_end() {
        let mut blocks = Blocks::from(Bytes::from_static(b"abc"));
        blocks.append(&Blocks::from(Bytes::from_static(b"defg")));
        assert_eq!(blocks.slice(2..5).to_bytes(), "cde");
        assert_eq!(blocks.slice(3..4).to_bytes(), "d");
        assert_eq!(blocks.slice(5..99).to_bytes(), "fg");
        assert_eq!(blocks.slice(7..9).len(), 0);
    }
}
