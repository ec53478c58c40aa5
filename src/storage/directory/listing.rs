//! Listings as S3 gives them: keys in the order of their bytes, a directory as the key of its name
//! with a slash.
//!
//! A directory is read to its end for each page, and only the entries that come next are kept, as
//! many as the page takes; where it is only asked whether there is any, up to the first one.

use std::collections::BTreeMap;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::place::{Place, is_name};
use super::tree::{self, Outcome, Tree};
use crate::limits;
use crate::storage::{ListCursor, ListPage, ListQuery, ListedObject};

/// Returns one page.
pub(super) fn page(tree: &Tree, query: &ListQuery) -> Outcome<ListPage> {
    let mut walk = Walk::new(tree, query);
    let (directory, name) = match query.prefix.rfind('/') {
        Some(at) => query.prefix.split_at(at.saturating_add(1)),
        None => ("", &*query.prefix),
    };
    if is_there(tree, directory)? {
        walk.visit(directory, name)?;
    }
    Ok(walk.page)
}

fn is_there(tree: &Tree, directory: &str) -> Outcome<bool> {
    if directory.is_empty() {
        return Ok(true);
    }
    let Some(place) = Place::of(directory) else {
        return Ok(false);
    };
    match tree.look(place.path()) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if is_nothing(error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says whether there is nothing of that name, or nothing that is shown.
pub(super) const fn is_nothing(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG
    )
}

struct Walk<'a> {
    tree: &'a Tree,
    delimited: bool,
    max: u16,
    /// Where the page begins; empty: at the beginning.
    after: String,
    /// That is a group, which is left out as a whole.
    after_group: bool,
    page: ListPage,
    entries: u16,
    last: Option<String>,
    is_full: bool,
    /// Entries of the directories above that are kept.
    kept: usize,
}

impl<'a> Walk<'a> {
    fn new(tree: &'a Tree, query: &ListQuery) -> Self {
        let (after, is_group) = match &query.after {
            None => ("", false),
            Some(ListCursor::StartAfter(key)) => (&**key, false),
            Some(ListCursor::Continuation(token)) => match token.strip_prefix(GROUP) {
                Some(prefix) => (prefix, true),
                None => (token.strip_prefix(OBJECT).unwrap_or(token), false),
            },
        };
        let rest = after.strip_prefix(&*query.prefix);
        let names_group = query.delimited && rest.is_some_and(|rest| rest.ends_with('/'));
        Self {
            tree,
            delimited: query.delimited,
            max: query.max,
            after: after.to_owned(),
            after_group: is_group || names_group,
            page: ListPage::default(),
            entries: 0,
            last: None,
            is_full: false,
            kept: 0,
        }
    }

    /// Shows what is in a directory, itself first. `prefix` is empty or ends with a slash.
    fn visit(&mut self, prefix: &str, begins: &str) -> Outcome<()> {
        if begins.is_empty() && !prefix.is_empty() && prefix > &*self.after {
            self.show_object(prefix)?;
        }
        let most = self.window_max();
        let mut from = String::new();
        while !self.is_full {
            let window = self.window((prefix, begins), &from, most)?;
            if self.wants_no_more() {
                // In whatever order: it is only asked whether there is any.
                if !window.is_empty() {
                    self.is_full = true;
                    self.page.next = self.last.take();
                }
                return Ok(());
            }
            let is_last = window.len() < most;
            self.kept = self.kept.saturating_add(window.len());
            for (name, is_directory) in &window {
                let key = format!("{prefix}{name}");
                if !is_directory {
                    self.show_object(&key)?;
                } else if self.delimited {
                    self.show_group(&key);
                } else {
                    self.visit(&key, "")?;
                }
                if self.is_full {
                    return Ok(());
                }
            }
            self.kept = self.kept.saturating_sub(window.len());
            match window.into_iter().next_back() {
                Some((name, _)) if !is_last => from = name,
                Some(_) | None => break,
            }
        }
        Ok(())
    }

    /// Returns how many entries of a directory are kept at once: all that the page takes, as long as
    /// the directories above it leave room for them.
    fn window_max(&self) -> usize {
        // One more tells that there is more.
        let wanted = usize::from(self.max.saturating_sub(self.entries)).saturating_add(1);
        let room = KEPT_MAX.saturating_sub(self.kept) / 2;
        wanted.min(room.max(WINDOW_LEAST))
    }

