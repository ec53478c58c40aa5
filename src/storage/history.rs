//! The view of what a bucket's files were: a bucket of its own that can only be read.
//!
//! In a [`Bucket::history`] every file of the bucket is a directory, of which each version is a
//! file. A name says when the version was stored and which one it is, so that nothing has to be
//! looked for when it is opened. Deletions are there as empty files that cannot be read. Nothing
//! is kept here: a page of names is a page of `ListObjectVersions`, and bytes come from the version.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use async_trait::async_trait;
use bytes::Bytes;

use super::retry::Tries;
use super::{
    Bucket, BucketPage, Capabilities, CompleteUpload, CompletedPart, CopyObject, ETag, GetObject,
    Key, ListCursor, ListPage, ListQuery, ListedObject, ListedVersion, Location, NewObject,
    ObjectBody, ObjectMeta, ObjectStore, Operation, PartNumber, PartSize, PutObject, Removed,
    Result, SharedStore, StorageError, StorageErrorKind, Stored, Tags, UploadId, UploadPart,
    UploadPartCopy, Version, VersionCursor, VersionPage, VersionQuery,
};
use crate::clock::written;

/// A store that shows what its buckets' files were.
#[derive(Debug, Clone)]
pub struct History {
    inner: SharedStore,
}

/// What a name in a history stands for.
#[derive(Debug)]
struct Named {
    /// The version.
    at: Location,
    id: String,
    /// When it was stored, as names say it.
    time: String,
    is_deletion: bool,
}

impl History {
    #[must_use]
    pub const fn new(inner: SharedStore) -> Self {
        Self { inner }
    }

    /// Finds what a deletion's name stands for.
    async fn deletion(&self, named: &Named) -> Result<ObjectMeta> {
        match self.inner.head(&named.at).await {
            Ok(meta) if meta.etag.is_deletion() && named.is(&meta) => return Ok(meta),
            Ok(_) => return Err(not_found(&named.at)),
            // Not every store says what it is that cannot be read.
            Err(error) if error.kind == StorageErrorKind::Refused => {}
            Err(error) => return Err(no_version(error)),
        }
        let (bucket, key) = (&named.at.bucket, named.at.key.as_str());
        let page = self.versions_of(bucket, key, None, LOOK_MAX).await?;
        let mut own = page.versions.iter().filter(|one| one.key == key);
        let found = own.find(|one| {
            *one.id == *named.id && one.content.is_none() && time_of(one) == named.time
        });
        found.map(deleted).ok_or_else(|| not_found(&named.at))
    }

    /// Lists versions from those of one key on.
    async fn versions_of(
        &self,
        bucket: &Bucket,
        key: &str,
        after: Option<String>,
        max: u16,
    ) -> Result<VersionPage> {
        let query = VersionQuery {
            prefix: key.to_owned(),
            delimited: false,
            after: after.map(|version| VersionCursor {
                key: key.to_owned(),
                version: Some(version),
            }),
            max,
        };
        self.inner.versions(bucket, &query).await
    }

    /// Lists a directory: first the versions of the file of that name, then what is below it.
    async fn folder(&self, bucket: &Bucket, root: &str, query: &ListQuery) -> Result<ListPage> {
        let folder = &*query.prefix;
        let Some(step) = Step::after(query.after.as_ref()) else {
            let detail = format!("{bucket}: a history is listed from its beginning");
            return Err(StorageError::new(StorageErrorKind::Refused, detail));
        };
        let file = folder.strip_suffix('/').filter(|file| *file != root);
        let after = match (step, file) {
            (Step::Versions(after), Some(file)) => {
                let page = self.versions_of(bucket, file, after, query.max).await?;
                let page = versions_page(folder, file, page);
                if !page.objects.is_empty() {
                    return Ok(page);
                }
                None
            }
            (Step::Versions(_), None) => None,
            (Step::Names(after), _) => after,
        };
        self.names(bucket, folder, after, query.max).await
    }

