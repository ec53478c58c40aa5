//! The records of this process's uploads, and of those that it takes up from others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::leases::Leases;
use super::record::{Stage, UploadRecord};
use crate::clock::{Clock, within};
use crate::idp::folded;
use crate::limits::{
    BLOCKS_MAX, LOG_INTERVAL, UPLOAD_RECORD_BYTES_MAX, UPLOAD_RECORD_WRITTEN_WITHIN,
    UPLOAD_RECORDS_MAX,
};
use crate::metrics::{Metrics, RecordEnd};
use crate::reaper::Reaper;
use crate::seldom::Seldom;
use crate::storage::{
    Bucket, ETag, Location, Precondition, Result, SharedStore, StorageError, StorageErrorKind,
    UploadId, document,
};

/// Where the process keeps records of its uploads, if it does.
#[derive(Debug, Clone, Default)]
pub struct UploadRecords(Option<Arc<Kept>>);

/// What it needs for that.
#[derive(Debug, Clone)]
pub struct RecordSettings {
    /// What shows the bucket or the directory of the records.
    pub store: SharedStore,
    pub bucket: Bucket,
    /// Stores, by their numbers, that sessions reach with the credentials of a role.
    pub of_roles: BTreeSet<u16>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Kept {
    leases: Leases,
    of_roles: BTreeSet<u16>,
    /// How many more there may be.
    places: Arc<Semaphore>,
    /// How many each user has.
    users: Mutex<BTreeMap<Box<str>, usize>>,
    /// Users whose sessions were ended by the operator, and when.
    revoked: Mutex<BTreeMap<Box<str>, SystemTime>>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Bounds the lines about what fails.
    failures: Seldom,
}

impl UploadRecords {
    /// Keeps them below a prefix of a bucket, which replicas share.
    #[must_use]
    pub fn in_bucket(settings: RecordSettings, prefix: &str) -> Self {
        let (store, bucket) = (settings.store.clone(), settings.bucket.clone());
        let clock = Arc::clone(&settings.clock);
        Self::of(Leases::in_bucket(store, bucket, prefix, clock), settings)
    }

    /// Keeps them in a directory, for one process at a time.
    #[must_use]
    pub fn in_directory(settings: RecordSettings, directory: &str) -> Self {
        let (store, bucket) = (settings.store.clone(), settings.bucket.clone());
        let clock = Arc::clone(&settings.clock);
        let leases = Leases::in_directory(store, bucket, directory, clock);
        Self::of(leases, settings)
    }

    fn of(leases: Leases, settings: RecordSettings) -> Self {
        Self(Some(Arc::new(Kept {
            leases,
            of_roles: settings.of_roles,
            places: Arc::new(Semaphore::new(UPLOAD_RECORDS_MAX)),
            users: Mutex::default(),
            revoked: Mutex::default(),
            metrics: settings.metrics,
            clock: settings.clock,
            failures: Seldom::default(),
        })))
    }

    /// Returns the leases; `None`: no records are kept.
    pub(crate) fn leases(&self) -> Option<&Leases> {
        self.0.as_deref().map(|kept| &kept.leases)
    }

    /// Says that the process is there still. To be called every
    /// [`LEASE_RENEWED_EVERY`](crate::limits::LEASE_RENEWED_EVERY).
    ///
    /// # Errors
    /// The lease could not be written.
    pub async fn renew(&self) -> Result<()> {
        match &self.0 {
            Some(kept) => kept.leases.renew().await,
            None => Ok(()),
        }
    }

    /// Gives up what the process holds, at its end.
    pub async fn leave(&self) {
        if let Some(kept) = &self.0 {
            kept.leases.leave_all().await;
        }
    }

    /// Notes that the operator ended a user's sessions: nothing is kept of what they sent before.
    pub fn revoked(&self, user: &str, now: SystemTime) {
        let Some(kept) = &self.0 else {
            return;
        };
        let mut revoked = kept.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        if revoked.len() >= BLOCKS_MAX {
            let oldest = revoked.iter().min_by_key(|(_, at)| **at);
            let oldest = oldest.map(|(name, _)| name.clone());
            oldest.and_then(|name| revoked.remove(&name));
        }
        revoked.insert(folded(user), now);
    }

    /// Says whether a user was revoked after the upload had begun.
    pub(crate) fn is_revoked(&self, record: &UploadRecord) -> bool {
        let Some(kept) = &self.0 else {
            return false;
        };
        let revoked = kept.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let names = [&record.user, &record.login_name];
        let at = names
            .into_iter()
            .filter_map(|name| revoked.get(&folded(name)));
        at.into_iter().any(|at| record.opened <= *at)
    }

