//! Files that the store copies by itself: which calls that takes, what goes along, and what is left
//! where it does not work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use embedded_s3::EmbeddedS3;
use portcullis::budget::Budget;
use portcullis::idp::UserConfig;
use portcullis::limits::{Limits, RANGE_COPIES_MAX, RANGE_COPIES_PER_OBJECT_MAX};
use portcullis::session::UserSessions;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::layer::{About, Layer};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::s3::S3Store;
use portcullis::storage::{
    Bucket, Capabilities, CompleteUpload, Key, Kms, Location, NewObject, Nonce, ObjectMeta,
    ObjectStore as _, Operation, PartNumber, Precondition, Properties, Result, Retention,
    SharedStore, StorageErrorKind, Tags, UploadPart,
};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::StatusCode;

use crate::common::sftp::{Talk, as_answered, begin_in, code, user, whole_bucket};
use crate::common::stores::{checksum, repeated, s3_settings};
use crate::common::vast::Vast;
use crate::session::{MIB, at, pattern, plant};
use crate::session_moves::{Noting, rename, spied};

/// Ranges of 1 MiB, from 4 MiB on.
fn small_ranges() -> Limits {
    Limits {
        range_copy_bytes_min: 4 * MIB as u64,
        range_bytes_min: MIB as u64,
        ..Limits::default()
    }
}

/// A store that takes parts of 1 MiB, what spoils its calls, what notes them, and a session.
struct Yard {
    store: Arc<MemoryStore>,
    failing: Arc<Failing>,
    noting: Arc<Noting>,
    talk: Talk,
}

impl Yard {
    async fn open() -> Self {
        Self::of(Capabilities::all()).await
    }

    async fn of(capabilities: Capabilities) -> Self {
        let (store, failing, noting) = spied(capabilities);
        let talk = Talk::with(noting.clone(), whole_bucket(), small_ranges()).await;
        Self {
            store,
            failing,
            noting,
            talk,
        }
    }

    fn count(&self, operation: Operation) -> usize {
        self.noting.keys(operation).len()
    }

    /// How often a file was copied as a whole, begun in ranges, copied in ranges, and completed.
    fn copies(&self) -> [usize; 4] {
        [
            Operation::Copy,
            Operation::Create,
            Operation::PartCopy,
            Operation::Complete,
        ]
        .map(|operation| self.count(operation))
    }

    async fn move_file(&self) -> std::result::Result<(), StatusCode> {
        self.talk
            .client
            .rename("/f", "/g")
            .await
            .map(drop)
            .map_err(code)
    }

    /// Asserts that the file is where it was, and that nothing else is anywhere.
    async fn assert_not_moved(self, content: &[u8]) {
        let (reaper, _) = self.talk.cut().await;
        reaper.drain().await;
        assert_eq!(self.store.keys(&at("x").bucket), ["f"]);
        assert!(self.store.object(&at("f")).unwrap() == content);
        assert_eq!(self.store.unfinished_uploads(), []);
    }
}

#[tokio::test]
async fn a_large_file_is_copied_in_ranges_side_by_side() {
    let yard = Yard::open().await;
    let content = pattern(5 * MIB + 1);
    plant(&yard.store, "f", &content).await;
    let gate = Gate::closed();
    for nth in 1..=6 {
        let held = Fault::Hold(gate.clone());
        yard.failing.spoil(Operation::PartCopy, nth, held);
    }
    let all_at_once = async {
        gate.reached(6).await;
        gate.open();
    };
    let (moved, ()) = tokio::join!(yard.move_file(), all_at_once);
    assert_eq!(moved, Ok(()));
    assert_eq!(yard.copies(), [0, 1, 6, 1]);
    assert_eq!(yard.count(Operation::Tags), 1);
    assert_eq!(yard.store.keys(&at("x").bucket), ["g"]);
    assert!(yard.store.object(&at("g")).unwrap() == content);
    assert_eq!(yard.store.unfinished_uploads(), []);
}

#[tokio::test]
async fn a_smaller_file_is_copied_as_a_whole() {
    let yard = Yard::open().await;
    plant(&yard.store, "f", &pattern(4 * MIB - 1)).await;
    assert_eq!(yard.move_file().await, Ok(()));
    assert_eq!(yard.copies(), [1, 0, 0, 0]);
    assert_eq!(yard.count(Operation::Tags), 0);
}

