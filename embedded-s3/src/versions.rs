//! Buckets that keep versions: what was there before, delete markers, and listings of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{HeaderValue, LAST_MODIFIED};
use s3s::dto::{
    BucketVersioningStatus, DeleteMarkerEntry, ETag, GetBucketVersioningInput,
    GetBucketVersioningOutput, ListObjectVersionsInput, ListObjectVersionsOutput, ObjectVersion,
    PutBucketVersioningInput, PutBucketVersioningOutput, Timestamp, TimestampFormat,
};
use s3s::{S3Error, S3Result, s3_error};

use crate::conditions::now;
use crate::listing::{Encoding, Query, owner, page_size};
use crate::store::{Bucket, Contents, Object, Store};

/// What a key held at some time.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Object(Arc<Object>),
    Deleted { id: String, at: SystemTime },
}

impl Kept {
    fn id(&self) -> &str {
        match self {
            Self::Object(object) => object.version_id.as_deref().unwrap_or(NULL),
            Self::Deleted { id, .. } => id,
        }
    }
}

/// The versions of a bucket, of each key the oldest first. What is there now is the last one.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    keys: BTreeMap<String, Vec<Kept>>,
    /// New objects get ids of their own.
    enabled: bool,
}

/// What came of a deletion.
#[derive(Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) version_id: Option<String>,
    pub(crate) delete_marker: Option<bool>,
}

impl Contents {
    /// Puts an object under a key; a bucket that keeps versions gives it an id, made of the number.
    pub(crate) fn place(&mut self, key: String, mut object: Object, serial: u64) -> Arc<Object> {
        if !self.versions.enabled {
            let object = Arc::new(object);
            self.objects.insert(key, Arc::clone(&object));
            return object;
        }
        object.version_id = Some(version_id(serial));
        let object = Arc::new(object);
        self.objects.insert(key.clone(), Arc::clone(&object));
        let kept = self.versions.keys.entry(key).or_default();
        kept.push(Kept::Object(Arc::clone(&object)));
        object
    }

    /// Takes an object away: where versions are kept a marker takes its place.
    pub(crate) fn take_away(&mut self, key: &str, serial: u64) -> Deletion {
        self.objects.remove(key);
        if !self.versions.enabled {
            return Deletion::default();
        }
        let id = version_id(serial);
        let kept = self.versions.keys.entry(key.to_owned()).or_default();
        kept.push(Kept::Deleted {
            id: id.clone(),
            at: now(),
        });
        Deletion {
            version_id: Some(id),
            delete_marker: Some(true),
        }
    }

    /// Removes one version for good; the one before it is there again.
    pub(crate) fn remove_version(&mut self, key: &str, id: &str) -> Deletion {
        let mut was_marker = None;
        if let Some(kept) = self.versions.keys.get_mut(key) {
            kept.retain(|one| {
                if one.id() == id {
                    was_marker = matches!(one, Kept::Deleted { .. }).then_some(true);
                }
                one.id() != id
            });
            match kept.last() {
                Some(Kept::Object(object)) => {
                    self.objects.insert(key.to_owned(), Arc::clone(object));
                }
                Some(Kept::Deleted { .. }) | None => {
                    self.objects.remove(key);
                }
            }
            if kept.is_empty() {
                self.versions.keys.remove(key);
            }
        } else if id == NULL {
            self.objects.remove(key);
        }
        Deletion {
            version_id: Some(id.to_owned()),
            delete_marker: was_marker,
        }
    }

    /// From now on versions are kept; what is there has the version `null`.
    pub(crate) fn keep_versions(&mut self, enabled: bool) {
        if self.versions.keys.is_empty() {
            let objects = self.objects.iter();
            let kept = objects.map(|(key, object)| {
                let object = Kept::Object(Arc::clone(object));
                (key.clone(), vec![object])
            });
            self.versions.keys = kept.collect();
        }
        self.versions.enabled = enabled;
    }

    /// Returns all there is of each key, also of a bucket that never kept versions.
    fn all_versions(&self) -> BTreeMap<String, Vec<Kept>> {
        let mut all = self.versions.keys.clone();
        for (key, object) in &self.objects {
            let kept = all.entry(key.clone()).or_default();
            if kept.is_empty() {
                kept.push(Kept::Object(Arc::clone(object)));
            }
        }
        all
    }
}

impl Bucket {
    /// Finds an object, or one version of it.
    pub(crate) fn version(&self, key: &str, id: Option<&str>) -> S3Result<Arc<Object>> {
        let Some(id) = id else {
            return self.object(key);
        };
        let contents = self.lock();
        let kept = contents.versions.keys.get(key);
        let kept = kept.and_then(|kept| kept.iter().find(|one| one.id() == id));
        match (kept, contents.objects.get(key)) {
            (Some(Kept::Object(object)), _) => Ok(Arc::clone(object)),
            (Some(Kept::Deleted { at, .. }), _) => Err(deleted(*at)),
            (None, Some(object)) if id == NULL && object.version_id.is_none() => {
                Ok(Arc::clone(object))
            }
            (None, _) => Err(s3_error!(NoSuchVersion)),
        }
    }
}

/// Says of a version that it is a deletion, as S3 does.
fn deleted(at: SystemTime) -> S3Error {
    let mut error = s3_error!(MethodNotAllowed);
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    let mut date = Vec::new();
    let written = Timestamp::from(at).format(TimestampFormat::HttpDate, &mut date);
    if let (Ok(()), Ok(date)) = (written, HeaderValue::from_bytes(&date)) {
        headers.insert(LAST_MODIFIED, date);
    }
    error.set_headers(headers);
    error
}

