//! The stores that every storage test runs against.

use std::sync::Arc;

use bytes::Bytes;
use embedded_s3::EmbeddedS3;
use futures_util::TryStreamExt as _;
use portcullis::aws::{AccessKey, Credentials};
use portcullis::clock::SystemClock;
use portcullis::metrics::Metrics;
use portcullis::secret::Secret;
use portcullis::storage::credentials::{Own, Stores};
use portcullis::storage::directory::DirectoryStore;
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::retry::{Retries, RetrySettings, Retrying};
use portcullis::storage::s3::{Encryption, S3Store, Settings, Timeouts};
use portcullis::storage::{
    Bucket, ByteRange, Capabilities, Checksum, CompleteUpload, CompletedPart, CopyObject, ETag,
    GetObject, Key, Location, NewObject, Nonce, ObjectBody, PartNumber, Precondition, PutObject,
    Result, SharedStore, Stored, UploadId, UploadPart, Version,
};
use tempfile::TempDir;

/// A store and a place in it that no other test uses.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) store: SharedStore,
    pub(crate) bucket: Bucket,
    pub(crate) other_bucket: Bucket,
    pub(crate) prefix: String,
    /// What the store is known not to do, by name; see [`Subject::external`].
    lacks: Vec<String>,
    _server: Option<EmbeddedS3>,
    root: Option<TempDir>,
}

impl Subject {
    pub(crate) fn memory() -> Self {
        let (bucket, other_bucket) = (bucket("bucket"), bucket("other-bucket"));
        let store = MemoryStore::new(&[&bucket, &other_bucket]);
        Self::of(Arc::new(store), bucket, other_bucket)
    }

    /// A directory: of what describes an object it keeps the time, and its directories are seen.
    pub(crate) fn directory() -> Self {
        let (bucket, other_bucket) = (bucket("bucket"), bucket("other-bucket"));
        let root = tempfile::tempdir().unwrap();
        let path = root.path().display().to_string();
        let store = DirectoryStore::open(&path, &[bucket.clone(), other_bucket.clone()]);
        let lacks = ["metadata", "slash-keys", "checksums", "hidden-directories"];
        Self {
            lacks: lacks.map(str::to_owned).to_vec(),
            root: Some(root),
            ..Self::of(Arc::new(store.unwrap()), bucket, other_bucket)
        }
    }

