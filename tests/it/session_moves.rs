//! Directories that move: what goes, what stays, and what is taken back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use portcullis::clock::Clock;
use portcullis::limits::{Limits, RENAMED_OBJECTS_MAX};
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::layer::{About, Layer};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Capabilities, Operation, Result, SharedStore, StorageErrorKind};
use russh_sftp::protocol::StatusCode;

use crate::common::clock::FakeClock;
use crate::common::sftp::{Talk, begin_in, code, user, whole_bucket};
use crate::common::vast::Vast;
use crate::session::{MIB, at, failing, plant, store};

/// A store of the buckets `b` and `other` that takes parts of 1 MiB, what spoils its calls, and what
/// notes them.
pub(crate) fn spied(capabilities: Capabilities) -> (Arc<MemoryStore>, Arc<Failing>, Arc<Noting>) {
    let buckets = ["b", "other"].map(|name| Bucket::parse(name).unwrap());
    let store = MemoryStore::new(&buckets.each_ref());
    let store = store.with_capabilities(capabilities);
    let store = Arc::new(store.with_part_bytes_min(MIB as u64));
    let failing = Arc::new(Failing::new(store.clone()));
    let noting = Noting::over(failing.clone());
    (store, failing, noting)
}

/// Notes the keys of each operation's calls, in their order.
#[derive(Debug)]
pub(crate) struct Noting {
    inner: SharedStore,
    keys: Mutex<BTreeMap<&'static str, Vec<String>>>,
}

impl Noting {
    pub(crate) fn over(inner: SharedStore) -> Arc<Self> {
        let keys = Mutex::default();
        Arc::new(Self { inner, keys })
    }

    pub(crate) fn keys(&self, operation: Operation) -> Vec<String> {
        let keys = self.keys.lock().unwrap();
        keys.get(operation.name()).cloned().unwrap_or_default()
    }
}

impl Layer for Noting {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let name = about.operation.name();
        let key = about.key.to_owned();
        self.keys.lock().unwrap().entry(name).or_default().push(key);
        run(self.inner.clone()).await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
    }
}

/// Fills a directory with so many files and its marker.
pub(crate) async fn fill(store: &Arc<MemoryStore>, files: u32) {
    plant(store, "d/", b"").await;
    for number in 0..files {
        plant(store, &format!("d/{number:04}"), b"old").await;
    }
}

pub(crate) async fn rename(talk: &Talk) -> std::result::Result<(), StatusCode> {
    talk.client.rename("/d", "/e").await.map(drop).map_err(code)
}

pub(crate) fn keys_below(store: &MemoryStore, prefix: &str) -> usize {
    let keys = store.keys(&at("x").bucket);
    keys.iter().filter(|key| key.starts_with(prefix)).count()
}

/// Runs a move up to the first call of an operation, does something, and lets it go on.
async fn meanwhile(
    failing: &Failing,
    (operation, nth): (Operation, u32),
    talk: &Talk,
    act: impl AsyncFnOnce(),
) -> std::result::Result<(), StatusCode> {
    let gate = Gate::closed();
    failing.spoil(operation, nth, Fault::Hold(gate.clone()));
    let other = async {
        gate.reached(1).await;
        act().await;
        gate.open();
    };
    let (moved, ()) = tokio::join!(rename(talk), other);
    moved
}

#[tokio::test]
async fn what_is_written_to_meanwhile_stays() {
    for files in [20, 2_500] {
        let (failing, store) = failing();
        fill(&store, files).await;
        let talk = Talk::start(failing.clone()).await;
        let changed = format!("d/{:04}", files - 1);
        // Everything is copied when the first delete comes.
        let moved = meanwhile(&failing, (Operation::Delete, 1), &talk, async || {
            assert_eq!(keys_below(&store, "e/"), files as usize + 1);
            plant(&store, &changed, b"changed").await;
            plant(&store, "d/later", b"later").await;
        });
        assert_eq!(moved.await, Err(StatusCode::Failure), "{files}");
        assert_eq!(keys_below(&store, "d/"), 2, "{files}");
        assert_eq!(store.object(&at(&changed)).unwrap(), "changed");
        assert_eq!(store.object(&at("d/later")).unwrap(), "later");
        assert_eq!(keys_below(&store, "e/"), files as usize + 1);
    }
}

#[tokio::test]
async fn a_copy_that_fails_takes_back_what_is_still_a_copy() {
    for files in [20_u32, 2_500] {
        let (failing, store) = failing();
        fill(&store, files).await;
        let talk = Talk::start(failing.clone()).await;
        let fault = Fault::Fail(StorageErrorKind::Refused);
        failing.spoil(Operation::Copy, files, fault);
        let moved = meanwhile(&failing, (Operation::Copy, files - 1), &talk, async || {
            plant(&store, "e/0000", b"another's").await;
            plant(&store, "e/new", b"another's").await;
        });
        assert_eq!(moved.await, Err(StatusCode::Failure));
        assert_eq!(keys_below(&store, "d/"), files as usize + 1, "whole");
        let left = store.keys(&at("x").bucket);
        let left: Vec<_> = left.iter().filter(|key| key.starts_with("e/")).collect();
        assert_eq!(left, ["e/0000", "e/new"]);
    }
}

