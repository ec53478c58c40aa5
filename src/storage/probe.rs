//! What a store honours, found out by trying: some take a condition and do not look at it.
//!
//! Every check works on objects of its own below one folder, which [`Probe::clean`] empties.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::{
    Bucket, ByteRange, Capabilities, Checksum, CompleteUpload, CopyObject, ETag, GetObject, Key,
    ListCursor, ListQuery, Location, NewObject, Nonce, PartNumber, Precondition, PutObject, Result,
    SharedStore, StorageError, StorageErrorKind as Kind, Stored, UploadId, UploadPart,
    UploadPartCopy, Version,
};

/// Tries a store out.
#[derive(Debug)]
pub struct Probe {
    /// Sends conditions, and no checksums; takes a page that does not say whether more follows.
    plain: SharedStore,
    /// Sends checksums as well, and refuses such a page.
    checked: SharedStore,
    bucket: Bucket,
    /// Ends with `/`.
    folder: String,
    traces: Mutex<Traces>,
}

/// What the probe may have left behind.
#[derive(Debug, Default)]
struct Traces {
    keys: BTreeSet<Key>,
    uploads: Vec<(Location, UploadId)>,
}

/// One thing that a store does or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    ConditionalPut,
    ConditionalComplete,
    /// A copy that the store makes by itself.
    Copy,
    ConditionalCopy,
    ConditionalDelete,
    Checksums,
    /// A read that is pinned to a version.
    PinnedRead,
    /// A copy that is pinned to its source's version.
    PinnedCopy,
    /// A part filled from a range of an object.
    RangeCopy,
    /// Listings in the order of UTF-8's bytes.
    ByteOrder,
    /// The last page of a listing says that it is the last one.
    IsTruncated,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Honoured,
    /// The store said yes and did otherwise.
    Ignored,
    /// The store said that it does not do this.
    Refused(Box<str>),
    /// Neither could be told, since something else failed.
    Unclear(Box<str>),
}

impl Subject {
    /// Every subject, in the order of a report.
    pub const ALL: [Self; 11] = [
        Self::ConditionalPut,
        Self::ConditionalComplete,
        Self::Copy,
        Self::ConditionalCopy,
        Self::ConditionalDelete,
        Self::Checksums,
        Self::PinnedRead,
        Self::PinnedCopy,
        Self::RangeCopy,
        Self::ByteOrder,
        Self::IsTruncated,
    ];

    /// Returns what an operator declared of it; `None` = there is nothing to declare.
    #[must_use]
    pub const fn declared(self, capabilities: Capabilities) -> Option<bool> {
        match self {
            Self::ConditionalPut => Some(capabilities.conditional_put),
            Self::ConditionalComplete => Some(capabilities.conditional_complete),
            Self::ConditionalCopy => Some(capabilities.conditional_copy),
            Self::ConditionalDelete => Some(capabilities.conditional_delete),
            Self::Checksums => Some(capabilities.checksums),
            Self::IsTruncated => Some(capabilities.is_truncated),
            Self::Copy
            | Self::PinnedRead
            | Self::PinnedCopy
            | Self::RangeCopy
            | Self::ByteOrder => None,
        }
    }
}

impl Probe {
    /// Prepares a probe. `plain` sends conditions and no checksums and takes a last page that does
    /// not say that it is the last one, `checked` sends both and does not; `folder` is a prefix that
    /// nobody else uses, with its `/`.
    #[must_use]
    pub fn new(plain: SharedStore, checked: SharedStore, bucket: Bucket, folder: String) -> Self {
        Self {
            plain,
            checked,
            bucket,
            folder,
            traces: Mutex::default(),
        }
    }

    /// Says whether the bucket can be reached and written to at all.
    ///
    /// # Errors
    /// As the store worded it.
    pub async fn reach(&self) -> Result<()> {
        self.plain.check_bucket(&self.bucket).await?;
        let written = self.at("reach")?;
        self.put(&written, "probe", &Precondition::None).await?;
        Ok(())
    }

    /// Finds out about one subject.
    pub async fn find(&self, subject: Subject) -> Finding {
        let found = match subject {
            Subject::ConditionalPut => self.conditional_put().await,
            Subject::ConditionalComplete => self.conditional_complete().await,
            Subject::Copy => self.copied().await,
            Subject::ConditionalCopy => self.conditional_copy().await,
            Subject::ConditionalDelete => self.conditional_delete().await,
            Subject::Checksums => self.checksums().await,
            Subject::PinnedRead => self.pinned_read().await,
            Subject::PinnedCopy => self.pinned_copy().await,
            Subject::RangeCopy => self.range_copy().await,
            Subject::ByteOrder => self.byte_order().await,
            Subject::IsTruncated => self.is_truncated().await,
        };
        found.unwrap_or_else(failed)
    }

