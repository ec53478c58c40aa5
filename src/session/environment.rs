//! What the process lends to each of its sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::kept::Kept;
use super::listed_times::ListedTimes;
use super::unsettled::Unsettled;
use super::upload_records::UploadRecords;
use super::user_sessions::UserSessions;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::config::{Exec, StatTimes};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::reaper::Reaper;
use crate::storage::Nonces;
use crate::vfs::PartialUploads;

/// Returns the turns of checksums: half of the processors are left to others.
#[must_use]
pub fn summing() -> Arc<Semaphore> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(processors.div_euclid(2).max(1)))
}

/// What a session needs of the process.
#[derive(Debug, Clone)]
pub struct Environment {
    pub budget: Arc<Budget>,
    pub reaper: Reaper,
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    /// Counts the sessions of each user.
    pub user_sessions: UserSessions,
    pub nonces: Nonces,
    /// What is known of directories that may empty themselves.
    pub kept: Kept,
    /// What its sessions changed.
    pub changes: Changes,
    /// How long a session goes by what a listing or a STAT showed.
    pub names_fresh_for: Duration,
    /// Which times STAT shows.
    pub stat_times: StatTimes,
    pub listed_times: ListedTimes,
    /// What becomes of files whose client disconnects before CLOSE, where neither the user's answer
    /// nor the mapping says it.
    pub partial_uploads: PartialUploads,
    /// Files whose session has ended, and whose outcome is open.
    pub unsettled: Unsettled,
    /// What another process needs to keep what arrived of uploads, if this one is killed.
    pub upload_records: UploadRecords,
    /// Commands that clients can run.
    pub exec: Exec,
    /// Turns of checksums that clients ask for.
    pub summing: Arc<Semaphore>,
    /// Cancelled when the gateway drains: sessions end when nothing is open.
    pub drain: CancellationToken,
}
