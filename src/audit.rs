//! One line for each thing that a user did: verb first, fields, totals at the end.
//!
//! The span around a session carries `session_id`, `user` and `connection_id`.

use std::time::Duration;

use tracing::field;

use crate::storage::Location;
use crate::vfs::VirtualPath;

/// A file is in S3.
pub fn uploaded(path: &VirtualPath, location: &Location, bytes: u64, etag: &str, took: Duration) {
    tracing::info!(
        target: TARGET, activity = "CLOSE", %path, %location, bytes_in = bytes, etag,
        duration_ms = millis(took), "uploaded"
    );
}

/// A file that was being written did not make it into S3.
pub fn upload_failed(path: &VirtualPath, location: &Location, bytes: u64, reason: &str) {
    tracing::warn!(
        target: TARGET, activity = "PARTIAL_CLOSE", %path, %location, bytes_in = bytes, reason,
        "upload failed"
    );
}

/// A file that was read is closed.
pub fn downloaded(
    path: &VirtualPath,
    location: &Location,
    bytes: u64,
    whole: bool,
    took: Duration,
) {
    tracing::info!(
        target: TARGET, activity = "CLOSE", %path, %location, bytes_out = bytes, whole,
        duration_ms = millis(took), "downloaded"
    );
}

/// A name was changed, made or removed; `to` is the new one of a rename.
pub fn changed(operation: &'static str, path: &VirtualPath, to: Option<&VirtualPath>) {
    let activity = match operation {
        "remove" => "DELETE",
        "mkdir" => "MKDIR",
        "rmdir" => "RMDIR",
        "rename" | "posix-rename" => "RENAME",
        _ => "SETSTAT",
    };
    match to {
        Some(to) => tracing::info!(target: TARGET, activity, %path, %to, "renamed"),
        None => tracing::info!(target: TARGET, activity, %path, "{}", past(operation)),
    }
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

fn past(operation: &'static str) -> &'static str {
    match operation {
        "remove" => "removed",
        "mkdir" => "directory made",
        "rmdir" => "directory removed",
        other => other,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const TARGET: &str = "portcullis::audit";