    /// Says whether an upload to a bucket can be finished without its user: with the gateway's own
    /// credentials, which its user has as well.
    pub(crate) fn serve(&self, store: &SharedStore, bucket: &Bucket) -> bool {
        let Some(kept) = &self.0 else {
            return false;
        };
        let capabilities = store.capabilities(bucket);
        // A directory's unfinished files belong to the process that writes them.
        !capabilities.directories && !kept.of_roles.contains(&capabilities.store)
    }

    /// Makes room for the record of an upload that is about to begin; `None`: there is none, and
    /// the upload goes on without.
    pub(crate) fn begin(
        &self,
        record: UploadRecord,
        reaper: &Reaper,
    ) -> Option<Arc<RecordedUpload>> {
        let kept = self.0.as_ref()?;
        let location = kept.leases.place(record.nonce);
        let of_user = OfUser::take(kept, &record.user);
        let place = Arc::clone(&kept.places).try_acquire_owned().ok();
        let (Some(location), Some(of_user), Some(place)) = (location, of_user, place) else {
            let why = "too many uploads are recorded, in all or of its user, or this process has no lease";
            kept.unwritten(&record.location, &why);
            return None;
        };
        Some(Arc::new(RecordedUpload {
            kept: Arc::clone(kept),
            reaper: reaper.clone(),
            place: location,
            written: tokio::sync::Mutex::new(Written { record, etag: None }),
            was_sent: AtomicBool::new(false),
            stays: AtomicBool::new(false),
            _room: Some(place),
            _of_user: Some(of_user),
        }))
    }

    /// Reads a record of a process whose place this one has taken; `None`: it is gone.
    pub(crate) async fn take(
        &self,
        place: &Location,
        reaper: &Reaper,
    ) -> std::result::Result<Option<Taken>, Unread> {
        let Some(kept) = &self.0 else {
            return Ok(None);
        };
        let read = document::read_dated(&*kept.leases.store, place, UPLOAD_RECORD_BYTES_MAX).await;
        let found = read.map_err(|error| {
            if error.kind == StorageErrorKind::Refused {
                Unread::Never(error.to_string())
            } else {
                Unread::Now(error)
            }
        })?;
        let Some((text, etag, modified)) = found else {
            return Ok(None);
        };
        let mut record = UploadRecord::parse(&text).map_err(Unread::Never)?;
        // The clock of its process may have been ahead, and it was written after OPEN.
        record.opened = record.opened.min(modified);
        let recorded = RecordedUpload {
            kept: Arc::clone(kept),
            reaper: reaper.clone(),
            place: place.clone(),
            written: tokio::sync::Mutex::new(Written {
                record: record.clone(),
                etag: Some(etag),
            }),
            was_sent: AtomicBool::new(true),
            stays: AtomicBool::new(true),
            _room: None,
            _of_user: None,
        };
        Ok(Some(Taken {
            record,
            recorded: Arc::new(recorded),
        }))
    }
}

/// Why a record was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    Now(StorageError),
    /// It is none.
    Never(String),
}

/// A record of another process.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) record: UploadRecord,
    pub(crate) recorded: Arc<RecordedUpload>,
}

impl Kept {
    fn users(&self) -> MutexGuard<'_, BTreeMap<Box<str>, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an upload that goes on without a record, and writes a line now and then.
    fn unwritten(&self, location: &Location, why: &dyn std::fmt::Display) {
        self.metrics.record_ended(RecordEnd::Unwritten);
        if let Some(unlogged) = self.failures.due(self.clock.now(), LOG_INTERVAL) {
            tracing::warn!(
                %location, unlogged,
                "an upload goes on without a record: nothing is kept of it if this process is killed: {why}"
            );
        }
    }
}

/// An upload with its record, which goes when the upload has ended and this is dropped.
#[derive(Debug)]
pub(crate) struct RecordedUpload {
    kept: Arc<Kept>,
    reaper: Reaper,
    /// Where the record is.
    place: Location,
    written: tokio::sync::Mutex<Written>,
    /// It may be there.
    was_sent: AtomicBool,
    /// It is not removed: another process, or a later round, goes on with it.
    stays: AtomicBool,
    _room: Option<OwnedSemaphorePermit>,
    _of_user: Option<OfUser>,
}

/// A place that a user has.
#[derive(Debug)]
struct OfUser {
    kept: Arc<Kept>,
    user: Box<str>,
}

