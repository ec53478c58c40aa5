//! Documents of users as files of one directory.
//!
//! A file is replaced by another of the same name, never written in place: whoever reads sees the
//! old document or the new one, also after a crash. Changes hold a lock on a file beside them, so
//! that processes that share the directory do not undo each other's.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::documents::{Document, Documents, Failure, Names, Since, Version};
use super::file_name::{encoded, of_user, user_of};
use crate::idp::whole_file::{self, FILE_MODE};
use crate::limits::USER_DOCUMENT_BYTES_MAX;

/// Keeps each user in a file.
#[derive(Debug, Clone)]
pub struct Directory(Arc<str>);

impl Directory {
    /// Keeps the users of one server below a directory; it need not exist yet.
    #[must_use]
    pub fn of(root: &str, server_id: &str) -> Self {
        Self(format!("{root}/{}", encoded(server_id)).into())
    }

    /// Returns where the files are.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0
    }

    /// Does what waits for a disk, on a thread that may.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let here = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&here)).await;
        done.unwrap_or_else(|_| Err(Failure::Away("the work on the disk was cut".to_owned())))
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{}", self.0, of_user(name))
    }

    /// Makes the directory if it is missing, and waits until nobody else changes anything in it.
    fn lock(&self) -> Result<File, Failure> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&*self.0);
        made.map_err(|error| self.away(&error))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(format!("{}/.lock", self.0))
            .map_err(|error| self.away(&error))?;
        lock.lock().map_err(|error| self.away(&error))?;
        Ok(lock)
    }

    fn version_of(&self, name: &str) -> Result<Option<Version>, Failure> {
        match fs::metadata(self.file(name)) {
            Ok(metadata) => Ok(Some(version(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.away(&error)),
        }
    }

    fn read_now(&self, name: &str) -> Result<Option<Document>, Failure> {
        let file = match File::open(self.file(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.away(&error)),
        };
        let stamp = |file: &File| file.metadata().map(|metadata| version(&metadata));
        // An editor may write in place: what changes while it is read counts as not read.
        let before = stamp(&file).map_err(|error| self.away(&error))?;
        let mut text = Vec::new();
        let most = USER_DOCUMENT_BYTES_MAX.saturating_add(1);
        let read = (&file).take(most).read_to_end(&mut text);
        let read = read.map_err(|error| self.away(&error))?;
        if u64::try_from(read).is_ok_and(|read| read > USER_DOCUMENT_BYTES_MAX) {
            return Err(Failure::TooLarge);
        }
        let after = stamp(&file).map_err(|error| self.away(&error))?;
        if before != after {
            return Err(Failure::Away(format!(
                "{} is being written",
                self.file(name)
            )));
        }
        Ok(Some(Document {
            text: text.into(),
            version: before,
        }))
    }

    /// Writes a file under another name and gives it its own; the lock is held.
    fn put(&self, name: &str, text: &[u8]) -> Result<Version, Failure> {
        let (new, file) = (format!("{}/.new", self.0), self.file(name));
        let written = || {
            let file = whole_file::replace(&file, &new, text)?;
            self.sync()?;
            Ok::<_, io::Error>(version(&file.metadata()?))
        };
        written().map_err(|error| Failure::Away(format!("{file}: {error}")))
    }

    /// Has names of files outlive a crash.
    fn sync(&self) -> io::Result<()> {
        File::open(&*self.0)?.sync_all()
    }

    /// Takes the first names that come after another; what is kept of them is bounded.
    fn names(&self, after: Option<&str>, max: u16) -> Result<Names, Failure> {
        let entries = match fs::read_dir(&*self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Names::default()),
            Err(error) => return Err(self.away(&error)),
        };
        let max = usize::from(max);
        let mut first = BTreeSet::new();
        let mut more = false;
        for entry in entries {
            let entry = entry.map_err(|error| self.away(&error))?;
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(user_of) else {
                continue;
            };
            if after.is_some_and(|after| &*name <= after) {
                continue;
            }
            first.insert(name);
            if first.len() > max {
                more = true;
                first.pop_last();
            }
        }
        Ok(Names {
            names: first.into_iter().collect(),
            more,
        })
    }

    fn away(&self, error: &io::Error) -> Failure {
        Failure::Away(format!("{}: {error}", self.0))
    }
}

#[async_trait]
impl Documents for Directory {
    async fn read(&self, name: &str) -> Result<Option<Document>, Failure> {
        let name = name.to_owned();
        self.on_disk(move |here| here.read_now(&name)).await
    }

