//! Files that are there already: bytes are appended to them and changed in them, their sizes are
//! set, and what nobody touched stays.

use std::sync::Arc;

use portcullis::limits::Limits;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{
    Bucket, Capabilities, Checksum, NewObject, Nonce, ObjectStore as _, Operation, Precondition,
    Properties, PutObject, StorageErrorKind,
};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::raw::{self, OK, Raw, on_handle};
use crate::common::sftp::{Talk, code, whole_bucket};
use crate::session::{MIB, at, pattern, plant};
use crate::session_moves::Noting;

const APPEND: OpenFlags = OpenFlags::WRITE.union(OpenFlags::APPEND);
const EDIT: OpenFlags = OpenFlags::READ.union(OpenFlags::WRITE);
/// As OpenSSH's `reput` opens a file.
const RESUME: OpenFlags = OpenFlags::WRITE.union(OpenFlags::CREATE);

const NO_CONDITIONS: Capabilities = Capabilities {
    conditional_put: false,
    conditional_complete: false,
    ..Capabilities::all()
};

/// How much one WRITE carries.
const PIECE: usize = 128 * 1024;

/// A store, what spoils its calls, what notes them, and a session.
struct Desk {
    store: Arc<MemoryStore>,
    failing: Arc<Failing>,
    noting: Arc<Noting>,
    talk: Talk,
}

impl Desk {
    async fn open() -> Self {
        Self::of(Capabilities::all(), Limits::default()).await
    }