impl OfUser {
    /// Takes one: each user has at most half of what the others leave.
    fn take(kept: &Arc<Kept>, user: &str) -> Option<Self> {
        let free = kept.places.available_permits();
        let mut users = kept.users();
        let taken = users.get(user).copied().unwrap_or_default();
        // As many may be free as it has then.
        if taken >= free {
            return None;
        }
        users.insert(user.into(), taken.saturating_add(1));
        drop(users);
        Some(Self {
            kept: Arc::clone(kept),
            user: user.into(),
        })
    }
}

impl Drop for OfUser {
    fn drop(&mut self) {
        let mut users = self.kept.users();
        if let Some(taken) = users.get_mut(&self.user) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                let _ = users.remove(&self.user);
            }
        }
    }
}

#[derive(Debug)]
struct Written {
    record: UploadRecord,
    etag: Option<ETag>,
}

impl RecordedUpload {
    /// Writes the record of an upload that the store has begun, or goes on without.
    pub(crate) async fn write(&self, upload: &UploadId) {
        let mut written = self.written.lock().await;
        written.record.upload = Some(upload.clone());
        let location = written.record.location.clone();
        let clock = &*self.kept.clock;
        let writing = self.put(&mut written, Precondition::IfNoneMatch);
        match within(clock, UPLOAD_RECORD_WRITTEN_WITHIN, writing).await {
            Some(Ok(())) => self.kept.metrics.record_ended(RecordEnd::Written),
            Some(Err(error)) => self.kept.unwritten(&location, &error),
            None => self
                .kept
                .unwritten(&location, &"its store gave no answer in time"),
        }
    }

    /// Notes that what arrived is about to become the object, so that whoever goes on knows that it
    /// lacks its mark.
    ///
    /// # Errors
    /// That could not be written: somebody else may have the record.
    pub(crate) async fn keeps(&self) -> Result<()> {
        let mut written = self.written.lock().await;
        let Some(etag) = written.etag.clone() else {
            // There is none.
            return Ok(());
        };
        written.record.stage = Stage::Keeping;
        let writing = self.put(&mut written, Precondition::IfMatch(etag));
        let in_time = within(&*self.kept.clock, UPLOAD_RECORD_WRITTEN_WITHIN, writing).await;
        in_time.unwrap_or_else(|| {
            let detail = "the store of upload records gave no answer in time";
            Err(StorageError::new(StorageErrorKind::Unavailable, detail))
        })
    }

    async fn put(&self, written: &mut Written, condition: Precondition) -> Result<()> {
        let Some(text) = written.record.text() else {
            let detail = "the upload has no id";
            return Err(StorageError::new(StorageErrorKind::Refused, detail));
        };
        let (store, clock) = (&*self.kept.leases.store, &*self.kept.clock);
        self.was_sent.store(true, Ordering::Relaxed);
        let etag = document::write(store, &self.place, &text, &condition, clock).await?;
        written.etag = Some(etag);
        Ok(())
    }

    /// Has the record removed once this is dropped, or left there.
    pub(crate) fn stays(&self, stays: bool) {
        self.stays.store(stays, Ordering::Relaxed);
    }
}

impl Drop for RecordedUpload {
    fn drop(&mut self) {
        let is_there = self.was_sent.load(Ordering::Relaxed);
        if !is_there || self.stays.load(Ordering::Relaxed) {
            return;
        }
        // A process that has ended removes nothing.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (kept, place) = (Arc::clone(&self.kept), self.place.clone());
        let what = format!("removal of the upload record {place}");
        self.reaper.outlive(what, async move {
            if let Err(error) = kept.leases.store.delete(&place, None).await {
                tracing::debug!(%place, %error, "an upload record is left: its upload has ended");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::storage::memory::MemoryStore;

    #[tokio::test]
    async fn a_user_has_half_of_the_records_that_the_others_leave() {
        let (bucket, metrics) = (Bucket::parse("state").unwrap(), Arc::<Metrics>::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let settings = RecordSettings {
            store: Arc::new(MemoryStore::new(&[&bucket])),
            bucket,
            of_roles: BTreeSet::new(),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
        };
        let (records, reaper) = (
            UploadRecords::in_bucket(settings, ""),
            Reaper::new(metrics, clock),
        );
        records.renew().await.unwrap();
        let begin = |user: &str| {
            let record = UploadRecord {
                user: user.into(),
                ..UploadRecord::for_tests()
            };
            records.begin(record, &reaper)
        };
        let all_of = |user: &str| std::iter::from_fn(|| begin(user)).collect::<Vec<_>>();
        let ann = all_of("ann");
        assert_eq!(ann.len(), UPLOAD_RECORDS_MAX / 2);
        let bob = all_of("bob");
        assert_eq!(bob.len(), UPLOAD_RECORDS_MAX / 4);
        drop(ann);
        assert!(begin("ann").is_some() && begin("bob").is_some());
    }
}
