//! Pages of a long directory that are asked for before it is known where they begin (pure).
//!
//! S3 tells with each page where the next one begins. Where names are numbered or evenly spread
//! they tell more: about so far behind the last name the page after the next begins, and it can be
//! asked for at the same time, after a guessed key. A guess is never believed. Its page is used
//! once the page before it reaches beyond the guessed key, and only if both show the same names
//! there: then the store itself lists one behind the other. Otherwise it is dropped, no more are
//! guessed, and the listing goes on page by page.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::budget::Charge;
use crate::limits::{KEY_BYTES_MAX, LIST_GUESSES_MAX, LIST_PAGE_MAX};
use crate::sftp::Attributes;

/// A name that a page shows, below the directory, and the attributes of a file.
pub(crate) type PageRow = (Bytes, Option<Attributes>);

/// A page whose names are in byte order.
#[derive(Debug)]
pub(crate) struct PageRows {
    pub(crate) rows: Vec<PageRow>,
    /// Where the next page begins.
    pub(crate) next: Option<String>,
    /// The store listed them in byte order.
    pub(crate) is_ordered: bool,
}

/// The guessed pages of one directory, in their order.
#[derive(Debug, Default)]
pub(crate) struct Guessed {
    pages: VecDeque<GuessedPage>,
    /// How many may be under way or here.
    depth: usize,
    /// Pages of the directory that were taken.
    taken: usize,
    /// A guess was of no use.
    is_over: bool,
    /// What the last page shows behind the first guessed key.
    tail: Vec<Bytes>,
    series: Option<Series>,
}

#[derive(Debug)]
struct GuessedPage {
    /// The guessed key, below the directory.
    after: Bytes,
    page: Option<PageRows>,
    charge: Charge,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Joined {
    /// A guessed page goes on where the last one ended; its memory.
    Page(PageRows, Charge),
    /// It does not: what was guessed is dropped.
    Wrong,
}

impl Guessed {
    /// Takes note of a page of the directory.
    pub(crate) fn took(&mut self, page: &PageRows) {
        self.taken = self.taken.saturating_add(1);
        self.tail = Vec::new();
        let Some((last, _)) = page.rows.last() else {
            return;
        };
        self.is_over |= !page.is_ordered;
        if self.taken >= PAGES_BEFORE_GUESSES {
            self.depth = self.depth.max(1);
        }
        if self.pages.is_empty() {
            self.series = Series::of(&page.rows);
        } else if let Some(series) = &mut self.series {
            series.reach(last);
        }
        self.note_tail(&page.rows);
    }

    fn note_tail(&mut self, rows: &[PageRow]) {
        if let Some(front) = self.pages.front() {
            let behind = rows.partition_point(|(name, _)| *name <= front.after);
            let tail = rows.iter().skip(behind);
            self.tail = tail.map(|(name, _)| name.clone()).collect();
        }
    }

    /// Says whether a page that was guessed is to come next.
    pub(crate) fn is_next(&self) -> bool {
        !self.tail.is_empty()
    }

    /// Takes the guessed page that comes next, if it is here.
    pub(crate) fn join(&mut self) -> Option<Joined> {
        if !self.is_next() || self.pages.front()?.page.is_none() {
            return None;
        }
        let GuessedPage { page, charge, .. } = self.pages.pop_front()?;
        let mut page = page?;
        let shown = page.rows.iter().map(|(name, _)| name);
        let is_right = page.is_ordered
            && page.rows.len() >= self.tail.len()
            && shown.zip(&self.tail).all(|(shown, tail)| shown == tail);
        if !is_right {
            return Some(Joined::Wrong);
        }
        page.rows.drain(..self.tail.len());
        if page.rows.len() >= usize::from(LIST_PAGE_MAX / 4) {
            self.depth = self.depth.saturating_mul(2).min(LIST_GUESSES_MAX);
        } else {
            // It was hardly worth its call.
            self.is_over = true;
        }
        self.tail = Vec::new();
        Some(Joined::Page(page, charge))
    }

