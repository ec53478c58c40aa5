//! What a move has copied: 48 bytes for each object, by which it is known again.

#![warn(clippy::arithmetic_side_effects)]

use sha2::{Digest as _, Sha256};

use crate::storage::ETag;

/// The objects that were copied, in the pieces in which they were listed.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pieces: Vec<Piece>,
    /// Where the last one was found: listings keep their order.
    at: usize,
}

/// Rows in the order of their names' hashes.
#[derive(Debug)]
struct Piece(Vec<Row>);

/// One object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    name: Hash,
    source: Hash,
    copy: Hash,
}

/// Half of a SHA-256: clients choose names and contents, and must not be able to choose two that
/// look the same here.
type Hash = [u8; 16];

impl Row {
    /// What a row takes, in bytes.
    pub(super) const BYTES: u64 = 48;

    /// `name` is the key without its directory's prefix.
    pub(super) fn new(name: &str, source: &ETag, copy: &ETag) -> Self {
        Self {
            name: hash(name),
            source: hash(&source.0),
            copy: hash(&copy.0),
        }
    }

    /// Says whether the source is still the version that was copied.
    pub(super) fn is_source(&self, etag: &ETag) -> bool {
        self.source == hash(&etag.0)
    }

    /// Says whether the target is still the copy.
    pub(super) fn is_copy(&self, etag: &ETag) -> bool {
        self.copy == hash(&etag.0)
    }
}

impl Copied {
    /// Adds what was copied of one page.
    pub(super) fn add(&mut self, mut rows: Vec<Row>) {
        rows.sort_unstable_by_key(|row| row.name);
        self.pieces.push(Piece(rows));
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.0.len()).sum()
    }

    /// Finds an object by its name.
    pub(super) fn find(&mut self, name: &str) -> Option<Row> {
        let name = hash(name);
        let (before, after) = self.pieces.split_at_checked(self.at)?;
        let from_here = (self.at..).zip(after).chain((0..).zip(before));
        let (at, row) = from_here
            .map(|(at, piece)| (at, piece.find(&name)))
            .find_map(|(at, row)| Some((at, row?)))?;
        self.at = at;
        Some(row)
    }
}

impl Piece {
    fn find(&self, name: &Hash) -> Option<Row> {
        let at = self.0.binary_search_by_key(name, |row| row.name).ok()?;
        self.0.get(at).copied()
    }
}

fn hash(text: &str) -> Hash {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(Sha256::digest(text)) {
        *to = from;
    }
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etag(text: &str) -> ETag {
        ETag(text.into())
    }

    #[test]
    fn an_object_is_known_by_its_name_and_its_versions() {
        let mut copied = Copied::default();
        for piece in 0..5 {
            let row = |n: u32| Row::new(&format!("{piece}/{n}"), &etag("old"), &etag("new"));
            copied.add((0..100).map(row).collect());
        }
        assert_eq!(copied.len(), 500);
        assert_eq!(u64::try_from(size_of::<Row>()).unwrap(), Row::BYTES);
        for name in ["0/0", "3/99", "1/50", "4/7", "0/1"] {
            let row = copied.find(name).unwrap();
            assert!(row.is_source(&etag("old")) && row.is_copy(&etag("new")));
            assert!(!row.is_source(&etag("new")) && !row.is_copy(&etag("old")));
        }
        assert!(copied.find("5/0").is_none() && copied.find("").is_none());
        assert!(Copied::default().find("x").is_none());
    }
}
