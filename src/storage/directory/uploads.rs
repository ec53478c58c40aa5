//! Uploads in parts: each is one unfinished file, to which parts are appended as they come. When
//! they came in order it is renamed; otherwise its pieces are copied into another one first.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::tree::{self, Modified, Outcome, Unfinished};
use super::turns::Turn;
use crate::limits;
use crate::storage::{Checksum, CompletedPart, ETag, PartNumber, StorageErrorKind, UploadId};

/// The uploads of this process, by their ids.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<HashMap<Arc<str>, Arc<Upload>>>);

/// An upload that was neither completed nor aborted.
#[derive(Debug)]
pub(super) struct Upload {
    /// The key it is meant for.
    pub(super) key: Box<str>,
    pub(super) unfinished: Unfinished,
    pub(super) modified: Option<Modified>,
    /// Permission bits that every file allows of which bytes were copied into it.
    permissions: Mutex<Option<u32>>,
    pieces: Mutex<Pieces>,
    /// Held while it is completed.
    pub(super) completing: Mutex<()>,
    _turn: Turn,
}

#[derive(Debug, Default)]
struct Pieces {
    end: u64,
    parts: BTreeMap<PartNumber, Piece>,
}

/// Where a part is in the unfinished file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    at: u64,
    size: u64,
    checksum: Checksum,
}

impl Uploads {
    pub(super) fn add(&self, upload: Upload, id: &Arc<str>) {
        drop(self.all().insert(Arc::clone(id), Arc::new(upload)));
    }

    /// Returns the upload to a key.
    pub(super) fn of(&self, id: &UploadId, key: &str) -> Option<Arc<Upload>> {
        let all = self.all();
        let upload = all.get(&id.0).filter(|upload| &*upload.key == key);
        upload.cloned()
    }

    pub(super) fn remove(&self, id: &UploadId) -> Option<Arc<Upload>> {
        self.all().remove(&id.0)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Upload>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    pub(super) fn new(
        key: &str,
        unfinished: Unfinished,
        modified: Option<Modified>,
        turn: Turn,
    ) -> Self {
        Self {
            _turn: turn,
            key: key.into(),
            unfinished,
            modified,
            permissions: Mutex::default(),
            pieces: Mutex::default(),
            completing: Mutex::default(),
        }
    }

    /// Takes the room for a part at the end of what there is.
    pub(super) fn reserve(&self, bytes: u64) -> u64 {
        let mut pieces = self.pieces();
        let at = pieces.end;
        pieces.end = at.saturating_add(bytes);
        at
    }

    /// Writes a part that was sent.
    pub(super) fn write(&self, at: u64, payload: &[u8]) -> Outcome<()> {
        let file = &self.unfinished.file;
        file.write_all_at(payload, at).map_err(tree::of_std)
    }

    /// Copies a part from elsewhere.
    pub(super) fn copy(&self, at: u64, from: (&File, u64), bytes: u64) -> Outcome<Checksum> {
        let source = from.0.metadata().map_err(tree::of_std)?;
        let source = tree::permissions(&source);
        let mut kept = self.kept_permissions();
        *kept = Some(kept.map_or(source, |others| others & source));
        drop(kept);
        tree::copy(from, (&self.unfinished.file, at), bytes)?;
        self.checksum(at, bytes)
    }

    pub(super) fn permissions(&self) -> Option<u32> {
        *self.kept_permissions()
    }

    fn kept_permissions(&self) -> std::sync::MutexGuard<'_, Option<u32>> {
        self.permissions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn checksum(&self, mut at: u64, bytes: u64) -> Outcome<Checksum> {
        let (mut left, mut sum) = (bytes, 0);
        let mut buffer = vec![0; PIECE_BYTES];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            let file = &self.unfinished.file;
            file.read_exact_at(piece, at).map_err(tree::of_std)?;
            let done = u64::try_from(wanted).unwrap_or(left);
            let more = Checksum::of(piece);
            sum = crc_fast::checksum_combine(ALGORITHM, sum, more.0, done);
            at = at.saturating_add(done);
            left = left.saturating_sub(done);
        }
        Ok(Checksum(sum))
    }

    /// Keeps a part whose bytes are there, in place of an earlier one of its number.
    pub(super) fn keep(
        &self,
        number: PartNumber,
        at: u64,
        size: u64,
        checksum: Checksum,
    ) -> CompletedPart {
        let piece = Piece { at, size, checksum };
        let _ = self.pieces().parts.insert(number, piece);
        confirmed(number, piece)
    }

    pub(super) fn parts(&self) -> Vec<CompletedPart> {
        let pieces = self.pieces();
        let parts = pieces.parts.iter();
        parts
            .map(|(number, piece)| confirmed(*number, *piece))
            .collect()
    }

    /// Returns the pieces of the parts that the caller names, under S3's rules.
    pub(super) fn named(
        &self,
        parts: &[CompletedPart],
        checksum: Option<Checksum>,
    ) -> Result<Vec<Piece>, StorageErrorKind> {
        let pieces = self.pieces();
        let mut named = Vec::with_capacity(parts.len());
        let mut sum = 0;
        for (expected, part) in (1..).zip(parts) {
            let kept = pieces.parts.get(&part.number);
            let kept = kept.copied().ok_or(StorageErrorKind::Refused)?;
            let is_last = named.len().saturating_add(1) == parts.len();
            let too_small = !is_last && kept.size < limits::PART_BYTES_MIN;
            if part.number != PartNumber(expected) || part.etag != etag(kept.checksum) || too_small
            {
                return Err(StorageErrorKind::Refused);
            }
            sum = crc_fast::checksum_combine(ALGORITHM, sum, kept.checksum.0, kept.size);
            named.push(kept);
        }
        match checksum {
            _ if named.is_empty() => Err(StorageErrorKind::Refused),
            Some(checksum) if checksum != Checksum(sum) => Err(StorageErrorKind::ChecksumMismatch),
            Some(_) | None => Ok(named),
        }
    }

    fn pieces(&self) -> std::sync::MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how long the file of these pieces is, if they are in order and without gaps.
pub(super) fn in_order(pieces: &[Piece]) -> Option<u64> {
    pieces.iter().try_fold(0_u64, |end, piece| {
        (piece.at == end).then(|| end.saturating_add(piece.size))
    })
}

/// Copies pieces into another file, one after the other.
pub(super) fn assemble(from: &File, pieces: &[Piece], to: &File) -> Outcome<()> {
    let mut end = 0_u64;
    for piece in pieces {
        tree::copy((from, piece.at), (to, end), piece.size)?;
        end = end.saturating_add(piece.size);
    }
    Ok(())
}

fn confirmed(number: PartNumber, piece: Piece) -> CompletedPart {
    CompletedPart {
        number,
        etag: etag(piece.checksum),
        checksum: Some(piece.checksum),
        size: piece.size,
    }
}

fn etag(checksum: Checksum) -> ETag {
    ETag(format!("\"{:016x}\"", checksum.0).into())
}

const ALGORITHM: crc_fast::CrcAlgorithm = crc_fast::CrcAlgorithm::Crc64Nvme;
const PIECE_BYTES: usize = 256 * 1024;
