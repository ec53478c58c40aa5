//! An open directory: names page by page, each page with memory for its longest names.
//!
//! OPENDIR brings a short page if there is memory for it, and otherwise looks only whether the
//! directory is there. Longer pages come once the reader goes on. The next page is asked for before
//! it is needed if there is memory; a READDIR that needs it waits for memory, and its directory
//! has no names to give meanwhile.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::budget::Charge;
use crate::clock::unix_seconds;
use crate::limits;
use crate::sftp::{Attributes, Given, Name, Pending, Reply, Status};
use crate::storage::{ListCursor, ListPage, ListQuery};
use crate::vfs::{Access, VirtualPath};

use super::gathered::Gathered;
use super::guessed::{Guessed, Joined, PageRow, PageRows};
use super::listed::Listed;
use super::plan::{directory_attributes, file_attributes};
use super::stored_time::Shows;

/// The state of one open directory.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) path: VirtualPath,
    /// `None` for a virtual directory: all its names were known at once.
    source: Option<(Listed, Access)>,
    /// When its marker was written, in seconds since 1970.
    modified: Option<u32>,
    names: VecDeque<Name>,
    /// What the names take.
    name_bytes: usize,
    next: Next,
    /// Names of the next page.
    page_max: u16,
    /// READDIRs in order of arrival.
    pending: VecDeque<Pending>,
    /// A READDIR came.
    is_read: bool,
    /// There was no memory to read ahead.
    short: bool,
    /// Files whose directory of the same name may still come: the file wins.
    files: Vec<Bytes>,
    /// Uploads of this session that are not in S3 yet, with their sizes.
    uploading: Vec<(String, u64)>,
    seen_uploading: BTreeSet<String>,
    /// A directory that is there whatever the pages say, until one shows it.
    always: Option<Bytes>,
    /// For the session to remember, unless they are too many.
    gathered: Option<Gathered>,
    guessed: Guessed,
    /// A guessed page for which there is memory.
    ready: Option<Bytes>,
    /// Calls for guessed pages are under way that nobody needs any more.
    is_wrong: bool,
    /// Memory of what is held, and of the page that is on its way.
    charge: Option<Charge>,
}

/// Where the next page comes from; it begins after the cursor, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    Page(Option<ListCursor>),
    /// Memory was asked for.
    Asked(Option<ListCursor>),
    /// There is memory.
    Ready(Option<ListCursor>),
    Fetching,
    End,
}

/// What is to be done for a directory.
#[derive(Debug)]
pub(crate) enum ListEffect {
    /// Take memory of the account, and say at once if there is none. With `waits`, wait for it.
    WantMemory {
        bytes: u64,
        waits: bool,
    },
    Fetch {
        listed: Listed,
        query: ListQuery,
    },
    /// Take memory of the account for a guessed page, and say at once if there is none.
    WantGuess {
        after: Bytes,
        bytes: u64,
    },
    /// Fetch it beside the other pages.
    FetchGuess {
        listed: Listed,
        query: ListQuery,
    },
    /// End the calls for guessed pages.
    DropGuesses,
    /// Remember the names: they are all.
    Listed(Gathered),
    /// No names: the end.
    Answer(Pending, Vec<Name>),
}

/// What OPENDIR found.
#[derive(Debug)]
pub(crate) struct FirstPage {
    pub(crate) listed: Listed,
    pub(crate) access: Access,
    /// Without memory for its names there is none.
    pub(crate) page: Option<ListPage>,
    pub(crate) uploading: Vec<(String, u64)>,
    /// A directory in it that is there whatever the store shows.
    pub(crate) always: Option<String>,
    /// Where the page is not the last one.
    pub(crate) gathered: Option<Gathered>,
    pub(crate) charge: Option<Charge>,
}

impl Listing {
    /// Opens a directory without storage.
    pub(crate) fn of_virtual(path: VirtualPath, children: Vec<Name>, charge: Charge) -> Self {
        let mut listing = Self::new(path, (None, Access::Read), None, Some(charge));
        children.into_iter().for_each(|name| listing.queue(name));
        listing.next = Next::End;
        listing
    }

