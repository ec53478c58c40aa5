//! Finishes the uploads of processes that are gone: of what arrived before they were killed the same
//! is kept as when a client disconnects, by their records.
//!
//! It is done with the gateway's own credentials, and for uploads alone that their users made with
//! these as well. What cannot be decided now is left for a later round; each upload is completed
//! under its own nonce and on the conditions that hold for a client that disconnects, so that two
//! processes that finish the same upload, or an answer that is lost, make no other object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::future::join_all;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::environment::Environment;
use super::events::{Events, Happened};
use super::shell::{Unlogged, due};
use super::unsettled::Settling;
use super::upload_records::{Ended, RecordedUpload, Taken, Unread, UploadRecord};
use super::user_sessions::UserSession;
use crate::audit::{self, Written};
use crate::clock::random_byte;
use crate::idp::UserConfig;
use crate::idp::blocks::Blocks;
use crate::limits::{
    LEASE_RENEWED_EVERY, RECORDS_AWAITED_FOR, RECOVERED_EVERY, RECOVERY_AWAITED_FOR,
    UPLOAD_RECORDS_MAX, UPLOAD_RECORDS_READ_AT_ONCE, UPLOADS_RECOVERED_AT_ONCE,
    UPLOADS_RECOVERED_FOR,
};
use crate::metrics::{RecordEnd, TransferEnd};
use crate::seldom::Seldom;
use crate::storage::addressing::Buckets;
use crate::storage::credentials::{Grant, Stores};
use crate::storage::{Location, SharedStore, StorageError, StorageErrorKind, Stored};
use crate::vfs::{Access, HomeDirectory};

mod finishing;

/// Takes up the records of processes that are gone.
#[derive(Debug)]
pub struct Recovery {
    environment: Environment,
    stores: Arc<dyn Stores>,
    blocks: Arc<Blocks>,
    /// What all of it may have of the process, as if it were one user.
    shares: UserSession,
    events: Events,
    /// Nothing comes; as long as it is there the session of this work has not ended.
    _happened: Happened,
    /// Cancelled once it is known which files may be recovered: requests on names wait for that.
    read: CancellationToken,
    _lifted: DropGuard,
    /// Records that cannot be read, whatever happens: they are left alone.
    unreadable: Mutex<BTreeSet<Box<str>>>,
    /// Records whose uploads are being aborted, by their keys.
    discarding: Mutex<BTreeMap<Box<str>, Weak<RecordedUpload>>>,
    awaited: Mutex<Awaited>,
    failures: Seldom,
}

/// Files that requests wait for, for a while: by the keys of their records.
#[derive(Debug, Default)]
struct Awaited {
    is_over: bool,
    files: BTreeMap<Box<str>, Settling>,
    /// Records that an earlier round left for later: nobody waits for them again.
    later: BTreeSet<Box<str>>,
}

/// What a round finds: the processes, what can be read, and of whom something cannot.
type Found = (Vec<Ended>, Vec<Waiting>, BTreeSet<Box<str>>);

/// An upload that is looked into.
struct Waiting {
    process: Box<str>,
    key: Box<str>,
    taken: Taken,
}

/// Its store, or why that cannot be used.
type Opened = Result<SharedStore, Box<str>>;

/// One that can be finished as far as its store goes.
struct Ready {
    waiting: Waiting,
    store: Opened,
}

/// A record that stays.
struct Left {
    process: Box<str>,
    key: Box<str>,
    is_later: bool,
}

/// What became of an upload.
#[derive(Debug)]
enum Outcome {
    Kept {
        stored: Stored,
        size: u64,
    },
    /// Nothing of it is kept.
    Discarded(Box<str>),
    /// It had ended, and only its record was left.
    Gone,
    /// It is not known yet.
    Later(Box<str>),
}

