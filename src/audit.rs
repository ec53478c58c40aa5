//! One line for each thing that a user did: verb first, fields, totals at the end.
//!
//! The span around a session carries `session_id`, `user` and `connection_id`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tracing::field;

use crate::storage::{Bucket, ByteRange, Checksum, Digest, Location, ObjectMeta, Removed, Stored};
use crate::vfs::VirtualPath;

/// A file of which a line tells: what the client calls it, and where it is.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    pub path: &'a VirtualPath,
    pub location: &'a Location,
}

/// What is known of an object that was written.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// What the client sent.
    pub received: u64,
    pub size: u64,
    pub etag: &'a str,
    /// `None` where the bucket keeps no versions.
    pub version_id: Option<&'a str>,
    pub checksum: Option<Checksum>,
    /// Whether there was a file before; `None`: S3 was not asked.
    pub replaced: Option<bool>,
}

/// What AWS's API did to a user that the gateway keeps.
#[derive(Debug, Clone, Copy)]
pub struct UserChange<'a> {
    /// In AWS's word.
    pub operation: &'static str,
    pub of_server: &'a str,
    pub user: &'a str,
    pub ssh_public_key_id: Option<&'a str>,
    /// Of the caller.
    pub access_key_id: &'a str,
    pub source_ip: IpAddr,
}

/// A user that the gateway keeps was made, changed or taken away.
pub fn user_changed(change: UserChange<'_>) {
    let UserChange {
        operation,
        of_server,
        user,
        ssh_public_key_id,
        access_key_id,
        source_ip,
    } = change;
    tracing::info!(
        target: TARGET, operation, of_server, user, ssh_public_key_id, access_key_id, %source_ip,
        "service-managed user changed"
    );
}

/// A server was made, changed, started, stopped or deleted by AWS's tools.
pub fn server_changed(
    operation: &'static str,
    of_server: &str,
    access_key_id: &str,
    source_ip: IpAddr,
) {
    tracing::info!(
        target: TARGET, operation, of_server, access_key_id, %source_ip, "server changed"
    );
}

/// A server that AWS's tools made receives clients.
pub fn server_listening(of_server: &str, address: SocketAddr) {
    tracing::info!(target: TARGET, of_server, %address, "server listening");
}

/// A file is in S3.
pub fn uploaded(file: File<'_>, written: Written<'_>, took: Duration) {
    let File { path, location } = file;
    let Written {
        received,
        size,
        etag,
        version_id,
        checksum,
        replaced,
    } = written;
    let checksum = checksum.map(|checksum| Digest::Crc64Nvme(checksum).to_string());
    tracing::info!(
        target: TARGET, activity = "CLOSE", %path, %location, bucket = location.bucket.as_str(),
        key = location.key.as_str(), bytes_in = received, size, etag, checksum,
        version_id, replaced, duration_ms = millis(took), "uploaded"
    );
}

/// What came of a file before its client disconnected is in S3.
pub fn partial_kept(file: File<'_>, written: Written<'_>, took: Duration) {
    let File { path, location } = file;
    let checksum = written
        .checksum
        .map(|sum| Digest::Crc64Nvme(sum).to_string());
    tracing::info!(
        target: TARGET, activity = "PARTIAL_CLOSE", %path, %location,
        bucket = location.bucket.as_str(), key = location.key.as_str(),
        bytes_in = written.received, size = written.size, etag = written.etag, checksum,
        version_id = written.version_id, duration_ms = millis(took), "partial upload kept"
    );
}

/// A range of one file, and where it was to be written in another one.
#[derive(Debug, Clone, Copy)]
pub struct Range<'a> {
    pub from: &'a str,
    pub to: &'a VirtualPath,
    pub range: ByteRange,
    pub at: u64,
}

/// A range of a file was written to another, which is open, or was not; `failed`: why.
pub fn range_copied(copied: Range<'_>, failed: Option<&str>) {
    let Range {
        from,
        to,
        range: ByteRange { start, end },
        at,
    } = copied;
    let bytes = end.saturating_sub(start);
    match failed {
        None => tracing::info!(
            target: TARGET, activity = "COPY", path = from, %to, offset = start, bytes, at,
            "range copied"
        ),
        Some(reason) => tracing::warn!(
            target: TARGET, activity = "COPY", path = from, %to, offset = start, bytes, at,
            reason, "range not copied"
        ),
    }
}

/// A file that was being written did not make it into S3.
pub fn upload_failed(file: File<'_>, bytes: u64, reason: &str) {
    let File { path, location } = file;
    tracing::warn!(
        target: TARGET, activity = "PARTIAL_CLOSE", %path, %location,
        bucket = location.bucket.as_str(), key = location.key.as_str(), bytes_in = bytes, reason,
        "upload failed"
    );
}

/// A file that was read is closed.
pub fn downloaded(file: File<'_>, meta: &ObjectMeta, bytes: u64, whole: bool, took: Duration) {
    let File { path, location } = file;
    let checksum = meta.checksum.map(|checksum| checksum.to_string());
    tracing::info!(
        target: TARGET, activity = "CLOSE", %path, %location, bucket = location.bucket.as_str(),
        key = location.key.as_str(), bytes_out = bytes, whole, etag = &*meta.etag.0, checksum,
        version_id = meta.version_id.as_deref(), duration_ms = millis(took), "downloaded"
    );
}