    /// Opens what has pages.
    pub(crate) fn of_pages(path: VirtualPath, first: FirstPage) -> Self {
        let FirstPage {
            listed,
            access,
            page,
            uploading,
            always,
            gathered,
            charge,
        } = first;
        let marker = page.as_ref().and_then(|page| page.object(listed.prefix()));
        let modified = marker.map(|marker| unix_seconds(marker.modified));
        let mut listing = Self::new(path, (Some(listed), access), modified, charge);
        listing.uploading = uploading;
        listing.always = always.map(Bytes::from);
        listing.gathered = gathered;
        if let Some(page) = page {
            listing.page_max = limits::LIST_PAGE_MAX;
            listing.take_page(page);
        }
        listing
    }

    fn new(
        path: VirtualPath,
        (listed, access): (Option<Listed>, Access),
        modified: Option<u32>,
        charge: Option<Charge>,
    ) -> Self {
        let dot = |name: &'static [u8], modified| Name {
            name: Bytes::from_static(name),
            attrs: directory_attributes(listed.as_ref().map(|_| access), modified),
        };
        let dots = [dot(b".", modified), dot(b"..", None)];
        let mut listing = Self {
            path,
            names: VecDeque::new(),
            name_bytes: 0,
            source: listed.map(|listed| (listed, access)),
            modified,
            next: Next::Page(None),
            page_max: limits::LIST_FIRST_PAGE_MAX,
            pending: VecDeque::new(),
            is_read: false,
            short: false,
            files: Vec::new(),
            uploading: Vec::new(),
            seen_uploading: BTreeSet::new(),
            always: None,
            gathered: None,
            guessed: Guessed::default(),
            ready: None,
            is_wrong: false,
            charge,
        };
        dots.into_iter().for_each(|name| listing.queue(name));
        listing
    }

    /// Says whether the buckets are listed.
    pub(crate) const fn is_of_buckets(&self) -> bool {
        matches!(self.source, Some((Listed::Buckets(_), _)))
    }

    /// Returns what FSTAT shows.
    pub(crate) fn attributes(&self) -> Attributes {
        directory_attributes(self.access(), self.modified)
    }

    fn access(&self) -> Option<Access> {
        self.source.as_ref().map(|(_, access)| *access)
    }

    /// Takes a READDIR.
    pub(crate) fn ask(&mut self, pending: Pending) {
        self.is_read = true;
        self.pending.push_back(pending);
    }

    /// Says whether a READDIR could be answered if there is room.
    pub(crate) fn can_answer(&self) -> bool {
        !self.pending.is_empty() && (!self.names.is_empty() || self.next == Next::End)
    }

    /// Says what to do next; there are `room` bytes for one answer.
    pub(crate) fn next(&mut self, room: usize) -> Option<ListEffect> {
        if let Some(gathered) = self.gathered.take_if(|_| self.next == Next::End) {
            self.settle();
            return Some(ListEffect::Listed(gathered));
        }
        if self.can_answer()
            && let Some(names) = self.take_names(room)
        {
            let pending = self.pending.pop_front()?;
            return Some(ListEffect::Answer(pending, names));
        }
        if std::mem::take(&mut self.is_wrong) {
            return Some(ListEffect::DropGuesses);
        }
        self.page().or_else(|| self.guess())
    }

    /// Says what to do for the next page.
    fn page(&mut self) -> Option<ListEffect> {
        if let Next::Ready(cursor) = &self.next {
            let (listed, _) = self.source.clone()?;
            let query = listed.query(cursor.clone(), self.page_max);
            self.next = Next::Fetching;
            return Some(ListEffect::Fetch { listed, query });
        }
        let Next::Page(cursor) = &self.next else {
            return None;
        };
        // A guessed page comes in its place.
        if self.guessed.is_next() {
            return None;
        }
        let needed = self.is_needed();
        if !self.reads_on() && !needed {
            return None;
        }
        self.next = Next::Asked(cursor.clone());
        if self.short {
            // Enough for a short page is had sooner.
            self.page_max = limits::LIST_FIRST_PAGE_MAX;
        }
        Some(ListEffect::WantMemory {
            bytes: page_bytes_max(self.page_max),
            waits: self.short,
        })
    }

    /// Says whether names are worth asking for before they are needed: more is of no use to a
    /// client that does not take what is here.
    fn reads_on(&self) -> bool {
        let pages = self.guessed.pages_kept();
        let most = usize::from(limits::LIST_PAGE_MAX).saturating_mul(pages);
        self.is_read && !self.short && !self.can_answer() && self.names.len() <= most
    }

    /// Says what to do for pages whose beginning is guessed.
    fn guess(&mut self) -> Option<ListEffect> {
        let (listed, _) = self.source.as_ref()?;
        if let Some(after) = self.ready.take() {
            let Ok(after) = str::from_utf8(&after) else {
                self.end_guesses();
                return None;
            };
            let key = format!("{}{after}", listed.prefix());
            let listed = listed.clone();
            let query = listed.query(Some(ListCursor::StartAfter(key)), limits::LIST_PAGE_MAX);
            return Some(ListEffect::FetchGuess { listed, query });
        }
        // Nor does a history begin anywhere.
        let is_folder = matches!(listed, Listed::Folder(folder) if !folder.bucket.is_history());
        if !is_folder || self.next == Next::End || !self.reads_on() {
            return None;
        }
        let bytes = page_bytes_max(limits::LIST_PAGE_MAX);
        let after = self.guessed.guess()?;
        Some(ListEffect::WantGuess { after, bytes })
    }

    /// Takes the memory of a guessed page; `None`: there is none.
    pub(crate) fn guess_memory(&mut self, after: Bytes, charge: Option<Charge>) {
        match charge {
            Some(charge) => {
                self.guessed.ask(after.clone(), charge);
                self.ready = Some(after);
            }
            None => self.guessed.pause(),
        }
    }

    /// Takes a guessed page; `None`: it could not be had.
    pub(crate) fn guess_arrived(&mut self, query: &ListQuery, page: Option<ListPage>) {
        let Some(page) = page.and_then(|page| self.rows_of(page)) else {
            self.end_guesses();
            return;
        };
        let Some(ListCursor::StartAfter(key)) = &query.after else {
            return;
        };
        let after = key.strip_prefix(&*query.prefix).unwrap_or(key);
        let names = page.rows.iter().map(|(name, _)| self.cost(name));
        let bytes = names.fold(0, usize::saturating_add);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.guessed.arrived(after.as_bytes(), page, bytes) {
            self.join();
        }
    }

    /// Takes the guessed pages that go on where the last page ended.
    fn join(&mut self) {
        while matches!(self.next, Next::Page(_))
            && let Some(joined) = self.guessed.join()
        {
            match joined {
                Joined::Page(page, charge) => {
                    self.add(charge);
                    // Its names are not gathered.
                    self.gathered = None;
                    self.take_rows(page);
                }
                Joined::Wrong => self.end_guesses(),
            }
        }
    }

    fn end_guesses(&mut self) {
        self.ready = None;
        self.is_wrong |= self.guessed.end();
    }

    /// Takes the memory that was asked for; `None`: there is none.
    pub(crate) fn memory(&mut self, charge: Option<Charge>) {
        let Next::Asked(cursor) = &self.next else {
            return;
        };
        let cursor = cursor.clone();
        match charge {
            Some(charge) => {
                self.add(charge);
                self.short = false;
                self.next = Next::Ready(cursor);
            }
            None => {
                self.short = true;
                self.next = Next::Page(cursor);
                // Who waits for memory has none.
                self.gathered = None;
                self.end_guesses();
                self.settle();
            }
        }
    }

    /// Takes a fetched page.
    pub(crate) fn page_arrived(&mut self, page: ListPage) {
        self.page_max = limits::LIST_PAGE_MAX;
        self.take_page(page);
        self.join();
    }

    /// Notes that a page could not be had, and returns the READDIRs that waited for it; the next
    /// one may try again.
    pub(crate) fn page_failed(&mut self, query: ListQuery) -> VecDeque<Pending> {
        self.next = Next::Page(query.after);
        self.end_guesses();
        self.settle();
        self.take_pending()
    }

    /// Takes the READDIRs that wait, to refuse them.
    pub(crate) fn take_pending(&mut self) -> VecDeque<Pending> {
        std::mem::take(&mut self.pending)
    }

    fn is_needed(&self) -> bool {
        self.names.is_empty() && !self.pending.is_empty()
    }

    fn take_page(&mut self, page: ListPage) {
        if let Some((listed, _)) = &self.source {
            let gathered = self.gathered.take();
            self.gathered = gathered.and_then(|gathered| gathered.with(listed, &page));
        }
        if let Some(page) = self.rows_of(page) {
            self.take_rows(page);
        }
    }

    /// Reads a page; `None`: there is nothing to list.
    fn rows_of(&self, page: ListPage) -> Option<PageRows> {
        let (listed, access) = self.source.as_ref()?;
        let objects = page.objects.iter().map(|object| &object.key);
        let is_ordered = objects.is_sorted() && page.prefixes.is_sorted();
        // Names stay in the memory of their keys.
        let below = |key: String| {
            let key = Bytes::from(key);
            let prefix = listed.prefix();
            let inside = key.starts_with(prefix.as_bytes());
            inside.then(|| key.slice(prefix.len()..))
        };
        let stored = Shows {
            modes: true,
            ..Shows::default()
        };
        let files = page.objects.into_iter().filter_map(|object| {
            let attrs = file_attributes(*access, object.size, unix_seconds(object.modified));
            let attrs = stored.with(
                attrs,
                Given {
                    modified: None,
                    mode: object.mode,
                    owner: object.owner,
                },
            );
            Some((below(object.key)?, Some(attrs)))
        });
        let directories = page.prefixes.into_iter();
        let directories = directories.filter_map(|prefix| Some((below(prefix)?, None)));
        let mut rows: Vec<PageRow> = files.chain(directories).collect();
        // The store sends two lists, each in byte order, which this sort takes as they are:
        // merged, a file comes before its twin.
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        Some(PageRows {
            rows,
            next: page.next,
            is_ordered,
        })
    }

    fn take_rows(&mut self, page: PageRows) {
        let Some(access) = self.access() else {
            return;
        };
        self.guessed.took(&page);
        for (name, file) in page.rows {
            match file {
                Some(attrs) => {
                    self.remember_file(&name);
                    self.push(name, attrs);
                }
                None => {
                    let name = name
                        .strip_suffix(b"/")
                        .map_or_else(|| name.clone(), |short| name.slice(..short.len()));
                    if !self.files.contains(&name) {
                        self.push(name, directory_attributes(Some(access), None));
                    }
                }
            }
        }
        self.next = match page.next {
            Some(next) => Next::Page(Some(ListCursor::Continuation(next))),
            None => Next::End,
        };
        if self.next == Next::End {
            self.end_guesses();
            self.files = Vec::new();
            self.push_uploading(access);
            if let Some(name) = self.always.take() {
                let attrs = directory_attributes(Some(access), None);
                self.queue(Name { name, attrs });
            }
        }
        self.settle();
    }

    /// Takes the names of one reply, for which there are `room` bytes; `None`: wait for room.
    /// Empty: the end.
    fn take_names(&mut self, room: usize) -> Option<Vec<Name>> {
        if self.names.is_empty() {
            return Some(Vec::new());
        }
        let mut taken = Vec::new();
        let mut bytes = Reply::Status(Status::EOF).bytes_max();
        while let Some(name) = self.names.front() {
            bytes = bytes.saturating_add(name.bytes_max());
            if taken.len() >= limits::NAMES_PER_REPLY_MAX || bytes > room {
                break;
            }
            let cost = self.cost(&name.name);
            self.name_bytes = self.name_bytes.saturating_sub(cost);
            taken.extend(self.names.pop_front());
        }
        self.settle();
        (!taken.is_empty()).then_some(taken)
    }

    fn push(&mut self, name: Bytes, attrs: Attributes) {
        // Names that no path can reach: markers (empty), keys with `//`, `/./` or `/../` in them.
        if matches!(&*name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
            return;
        }
        let mut uploading = self.uploading.iter();
        if let Some((uploading, _)) = uploading.find(|(one, _)| one.as_bytes() == name) {
            self.seen_uploading.insert(uploading.clone());
        }
        drop(self.always.take_if(|always| *always == name));
        self.queue(Name { name, attrs });
    }

    fn queue(&mut self, name: Name) {
        self.name_bytes = self.name_bytes.saturating_add(self.cost(&name.name));
        self.names.push_back(name);
    }

    /// Between `a` and `a/` only names that begin with `a` can come.
    fn remember_file(&mut self, name: &Bytes) {
        while self
            .files
            .last()
            .is_some_and(|file| !name.starts_with(file))
        {
            self.files.pop();
        }
        self.files.push(name.clone());
    }

    fn push_uploading(&mut self, access: Access) {
        for (name, size) in std::mem::take(&mut self.uploading) {
            if !self.seen_uploading.contains(&name) {
                let attrs = file_attributes(access, size, 0);
                let name = Bytes::from(name);
                self.queue(Name { name, attrs });
            }
        }
        self.seen_uploading = BTreeSet::new();
    }

    // ---- memory ----

    fn add(&mut self, charge: Charge) {
        charge.join_into(&mut self.charge);
    }

    /// Gives back what is charged for more than there is.
    fn settle(&mut self) {
        let held = self.held_bytes();
        if held == 0 {
            self.names.shrink_to(0);
            self.charge = None;
        } else if let Some(charge) = &mut self.charge {
            charge.shrink_to(held);
        }
    }

    /// Returns what a name takes: it keeps its key.
    fn cost(&self, name: &Bytes) -> usize {
        let prefix = self.source.as_ref().map_or(0, |(l, _)| l.prefix().len());
        let bytes = name.len().saturating_add(prefix);
        bytes.saturating_add(NAME_BYTES)
    }

    /// Returns how many bytes are held, and how many will be, but for guessed pages.
    fn held_bytes(&self) -> u64 {
        let coming = match &self.next {
            Next::Ready(_) | Next::Fetching => page_bytes_max(self.page_max),
            Next::Page(_) | Next::Asked(_) | Next::End => 0,
        };
        let kept = self.files.iter().chain(&self.always);
        let kept = kept.chain(self.guessed.tail());
        let kept = kept.map(|name| self.cost(name));
        let sum = kept.fold(self.name_bytes, usize::saturating_add);
        let gathered = self.gathered.as_ref().map_or(0, Gathered::bytes);
        let sum = sum.saturating_add(gathered);
        let uploading = self.uploading.iter().map(|(name, _)| name.len());
        let sum = uploading
            .map(uploading_bytes)
            .fold(sum, usize::saturating_add);
        coming.saturating_add(u64::try_from(sum).unwrap_or(u64::MAX))
    }
}

/// Returns what one name takes that is uploaded: it may be there twice.
pub(crate) const fn uploading_bytes(length: usize) -> usize {
    length.saturating_mul(2).saturating_add(NAME_BYTES)
}

/// Returns what a page of names takes at most while it comes: as the store sends it, and read.
pub(crate) fn page_bytes_max(names: u16) -> u64 {
    let each = limits::KEY_BYTES_MAX.saturating_add(NAME_BYTES);
    let each = u64::try_from(each.saturating_mul(2)).unwrap_or(u64::MAX);
    u64::from(names).saturating_mul(each)
}

/// What a name takes beside its key, here or in the page that brings it.
pub(crate) const NAME_BYTES: usize = 256;

#[cfg(test)]
mod tests;
