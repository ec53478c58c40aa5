//! Directories as a store: keys are the names of files below a root, a key with a slash at its end
//! is a directory.
//!
//! A file is written where nobody sees it, and gets its name when it is whole and on the disk.
//! Conditions hold among the sessions of this process, by a lock for each name; other programs that
//! change the same files are noticed by inode, time and size. Of what S3 keeps with an object only
//! the modification time is kept, and the permission bits.
//!
//! The system's calls block: each runs on a thread of the pool, when its user has a turn.

use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use rustix::io::Errno;

use self::failure::{About, failure};
use self::place::Place;
use self::tree::{Modified, Outcome, Tree, Unfinished};
use self::turns::Alone;
pub use self::turns::{Turn, Turns};
use self::uploads::{Upload, Uploads};
use super::{
    Bucket, BucketPage, ByteRange, Capabilities, Checksum, CompleteUpload, CompletedPart,
    CopyObject, ETag, GetObject, ListPage, ListQuery, Location, NewObject, Nonce, ObjectBody,
    ObjectMeta, ObjectStore, Operation, PartNumber, PartSize, PutObject, Removed, Result,
    StorageErrorKind, Stored, Tags, UploadId, UploadPart, UploadPartCopy, Version,
};
use crate::clock::{Clock as _, SystemClock};
use crate::limits::{self, UNFINISHED_FILES_KEPT_FOR, UNFINISHED_SWEPT_EVERY};

mod commit;
mod failure;
mod listing;
mod place;
mod tree;
mod turns;
mod uploads;

/// A directory that is served under the names of some buckets.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    buckets: Arc<[Bucket]>,
    disk: Arc<Disk>,
    turns: Arc<dyn Turns>,
}

/// What the calls work with, on their threads.
#[derive(Debug)]
struct Disk {
    tree: Tree,
    uploads: Uploads,
    /// One for many names.
    locks: Box<[Mutex<()>]>,
    swept: Mutex<Option<Instant>>,
}

/// Says whether two directories are the same, or one is in the other, whatever paths lead there: a
/// symbolic link, or a mount of the same directory at another place.
///
/// # Errors
/// One of them, or a directory above it, cannot be looked at.
pub fn are_nested(one: &str, other: &str) -> std::io::Result<bool> {
    Ok(tree::are_nested(one, other)?)
}

impl DirectoryStore {
    /// Opens a root, and removes the unfinished files that nobody works on any more.
    ///
    /// # Errors
    /// It is no directory, may not be written to, or is on a file system that lacks something.
    pub fn open(root: &str, buckets: &[Bucket]) -> std::io::Result<Self> {
        let disk = Disk {
            tree: Tree::open(root)?,
            uploads: Uploads::default(),
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
            swept: Mutex::default(),
        };
        disk.sweep();
        let trial = Nonce::new().map_err(std::io::Error::other)?;
        disk.tree.try_out(&trial.to_string())?;
        Ok(Self {
            buckets: buckets.into(),
            disk: Arc::new(disk),
            turns: Arc::<Alone>::default(),
        })
    }

    /// Returns the same directory for calls that take these turns.
    #[must_use]
    pub fn with_turns(&self, turns: Arc<dyn Turns>) -> Self {
        Self {
            turns,
            ..self.clone()
        }
    }

    /// Runs a call on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        about: &About,
        work: impl FnOnce(&Disk) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let lost = || about.error(StorageErrorKind::Unavailable, "the call did not end");
        if !self.buckets.contains(&about.bucket) {
            return Err(about.error(StorageErrorKind::NoSuchBucket, "no such directory"));
        }
        let turn = self.turns.call().await;
        let disk = Arc::clone(&self.disk);
        let ended = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&disk)
        });
        ended.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Returns the next piece of a file that is read, as long as it is this version.
    async fn piece(&self, reading: &Reading) -> Result<Bytes> {
        let (file, version) = (Arc::clone(&reading.file), reading.version.clone());
        let (about, at) = (reading.about.clone(), reading.left.start);
        let left = reading.left.end.saturating_sub(at);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(FRAME_BYTES);
        self.run(&reading.about, move |_| {
            let mut piece = vec![0; wanted];
            let read = file.read_exact_at(&mut piece, at).map_err(tree::of_std);
            read.map_err(|error| failure(&about, error))?;
            let now = file.metadata().map_err(tree::of_std);
            let now = now.map_err(|error| failure(&about, error))?;
            if tree::etag(&now) != version {
                let why = "it was changed while it was read";
                return Err(about.error(StorageErrorKind::Precondition, why));
            }
            Ok(piece.into())
        })
        .await
    }
}

