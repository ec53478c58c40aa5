//! Gateways that are killed while clients send: another one keeps what arrived, by the records of
//! uploads.
//!
//! A process that is killed is one here that says nothing any more: its lease ends.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::Clock as _;
use portcullis::idp::UserConfig;
use portcullis::idp::blocks::{Blocked, Blocks};
use portcullis::limits::{LEASE_FOR, Limits, UPLOADS_RECOVERED_FOR};
use portcullis::metrics::Metrics;
use portcullis::reaper::Reaper;
use portcullis::session::{Environment, RecordSettings, Recovery, UploadRecords};
use portcullis::storage::credentials::Own;
use portcullis::storage::directory::DirectoryStore;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{
    Bucket, Capabilities, Key, Location, ObjectStore as _, Operation, SharedStore, StorageErrorKind,
};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, PartialUploads, VirtualPath};
use russh_sftp::protocol::OpenFlags;
use tokio_util::sync::CancellationToken;

use crate::common::clock::FakeClock;
use crate::common::sftp::{Talk, as_answered, begin_in, process, whole_bucket};
use crate::session::{MIB, at, pattern, plant};
use crate::session_moves::Noting;

mod outages;

const CREATE: OpenFlags = OpenFlags::WRITE
    .union(OpenFlags::CREATE)
    .union(OpenFlags::TRUNCATE);
const RESUME: OpenFlags = OpenFlags::WRITE.union(OpenFlags::CREATE);

/// What processes share.
struct Shared {
    store: Arc<MemoryStore>,
    /// Stands before users' files, and before records.
    files: Arc<Failing>,
    records: Arc<Failing>,
    noting: Arc<Noting>,
    clock: Arc<FakeClock>,
    home: HomeDirectory,
    expires_in: Option<Duration>,
}

/// One of them.
struct Process {
    environment: Environment,
    recovery: Recovery,
    blocks: Arc<Blocks>,
    metrics: Arc<Metrics>,
}

fn state() -> Bucket {
    Bucket::parse("state").unwrap()
}

impl Shared {
    fn new() -> Self {
        Self::over(Capabilities::all())
    }

    fn over(capabilities: Capabilities) -> Self {
        let clock = Arc::new(FakeClock::new());
        let store = MemoryStore::new(&[&Bucket::parse("b").unwrap(), &state()]);
        let store = store.with_capabilities(capabilities);
        let store = Arc::new(store.with_clock(clock.clone()));
        let files = Arc::new(Failing::new(store.clone()));
        Self {
            noting: Noting::over(files.clone()),
            files,
            records: Arc::new(Failing::new(store.clone())),
            store,
            clock,
            home: whole_bucket(),
            expires_in: None,
        }
    }

    /// Starts a process, which has its lease.
    async fn process(&self) -> Process {
        let metrics = Arc::new(Metrics::default());
        let settings = self.settings(self.records.clone(), &metrics);
        let records = UploadRecords::in_bucket(settings, "/uploads/");
        self.with_records(records, metrics).await
    }

    /// The same with its records in a directory.
    async fn process_in(&self, directory: &tempfile::TempDir) -> Process {
        let metrics = Arc::new(Metrics::default());
        let directory = directory.path().to_str().unwrap();
        let store = DirectoryStore::open(directory, &[state()]).unwrap();
        let settings = self.settings(Arc::new(store), &metrics);
        let records = UploadRecords::in_directory(settings, directory);
        self.with_records(records, metrics).await
    }

    fn settings(&self, store: SharedStore, metrics: &Arc<Metrics>) -> RecordSettings {
        RecordSettings {
            store,
            bucket: state(),
            of_roles: std::collections::BTreeSet::new(),
            metrics: Arc::clone(metrics),
            clock: self.clock.clone(),
        }
    }

    async fn with_records(&self, upload_records: UploadRecords, metrics: Arc<Metrics>) -> Process {
        let environment = Environment {
            reaper: Reaper::new(Arc::clone(&metrics), self.clock.clone()),
            metrics: Arc::clone(&metrics),
            clock: self.clock.clone(),
            partial_uploads: PartialUploads::Keep,
            upload_records,
            ..process(Limits::default())
        };
        let (blocks, stores) = (Arc::<Blocks>::default(), Own::new(self.noting.clone()));
        let recovery = Recovery::new(environment.clone(), Arc::new(stores), Arc::clone(&blocks));
        let process = Process {
            environment,
            recovery: recovery.unwrap(),
            blocks,
            metrics,
        };
        process.environment.upload_records.renew().await.unwrap();
        process.recovery.round().await;
        process
    }

