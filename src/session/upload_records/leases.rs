//! Whose records are whose: each process writes under a name of its own, and holds that by a lease.
//!
//! In a bucket the lease is an object that its holder writes again and again, always on condition of
//! the version before. It has ended when it is older than a lease lasts, by the clock of the store:
//! what a listing shows as the time of a process's own lease tells that process how late it is
//! there, so clocks that differ do not matter. Whoever takes it has also to have seen it unchanged
//! for so long by its own clock, without a call that failed: after a time in which nobody could
//! reach the store each process renews its lease before anybody takes it. Whoever replaces an ended
//! lease, on condition of the version that was seen, has what it stood for. In a directory the lease
//! is a lock of the file system: it ends with the process, and who has it is the only one there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, within};
use crate::limits::{
    LEASE_FOR, LEASE_RENEWED_WITHIN, RECORD_PAGES_MAX, UPLOAD_RECORD_BYTES_MAX, UPLOAD_RECORDS_MAX,
    UPLOAD_RECORDS_READ_AT_ONCE,
};
use crate::storage::{
    Bucket, ETag, Key, ListCursor, ListQuery, Location, Nonce, Precondition, Result, SharedStore,
    StorageError, StorageErrorKind, document,
};

/// The leases of one place.
#[derive(Debug)]
pub(crate) struct Leases {
    pub(super) store: SharedStore,
    bucket: Bucket,
    /// Ends with a slash, or is empty.
    prefix: Box<str>,
    clock: Arc<dyn Clock>,
    /// Of a directory.
    lock: Option<Lock>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Under which this process writes.
    own: Option<Box<str>>,
    /// By the names of the processes; of a directory there are none.
    leases: BTreeMap<Box<str>, Lease>,
    /// The leases of others: the version, and since when it is known.
    seen: BTreeMap<Box<str>, (ETag, Instant)>,
    /// Where the next listing begins, if the last one was cut off.
    next: Option<String>,
    /// What tells this process's leases from those of others.
    holder: Option<Box<str>>,
}

#[derive(Debug, Clone)]
struct Lease {
    etag: ETag,
    /// When it was sent, and when the store had answered.
    sent: Instant,
    answered: Instant,
}

/// The lock of a directory.
#[derive(Debug)]
struct Lock {
    place: Box<str>,
    file: Mutex<Option<File>>,
}

/// What is written in a lease. Each version is another one: an `ETag` names bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    version: u32,
    #[serde(default)]
    holder: Box<str>,
    renewal: Box<str>,
}

/// What a round finds.
#[derive(Debug, Default)]
pub(crate) struct Taking {
    pub(crate) ended: Vec<Ended>,
    /// There is more than one round looks at: the next one goes on there.
    pub(crate) cut: bool,
}

/// A process whose lease has ended, and which this one has taken the place of.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: Box<str>,
    pub(crate) records: Vec<Location>,
    /// There are more than are taken at once.
    pub(crate) more: bool,
}

/// What a listing shows of one process.
#[derive(Debug, Default)]
struct Shown {
    lease: Option<(ETag, SystemTime)>,
    records: Vec<Location>,
}

/// By the names of processes; and whether it is a part of what there is.
type Listed = (BTreeMap<Box<str>, Shown>, bool);

impl Leases {
    pub(super) fn in_bucket(
        store: SharedStore,
        bucket: Bucket,
        prefix: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self {
            store,
            bucket,
            prefix: format!("{prefix}{slash}").into(),
            clock,
            lock: None,
            held: Mutex::default(),
        }
    }

    /// The same in a directory, which `store` shows as a bucket.
    pub(super) fn in_directory(
        store: SharedStore,
        bucket: Bucket,
        directory: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let lock = Lock {
            place: format!("{}/lock", directory.trim_end_matches('/')).into(),
            file: Mutex::default(),
        };
        Self {
            lock: Some(lock),
            ..Self::in_bucket(store, bucket, "", clock)
        }
    }

