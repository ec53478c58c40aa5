//! Clients that disconnect before CLOSE: what arrived in sequence is kept where the operator wants
//! it, is marked as partial, and is gone on with.

use std::sync::Arc;
use std::time::Duration;

use portcullis::budget::Budget;
use portcullis::clock::Clock as _;
use portcullis::idp::UserConfig;
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::session::{Environment, Unsettled, UserSessions};
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Capabilities, ObjectStore as _, Operation, StorageErrorKind};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, PartialUploads, VirtualPath};
use russh_sftp::protocol::{OpenFlags, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::common::clock::FakeClock;
use crate::common::sftp::{Talk, as_answered, begin_in, whole_bucket};
use crate::session::{MIB, at, pattern, plant};
use crate::session_moves::Noting;

const CREATE: OpenFlags = OpenFlags::WRITE
    .union(OpenFlags::CREATE)
    .union(OpenFlags::TRUNCATE);
const EXCLUSIVE: OpenFlags = CREATE.union(OpenFlags::EXCLUDE);
/// As lftp's `put -c` and OpenSSH's `reput` open a file.
const RESUME: OpenFlags = OpenFlags::WRITE.union(OpenFlags::CREATE);
const APPEND: OpenFlags = RESUME.union(OpenFlags::APPEND);

/// How much one WRITE carries.
const PIECE: usize = 128 * 1024;

/// A process that keeps partial uploads, and its store.
struct Process {
    store: Arc<MemoryStore>,
    failing: Arc<Failing>,
    noting: Arc<Noting>,
    metrics: Arc<Metrics>,
    unsettled: Unsettled,
    budget: Arc<Budget>,
    user_sessions: UserSessions,
    drain: CancellationToken,
    clock: Arc<FakeClock>,
    is_faked: bool,
    word: PartialUploads,
    home: HomeDirectory,
    expires_in: Option<Duration>,
}

impl Process {
    fn new() -> Self {
        Self::over(Capabilities::all())
    }

    fn over(capabilities: Capabilities) -> Self {
        let (clock, budget) = (Arc::new(FakeClock::new()), Budget::new(&Limits::default()));
        let store = MemoryStore::new(&[&Bucket::parse("b").unwrap()]);
        let store = store.with_capabilities(capabilities);
        let store = Arc::new(store.with_clock(clock.clone()));
        let failing = Arc::new(Failing::new(store.clone()));
        Self {
            noting: Noting::over(failing.clone()),
            store,
            failing,
            metrics: Arc::default(),
            unsettled: Unsettled::default(),
            user_sessions: UserSessions::new(100, Arc::clone(&budget)),
            budget,
            drain: CancellationToken::new(),
            clock,
            is_faked: false,
            word: PartialUploads::Keep,
            home: whole_bucket(),
            expires_in: None,
        }
    }

    async fn session(&self) -> Talk {
        self.revocable().await.0
    }

    async fn revocable(&self) -> (Talk, CancellationToken) {
        let (talk, revoked, _) = self.all_of_it().await;
        (talk, revoked)
    }

    /// A session, and what says that its channel is gone.
    async fn cuttable(&self) -> (Talk, CancellationToken) {
        let (talk, _, gone) = self.all_of_it().await;
        (talk, gone)
    }

    async fn all_of_it(&self) -> (Talk, CancellationToken, CancellationToken) {
        let expires_at = self.expires_in.map(|time| self.clock.wall() + time);
        let config = UserConfig {
            expires_at,
            ..UserConfig::new("ann", self.home.clone())
        };
        let user = as_answered(config, self.noting.clone());
        let revoked = user.revoked().clone();
        let (theirs, running) = begin_in(user, Limits::default(), |environment| {
            self.lend(environment);
        });
        let gone = running.gone.clone();
        (Talk::over(theirs, running).await, revoked, gone)
    }

    fn lend(&self, environment: &mut Environment) {
        environment.partial_uploads = self.word;
        environment.unsettled = self.unsettled.clone();
        environment.budget = Arc::clone(&self.budget);
        environment.metrics = Arc::clone(&self.metrics);
        environment.user_sessions = self.user_sessions.clone();
        environment.drain = self.drain.clone();
        if self.is_faked {
            environment.clock = self.clock.clone();
        }
    }

    /// Sends bytes and disconnects.
    async fn vanish(&self, flags: OpenFlags, offset: usize, bytes: &[u8]) {
        let talk = self.session().await;
        let handle = talk.open("/f", flags).await.unwrap();
        talk.send(&handle, offset, bytes).await;
        self.lost(talk).await;
    }

    /// Cuts the connection, and waits until nothing goes on of the session.
    async fn lost(&self, talk: Talk) {
        let (reaper, _) = talk.cut().await;
        reaper.drain().await;
    }

    async fn is_partial(&self) -> bool {
        self.store.head(&at("f")).await.unwrap().is_partial()
    }

    async fn assert_partial(&self, content: &[u8]) {
        self.assert_partial_object(content).await;
        assert_eq!(self.store.unfinished_uploads(), []);
        assert_eq!(self.budget.taken_bytes(), (0, 0));
    }

    async fn assert_partial_object(&self, content: &[u8]) {
        let stored = self.store.object(&at("f")).unwrap();
        assert!(stored == content, "{} bytes", stored.len());
        assert!(self.is_partial().await);
    }

    fn assert_nothing(&self) {
        assert_eq!(self.store.object(&at("f")), None);
        assert_eq!(self.store.unfinished_uploads(), []);
        assert_eq!(self.budget.taken_bytes(), (0, 0));
    }

    fn count(&self, operation: Operation) -> usize {
        self.noting.keys(operation).len()
    }

    fn counted(&self, closed: &str, outcome: &str) -> u64 {
        let name = "portcullis_uploads_after_disconnect_total";
        let series = format!("{name}{{closed=\"{closed}\",outcome=\"{outcome}\"}} ");
        let text = self.metrics.encode();
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&series));
        values.next().unwrap().parse().unwrap()
    }
}

