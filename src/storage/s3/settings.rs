//! What an operator decides about one S3 endpoint.

use std::time::Duration;

use crate::aws::Credentials;
use crate::storage::Capabilities;

/// One endpoint, and how objects are kept there.
#[derive(Debug, Clone)]
pub struct Settings {
    pub region: String,
    /// `None` is AWS's own endpoint of the region.
    pub endpoint: Option<String>,
    /// Asks buckets in other regions there, as AWS's own endpoints want it.
    pub follow_regions: bool,
    /// Puts the bucket into the path instead of the host name.
    pub path_style: bool,
    /// Storage class of new objects, in S3's spelling; `None` leaves it to the bucket.
    pub storage_class: Option<String>,
    pub encryption: Encryption,
    pub capabilities: Capabilities,
    pub credentials: Credentials,
    /// Certificate authorities in PEM that are trusted besides the system's.
    pub ca_pem: Option<Vec<u8>>,
    pub timeouts: Timeouts,
}

/// Which server-side encryption is asked for with every new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// Nothing is asked: the bucket's default holds.
    None,
    S3,
    Kms {
        key_id: String,
    },
}

/// How long the calls may take, per try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Calls without a payload, and a GET until its headers.
    pub call: Duration,
    /// A payload has this long, and a second more for each [`Self::payload_bytes_per_second`].
    pub payload: Duration,
    pub payload_bytes_per_second: u64,
    /// The most for calls in which the store moves the bytes: complete and both copies.
    pub store_work: Duration,
    /// Between two frames of a GET's body.
    pub body_idle: Duration,
}

impl Timeouts {
    pub(super) fn of_payload(&self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.payload + Duration::from_secs(bytes / self.payload_bytes_per_second.max(1))
    }

    /// Returns how long the store may work on so many bytes.
    pub(super) fn of_store_work(&self, bytes: u64) -> Duration {
        let work = Duration::from_secs(bytes / STORE_BYTES_PER_SECOND);
        self.store_work.min(self.payload.saturating_add(work))
    }
}

/// What a slow store moves by itself in a second.
const STORE_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(15),
            payload: Duration::from_secs(60),
            payload_bytes_per_second: 1024 * 1024,
            store_work: Duration::from_secs(300),
            body_idle: Duration::from_secs(30),
        }
    }
}