/// A file that is read piece by piece.
struct Reading {
    about: About,
    file: Arc<File>,
    version: ETag,
    left: ByteRange,
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        let about = About::new(Operation::Head, location);
        self.run(&about.clone(), move |disk| {
            disk.look(&about).map(|found| tree::meta(&found))
        })
        .await
    }

    async fn part_size(&self, version: Version<'_>, _: PartNumber) -> Result<PartSize> {
        let about = About::new(Operation::Head, version.location);
        Err(about.error(StorageErrorKind::Refused, "files have no parts"))
    }

    async fn tags(&self, location: &Location) -> Result<Tags> {
        let about = About::new(Operation::Tags, location);
        self.run(&about.clone(), move |disk| disk.look(&about))
            .await
            .map(|_| Tags::new())
    }

    async fn get(&self, location: &Location, get: GetObject<'_>) -> Result<ObjectBody> {
        let about = About::new(Operation::Get, location);
        let (asked, range, pinned) = (about.clone(), get.range, get.etag.cloned());
        let (file, meta, left) = self
            .run(&about, move |disk| {
                disk.open(&asked, range, pinned.as_ref())
            })
            .await?;
        let Some(file) = file else {
            return Ok(ObjectBody {
                meta,
                frames: stream::empty().boxed(),
            });
        };
        let reading = Reading {
            about,
            file: Arc::new(file),
            version: meta.etag.clone(),
            left,
        };
        let store = self.clone();
        let frames = stream::unfold(Some(reading), move |reading| {
            let store = store.clone();
            async move {
                let mut reading =
                    reading.filter(|reading| reading.left.start < reading.left.end)?;
                let piece = store.piece(&reading).await;
                let bytes = piece.as_ref().map_or(0, Bytes::len);
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                reading.left.start = reading.left.start.saturating_add(bytes);
                let next = piece.is_ok().then_some(reading);
                Some((piece, next))
            }
        });
        Ok(ObjectBody {
            meta,
            frames: frames.boxed(),
        })
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        let (about, query) = (
            About::of_bucket(Operation::List, bucket, &query.prefix),
            query.clone(),
        );
        self.run(&about.clone(), move |disk| {
            listing::page(&disk.tree, &query).map_err(|error| failure(&about, error))
        })
        .await
    }

    async fn put(&self, location: &Location, payload: Bytes, put: PutObject<'_>) -> Result<Stored> {
        let about = About::new(Operation::Put, location);
        let kept = Kept::of(&about, put.object)?;
        let (checksum, condition) = (put.checksum, put.condition.clone());
        self.run(&about.clone(), move |disk| {
            if checksum != Checksum::of(&payload) {
                return Err(about.error(StorageErrorKind::ChecksumMismatch, "damaged"));
            }
            disk.put(&about, &payload, kept, &condition)
        })
        .await
    }

    async fn copy(&self, target: &Location, copy: CopyObject<'_>) -> Result<Stored> {
        let about = About::new(Operation::Copy, target);
        let kept = Kept::of(&about, copy.object)?;
        let source = About::new(Operation::Copy, copy.source.location);
        let (pinned, condition) = (copy.source.etag.clone(), copy.condition.clone());
        self.run(&about.clone(), move |disk| {
            disk.copy((&source, &pinned), &about, kept, &condition)
        })
        .await
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<Removed> {
        let about = About::new(Operation::Delete, location);
        let pinned = etag.cloned();
        self.run(&about.clone(), move |disk| {
            disk.delete(&about, pinned.as_ref())
        })
        .await
        .map(|()| Removed::default())
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        let about = About::new(Operation::Create, location);
        let kept = Kept::of(&about, object)?;
        let place = self.turns.upload();
        self.run(&about.clone(), move |disk| disk.create(&about, kept, place))
            .await
    }

    async fn part(
        &self,
        location: &Location,
        payload: Bytes,
        part: UploadPart<'_>,
    ) -> Result<CompletedPart> {
        let about = About::new(Operation::Part, location);
        let upload = self.disk.upload(&about, part.upload);
        let (number, checksum) = (part.number, part.checksum);
        let size = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        // Parts that are sent in order get their places in order, whichever thread is first.
        let reserved = upload.map(|upload| (upload.reserve(size), upload));
        self.run(&about.clone(), move |_| {
            let (at, upload) = reserved?;
            if checksum != Checksum::of(&payload) {
                return Err(about.error(StorageErrorKind::ChecksumMismatch, "damaged"));
            }
            if !(1..=limits::PARTS_MAX).contains(&number.0) {
                return Err(about.error(StorageErrorKind::Refused, "no such part number"));
            }
            let written = upload.write(at, &payload);
            written.map_err(|error| failure(&about, error))?;
            Ok(upload.keep(number, at, size, checksum))
        })
        .await
    }

    async fn part_copy(
        &self,
        location: &Location,
        part: UploadPartCopy<'_>,
    ) -> Result<CompletedPart> {
        let about = About::new(Operation::PartCopy, location);
        let source = About::new(Operation::PartCopy, part.source.location);
        let upload = self.disk.upload(&about, part.upload);
        let (number, range, pinned) = (part.number, part.range, part.source.etag.clone());
        let size = range.end.saturating_sub(range.start);
        let reserved = upload.map(|upload| (upload.reserve(size), upload));
        self.run(&about.clone(), move |disk| {
            let (at, upload) = reserved?;
            let (file, found) = disk.pinned(&source, &pinned)?;
            if range.end > tree::size(&found) {
                let why = "the source is shorter";
                return Err(about.error(StorageErrorKind::RangeNotSatisfiable, why));
            }
            let copied = upload.copy(at, (&file, range.start), size);
            let checksum = copied.map_err(|error| failure(&about, error))?;
            still(&source, &file, &pinned)?;
            Ok(upload.keep(number, at, size, checksum))
        })
        .await
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        let about = About::new(Operation::Parts, location);
        let upload = self.disk.upload(&about, upload);
        self.run(&about, move |_| Ok(upload?.parts())).await
    }

    async fn complete(&self, location: &Location, complete: CompleteUpload<'_>) -> Result<Stored> {
        let about = About::new(Operation::Complete, location);
        let (id, parts) = (complete.upload.clone(), complete.parts.to_vec());
        let (checksum, condition) = (complete.checksum, complete.condition.clone());
        self.run(&about.clone(), move |disk| {
            disk.complete(&about, &id, (&parts, checksum), &condition)
        })
        .await
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        let about = About::new(Operation::Abort, location);
        let upload = upload.clone();
        self.run(&about.clone(), move |disk| {
            let Some(ended) = disk.uploads.remove(&upload) else {
                return Ok(());
            };
            let discarded = disk.tree.discard(&ended.unfinished);
            discarded.map_err(|error| failure(&about, error))
        })
        .await
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        let about = About::of_bucket(Operation::CheckBucket, bucket, "");
        self.run(&about.clone(), move |disk| {
            match disk.tree.is_at_its_path() {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let why = "the root's path names another directory now, such as one that was \
                               mounted since: the gateway has to be started again";
                    Err(about.error(StorageErrorKind::Unavailable, why))
                }
                Err(error) => Err(failure(&about, error)),
            }
        })
        .await
    }

    async fn list_buckets(&self, after: Option<&str>, max: u16) -> Result<BucketPage> {
        let mut names: Vec<_> = self.buckets.iter().map(Bucket::to_string).collect();
        names.sort_unstable();
        names.retain(|name| after.is_none_or(|after| **name > *after));
        let is_more = names.len() > usize::from(max);
        names.truncate(max.into());
        Ok(BucketPage {
            next: names.last().cloned().filter(|_| is_more),
            names,
        })
    }

    fn capabilities(&self, _: &Bucket) -> Capabilities {
        Capabilities {
            // Nothing keeps them.
            checksums: false,
            metadata: false,
            directories: true,
            ..Capabilities::all()
        }
    }
}

