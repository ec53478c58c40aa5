//! A store that holds a directory `d/` of many objects, or of large ones, and takes next to no
//! memory for it: names and bytes are made up when they are asked for. Copies go to `e/`.

use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis::storage::{
    Bucket, BucketPage, Capabilities, CompleteUpload, CompletedPart, CopyObject, ETag, GetObject,
    ListCursor, ListPage, ListQuery, ListedObject, Location, NewObject, ObjectBody, ObjectMeta,
    ObjectStore, PartNumber, PartSize, PutObject, Removed, Result, StorageError, StorageErrorKind,
    Stored, Tags, UploadId, UploadPart, UploadPartCopy, Version,
};

#[derive(Debug)]
pub(crate) struct Vast {
    size: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    /// By number, whether it is in `d/`, and in `e/`.
    old: Vec<bool>,
    new: Vec<bool>,
    /// A key that listings show though nobody asked for it.
    stray: Option<&'static str>,
    part_copies_left: u32,
    /// How often parts are still listed after an abort.
    parts_linger: u32,
    pub(crate) aborts: u32,
}

impl Vast {
    /// Holds so many objects of this size.
    pub(crate) fn of(objects: usize, size: u64) -> Self {
        Self {
            size,
            state: Mutex::new(State {
                old: vec![true; objects],
                new: vec![false; objects],
                stray: None,
                part_copies_left: u32::MAX,
                parts_linger: 0,
                aborts: 0,
            }),
        }
    }

    /// Lists a key that is somewhere else.
    pub(crate) fn with_stray(self, key: &'static str) -> Self {
        self.with(|state| state.stray = Some(key));
        self
    }

    /// Copies so many parts and then no more; what is aborted goes on being listed.
    pub(crate) fn with_part_copies(self, parts: u32, parts_linger: u32) -> Self {
        self.with(|state| (state.part_copies_left, state.parts_linger) = (parts, parts_linger));
        self
    }

    /// Returns how many objects are in `d/` and in `e/`.
    pub(crate) fn count(&self) -> (usize, usize) {
        let count = |there: &[bool]| there.iter().filter(|there| **there).count();
        self.with(|state| (count(&state.old), count(&state.new)))
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap())
    }

    fn set(&self, location: &Location, there: bool) {
        self.with(|state| {
            if let Some(slot) = state.at(location.key.as_str()) {
                *slot = there;
            }
        });
    }

    fn stored() -> Stored {
        Stored {
            etag: etag(),
            checksum: None,
            version_id: None,
        }
    }
}

impl State {
    fn at(&mut self, key: &str) -> Option<&mut bool> {
        let (folder, number) = key.split_once('/')?;
        let number: usize = number.parse().ok()?;
        match folder {
            "d" => self.old.get_mut(number),
            "e" => self.new.get_mut(number),
            _ => None,
        }
    }
}

#[async_trait]
impl ObjectStore for Vast {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        let there = self.with(|state| state.at(location.key.as_str()).copied());
        if there != Some(true) {
            return Err(refused(StorageErrorKind::NotFound));
        }
        Ok(ObjectMeta {
            size: self.size,
            etag: etag(),
            version_id: None,
            modified: SystemTime::UNIX_EPOCH,
            checksum: None,
            composite: None,
            content_type: None,
            metadata: Vec::new(),
            properties: None,
        })
    }

    async fn part_size(&self, _: Version<'_>, _: PartNumber) -> Result<PartSize> {
        Err(refused(StorageErrorKind::Refused))
    }

    async fn tags(&self, _: &Location) -> Result<Tags> {
        Ok(Vec::new())
    }

    async fn get(&self, _: &Location, _: GetObject<'_>) -> Result<ObjectBody> {
        Err(refused(StorageErrorKind::Refused))
    }

    async fn list(&self, _: &Bucket, query: &ListQuery) -> Result<ListPage> {
        let from: usize = match &query.after {
            Some(ListCursor::Continuation(text)) => text.parse().unwrap(),
            Some(ListCursor::StartAfter(_)) | None => 0,
        };
        let mut page = ListPage::default();
        self.with(|state| {
            let there = match query.prefix.as_str() {
                "d/" => &state.old,
                "e/" => &state.new,
                _ => return,
            };
            let numbers = (0..there.len()).skip(from).filter(|n| there[*n]);
            for number in numbers {
                if page.objects.len() == usize::from(query.max) {
                    page.next = Some(number.to_string());
                    break;
                }
                page.objects
                    .push(listed(format!("{}{number:06}", query.prefix), self.size));
            }
            page.objects
                .extend(state.stray.map(|key| listed(key.to_owned(), self.size)));
        });
        Ok(page)
    }

    async fn put(&self, location: &Location, _: Bytes, _: PutObject<'_>) -> Result<Stored> {
        self.set(location, true);
        Ok(Self::stored())
    }

    async fn copy(&self, target: &Location, _: CopyObject<'_>) -> Result<Stored> {
        // Several moves take turns.
        tokio::task::yield_now().await;
        self.set(target, true);
        Ok(Self::stored())
    }

    async fn delete(&self, location: &Location, _: Option<&ETag>) -> Result<Removed> {
        tokio::task::yield_now().await;
        self.set(location, false);
        Ok(Removed::default())
    }

    async fn create(&self, _: &Location, _: &NewObject) -> Result<UploadId> {
        Ok(UploadId("upload".into()))
    }

    async fn part(&self, _: &Location, _: Bytes, _: UploadPart<'_>) -> Result<CompletedPart> {
        Err(refused(StorageErrorKind::Refused))
    }

    async fn part_copy(&self, _: &Location, part: UploadPartCopy<'_>) -> Result<CompletedPart> {
        self.with(|state| {
            let left = state.part_copies_left.checked_sub(1);
            state.part_copies_left = left.ok_or_else(|| refused(StorageErrorKind::Unavailable))?;
            Ok(CompletedPart {
                number: part.number,
                etag: etag(),
                checksum: None,
                size: part.range.end - part.range.start,
            })
        })
    }

    async fn parts(&self, _: &Location, _: &UploadId) -> Result<Vec<CompletedPart>> {
        let part = CompletedPart {
            number: PartNumber(1),
            etag: etag(),
            checksum: None,
            size: 1,
        };
        self.with(|state| {
            let lingers = state.parts_linger > 0;
            state.parts_linger = state.parts_linger.saturating_sub(1);
            Ok(if lingers { vec![part] } else { Vec::new() })
        })
    }

    async fn complete(&self, location: &Location, _: CompleteUpload<'_>) -> Result<Stored> {
        self.set(location, true);
        Ok(Self::stored())
    }

    async fn abort(&self, _: &Location, _: &UploadId) -> Result<()> {
        self.with(|state| state.aborts += 1);
        Ok(())
    }

    async fn check_bucket(&self, _: &Bucket) -> Result<()> {
        Ok(())
    }

    async fn list_buckets(&self, _: Option<&str>, _: u16) -> Result<BucketPage> {
        Err(refused(StorageErrorKind::Refused))
    }

    fn capabilities(&self, _: &Bucket) -> Capabilities {
        Capabilities::all()
    }
}

fn listed(key: String, size: u64) -> ListedObject {
    ListedObject {
        key,
        size,
        etag: etag(),
        modified: SystemTime::UNIX_EPOCH,
        mode: None,
        owner: None,
    }
}

fn etag() -> ETag {
    ETag("\"00000000000000000000000000000000\"".into())
}

fn refused(kind: StorageErrorKind) -> StorageError {
    StorageError::new(kind, "as the test told")
}