    /// Lists the names below a directory. Pages that hold nothing but versions of one name are
    /// passed over, as far as that is cheap.
    async fn names(
        &self,
        bucket: &Bucket,
        folder: &str,
        mut after: Option<String>,
        max: u16,
    ) -> Result<ListPage> {
        let mut shown = ListPage::default();
        for _ in 0..PAGES_MAX {
            let query = VersionQuery {
                prefix: folder.to_owned(),
                delimited: true,
                after: after.take().map(|key| VersionCursor { key, version: None }),
                max,
            };
            let page = self.inner.versions(bucket, &query).await?;
            let files = page
                .versions
                .iter()
                .map(|version| format!("{}/", version.key));
            let marker = format!("{folder}/");
            let names: BTreeSet<_> = files
                .filter(|name| *name != marker)
                .chain(page.prefixes)
                .collect();
            shown.prefixes = names.into_iter().collect();
            // The other versions of the last key show nothing new.
            after = page.next.map(|next| next.key);
            shown.next = after.as_ref().map(|key| format!("{NAMES}{key}"));
            if !shown.prefixes.is_empty() || after.is_none() {
                break;
            }
        }
        Ok(shown)
    }
}

/// How far a listing came.
enum Step {
    /// To this version of the file.
    Versions(Option<String>),
    /// To this name below it.
    Names(Option<String>),
}

impl Step {
    fn after(cursor: Option<&ListCursor>) -> Option<Self> {
        let token = match cursor {
            None => return Some(Self::Versions(None)),
            Some(ListCursor::Continuation(token)) => token,
            Some(ListCursor::StartAfter(_)) => return None,
        };
        if let Some(id) = token.strip_prefix(VERSIONS) {
            return Some(Self::Versions(Some(id.to_owned())));
        }
        let key = token.strip_prefix(NAMES)?;
        Some(Self::Names((!key.is_empty()).then(|| key.to_owned())))
    }
}

/// Makes a page of the versions of one file; what follows it is below the file's name.
fn versions_page(folder: &str, file: &str, page: VersionPage) -> ListPage {
    let own = page.versions.iter().filter(|version| version.key == file);
    let objects = own.map(|version| {
        let (size, etag) = match &version.content {
            Some((size, etag)) => (*size, etag.clone()),
            None => (0, ETag::of_deletion()),
        };
        ListedObject {
            key: format!("{folder}{}", name_of(version)),
            size,
            etag,
            modified: version.modified,
            mode: None,
            owner: None,
        }
    });
    let next = match page.next {
        Some(VersionCursor {
            key,
            version: Some(id),
        }) if key == file => format!("{VERSIONS}{id}"),
        Some(_) | None => NAMES.to_owned(),
    };
    ListPage {
        objects: objects.collect(),
        prefixes: Vec::new(),
        next: Some(next),
    }
}

/// Returns the name under which a version is shown.
fn name_of(version: &ListedVersion) -> String {
    let mut name = format!("{}-", time_of(version));
    for byte in version.id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'+' | b'=') {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02X}").expect("a String takes what is written");
        }
    }
    if version.content.is_none() {
        name.push_str(DELETED);
    }
    name
}

/// Returns a time as names say it: without colons, which some clients' file systems refuse and
/// `scp` takes for the end of a host's name.
fn time_of(version: &ListedVersion) -> String {
    written(version.modified).replace(':', "-")
}

impl Named {
    /// Understands a place in a history; `None`: it is no version.
    fn of(location: &Location) -> Option<Self> {
        let root = location.bucket.history_root()?;
        let (file, name) = location.key.as_str().rsplit_once('/')?;
        if !is_below(root, file) {
            return None;
        }
        let (name, is_deletion) = match name.strip_suffix(DELETED) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (time, id) = name.split_at_checked(TIME_FORM.len())?;
        if !is_time(time) {
            return None;
        }
        let id = decoded(id.strip_prefix('-')?)?;
        let key = Key::parse(file).ok()?;
        Some(Self {
            at: Location {
                bucket: location.bucket.present(),
                key: key.at_version(&id),
            },
            id,
            time: time.to_owned(),
            is_deletion,
        })
    }

    /// Says whether an object is what the name says.
    fn is(&self, meta: &ObjectMeta) -> bool {
        written(meta.modified).replace(':', "-") == self.time
    }
}

/// Returns the version that a place in a history stands for; `None`: it is no version.
#[must_use]
pub fn version_at(location: &Location) -> Option<Location> {
    Named::of(location).map(|named| named.at)
}

/// Says whether a key is below the directory that a history is of.
fn is_below(root: &str, key: &str) -> bool {
    let rest = key.strip_prefix(root);
    root.is_empty() || rest.is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
}

fn is_time(text: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| match form {
        b'0' => byte.is_ascii_digit(),
        sign => byte == sign,
    };
    text.len() == TIME_FORM.len() && text.bytes().zip(TIME_FORM.bytes()).all(fits)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let id = String::from_utf8(bytes).ok()?;
    let is_plain = !id.is_empty() && !id.chars().any(char::is_control);
    is_plain.then_some(id)
}