fn mapped(word: PartialUploads) -> HomeDirectory {
    let all = Mapping::parse("/", "/b", EntryType::Directory, Access::ReadWrite).unwrap();
    let all = all.with_partial_uploads(Some(word));
    HomeDirectory::logical(vec![all], VirtualPath::root()).unwrap()
}

#[tokio::test]
async fn what_arrived_in_sequence_is_kept_and_marked() {
    for (length, parts) in [(1, false), (100_000, false), (20 * MIB, true)] {
        let process = Process::new();
        let content = pattern(length);
        process.vanish(CREATE, 0, &content).await;
        process.assert_partial(&content).await;
        let calls = if parts { (2, 0, 1, 1) } else { (1, 1, 0, 0) };
        let counted = (
            process.count(Operation::Head),
            process.count(Operation::Put),
            process.count(Operation::Complete),
            process.count(Operation::Copy),
        );
        assert_eq!(counted, calls, "{length}");
        assert_eq!(process.counted("no", "kept"), 1);
    }
    // Of no bytes nothing is kept.
    let process = Process::new();
    process.vanish(CREATE, 0, b"").await;
    process.assert_nothing();
    assert_eq!(process.counted("no", "failed"), 0);
}

#[tokio::test]
async fn nothing_behind_a_gap_is_kept() {
    let process = Process::new();
    let content = pattern(26 * MIB);
    let talk = process.session().await;
    let handle = talk.open("/f", CREATE).await.unwrap();
    talk.send(&handle, 0, &content[..9 * MIB]).await;
    talk.send(&handle, 10 * MIB, &content[10 * MIB..]).await;
    process.lost(talk).await;
    process.assert_partial(&content[..9 * MIB]).await;
    // Nothing stands at the beginning.
    let process = Process::new();
    process.vanish(CREATE, 1, b"abc").await;
    process.assert_nothing();
}

#[tokio::test]
async fn an_upload_goes_on_from_what_was_kept_and_ends_without_the_mark() {
    for length in [1_000_usize, 30 * MIB] {
        for flags in [RESUME, APPEND] {
            let process = Process::new();
            let content = pattern(length);
            let thirds = [length / 3, length / 3 * 2];
            process.vanish(CREATE, 0, &content[..thirds[0]]).await;
            // The second try gets a little further.
            let talk = process.session().await;
            assert_eq!(talk.size("/f").await, Ok(Some(thirds[0] as u64)));
            process.lost(talk).await;
            let more = &content[thirds[0]..thirds[1]];
            process.vanish(flags, thirds[0], more).await;
            process.assert_partial(&content[..thirds[1]]).await;
            let talk = process.session().await;
            assert_eq!(talk.size("/f").await, Ok(Some(thirds[1] as u64)));
            let handle = talk.open("/f", flags).await.unwrap();
            talk.send(&handle, thirds[1], &content[thirds[1]..]).await;
            talk.close(&handle).await.unwrap();
            assert!(process.store.object(&at("f")).unwrap() == content);
            assert!(!process.is_partial().await);
            assert_eq!(process.store.unfinished_uploads(), []);
        }
    }
}

