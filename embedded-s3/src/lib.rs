//! An in-memory S3 that keeps keys exactly, orders listings by bytes, decides conditional writes
//! under one lock, remembers what it was asked and fails when told to.
//!
//! [`EmbeddedS3::start`] serves real HTTP on a port of its own; signatures, XML and chunked bodies
//! are the work of the `s3s` crate. It is meant for a first run, for tests and for measurements:
//! everything is lost when the value is dropped.
//!
//! Differences from Amazon's S3: one pair of keys may do everything, a session token is ignored;
//! no access lists or lifecycle; versions are kept where `PutBucketVersioning` says so; by part number objects are looked at and not read; the `ETag` of a body above 16 KiB is not its MD5.

mod alteration;
mod blocks;
mod checksum;
mod conditions;
mod faults;
mod listing;
mod multipart;
mod objects;
mod operation;
mod percent;
mod properties;
mod receive;
mod region;
mod request_log;
mod s3;
mod server;
mod store;
mod upload_listing;
mod versions;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use crate::alteration::Alteration;
pub use crate::faults::{Action, Fault};
pub use crate::region::Placement;
pub use crate::request_log::RequestRecord;

use crate::blocks::Blocks;
use crate::checksum::{Algorithm, Hasher};
use crate::faults::Faults;
use crate::region::Placements;
use crate::request_log::RequestLog;
use crate::s3::{Keys, Operations};
use crate::server::Shared;
use crate::store::{Object, Store};

/// How a server is to be started.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one access key that is let in.
    pub access_key: String,
    /// The secret that belongs to the access key.
    pub secret_key: String,
    /// The buckets that exist from the start.
    pub buckets: Vec<String>,
    /// Whether requests are remembered for [`EmbeddedS3::requests`].
    pub log_requests: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access_key: String::from("embedded"),
            secret_key: String::from("embedded-secret"),
            buckets: Vec::new(),
            log_requests: false,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("listen", &self.listen)
            .field("access_key", &self.access_key)
            .field("buckets", &self.buckets)
            .field("log_requests", &self.log_requests)
            .finish_non_exhaustive()
    }
}