    async fn session(&self, process: &Process) -> Talk {
        self.revocable(process).await.0
    }

    async fn revocable(&self, process: &Process) -> (Talk, CancellationToken) {
        let expires_at = self.expires_in.map(|time| self.clock.wall() + time);
        let config = UserConfig {
            expires_at,
            ..UserConfig::new("ann", self.home.clone())
        };
        let user = as_answered(config, self.noting.clone());
        let revoked = user.revoked().clone();
        let (theirs, running) = begin_in(user, Limits::default(), |environment| {
            *environment = process.environment.clone();
        });
        (Talk::over(theirs, running).await, revoked)
    }

    /// Sends bytes, and waits until so many parts are stored; the client stays.
    async fn sends(
        &self,
        process: &Process,
        flags: OpenFlags,
        (offset, bytes): (usize, &[u8]),
        parts: usize,
    ) -> Talk {
        let talk = self.session(process).await;
        let handle = talk.open("/f", flags).await.unwrap();
        talk.send(&handle, offset, bytes).await;
        self.parts_are_there(parts).await;
        talk
    }

    async fn parts_are_there(&self, wanted: usize) {
        loop {
            let uploads = self.store.unfinished_uploads();
            let mut parts = 0;
            for (location, upload) in uploads {
                parts += self.store.parts(&location, &upload).await.unwrap().len();
            }
            if parts >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets the leases of all processes end that do not renew theirs now, which the others see.
    async fn leases_end(&self, alive: &[&Process]) {
        for process in alive {
            process.recovery.round().await;
        }
        for step in [LEASE_FOR / 2, LEASE_FOR / 2, Duration::from_secs(5)] {
            self.clock.advance(step);
            for process in alive {
                process.environment.upload_records.renew().await.unwrap();
            }
        }
    }

    fn record_keys(&self) -> Vec<String> {
        let mut keys = self.store.keys(&state());
        keys.retain(|key| !key.ends_with(".lease.json"));
        keys
    }

    fn count(&self, operation: Operation) -> usize {
        self.noting.keys(operation).len()
    }

    async fn assert_kept(&self, content: &[u8]) {
        let stored = self.store.object(&at("f")).unwrap();
        assert!(stored == content, "{} bytes", stored.len());
        assert!(self.store.head(&at("f")).await.unwrap().is_partial());
        assert_eq!(self.store.unfinished_uploads(), []);
    }
}

impl Process {
    /// Waits until what it clears away is gone.
    async fn settled(self) {
        let reaper = self.environment.reaper.clone();
        drop(self);
        reaper.drain().await;
    }

    fn counted(&self, outcome: &str) -> u64 {
        let series = format!("portcullis_upload_records_total{{outcome=\"{outcome}\"}} ");
        let text = self.metrics.encode();
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&series));
        values.next().unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn what_a_killed_gateway_received_is_kept_by_another() {
    let shared = Shared::new();
    let (killed, other) = (shared.process().await, shared.process().await);
    let content = pattern(20 * MIB);
    let lost = shared.sends(&killed, CREATE, (0, &content), 2).await;
    assert_eq!(shared.record_keys().len(), 1);
    assert_eq!(killed.counted("written"), 1);
    // Its lease has not ended yet.
    other.recovery.round().await;
    shared.clock.advance(LEASE_FOR / 2);
    other.environment.upload_records.renew().await.unwrap();
    other.recovery.round().await;
    assert_eq!(shared.store.object(&at("f")), None);
    shared.leases_end(&[&other]).await;
    other.recovery.round().await;
    // What waited in memory for its part to be full is lost.
    let arrived = &content[..16 * MIB];
    shared.assert_kept(arrived).await;
    assert_eq!(other.counted("kept"), 1);
    assert_eq!(shared.count(Operation::Complete), 1);
    // The client goes on there.
    let back = shared.session(&other).await;
    assert_eq!(back.size("/f").await, Ok(Some(16 * MIB as u64)));
    let handle = back.open("/f", RESUME).await.unwrap();
    back.send(&handle, 16 * MIB, &content[16 * MIB..]).await;
    back.close(&handle).await.unwrap();
    assert!(shared.store.object(&at("f")).unwrap() == content);
    assert!(!shared.store.head(&at("f")).await.unwrap().is_partial());
    // The first one was not dead after all: its upload fails, and it goes on under another name.
    killed.environment.upload_records.renew().await.unwrap();
    drop(lost.cut().await);
    assert!(shared.store.object(&at("f")).unwrap() == content);
    killed.settled().await;
    other.settled().await;
    assert_eq!(shared.record_keys(), <[String; 0]>::default());
}

#[tokio::test]
async fn a_process_that_lost_its_lease_records_under_another_name() {
    let shared = Shared::new();
    let (stalled, other) = (shared.process().await, shared.process().await);
    shared.leases_end(&[&other]).await;
    // As long as it has no lease its uploads go on without records.
    let content = pattern(9 * MIB);
    let talk = shared.sends(&stalled, CREATE, (0, &content), 1).await;
    assert_eq!(stalled.counted("unwritten"), 1);
    drop(talk.cut().await);
    other.recovery.round().await;
    stalled.environment.upload_records.renew().await.unwrap();
    stalled.environment.upload_records.renew().await.unwrap();
    shared.store.remove(&at("f"));
    let talk = shared.sends(&stalled, CREATE, (0, &content), 1).await;
    assert_eq!(stalled.counted("written"), 1);
    drop(talk.cut().await);
    stalled.settled().await;
    assert_eq!(shared.record_keys(), <[String; 0]>::default());
}

#[tokio::test]
async fn a_record_goes_with_its_upload_however_that_ends() {
    let content = pattern(9 * MIB);
    for end in ["closed", "kept", "revoked", "removed", "refused"] {
        let shared = Shared::new();
        let process = shared.process().await;
        let (talk, revoked) = shared.revocable(&process).await;
        let handle = talk.open("/f", CREATE).await.unwrap();
        talk.send(&handle, 0, &content).await;
        shared.parts_are_there(1).await;
        assert_eq!(shared.record_keys().len(), 1, "{end}");
        match end {
            "closed" => talk.close(&handle).await.unwrap(),
            "revoked" => revoked.cancel(),
            "removed" => drop(talk.client.remove("/f").await),
            "refused" => {
                let denied = Fault::Fail(StorageErrorKind::Denied);
                shared.files.spoil(Operation::Complete, 1, denied);
                assert!(talk.close(&handle).await.is_err());
            }
            _ => {}
        }
        drop(talk.cut().await);
        process.settled().await;
        assert_eq!(shared.record_keys(), <[String; 0]>::default(), "{end}");
        let is_there = shared.store.object(&at("f")).is_some();
        assert_eq!(is_there, matches!(end, "closed" | "kept"), "{end}");
        assert_eq!(shared.store.unfinished_uploads(), [], "{end}");
    }
}

#[tokio::test]
async fn nothing_is_recorded_where_nothing_is_kept() {
    let content = pattern(9 * MIB);
    // Nobody wants it, or one PUT is enough.
    for (word, bytes, parts) in [
        (PartialUploads::Discard, &content[..], 1),
        (PartialUploads::Keep, &content[..MIB], 0),
    ] {
        let shared = Shared::new();
        let mut process = shared.process().await;
        process.environment.partial_uploads = word;
        let talk = shared.sends(&process, CREATE, (0, bytes), parts).await;
        assert_eq!(shared.record_keys(), <[String; 0]>::default());
        drop(talk.cut().await);
        process.settled().await;
        // The lease, and no more.
        assert_eq!(shared.store.keys(&state()).len(), 1);
    }
    // Without a place for records there is no call for them.
    let shared = Shared::new();
    let mut process = shared.process().await;
    process.environment.upload_records = UploadRecords::default();
    let talk = shared.sends(&process, CREATE, (0, &content), 1).await;
    assert_eq!(shared.store.keys(&state()).len(), 1);
    drop(talk.cut().await);
    let (stores, blocks) = (Own::new(shared.noting.clone()), Arc::default());
    let recovery = Recovery::new(process.environment, Arc::new(stores), blocks);
    assert!(recovery.is_none());
}

#[tokio::test]
async fn an_upload_goes_on_without_a_record_that_cannot_be_written() {
    let shared = Shared::new();
    let process = shared.process().await;
    let denied = Fault::Fail(StorageErrorKind::Denied);
    shared.records.spoil(Operation::Put, 1, denied);
    let content = pattern(20 * MIB);
    let talk = shared.session(&process).await;
    talk.put("/f", &content).await.unwrap();
    assert!(shared.store.object(&at("f")).unwrap() == content);
    assert_eq!(
        (process.counted("written"), process.counted("unwritten")),
        (0, 1)
    );
    drop(talk.cut().await);
    process.settled().await;
    assert_eq!(shared.record_keys(), <[String; 0]>::default());
}

#[tokio::test]
async fn of_two_processes_that_see_an_ended_lease_one_finishes() {
    let shared = Shared::new();
    let (killed, one, other) = (
        shared.process().await,
        shared.process().await,
        shared.process().await,
    );
    let content = pattern(9 * MIB);
    let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
    shared.leases_end(&[&one, &other]).await;
    tokio::join!(one.recovery.round(), other.recovery.round());
    shared.assert_kept(&content[..8 * MIB]).await;
    assert_eq!(one.counted("kept") + other.counted("kept"), 1);
    assert_eq!(shared.count(Operation::Complete), 1);
}

#[tokio::test]
async fn whatever_call_of_a_recovery_fails_the_file_is_an_exact_beginning() {
    let content = pattern(9 * MIB);
    let fail = Fault::Fail;
    for (on_records, operation, fault) in [
        (false, Operation::Parts, fail(StorageErrorKind::Unavailable)),
        (false, Operation::Head, fail(StorageErrorKind::Throttled)),
        (false, Operation::Complete, Fault::LandThenLose),
        (false, Operation::Complete, fail(StorageErrorKind::Denied)),
        (false, Operation::Copy, fail(StorageErrorKind::Unavailable)),
        (false, Operation::Copy, Fault::LandThenLose),
        (true, Operation::List, fail(StorageErrorKind::Unavailable)),
        (true, Operation::Get, fail(StorageErrorKind::Unavailable)),
        // The lease, and the record.
        (true, Operation::Put, Fault::LandThenLose),
        (true, Operation::Put, fail(StorageErrorKind::Denied)),
    ] {
        let shared = Shared::new();
        let (killed, other) = (shared.process().await, shared.process().await);
        let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
        shared.leases_end(&[&other]).await;
        let store = if on_records {
            &shared.records
        } else {
            &shared.files
        };
        let told = format!("{operation:?} {fault:?}");
        for nth in [1, 2].into_iter().take(if on_records { 2 } else { 1 }) {
            store.spoil(operation, nth, fault.clone());
        }
        for _ in 0..3 {
            other.recovery.round().await;
            other.environment.upload_records.renew().await.unwrap_or(());
        }
        // After a call that failed the lease of another is looked at anew.
        shared.leases_end(&[&other]).await;
        other.recovery.round().await;
        println!("{told}");
        shared.assert_kept(&content[..8 * MIB]).await;
        assert_eq!(other.counted("kept"), 1, "{told}");
        other.settled().await;
        assert_eq!(shared.record_keys(), <[String; 0]>::default(), "{told}");
    }
}

#[tokio::test]
async fn a_process_that_dies_while_it_finishes_an_upload_leaves_it_to_the_next() {
    let content = pattern(9 * MIB);
    for operation in [Operation::Complete, Operation::Copy] {
        let shared = Shared::new();
        let (killed, second, third) = (
            shared.process().await,
            shared.process().await,
            shared.process().await,
        );
        let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
        shared.leases_end(&[&second, &third]).await;
        let gate = Gate::closed();
        shared.files.spoil(operation, 1, Fault::Hold(gate.clone()));
        tokio::select! {
            () = second.recovery.round() => panic!("it did not stop"),
            () = gate.reached(1) => {}
        }
        assert_eq!(shared.record_keys().len(), 1);
        shared.leases_end(&[&third]).await;
        third.recovery.round().await;
        shared.assert_kept(&content[..8 * MIB]).await;
        third.settled().await;
        assert_eq!(shared.record_keys(), <[String; 0]>::default());
    }
}

#[tokio::test]
async fn a_whole_file_stays_when_an_upload_over_it_is_recovered() {
    let content = pattern(9 * MIB);
    for (word, is_kept) in [
        (PartialUploads::Keep, false),
        (PartialUploads::Replace, true),
    ] {
        let mut shared = Shared::new();
        let all = Mapping::parse("/", "/b", EntryType::Directory, Access::ReadWrite).unwrap();
        let all = all.with_partial_uploads(Some(word));
        shared.home = HomeDirectory::logical(vec![all], VirtualPath::root()).unwrap();
        let (killed, other) = (shared.process().await, shared.process().await);
        plant(&shared.store, "f", b"whole").await;
        shared.clock.advance(Duration::from_secs(10));
        let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
        shared.leases_end(&[&other]).await;
        other.recovery.round().await;
        if is_kept {
            shared.assert_kept(&content[..8 * MIB]).await;
        } else {
            let stored = shared.store.object(&at("f"));
            assert_eq!(stored.as_deref(), Some(&b"whole"[..]));
            assert_eq!(other.counted("discarded"), 1);
        }
        other.settled().await;
        assert_eq!(shared.store.unfinished_uploads(), []);
        assert_eq!(shared.record_keys(), <[String; 0]>::default());
    }
}

#[tokio::test]
async fn what_was_appended_to_a_partial_upload_is_recovered_with_it() {
    let shared = Shared::new();
    let (killed, other) = (shared.process().await, shared.process().await);
    let content = pattern(25 * MIB);
    let first = shared
        .sends(&killed, CREATE, (0, &content[..9 * MIB]), 1)
        .await;
    shared.leases_end(&[&other]).await;
    other.recovery.round().await;
    shared.assert_kept(&content[..8 * MIB]).await;
    // The copy of what is there, and one part more.
    let rest = (8 * MIB, &content[8 * MIB..17 * MIB]);
    let second = shared.sends(&other, RESUME, rest, 2).await;
    let third = shared.process().await;
    shared.leases_end(&[&third]).await;
    third.recovery.round().await;
    shared.assert_kept(&content[..16 * MIB]).await;
    drop((first, second));
}

#[tokio::test]
async fn nobody_who_may_not_be_there_keeps_anything_of_a_killed_gateway() {
    let content = pattern(9 * MIB);
    for why in ["blocked", "revoked", "expired"] {
        let mut shared = Shared::new();
        shared.expires_in = (why == "expired").then_some(Duration::from_secs(60));
        let (killed, other) = (shared.process().await, shared.process().await);
        let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
        let now = shared.clock.wall();
        if why == "blocked" {
            other.blocks.block(Blocked::user("Ann"), None, now).unwrap();
        } else if why == "revoked" {
            other.environment.upload_records.revoked("ann", now);
        }
        shared.leases_end(&[&other]).await;
        other.recovery.round().await;
        assert_eq!(other.counted("discarded"), 1, "{why}");
        other.settled().await;
        assert_eq!(shared.store.object(&at("f")), None, "{why}");
        assert_eq!(shared.store.unfinished_uploads(), [], "{why}");
        assert_eq!(shared.record_keys(), <[String; 0]>::default(), "{why}");
    }
}

#[tokio::test]
async fn records_that_say_nothing_are_left_or_removed() {
    let shared = Shared::new();
    let (killed, other) = (shared.process().await, shared.process().await);
    let content = pattern(9 * MIB);
    let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
    let keys = shared.record_keys();
    let record = |key: &str| Location {
        bucket: state(),
        key: Key::parse(key).unwrap(),
    };
    let nonce = "0123456789abcdef0123456789abcdef";
    let name = keys[0]
        .rsplit_once('/')
        .unwrap()
        .1
        .split('.')
        .next()
        .unwrap();
    let unreadable = format!("uploads/{name}.{nonce}.json");
    shared
        .store
        .insert(&record(&unreadable), &b"{\"version\": 9}"[..]);
    shared
        .store
        .insert(&record("uploads/notes.txt"), &b"theirs"[..]);
    // The upload was aborted by somebody else.
    for (location, upload) in shared.store.unfinished_uploads() {
        shared.store.abort(&location, &upload).await.unwrap();
    }
    for _ in 0..2 {
        shared.leases_end(&[&other]).await;
        other.recovery.round().await;
        // Removed beside everything else.
        while shared.record_keys().len() > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!((other.counted("gone"), other.counted("unreadable")), (1, 1));
    assert_eq!(shared.store.object(&at("f")), None);
    other.settled().await;
    assert_eq!(
        shared.record_keys(),
        [unreadable, "uploads/notes.txt".into()]
    );
}

#[tokio::test]
async fn an_upload_that_cannot_be_finished_is_given_up_after_days() {
    let shared = Shared::new();
    let (killed, other) = (shared.process().await, shared.process().await);
    let content = pattern(9 * MIB);
    let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
    shared.leases_end(&[&other]).await;
    for (waited, outcome) in [
        (Duration::ZERO, "later"),
        (UPLOADS_RECOVERED_FOR, "discarded"),
    ] {
        shared.clock.advance(waited);
        // The first one finds the lease ended, the second begins another.
        for _ in 0..2 {
            other.environment.upload_records.renew().await.unwrap_or(());
        }
        let away = Fault::Fail(StorageErrorKind::Denied);
        shared.files.spoil(Operation::Parts, 1, away);
        other.recovery.round().await;
        assert_eq!(other.counted(outcome), 1, "{outcome}");
    }
    other.settled().await;
    assert_eq!(shared.store.unfinished_uploads(), []);
    assert_eq!(shared.record_keys(), <[String; 0]>::default());
}

#[tokio::test]
async fn requests_on_a_file_wait_until_it_is_recovered() {
    let shared = Shared::new();
    let (killed, other) = (shared.process().await, shared.process().await);
    let content = pattern(9 * MIB);
    let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
    shared.leases_end(&[&other]).await;
    let gate = Gate::closed();
    shared
        .files
        .spoil(Operation::Parts, 1, Fault::Hold(gate.clone()));
    let back = shared.session(&other).await;
    let asks = async {
        gate.reached(1).await;
        let size = back.size("/f");
        tokio::pin!(size);
        let early = tokio::time::timeout(Duration::from_millis(50), &mut size).await;
        assert!(early.is_err(), "it did not wait: {early:?}");
        gate.open();
        assert_eq!(size.await, Ok(Some(8 * MIB as u64)));
    };
    tokio::join!(other.recovery.round(), asks);
}

#[tokio::test]
async fn nothing_is_recovered_of_a_file_that_its_client_writes_again() {
    let shared = Shared::new();
    let (killed, other) = (shared.process().await, shared.process().await);
    let content = pattern(9 * MIB);
    let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
    let back = shared.session(&other).await;
    let handle = back.open("/f", CREATE).await.unwrap();
    shared.leases_end(&[&other]).await;
    other.recovery.round().await;
    assert_eq!(shared.store.object(&at("f")), None);
    assert_eq!(other.counted("later"), 1);
    back.send(&handle, 0, b"whole").await;
    back.close(&handle).await.unwrap();
    other.recovery.round().await;
    assert_eq!(other.counted("discarded"), 1);
    let stored = shared.store.object(&at("f"));
    assert_eq!(stored.as_deref(), Some(&b"whole"[..]));
}

#[tokio::test]
async fn one_process_at_a_time_has_a_directory_of_records() {
    let shared = Shared::new();
    let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (first, second) = (
        shared.process_in(&here).await,
        shared.process_in(&here).await,
    );
    let content = pattern(9 * MIB);
    let lost = shared.sends(&first, CREATE, (0, &content), 1).await;
    assert_eq!(first.counted("written"), 1);
    // It takes nothing up, and records nothing, as long as the other has the lock.
    shared.leases_end(&[]).await;
    second.recovery.round().await;
    assert_eq!(shared.store.object(&at("f")), None);
    let records = || {
        let names = std::fs::read_dir(here.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(".json"))
            .collect::<Vec<_>>()
    };
    let [record] = &records()[..] else {
        panic!("{:?}", records())
    };
    let other = shared.session(&second).await;
    let handle = other.open("/g", CREATE).await.unwrap();
    other.send(&handle, 0, &content).await;
    shared.parts_are_there(2).await;
    assert_eq!((second.counted("unwritten"), records().len()), (1, 1));
    other.close(&handle).await.unwrap();
    // A process that starts after the first one's end need not wait: nobody has the lock.
    std::fs::copy(here.path().join(record), there.path().join(record)).unwrap();
    let third = shared.process_in(&there).await;
    shared.assert_kept(&content[..8 * MIB]).await;
    assert_eq!(third.counted("kept"), 1);
    third.settled().await;
    drop(lost.cut().await);
    first.settled().await;
    assert_eq!(records(), Vec::<String>::new());
}
