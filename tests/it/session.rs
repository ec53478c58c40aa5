//! A session over the memory store: what a client sees, and what S3 holds afterwards.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use portcullis::idp::{UserConfig, UserLimits};
use portcullis::limits::Limits;
use portcullis::storage::failing::{Failing, Fault};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Key, Location, Operation, SharedStore, StorageErrorKind};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::auth_log::logged;
use crate::common::sftp::{Talk, as_answered, begin_as, begin_in, code, user, whole_bucket};

pub(crate) fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(&[&Bucket::parse("b").unwrap()]))
}

pub(crate) fn at(key: &str) -> Location {
    Location {
        bucket: Bucket::parse("b").unwrap(),
        key: Key::parse(key).unwrap(),
    }
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at * 31 % 251).unwrap())
        .collect()
}

pub(crate) const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn files_go_up_and_come_back() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    for length in [0, 1, 32_768, 300_000, 8 * MIB, 8 * MIB + 1, 20 * MIB] {
        let content = pattern(length);
        talk.put("/file", &content).await.unwrap();
        assert!(store.object(&at("file")).unwrap() == content, "{length}");
        assert!(talk.get("/file").await.unwrap() == content, "{length}");
        assert_eq!(talk.size("/file").await, Ok(Some(length as u64)));
    }
    assert_eq!(store.unfinished_uploads(), []);
    assert_eq!(talk.budget.taken_bytes(), (0, 0));
}

#[tokio::test]
async fn nothing_is_visible_before_close() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let handle = talk.create("/new").await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    assert_eq!(store.object(&at("new")), None);
    // The session itself sees its own upload.
    assert_eq!(talk.size("/new").await, Ok(Some(3)));
    assert_eq!(talk.names("/").await.unwrap(), ["new"]);
    talk.close(&handle).await.unwrap();
    assert_eq!(store.object(&at("new")).as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn a_cut_connection_leaves_nothing() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let handle = talk.create("/big").await.unwrap();
    for (at, piece) in pattern(18 * MIB).chunks(65_536).enumerate() {
        talk.write(&handle, (at * 65_536) as u64, piece)
            .await
            .unwrap();
    }
    let (reaper, budget) = talk.cut().await;
    reaper.drain().await;
    assert_eq!(store.object(&at("big")), None);
    assert_eq!(store.unfinished_uploads(), []);
    assert_eq!(budget.taken_bytes(), (0, 0));
}

#[tokio::test]
async fn writes_in_any_order_make_the_same_file() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let content = pattern(9 * MIB + 123);
    let handle = talk.create("/swapped").await.unwrap();
    let mut pieces: Vec<_> = content.chunks(50_000).enumerate().collect();
    for pair in pieces.chunks_mut(7) {
        pair.reverse();
    }
    for (at, piece) in pieces {
        talk.write(&handle, (at * 50_000) as u64, piece)
            .await
            .unwrap();
    }
    talk.close(&handle).await.unwrap();
    assert!(store.object(&at("swapped")).unwrap() == content);
}

#[tokio::test]
async fn a_gap_is_refused_at_close() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let handle = talk.create("/gap").await.unwrap();
    talk.write(&handle, 0, b"ab").await.unwrap();
    talk.write(&handle, 3, b"d").await.unwrap();
    assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
    assert_eq!(store.object(&at("gap")), None);
}

#[tokio::test]
async fn a_size_that_was_set_is_filled_with_zeros() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let handle = talk.create("/sparse").await.unwrap();
    talk.write(&handle, 0, b"ab").await.unwrap();
    let size = FileAttributes {
        size: Some(5),
        ..FileAttributes::empty()
    };
    talk.client.fsetstat(&handle, size).await.unwrap();
    talk.close(&handle).await.unwrap();
    assert_eq!(
        store.object(&at("sparse")).as_deref(),
        Some(&b"ab\0\0\0"[..])
    );
}