    pub(crate) async fn embedded() -> Self {
        let (bucket, other_bucket) = (bucket("bucket"), bucket("other-bucket"));
        let server = EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec![bucket.to_string(), other_bucket.to_string()],
            ..embedded_s3::Settings::default()
        })
        .await
        .unwrap();
        let store = S3Store::connect(s3_settings(
            server.endpoint(),
            server.access_key(),
            server.secret_key(),
        ));
        let store = repeated(store.await.unwrap());
        Self {
            _server: Some(server),
            lacks: vec!["gap-check".to_owned()],
            ..Self::of(store, bucket, other_bucket)
        }
    }

    /// The server that the environment names, if it names one: `TEST_S3_ENDPOINT`,
    /// `TEST_S3_ACCESS_KEY`, `TEST_S3_SECRET_KEY`, `TEST_S3_BUCKET`, and if there is a second
    /// bucket `TEST_S3_OTHER_BUCKET`. `TEST_S3_LACKS` lists with commas what it is known not to
    /// do: `byte-order` (listings in the order of UTF-8), `slash-keys` (keys with empty, `.` or
    /// `..` segments), `gap-check` (refuses a complete that leaves a part number out),
    /// `part-replacing` (lists a part that was sent again once), `checksums`, `conditional-put`, `conditional-complete`,
    /// `conditional-copy`, `conditional-delete`, `is-truncated`, `empty-range`, `whole-checksum`. For `SeaweedFS`
    /// 4.48 these are `byte-order,slash-keys,gap-check,part-replacing`.
    pub(crate) async fn external() -> Option<Self> {
        Self::external_s3().await.map(|(subject, _)| subject)
    }

    /// The same, and its client.
    pub(crate) async fn external_s3() -> Option<(Self, S3Store)> {
        let endpoint = environment("TEST_S3_ENDPOINT")?;
        let lacks: Vec<String> = environment("TEST_S3_LACKS")
            .unwrap_or_default()
            .split(',')
            .map(|word| word.trim().to_owned())
            .collect();
        let honours = |name: &str| !lacks.iter().any(|lack| lack == name);
        let settings = Settings {
            capabilities: Capabilities {
                conditional_put: honours("conditional-put"),
                conditional_complete: honours("conditional-complete"),
                conditional_copy: honours("conditional-copy"),
                conditional_delete: honours("conditional-delete"),
                checksums: honours("checksums"),
                is_truncated: honours("is-truncated"),
                metadata: true,
                directories: false,
                store: 0,
            },
            ..s3_settings(
                endpoint,
                &environment("TEST_S3_ACCESS_KEY").expect("TEST_S3_ACCESS_KEY is set"),
                &environment("TEST_S3_SECRET_KEY").expect("TEST_S3_SECRET_KEY is set"),
            )
        };
        let name = environment("TEST_S3_BUCKET").expect("TEST_S3_BUCKET is set");
        let other = environment("TEST_S3_OTHER_BUCKET").unwrap_or_else(|| name.clone());
        let store = S3Store::connect(settings).await.unwrap();
        let subject = Self {
            lacks,
            ..Self::of(repeated(store.clone()), bucket(&name), bucket(&other))
        };
        Some((subject, store))
    }

    fn of(store: SharedStore, bucket: Bucket, other_bucket: Bucket) -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        Self {
            store,
            bucket,
            other_bucket,
            prefix: format!("contract-{:016x}/", u64::from_ne_bytes(random)),
            lacks: Vec::new(),
            _server: None,
            root: None,
        }
    }

    /// Returns the directory that holds the files, if that is what they are.
    pub(crate) fn root(&self) -> Option<&str> {
        let root = self.root.as_ref()?;
        Some(root.path().to_str().unwrap())
    }

    pub(crate) fn lacks(&self, name: &str) -> bool {
        self.lacks.iter().any(|lack| lack == name)
    }

    /// Names a place below this test's own prefix.
    pub(crate) fn at(&self, name: &str) -> Location {
        Location {
            bucket: self.bucket.clone(),
            key: Key::parse(&format!("{}{name}", self.prefix)).unwrap(),
        }
    }

    /// The same in the other bucket.
    pub(crate) fn elsewhere(&self, name: &str) -> Location {
        Location {
            bucket: self.other_bucket.clone(),
            ..self.at(name)
        }
    }

    pub(crate) async fn put(&self, name: &str, payload: impl Into<Bytes>) -> Stored {
        self.put_if(&self.at(name), payload, &Precondition::None)
            .await
            .unwrap()
    }

    pub(crate) async fn put_if(
        &self,
        location: &Location,
        payload: impl Into<Bytes>,
        condition: &Precondition,
    ) -> Result<Stored> {
        let payload = payload.into();
        let put = PutObject {
            object: &new_object(),
            checksum: checksum(&payload),
            condition,
        };
        self.store.put(location, payload, put).await
    }

    pub(crate) async fn get(
        &self,
        location: &Location,
        range: Option<ByteRange>,
        etag: Option<&ETag>,
    ) -> Result<ObjectBody> {
        self.store.get(location, GetObject { range, etag }).await
    }

    pub(crate) async fn copy(
        &self,
        (source, source_etag): (&Location, &ETag),
        target: &Location,
        object: &NewObject,
        condition: &Precondition,
    ) -> Result<Stored> {
        let copy = CopyObject {
            source: Version {
                location: source,
                etag: source_etag,
            },
            object,
            condition,
        };
        self.store.copy(target, copy).await
    }

    pub(crate) async fn complete(
        &self,
        location: &Location,
        upload: &UploadId,
        parts: &[CompletedPart],
        checksum: Option<Checksum>,
        condition: &Precondition,
    ) -> Result<Stored> {
        let complete = CompleteUpload {
            upload,
            parts,
            checksum,
            condition,
        };
        self.store.complete(location, complete).await
    }

    pub(crate) async fn part(
        &self,
        location: &Location,
        upload: &UploadId,
        number: u32,
        payload: &Bytes,
    ) -> Result<CompletedPart> {
        let part = UploadPart {
            upload,
            number: PartNumber(number),
            checksum: checksum(payload),
        };
        self.store.part(location, payload.clone(), part).await
    }

    pub(crate) async fn read(&self, location: &Location) -> Bytes {
        let body = self.get(location, None, None).await.unwrap();
        collect(body).await.unwrap()
    }
}

/// Returns a store whose calls are repeated, as the gateway's are.
pub(crate) fn repeated(store: S3Store) -> SharedStore {
    let settings = RetrySettings::default();
    let observer = Arc::new(Metrics::default());
    let retries = Retries::new(settings, Arc::new(SystemClock), observer);
    Arc::new(Retrying::new(Arc::new(store), retries))
}

/// Returns what logins need that never come to storage.
pub(crate) fn no_stores() -> Arc<dyn Stores> {
    Arc::new(Own::new(Arc::new(MemoryStore::new(&[]))))
}

pub(crate) fn s3_settings(endpoint: String, access_key: &str, secret_key: &str) -> Settings {
    super::suite_log::begin();
    Settings {
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint),
        follow_regions: false,
        path_style: true,
        storage_class: None,
        encryption: Encryption::None,
        capabilities: Capabilities::all(),
        credentials: Credentials::Static(AccessKey::new(
            access_key,
            &Secret::new(secret_key.to_owned()),
            None,
        )),
        ca_pem: None,
        timeouts: Timeouts::default(),
    }
}

pub(crate) async fn collect(body: ObjectBody) -> Result<Bytes> {
    let frames: Vec<Bytes> = body.frames.try_collect().await?;
    Ok(frames.concat().into())
}

pub(crate) fn new_object() -> NewObject {
    NewObject::new(Nonce::new().unwrap())
}

pub(crate) fn checksum(payload: &[u8]) -> Checksum {
    Checksum(crc_fast::crc64_nvme(payload))
}

pub(crate) fn bucket(name: &str) -> Bucket {
    Bucket::parse(name).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "where tests read the environment"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