#[tokio::test]
async fn a_directory_moves_its_large_files_in_ranges() {
    let yard = Yard::open().await;
    let content = pattern(4 * MIB);
    for file in ["d/", "d/one", "d/two", "d/small"] {
        let content = if file.len() == 5 { &content[..] } else { b"" };
        plant(&yard.store, file, content).await;
    }
    assert_eq!(rename(&yard.talk).await, Ok(()));
    assert_eq!(yard.copies(), [1, 2, 8, 2]);
    let keys = yard.store.keys(&at("x").bucket);
    assert_eq!(keys, ["e/", "e/one", "e/small", "e/two"]);
    assert!(yard.store.object(&at("e/two")).unwrap() == content);
}

#[tokio::test]
async fn where_ranges_or_tags_are_refused_a_file_is_copied_as_a_whole() {
    let content = pattern(5 * MIB);
    for (operation, nth, kind) in [
        (Operation::Tags, 1, StorageErrorKind::Denied),
        (Operation::Create, 1, StorageErrorKind::Refused),
        (Operation::PartCopy, 3, StorageErrorKind::Refused),
    ] {
        let yard = Yard::open().await;
        plant(&yard.store, "f", &content).await;
        let tags = [("class", "secret")];
        yard.store.describe(&at("f"), &tags, Properties::default());
        yard.failing.spoil(operation, nth, Fault::Fail(kind));
        assert_eq!(yard.move_file().await, Ok(()), "{operation:?}");
        let [whole, .., completed] = yard.copies();
        assert_eq!((whole, completed), (1, 0), "{operation:?}");
        let tags = yard.store.tags(&at("g")).await.unwrap();
        assert_eq!(tags, [("class".into(), "secret".into())]);
        let Yard { talk, store, .. } = yard;
        let (reaper, _) = talk.cut().await;
        reaper.drain().await;
        assert_eq!(store.keys(&at("x").bucket), ["g"]);
        assert_eq!(store.unfinished_uploads(), []);
    }
}

#[tokio::test]
async fn a_store_without_tags_copies_in_ranges_all_the_same() {
    for kind in [StorageErrorKind::Refused, StorageErrorKind::NotFound] {
        let yard = Yard::open().await;
        plant(&yard.store, "f", &pattern(5 * MIB)).await;
        yard.failing.spoil(Operation::Tags, 1, Fault::Fail(kind));
        assert_eq!(yard.move_file().await, Ok(()));
        assert_eq!(yard.copies(), [0, 1, 5, 1]);
    }
}

#[tokio::test]
async fn what_may_have_tags_that_cannot_be_read_is_not_moved_without_them() {
    let vast = Arc::new(Vast::of(1, 6 << 30));
    let failing = Arc::new(Failing::new(vast.clone()));
    let noting = Noting::over(failing.clone());
    let denied = Fault::Fail(StorageErrorKind::Denied);
    failing.spoil(Operation::Tags, 1, denied);
    let talk = Talk::start(noting.clone()).await;
    assert_eq!(rename(&talk).await, Err(StatusCode::PermissionDenied));
    for operation in [Operation::Copy, Operation::Create, Operation::Delete] {
        assert_eq!(noting.keys(operation), [""; 0]);
    }
    assert_eq!(vast.count(), (1, 0));
    // Nothing else is wrong with it.
    assert_eq!(rename(&talk).await, Ok(()));
    assert_eq!(noting.keys(Operation::PartCopy).len(), 96);
}

#[tokio::test]
async fn a_copy_in_ranges_whose_answer_is_lost_is_a_success() {
    for (operation, fault) in [
        (Operation::Complete, Fault::LandThenLose),
        (
            Operation::Complete,
            Fault::Fail(StorageErrorKind::OutcomeUnknown),
        ),
    ] {
        let yard = Yard::open().await;
        let content = pattern(5 * MIB);
        plant(&yard.store, "f", &content).await;
        yard.failing.spoil(operation, 1, fault);
        assert_eq!(yard.move_file().await, Ok(()));
        assert_eq!(yard.failing.pending(), 0);
        assert_eq!(yard.store.keys(&at("x").bucket), ["g"]);
        assert!(yard.store.object(&at("g")).unwrap() == content);
        assert_eq!(yard.store.unfinished_uploads(), []);
    }
}