#[tokio::test]
async fn a_whole_file_stays_unless_the_mapping_says_otherwise() {
    for flags in [CREATE, RESUME, APPEND] {
        for (word, replaced) in [
            (PartialUploads::Keep, false),
            (PartialUploads::Replace, true),
        ] {
            let mut process = Process::new();
            process.home = mapped(word);
            process.is_faked = true;
            plant(&process.store, "f", b"whole").await;
            process.clock.advance(Duration::from_secs(10));
            process.vanish(flags, 5, b"").await;
            assert!(!process.is_partial().await);
            let offset = if flags.contains(OpenFlags::TRUNCATE) {
                0
            } else {
                5
            };
            process.vanish(flags, offset, b" and more").await;
            let stored = process.store.object(&at("f")).unwrap();
            let partial: &[u8] = if flags.contains(OpenFlags::TRUNCATE) {
                b" and more"
            } else {
                b"whole and more"
            };
            let expected = if replaced { partial } else { b"whole" };
            assert_eq!(stored, expected, "{flags:?}");
            assert_eq!(process.is_partial().await, replaced);
        }
    }
    // What somebody else stores meanwhile is not replaced.
    let mut process = Process::new();
    process.home = mapped(PartialUploads::Replace);
    process.is_faked = true;
    let talk = process.session().await;
    let handle = talk.open("/f", CREATE).await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    plant(&process.store, "f", b"theirs").await;
    process.lost(talk).await;
    assert_eq!(
        process.store.object(&at("f")).as_deref(),
        Some(&b"theirs"[..])
    );
    assert_eq!(process.counted("no", "failed"), 1);
}

#[tokio::test]
async fn of_two_partial_uploads_the_longer_one_is_kept() {
    let process = Process::new();
    process.vanish(CREATE, 0, b"0123456789").await;
    process.vanish(CREATE, 0, b"abc").await;
    process.assert_partial(b"0123456789").await;
    process.vanish(CREATE, 0, b"abcdefghijkl").await;
    process.assert_partial(b"abcdefghijkl").await;
    // Two sessions at the same time: each result is one of theirs.
    let (one, other) = (process.session().await, process.session().await);
    for (talk, content) in [
        (&one, &b"0123456789abcdef"[..]),
        (&other, b"ABCDEFGHIJKLMNO"),
    ] {
        let handle = talk.open("/f", CREATE).await.unwrap();
        talk.write(&handle, 0, content).await.unwrap();
    }
    tokio::join!(process.lost(one), process.lost(other));
    let stored = process.store.object(&at("f")).unwrap();
    assert!(stored == b"0123456789abcdef"[..] || stored == b"ABCDEFGHIJKLMNO"[..]);
    process.assert_partial(&stored).await;
    // Bytes in the middle are no beginning.
    process.vanish(RESUME, 2, &[b'x'; 40]).await;
    process.assert_partial(&stored).await;
}

#[tokio::test]
async fn nothing_is_kept_of_a_lost_session_while_another_writes_the_file() {
    let process = Process::new();
    process
        .vanish(OpenFlags::WRITE | OpenFlags::CREATE, 0, b"beg")
        .await;
    process.assert_partial(b"beg").await;
    // The first one goes on, and loses its connection; nobody notices yet.
    let lost = process.session().await;
    let handle = lost.open("/f", OpenFlags::WRITE).await.unwrap();
    lost.send(&handle, 3, b"inning").await;
    let back = process.session().await;
    let handle = back.open("/f", OpenFlags::WRITE).await.unwrap();
    back.send(&handle, 3, b"inning and").await;
    process.lost(lost).await;
    process.assert_partial_object(b"beg").await;
    back.send(&handle, 13, b" end").await;
    back.close(&handle).await.unwrap();
    assert!(process.store.object(&at("f")).unwrap() == b"beginning and end"[..]);
    assert!(!process.is_partial().await);
    assert_eq!(process.counted("no", "failed"), 1);
}