    /// Returns where this process writes a new record; `None`: it has no lease.
    pub(super) fn place(&self, nonce: Nonce) -> Option<Location> {
        let own = self.held().own.clone()?;
        self.holds(&own)
            .then(|| self.at(&own, &nonce.to_string()))?
    }

    /// Says whether this process may act for one of these names, as far as it knows.
    pub(crate) fn holds(&self, name: &str) -> bool {
        if let Some(lock) = &self.lock {
            return lock.is_held();
        }
        let sent = self.held().leases.get(name).map(|lease| lease.sent);
        let now = self.clock.now();
        sent.is_some_and(|sent| now.saturating_duration_since(sent) < LEASE_FOR)
    }

    /// Renews what this process holds, and begins its own lease where there is none.
    ///
    /// # Errors
    /// A lease could not be renewed, and has not ended yet; or none could be begun.
    pub(crate) async fn renew(&self) -> Result<()> {
        if let Some(lock) = &self.lock {
            let is_held = lock.take().map_err(|error| {
                let detail = format!("{}: {error}", lock.place);
                StorageError::new(StorageErrorKind::Unavailable, detail)
            })?;
            let mut held = self.held();
            if !is_held {
                held.own = None;
            } else if held.own.is_none() {
                held.own = Some(Nonce::new()?.to_string().into());
            }
            return Ok(());
        }
        let renewed = self.renew_all().await;
        if renewed.is_err() {
            self.held().seen.clear();
        }
        if self.held().own.is_none() {
            let name: Box<str> = Nonce::new()?.to_string().into();
            let lease = self.write(&name, Precondition::IfNoneMatch).await?;
            let mut held = self.held();
            held.leases.insert(name.clone(), lease);
            held.own = Some(name);
        }
        renewed
    }

    async fn renew_all(&self) -> Result<()> {
        let (own, mut leases) = {
            let held = self.held();
            (held.own.clone(), held.leases.clone())
        };
        // All of this process's records hang on it.
        let own = own.and_then(|name| leases.remove_entry(&name));
        let mut outcome = Ok(());
        if let Some((name, lease)) = own {
            outcome = self.renew_one(&name, &lease).await;
        }
        let mut others = stream::iter(leases)
            .map(|(name, lease)| async move { self.renew_one(&name, &lease).await }.boxed())
            .buffer_unordered(UPLOAD_RECORDS_READ_AT_ONCE);
        while let Some(renewed) = others.next().await {
            outcome = outcome.and(renewed);
        }
        outcome
    }