    async fn of(capabilities: Capabilities, limits: Limits) -> Self {
        let store = MemoryStore::new(&[&Bucket::parse("b").unwrap()]);
        let store = Arc::new(store.with_capabilities(capabilities));
        let failing = Arc::new(Failing::new(store.clone()));
        let noting = Noting::over(failing.clone());
        let talk = Talk::with(noting.clone(), whole_bucket(), limits).await;
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

    /// Opens, writes in pieces and closes.
    async fn change(
        &self,
        flags: OpenFlags,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), StatusCode> {
        let handle = self.talk.open("/f", flags).await?;
        let mut written = Ok(());
        for (nth, piece) in bytes.chunks(PIECE).enumerate() {
            let offset = offset + nth * PIECE;
            written = written.and(self.talk.write(&handle, offset as u64, piece).await);
        }
        self.talk.close(&handle).await.and(written)
    }

    async fn set_size(&self, size: u64) -> Result<(), StatusCode> {
        let set = self.talk.client.setstat("/f", sized(size)).await;
        set.map(drop).map_err(code)
    }

    fn assert_holds(&self, content: &[u8]) {
        assert!(self.store.object(&at("f")).unwrap() == content);
        assert_eq!(self.store.unfinished_uploads(), []);
        assert_eq!(self.talk.budget.taken_bytes(), (0, 0));
    }
}

fn sized(size: u64) -> FileAttributes {
    FileAttributes {
        size: Some(size),
        ..FileAttributes::empty()
    }
}

fn joined(one: &[u8], other: &[u8]) -> Vec<u8> {
    [one, other].concat()
}

#[tokio::test]
async fn a_small_file_is_appended_to_by_one_get_and_one_put() {
    let desk = Desk::open().await;
    plant(&desk.store, "f", b"0123456789").await;
    desk.change(APPEND, 0, b"abc").await.unwrap();
    desk.assert_holds(b"0123456789abc");
    desk.change(RESUME, 13, b"def").await.unwrap();
    desk.assert_holds(b"0123456789abcdef");
    assert_eq!(desk.count(Operation::Get), 2);
    assert_eq!(desk.count(Operation::Put), 2);
    assert_eq!(desk.count(Operation::Create), 0);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped_and_the_store_copies_what_is_there() {
    let desk = Desk::open().await;
    let content = pattern(150 * MIB);
    let there = 130 * MIB + 7;
    plant(&desk.store, "f", &content[..there]).await;
    desk.change(RESUME, there, &content[there..]).await.unwrap();
    desk.assert_holds(&content);
    assert_eq!(desk.count(Operation::PartCopy), 2);
    assert_eq!(desk.count(Operation::Part), 3);
    assert_eq!(desk.count(Operation::Get), 0);
}

#[tokio::test]
async fn appends_of_several_clients_that_follow_each_other_are_all_there() {
    let desk = Desk::open().await;
    let mut expected = pattern(6 * MIB);
    plant(&desk.store, "f", &expected).await;
    for round in 0..3_u8 {
        desk.change(APPEND, 0, &[round; 1_000]).await.unwrap();
        expected.extend([round; 1_000]);
    }
    desk.assert_holds(&expected);
}

#[tokio::test]
async fn a_file_is_changed_in_its_middle() {
    for length in [10, 3 * MIB, 40 * MIB] {
        let desk = Desk::open().await;
        let mut content = pattern(length);
        plant(&desk.store, "f", &content).await;
        for flags in [OpenFlags::WRITE, EDIT] {
            desk.change(flags, length / 2, b"xyz").await.unwrap();
            content[length / 2..][..3].copy_from_slice(b"xyz");
            desk.assert_holds(&content);
        }
    }
}

#[tokio::test]
async fn what_was_written_is_read_back_over_what_was_there() {
    let desk = Desk::open().await;
    let mut content = pattern(20 * MIB);
    plant(&desk.store, "f", &content).await;
    let handle = desk.talk.open("/f", EDIT).await.unwrap();
    let read = async |offset: usize, length: usize| {
        let length = u32::try_from(length).unwrap();
        let read = desk.talk.client.read(&handle, offset as u64, length).await;
        read.map(|data| data.data).map_err(code)
    };
    for offset in [0, 8 * MIB - 2, 20 * MIB - 1, 12 * MIB, 8 * MIB + 3] {
        desk.talk
            .write(&handle, offset as u64, b"abcd")
            .await
            .unwrap();
        content.resize(content.len().max(offset + 4), 0);
        content[offset..][..4].copy_from_slice(b"abcd");
        for start in [0, 1, 8 * MIB - 100, 12 * MIB - 100_000, 20 * MIB - 5_000] {
            let end = content.len().min(start + 200_000);
            let found = read(start, 200_000).await.unwrap();
            assert!(found == content[start..end], "{offset} {start}");
        }
    }
    assert_eq!(read(content.len(), 1).await, Err(StatusCode::Eof));
    // Others see the old file until then.
    assert_eq!(desk.store.object(&at("f")).unwrap().len(), 20 * MIB);
    desk.talk.close(&handle).await.unwrap();
    desk.assert_holds(&content);
}

#[tokio::test]
async fn what_was_written_changes_again_as_long_as_it_is_kept() {
    for (edit_bytes_max, kept) in [(32 * MIB as u64, true), (0, false)] {
        let limits = Limits {
            edit_bytes_max,
            ..Limits::default()
        };
        let desk = Desk::of(Capabilities::all(), limits).await;
        let mut content = pattern(20 * MIB);
        let handle = desk.talk.open("/f", EDIT | RESUME).await.unwrap();
        for (nth, piece) in content.chunks(PIECE).enumerate() {
            let offset = (nth * PIECE) as u64;
            desk.talk.write(&handle, offset, piece).await.unwrap();
        }
        let again = desk.talk.write(&handle, 5, b"xyz").await;
        content[5..8].copy_from_slice(b"xyz");
        let closed = desk.talk.close(&handle).await;
        assert_eq!((again.is_ok(), closed.is_ok()), (kept, kept));
        let stored = desk.store.object(&at("f"));
        assert!(stored.as_deref() == kept.then_some(&content[..]));
    }
}

#[tokio::test]
async fn the_first_part_waits_for_its_header_where_the_operator_wants_it() {
    for keep_first_part in [true, false] {
        let limits = Limits {
            keep_first_part,
            ..Limits::default()
        };
        let desk = Desk::of(Capabilities::all(), limits).await;
        let mut content = pattern(30 * MIB);
        let handle = desk.talk.create("/f").await.unwrap();
        for (nth, piece) in content.chunks(PIECE).enumerate() {
            let offset = (nth * PIECE) as u64;
            desk.talk.write(&handle, offset, piece).await.unwrap();
        }
        let header = desk.talk.write(&handle, 0, b"header").await;
        content[..6].copy_from_slice(b"header");
        let closed = desk.talk.close(&handle).await;
        let kept = (header.is_ok(), closed.is_ok());
        assert_eq!(kept, (keep_first_part, keep_first_part));
        let stored = desk.store.object(&at("f"));
        assert!(stored.as_deref() == keep_first_part.then_some(&content[..]));
    }
}

#[tokio::test]
async fn a_size_is_set_by_name() {
    let desk = Desk::open().await;
    for size in [0, 3, 10, 17, 9 * MIB, 20 * MIB, 21 * MIB] {
        for length in [10, 20 * MIB] {
            let mut content = pattern(length);
            plant(&desk.store, "f", &content).await;
            assert_eq!(desk.set_size(size as u64).await, Ok(()));
            content.resize(size, 0);
            desk.assert_holds(&content);
        }
    }
    let missing = desk.talk.client.setstat("/no", sized(1)).await;
    assert_eq!(missing.map_err(code).unwrap_err(), StatusCode::NoSuchFile);
    assert_eq!(desk.store.object(&at("no")), None);
}

#[tokio::test]
async fn a_size_that_is_set_by_name_is_that_of_the_file_that_is_written() {
    let desk = Desk::open().await;
    let handle = desk.talk.create("/f").await.unwrap();
    desk.talk.write(&handle, 0, b"0123456789").await.unwrap();
    assert_eq!(desk.set_size(4).await, Ok(()));
    assert_eq!(desk.talk.size("/f").await, Ok(Some(4)));
    desk.talk.close(&handle).await.unwrap();
    desk.assert_holds(b"0123");
}

#[tokio::test]
async fn a_size_that_is_set_by_name_takes_a_handle_while_it_is_set() {
    let limits = Limits {
        handles_per_session_max: 1,
        ..Limits::default()
    };
    let desk = Desk::of(Capabilities::all(), limits).await;
    plant(&desk.store, "f", b"0123456789").await;
    let other = desk.talk.create("/other").await.unwrap();
    assert_eq!(desk.set_size(4).await, Err(StatusCode::Failure));
    desk.talk.close(&other).await.unwrap();
    for size in [4, 3, 2] {
        assert_eq!(desk.set_size(size).await, Ok(()));
    }
    desk.assert_holds(b"01");
}

#[tokio::test]
async fn requests_on_a_name_wait_until_its_size_is_set() {
    let store = crate::session::store();
    plant(&store, "f", b"0123456789").await;
    let mut raw = Raw::start(store.clone()).await;
    let size_flag = 1_u32.to_be_bytes();
    let resize = |id: u32, size: u64| {
        let fields: [&[u8]; 3] = [&raw::string("/f"), &size_flag, &size.to_be_bytes()];
        raw::packet(9, id, &fields)
    };
    let packets = [
        resize(1, 4),
        resize(2, 6),
        raw::rename(3, "/f", "/g"),
        raw::named(raw::STAT, 4, "/g"),
    ];
    let answers = raw.exchange(packets.concat(), 4).await;
    for id in 1..=3 {
        assert_eq!(answers[&id].status(), OK, "{id}");
    }
    assert_eq!(store.object(&at("g")).as_deref(), Some(&b"0123\0\0"[..]));
    assert_eq!(store.object(&at("f")), None);
}

#[tokio::test]
async fn a_file_that_was_changed_meanwhile_is_not_written_over() {
    for capabilities in [Capabilities::all(), NO_CONDITIONS] {
        for length in [10, 20 * MIB] {
            for gone in [false, true] {
                let desk = Desk::of(capabilities, Limits::default()).await;
                plant(&desk.store, "f", &pattern(length)).await;
                let handle = desk.talk.open("/f", APPEND).await.unwrap();
                desk.talk.write(&handle, 0, b"more").await.unwrap();
                if gone {
                    desk.store.remove(&at("f"));
                } else {
                    plant(&desk.store, "f", b"theirs").await;
                }
                let closed = desk.talk.close(&handle).await;
                assert_eq!(closed, Err(StatusCode::Failure), "{length} {gone}");
                let Desk { talk, store, .. } = desk;
                let (reaper, _) = talk.cut().await;
                reaper.drain().await;
                let left = (!gone).then_some(&b"theirs"[..]);
                assert_eq!(store.object(&at("f")).as_deref(), left);
                assert_eq!(store.unfinished_uploads(), []);
            }
        }
    }
}

#[tokio::test]
async fn whoever_closes_second_hears_that_the_file_was_changed() {
    let desk = Desk::open().await;
    plant(&desk.store, "f", b"0123456789").await;
    let one = desk.talk.open("/f", APPEND).await.unwrap();
    let other = desk.talk.open("/f", APPEND).await.unwrap();
    desk.talk.write(&one, 0, b"one").await.unwrap();
    desk.talk.write(&other, 0, b"other").await.unwrap();
    assert_eq!(desk.talk.close(&one).await, Ok(()));
    assert_eq!(desk.talk.close(&other).await, Err(StatusCode::Failure));
    desk.assert_holds(b"0123456789one");
}

#[tokio::test]
async fn who_may_not_look_learns_from_a_listing_what_is_there() {
    for (is_theirs, is_listed, outcome) in [
        (false, true, Ok(())),
        (true, true, Err(StatusCode::Failure)),
        (false, false, Err(StatusCode::PermissionDenied)),
    ] {
        let desk = Desk::of(NO_CONDITIONS, Limits::default()).await;
        plant(&desk.store, "f", b"0123456789").await;
        let handle = desk.talk.open("/f", APPEND).await.unwrap();
        desk.talk.write(&handle, 0, b"more").await.unwrap();
        let mut expected = b"0123456789more".to_vec();
        let gate = Gate::closed();
        let fault = Fault::HoldThenFail(gate.clone(), StorageErrorKind::Denied);
        desk.failing.spoil(Operation::Head, 1, fault);
        if !is_listed {
            let fault = Fault::Fail(StorageErrorKind::Denied);
            desk.failing.spoil(Operation::List, 1, fault);
            expected.truncate(10);
        }
        let meanwhile = async {
            gate.reached(1).await;
            if is_theirs {
                plant(&desk.store, "f", b"theirs").await;
                expected = b"theirs".to_vec();
            }
            gate.open();
        };
        let (closed, ()) = tokio::join!(desk.talk.close(&handle), meanwhile);
        assert_eq!(closed, outcome);
        assert_eq!(desk.failing.pending(), 0);
        desk.assert_holds(&expected);
    }
}

#[tokio::test]
async fn of_two_who_append_to_a_file_that_was_not_there_the_second_hears_of_the_first() {
    for capabilities in [Capabilities::all(), NO_CONDITIONS] {
        for length in [10, 9 * MIB] {
            let desk = Desk::of(capabilities, Limits::default()).await;
            let content = pattern(length);
            let one = desk.talk.open("/f", APPEND | RESUME).await.unwrap();
            let other = desk.talk.open("/f", APPEND | RESUME).await.unwrap();
            for handle in [&one, &other] {
                for piece in content.chunks(PIECE) {
                    desk.talk.write(handle, 0, piece).await.unwrap();
                }
            }
            assert_eq!(desk.talk.close(&one).await, Ok(()));
            assert_eq!(desk.talk.close(&other).await, Err(StatusCode::Failure));
            let Desk { talk, store, .. } = desk;
            let (reaper, _) = talk.cut().await;
            reaper.drain().await;
            assert!(store.object(&at("f")).unwrap() == content);
            assert_eq!(store.unfinished_uploads(), []);
        }
    }
}

#[tokio::test]
async fn a_second_exclusive_file_is_refused_however_large_it_is() {
    let create = RESUME | OpenFlags::EXCLUDE;
    let small_only = Capabilities {
        conditional_complete: false,
        ..Capabilities::all()
    };
    for capabilities in [Capabilities::all(), small_only] {
        let desk = Desk::of(capabilities, Limits::default()).await;
        // Whose names are known for a while.
        assert_eq!(desk.talk.names("/").await.unwrap(), Vec::<String>::new());
        let content = pattern(9 * MIB);
        let other = desk.talk.open("/f", create).await.unwrap();
        for (nth, piece) in content.chunks(PIECE).enumerate() {
            let offset = (nth * PIECE) as u64;
            desk.talk.write(&other, offset, piece).await.unwrap();
        }
        plant(&desk.store, "f", b"theirs").await;
        assert_eq!(desk.talk.close(&other).await, Err(StatusCode::Failure));
        let Desk { talk, store, .. } = desk;
        let (reaper, _) = talk.cut().await;
        reaper.drain().await;
        assert_eq!(store.object(&at("f")).as_deref(), Some(&b"theirs"[..]));
        assert_eq!(store.unfinished_uploads(), []);
    }
    let desk = Desk::of(small_only, Limits::default()).await;
    assert_eq!(desk.talk.names("/").await.unwrap(), Vec::<String>::new());
    plant(&desk.store, "f", b"theirs").await;
    let opened = desk.talk.open("/f", create).await;
    assert_eq!(opened, Err(StatusCode::Failure));
}

/// Puts an object with everything that may belong to one.
async fn plant_described(store: &MemoryStore, content: &[u8]) -> Properties {
    let object = NewObject {
        content_type: Some("text/x-ours".into()),
        metadata: vec![("owner".into(), "ann".into()), ("mtime".into(), "7".into())],
        ..NewObject::new(Nonce::new().unwrap())
    };
    let put = PutObject {
        object: &object,
        checksum: Checksum::of(content),
        condition: &Precondition::None,
    };
    let payload = bytes::Bytes::copy_from_slice(content);
    store.put(&at("f"), payload, put).await.unwrap();
    let properties = Properties {
        cache_control: Some("no-store".into()),
        storage_class: Some("STANDARD_IA".into()),
        legal_hold: true,
        ..Properties::default()
    };
    store.describe(&at("f"), &[("class", "secret")], properties.clone());
    properties
}

#[tokio::test]
async fn what_belongs_to_a_file_stays_when_it_is_changed() {
    for length in [10, 20 * MIB] {
        let desk = Desk::open().await;
        let properties = plant_described(&desk.store, &pattern(length)).await;
        desk.change(APPEND, 0, b"more").await.unwrap();
        let meta = desk.store.head(&at("f")).await.unwrap();
        assert_eq!(meta.content_type.as_deref(), Some("text/x-ours"));
        assert_eq!(meta.metadata("owner"), Some("ann"));
        assert_eq!(meta.metadata("mtime"), None, "it was another time");
        assert_eq!(meta.properties.as_deref(), Some(&properties));
        let tags = desk.store.tags(&at("f")).await.unwrap();
        assert_eq!(tags, [("class".into(), "secret".into())]);
    }
}

#[tokio::test]
async fn what_may_not_be_read_or_set_again_is_left_and_the_file_is_changed() {
    let denied = || Fault::Fail(StorageErrorKind::Denied);
    for (length, commit) in [(10, Operation::Put), (20 * MIB, Operation::Create)] {
        for (operation, times, tagged) in [
            (Operation::Tags, 1, false),
            (commit, 2, true),
            (commit, 3, false),
        ] {
            let desk = Desk::open().await;
            let mut content = pattern(length);
            plant_described(&desk.store, &content).await;
            for nth in 1..=times {
                desk.failing.spoil(operation, nth, denied());
            }
            desk.change(APPEND, 0, b"more").await.unwrap();
            content.extend(b"more");
            desk.assert_holds(&content);
            let tags = desk.store.tags(&at("f")).await.unwrap();
            assert_eq!(tags.len(), usize::from(tagged), "{operation:?} {times}");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_a_change_leaves_the_old_file() {
    for (length, more) in [(10, 3), (20 * MIB, 9 * MIB)] {
        let desk = Desk::open().await;
        let content = pattern(length);
        plant(&desk.store, "f", &content).await;
        let handle = desk.talk.open("/f", RESUME).await.unwrap();
        for (nth, piece) in pattern(more).chunks(PIECE).enumerate() {
            let offset = (length + nth * PIECE) as u64;
            desk.talk.write(&handle, offset, piece).await.unwrap();
        }
        let Desk { talk, store, .. } = desk;
        let (reaper, budget) = talk.cut().await;
        reaper.drain().await;
        assert!(store.object(&at("f")).unwrap() == content);
        assert_eq!(store.unfinished_uploads(), []);
        assert_eq!(budget.taken_bytes(), (0, 0));
    }
}

#[tokio::test]
async fn an_append_whose_close_came_is_kept_though_its_client_has_gone() {
    let store = crate::session::store();
    let content = pattern(20 * MIB);
    plant(&store, "f", &content).await;
    let mut raw = Raw::start(store.clone()).await;
    let handle = raw.open("/f", 0x0a).await;
    let packets = [
        raw::write(1, &handle, content.len() as u64, b"more"),
        on_handle(raw::CLOSE, 2, &handle),
    ];
    raw.send(&packets.concat()).await;
    let Raw { pipe, running } = raw;
    drop(pipe);
    running.end().await.drain().await;
    assert!(store.object(&at("f")).unwrap() == joined(&content, b"more"));
    assert_eq!(store.unfinished_uploads(), []);
}

/// Whatever fails: a client that saw success finds the new file, one that did not the old one.
#[tokio::test]
async fn a_change_of_which_any_call_fails_is_exact_or_leaves_the_old_file() {
    let faults: [fn() -> Fault; 5] = [
        || Fault::Fail(StorageErrorKind::Refused),
        || Fault::Fail(StorageErrorKind::Denied),
        || Fault::Fail(StorageErrorKind::Precondition),
        || Fault::Fail(StorageErrorKind::OutcomeUnknown),
        || Fault::LandThenLose,
    ];
    let small = [
        Operation::Head,
        Operation::Get,
        Operation::Tags,
        Operation::Put,
    ];
    let large = [
        Operation::Head,
        Operation::Get,
        Operation::Tags,
        Operation::Create,
        Operation::Part,
        Operation::PartCopy,
        Operation::Complete,
    ];
    let contents = pattern(12 * MIB);
    for (length, offset, operations) in [
        (10, 10, &small[..]),
        (6 * MIB, 6 * MIB, &large),
        (12 * MIB, 7 * MIB, &large),
    ] {
        let content = &contents[..length];
        for (operation, fault) in operations.iter().flat_map(|operation| {
            let faults = faults.iter();
            faults.map(move |fault| (*operation, fault))
        }) {
            // An upload that nobody heard of is left to the bucket's lifecycle rule.
            let orphans = operation == Operation::Create && matches!(fault(), Fault::LandThenLose);
            let limits = Limits {
                part_bytes: 5 * MIB as u64,
                ..Limits::default()
            };
            let desk = Desk::of(Capabilities::all(), limits).await;
            plant(&desk.store, "f", content).await;
            desk.failing.spoil(operation, 1, fault());
            let changed = desk.change(RESUME, offset, b"more").await;
            let mut expected = joined(&content[..offset], b"more");
            expected.extend(content.get(offset + 4..).unwrap_or_default());
            let Desk { talk, store, .. } = desk;
            let (reaper, _) = talk.cut().await;
            reaper.drain().await;
            let expected = if changed.is_ok() { &expected } else { content };
            let stored = store.object(&at("f")).unwrap();
            assert!(stored == expected, "{operation:?} {offset} {changed:?}");
            let left = store.unfinished_uploads().len();
            assert!(left == 0 || orphans, "{operation:?} {offset}");
        }
    }
}