    /// Guesses after which key a later page begins.
    pub(crate) fn guess(&mut self) -> Option<Bytes> {
        if self.is_over || self.pages.len() >= self.depth {
            return None;
        }
        self.series.as_mut()?.guess()
    }

    /// Notes that a page is asked for after a guessed key.
    pub(crate) fn ask(&mut self, after: Bytes, charge: Charge) {
        self.pages.push_back(GuessedPage {
            after,
            page: None,
            charge,
        });
    }

    /// Takes a page that came, with what it takes; `false`: nobody waits for it any more.
    pub(crate) fn arrived(&mut self, after: &[u8], page: PageRows, bytes: u64) -> bool {
        let mut pages = self.pages.iter_mut();
        let Some(waiting) = pages.find(|one| one.after == after && one.page.is_none()) else {
            return false;
        };
        waiting.charge.shrink_to(bytes);
        waiting.page = Some(page);
        true
    }

    /// Makes no guess for now: there is no memory.
    pub(crate) fn pause(&mut self) {
        self.depth = self.depth.min(self.pages.len());
    }

    /// Drops what was guessed, for good; says whether there was something.
    pub(crate) fn end(&mut self) -> bool {
        let any = !self.pages.is_empty();
        *self = Self {
            is_over: true,
            ..Self::default()
        };
        any
    }

    /// Returns how many pages of names may wait for a client that reads on.
    pub(crate) const fn pages_kept(&self) -> usize {
        1_usize.saturating_add(self.depth / 2)
    }

    /// Returns the names that are kept for the comparison.
    pub(crate) fn tail(&self) -> &[Bytes] {
        &self.tail
    }
}

/// Names as numbers: what stands at one place of them, written in the letters of one alphabet.
#[derive(Debug)]
struct Series {
    /// What stands before the number.
    head: Bytes,
    alphabet: &'static [u8],
    digits: u32,
    /// How far the names of one page reach.
    span: u64,
    /// Where the last name or guess is.
    furthest: u64,
}

impl Series {
    /// Reads the names of a page; `None`: they tell nothing.
    fn of(rows: &[PageRow]) -> Option<Self> {
        let ((first, _), (last, _)) = (rows.first()?, rows.last()?);
        let pairs = first.iter().zip(last.iter());
        let same = pairs.take_while(|(one, other)| one == other).count();
        let some = rows.iter().step_by(rows.len().div_ceil(SAMPLES).max(1));
        let letters = some.flat_map(|(name, _)| {
            let letters = name.iter().skip(same).take(LETTERS_COMPARED);
            letters.take_while(|letter| letter.is_ascii_alphanumeric())
        });
        let letters: BTreeSet<u8> = letters.copied().collect();
        let differ = [first.get(same)?, last.get(same)?];
        let holds = |alphabet: &&[u8]| {
            let mut all = letters.iter().chain(differ);
            all.all(|letter| alphabet.contains(letter))
        };
        let alphabet = ALPHABETS.into_iter().find(holds)?;
        // The number begins before the place where they differ: `099` and `100`.
        let before = last.get(..same)?;
        let run = before.iter().rev();
        let run = run.take_while(|letter| alphabet.contains(letter)).count();
        let begins = same.saturating_sub(run.min(DIGITS_MAX / 2));
        let run = |name: &Bytes| {
            let number = name.iter().skip(begins);
            let number = number.take_while(|letter| alphabet.contains(letter));
            number.count().min(DIGITS_MAX)
        };
        let digits = u32::try_from(run(first).max(run(last))).ok()?;
        let mut series = Self {
            head: last.slice(..begins),
            alphabet,
            digits,
            span: 0,
            furthest: 0,
        };
        let (from, to) = (series.number(first)?, series.number(last)?);
        let names = u64::try_from(rows.len()).ok()?;
        series.span = to
            .checked_sub(from)?
            .checked_mul(u64::from(LIST_PAGE_MAX))?
            .checked_div(names)?;
        series.furthest = to;
        (series.span > 0).then_some(series)
    }