    /// Removes everything that the probe may have made.
    ///
    /// # Errors
    /// The first failure; the others were tried all the same.
    pub async fn clean(&self) -> Result<()> {
        let Traces { keys, uploads } = std::mem::take(&mut *self.traces());
        let mut outcome = Ok(());
        for (location, upload) in uploads {
            outcome = outcome.and(self.plain.abort(&location, &upload).await);
        }
        for key in keys {
            let bucket = self.bucket.clone();
            let removed = self.plain.delete(&Location { bucket, key }, None).await;
            outcome = outcome.and_then(|()| removed.map(drop));
        }
        outcome
    }

    async fn conditional_put(&self) -> Result<Finding> {
        let (old, new) = (self.at("put")?, self.at("put-new")?);
        let stored = self.put(&old, "1", &Precondition::None).await?;
        let over_nothing = self.put(&new, "1", &Precondition::IfNoneMatch).await;
        let itself = Precondition::IfMatch(stored.etag);
        let over_itself = self.put(&old, "2", &itself).await;
        let over_something = self.put(&old, "3", &Precondition::IfNoneMatch).await;
        let over_another = self.put(&old, "4", &other_version()).await;
        Ok(all([
            fulfilled(over_nothing),
            fulfilled(over_itself),
            turned_away(over_something),
            turned_away(over_another),
        ]))
    }

    async fn conditional_complete(&self) -> Result<Finding> {
        let old = self.at("complete")?;
        let stored = self.put(&old, "1", &Precondition::None).await?;
        let over_something = self.put_in_parts(&old, &Precondition::IfNoneMatch).await?;
        let over_another = self.put_in_parts(&old, &other_version()).await?;
        let itself = Precondition::IfMatch(stored.etag);
        let mut over_itself = fulfilled(self.put_in_parts(&old, &itself).await?);
        let others = [turned_away(over_something), turned_away(over_another)];
        if others.contains(&Finding::Ignored) {
            // The version that it was to match is gone.
            over_itself = Finding::Ignored;
        }
        let [over_something, over_another] = others;
        Ok(all([over_something, over_another, over_itself]))
    }

    async fn copied(&self) -> Result<Finding> {
        let (source, target) = (self.at("plain")?, self.at("plain-copy")?);
        let stored = self.put(&source, "1", &Precondition::None).await?;
        let copied = self.copy(&source, &stored.etag, &target, &Precondition::None);
        Ok(fulfilled(copied.await))
    }

    async fn conditional_copy(&self) -> Result<Finding> {
        let (source, old) = (self.at("copy")?, self.at("copy-old")?);
        let new = self.at("copy-new")?;
        let stored = self.put(&source, "1", &Precondition::None).await?;
        self.put(&old, "2", &Precondition::None).await?;
        let etag = &stored.etag;
        let over_nothing = self.copy(&source, etag, &new, &Precondition::IfNoneMatch);
        let over_nothing = over_nothing.await;
        let over_something = self.copy(&source, etag, &old, &Precondition::IfNoneMatch);
        let over_something = over_something.await;
        let over_another = self.copy(&source, etag, &old, &other_version()).await;
        Ok(all([
            fulfilled(over_nothing),
            turned_away(over_something),
            turned_away(over_another),
        ]))
    }

    async fn conditional_delete(&self) -> Result<Finding> {
        let location = self.at("delete")?;
        let stored = self.put(&location, "1", &Precondition::None).await?;
        let another = self.plain.delete(&location, Some(&another_etag())).await;
        match self.plain.head(&location).await {
            Ok(_) => {}
            Err(error) if error.kind == Kind::NotFound => return Ok(Finding::Ignored),
            Err(error) => return Err(error),
        }
        let itself = self.plain.delete(&location, Some(&stored.etag)).await;
        Ok(all([turned_away(another), fulfilled(itself)]))
    }

