//! Finishes the uploads of processes that are gone: of what arrived before they were killed the same
//! is kept as when a client disconnects, by their records.
//!
//! It is done with the gateway's own credentials, and for uploads alone that their users made with
//! these as well. What cannot be decided now is left for a later round; each upload is completed
//! under its own nonce and on the conditions that hold for a client that disconnects, so that two
//! processes that finish the same upload, or an answer that is lost, make no other object.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::act::Keeping;
use super::calls::{Calls, FirstFailure, Listener};
use super::environment::Environment;
use super::events::{Events, Happened};
use super::expiry::Stop;
use super::out::Out;
use super::partial::{Marking, Remains, Unkept, condition};
use super::scene::{Bounds, OwnScene};
use super::shell::Failures;
use super::unsettled::Settling;
use super::upload_records::{
    Ended, RecordedUpload, Stage, Taken, Unread, UploadRecord, in_sequence,
};
use super::user_sessions::UserSession;
use crate::audit::{self, Written};
use crate::clock::within;
use crate::idp::UserConfig;
use crate::idp::blocks::Blocks;
use crate::limits::{
    LEASE_RENEWED_EVERY, LOG_INTERVAL, RECORDS_AWAITED_FOR, RECOVERED_EVERY, UPLOAD_RECORDS_MAX,
    UPLOAD_RECORDS_READ_AT_ONCE, UPLOADS_RECOVERED_AT_ONCE, UPLOADS_RECOVERED_FOR,
};
use crate::metrics::{RecordEnd, TransferEnd};
use crate::seldom::Seldom;
use crate::sftp::Given;
use crate::storage::addressing::Buckets;
use crate::storage::credentials::{Grant, Stores};
use crate::storage::retry;
use crate::storage::{
    Location, NewObject, Precondition, SharedStore, StorageError, StorageErrorKind, Stored,
};
use crate::transfer::write_file::{Completing, Heard};
use crate::vfs::{Access, HomeDirectory};

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
    failures: Seldom,
}

/// What a round finds: the processes, what can be read, and of whom something cannot.
type Found = (Vec<Ended>, Vec<Waiting>, BTreeSet<Box<str>>);