    /// The page is full, if there is anything more.
    const fn wants_no_more(&self) -> bool {
        self.entries >= self.max
    }

    /// Returns the first entries that come next, directories with a slash at their end.
    fn window(
        &self,
        (prefix, begins): (&str, &str),
        from: &str,
        most: usize,
    ) -> Outcome<BTreeMap<String, bool>> {
        let mut window = BTreeMap::new();
        let directory = prefix.strip_suffix('/').unwrap_or(prefix);
        let entries = match self.tree.entries(directory) {
            Ok(entries) => entries,
            // It went meanwhile.
            Err(error) if is_nothing(error) => return Ok(window),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            // What is not text has no key.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if !is_name(name) {
                continue;
            }
            let Some(is_directory) = self.is_directory(prefix, name, entry.file_type())? else {
                continue;
            };
            let name = if is_directory {
                format!("{name}/")
            } else {
                name.to_owned()
            };
            if !name.starts_with(begins)
                || *name <= *from
                || prefix.len().saturating_add(name.len()) > limits::KEY_BYTES_MAX
                || !self.comes_next(prefix, &name, is_directory)?
            {
                continue;
            }
            let _ = window.insert(name, is_directory);
            if self.wants_no_more() {
                return Ok(window);
            }
            if window.len() > most {
                drop(window.pop_last());
            }
        }
        Ok(window)
    }

    /// `None`: nothing that is shown.
    fn is_directory(&self, prefix: &str, name: &str, kind: FileType) -> Outcome<Option<bool>> {
        match kind {
            FileType::RegularFile => Ok(Some(false)),
            FileType::Directory => Ok(Some(true)),
            FileType::Unknown => match self.tree.look(&format!("{prefix}{name}")) {
                Ok(found) => Ok(Some(found.is_dir())),
                Err(error) if is_nothing(error) => Ok(None),
                Err(error) => Err(error),
            },
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => Ok(None),
        }
    }

    /// Says whether an entry, or something in it, comes after where the page begins.
    fn comes_next(&self, prefix: &str, name: &str, is_directory: bool) -> Outcome<bool> {
        let key = format!("{prefix}{name}");
        if *key > *self.after {
            return Ok(true);
        }
        let is_around = is_directory && self.after.starts_with(&key);
        if !is_around || !self.delimited {
            return Ok(is_around);
        }
        if self.after_group && *key == *self.after {
            return Ok(false);
        }
        // A group is shown if anything in it comes next.
        let below = ListQuery {
            prefix: key,
            delimited: false,
            after: Some(ListCursor::StartAfter(self.after.clone())),
            max: 1,
        };
        Ok(!page(self.tree, &below)?.objects.is_empty())
    }

    fn show_object(&mut self, key: &str) -> Outcome<()> {
        let path = key.strip_suffix('/').unwrap_or(key);
        let found = match self.tree.look(path) {
            Ok(found) => found,
            Err(error) if is_nothing(error) => return Ok(()),
            Err(error) => return Err(error),
        };
        if found.is_dir() == key.ends_with('/') && self.has_room() {
            self.last = Some(format!("{OBJECT}{key}"));
            self.page.objects.push(ListedObject {
                key: key.to_owned(),
                size: tree::size(&found),
                etag: tree::etag(&found),
                modified: tree::modified(&found),
                mode: None,
                owner: None,
            });
        }
        Ok(())
    }

    fn show_group(&mut self, prefix: &str) {
        if self.has_room() {
            self.last = Some(format!("{GROUP}{prefix}"));
            self.page.prefixes.push(prefix.to_owned());
        }
    }

    /// Counts one entry more, if the page takes it.
    fn has_room(&mut self) -> bool {
        if self.entries >= self.max {
            self.is_full = true;
            self.page.next = self.last.take();
            return false;
        }
        self.entries = self.entries.saturating_add(1);
        true
    }
}

const GROUP: char = 'p';
const OBJECT: char = 'o';

/// Entries that are kept at once of all directories on the way down, less the least of each.
const KEPT_MAX: usize = 8_192;
const WINDOW_LEAST: usize = 16;