#[tokio::test]
async fn an_exclusive_file_is_kept_only_where_nothing_is() {
    let mut process = Process::new();
    let talk = process.session().await;
    let handle = talk.open("/f", EXCLUSIVE).await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    // On another replica a partial upload is there first, and is shorter.
    let here = std::mem::take(&mut process.unsettled);
    process.vanish(CREATE, 0, b"x").await;
    process.unsettled = here;
    process.lost(talk).await;
    process.assert_partial(b"x").await;
    process.store.remove(&at("f"));
    process.vanish(EXCLUSIVE, 0, b"abc").await;
    process.assert_partial(b"abc").await;
}

#[tokio::test]
async fn whoever_asks_for_a_file_whose_session_ends_waits_for_its_outcome() {
    let content = pattern(20 * MIB);
    for (operation, length) in [(Operation::Put, 100), (Operation::Copy, 20 * MIB)] {
        let process = Process::new();
        let gate = Gate::closed();
        process
            .failing
            .spoil(operation, 1, Fault::Hold(gate.clone()));
        let other = process.session().await;
        let talk = process.session().await;
        let handle = talk.open("/f", CREATE).await.unwrap();
        talk.send(&handle, 0, &content[..length]).await;
        let asked = async {
            gate.reached(1).await;
            let size = other.size("/f");
            tokio::pin!(size);
            let early = tokio::time::timeout(Duration::from_millis(50), &mut size).await;
            assert!(early.is_err(), "it did not wait: {early:?}");
            gate.open();
            assert_eq!(size.await, Ok(Some(length as u64)));
        };
        tokio::join!(process.lost(talk), asked);
        let handle = other.open("/f", RESUME).await.unwrap();
        other.write(&handle, length as u64, b"!").await.unwrap();
        other.close(&handle).await.unwrap();
        let stored = process.store.object(&at("f")).unwrap();
        assert_eq!(stored.len(), length + 1);
    }
}

#[tokio::test]
async fn a_revoked_or_expired_user_leaves_nothing() {
    let content = pattern(9 * MIB);
    for length in [100, 9 * MIB] {
        let process = Process::new();
        let (talk, revoked) = process.revocable().await;
        let handle = talk.open("/f", CREATE).await.unwrap();
        talk.send(&handle, 0, &content[..length]).await;
        revoked.cancel();
        process.lost(talk).await;
        process.assert_nothing();
        // Revoked while it is looked what is there.
        let gate = Gate::closed();
        process
            .failing
            .spoil(Operation::Head, 1, Fault::Hold(gate.clone()));
        let (talk, revoked) = process.revocable().await;
        let handle = talk.open("/f", CREATE).await.unwrap();
        talk.send(&handle, 0, &content[..length]).await;
        let revokes = async {
            gate.reached(1).await;
            revoked.cancel();
            gate.open();
        };
        tokio::join!(process.lost(talk), revokes);
        process.assert_nothing();
    }
    // Revoked when the object is there, and has no mark yet.
    let process = Process::new();
    let gate = Gate::closed();
    process
        .failing
        .spoil(Operation::Complete, 1, Fault::Hold(gate.clone()));
    let (talk, revoked) = process.revocable().await;
    let handle = talk.open("/f", CREATE).await.unwrap();
    talk.send(&handle, 0, &content).await;
    let revokes = async {
        gate.reached(1).await;
        revoked.cancel();
        gate.open();
    };
    tokio::join!(process.lost(talk), revokes);
    process.assert_nothing();
    let mut process = Process::new();
    process.is_faked = true;
    process.expires_in = Some(Duration::from_secs(60));
    let talk = process.session().await;
    let handle = talk.open("/f", CREATE).await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    process.clock.advance(Duration::from_secs(60));
    process.lost(talk).await;
    process.assert_nothing();
}

#[tokio::test]
async fn a_drain_keeps_what_arrived() {
    let process = Process::new();
    let content = pattern(9 * MIB);
    let talk = process.session().await;
    let handle = talk.open("/f", CREATE).await.unwrap();
    talk.send(&handle, 0, &content).await;
    process.drain.cancel();
    process.lost(talk).await;
    process.assert_partial(&content).await;
}