#[tokio::test]
async fn overwriting_without_truncation_keeps_the_tail() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    talk.put("/old", b"0123456789").await.unwrap();
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    let handle = talk.open("/old", flags).await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    talk.close(&handle).await.unwrap();
    assert_eq!(
        store.object(&at("old")).as_deref(),
        Some(&b"abc3456789"[..])
    );
    // With its size set, as `scp` does, the file is what was written.
    let handle = talk.open("/old", flags).await.unwrap();
    talk.write(&handle, 0, b"xyz").await.unwrap();
    let size = FileAttributes {
        size: Some(3),
        ..FileAttributes::empty()
    };
    talk.client.fsetstat(&handle, size).await.unwrap();
    talk.close(&handle).await.unwrap();
    assert_eq!(store.object(&at("old")).as_deref(), Some(&b"xyz"[..]));
}

#[tokio::test]
async fn a_second_exclusive_create_is_refused() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    let first = talk.open("/lock", flags).await.unwrap();
    assert_eq!(talk.open("/lock", flags).await, Err(StatusCode::Failure));
    talk.close(&first).await.unwrap();
    assert_eq!(talk.open("/lock", flags).await, Err(StatusCode::Failure));
    assert_eq!(store.object(&at("lock")).as_deref(), Some(&b""[..]));
}

#[tokio::test]
async fn directories_answer_as_on_a_file_system() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let mkdir = async |path: &str| {
        talk.client
            .mkdir(path, FileAttributes::empty())
            .await
            .map(drop)
            .map_err(code)
    };
    let rmdir = async |path: &str| talk.client.rmdir(path).await.map(drop).map_err(code);
    let remove = async |path: &str| talk.client.remove(path).await.map(drop).map_err(code);
    assert_eq!(mkdir("/d").await, Ok(()));
    assert_eq!(mkdir("/d").await, Err(StatusCode::Failure));
    assert_eq!(mkdir("/none/d").await, Err(StatusCode::NoSuchFile));
    assert_eq!(store.keys(&Bucket::parse("b").unwrap()), ["d/"]);
    talk.put("/d/f", b"x").await.unwrap();
    assert_eq!(mkdir("/d/f").await, Err(StatusCode::Failure));
    assert_eq!(rmdir("/d").await, Err(StatusCode::Failure));
    assert_eq!(rmdir("/d/f").await, Err(StatusCode::NoSuchFile));
    assert_eq!(remove("/d").await, Err(StatusCode::Failure));
    assert_eq!(remove("/none").await, Err(StatusCode::NoSuchFile));
    assert_eq!(talk.names("/none").await, Err(StatusCode::NoSuchFile));
    assert_eq!(talk.names("/d/f").await, Err(StatusCode::NoSuchFile));
    assert_eq!(talk.create("/none/f").await, Err(StatusCode::NoSuchFile));
    assert_eq!(talk.create("/d").await, Err(StatusCode::Failure));
    assert_eq!(
        talk.open("/d", OpenFlags::READ).await,
        Err(StatusCode::Failure)
    );
    assert_eq!(
        talk.open("/none", OpenFlags::READ).await,
        Err(StatusCode::NoSuchFile)
    );
    assert_eq!(
        talk.open("/none", OpenFlags::WRITE).await,
        Err(StatusCode::NoSuchFile)
    );
    assert_eq!(talk.names("/d").await.unwrap(), ["f"]);
    assert_eq!(remove("/d/f").await, Ok(()));
    assert_eq!(rmdir("/d").await, Ok(()));
    assert_eq!(rmdir("/d").await, Err(StatusCode::NoSuchFile));
    assert_eq!(
        store.keys(&Bucket::parse("b").unwrap()),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_directory_made_after_a_look_is_no_file() {
    let talk = Talk::start(store()).await;
    assert_eq!(talk.size("/d").await, Err(StatusCode::NoSuchFile));
    talk.client
        .mkdir("/d", FileAttributes::empty())
        .await
        .unwrap();
    assert_eq!(talk.create("/d").await, Err(StatusCode::Failure));
}

#[tokio::test]
async fn rename_moves_files_and_directories() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let rename =
        async |from: &str, to: &str| talk.client.rename(from, to).await.map(drop).map_err(code);
    talk.put("/a", b"a").await.unwrap();
    talk.put("/b", b"b").await.unwrap();
    assert_eq!(rename("/a", "/b").await, Err(StatusCode::Failure));
    assert_eq!(rename("/none", "/c").await, Err(StatusCode::NoSuchFile));
    assert_eq!(rename("/a", "/none/c").await, Err(StatusCode::NoSuchFile));
    assert_eq!(rename("/a", "/c").await, Ok(()));
    assert_eq!(talk.names("/").await.unwrap(), ["b", "c"]);
    talk.client
        .mkdir("/d", FileAttributes::empty())
        .await
        .unwrap();
    for number in 0..20 {
        talk.put(&format!("/d/{number:02}"), b"x").await.unwrap();
    }
    assert_eq!(rename("/d", "/d/e").await, Err(StatusCode::Failure));
    assert_eq!(rename("/d", "/e").await, Ok(()));
    assert_eq!(talk.names("/e").await.unwrap().len(), 20);
    assert_eq!(talk.names("/d").await, Err(StatusCode::NoSuchFile));
    // posix-rename@openssh.com replaces.
    let mut both = Vec::new();
    for path in ["/b", "/c"] {
        both.extend(u32::try_from(path.len()).unwrap().to_be_bytes());
        both.extend(path.bytes());
    }
    talk.client
        .extended("posix-rename@openssh.com", both)
        .await
        .unwrap();
    assert_eq!(store.object(&at("c")).as_deref(), Some(&b"b"[..]));
    assert_eq!(store.object(&at("b")), None);
}