impl Recovery {
    /// Makes the recovery of a process; `None`: it keeps no records.
    #[must_use]
    pub fn new(
        environment: Environment,
        stores: Arc<dyn Stores>,
        blocks: Arc<Blocks>,
    ) -> Option<Self> {
        environment.upload_records.leases()?;
        environment.changes.keep_times();
        let home = HomeDirectory::path("/nobody/nothing", Access::Read).ok()?;
        let nobody = UserConfig {
            // No provider is called so.
            provider: "recovery of uploads".into(),
            ..UserConfig::new("recovery", home)
        };
        let now = environment.clock.now();
        let shares = environment.user_sessions.take(&nobody, now)?;
        let (events, happened) = Events::new();
        let read = environment.unsettled.hold_back();
        Some(Self {
            environment,
            stores,
            blocks,
            shares,
            events,
            _happened: happened,
            _lifted: read.clone().drop_guard(),
            read,
            unreadable: Mutex::default(),
            discarding: Mutex::default(),
            awaited: Mutex::default(),
            failures: Seldom::default(),
        })
    }

    /// Says that the process is there, and takes records up from time to time, until it is dropped;
    /// the first ones before requests on names are answered.
    pub async fn run(self) {
        let clock = Arc::clone(&self.environment.clock);
        let (late, read) = (clock.sleep(RECORDS_AWAITED_FOR), self.read.clone());
        let lifts = async move {
            late.await;
            read.cancel();
        };
        let begun = CancellationToken::new();
        let renewing = async {
            loop {
                self.renew().await;
                begun.cancel();
                clock.sleep(LEASE_RENEWED_EVERY).await;
            }
        };
        let rounds = async {
            begun.cancelled().await;
            loop {
                self.round().await;
                let spread =
                    RECOVERED_EVERY.mul_f64(f64::from(random_byte().unwrap_or_default()) / 510.0);
                clock.sleep(RECOVERED_EVERY.saturating_add(spread)).await;
            }
        };
        tokio::join!(lifts, renewing, rounds);
    }

    async fn renew(&self) {
        if let Err(error) = self.environment.upload_records.renew().await
            && let Some(unlogged) = self.line_due()
        {
            tracing::warn!(%error, unlogged, "the lease on upload records is not renewed: uploads may go on without records");
        }
    }

    /// Takes up what is there now.
    pub async fn round(&self) {
        self.awaited().is_over = false;
        let too_long = self.environment.clock.sleep(RECOVERY_AWAITED_FOR);
        let works = self.take_up();
        tokio::pin!(works);
        tokio::select! {
            biased;
            () = &mut works => return self.let_go(),
            () = too_long => self.let_go(),
        }
        works.await;
    }

    /// Lets requests go on that wait for files.
    fn let_go(&self) {
        let mut awaited = self.awaited();
        awaited.is_over = true;
        awaited.files.clear();
    }

    async fn take_up(&self) {
        let found = self.find().await;
        self.read.cancel();
        let (ended, waiting, mut left) = match found {
            Ok(found) => found,
            Err(error) => return self.says_that_it_failed(&error),
        };
        // One store that does not answer holds up no other.
        let mut stores = BTreeMap::<Option<u16>, Vec<Ready>>::new();
        for waiting in waiting {
            let record = &waiting.taken.record;
            let store = self.store(record).await;
            let bucket = &record.location.bucket;
            let number = store.as_ref().ok();
            let number = number.map(|store| store.capabilities(bucket).store);
            stores
                .entry(number)
                .or_default()
                .push(Ready { waiting, store });
        }
        let settled = stores.into_values().map(|all| self.settle_all(all).boxed());
        let stays: Vec<_> = join_all(settled).await.into_iter().flatten().collect();
        let later = stays.iter().filter(|one| one.is_later);
        self.awaited().later = later.map(|one| one.key.clone()).collect();
        left.extend(stays.into_iter().map(|one| one.process));
        let Some(leases) = self.environment.upload_records.leases() else {
            return;
        };
        for process in ended {
            if !process.more && !left.contains(&process.name) {
                leases.leave(&process.name).await;
            }
        }
    }