/// Checksums of a file were told; `read`: how many bytes were read for them, and none where the store
/// keeps them.
pub fn checksum_told(
    file: File<'_>,
    algorithm: &str,
    read: Option<u64>,
    etag: &crate::storage::ETag,
    took: Duration,
) {
    let File { path, location } = file;
    let stored = read.is_none();
    tracing::info!(
        target: TARGET, activity = "CHECK", %path, %location, bucket = location.bucket.as_str(),
        key = location.key.as_str(), algorithm, stored, bytes_read = read.unwrap_or(0),
        etag = &*etag.0, duration_ms = millis(took), "checksum told"
    );
}

/// A command is over: how many files it was about, their bytes, and what of it failed; `unlogged`: as
/// many lines about the user were left out before.
pub fn command_ended(
    command: &str,
    outcome: &str,
    totals: (u64, u64, u64),
    took: Duration,
    unlogged: Option<u64>,
) {
    let (files, bytes, failures) = totals;
    tracing::info!(
        target: TARGET, activity = "EXEC", command, outcome, files, bytes, failures,
        duration_ms = millis(took), unlogged, "command finished"
    );
}

/// A name that was changed: what the client calls it, and its bucket and key; that of a directory
/// ends in a slash, if it is known to be one.
#[derive(Debug, Clone)]
pub struct Name<'a> {
    pub path: &'a VirtualPath,
    pub place: Option<(Bucket, String)>,
    /// Of a version that is not what is there now.
    pub version_id: Option<String>,
}

/// What was done to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Removed,
    DirectoryMade,
    DirectoryRemoved,
    Renamed,
    TimeSet,
    Copied,
}

impl Change {
    /// Returns the word of Transfer Family's logs.
    const fn activity(self) -> &'static str {
        match self {
            Self::Removed => "DELETE",
            Self::DirectoryMade => "MKDIR",
            Self::DirectoryRemoved => "RMDIR",
            Self::Renamed => "RENAME",
            Self::TimeSet => "SETSTAT",
            // Of our own: Transfer Family copies nothing.
            Self::Copied => "COPY",
        }
    }

    const fn past(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::DirectoryMade => "directory made",
            Self::DirectoryRemoved => "directory removed",
            Self::Renamed => "renamed",
            Self::TimeSet => "attributes set",
            Self::Copied => "copied",
        }
    }
}

/// What S3 said of a change; of a directory that moved, nothing as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// The object that stands there now.
    pub stored: Option<Stored>,
    pub removed: Option<Removed>,
    /// Whether a file gave way; `None`: none could.
    pub replaced: Option<bool>,
}

impl Confirmed {
    #[must_use]
    pub fn stored(stored: Stored) -> Self {
        Self {
            stored: Some(stored),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn removed(removed: Removed) -> Self {
        Self {
            removed: Some(removed),
            ..Self::default()
        }
    }
}

/// A name was changed, made or removed; `to` is the new one of a rename or a copy.
pub fn changed(
    change: Change,
    name: &Name<'_>,
    to: Option<&Name<'_>>,
    confirmed: &Confirmed,
    took: Duration,
) {
    let Name {
        path,
        place,
        version_id: from_version_id,
    } = name;
    let from_version_id = from_version_id.as_deref();
    let (bucket, key) = words(place.as_ref());
    let (activity, past, duration_ms) = (change.activity(), change.past(), millis(took));
    let Confirmed {
        stored,
        removed,
        replaced,
    } = confirmed;
    let etag = stored.as_ref().map(|stored| &*stored.etag.0);
    let checksum = stored.as_ref().and_then(|stored| stored.checksum);
    let checksum = checksum.map(|checksum| Digest::Crc64Nvme(checksum).to_string());
    let version_id = match (stored, removed) {
        (Some(stored), _) => stored.version_id.as_deref(),
        (None, Some(removed)) => removed.version_id.as_deref(),
        (None, None) => None,
    };
    let marker = removed.as_ref().map(|removed| removed.delete_marker);
    let delete_marker = marker.filter(|stands| *stands);
    match to {
        Some(Name {
            path: to,
            place: new,
            version_id: _,
        }) => {
            let (to_bucket, to_key) = words(new.as_ref());
            tracing::info!(
                target: TARGET, activity, %path, %to, bucket, key, from_version_id, to_bucket,
                to_key, etag, checksum, version_id, replaced, duration_ms, "{past}"
            );
        }
        None => tracing::info!(
            target: TARGET, activity, %path, bucket, key, etag, version_id, delete_marker,
            duration_ms, "{past}"
        ),
    }
}

fn words(place: Option<&(Bucket, String)>) -> (Option<&str>, Option<&str>) {
    place.map(|(bucket, key)| (bucket.as_str(), &**key)).unzip()
}

/// Something was asked and the storage got in the way; `unlogged`: as many lines of the kind were
/// left out before this one.
pub fn storage_refused(
    operation: &'static str,
    path: &VirtualPath,
    detail: &str,
    unlogged: Option<u64>,
) {
    tracing::warn!(
        target: TARGET, activity = "ERROR", operation, %path, detail, unlogged, "operation failed"
    );
}

/// A user may not have what was asked for, and the storage was not asked or said so without words.
pub fn refused(
    operation: &'static str,
    path: Option<&VirtualPath>,
    to: Option<&VirtualPath>,
    reason: &'static str,
    unlogged: Option<u64>,
) {
    let (path, to) = (path.map(field::display), to.map(field::display));
    tracing::info!(
        target: TARGET, activity = "ERROR", operation, path, to, reason, unlogged,
        "operation refused"
    );
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const TARGET: &str = "portcullis::audit";