fn deleted(version: &ListedVersion) -> ObjectMeta {
    ObjectMeta {
        size: 0,
        etag: ETag::of_deletion(),
        version_id: Some(version.id.clone()),
        modified: version.modified,
        checksum: None,
        composite: None,
        content_type: None,
        metadata: Vec::new(),
        properties: None,
    }
}

fn not_found(location: &Location) -> StorageError {
    let detail = format!("{location}: there is no such version");
    StorageError::new(StorageErrorKind::NotFound, detail)
}

/// Takes a refusal for what it means where a name was made up: there is no version of that id.
fn no_version(error: StorageError) -> StorageError {
    match error.kind {
        StorageErrorKind::Refused | StorageErrorKind::RefusedBare => StorageError {
            kind: StorageErrorKind::NotFound,
            ..error
        },
        StorageErrorKind::NotFound
        | StorageErrorKind::NoSuchBucket
        | StorageErrorKind::NoSuchUpload
        | StorageErrorKind::Precondition
        | StorageErrorKind::RangeNotSatisfiable
        | StorageErrorKind::Denied
        | StorageErrorKind::ClockSkew
        | StorageErrorKind::Expired
        | StorageErrorKind::Throttled
        | StorageErrorKind::Unavailable
        | StorageErrorKind::OutcomeUnknown
        | StorageErrorKind::ChecksumMismatch => error,
    }
}

/// Returns where the bytes of a place are: itself, or a version of a history.
fn content(location: &Location) -> Result<Location> {
    if !location.bucket.is_history() {
        return Ok(location.clone());
    }
    match Named::of(location) {
        Some(named) if named.is_deletion => {
            let detail = format!("{}: a deletion has no content", named.at);
            Err(StorageError::new(StorageErrorKind::Denied, detail))
        }
        Some(named) => Ok(named.at),
        None => Err(not_found(location)),
    }
}

/// Refuses to change the past: sessions ask for nothing of the kind.
fn refuse(bucket: &Bucket) -> Result<()> {
    if bucket.is_history() {
        let detail = format!("{bucket}: a history can only be read");
        return Err(StorageError::new(StorageErrorKind::Denied, detail));
    }
    Ok(())
}

#[async_trait]
impl ObjectStore for History {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        if !location.bucket.is_history() {
            return self.inner.head(location).await;
        }
        let named = Named::of(location).ok_or_else(|| not_found(location))?;
        if named.is_deletion {
            return self.deletion(&named).await;
        }
        let meta = self.inner.head(&named.at).await.map_err(no_version)?;
        if named.is(&meta) && !meta.etag.is_deletion() {
            Ok(meta)
        } else {
            Err(not_found(location))
        }
    }

    async fn part_size(&self, version: Version<'_>, part: PartNumber) -> Result<PartSize> {
        let location = &content(version.location)?;
        let version = Version {
            location,
            ..version
        };
        self.inner.part_size(version, part).await
    }

    async fn tags(&self, location: &Location) -> Result<Tags> {
        self.inner.tags(&content(location)?).await
    }

    async fn get(&self, location: &Location, get: GetObject<'_>) -> Result<ObjectBody> {
        let got = self.inner.get(&content(location)?, get).await;
        let Some(named) = Named::of(location) else {
            return got;
        };
        let body = got.map_err(no_version)?;
        if named.is(&body.meta) {
            Ok(body)
        } else {
            Err(not_found(location))
        }
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        let Some(root) = bucket.history_root() else {
            return self.inner.list(bucket, query).await;
        };
        let folder = &query.prefix;
        let is_own = folder.strip_suffix('/') == Some(root) || is_below(root, folder);
        let is_folder = folder.is_empty() || folder.ends_with('/');
        if !is_own || !is_folder {
            return Ok(ListPage::default());
        }
        self.folder(&bucket.present(), root, query).await
    }

    async fn versions(&self, bucket: &Bucket, query: &VersionQuery) -> Result<VersionPage> {
        self.inner.versions(&bucket.present(), query).await
    }

    async fn put(&self, location: &Location, payload: Bytes, put: PutObject<'_>) -> Result<Stored> {
        refuse(&location.bucket)?;
        self.inner.put(location, payload, put).await
    }

    async fn copy(&self, target: &Location, copy: CopyObject<'_>) -> Result<Stored> {
        refuse(&target.bucket)?;
        let location = &content(copy.source.location)?;
        let source = Version {
            location,
            ..copy.source
        };
        self.inner.copy(target, CopyObject { source, ..copy }).await
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<Removed> {
        refuse(&location.bucket)?;
        self.inner.delete(location, etag).await
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        refuse(&location.bucket)?;
        self.inner.create(location, object).await
    }

    async fn part(
        &self,
        location: &Location,
        payload: Bytes,
        part: UploadPart<'_>,
    ) -> Result<CompletedPart> {
        self.inner.part(location, payload, part).await
    }

    async fn part_copy(
        &self,
        location: &Location,
        part: UploadPartCopy<'_>,
    ) -> Result<CompletedPart> {
        let from = &content(part.source.location)?;
        let source = Version {
            location: from,
            ..part.source
        };
        let part = UploadPartCopy { source, ..part };
        self.inner.part_copy(location, part).await
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        self.inner.parts(location, upload).await
    }

    async fn complete(&self, location: &Location, complete: CompleteUpload<'_>) -> Result<Stored> {
        self.inner.complete(location, complete).await
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        self.inner.abort(location, upload).await
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        self.inner.check_bucket(&bucket.present()).await
    }

    async fn list_buckets(&self, after: Option<&str>, max: u16) -> Result<BucketPage> {
        self.inner.list_buckets(after, max).await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(&bucket.present())
    }

    fn patient(&self) -> Option<SharedStore> {
        let inner = self.inner.patient()?;
        Some(std::sync::Arc::new(Self { inner }))
    }

    fn tries(&self, operation: Operation, bucket: &Bucket) -> Option<Tries> {
        self.inner.tries(operation, &bucket.present())
    }
}