/// What is kept of what an object carries.
#[derive(Debug, Clone, Copy)]
struct Kept {
    modified: Option<Modified>,
}

impl Kept {
    /// Tags, retention and legal hold are asked for by those who rely on them: they are refused.
    fn of(about: &About, object: &NewObject) -> Result<Self> {
        if !object.tags.is_empty() {
            return Err(about.error(StorageErrorKind::Refused, "files have no tags"));
        }
        let properties = object.properties.as_deref();
        if properties.is_some_and(|kept| kept.legal_hold || kept.retention.is_some()) {
            let why = "files have neither retention nor legal hold";
            return Err(about.error(StorageErrorKind::Refused, why));
        }
        let time = object
            .metadata
            .iter()
            .find(|(name, _)| &**name == tree::MTIME);
        Ok(Self {
            modified: time.and_then(|(_, time)| Modified::parse(time)),
        })
    }
}

/// Makes sure that a file is the same as before something was done with its bytes.
fn still(about: &About, file: &File, pinned: &ETag) -> Result<()> {
    let now = file.metadata().map_err(tree::of_std);
    let now = now.map_err(|error| failure(about, error))?;
    if tree::etag(&now) == *pinned {
        Ok(())
    } else {
        Err(about.error(StorageErrorKind::Precondition, "another version is there"))
    }
}