    async fn settle_all(&self, all: Vec<Ready>) -> Vec<Left> {
        let unanswered = AtomicUsize::new(0);
        let settled = stream::iter(all)
            .map(|ready| self.settle(ready, &unanswered))
            .buffer_unordered(UPLOADS_RECOVERED_AT_ONCE);
        settled.filter_map(std::future::ready).collect().await
    }

    fn says_that_it_failed(&self, error: &StorageError) {
        if let Some(unlogged) = self.line_due() {
            tracing::warn!(%error, unlogged, "records of uploads cannot be listed: what arrived of uploads of killed processes is kept later");
        }
    }

    /// Finds the records of processes that are gone, and has requests on their files wait.
    async fn find(&self) -> Result<Found, StorageError> {
        let Some(leases) = self.environment.upload_records.leases() else {
            return Ok(Found::default());
        };
        self.discarding().retain(|_, held| held.strong_count() > 0);
        let skipped = self.unreadable().clone();
        let taking = leases.take_ended(&skipped).await?;
        if taking.cut {
            self.environment.metrics.record_ended(RecordEnd::Unlisted);
            tracing::warn!(
                "there are more upload records than one round lists: the next one goes on there"
            );
        }
        let ended = taking.ended;
        let records = ended.iter().flat_map(|process| {
            let records = process.records.iter();
            records.map(move |place| (process.name.clone(), place.clone()))
        });
        let records: Vec<_> = records.collect();
        let mut read = stream::iter(records)
            .map(|(process, place)| self.read(process, place))
            .buffer_unordered(UPLOAD_RECORDS_READ_AT_ONCE);
        let (mut waiting, mut left) = (Vec::new(), BTreeSet::new());
        while let Some(read) = read.next().await {
            match read {
                Ok(one) => waiting.extend(one),
                Err(process) => {
                    left.insert(process);
                }
            }
        }
        Ok((ended, waiting, left))
    }

    /// Reads one record; `Ok(None)`: it is gone; an error: it stays.
    async fn read(&self, process: Box<str>, place: Location) -> Result<Option<Waiting>, Box<str>> {
        let key: Box<str> = place.key.as_str().into();
        if self.unreadable().contains(&key) || self.discarding().contains_key(&key) {
            return Err(process);
        }
        let (records, reaper) = (&self.environment.upload_records, &self.environment.reaper);
        match records.take(&place, reaper).await {
            Ok(taken) => Ok(taken.map(|taken| {
                self.await_file(&key, &taken.record.location);
                Waiting {
                    process,
                    key,
                    taken,
                }
            })),
            Err(Unread::Now(error)) => {
                if let Some(unlogged) = self.line_due() {
                    tracing::warn!(%place, %error, unlogged, "an upload record cannot be read now");
                }
                Err(process)
            }
            Err(Unread::Never(why)) => {
                let mut unreadable = self.unreadable();
                let is_new = unreadable.len() < UPLOAD_RECORDS_MAX
                    && unreadable.insert(place.key.as_str().into());
                drop(unreadable);
                if is_new {
                    self.environment.metrics.record_ended(RecordEnd::Unreadable);
                    tracing::warn!(%place, why, "an upload record is left alone: it cannot be read");
                }
                Err(process)
            }
        }
    }

    /// Has requests on a file wait until its upload is settled, or until it takes too long.
    fn await_file(&self, key: &str, location: &Location) {
        let mut awaited = self.awaited();
        if !awaited.is_over && !awaited.later.contains(key) {
            let settling = self.environment.unsettled.begin(location);
            awaited.files.insert(key.into(), settling);
        }
    }