/// `SeaweedFS` shows a marker to HEAD and to listings, but not to `CopyObject`.
#[tokio::test]
async fn a_directory_moves_where_its_marker_cannot_be_copied() {
    let (spoiled, store) = failing();
    let talk = Talk::start(spoiled.clone()).await;
    talk.client
        .mkdir("/d", FileAttributes::empty())
        .await
        .unwrap();
    spoiled.spoil(Operation::Copy, 1, Fault::Fail(StorageErrorKind::NotFound));
    talk.client.rename("/d", "/e").await.unwrap();
    assert_eq!(store.object(&at("e/")).as_deref(), Some(&b""[..]));
    assert_eq!(store.object(&at("d/")), None);
}

/// `SeaweedFS` shows a directory for ever whose marker was deleted before its files.
#[tokio::test]
async fn a_moved_directory_loses_its_marker_last() {
    let (spoiled, store) = failing();
    let talk = Talk::start(spoiled.clone()).await;
    talk.client
        .mkdir("/d", FileAttributes::empty())
        .await
        .unwrap();
    talk.put("/d/file", b"x").await.unwrap();
    let fault = Fault::Fail(StorageErrorKind::Refused);
    spoiled.spoil(Operation::Delete, 1, fault);
    assert!(talk.client.rename("/d", "/e").await.is_err());
    // The first to go was the file.
    assert_eq!(store.object(&at("d/file")).as_deref(), Some(&b"x"[..]));
    assert_eq!(store.object(&at("e/file")).as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn a_listing_shows_a_file_beside_a_directory_of_its_name_once() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    talk.client
        .mkdir("/x", FileAttributes::empty())
        .await
        .unwrap();
    for key in ["x/a", "x/a/b", "x/a-", "x/a.txt", "x/c/d"] {
        plant(&store, key, b"1").await;
    }
    assert_eq!(talk.names("/x").await.unwrap(), ["a", "a-", "a.txt", "c"]);
    assert_eq!(talk.get("/x/a/b").await.unwrap(), b"1");
}

#[tokio::test]
async fn a_long_listing_is_complete() {
    let store = store();
    for number in 0..2_500 {
        plant(&store, &format!("many/{number:05}"), b"").await;
    }
    let talk = Talk::start(store.clone()).await;
    let names = talk.names("/many").await.unwrap();
    assert_eq!(names.len(), 2_500);
    assert!(names.is_sorted());
}

#[tokio::test]
async fn a_changed_object_is_never_spliced() {
    let store = store();
    plant(&store, "f", &pattern(3 * MIB)).await;
    let talk = Talk::start(store.clone()).await;
    let handle = talk.open("/f", OpenFlags::READ).await.unwrap();
    let first = talk.client.read(&handle, 0, 100).await.unwrap();
    assert_eq!(first.data.len(), 100);
    plant(&store, "f", &vec![9; 3 * MIB]).await;
    let later = talk.client.read(&handle, 2 * MIB as u64, 100).await;
    assert_eq!(
        later.map(|data| data.data.len()).map_err(code),
        Err(StatusCode::Failure)
    );
}

#[tokio::test]
async fn a_lost_answer_to_a_put_that_landed_is_a_success() {
    let (failing, store) = failing();
    let talk = Talk::start(failing.clone()).await;
    failing.spoil(Operation::Put, 1, Fault::LandThenLose);
    talk.put("/once", b"abc").await.unwrap();
    assert_eq!(failing.pending(), 0);
    assert_eq!(store.object(&at("once")).as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn a_lost_answer_to_an_exclusive_put_is_not_its_own_conflict() {
    let (failing, store) = failing();
    let talk = Talk::start(failing.clone()).await;
    failing.spoil(Operation::Put, 1, Fault::LandThenLose);
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    let handle = talk.open("/once", flags).await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    assert_eq!(talk.close(&handle).await, Ok(()));
    assert_eq!(store.object(&at("once")).as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn a_lost_answer_to_a_complete_that_landed_is_a_success() {
    let (failing, store) = failing();
    let talk = Talk::start(failing.clone()).await;
    failing.spoil(Operation::Complete, 1, Fault::LandThenLose);
    let content = pattern(9 * MIB);
    talk.put("/big", &content).await.unwrap();
    assert_eq!(failing.pending(), 0);
    assert!(store.object(&at("big")).unwrap() == content);
}

#[tokio::test]
async fn a_failed_part_fails_the_close_and_leaves_nothing() {
    let (failing, store) = failing();
    let talk = Talk::start(failing.clone()).await;
    failing.spoil(Operation::Part, 2, Fault::Fail(StorageErrorKind::Denied));
    let outcome = talk.put("/big", &pattern(20 * MIB)).await;
    assert_eq!(outcome, Err(StatusCode::PermissionDenied));
    let (reaper, _) = talk.cut().await;
    reaper.drain().await;
    assert_eq!(store.object(&at("big")), None);
    assert_eq!(store.unfinished_uploads(), []);
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() {
    let (failing, store) = failing();
    let content = pattern(5 * MIB);
    plant(&store, "f", &content).await;
    let talk = Talk::start(failing.clone()).await;
    failing.spoil(Operation::Get, 2, Fault::CutBodyAfter(1_000));
    failing.spoil(Operation::Get, 4, Fault::Fail(StorageErrorKind::Throttled));
    assert!(talk.get("/f").await.unwrap() == content);
    assert_eq!(failing.pending(), 0);
}

#[tokio::test]
async fn little_memory_slows_uploads_down_and_fails_none() {
    let store = store();
    let limits = Limits {
        upload_memory_bytes_max: 16 * MIB as u64,
        ..Limits::default()
    };
    let talk = Talk::with(store.clone(), whole_bucket(), limits).await;
    let content = pattern(18 * MIB);
    let puts = (0..6).map(|number| {
        let (talk, content) = (&talk, &content);
        async move { talk.put(&format!("/{number}"), content).await }
    });
    for outcome in futures_util::future::join_all(puts).await {
        assert_eq!(outcome, Ok(()));
    }
    for number in 0..6 {
        assert!(store.object(&at(&number.to_string())).unwrap() == content);
    }
}

pub(crate) fn failing() -> (Arc<Failing>, Arc<MemoryStore>) {
    let inner = store();
    let shared: SharedStore = inner.clone();
    (Arc::new(Failing::new(shared)), inner)
}

/// Puts an object as another program would.
pub(crate) async fn plant(store: &Arc<MemoryStore>, key: &str, content: &[u8]) {
    use portcullis::storage::{
        Checksum, NewObject, Nonce, ObjectStore as _, Precondition, PutObject,
    };
    let put = PutObject {
        object: &NewObject::new(Nonce::new().unwrap()),
        checksum: Checksum::of(content),
        condition: &Precondition::None,
    };
    let payload = Bytes::copy_from_slice(content);
    store.put(&at(key), payload, put).await.unwrap();
}

#[tokio::test]
async fn nothing_begins_once_the_answer_is_over() {
    let config = UserConfig {
        expires_at: Some(SystemTime::UNIX_EPOCH),
        ..UserConfig::new("ann", whole_bucket())
    };
    let (theirs, running) = begin_as(as_answered(config, store()), Limits::default());
    let ended = tokio::time::timeout(Duration::from_secs(10), running.end()).await;
    assert!(ended.is_ok());
    drop(theirs);
}

#[tokio::test]
async fn a_session_that_its_pace_holds_notices_that_its_channel_is_gone() {
    let config = UserConfig {
        limits: UserLimits {
            bytes_per_second: Some(1),
            ..UserLimits::default()
        },
        ..UserConfig::new("ann", whole_bucket())
    };
    let (theirs, running) = begin_as(as_answered(config, store()), Limits::default());
    let client = RawSftpSession::new(theirs);
    client.init().await.unwrap();
    let create = OpenFlags::CREATE | OpenFlags::WRITE;
    let file = client.open("/file", create, FileAttributes::empty());
    let handle = file.await.unwrap().handle;
    // Worth a minute.
    client.write(handle, 0, pattern(1_000)).await.unwrap();
    running.gone.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), running.end()).await;
    assert!(ended.is_ok());
}

/// Asks for what is refused, and for something that is not there.
async fn ask_for_too_much(talk: &Talk) -> Vec<Result<(), StatusCode>> {
    let (client, no_attributes) = (&talk.client, FileAttributes::empty());
    let writing = OpenFlags::CREATE | OpenFlags::WRITE;
    let told = |answer: Result<_, _>| answer.map(drop).map_err(code);
    vec![
        talk.open("/in/a", OpenFlags::READ).await.map(drop),
        told(client.remove("/out/a").await),
        told(client.mkdir("/out/d", no_attributes).await),
        told(client.rename("/in/a", "/out/b").await),
        talk.open("/a", writing).await.map(drop),
        told(client.symlink("/in/a", "/in/b").await),
        told(client.remove("/in/none").await),
    ]
}

/// Returns operation, path, new path and reason of each line.
fn refused_operations(log: &str) -> Vec<[String; 4]> {
    log.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["fields"].clone())
        .filter(|fields| fields["message"] == "operation refused")
        .map(|fields| {
            let word = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
            [word("operation"), word("path"), word("to"), word("reason")]
        })
        .collect()
}

#[tokio::test]
async fn what_a_user_may_not_do_leaves_a_line_and_a_count() {
    let mapping = |entry, target, access| {
        Mapping::parse(entry, target, EntryType::Directory, access).unwrap()
    };
    let mappings = vec![
        mapping("/in", "/b/in", Access::Write),
        mapping("/out", "/b/out", Access::Read),
    ];
    let home = HomeDirectory::logical(mappings, VirtualPath::root()).unwrap();
    let mut metrics = None;
    let (answers, log) = logged(async {
        let (stream, running) = begin_in(user(home, store()), Limits::default(), |environment| {
            metrics = Some(Arc::clone(&environment.metrics));
        });
        ask_for_too_much(&Talk::over(stream, running).await).await
    })
    .await;
    let denied = Err(StatusCode::PermissionDenied);
    let missing = Err(StatusCode::NoSuchFile);
    let unsupported = Err(StatusCode::OpUnsupported);
    assert_eq!(
        answers,
        [
            denied,
            denied,
            denied,
            denied,
            missing,
            unsupported,
            missing
        ]
    );
    let expected = [
        ["open", "/in/a", "", "write-only"],
        ["remove", "/out/a", "", "read-only"],
        ["mkdir", "/out/d", "", "read-only"],
        ["rename", "/in/a", "/out/b", "read-only"],
        ["open", "/a", "", "virtual-directory"],
        ["symlink", "", "", "no-links"],
    ];
    assert_eq!(refused_operations(&log), expected);
    let scraped = metrics.unwrap().encode();
    for [operation, _, _, reason] in expected {
        let labels = format!("operation=\"{operation}\",reason=\"{reason}\"");
        let line = format!("portcullis_operations_refused_total{{{labels}}} 1\n");
        assert!(scraped.contains(&line), "{line}{scraped}");
    }
}