/// Tokens of pages: versions of the file, after an id; names below it, after a key.
const VERSIONS: &str = "v";
const NAMES: &str = "n";
/// What a deletion's name ends with.
const DELETED: &str = ".deleted";
/// As in `2026-11-29T10-15-02Z`.
const TIME_FORM: &str = "0000-00-00T00-00-00Z";
/// Versions among which a deletion is looked for; nobody takes memory for them.
const LOOK_MAX: u16 = 100;
/// Calls that one look may make for what is passed over.
const PAGES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn place(key: &str, root: &str) -> Location {
        Location {
            bucket: Bucket::parse("b").unwrap().history(root),
            key: Key::parse(key).unwrap(),
        }
    }

    #[test]
    fn names_of_versions_are_read_as_they_were_written() {
        for (id, content) in [
            ("null", true),
            (
                "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxvjVBH40Nr8X8gdRQBpUMLUo",
                true,
            ),
            ("%2F .deleted", false),
            ("ü", true),
        ] {
            let version = ListedVersion {
                key: "in/f".to_owned(),
                id: id.into(),
                modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_411_302),
                content: content.then(|| (1, ETag("\"e\"".into()))),
            };
            let name = name_of(&version);
            assert!(name.starts_with("2025-11-29T10-15-02Z-"), "{name}");
            assert!(!name.contains(['/', ':', ' ']), "{name}");
            let named = Named::of(&place(&format!("in/f/{name}"), "in")).unwrap();
            assert_eq!(named.id, id);
            assert_eq!(named.is_deletion, !content);
            assert_eq!(named.time, time_of(&version));
            assert_eq!(named.at.key.as_str(), "in/f");
            assert_eq!(named.at.key.version(), Some(id));
        }
        for no_version in [
            "in/f/x",
            "in/f/2025-11-29T10-15-02Z-",
            "in/f/2025-11-29T10-15-02Z-%zz",
            "in/f/2025-11-29T10:15:02Z-id",
            "in/f/quarterly-report-of-2-copy.csv",
        ] {
            assert!(
                Named::of(&place(no_version, "in")).is_none(),
                "{no_version}"
            );
        }
    }

    #[test]
    fn nothing_outside_of_its_directory_is_named() {
        let name = "2025-11-29T10-15-02Z-null";
        for (file, root, is_below) in [
            ("in/f", "in", true),
            ("in", "in", false),
            ("in2/f", "in", false),
            ("other", "in", false),
            ("f", "", true),
        ] {
            let named = Named::of(&place(&format!("{file}/{name}"), root));
            assert_eq!(named.is_some(), is_below, "{file}");
        }
    }
}