    async fn read_since(&self, name: &str, known: &Version) -> Result<Since, Failure> {
        let (name, known) = (name.to_owned(), known.clone());
        self.on_disk(move |here| {
            if here.version_of(&name)? == Some(known) {
                return Ok(Since::Same);
            }
            Ok(here.read_now(&name)?.map_or(Since::Gone, Since::Other))
        })
        .await
    }

    async fn version(&self, name: &str) -> Result<Option<Version>, Failure> {
        let name = name.to_owned();
        self.on_disk(move |here| here.version_of(&name)).await
    }

    async fn create(&self, name: &str, text: Bytes) -> Result<Version, Failure> {
        let name = name.to_owned();
        self.on_disk(move |here| {
            let _lock = here.lock()?;
            match here.version_of(&name)? {
                Some(_) => Err(Failure::Changed),
                None => here.put(&name, &text),
            }
        })
        .await
    }

    async fn replace(&self, name: &str, text: Bytes, base: &Version) -> Result<Version, Failure> {
        let (name, base) = (name.to_owned(), base.clone());
        self.on_disk(move |here| {
            let _lock = here.lock()?;
            if here.version_of(&name)? != Some(base) {
                return Err(Failure::Changed);
            }
            here.put(&name, &text)
        })
        .await
    }

    async fn remove(&self, name: &str, base: &Version) -> Result<(), Failure> {
        let (name, base) = (name.to_owned(), base.clone());
        self.on_disk(move |here| {
            let _lock = here.lock()?;
            if here.version_of(&name)? != Some(base) {
                return Err(Failure::Changed);
            }
            let removed = fs::remove_file(here.file(&name)).and_then(|()| here.sync());
            removed.map_err(|error| here.away(&error))
        })
        .await
    }

    async fn list(&self, after: Option<&str>, max: u16) -> Result<Names, Failure> {
        let after = after.map(str::to_owned);
        self.on_disk(move |here| here.names(after.as_deref(), max))
            .await
    }
}

/// A renamed file has its own inode; a file that was written in place another time.
fn version(metadata: &fs::Metadata) -> Version {
    let (inode, size) = (metadata.ino(), metadata.size());
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    Version(format!("{inode}-{size}-{seconds}.{nanos:09}").into())
}

/// Roles and policies are nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn only_the_version_that_was_read_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let users = Directory::of(&root.path().display().to_string(), "s-1");
        assert_eq!(users.read("ann").await.unwrap(), None);
        assert_eq!(users.list(None, 10).await.unwrap(), Names::default());
        let first = users.create("ann", text("one")).await.unwrap();
        assert_eq!(
            users.create("ann", text("two")).await,
            Err(Failure::Changed)
        );
        assert_eq!(users.version("ann").await.unwrap(), Some(first.clone()));
        let second = users.replace("ann", text("two"), &first).await.unwrap();
        let late = users.replace("ann", text("three"), &first).await;
        assert_eq!(late, Err(Failure::Changed));
        let document = users.read("ann").await.unwrap().unwrap();
        assert_eq!((&*document.text, &document.version), (&b"two"[..], &second));
        assert_eq!(users.remove("ann", &first).await, Err(Failure::Changed));
        users.remove("ann", &second).await.unwrap();
        assert_eq!(users.remove("ann", &second).await, Err(Failure::Changed));
        assert_eq!(users.read("ann").await.unwrap(), None);
    }

    #[tokio::test]
    async fn names_come_page_by_page_and_files_of_others_do_not() {
        let root = tempfile::tempdir().unwrap();
        let users = Directory::of(&root.path().display().to_string(), "s/1");
        assert!(users.path().ends_with("/s%2F1"));
        for name in ["cid", "ann", "bob.x", "bob"] {
            users.create(name, text("{}")).await.unwrap();
        }
        fs::write(format!("{}/README", users.path()), "not a user").unwrap();
        fs::write(format!("{}/.new", users.path()), "cut in the middle").unwrap();
        let page = users.list(None, 3).await.unwrap();
        assert_eq!(
            (&*page.names, page.more),
            (&["ann", "bob", "bob.x"].map(str::to_owned)[..], true)
        );
        let page = users.list(Some("bob.x"), 3).await.unwrap();
        assert_eq!((&*page.names, page.more), (&["cid".to_owned()][..], false));
    }
}
