//! The names of a directory as its pages bring them (pure): where they are not too many they are
//! remembered for a while.

#![warn(clippy::arithmetic_side_effects)]

use std::time::Instant;

use crate::clock::unix_seconds;
use crate::limits::LIST_PAGE_MAX;
use crate::storage::ListPage;

use super::fresh::{ListedFile, NameHasher, Names, ROW_BYTES, Row};
use super::listed::Listed;

/// The names that came so far.
#[derive(Debug)]
pub(crate) struct Gathered {
    hasher: NameHasher,
    /// When S3 was asked for the first of them.
    asked: Instant,
    rows: Vec<Row>,
}

impl Gathered {
    /// Begins without any.
    pub(crate) const fn new(hasher: NameHasher, asked: Instant) -> Self {
        Self {
            hasher,
            asked,
            rows: Vec::new(),
        }
    }

    /// Takes a page; `None`: they are more than are remembered.
    pub(crate) fn with(mut self, listed: &Listed, page: &ListPage) -> Option<Self> {
        self.rows.extend(rows_of(&self.hasher, listed, page));
        (self.rows.len() <= usize::from(LIST_PAGE_MAX)).then_some(self)
    }

    /// Takes what was gathered as the names of the whole directory.
    pub(crate) fn whole(self) -> (Instant, Names) {
        (self.asked, Names::of(self.rows))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.rows.capacity().saturating_mul(ROW_BYTES)
    }
}

/// Returns the names on a page that is the only one of its directory.
pub(super) fn names_of(hasher: &NameHasher, listed: &Listed, page: &ListPage) -> Names {
    if page.next.is_some() {
        return Names::too_many();
    }
    Names::of(rows_of(hasher, listed, page).collect())
}

fn rows_of<'a>(
    hasher: &'a NameHasher,
    listed: &'a Listed,
    page: &'a ListPage,
) -> impl Iterator<Item = Row> {
    let prefix = listed.prefix();
    let files = page.objects.iter().filter_map(move |object| {
        let file = ListedFile {
            size: object.size,
            modified: unix_seconds(object.modified),
        };
        Some((object.key.strip_prefix(prefix)?, file))
    });
    let directories = page.prefixes.iter();
    let directories =
        directories.filter_map(move |key| key.strip_prefix(prefix)?.strip_suffix('/'));
    hasher.rows(files, directories)
}