impl Store {
    pub(crate) fn set_versioning(
        &self,
        input: PutBucketVersioningInput,
    ) -> S3Result<PutBucketVersioningOutput> {
        let status = input.versioning_configuration.status;
        let enabled = status.is_some_and(|status| status.as_str() == "Enabled");
        let bucket = self.bucket(&input.bucket)?;
        bucket.lock().keep_versions(enabled);
        Ok(PutBucketVersioningOutput::default())
    }

    pub(crate) fn versioning(
        &self,
        input: GetBucketVersioningInput,
    ) -> S3Result<GetBucketVersioningOutput> {
        let GetBucketVersioningInput { bucket, .. } = input;
        let bucket = self.bucket(&bucket)?;
        let enabled = bucket.lock().versions.enabled;
        let status = enabled.then(|| BucketVersioningStatus::from("Enabled".to_owned()));
        Ok(GetBucketVersioningOutput {
            status,
            ..Default::default()
        })
    }

    /// Lists the versions of each key, the newest first, and delete markers among them.
    pub(crate) fn list_versions(
        &self,
        input: ListObjectVersionsInput,
    ) -> S3Result<ListObjectVersionsOutput> {
        let items_max = page_size(input.max_keys)?;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let bucket = self.bucket(&input.bucket)?;
        let all = bucket.lock().all_versions();
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let query = Query {
            prefix,
            delimiter: input.delimiter.as_deref(),
            after: "",
            items_max,
        };
        let marker = input.key_marker.as_deref().unwrap_or_default();
        let mut page = Page::new(items_max);
        for (key, kept) in all.iter().filter(|(key, _)| key.starts_with(prefix)) {
            if let Some(common) = query.common_prefix(key) {
                if common > marker && page.last_common() != Some(common) && !page.common(common) {
                    break;
                }
                continue;
            }
            let mut from = kept.len();
            if **key == *marker {
                let Some(id) = input.version_id_marker.as_deref() else {
                    continue;
                };
                from = kept.iter().position(|one| one.id() == id).unwrap_or(0);
            } else if **key < *marker {
                continue;
            }
            let newest = kept.len();
            let mut older = kept.iter().enumerate().take(from).rev();
            if !older.all(|(at, one)| page.version(key, one, at + 1 == newest)) {
                break;
            }
        }
        Ok(page.output(input, encoding))
    }
}

/// One page of versions.
struct Page {
    left: usize,
    versions: Vec<ObjectVersion>,
    markers: Vec<DeleteMarkerEntry>,
    common: Vec<String>,
    /// The key and version after which the next page begins.
    last: (String, Option<String>),
    is_truncated: bool,
}

impl Page {
    const fn new(items_max: usize) -> Self {
        Self {
            left: items_max,
            versions: Vec::new(),
            markers: Vec::new(),
            common: Vec::new(),
            last: (String::new(), None),
            is_truncated: false,
        }
    }

    fn last_common(&self) -> Option<&str> {
        self.common.last().map(String::as_str)
    }

    /// Takes room for one item; `false`: the page is full.
    fn room(&mut self) -> bool {
        self.is_truncated = self.left == 0;
        self.left = self.left.saturating_sub(1);
        !self.is_truncated
    }

    fn common(&mut self, common: &str) -> bool {
        if !self.room() {
            return false;
        }
        self.common.push(common.to_owned());
        self.last = (common.to_owned(), None);
        true
    }

    fn version(&mut self, key: &str, kept: &Kept, is_latest: bool) -> bool {
        if !self.room() {
            return false;
        }
        let id = kept.id().to_owned();
        self.last = (key.to_owned(), Some(id.clone()));
        match kept {
            Kept::Object(object) => self.versions.push(ObjectVersion {
                e_tag: Some(ETag::Strong(object.etag.clone())),
                is_latest: Some(is_latest),
                key: Some(key.to_owned()),
                last_modified: Some(object.modified.into()),
                owner: Some(owner()),
                size: i64::try_from(object.body.len()).ok(),
                version_id: Some(id),
                ..Default::default()
            }),
            Kept::Deleted { at, .. } => self.markers.push(DeleteMarkerEntry {
                is_latest: Some(is_latest),
                key: Some(key.to_owned()),
                last_modified: Some((*at).into()),
                owner: Some(owner()),
                version_id: Some(id),
            }),
        }
        true
    }

    fn output(
        mut self,
        input: ListObjectVersionsInput,
        encoding: Encoding,
    ) -> ListObjectVersionsOutput {
        for version in &mut self.versions {
            version.key = version.key.take().map(|key| encoding.apply(key));
        }
        for marker in &mut self.markers {
            marker.key = marker.key.take().map(|key| encoding.apply(key));
        }
        let (last_key, last_version) = self.last;
        ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.apply(input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|delimiter| encoding.apply(delimiter)),
            encoding_type: input.encoding_type,
            key_marker: Some(encoding.apply(input.key_marker.unwrap_or_default())),
            version_id_marker: input.version_id_marker,
            max_keys: input.max_keys,
            is_truncated: Some(self.is_truncated),
            next_key_marker: self.is_truncated.then(|| encoding.apply(last_key)),
            next_version_id_marker: last_version.filter(|_| self.is_truncated),
            versions: Some(self.versions),
            delete_markers: Some(self.markers),
            common_prefixes: Some(encoding.prefixes(self.common)),
            ..Default::default()
        }
    }
}

fn version_id(serial: u64) -> String {
    // As AWS's ids: 32 characters, some of which are no letters.
    format!("v._{serial:029x}")
}

/// The version of an object that was stored without one.
const NULL: &str = "null";