#[tokio::test]
async fn nothing_at_the_target_is_written_over() {
    let (failing, store) = failing();
    fill(&store, 20).await;
    let talk = Talk::start(failing.clone()).await;
    let moved = meanwhile(&failing, (Operation::Copy, 1), &talk, async || {
        plant(&store, "e/0019", b"another's").await;
    });
    assert_eq!(moved.await, Err(StatusCode::Failure));
    assert_eq!(store.object(&at("e/0019")).unwrap(), "another's");
    assert_eq!(
        (keys_below(&store, "d/"), keys_below(&store, "e/")),
        (21, 1)
    );
}

#[tokio::test]
async fn a_copy_that_nobody_confirmed_is_taken_back_as_well() {
    let (failing, store) = failing();
    plant(&store, "d/only", b"old").await;
    let talk = Talk::start(failing.clone()).await;
    failing.spoil(Operation::Copy, 1, Fault::LandThenLose);
    // After a look at each name and one at the file itself: whether the copy landed.
    failing.spoil(Operation::Head, 4, Fault::Fail(StorageErrorKind::Expired));
    assert_eq!(rename(&talk).await, Err(StatusCode::Failure));
    assert_eq!(failing.pending(), 0);
    assert_eq!(store.keys(&at("x").bucket), ["d/only"]);
}

#[tokio::test]
async fn markers_go_last_and_the_deepest_first() {
    let store = store();
    for number in 0..2_300 {
        plant(&store, &format!("d/{number:04}/"), b"").await;
    }
    plant(&store, "d/", b"").await;
    plant(&store, "d/0000/file", b"old").await;
    let noting = Noting::over(store.clone());
    let talk = Talk::start(noting.clone()).await;
    assert_eq!(rename(&talk).await, Ok(()));
    let deleted = noting.keys(Operation::Delete);
    assert_eq!(deleted.len(), 2_302);
    assert_eq!(deleted[0], "d/0000/file");
    let mut sorted = deleted[1..].to_vec();
    sorted.sort_unstable();
    sorted.reverse();
    assert_eq!(deleted[1..], sorted);
    assert_eq!(keys_below(&store, "d/"), 0);
    assert_eq!(keys_below(&store, "e/"), 2_302);
}

#[tokio::test]
async fn what_cannot_be_moved_as_a_whole_is_not_begun() {
    let too_many = Arc::new(Vast::of(RENAMED_OBJECTS_MAX + 1, 1));
    let noting = Noting::over(too_many);
    let talk = Talk::start(noting.clone()).await;
    assert_eq!(rename(&talk).await, Err(StatusCode::Failure));
    assert_eq!(noting.keys(Operation::Copy), [""; 0]);
    // Also where the memory for it will never be there.
    let limits = Limits {
        session_memory_bytes_max: 4 * 1024 * 1024,
        ..Limits::default()
    };
    let noting = Noting::over(Arc::new(Vast::of(50_000, 1)));
    let talk = Talk::with(noting.clone(), whole_bucket(), limits).await;
    assert_eq!(rename(&talk).await, Err(StatusCode::Failure));
    assert_eq!(noting.keys(Operation::Copy), [""; 0]);
    // A name that would become too long, on the second page.
    let store = store();
    fill(&store, 1_500).await;
    plant(&store, &format!("d/{}", "x".repeat(1_020)), b"old").await;
    let noting = Noting::over(store);
    let talk = Talk::start(noting.clone()).await;
    let moved = talk.client.rename("/d", "/longer").await.map_err(code);
    assert_eq!(moved.unwrap_err(), StatusCode::Failure);
    assert_eq!(noting.keys(Operation::Copy), [""; 0]);
}

/// Goes on by eleven seconds at every look.
#[derive(Debug)]
struct Hasty(FakeClock);

impl Clock for Hasty {
    fn now(&self) -> Instant {
        self.0.advance(Duration::from_secs(11));
        self.0.now()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }
}

#[tokio::test]
async fn a_long_move_is_spoken_of_while_it_lists_copies_and_deletes() {
    let store = store();
    fill(&store, 2_500).await;
    let user = user(whole_bucket(), store);
    let (theirs, running) = begin_in(user, Limits::default(), |environment| {
        environment.clock = Arc::new(Hasty(FakeClock::new()));
    });
    let stderr = running.stderr.clone();
    let talk = Talk::over(theirs, running).await;
    assert_eq!(rename(&talk).await, Ok(()));
    let said = stderr.lock().unwrap().clone();
    for line in [
        "moving /d: 2000 files found so far\n",
        "moving /d: 1000 of 2501 files copied\n",
        "moving /d: all copied, 1999 of 2501 files removed\n",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_below_the_directory_is_refused() {
    for objects in [10, 1_500] {
        let vast = Arc::new(Vast::of(objects, 1).with_stray("elsewhere/secret"));
        let noting = Noting::over(vast.clone());
        let talk = Talk::start(noting.clone()).await;
        assert_eq!(rename(&talk).await, Err(StatusCode::Failure));
        for operation in [Operation::Copy, Operation::Delete] {
            assert_eq!(noting.keys(operation), [""; 0]);
        }
        assert_eq!(vast.count(), (objects, 0));
    }
}

#[tokio::test]
async fn a_copy_in_parts_that_fails_is_aborted_until_nothing_is_left() {
    let vast = Arc::new(Vast::of(1, 20 << 30).with_part_copies(3, 2));
    let talk = Talk::start(vast.clone()).await;
    assert_eq!(rename(&talk).await, Err(StatusCode::Failure));
    let (reaper, _) = talk.cut().await;
    reaper.drain().await;
    assert_eq!(vast.with(|state| state.aborts), 3);
    assert_eq!(vast.count(), (1, 0));
}