#[tokio::test]
async fn a_user_keeps_so_many_at_once_and_those_that_were_closed_first() {
    let process = Process::new();
    let gate = Gate::closed();
    for nth in 1..=7 {
        process
            .failing
            .spoil(Operation::Put, nth, Fault::Hold(gate.clone()));
    }
    let talk = process.session().await;
    for nth in 0..7 {
        let handle = talk.open(&format!("/{nth}"), CREATE).await.unwrap();
        talk.write(&handle, 0, b"abc").await.unwrap();
    }
    let opens = async {
        gate.reached(4).await;
        gate.open();
    };
    tokio::join!(process.lost(talk), opens);
    let bucket = Bucket::parse("b").unwrap();
    assert_eq!(process.store.keys(&bucket), ["0", "1", "2", "3"]);
    assert_eq!(process.counted("no", "kept"), 4);
    assert_eq!(process.counted("no", "failed"), 3);
}

#[tokio::test]
async fn nothing_is_kept_where_nobody_wants_it_or_the_store_has_no_conditions() {
    let content = pattern(9 * MIB);
    let mut discards = Process::new();
    discards.word = PartialUploads::Discard;
    let mut mapped_so = Process::new();
    mapped_so.home = mapped(PartialUploads::Discard);
    let unconditional = Process::over(Capabilities {
        conditional_complete: false,
        ..Capabilities::all()
    });
    for process in [discards, mapped_so, unconditional] {
        process.vanish(CREATE, 0, &content).await;
        process.assert_nothing();
        assert_eq!(process.count(Operation::Head), 0);
        assert_eq!(process.counted("no", "failed"), 0);
    }
    // The mapping has the last word.
    let mut process = Process::new();
    process.word = PartialUploads::Discard;
    process.home = mapped(PartialUploads::Keep);
    process.vanish(CREATE, 0, &content).await;
    process.assert_partial(&content).await;
}

/// Who may not read a file cannot mark one that is made of parts.
#[tokio::test]
async fn what_could_not_be_marked_is_not_kept() {
    let content = pattern(9 * MIB);
    for (length, kept) in [(100, true), (9 * MIB, false)] {
        let process = Process::new();
        let denied = Fault::Fail(StorageErrorKind::Denied);
        process.failing.spoil(Operation::Head, 1, denied);
        process.vanish(CREATE, 0, &content[..length]).await;
        if kept {
            process.assert_partial(&content[..length]).await;
        } else {
            process.assert_nothing();
        }
    }
    // As often as it is tried.
    let process = Process::new();
    for nth in 1..=9 {
        let denied = Fault::Fail(StorageErrorKind::Denied);
        process.failing.spoil(Operation::Copy, nth, denied);
    }
    process.vanish(CREATE, 0, &content).await;
    process.assert_nothing();
    assert_eq!(process.counted("no", "failed"), 1);
    // What was there before cannot come back: the longer one stays, and the log names it.
    let process = Process::new();
    process.vanish(CREATE, 0, &content).await;
    for nth in 1..=9 {
        let denied = Fault::Fail(StorageErrorKind::Denied);
        process.failing.spoil(Operation::Copy, nth, denied);
    }
    process.vanish(RESUME, content.len(), b"more").await;
    let stored = process.store.object(&at("f")).unwrap();
    assert!(stored == [&content[..], b"more"].concat() && !process.is_partial().await);
    assert_eq!(process.counted("no", "unmarked"), 1);
}

impl Process {
    /// Asserts that there is a marked beginning of one of these sizes, or nothing where nothing was.
    async fn assert_exact_or_untouched(&self, content: &[u8], sizes: [usize; 2], case: &str) {
        let Some(stored) = self.store.object(&at("f")) else {
            return assert_eq!(sizes[0], 0, "{case}");
        };
        let is_exact = sizes.iter().any(|size| stored == content[..*size]);
        assert!(is_exact, "{case}: {}", stored.len());
        assert!(self.is_partial().await, "{case}");
    }
}