#[tokio::test]
async fn a_copy_in_ranges_that_fails_anywhere_leaves_nothing() {
    let content = pattern(5 * MIB);
    for (operation, nth) in [
        (Operation::Create, 1),
        (Operation::PartCopy, 1),
        (Operation::PartCopy, 5),
        (Operation::Complete, 1),
    ] {
        let yard = Yard::open().await;
        plant(&yard.store, "f", &content).await;
        let denied = Fault::Fail(StorageErrorKind::Denied);
        yard.failing.spoil(operation, nth, denied);
        let moved = yard.move_file().await;
        assert_eq!(moved, Err(StatusCode::PermissionDenied), "{operation:?}");
        assert_eq!(yard.count(Operation::Delete), 0);
        yard.assert_not_moved(&content).await;
    }
}

#[tokio::test]
async fn a_file_that_changes_while_its_ranges_are_copied_is_not_spliced() {
    let yard = Yard::open().await;
    plant(&yard.store, "f", &pattern(5 * MIB)).await;
    let gate = Gate::closed();
    let held = Fault::Hold(gate.clone());
    yard.failing.spoil(Operation::PartCopy, 5, held);
    let newer = pattern(3 * MIB + 5);
    let meanwhile = async {
        gate.reached(1).await;
        plant(&yard.store, "f", &newer).await;
        gate.open();
    };
    let (moved, ()) = tokio::join!(yard.move_file(), meanwhile);
    assert_eq!(moved, Err(StatusCode::Failure));
    yard.assert_not_moved(&newer).await;
}

#[tokio::test]
async fn nothing_is_written_over_that_came_while_ranges_were_copied() {
    let yard = Yard::open().await;
    plant(&yard.store, "f", &pattern(5 * MIB)).await;
    let gate = Gate::closed();
    let held = Fault::Hold(gate.clone());
    yard.failing.spoil(Operation::Complete, 1, held);
    let meanwhile = async {
        gate.reached(1).await;
        plant(&yard.store, "g", b"came meanwhile").await;
        gate.open();
    };
    let (moved, ()) = tokio::join!(yard.move_file(), meanwhile);
    assert_eq!(moved, Err(StatusCode::Failure));
    assert_eq!(yard.store.object(&at("g")).unwrap(), "came meanwhile");
    assert!(yard.store.object(&at("f")).is_some());
}

#[tokio::test]
async fn what_takes_more_memory_than_there_is_for_a_user_is_not_begun() {
    // 10,000 parts, each of them 5 GiB.
    let vast = Arc::new(Vast::of(1, 48 << 40));
    let noting = Noting::over(vast.clone());
    let limits = Limits {
        session_memory_bytes_max: 8 << 20,
        ..Limits::default()
    };
    let talk = Talk::with(noting.clone(), whole_bucket(), limits).await;
    assert_eq!(rename(&talk).await, Err(StatusCode::Failure));
    assert_eq!(noting.keys(Operation::Create), [""; 0]);
    let talk = Talk::start(noting.clone()).await;
    assert_eq!(rename(&talk).await, Ok(()));
    let parts = noting.keys(Operation::PartCopy).len();
    assert!((9_000..=10_000).contains(&parts), "{parts}");
    assert_eq!(vast.count(), (0, 1));
}

/// Counts how many calls of each operation are under way together.
#[derive(Debug)]
struct Together {
    inner: SharedStore,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Layer for Together {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        if about.operation != Operation::PartCopy {
            return run(self.inner.clone()).await;
        }
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let outcome = run(self.inner.clone()).await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
    }
}

