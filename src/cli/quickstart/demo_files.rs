//! Where the files of `quickstart` are: in memory, or in a directory that outlives it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use embedded_s3::EmbeddedS3;

use crate::aws::{AccessKey, Credentials};
use crate::secret::Secret;
use crate::storage::directory::DirectoryStore;
use crate::storage::layer::{About, Layer};
use crate::storage::s3::{Encryption, S3Store, Settings, Timeouts};
use crate::storage::{self, Bucket, Capabilities, SharedStore, StorageError, StorageErrorKind};

/// A file that is there from the start: its bucket, its key and what is in it.
pub(super) type Given = (&'static str, &'static str, &'static str);

/// Where the files are.
#[derive(Debug, Clone)]
pub(super) enum DemoFiles {
    Memory(Arc<EmbeddedS3>),
    Directory(Arc<Buckets>),
}

/// A directory with one for each bucket in it.
#[derive(Debug)]
pub(super) struct Buckets {
    root: String,
    /// With a number for each: they are stores of their own.
    opened: Mutex<HashMap<Bucket, (u16, SharedStore)>>,
}

impl DemoFiles {
    /// Starts an S3 in memory.
    pub(super) async fn in_memory(
        listen: Option<SocketAddr>,
        (access_key, secret_key): (&str, String),
        buckets: &[&str],
        given: Given,
    ) -> anyhow::Result<Self> {
        let settings = embedded_s3::Settings {
            access_key: access_key.to_owned(),
            secret_key,
            buckets: buckets.iter().map(|name| (*name).to_owned()).collect(),
            ..embedded_s3::Settings::default()
        };
        let listen = listen.unwrap_or(settings.listen);
        let settings = embedded_s3::Settings { listen, ..settings };
        let s3 = EmbeddedS3::start(settings)
            .await
            .with_context(|| format!("failed to start the embedded S3 on {listen}"))?;
        s3.put(given.0, given.1, given.2);
        Ok(Self::Memory(Arc::new(s3)))
    }

    /// Opens a directory; what is given is put there the first time.
    pub(super) fn in_directory(root: &str, buckets: &[&str], given: Given) -> anyhow::Result<Self> {
        let all = Buckets {
            root: root.trim_end_matches('/').to_owned(),
            opened: Mutex::default(),
        };
        for bucket in buckets {
            all.make(&Bucket::parse(bucket)?)?;
        }
        all.give(given)?;
        Ok(Self::Directory(Arc::new(all)))
    }

    /// Makes a bucket, unless it is there.
    pub(super) fn make_bucket(&self, bucket: &Bucket) -> anyhow::Result<()> {
        match self {
            Self::Memory(s3) => {
                s3.create_bucket(bucket.as_str());
                Ok(())
            }
            Self::Directory(all) => all.make(bucket),
        }
    }

    /// Returns the S3 in memory, if it is one.
    pub(super) fn s3(&self) -> Option<&EmbeddedS3> {
        match self {
            Self::Memory(s3) => Some(s3),
            Self::Directory(_) => None,
        }
    }
}

/// Connects to the S3 in memory.
pub(super) async fn connect(s3: &EmbeddedS3, region: &str) -> anyhow::Result<S3Store> {
    let settings = Settings {
        region: region.to_owned(),
        endpoint: Some(s3.endpoint()),
        follow_regions: false,
        path_style: true,
        storage_class: None,
        encryption: Encryption::None,
        capabilities: Capabilities::all(),
        credentials: Credentials::Static(AccessKey::new(
            s3.access_key(),
            &Secret::new(s3.secret_key().to_owned()),
            None,
        )),
        ca_pem: None,
        timeouts: Timeouts::default(),
    };
    Ok(S3Store::connect(settings).await?)
}

impl Buckets {
    fn make(&self, bucket: &Bucket) -> anyhow::Result<()> {
        let mut opened = self.opened();
        if opened.contains_key(bucket) {
            return Ok(());
        }
        let root = format!("{}/{bucket}", self.root);
        std::fs::create_dir_all(&root).with_context(|| format!("cannot create {root:?}"))?;
        let store = DirectoryStore::open(&root, std::slice::from_ref(bucket));
        let store = store.with_context(|| format!("cannot use {root:?}"))?;
        let number = u16::try_from(opened.len()).context("too many buckets")?;
        drop(opened.insert(bucket.clone(), (number, Arc::new(store))));
        Ok(())
    }

    /// Puts a file there, unless it is from an earlier start.
    fn give(&self, (bucket, key, content): Given) -> anyhow::Result<()> {
        let path = format!("{}/{bucket}/{key}", self.root);
        if std::fs::exists(&path).unwrap_or(false) {
            return Ok(());
        }
        let (above, _) = path.rsplit_once('/').unwrap_or(("/", ""));
        let made = std::fs::create_dir_all(above).and_then(|()| std::fs::write(&path, content));
        made.with_context(|| format!("cannot write {path:?}"))
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<Bucket, (u16, SharedStore)>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, bucket: &Bucket) -> Option<(u16, SharedStore)> {
        self.opened().get(bucket).cloned()
    }
}

impl Layer for Buckets {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> storage::Result<T>
    where
        T: Send,
        F: Future<Output = storage::Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        match about.bucket.and_then(|bucket| self.of(bucket)) {
            Some((_, store)) => run(store).await,
            None => {
                let kind = StorageErrorKind::NoSuchBucket;
                Err(StorageError::new(kind, about.to_string()))
            }
        }
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.of(bucket)
            .map_or_else(Capabilities::all, |(number, store)| Capabilities {
                store: number,
                ..store.capabilities(bucket)
            })
    }
}