/// Whatever fails once: an exact beginning with its mark, or what was there before.
#[tokio::test]
async fn whatever_call_of_keeping_fails_the_file_is_an_exact_beginning_or_untouched() {
    let faults: [fn() -> Fault; 7] = [
        || Fault::Fail(StorageErrorKind::Refused),
        || Fault::Fail(StorageErrorKind::Denied),
        || Fault::Fail(StorageErrorKind::Precondition),
        || Fault::Fail(StorageErrorKind::Unavailable),
        || Fault::Fail(StorageErrorKind::NotFound),
        || Fault::Fail(StorageErrorKind::OutcomeUnknown),
        || Fault::LandThenLose,
    ];
    let small = [(Operation::Head, 1), (Operation::Put, 1)];
    let large = [
        (Operation::Head, 1),
        (Operation::Head, 2),
        (Operation::Create, 1),
        (Operation::Part, 2),
        (Operation::Complete, 1),
        (Operation::Copy, 1),
    ];
    let appended = [
        (Operation::Get, 1),
        (Operation::Tags, 1),
        (Operation::Put, 1),
    ];
    let over_a_large_one = [
        (Operation::Head, 1),
        (Operation::PartCopy, 1),
        (Operation::Complete, 1),
        (Operation::Copy, 1),
    ];
    let content = pattern(9 * MIB);
    for (before, length, calls) in [
        (0, 100, &small[..]),
        (0, 9 * MIB, &large),
        (50, 100, &appended),
        (6 * MIB, 9 * MIB, &over_a_large_one),
    ] {
        for ((operation, nth), fault) in calls.iter().flat_map(|call| {
            let faults = faults.iter();
            faults.map(move |fault| (*call, fault))
        }) {
            let process = Process::new();
            if before > 0 {
                process.vanish(CREATE, 0, &content[..before]).await;
            }
            let talk = process.session().await;
            let flags = if before > 0 { RESUME } else { CREATE };
            let handle = talk.open("/f", flags).await.unwrap();
            process.failing.spoil(operation, nth, fault());
            for (at, piece) in content[before..length].chunks(PIECE).enumerate() {
                let offset = (before + at * PIECE) as u64;
                // A part that failed fails them.
                let _ = talk.write(&handle, offset, piece).await;
            }
            process.lost(talk).await;
            assert_eq!(
                process.failing.pending(),
                0,
                "{operation:?} {nth} {before} {length}"
            );
            let case = format!("{operation:?} {nth} {:?} {before} {length}", fault());
            let sizes = [before, length];
            process
                .assert_exact_or_untouched(&content, sizes, &case)
                .await;
            let orphans = operation == Operation::Create && matches!(fault(), Fault::LandThenLose);
            let left = process.store.unfinished_uploads().len();
            assert!(left == 0 || orphans, "{case}");
        }
    }
}

#[tokio::test]
async fn a_close_that_was_kept_is_counted() {
    let process = Process::new();
    let (talk, gone) = process.cuttable().await;
    assert_eq!(talk.size("/f").await, Err(StatusCode::NoSuchFile));
    let handle = talk.open("/f", CREATE).await.unwrap();
    let gate = Gate::closed();
    process
        .failing
        .spoil(Operation::Part, 1, Fault::Hold(gate.clone()));
    let content = pattern(9 * MIB);
    talk.send(&handle, 0, &content).await;
    let early = tokio::time::timeout(Duration::from_millis(50), talk.close(&handle)).await;
    assert!(early.is_err(), "not held: {early:?}");
    gone.cancel();
    let opens = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        gate.open();
    };
    tokio::join!(process.lost(talk), opens);
    assert!(process.store.object(&at("f")).unwrap() == content);
    assert!(!process.is_partial().await);
    assert_eq!(process.counted("yes", "kept"), 1);
}

/// OPEN with TRUNC does not look: what was closed is no worse off than what was not.
#[tokio::test]
async fn a_close_that_came_is_kept_where_partial_uploads_are() {
    for there in [None, Some(true), Some(false)] {
        let process = Process::new();
        let content = pattern(9 * MIB);
        match there {
            None => {}
            Some(true) => process.vanish(CREATE, 0, &pattern(10 * MIB)).await,
            Some(false) => plant(&process.store, "f", b"whole").await,
        }
        let (talk, gone) = process.cuttable().await;
        let handle = talk.open("/f", CREATE).await.unwrap();
        let gate = Gate::closed();
        process
            .failing
            .spoil(Operation::Part, 1, Fault::Hold(gate.clone()));
        talk.send(&handle, 0, &content).await;
        let early = tokio::time::timeout(Duration::from_millis(50), talk.close(&handle)).await;
        assert!(early.is_err(), "not held: {early:?}");
        gone.cancel();
        let opens = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            gate.open();
        };
        tokio::join!(process.lost(talk), opens);
        let stored = process.store.object(&at("f")).unwrap();
        let stays = there == Some(false);
        assert!(stored == if stays { &b"whole"[..] } else { &content });
        assert!(!process.is_partial().await);
        assert_eq!(process.store.unfinished_uploads(), []);
        let outcome = if stays { "failed" } else { "kept" };
        assert_eq!(process.counted("yes", outcome), 1);
    }
}