impl Disk {
    fn look(&self, about: &About) -> Result<Metadata> {
        let place = Place::of(&about.key).ok_or_else(|| about.missing())?;
        let found = self.tree.look(place.path());
        let found = found.map_err(|error| failure(about, error))?;
        if found.is_dir() == place.is_directory {
            Ok(found)
        } else {
            Err(about.missing())
        }
    }

    /// The same for what a condition depends on: a network file system asks its server what is there
    /// only when a file is opened.
    fn look_closely(&self, about: &About) -> Result<Metadata> {
        let place = Place::of(&about.key).ok_or_else(|| about.missing())?;
        if !place.is_directory
            && let Ok((_, found)) = self.tree.read(place.path())
        {
            return Ok(found);
        }
        // It may not be read, or is none.
        self.look(about)
    }

    /// Opens an object for reading; of a directory there is nothing to be read.
    fn open(
        &self,
        about: &About,
        range: Option<ByteRange>,
        pinned: Option<&ETag>,
    ) -> Result<(Option<File>, ObjectMeta, ByteRange)> {
        let place = Place::of(&about.key).ok_or_else(|| about.missing())?;
        let (file, found) = if place.is_directory {
            (None, self.look(about)?)
        } else {
            let opened = self.tree.read(place.path());
            let (file, found) = opened.map_err(|error| failure(about, error))?;
            (Some(file), found)
        };
        let meta = tree::meta(&found);
        if pinned.is_some_and(|pinned| *pinned != meta.etag) {
            return Err(about.error(StorageErrorKind::Precondition, "another version is there"));
        }
        let whole = ByteRange {
            start: 0,
            end: meta.size,
        };
        let left = match range {
            None => whole,
            Some(range) if range.start >= meta.size => {
                let why = "the range begins at the end";
                return Err(about.error(StorageErrorKind::RangeNotSatisfiable, why));
            }
            Some(range) => ByteRange {
                start: range.start,
                end: range.end.min(meta.size),
            },
        };
        Ok((file, meta, left))
    }

    /// Opens one version of a file.
    fn pinned(&self, about: &About, pinned: &ETag) -> Result<(File, Metadata)> {
        let place = Place::of(&about.key).filter(|place| !place.is_directory);
        let place = place.ok_or_else(|| about.missing())?;
        let opened = self.tree.read(place.path());
        let (file, found) = opened.map_err(|error| failure(about, error))?;
        if tree::etag(&found) == *pinned {
            Ok((file, found))
        } else {
            Err(about.error(StorageErrorKind::Precondition, "another version is there"))
        }
    }

    fn upload(&self, about: &About, id: &UploadId) -> Result<Arc<Upload>> {
        let upload = self.uploads.of(id, &about.key);
        upload.ok_or_else(|| about.error(StorageErrorKind::NoSuchUpload, "no such upload"))
    }

    /// Keeps a name as it is, for this process.
    fn lock(&self, place: &Place) -> Option<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        place.path().hash(&mut hasher);
        let locks = u64::try_from(self.locks.len()).unwrap_or(1).max(1);
        let at = usize::try_from(hasher.finish() % locks).unwrap_or_default();
        let lock = self.locks.get(at)?;
        Some(lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a file under a name that no other has.
    fn begin(&self) -> Outcome<(Unfinished, String)> {
        self.sweep_now_and_then();
        let name = Nonce::new().map_err(|_| Errno::IO)?.to_string();
        Ok((self.tree.begin(&name)?, name))
    }

    fn sweep_now_and_then(&self) {
        let now = SystemClock.now();
        let swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let due =
            swept.is_none_or(|then| now.saturating_duration_since(then) >= UNFINISHED_SWEPT_EVERY);
        drop(swept);
        if due {
            self.sweep();
        }
    }

    /// Removes unfinished files of processes that are no more.
    fn sweep(&self) {
        let now = SystemClock.now();
        *self.swept.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        let Some(then) = SystemClock.wall().checked_sub(UNFINISHED_FILES_KEPT_FOR) else {
            return;
        };
        match self.tree.sweep(then) {
            Ok(0) => {}
            Ok(removed) => {
                tracing::info!(removed, "unfinished files of earlier processes removed");
            }
            Err(error) => {
                let error = std::io::Error::from(error);
                tracing::warn!(%error, "unfinished files cannot be looked through");
            }
        }
    }
}

/// About what arrives at once from a socket.
const FRAME_BYTES: usize = 128 * 1024;
const LOCKS: usize = 64;