    async fn checksums(&self) -> Result<Finding> {
        let (right, wrong) = (self.at("checksum")?, self.at("checksum-wrong")?);
        let payload = Bytes::from_static(b"checked");
        let sum = Checksum::of(&payload);
        let damaged = Checksum(!sum.0);
        let new = new_object()?;
        let put = |location, checksum| {
            let put = PutObject {
                object: &new,
                checksum,
                condition: &Precondition::None,
            };
            self.checked.put(location, payload.clone(), put)
        };
        let put_right = put(&right, sum).await;
        let put_wrong = put(&wrong, damaged).await;
        let upload = self.begin(&self.checked, &right).await?;
        let part = |checksum| {
            let part = UploadPart {
                upload: &upload,
                number: PartNumber(1),
                checksum,
            };
            self.checked.part(&right, payload.clone(), part)
        };
        let part_wrong = part(damaged).await;
        let parts = [part(sum).await?];
        let complete = CompleteUpload {
            upload: &upload,
            parts: &parts,
            checksum: Some(sum),
            condition: &Precondition::None,
        };
        let complete = self.checked.complete(&right, complete);
        Ok(all([
            fulfilled(put_right),
            noticed(put_wrong),
            noticed(part_wrong),
            fulfilled(complete.await),
        ]))
    }

    async fn pinned_read(&self) -> Result<Finding> {
        let location = self.at("read")?;
        let stored = self.put(&location, "1", &Precondition::None).await?;
        let pinned = async |etag: &ETag| {
            let get = GetObject {
                range: None,
                etag: Some(etag),
            };
            self.plain.get(&location, get).await
        };
        Ok(all([
            turned_away(pinned(&another_etag()).await),
            fulfilled(pinned(&stored.etag).await),
        ]))
    }

    async fn pinned_copy(&self) -> Result<Finding> {
        let (source, target) = (self.at("pinned")?, self.at("pinned-copy")?);
        self.put(&source, "1", &Precondition::None).await?;
        let another = another_etag();
        let copied = self.copy(&source, &another, &target, &Precondition::None);
        Ok(turned_away(copied.await))
    }

    async fn range_copy(&self) -> Result<Finding> {
        let (source, target) = (self.at("range")?, self.at("range-copy")?);
        let bytes: Bytes = (0..RANGE_SOURCE_BYTES)
            .map(|n| n.to_le_bytes()[0])
            .collect();
        let stored = self
            .put(&source, bytes.clone(), &Precondition::None)
            .await?;
        let upload = self.begin(&self.plain, &target).await?;
        let part = UploadPartCopy {
            upload: &upload,
            number: PartNumber(1),
            source: Version {
                location: &source,
                etag: &stored.etag,
            },
            range: ByteRange { start: 3, end: 103 },
        };
        let part = match self.plain.part_copy(&target, part).await {
            Ok(part) => part,
            Err(error) => return Ok(fulfilled::<()>(Err(error))),
        };
        let complete = CompleteUpload {
            upload: &upload,
            parts: &[part],
            checksum: None,
            condition: &Precondition::None,
        };
        self.plain.complete(&target, complete).await?;
        let body = self.plain.get(&target, GetObject::default()).await?;
        let frames: Vec<Bytes> = body.frames.try_collect().await?;
        let copied = frames.concat();
        let same = bytes.get(3..103).is_some_and(|wanted| copied == wanted);
        Ok(if same {
            Finding::Honoured
        } else {
            Finding::Ignored
        })
    }

    async fn byte_order(&self) -> Result<Finding> {
        for name in IN_BYTE_ORDER {
            let location = self.at(&format!("order/{name}"))?;
            self.put(&location, "1", &Precondition::None).await?;
        }
        let prefix = format!("{}order/", self.folder);
        let mut query = ListQuery {
            prefix: prefix.clone(),
            delimited: false,
            after: None,
            max: 3,
        };
        let mut names = Vec::new();
        for _ in IN_BYTE_ORDER {
            let page = self.plain.list(&self.bucket, &query).await?;
            let keys = page.objects.iter();
            names.extend(
                keys.filter_map(|object| Some(object.key.strip_prefix(&prefix)?.to_owned())),
            );
            match page.next {
                Some(next) => query.after = Some(ListCursor::Continuation(next)),
                None => break,
            }
        }
        Ok(if names == IN_BYTE_ORDER {
            Finding::Honoured
        } else {
            Finding::Ignored
        })
    }

    async fn is_truncated(&self) -> Result<Finding> {
        let location = self.at("last-page")?;
        self.put(&location, "1", &Precondition::None).await?;
        let query = ListQuery {
            prefix: location.key.as_str().to_owned(),
            delimited: false,
            after: None,
            max: 1,
        };
        self.plain.list(&self.bucket, &query).await?;
        match self.checked.list(&self.bucket, &query).await {
            Ok(_) => Ok(Finding::Honoured),
            // The other one came through, so that nothing else is wrong.
            Err(error) if error.kind == Kind::Unavailable => Ok(Finding::Ignored),
            Err(error) => Err(error),
        }
    }