#[tokio::test]
async fn the_process_copies_only_so_many_ranges_at_once() {
    let vast = Arc::new(Vast::of(10, 2 << 30));
    let failing = Arc::new(Failing::new(vast.clone()));
    let together = Arc::new(Together {
        inner: failing.clone(),
        now: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let gate = Gate::closed();
    let most = RANGE_COPIES_MAX;
    for nth in 1..=u32::try_from(most).unwrap() {
        failing.spoil(Operation::PartCopy, nth, Fault::Hold(gate.clone()));
    }
    let talk = Talk::start(together.clone()).await;
    let full = async {
        gate.reached(most).await;
        gate.open();
    };
    let (moved, ()) = tokio::join!(rename(&talk), full);
    assert_eq!(moved, Ok(()));
    assert_eq!(vast.count(), (0, 10));
    assert_eq!(together.most.load(Ordering::Relaxed), most);
}

#[tokio::test]
async fn whoever_copies_one_file_passes_who_copies_many() {
    const AT_ONCE: usize = RANGE_COPIES_PER_OBJECT_MAX;
    let all = RANGE_COPIES_MAX;
    let vast = Arc::new(Vast::of(8, 100 << 20));
    let failing = Arc::new(Failing::new(vast.clone()));
    let gates: Vec<_> = (0..all).map(|_| Gate::closed()).collect();
    for (nth, gate) in (1..).zip(&gates) {
        failing.spoil(Operation::PartCopy, nth, Fault::Hold(gate.clone()));
    }
    let budget = Budget::new(&Limits::default());
    let user_sessions = UserSessions::new(100, Arc::clone(&budget));
    let session = async |store: SharedStore, name: &str| {
        let user = as_answered(UserConfig::new(name, whole_bucket()), store);
        let (theirs, running) = begin_in(user, small_ranges(), |environment| {
            environment.budget = Arc::clone(&budget);
            environment.user_sessions = user_sessions.clone();
        });
        Talk::over(theirs, running).await
    };
    let many = session(failing.clone(), "many").await;
    let store = MemoryStore::new(&[&Bucket::parse("b").unwrap()]);
    let store = Arc::new(store.with_part_bytes_min(MIB as u64));
    plant(&store, "f", &pattern(5 * MIB)).await;
    let one = session(store.clone(), "one").await;
    let waiting = async |expected: usize| {
        while budget.range_copies().waiting() != expected {
            tokio::task::yield_now().await;
        }
    };
    let meanwhile = async {
        // Every turn is taken, and many more are wanted.
        waiting(8 * AT_ONCE - all).await;
        let passes = async {
            waiting(8 * AT_ONCE - all + 5).await;
            gates[..5].iter().for_each(Gate::open);
        };
        let (moved, ()) = tokio::join!(one.client.rename("/f", "/g"), passes);
        gates.iter().for_each(Gate::open);
        moved.map(drop).map_err(code)
    };
    let (all, moved) = tokio::join!(rename(&many), meanwhile);
    assert_eq!((all, moved), (Ok(()), Ok(())));
    assert_eq!(vast.count(), (0, 8));
}

#[tokio::test]
async fn ranges_stop_when_their_user_is_revoked() {
    let vast = Arc::new(Vast::of(1, 100 << 30));
    let failing = Arc::new(Failing::new(vast.clone()));
    let noting = Noting::over(failing.clone());
    let user = user(whole_bucket(), noting.clone());
    let revoked = user.revoked().clone();
    let (theirs, running) = begin_in(user, Limits::default(), |_| {});
    let talk = Talk::over(theirs, running).await;
    let gate = Gate::closed();
    let at_once = u32::try_from(RANGE_COPIES_PER_OBJECT_MAX).unwrap();
    for nth in 20..20 + at_once {
        failing.spoil(Operation::PartCopy, nth, Fault::Hold(gate.clone()));
    }
    tokio::select! {
        moved = rename(&talk) => panic!("not held: {moved:?}"),
        () = gate.reached(RANGE_COPIES_PER_OBJECT_MAX) => {}
    }
    revoked.cancel();
    gate.open();
    talk.reaper.drain().await;
    let parts = noting.keys(Operation::PartCopy).len();
    assert_eq!(parts, 19 + RANGE_COPIES_PER_OBJECT_MAX);
    assert_eq!(noting.keys(Operation::Complete), [""; 0]);
    assert!(vast.with(|state| state.aborts) > 0);
    assert_eq!(vast.count(), (1, 0));
}

#[tokio::test]
async fn a_lock_that_may_not_be_set_again_is_left_to_the_bucket() {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let locked = Properties {
        cache_control: Some("no-store".into()),
        retention: Some(Retention {
            mode: "GOVERNANCE".into(),
            until,
        }),
        ..Properties::default()
    };
    for (size, operation) in [(MIB, Operation::Copy), (4 * MIB, Operation::Create)] {
        for kind in [StorageErrorKind::Denied, StorageErrorKind::Refused] {
            let yard = Yard::open().await;
            let content = pattern(size);
            plant(&yard.store, "f", &content).await;
            yard.store.describe(&at("f"), &[], locked.clone());
            // In ranges, and then as a whole, if the store may not know ranges.
            let also_whole = operation == Operation::Create && kind == StorageErrorKind::Refused;
            yard.failing.spoil(operation, 1, Fault::Fail(kind));
            if also_whole {
                yard.failing.spoil(Operation::Copy, 1, Fault::Fail(kind));
            }
            assert_eq!(yard.move_file().await, Ok(()), "{size} {kind:?}");
            assert_eq!(yard.store.keys(&at("x").bucket), ["g"]);
            assert!(yard.store.object(&at("g")).unwrap() == content);
            let moved = yard.store.head(&at("g")).await.unwrap();
            let properties = moved.properties.unwrap();
            assert_eq!(properties.retention, None);
            assert_eq!(properties.kms, None);
            assert_eq!(properties.cache_control, locked.cache_control);
            assert_eq!(yard.store.unfinished_uploads(), []);
        }
    }
    // A key that may not be used takes no lock with it.
    let yard = Yard::open().await;
    plant(&yard.store, "f", b"x").await;
    let both = Properties {
        kms: Some(Kms {
            algorithm: "aws:kms".into(),
            key_id: "one".into(),
            bucket_key: false,
        }),
        ..locked.clone()
    };
    yard.store.describe(&at("f"), &[], both);
    yard.failing
        .spoil(Operation::Copy, 1, Fault::Fail(StorageErrorKind::Denied));
    assert_eq!(yard.move_file().await, Ok(()));
    let moved = yard.store.head(&at("g")).await.unwrap();
    let properties = moved.properties.unwrap();
    assert_eq!(properties.retention, locked.retention);
    assert_eq!(properties.kms, None);
    // Without a lock a denial is one, at the first try.
    let yard = Yard::open().await;
    plant(&yard.store, "f", b"x").await;
    yard.failing
        .spoil(Operation::Copy, 1, Fault::Fail(StorageErrorKind::Denied));
    assert_eq!(yard.move_file().await, Err(StatusCode::PermissionDenied));
    assert_eq!(yard.count(Operation::Copy), 1);
    yard.assert_not_moved(b"x").await;
}

#[tokio::test]
async fn markers_of_a_directory_are_kept_as_their_bucket_keeps_them() {
    let yard = Yard::open().await;
    for key in ["d/", "d/e/", "d/e/file"] {
        plant(
            &yard.store,
            key,
            if key.ends_with('/') { b"" } else { b"x" },
        )
        .await;
        let held = Properties {
            legal_hold: true,
            ..Properties::default()
        };
        yard.store.describe(&at(key), &[], held);
    }
    assert_eq!(rename(&yard.talk).await, Ok(()));
    let held = async |key: &str| {
        let found = yard.store.head(&at(key)).await.unwrap();
        found.properties.is_some_and(|own| own.legal_hold)
    };
    let keys = yard.store.keys(&at("x").bucket);
    assert_eq!(keys.len(), 3, "{keys:?}");
    for key in keys {
        assert_eq!(held(&key).await, !key.ends_with('/'), "{key}");
    }
}

#[tokio::test]
async fn where_only_a_whole_copy_takes_a_condition_nothing_is_overwritten() {
    let yard = Yard::of(Capabilities {
        conditional_complete: false,
        ..Capabilities::all()
    })
    .await;
    plant(&yard.store, "f", &pattern(4 * MIB)).await;
    assert_eq!(yard.move_file().await, Ok(()));
    assert_eq!(yard.copies(), [1, 0, 0, 0]);
}

// ---- over S3's own protocol ----

const PART: usize = 5 * MIB;

fn in_bucket(key: &str) -> Location {
    Location {
        bucket: Bucket::parse("bucket").unwrap(),
        key: Key::parse(key).unwrap(),
    }
}

/// Puts an object with everything that can be said of one.
async fn put_described(store: &SharedStore, key: &str, content: &[u8]) -> (ObjectMeta, Tags) {
    let told = |text: &str| Some(text.into());
    let properties = Properties {
        cache_control: told("max-age=60"),
        content_disposition: told("attachment"),
        content_encoding: told("br"),
        content_language: told("de, en"),
        expires: told("Thu, 01 Dec 2044 16:00:00 GMT"),
        storage_class: told("STANDARD_IA"),
        kms: Some(Kms {
            algorithm: "aws:kms".into(),
            key_id: "arn:aws:kms:eu-west-1:123456789012:key/one".into(),
            bucket_key: true,
        }),
        retention: Some(Retention {
            mode: "GOVERNANCE".into(),
            until: SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000),
        }),
        legal_hold: true,
    };
    let object = NewObject {
        content_type: told("text/x-report"),
        metadata: vec![("mtime".into(), "1234567890".into())],
        properties: Some(properties.into()),
        tags: vec![("scan".into(), "clean & well".into())],
        ..NewObject::new(Nonce::new().unwrap())
    };
    let at = in_bucket(key);
    let upload = store.create(&at, &object).await.unwrap();
    let content = Bytes::copy_from_slice(content);
    let part = UploadPart {
        upload: &upload,
        number: PartNumber(1),
        checksum: checksum(&content),
    };
    let parts = [store.part(&at, content, part).await.unwrap()];
    let complete = CompleteUpload {
        upload: &upload,
        parts: &parts,
        checksum: None,
        condition: &Precondition::None,
    };
    store.complete(&at, complete).await.unwrap();
    let meta = store.head(&at).await.unwrap();
    assert_eq!(meta.properties, object.properties);
    (meta, object.tags)
}

#[tokio::test]
async fn whatever_belongs_to_a_file_goes_along_when_it_moves() {
    let settings = embedded_s3::Settings {
        buckets: vec!["bucket".to_owned()],
        ..embedded_s3::Settings::default()
    };
    let server = EmbeddedS3::start(settings).await.unwrap();
    let (access, secret) = (server.access_key(), server.secret_key());
    let store = S3Store::connect(s3_settings(server.endpoint(), access, secret)).await;
    let store = repeated(store.unwrap());
    let limits = Limits {
        range_copy_bytes_min: 2 * PART as u64,
        range_bytes_min: PART as u64,
        ..Limits::default()
    };
    let all = Mapping::parse("/", "/bucket", EntryType::Directory, Access::ReadWrite).unwrap();
    let home = HomeDirectory::logical(vec![all], VirtualPath::root()).unwrap();
    for (size, whole, ranges) in [(PART, 1, 0), (2 * PART + 7, 0, 3)] {
        let content = pattern(size);
        let (before, tags) = put_described(&store, "f", &content).await;
        let noting = Noting::over(store.clone());
        let talk = Talk::with(noting.clone(), home.clone(), limits.clone()).await;
        talk.client.rename("/f", "/g").await.unwrap();
        let count = |operation| noting.keys(operation).len();
        assert_eq!(count(Operation::Copy), whole);
        for operation in [Operation::Tags, Operation::Create, Operation::Complete] {
            assert_eq!(count(operation), 1 - whole, "{operation:?}");
        }
        assert_eq!(count(Operation::PartCopy), ranges);
        let after = store.head(&in_bucket("g")).await.unwrap();
        assert_eq!(after.size, before.size);
        assert_eq!(after.content_type, before.content_type);
        assert_eq!(after.metadata("mtime"), before.metadata("mtime"));
        assert_eq!(after.properties, before.properties);
        assert_eq!(after.checksum, before.checksum);
        assert!(after.nonce().is_some() && after.nonce() != before.nonce());
        assert_eq!(store.tags(&in_bucket("g")).await.unwrap(), tags);
        assert!(talk.get("/g").await.unwrap() == content);
        assert_eq!(server.keys("bucket"), ["g"]);
        assert!(server.uploads("bucket").is_empty());
        talk.client.remove("/g").await.unwrap();
    }
}