    /// Decides about one upload; returns what is left if its record stays.
    async fn settle(&self, ready: Ready, unanswered: &AtomicUsize) -> Option<Left> {
        let Ready { waiting, store } = ready;
        let Waiting {
            process,
            key,
            taken,
        } = waiting;
        let Taken { record, recorded } = taken;
        let (user, session_id) = (&*record.user, &*record.session_id);
        let source_ip = record.source_ip;
        // As the lines of the session itself.
        let span = tracing::info_span!("recovery", %source_ip, user, session_id);
        let outcome = if unanswered.load(Ordering::Relaxed) >= UNANSWERED_MAX {
            Outcome::Later("its store does not answer".into())
        } else {
            let outcome = self.outcome((&process, &record), &recorded, store, unanswered);
            outcome.instrument(span.clone()).await
        };
        let _entered = span.entered();
        let is_later = matches!(outcome, Outcome::Later(_));
        recorded.stays(is_later);
        self.says(&record, outcome);
        let settling = self.awaited().files.remove(&key);
        // Whoever aborts it has it too: until then nobody else takes it up.
        let is_discarding = Arc::strong_count(&recorded) > 1;
        if is_discarding {
            let held = Arc::downgrade(&recorded);
            self.discarding().insert(key.clone(), held);
        }
        drop((recorded, settling));
        (is_later || is_discarding).then_some(Left {
            process,
            key,
            is_later,
        })
    }

    fn says(&self, record: &UploadRecord, outcome: Outcome) {
        let file = audit::File {
            path: &record.path,
            location: &record.location,
        };
        let metrics = &self.environment.metrics;
        let end = match outcome {
            Outcome::Kept { stored, size } => {
                let written = Written {
                    received: size,
                    size,
                    etag: &stored.etag.0,
                    version_id: stored.version_id.as_deref(),
                    checksum: stored.checksum,
                    replaced: None,
                };
                let now = self.environment.clock.wall();
                let took = now.duration_since(record.opened).unwrap_or_default();
                audit::partial_kept(file, written, took);
                metrics.upload_ended(TransferEnd::Abandoned);
                RecordEnd::Kept
            }
            Outcome::Discarded(why) => {
                let reason = format!("its gateway was killed, and nothing is kept: {why}");
                audit::upload_failed(file, 0, &reason);
                metrics.upload_ended(TransferEnd::Abandoned);
                RecordEnd::Discarded
            }
            Outcome::Gone => {
                let location = &record.location;
                tracing::info!(%location, "an upload record is removed: its upload had ended");
                RecordEnd::Gone
            }
            Outcome::Later(why) => {
                if let Some(unlogged) = self.line_due() {
                    let location = &record.location;
                    tracing::warn!(%location, %why, unlogged, "an upload of a killed process is finished later");
                }
                RecordEnd::Later
            }
        };
        metrics.record_ended(end);
    }

    async fn outcome(
        &self,
        (process, record): (&str, &UploadRecord),
        recorded: &Arc<RecordedUpload>,
        store: Opened,
        unanswered: &AtomicUsize,
    ) -> Outcome {
        let store = match store {
            Ok(store) => store,
            Err(why) => return self.later(None, record, recorded, &why),
        };
        if let Some(why) = self.refuses(record) {
            return self.discard(&store, record, recorded, why);
        }
        if self.environment.unsettled.is_written(&record.location) {
            return Outcome::Later(WRITTEN.into());
        }
        let finished = self.finish(process, record, recorded, &store).await;
        match &finished {
            Err(error) if error.kind == StorageErrorKind::Unavailable => {
                unanswered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) | Err(_) => unanswered.store(0, Ordering::Relaxed),
        }
        match finished {
            Ok(outcome) => outcome,
            Err(error) if is_final(error.kind) => {
                self.discard(&store, record, recorded, &error.to_string())
            }
            Err(error) => self.later(Some(&store), record, recorded, &error.to_string()),
        }
    }

