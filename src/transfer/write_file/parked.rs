//! Bytes that wait for their place. Whoever wrote them hears of it when they have it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::fill::BaseRead;
use crate::sftp::{Payload, Pending};
use crate::transfer::upload::{Upload, UploadError, WriteStep, as_u64};

/// Bytes on their way to their slots.
#[derive(Debug)]
pub(super) struct Parked {
    writer: Writer,
    offset: u64,
    payload: Payload,
    consumed: usize,
    /// It has its bytes alone.
    compacted: bool,
}

/// Who wrote them.
#[derive(Debug)]
pub(super) enum Writer {
    /// Its STATUS is withheld.
    Client(Pending),
    /// What the client left as it was, or has brought of another file.
    Base(BaseRead),
    /// What the client left out below the size that it set.
    Zeros,
}

impl Parked {
    pub(super) const fn new(writer: Writer, offset: u64, payload: Payload) -> Self {
        Self {
            writer,
            offset,
            payload,
            consumed: 0,
            compacted: false,
        }
    }

    /// Copies what has a slot.
    pub(super) fn write_to(&mut self, upload: &mut Upload) -> Result<WriteStep, UploadError> {
        upload.write(self.offset, &self.payload, &mut self.consumed)
    }

    pub(super) fn into_writer(self) -> Writer {
        self.writer
    }

    pub(super) const fn is_of_client(&self) -> bool {
        matches!(self.writer, Writer::Client(_))
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(as_u64(self.payload.length))
    }

    fn touches(&self, start: u64, end: u64) -> bool {
        self.offset < end && start < self.end()
    }

    /// Lets go what has its place, and the packets in which the rest came: a few bytes would keep
    /// a whole one.
    fn compact(&mut self) {
        let left = self.payload.length.saturating_sub(self.consumed);
        let mut bytes = BytesMut::with_capacity(left);
        let mut skip = self.consumed;
        for slice in &self.payload.slices {
            let skipped = skip.min(slice.len());
            skip = skip.saturating_sub(skipped);
            let room = left.saturating_sub(bytes.len());
            let rest = slice.get(skipped..).unwrap_or_default();
            bytes.extend_from_slice(rest.get(..room.min(rest.len())).unwrap_or_default());
        }
        self.offset = self.offset.saturating_add(as_u64(self.consumed));
        self.consumed = 0;
        self.payload = Payload {
            slices: Vec::from([Bytes::from(bytes)]),
            length: left,
        };
        self.compacted = true;
    }

    fn kept_bytes(&self) -> usize {
        self.payload.length.saturating_add(PARKED_OVERHEAD_BYTES)
    }
}

/// In the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    parked: VecDeque<Parked>,
    bytes: usize,
}

impl Queue {
    pub(super) fn push_back(&mut self, mut parked: Parked) {
        if !parked.compacted || parked.consumed > 0 {
            parked.compact();
        }
        self.bytes = self.bytes.saturating_add(parked.kept_bytes());
        self.parked.push_back(parked);
    }

    /// Takes them all out.
    pub(super) fn take(&mut self) -> VecDeque<Parked> {
        self.bytes = 0;
        std::mem::take(&mut self.parked)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    /// Returns where the last of them ends.
    pub(super) fn end(&self) -> u64 {
        self.parked.iter().map(Parked::end).max().unwrap_or(0)
    }

    /// Says whether one of them has to be written before the other bytes.
    pub(super) fn overlaps(&self, other: &Parked) -> bool {
        self.touches(other.offset, other.end().saturating_sub(other.offset))
    }

    pub(super) fn touches(&self, offset: u64, length: u64) -> bool {
        let end = offset.saturating_add(length);
        self.parked.iter().any(|parked| parked.touches(offset, end))
    }

    /// Forgets what stands at and after `size`.
    pub(super) fn truncate(&mut self, size: u64) {
        for parked in &mut self.parked {
            let room = usize::try_from(size.saturating_sub(parked.offset)).unwrap_or(usize::MAX);
            let before = parked.kept_bytes();
            parked.payload.length = parked.payload.length.min(room);
            let less = before.saturating_sub(parked.kept_bytes());
            self.bytes = self.bytes.saturating_sub(less);
        }
    }
}

/// What one of them takes beside its bytes.
const PARKED_OVERHEAD_BYTES: usize = 192;