    /// Returns the number in a name; a shorter one is as if the lowest letter followed.
    fn number(&self, name: &Bytes) -> Option<u64> {
        let letters = name.strip_prefix(&*self.head)?;
        let mut letters = letters.iter().map(|letter| self.value(*letter));
        let base = self.base()?;
        let mut number = 0_u64;
        let mut ended = false;
        for _ in 0..self.digits {
            let digit = letters.next().flatten().filter(|_| !ended);
            ended |= digit.is_none();
            let digit = digit.unwrap_or(0);
            number = number.checked_mul(base)?.checked_add(digit)?;
        }
        Some(number)
    }

    fn value(&self, letter: u8) -> Option<u64> {
        let at = self.alphabet.iter().position(|one| *one == letter)?;
        u64::try_from(at).ok()
    }

    fn base(&self) -> Option<u64> {
        u64::try_from(self.alphabet.len()).ok()
    }

    /// Takes note of how far the directory was listed.
    fn reach(&mut self, last: &Bytes) {
        if let Some(number) = self.number(last) {
            self.furthest = self.furthest.max(number);
        }
    }

    /// Goes on by a little less than a page, so that the page before it reaches beyond.
    fn guess(&mut self) -> Option<Bytes> {
        let step = self.span.saturating_sub(self.span / 8).max(1);
        let mut number = self.furthest.checked_add(step)?;
        let base = self.base()?;
        let mut name = self.head.to_vec();
        let mut letters = Vec::new();
        for _ in 0..self.digits {
            let digit = usize::try_from(number.checked_rem(base)?).ok()?;
            letters.push(*self.alphabet.get(digit)?);
            number = number.checked_div(base)?;
        }
        if number > 0 || name.len().saturating_add(letters.len()) > KEY_BYTES_MAX {
            return None;
        }
        self.furthest = self.furthest.saturating_add(step);
        letters.reverse();
        name.extend(letters);
        Some(name.into())
    }
}

/// How much of a directory a client has to read before pages are guessed.
const PAGES_BEFORE_GUESSES: usize = 4;
/// Names of a page, and letters of each from the place on where they differ, that tell the
/// alphabet.
const SAMPLES: usize = 16;
const LETTERS_COMPARED: usize = 3;
/// In the order in which S3 lists them.
const ALPHABETS: [&[u8]; 5] = [
    b"0123456789",
    b"0123456789abcdef",
    b"0123456789ABCDEF",
    b"0123456789abcdefghijklmnopqrstuvwxyz",
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
];
/// As many as a number of 64 bits has in the longest alphabet.
const DIGITS_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    /// Guesses by the first and the last of a thousand names.
    fn guesses(first: &str, last: &str) -> Vec<String> {
        let row = |text: &str| (Bytes::copy_from_slice(text.as_bytes()), None);
        let mut rows = vec![row(first); 999];
        rows.push(row(last));
        let Some(mut series) = Series::of(&rows) else {
            return Vec::new();
        };
        let text = |name: Bytes| String::from_utf8(name.to_vec()).unwrap();
        std::iter::from_fn(|| series.guess().map(text))
            .take(3)
            .collect()
    }

    #[test]
    fn names_tell_where_later_pages_begin() {
        for (first, last, expected) in [
            (
                "file-01000",
                "file-01999",
                ["file-02874", "file-03749", "file-04624"],
            ),
            ("09500.txt", "10499.txt", ["11374", "12249", "13124"]),
            ("00a0-x", "00af-y", ["00bd", "00cb", "00d9"]),
            ("A0", "B0", ["BE", "CC", "DA"]),
        ] {
            assert_eq!(guesses(first, last), expected, "{first} {last}");
        }
    }

    #[test]
    fn what_tells_nothing_is_not_guessed() {
        for (first, last) in [
            ("same", "same"),
            ("", "x"),
            ("é", "ü"),
            ("a b", "a-b"),
            ("9998", "9999"),
            ("x/", "x/"),
        ] {
            let guessed = guesses(first, last);
            assert!(guessed.len() <= 1, "{first} {last}: {guessed:?}");
        }
        assert!(guesses("00", "99").is_empty());
    }
}
