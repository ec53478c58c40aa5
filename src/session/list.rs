//! An open directory: names page by page, in constant memory.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::clock::unix_seconds;
use crate::limits;
use crate::sftp::{Name, Pending, Reply, Status};
use crate::storage::{ListCursor, ListPage, ListQuery, ObjectStore, StorageError};
use crate::vfs::{Access, VirtualPath};

use super::plan::{Folder, directory_attributes, file_attributes};

/// The state of one open directory.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) path: VirtualPath,
    /// `None` for a virtual directory: all its names were known at once.
    source: Option<(Folder, Access)>,
    names: VecDeque<Name>,
    next: Next,
    /// READDIRs in order of arrival.
    pub(crate) pending: VecDeque<Pending>,
    /// Files whose directory of the same name may still come: the file wins.
    files: Vec<String>,
    /// Uploads of this session that are not in S3 yet, with their sizes.
    uploading: Vec<(String, u64)>,
    seen_uploading: BTreeSet<String>,
}

/// Where the next page comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    Page(ListCursor),
    Fetching,
    End,
}

impl Listing {
    /// Opens a directory without storage.
    pub(crate) fn of_virtual(path: VirtualPath, children: Vec<Name>) -> Self {
        let mut listing = Self::new(path, None, Access::Read);
        listing.names.extend(children);
        listing.next = Next::End;
        listing
    }

    /// Opens a folder with its first page.
    pub(crate) fn of_folder(
        path: VirtualPath,
        folder: Folder,
        access: Access,
        uploading: Vec<(String, u64)>,
        first: ListPage,
    ) -> Self {
        let mut listing = Self::new(path, Some(folder), access);
        listing.uploading = uploading;
        listing.take_page(first);
        listing
    }

    fn new(path: VirtualPath, folder: Option<Folder>, access: Access) -> Self {
        let dot = |name: &'static [u8]| Name {
            name: Bytes::from_static(name),
            attrs: directory_attributes(folder.as_ref().map(|_| access)),
        };
        Self {
            path,
            names: VecDeque::from([dot(b"."), dot(b"..")]),
            source: folder.map(|folder| (folder, access)),
            next: Next::Fetching,
            pending: VecDeque::new(),
            files: Vec::new(),
            uploading: Vec::new(),
            seen_uploading: BTreeSet::new(),
        }
    }

    /// Returns what the session may do here; `None` for a virtual directory.
    pub(crate) fn access(&self) -> Option<Access> {
        self.source.as_ref().map(|(_, access)| *access)
    }

    /// Returns the page to fetch, when few names are left; the caller fetches it.
    pub(crate) fn next_page(&mut self) -> Option<(Folder, ListQuery)> {
        let Next::Page(cursor) = &self.next else {
            return None;
        };
        if self.names.len() > usize::from(limits::LIST_PAGE_MAX) {
            return None;
        }
        let (folder, _) = self.source.clone()?;
        let query = page_query(&folder, Some(cursor.clone()));
        self.next = Next::Fetching;
        Some((folder, query))
    }

    /// Takes a fetched page.
    pub(crate) fn take_page(&mut self, page: ListPage) {
        let Some((folder, access)) = self.source.clone() else {
            return;
        };
        let below = |key: &str| key.strip_prefix(&folder.prefix).map(str::to_owned);
        let files = page.objects.iter().filter_map(|object| {
            let attrs = file_attributes(access, object.size, unix_seconds(object.modified));
            Some((below(&object.key)?, Some(attrs)))
        });
        let directories = page
            .prefixes
            .iter()
            .filter_map(|prefix| Some((below(prefix)?, None)));
        let mut rows: Vec<_> = files.chain(directories).collect();
        // The store sends two lists, each in byte order: merged, a file comes before its twin.
        rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (name, file) in rows {
            match file {
                Some(attrs) => {
                    self.remember_file(&name);
                    self.push(name, attrs);
                }
                None => {
                    let name = name.strip_suffix('/').unwrap_or(&name);
                    if !self.files.iter().any(|file| file == name) {
                        self.push(name.to_owned(), directory_attributes(Some(access)));
                    }
                }
            }
        }
        self.next = match page.next {
            Some(next) => Next::Page(ListCursor::Continuation(next)),
            None => Next::End,
        };
        if self.next == Next::End {
            self.push_uploading(access);
        }
    }

    /// Takes the names of one reply, for which there are `room` bytes; `None`: wait for room, or
    /// for the next page. Empty: the end.
    pub(crate) fn take_names(&mut self, room: usize) -> Option<Vec<Name>> {
        let mut taken = Vec::new();
        let mut bytes = Reply::Status(Status::EOF).bytes_max();
        while let Some(name) = self.names.front() {
            bytes = bytes.saturating_add(name.bytes_max());
            if taken.len() >= limits::NAMES_PER_REPLY_MAX || bytes > room {
                break;
            }
            taken.extend(self.names.pop_front());
        }
        let end = self.names.is_empty() && self.next == Next::End;
        (!taken.is_empty() || end).then_some(taken)
    }

    /// Notes that a page could not be had; the next READDIR may try again.
    pub(crate) fn page_failed(&mut self, query: ListQuery) {
        self.next = query.after.map_or(Next::End, Next::Page);
    }

    fn push(&mut self, name: String, attrs: crate::sftp::Attributes) {
        // Names that no path can reach: markers (empty), keys with `//`, `/./` or `/../` in them.
        if matches!(&*name, "" | "." | "..") || name.contains(['/', '\0']) {
            return;
        }
        if self
            .uploading
            .iter()
            .any(|(uploading, _)| *uploading == name)
        {
            self.seen_uploading.insert(name.clone());
        }
        self.names.push_back(Name {
            name: Bytes::from(name),
            attrs,
        });
    }

    /// Between `a` and `a/` only names that begin with `a` can come.
    fn remember_file(&mut self, name: &str) {
        while self
            .files
            .last()
            .is_some_and(|file| !name.starts_with(file.as_str()))
        {
            self.files.pop();
        }
        self.files.push(name.to_owned());
    }

    fn push_uploading(&mut self, access: Access) {
        for (name, size) in std::mem::take(&mut self.uploading) {
            if !self.seen_uploading.contains(&name) {
                let attrs = file_attributes(access, size, 0);
                self.names.push_back(Name {
                    name: Bytes::from(name),
                    attrs,
                });
            }
        }
    }
}

/// Fetches one page.
pub(crate) async fn fetch_page(
    store: &dyn ObjectStore,
    folder: &Folder,
    query: &ListQuery,
) -> Result<ListPage, StorageError> {
    store.list(&folder.bucket, query).await
}

/// Returns the question for one page of a folder.
pub(crate) fn page_query(folder: &Folder, after: Option<ListCursor>) -> ListQuery {
    let prefix = folder.prefix.clone();
    ListQuery {
        prefix,
        delimited: true,
        after,
        max: limits::LIST_PAGE_MAX,
    }
}