/// A running server; dropping it closes every connection.
pub struct EmbeddedS3 {
    settings: Settings,
    address: SocketAddr,
    store: Arc<Store>,
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl EmbeddedS3 {
    /// Starts a server on the current runtime.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be listened on or a bucket is named twice.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let store = Arc::new(Store::default());
        for bucket in &settings.buckets {
            store.create(bucket).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("bucket {bucket} is named twice"),
                )
            })?;
        }
        let mut builder = S3ServiceBuilder::new(Operations(Arc::clone(&store)));
        builder.set_auth(Keys {
            access_key: settings.access_key.clone(),
            secret_key: settings.secret_key.as_str().into(),
        });
        let shared = Arc::new(Shared {
            service: builder.build(),
            faults: Faults::new(),
            log: settings.log_requests.then(RequestLog::default),
            down: AtomicBool::new(false),
            placements: Placements::default(),
        });
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let mut tasks = JoinSet::new();
        #[expect(clippy::disallowed_methods, reason = "a server for tests has no span")]
        tasks.spawn(server::run(listener, Arc::clone(&shared), stopped));
        Ok(Self {
            settings,
            address,
            store,
            shared,
            stop,
            tasks,
        })
    }

    /// Returns the address the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the server, for path-style requests.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the access key that is let in.
    pub fn access_key(&self) -> &str {
        &self.settings.access_key
    }

    /// Returns the secret that belongs to the access key.
    pub fn secret_key(&self) -> &str {
        &self.settings.secret_key
    }

    /// Closes the port and every connection, and waits until they are closed.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.tasks.join_all().await;
    }

    /// Returns the requests since the start or the last [`clear_requests`](Self::clear_requests),
    /// at most the last 100 000; none unless `log_requests` was set.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared
            .log
            .as_ref()
            .map(RequestLog::all)
            .unwrap_or_default()
    }

    /// Counts the remembered requests of one operation, such as `PutObject`.
    pub fn count(&self, operation: &str) -> usize {
        self.shared
            .log
            .as_ref()
            .map_or(0, |log| log.count(operation))
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        if let Some(log) = &self.shared.log {
            log.clear();
        }
    }

    /// Adds a fault; of several that apply to a request the first one added strikes.
    pub fn script(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Removes all faults and lets hanging requests go on.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Sets whether every request that arrives from now on is answered by closing its connection.
    pub fn set_down(&self, down: bool) {
        self.shared.down.store(down, Ordering::Relaxed);
    }

    /// Puts a bucket into a region: requests that are signed for another one are refused.
    pub fn place(&self, bucket: &str, placement: Placement) {
        self.shared.placements.set(bucket, placement);
    }

    /// Returns an object as stored; none without the bucket or the key.
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        let object = self.store.bucket(bucket).ok()?.object(key).ok()?;
        Some(StoredObject::of(&object))
    }

    /// Returns the keys of a bucket in byte order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let Ok(bucket) = self.store.bucket(bucket) else {
            return Vec::new();
        };
        bucket.lock().objects.keys().cloned().collect()
    }

    /// Makes a bucket, unless it is there.
    pub fn create_bucket(&self, bucket: &str) {
        // That it is there already is what was wanted.
        drop(self.store.create(bucket));
    }

    /// Keeps the versions of a bucket's objects from now on, as `PutBucketVersioning` does.
    pub fn keep_versions(&self, bucket: &str) {
        self.store.bucket_or_new(bucket).lock().keep_versions(true);
    }

    /// Returns the uploads of a bucket that are neither completed nor aborted, by key.
    pub fn uploads(&self, bucket: &str) -> Vec<OpenUpload> {
        let Ok(bucket) = self.store.bucket(bucket) else {
            return Vec::new();
        };
        let contents = bucket.lock();
        let uploads = contents
            .uploads
            .iter()
            .map(|((key, id), upload)| OpenUpload {
                key: key.clone(),
                upload_id: id.clone(),
                parts: upload
                    .parts
                    .iter()
                    .map(|(number, part)| (*number, part.body.len()))
                    .collect(),
            });
        uploads.collect()
    }

    /// Writes an object past HTTP, creating the bucket if need be, and returns its `ETag`.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) -> String {
        self.put_checked(bucket, key, body, Some("CRC64NVME"))
    }

    /// The same, with a checksum of this kind, such as `SHA256`; none without one, and for an
    /// algorithm that is not known.
    pub fn put_checked(
        &self,
        bucket: &str,
        key: &str,
        body: impl Into<Bytes>,
        algorithm: Option<&str>,
    ) -> String {
        let body = Blocks::from(body.into());
        let algorithm = algorithm.and_then(Algorithm::named);
        let checksum = algorithm.map(|algorithm| {
            let mut hasher = Hasher::new(algorithm);
            body.iter().for_each(|block| hasher.update(block));
            hasher.finish()
        });
        let object = Object {
            body,
            etag: format!("{:032x}-1", self.store.next_serial()),
            modified: conditions::now(),
            properties: properties::Properties::default(),
            checksum,
            part_sizes: Vec::new(),
            version_id: None,
        };
        self.keep(bucket, key, object)
    }

    /// The same, as an object that was made of these parts, with a checksum of their checksums.
    pub fn put_in_parts(
        &self,
        bucket: &str,
        key: &str,
        parts: &[Bytes],
        algorithm: &str,
    ) -> String {
        let algorithm = Algorithm::named(algorithm);
        let sums = parts.iter().filter_map(|part| {
            let mut hasher = Hasher::new(algorithm?);
            hasher.update(part);
            Some((hasher.finish(), part.len() as u64))
        });
        let sums: Vec<_> = sums.collect();
        let sums: Vec<_> = sums.iter().map(|(sum, size)| (sum, *size)).collect();
        let mut body = Blocks::default();
        for part in parts {
            body.append(&Blocks::from(part.clone()));
        }
        let object = Object {
            body,
            etag: format!("{:032x}-{}", self.store.next_serial(), parts.len()),
            modified: conditions::now(),
            properties: properties::Properties::default(),
            checksum: checksum::Checksum::of_parts(&sums, true),
            part_sizes: parts.iter().map(|part| part.len() as u64).collect(),
            version_id: None,
        };
        self.keep(bucket, key, object)
    }

    fn keep(&self, bucket: &str, key: &str, object: Object) -> String {
        let etag = format!("\"{}\"", object.etag);
        let serial = self.store.next_serial();
        self.store
            .bucket_or_new(bucket)
            .lock()
            .place(key.to_owned(), object, serial);
        etag
    }

    /// Deletes an object past HTTP and returns whether it existed.
    pub fn delete(&self, bucket: &str, key: &str) -> bool {
        let Ok(bucket) = self.store.bucket(bucket) else {
            return false;
        };
        let mut contents = bucket.lock();
        let existed = contents.objects.contains_key(key);
        contents.take_away(key, self.store.next_serial());
        existed
    }
}

impl fmt::Debug for EmbeddedS3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EmbeddedS3")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// An object as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The bytes.
    pub body: Bytes,
    /// The `ETag` with its quotation marks.
    pub etag: String,
    /// When it was written, to the second.
    pub modified: SystemTime,
    /// The content type, if one was given.
    pub content_type: Option<String>,
    /// The user metadata, names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// The storage class, if one was given.
    pub storage_class: Option<String>,
    /// The encryption asked for, such as `aws:kms`.
    pub server_side_encryption: Option<String>,
    /// The key the encryption was asked for with.
    pub kms_key_id: Option<String>,
    /// The checksum algorithm, such as `CRC64NVME`, and the value as it stands in its header.
    pub checksum: Option<(String, String)>,
}

impl StoredObject {
    fn of(object: &Object) -> Self {
        let properties = object.properties.clone();
        Self {
            body: object.body.to_bytes(),
            etag: format!("\"{}\"", object.etag),
            modified: object.modified,
            content_type: properties.content_type,
            metadata: properties
                .metadata
                .unwrap_or_default()
                .into_iter()
                .collect(),
            storage_class: properties
                .storage_class
                .map(|class| class.as_str().to_owned()),
            server_side_encryption: properties
                .server_side_encryption
                .map(|encryption| encryption.as_str().to_owned()),
            kms_key_id: properties.ssekms_key_id,
            checksum: object
                .checksum
                .as_ref()
                .map(|sum| (sum.algorithm.name().to_owned(), sum.to_wire())),
        }
    }
}

/// A multipart upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key it is to become.
    pub key: String,
    /// Its id.
    pub upload_id: String,
    /// The numbers and sizes of its parts.
    pub parts: Vec<(i32, u64)>,
}
