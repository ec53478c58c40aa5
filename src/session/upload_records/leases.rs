//! Whose records are whose: each process writes under a name of its own, and holds that by a lease.
//!
//! In a bucket the lease is an object that its holder writes again and again, always on condition of
//! the version before. It has ended when it is older than a lease lasts, by the clock of the store:
//! what a listing shows as the time of a process's own lease tells that process how late it is
//! there, so clocks that differ do not matter. Whoever replaces an ended lease, on condition of the
//! version that was seen, has what it stood for. In a directory the lease is a lock of the file
//! system: it ends with the process, and who has it is the only one there.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::clock::Clock;
use crate::limits::{LEASE_FOR, RECORD_PAGES_MAX, UPLOAD_RECORDS_MAX};
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
        let mut failed = None;
        let leases = self.held().leases.clone();
        for (name, lease) in leases {
            if let Err(error) = self.renew_one(&name, &lease).await {
                failed = Some(error);
            }
        }
        if self.held().own.is_none() {
            let name: Box<str> = Nonce::new()?.to_string().into();
            let lease = self.write(&name, Precondition::IfNoneMatch).await?;
            let mut held = self.held();
            held.leases.insert(name.clone(), lease);
            held.own = Some(name);
        }
        failed.map_or(Ok(()), Err)
    }

    async fn renew_one(&self, name: &str, lease: &Lease) -> Result<()> {
        match self
            .write(name, Precondition::IfMatch(lease.etag.clone()))
            .await
        {
            Ok(lease) => {
                self.held().leases.insert(name.into(), lease);
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
            Err(error) => {
                if !self.holds(name) {
                    self.lose(name);
                }
                Err(error)
            }
        }
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

    /// Takes the places of processes whose leases have ended.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(crate) async fn take_ended(&self) -> Result<Vec<Ended>> {
        let (mut shown, now) = match self.shown().await? {
            (_, None) => return Ok(Vec::new()),
            (shown, Some(now)) => (shown, now),
        };
        let own = self.held().own.clone();
        if let Some(own) = &own {
            shown.remove(&**own);
        }
        let (mut ended, mut records) = (Vec::new(), 0_usize);
        for (name, mut shown) in shown {
            if records >= UPLOAD_RECORDS_MAX {
                break;
            }
            if !self.has_taken(&name, shown.lease.as_ref(), now).await {
                continue;
            }
            let room = UPLOAD_RECORDS_MAX.saturating_sub(records);
            let more = shown.records.len() > room;
            shown.records.truncate(room);
            records = records.saturating_add(shown.records.len());
            ended.push(Ended {
                name,
                records: shown.records,
                more,
            });
        }
        Ok(ended)
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
        let condition = match lease {
            Some((etag, written)) => {
                let age = now.duration_since(*written).unwrap_or_default();
                if age <= LEASE_FOR.saturating_add(ROUNDED) {
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

    /// Lists what there is, by the names of processes, and says how late it is at the store; `None`:
    /// this process has no lease.
    async fn shown(&self) -> Result<(BTreeMap<Box<str>, Shown>, Option<SystemTime>)> {
        let own = self.held().own.clone();
        let Some(own) = own.filter(|own| self.holds(own)) else {
            return Ok((BTreeMap::new(), None));
        };
        let mut shown = BTreeMap::<Box<str>, Shown>::new();
        let mut query = ListQuery {
            prefix: self.prefix.to_string(),
            delimited: false,
            after: None,
            max: 1_000,
        };
        for _ in 0..RECORD_PAGES_MAX {
            let page = self.store.list(&self.bucket, &query).await?;
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
                None => break,
            }
        }
        if self.lock.is_some() {
            return Ok((shown, Some(self.clock.wall())));
        }
        let lease = self.held().leases.get(&own).cloned();
        let written = shown.get(&own).and_then(|row| row.lease.as_ref());
        let now = lease.zip(written).and_then(|(lease, (_, written))| {
            let since = self.clock.now().saturating_duration_since(lease.answered);
            written.checked_add(since)
        });
        Ok((shown, now))
    }

    async fn write(&self, name: &str, condition: Precondition) -> Result<Lease> {
        let at = self.at(name, LEASE);
        let why = || StorageError::new(StorageErrorKind::Refused, "the prefix is too long");
        let location = at.ok_or_else(why)?;
        // Each version is another one: an ETag names bytes.
        let text = format!(
            "{{\n  \"version\": 1,\n  \"renewal\": \"{}\"\n}}\n",
            Nonce::new()?
        );
        let sent = self.clock.now();
        let text = Bytes::from(text);
        let etag =
            document::write(&*self.store, &location, &text, &condition, &*self.clock).await?;
        Ok(Lease {
            etag,
            sent,
            answered: self.clock.now(),
        })
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
        if held.is_some() {
            return Ok(true);
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

const LEASE: &str = "lease";
/// Times of objects are whole seconds.
const ROUNDED: Duration = Duration::from_secs(2);