/// An upload that is looked into; requests on its file wait.
struct Waiting {
    process: Box<str>,
    taken: Taken,
    settling: Settling,
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
            failures: Seldom::default(),
        })
    }

    /// Says that the process is there, and takes records up from time to time, until it is dropped;
    /// the first ones before requests on names are answered.
    pub async fn run(self) {
        let clock = Arc::clone(&self.environment.clock);
        if within(&*clock, RECORDS_AWAITED_FOR, self.renew())
            .await
            .is_none()
        {
            self.read.cancel();
        }
        let renewing = async {
            loop {
                clock.sleep(LEASE_RENEWED_EVERY).await;
                self.renew().await;
            }
        };
        let rounds = async {
            loop {
                self.round().await;
                let spread = RECOVERED_EVERY.mul_f64(f64::from(random()) / 510.0);
                clock.sleep(RECOVERED_EVERY.saturating_add(spread)).await;
            }
        };
        tokio::join!(renewing, rounds);
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
        let clock = Arc::clone(&self.environment.clock);
        let found = if self.read.is_cancelled() {
            self.find().await
        } else {
            match within(&*clock, RECORDS_AWAITED_FOR, self.find()).await {
                Some(found) => found,
                None => {
                    self.read.cancel();
                    self.find().await
                }
            }
        };
        self.read.cancel();
        let (ended, waiting, mut left) = match found {
            Ok(found) => found,
            Err(error) => return self.says_that_it_failed(&error),
        };
        let settled = stream::iter(waiting)
            .map(|waiting| self.settle(waiting))
            .buffer_unordered(UPLOADS_RECOVERED_AT_ONCE);
        let later: Vec<Option<Box<str>>> = settled.collect().await;
        left.extend(later.into_iter().flatten());
        let Some(leases) = self.environment.upload_records.leases() else {
            return;
        };
        for process in ended {
            if !process.more && !left.contains(&process.name) {
                leases.leave(&process.name).await;
            }
        }
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
        let ended = leases.take_ended().await?;
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
        if self.unreadable().contains(place.key.as_str()) {
            return Err(process);
        }
        let (records, reaper) = (&self.environment.upload_records, &self.environment.reaper);
        match records.take(&place, reaper).await {
            Ok(taken) => Ok(taken.map(|taken| Waiting {
                settling: self.environment.unsettled.begin(&taken.record.location),
                process,
                taken,
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

    /// Decides about one upload; returns the name of its process if its record stays.
    async fn settle(&self, waiting: Waiting) -> Option<Box<str>> {
        let Waiting {
            process,
            taken,
            settling,
        } = waiting;
        let Taken { record, recorded } = taken;
        let (user, session_id) = (&*record.user, &*record.session_id);
        let source_ip = record.source_ip;
        // As the lines of the session itself.
        let span = tracing::info_span!("recovery", %source_ip, user, session_id);
        let outcome = self.outcome(&process, &record, &recorded);
        let outcome = outcome.instrument(span.clone()).await;
        let _entered = span.entered();
        let stays = matches!(outcome, Outcome::Later(_));
        recorded.stays(stays);
        self.says(&record, outcome);
        drop((recorded, settling));
        stays.then_some(process)
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
        process: &str,
        record: &UploadRecord,
        recorded: &Arc<RecordedUpload>,
    ) -> Outcome {
        let store = match self.store(record).await {
            Ok(store) => store,
            Err(why) => return self.later(None, record, recorded, &why),
        };
        if let Some(why) = self.refuses(record) {
            return self.discard(&store, record, recorded, why);
        }
        if self.environment.unsettled.is_written(&record.location) {
            return Outcome::Later("its user has the file open for writing".into());
        }
        match self.finish(process, record, recorded, &store).await {
            Ok(outcome) => outcome,
            Err(error) if is_final(error.kind) => {
                self.discard(&store, record, recorded, &error.to_string())
            }
            Err(error) => self.later(Some(&store), record, recorded, &error.to_string()),
        }
    }

    /// Opens the store of an upload, which needs no role.
    async fn store(&self, record: &UploadRecord) -> Result<SharedStore, Box<str>> {
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

    async fn finish(
        &self,
        process: &str,
        record: &UploadRecord,
        recorded: &Arc<RecordedUpload>,
        store: &SharedStore,
    ) -> Result<Outcome, StorageError> {
        let Some(upload) = record.upload.clone() else {
            return Ok(Outcome::Gone);
        };
        let (location, patient) = (&record.location, retry::patient(store));
        let listed = match patient.parts(location, &upload).await {
            Ok(listed) => listed,
            Err(error) if is_gone(error.kind) => return self.after_its_end(record, store).await,
            Err(error) => return Err(error),
        };
        let (parts, size) = in_sequence(&record.layout, listed);
        let before = record.over.as_ref().map_or(0, |base| base.size);
        if size <= before {
            let why = "none of its parts arrived in sequence";
            return Ok(self.discard(store, record, recorded, why));
        }
        let keeping = Keeping {
            over_base: record.over.is_some(),
            replace: record.replace,
            exclusive: record.exclusive,
            opened: record.opened,
        };
        let condition = match &record.over {
            Some(base) => Precondition::IfMatch(base.etag.clone()),
            None => {
                match condition(store, location, keeping, Remains { size, parts: true }).await {
                    Ok(condition) => condition,
                    Err(Unkept::Storage(error)) => return Err(error),
                    Err(Unkept::Because(_, why)) => {
                        return Ok(self.discard(store, record, recorded, why));
                    }
                }
            }
        };
        let completing = Completing {
            upload,
            parts,
            checksum: None,
            condition,
            given_late: Given::default(),
            partial: true,
        };
        let leases = self.environment.upload_records.leases();
        if !leases.is_some_and(|leases| leases.holds(process)) {
            return Ok(Outcome::Later("the lease on its record has ended".into()));
        }
        if let Err(error) = recorded.keeps().await {
            let why = format!("its record could not be changed: {error}");
            return Ok(Outcome::Later(why.into()));
        }
        self.complete(record, store, completing)
            .await
            .map(|stored| Outcome::Kept { stored, size })
    }

    async fn complete(
        &self,
        record: &UploadRecord,
        store: &SharedStore,
        completing: Completing,
    ) -> Result<Stored, StorageError> {
        let (heard, mut ended) = mpsc::unbounded_channel();
        let failed = FirstFailure::default();
        let calls = self.calls(record, store, heard, failed.clone());
        let object = NewObject::new(record.nonce);
        let marking = Marking::over(self.scene(record, store));
        marking.complete(calls, object, completing, None).await;
        let unknown = || StorageError::new(StorageErrorKind::OutcomeUnknown, "nothing was heard");
        match ended.try_recv() {
            Ok(Heard::Committed(Ok(stored))) => Ok(stored),
            Ok(_) | Err(_) => Err(failed.get().unwrap_or_else(unknown)),
        }
    }

    /// Looks what became of an upload that is not there: its object may lack the mark.
    async fn after_its_end(
        &self,
        record: &UploadRecord,
        store: &SharedStore,
    ) -> Result<Outcome, StorageError> {
        if record.stage == Stage::Open {
            return Ok(Outcome::Gone);
        }
        let found = match retry::patient(store).head(&record.location).await {
            Ok(found) => found,
            Err(error) if error.kind == StorageErrorKind::NotFound => return Ok(Outcome::Gone),
            Err(error) => return Err(error),
        };
        if found.nonce() != Some(record.nonce) || found.is_partial() {
            return Ok(Outcome::Gone);
        }
        let (heard, _) = mpsc::unbounded_channel();
        let calls = self.calls(record, store, heard, FirstFailure::default());
        let marking = Marking::over(self.scene(record, store));
        let size = found.size;
        let marked = marking.mark_found(&calls, found).await?;
        Ok(Outcome::Kept {
            stored: marked,
            size,
        })
    }

    fn calls(
        &self,
        record: &UploadRecord,
        store: &SharedStore,
        heard: mpsc::UnboundedSender<Heard>,
        failed: FirstFailure,
    ) -> Calls {
        Calls {
            store: Arc::clone(store),
            location: record.location.clone(),
            stop: self.stop(),
            listener: Listener::Copy { heard, failed },
        }
    }

    fn stop(&self) -> Stop {
        let environment = &self.environment;
        Stop::of_process(Arc::clone(&environment.clock), environment.changes.clone())
    }

    fn scene(&self, record: &UploadRecord, store: &SharedStore) -> OwnScene {
        let failures = Failures::new(
            Arc::clone(self.shares.failures()),
            Arc::clone(&self.environment.clock),
        );
        let events = self.events.clone();
        let bounds = Bounds::new(
            &self.environment,
            &self.shares,
            self.stop(),
            events,
            failures,
        );
        // Nobody listens to it.
        let out = Arc::new(Out::new(self.shares.memory().account.clone()));
        out.nobody_listens();
        OwnScene::of(&self.environment, store, bounds, (&record.path, &out))
    }

    fn unreadable(&self) -> std::sync::MutexGuard<'_, BTreeSet<Box<str>>> {
        let unreadable = self.unreadable.lock();
        unreadable.unwrap_or_else(PoisonError::into_inner)
    }

    fn line_due(&self) -> Option<Option<u64>> {
        let unlogged = self
            .failures
            .due(self.environment.clock.now(), LOG_INTERVAL)?;
        Some((unlogged > 0).then_some(unlogged))
    }
}

/// Says whether an upload has ended, one way or the other.
const fn is_gone(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::NoSuchUpload | StorageErrorKind::NotFound
    )
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

/// Without randomness processes look at the same time, and nothing else is lost.
fn random() -> u8 {
    let mut byte = [0];
    let [byte] = getrandom::fill(&mut byte).map_or([0], |()| byte);
    byte
}