    /// As long as nobody else has taken it, it is gone on with, however late.
    async fn renew_one(&self, name: &str, lease: &Lease) -> Result<()> {
        let condition = Precondition::IfMatch(lease.etag.clone());
        let written = match self.write(name, condition).await {
            Err(error) if is_taken(error.kind) => match self.written_before(name).await? {
                Some(etag) => self.write(name, Precondition::IfMatch(etag)).await,
                None => Err(error),
            },
            written => written,
        };
        match written {
            Ok(renewed) => {
                let mut held = self.held();
                if renewed.answered.saturating_duration_since(lease.sent) >= LEASE_FOR {
                    // Others may have been as late.
                    held.seen.clear();
                }
                held.leases.insert(name.into(), renewed);
                Ok(())
            }
            Err(error) if is_taken(error.kind) => {
                let was_own = self.lose(name);
                if was_own {
                    tracing::warn!(
                        "the lease on upload records ended before it was renewed: another process may keep what arrived of uploads under way, which then fail"
                    );
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the version of a lease if this process wrote it, by a call whose answer was lost.
    async fn written_before(&self, name: &str) -> Result<Option<ETag>> {
        let Some(location) = self.at(name, LEASE) else {
            return Ok(None);
        };
        let reading = document::read(&*self.store, &location, UPLOAD_RECORD_BYTES_MAX);
        let read = within(&*self.clock, LEASE_RENEWED_WITHIN, reading).await;
        let Some((text, etag)) = read.unwrap_or_else(|| Err(no_answer()))? else {
            return Ok(None);
        };
        let row = serde_json::from_slice::<Row>(&text).ok();
        let own = self.held().holder.clone();
        Ok(row
            .filter(|row| Some(&row.holder) == own.as_ref())
            .map(|_| etag))
    }

    /// Returns whether it was this process's own.
    fn lose(&self, name: &str) -> bool {
        let mut held = self.held();
        held.leases.remove(name);
        let was_own = held.own.as_deref() == Some(name);
        if was_own {
            held.own = None;
        }
        was_own
    }

    /// Takes the places of processes whose leases have ended, except for records that say nothing.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(crate) async fn take_ended(&self, skipped: &BTreeSet<Box<str>>) -> Result<Taking> {
        let found = self.shown().await;
        if found.is_err() {
            self.held().seen.clear();
        }
        let Some(((shown, cut), now)) = found? else {
            return Ok(Taking::default());
        };
        let mut taking = Taking {
            ended: Vec::new(),
            cut,
        };
        let mut records = 0_usize;
        for (name, shown) in from_anywhere(shown) {
            if records >= UPLOAD_RECORDS_MAX {
                break;
            }
            if !self.has_taken(&name, shown.lease.as_ref(), now).await {
                continue;
            }
            let room = UPLOAD_RECORDS_MAX.saturating_sub(records);
            let ended = ended(name, shown.records, skipped, room);
            records = records.saturating_add(ended.records.len());
            taking.ended.push(Ended {
                more: ended.more || cut,
                ..ended
            });
        }
        Ok(taking)
    }

    /// Takes one place, if it is free; says whether this process has it.
    async fn has_taken(
        &self,
        name: &str,
        lease: Option<&(ETag, SystemTime)>,
        now: SystemTime,
    ) -> bool {
        if self.lock.is_some() || self.holds(name) {
            return true;
        }
        if self.held().leases.contains_key(name) {
            // It is renewed first.
            return false;
        }
        let condition = match lease {
            Some((etag, written)) => {
                let age = now.duration_since(*written).unwrap_or_default();
                if age <= LEASE_FOR.saturating_add(ROUNDED) || !self.has_seen(name, etag) {
                    return false;
                }
                Precondition::IfMatch(etag.clone())
            }
            // What stands there has outlived its lease.
            None => Precondition::IfNoneMatch,
        };
        match self.write(name, condition).await {
            Ok(lease) => {
                self.held().leases.insert(name.into(), lease);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "another process has the ended lease, or it cannot be written");
                false
            }
        }
    }

    /// Says whether a version of a lease has been there for as long as it lasts.
    fn has_seen(&self, name: &str, etag: &ETag) -> bool {
        let now = self.clock.now();
        let held = self.held();
        let since = held.seen.get(name).filter(|(seen, _)| seen == etag);
        since.is_some_and(|(_, since)| now.saturating_duration_since(*since) >= LEASE_FOR)
    }

    /// Notes which versions of leases are there.
    fn see(&self, (shown, cut): &Listed) {
        let now = self.clock.now();
        let mut held = self.held();
        if !cut {
            held.seen.retain(|name, _| shown.contains_key(name));
        }
        for (name, row) in shown {
            let Some((etag, _)) = &row.lease else {
                continue;
            };
            let is_known = held.seen.get(name).is_some_and(|(seen, _)| seen == etag);
            let has_room = held.seen.len() < LEASES_SEEN_MAX || held.seen.contains_key(name);
            if !is_known && has_room {
                held.seen.insert(name.clone(), (etag.clone(), now));
            }
        }
    }

    /// Gives a place up of which nothing is left.
    pub(crate) async fn leave(&self, name: &str) {
        let Some(lease) = self.held().leases.remove(name) else {
            return;
        };
        let Some(location) = self.at(name, LEASE) else {
            return;
        };
        if let Err(error) = self.store.delete(&location, Some(&lease.etag)).await {
            tracing::debug!(%location, %error, "an ended lease is left");
        }
    }

    /// Gives up what this process holds: what is left of its records can be taken at once.
    pub(super) async fn leave_all(&self) {
        let names: Vec<_> = self.held().leases.keys().cloned().collect();
        self.held().own = None;
        for name in names {
            self.leave(&name).await;
        }
    }

    /// Lists what there is of other processes, and says how late it is at the store; `None`: this
    /// process has no lease, or cannot tell.
    async fn shown(&self) -> Result<Option<(Listed, SystemTime)>> {
        let own = self.held().own.clone();
        let Some(own) = own.filter(|own| self.holds(own)) else {
            return Ok(None);
        };
        let mut listed = self.list().await?;
        let shown = listed.0.remove(&own).and_then(|row| row.lease);
        if self.lock.is_some() {
            return Ok(Some((listed, self.clock.wall())));
        }
        self.see(&listed);
        let now = match self.late(&own, shown) {
            Some(now) => Some(now),
            // The listing was cut off before it, or it was renewed meanwhile.
            None => self.asked(&own).await?,
        };
        if now.is_none() {
            tracing::warn!(
                "the lease on upload records is not the one that the store shows: uploads of killed processes are looked for later"
            );
        }
        Ok(now.map(|now| (listed, now)))
    }

    async fn list(&self) -> Result<Listed> {
        let mut shown = BTreeMap::<Box<str>, Shown>::new();
        let mut query = ListQuery {
            prefix: self.prefix.to_string(),
            delimited: false,
            after: self.held().next.take().map(ListCursor::StartAfter),
            max: 1_000,
        };
        let goes_on = query.after.is_some();
        let mut last = None;
        for _ in 0..RECORD_PAGES_MAX {
            let page = self.store.list(&self.bucket, &query).await?;
            last = page.objects.last().map(|object| object.key.clone());
            for object in page.objects {
                let Some((name, what)) = self.read_name(&object.key) else {
                    continue;
                };
                let row = shown.entry(name.into()).or_default();
                if what == LEASE {
                    row.lease = Some((object.etag, object.modified));
                } else if let Ok(key) = Key::parse(&object.key) {
                    row.records.push(Location {
                        bucket: self.bucket.clone(),
                        key,
                    });
                }
            }
            match page.next {
                Some(next) => query.after = Some(ListCursor::Continuation(next)),
                None => return Ok((shown, goes_on)),
            }
        }
        self.held().next = last;
        Ok((shown, true))
    }

    /// Asks for this process's own lease.
    async fn asked(&self, own: &str) -> Result<Option<SystemTime>> {
        let Some(location) = self.at(own, LEASE) else {
            return Ok(None);
        };
        match self.store.head(&location).await {
            Ok(meta) => Ok(self.late(own, Some((meta.etag, meta.modified)))),
            Err(error) if error.kind == StorageErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says how late it is at the store, by the time of this process's own lease there; `None`: it
    /// is not the one that this process wrote last.
    fn late(&self, own: &str, shown: Option<(ETag, SystemTime)>) -> Option<SystemTime> {
        let (etag, written) = shown?;
        let lease = self.held().leases.get(own).cloned();
        let lease = lease.filter(|lease| lease.etag == etag)?;
        written.checked_add(self.clock.now().saturating_duration_since(lease.answered))
    }

    async fn write(&self, name: &str, condition: Precondition) -> Result<Lease> {
        let at = self.at(name, LEASE);
        let why = || StorageError::new(StorageErrorKind::Refused, "the prefix is too long");
        let location = at.ok_or_else(why)?;
        let row = Row {
            version: 1,
            holder: self.holder()?,
            renewal: Nonce::new()?.to_string().into(),
        };
        let text = serde_json::to_vec_pretty(&row)
            .map_err(|error| StorageError::new(StorageErrorKind::Refused, error.to_string()))?;
        let (text, clock) = (Bytes::from(text), &*self.clock);
        let sent = clock.now();
        let writing = document::write(&*self.store, &location, &text, &condition, clock);
        let written = within(clock, LEASE_RENEWED_WITHIN, writing).await;
        let etag = written.unwrap_or_else(|| Err(no_answer()))?;
        Ok(Lease {
            etag,
            sent,
            answered: self.clock.now(),
        })
    }

    fn holder(&self) -> Result<Box<str>> {
        let known = self.held().holder.clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let new: Box<str> = Nonce::new()?.to_string().into();
        Ok(self.held().holder.get_or_insert(new).clone())
    }

    fn at(&self, name: &str, what: &str) -> Option<Location> {
        let key = Key::parse(&format!("{}{name}.{what}.json", self.prefix));
        Some(Location {
            bucket: self.bucket.clone(),
            key: key.ok()?,
        })
    }

    /// Says whose a key is, and what stands there.
    fn read_name<'k>(&self, key: &'k str) -> Option<(&'k str, &'k str)> {
        let rest = key.strip_prefix(&*self.prefix)?.strip_suffix(".json")?;
        let (name, what) = rest.split_once('.')?;
        let is_ours = Nonce::parse(name).is_some();
        let is_known = what == LEASE || Nonce::parse(what).is_some();
        (is_ours && is_known).then_some((name, what))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lock {
    fn is_held(&self) -> bool {
        self.file().is_some()
    }

    /// Takes the lock if it is free; says whether this process has it.
    fn take(&self) -> io::Result<bool> {
        let mut held = self.file();
        if let Some(file) = &*held {
            let (ours, there) = (file.metadata()?, std::fs::metadata(&*self.place));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                return Ok(true);
            }
            tracing::warn!(
                place = &*self.place,
                "the lock on upload records was removed or replaced: it is taken anew"
            );
            *held = None;
        }
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(&*self.place)?;
        match file.try_lock() {
            Ok(()) => {
                *held = Some(file);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether somebody else has a lease now.
const fn is_taken(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::Precondition | StorageErrorKind::NotFound
    )
}

fn no_answer() -> StorageError {
    let detail = "the store of upload records gave no answer in time";
    StorageError::new(StorageErrorKind::Unavailable, detail)
}

/// Begins anywhere, so that what cannot be finished keeps nothing else from its turn.
fn from_anywhere(mut shown: BTreeMap<Box<str>, Shown>) -> impl Iterator<Item = (Box<str>, Shown)> {
    let pivot = Nonce::new().map(|nonce| nonce.to_string());
    let later = shown.split_off(&*pivot.unwrap_or_default());
    later.into_iter().chain(shown)
}

/// Chooses the records that are looked at.
fn ended(name: Box<str>, all: Vec<Location>, skipped: &BTreeSet<Box<str>>, room: usize) -> Ended {
    let found = all.len();
    let is_read = |place: &Location| !skipped.contains(place.key.as_str());
    let mut records: Vec<_> = all.into_iter().filter(is_read).collect();
    if records.len() > room {
        let at = Nonce::new()
            .map(|nonce| nonce.to_string())
            .unwrap_or_default();
        let what = |place: &Location| place.key.as_str().rsplit('.').nth(1) < Some(&*at);
        let from = records.partition_point(what);
        records.rotate_left(from);
        records.truncate(room);
    }
    Ended {
        name,
        more: records.len() < found,
        records,
    }
}

const LEASE: &str = "lease";
/// As many as one listing shows.
const LEASES_SEEN_MAX: usize = 10_000;
/// Times of objects are whole seconds.
const ROUNDED: Duration = Duration::from_secs(2);