    fn at(&self, name: &str) -> Result<Location> {
        let key = Key::parse(&format!("{}{name}", self.folder))
            .map_err(|error| StorageError::new(Kind::Refused, error.to_string()))?;
        self.traces().keys.insert(key.clone());
        let bucket = self.bucket.clone();
        Ok(Location { bucket, key })
    }

    async fn put(
        &self,
        location: &Location,
        payload: impl Into<Bytes> + Send,
        condition: &Precondition,
    ) -> Result<Stored> {
        let payload = payload.into();
        let put = PutObject {
            object: &new_object()?,
            checksum: Checksum::of(&payload),
            condition,
        };
        self.plain.put(location, payload, put).await
    }

    async fn copy(
        &self,
        source: &Location,
        etag: &ETag,
        target: &Location,
        condition: &Precondition,
    ) -> Result<Stored> {
        let copy = CopyObject {
            source: Version {
                location: source,
                etag,
            },
            object: &new_object()?,
            condition,
        };
        self.plain.copy(target, copy).await
    }

    async fn begin(&self, store: &SharedStore, location: &Location) -> Result<UploadId> {
        let upload = store.create(location, &new_object()?).await?;
        let trace = (location.clone(), upload.clone());
        self.traces().uploads.push(trace);
        Ok(upload)
    }

    /// The inner result is that of the commit; the outer one, that of what leads there.
    async fn put_in_parts(
        &self,
        location: &Location,
        condition: &Precondition,
    ) -> Result<Result<Stored>> {
        let upload = self.begin(&self.plain, location).await?;
        let payload = Bytes::from_static(b"part");
        let part = UploadPart {
            upload: &upload,
            number: PartNumber(1),
            checksum: Checksum::of(&payload),
        };
        let part = self.plain.part(location, payload, part).await?;
        let complete = CompleteUpload {
            upload: &upload,
            parts: &[part],
            checksum: None,
            condition,
        };
        Ok(self.plain.complete(location, complete).await)
    }

    fn traces(&self) -> MutexGuard<'_, Traces> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the answer to a call whose condition did not hold.
fn turned_away<T>(answer: Result<T>) -> Finding {
    told(answer, Kind::Precondition)
}

/// Reads the answer to a call whose bytes were not those of its checksum.
fn noticed<T>(answer: Result<T>) -> Finding {
    told(answer, Kind::ChecksumMismatch)
}

fn told<T>(answer: Result<T>, right: Kind) -> Finding {
    match answer {
        Ok(_) => Finding::Ignored,
        Err(error) if error.kind == right => Finding::Honoured,
        Err(error) => failed(error),
    }
}

/// Reads the answer to a call that had to succeed.
fn fulfilled<T>(answer: Result<T>) -> Finding {
    answer.map_or_else(failed, |_| Finding::Honoured)
}

fn failed(error: StorageError) -> Finding {
    match error.kind {
        Kind::Refused
        | Kind::RefusedBare
        | Kind::Precondition
        | Kind::ChecksumMismatch
        | Kind::RangeNotSatisfiable => Finding::Refused(error.detail),
        Kind::NotFound
        | Kind::NoSuchBucket
        | Kind::NoSuchUpload
        | Kind::Denied
        | Kind::Expired
        | Kind::ClockSkew
        | Kind::Throttled
        | Kind::Unavailable
        | Kind::OutcomeUnknown => Finding::Unclear(error.detail),
    }
}

/// Sums up: what is not honoured once is not honoured.
fn all<const N: usize>(findings: [Finding; N]) -> Finding {
    let weight = |finding: &Finding| match finding {
        Finding::Honoured => 0_u8,
        Finding::Unclear(_) => 1,
        Finding::Refused(_) => 2,
        Finding::Ignored => 3,
    };
    let worst = findings.into_iter().max_by_key(weight);
    worst.unwrap_or(Finding::Honoured)
}

fn new_object() -> Result<NewObject> {
    Ok(NewObject::new(Nonce::new()?))
}

fn another_etag() -> ETag {
    ETag("\"00000000000000000000000000000000\"".into())
}

fn other_version() -> Precondition {
    Precondition::IfMatch(another_etag())
}

/// S3 copies ranges only out of objects of more than 5 MiB.
const RANGE_SOURCE_BYTES: u32 = 5 * 1024 * 1024 + 1024;

/// Orders that stores are known to keep instead: by directories (`a/x` first), without regard to
/// case, by UTF-16's units (the last two change places).
const IN_BYTE_ORDER: [&str; 8] = ["B", "a-1", "a.1", "a/x", "a0", "b", "\u{FF5E}", "\u{1F600}"];
