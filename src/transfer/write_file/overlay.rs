//! What a READ finds in a file that is written: what was written over what was there.

use bytes::{Bytes, BytesMut};

use super::{NOT_HERE, WriteFile};
use crate::limits;
use crate::sftp::Status;
use crate::transfer::upload::Run;

/// Where the bytes are that a READ asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    Here(Bytes),
    /// Some are read from the base, and then [`composed`] with the others.
    Base,
}

/// Bytes that stand together.
#[derive(Debug, Clone, Copy)]
struct Piece {
    kind: Kind,
    start: u64,
    end: u64,
}

impl Piece {
    const fn length(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.length()).unwrap_or(usize::MAX)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Written,
    Base,
    Zeros,
}

/// Says where the bytes of a READ are.
///
/// # Errors
/// The status that the client gets.
pub fn source(file: &WriteFile, offset: u64, length: u32) -> Result<Source, Status> {
    let pieces = pieces(file, offset, length)?;
    if pieces.iter().any(|piece| piece.kind == Kind::Base) {
        return Ok(Source::Base);
    }
    Ok(Source::Here(filled(file, &pieces, Vec::new())))
}

/// The bytes that a READ asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Composed {
    /// All of them are the base's, each slice with the memory that it came with.
    Base(Vec<Bytes>),
    Mixed(Bytes),
}

/// Puts what was written over bytes of the base, which begin at `offset`. Whatever happened while
/// they were on their way counts.
///
/// # Errors
/// The status that the client gets.
pub fn composed(
    file: &WriteFile,
    offset: u64,
    length: u32,
    base: Vec<Bytes>,
) -> Result<Composed, Status> {
    let pieces = pieces(file, offset, length)?;
    Ok(if pieces.iter().all(|piece| piece.kind == Kind::Base) {
        let wanted = pieces.iter().map(Piece::length);
        let wanted = wanted.fold(0, u64::saturating_add);
        Composed::Base(Cursor::new(base).take(wanted))
    } else {
        Composed::Mixed(filled(file, &pieces, base))
    })
}

fn pieces(file: &WriteFile, offset: u64, length: u32) -> Result<Vec<Piece>, Status> {
    if let Some(status) = file.failed {
        return Err(status);
    }
    let size = file.size();
    if offset >= size {
        return Err(Status::EOF);
    }
    let length = u64::from(length.min(limits::READ_BYTES_MAX));
    let end = offset.saturating_add(length).min(size);
    // What waits for its place is not here.
    if file.parked.touches(offset, end.saturating_sub(offset)) {
        return Err(NOT_HERE);
    }
    let base = file.opening.base.as_ref().map_or(0, |base| base.size);
    let zeros = file.size_set.unwrap_or(0);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = offset;
    while start < end {
        let (run, until) = file.bytes.run_at(start);
        let (kind, until) = match run {
            Run::Here => (Kind::Written, until),
            Run::Absent if start < base => (Kind::Base, until.min(base)),
            Run::Absent if start < zeros => (Kind::Zeros, until.min(zeros)),
            // Nobody wrote them, or they have left.
            Run::Absent | Run::Shipped => return Err(NOT_HERE),
        };
        let until = until.min(end);
        pieces.push(Piece {
            kind,
            start,
            end: until,
        });
        start = until;
    }
    Ok(pieces)
}

/// Copies the bytes of pieces, which end early where the base does.
fn filled(file: &WriteFile, pieces: &[Piece], base: Vec<Bytes>) -> Bytes {
    let mut base = Cursor::new(base);
    let mut bytes = BytesMut::new();
    for piece in pieces {
        let came = base.take(piece.length());
        let end = bytes.len().saturating_add(piece.bytes());
        match piece.kind {
            Kind::Base => came.iter().for_each(|slice| bytes.extend_from_slice(slice)),
            Kind::Zeros => bytes.resize(end, 0),
            Kind::Written => {
                let written = file.bytes.read(piece.start, piece.length());
                bytes.extend_from_slice(written.unwrap_or_default());
            }
        }
        if bytes.len() < end {
            break;
        }
    }
    bytes.freeze()
}

/// Slices of which the first bytes are taken off.
struct Cursor {
    slices: std::vec::IntoIter<Bytes>,
    rest: Bytes,
}

impl Cursor {
    fn new(slices: Vec<Bytes>) -> Self {
        Self {
            slices: slices.into_iter(),
            rest: Bytes::new(),
        }
    }

    fn take(&mut self, length: u64) -> Vec<Bytes> {
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        let mut taken = Vec::new();
        while left > 0 {
            if self.rest.is_empty() {
                let Some(next) = self.slices.next() else {
                    break;
                };
                self.rest = next;
                continue;
            }
            let bytes = self.rest.split_to(left.min(self.rest.len()));
            left = left.saturating_sub(bytes.len());
            taken.push(bytes);
        }
        taken
    }
}