    /// Opens the store of an upload, which needs no role.
    async fn store(&self, record: &UploadRecord) -> Opened {
        let grant = Grant {
            user: &record.user,
            session_id: &record.session_id,
            provider: "",
            role: None,
            policy: None,
            buckets: Buckets::OfMappings,
            mapped: vec![record.location.bucket.clone()],
        };
        let opened = self.stores.open(grant).await;
        let store = opened.map_err(|refusal| format!("its store cannot be used: {refusal:?}"))?;
        let store = store.store;
        let records = &self.environment.upload_records;
        if records.serve(&store, &record.location.bucket) {
            Ok(store)
        } else {
            Err("the gateway's own credentials do not serve its bucket any more".into())
        }
    }

    /// Says why nothing may be kept of what a user sent.
    fn refuses(&self, record: &UploadRecord) -> Option<&'static str> {
        let now = self.environment.clock.wall();
        let names = [&*record.user, &*record.login_name];
        if self.blocks.admit(&names, record.source_ip, now).is_err() {
            return Some("its user is blocked");
        }
        if self.environment.upload_records.is_revoked(record) {
            return Some("its user was revoked");
        }
        let is_over = record.expires_at.is_some_and(|end| end <= now);
        is_over.then_some("the access of its user has expired")
    }

    /// Leaves it for a later round, unless it is too old for that.
    fn later(
        &self,
        store: Option<&SharedStore>,
        record: &UploadRecord,
        recorded: &Arc<RecordedUpload>,
        why: &str,
    ) -> Outcome {
        let age = self.environment.clock.wall().duration_since(record.opened);
        if age.unwrap_or_default() < UPLOADS_RECOVERED_FOR {
            return Outcome::Later(why.into());
        }
        let why = format!("given up after days: {why}");
        match store {
            Some(store) => self.discard(store, record, recorded, &why),
            // The bucket's lifecycle rule removes it.
            None => Outcome::Discarded(why.into()),
        }
    }

    /// Ends the upload; its record stays until that is done.
    fn discard(
        &self,
        store: &SharedStore,
        record: &UploadRecord,
        recorded: &Arc<RecordedUpload>,
        why: &str,
    ) -> Outcome {
        if let Some(upload) = record.upload.clone() {
            let (store, held) = (Arc::clone(store), Arc::clone(recorded));
            let location = record.location.clone();
            let reaper = &self.environment.reaper;
            reaper.abort_holding(store, location, upload, held);
        }
        Outcome::Discarded(why.into())
    }

    fn unreadable(&self) -> MutexGuard<'_, BTreeSet<Box<str>>> {
        let unreadable = self.unreadable.lock();
        unreadable.unwrap_or_else(PoisonError::into_inner)
    }

    fn discarding(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Weak<RecordedUpload>>> {
        let discarding = self.discarding.lock();
        discarding.unwrap_or_else(PoisonError::into_inner)
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line_due(&self) -> Option<Unlogged> {
        due(&self.failures, &*self.environment.clock)
    }
}

/// Says whether a later round would end the same way.
const fn is_final(kind: StorageErrorKind) -> bool {
    match kind {
        StorageErrorKind::Precondition
        | StorageErrorKind::NotFound
        | StorageErrorKind::NoSuchUpload
        | StorageErrorKind::RangeNotSatisfiable
        | StorageErrorKind::ChecksumMismatch
        | StorageErrorKind::Refused
        | StorageErrorKind::RefusedBare => true,
        StorageErrorKind::NoSuchBucket
        | StorageErrorKind::Denied
        | StorageErrorKind::ClockSkew
        | StorageErrorKind::Expired
        | StorageErrorKind::Throttled
        | StorageErrorKind::Unavailable
        | StorageErrorKind::OutcomeUnknown => false,
    }
}

const WRITTEN: &str = "its user has the file open for writing";
/// After so many uploads in sequence that got no answer the others of their store wait for the next
/// round.
const UNANSWERED_MAX: usize = UPLOADS_RECOVERED_AT_ONCE;
