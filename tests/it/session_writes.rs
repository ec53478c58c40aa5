//! Files while they are written: sizes that are set, bytes that are read back, names that change,
//! uploads that fail. What cannot be kept is refused; nothing is left behind.

use std::sync::Arc;
use std::time::Duration;

use portcullis::limits::Limits;
use portcullis::storage::failing::{Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Operation, StorageErrorKind};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::raw::{self, FAILURE, OK, Raw, named, on_handle};
use crate::common::sftp::{Talk, code, whole_bucket};
use crate::session::{MIB, at, failing, pattern, plant, store};

const CREATING: u32 = 0x1a;
const APPENDING: u32 = 0x0e;

/// How much one WRITE carries.
const PIECE: usize = 128 * 1024;

/// WRITEs of a file from its first byte to its last, numbered from `first`.
fn in_pieces(first: u32, handle: &[u8], content: &[u8]) -> Vec<u8> {
    let pieces = (0..).zip(content.chunks(PIECE));
    let packet = |(nth, piece)| {
        let offset = u64::from(nth) * PIECE as u64;
        raw::write(first + nth, handle, offset, piece)
    };
    pieces.flat_map(packet).collect()
}

fn size(size: u64) -> FileAttributes {
    FileAttributes {
        size: Some(size),
        ..FileAttributes::empty()
    }
}

#[tokio::test]
async fn bytes_that_were_cut_off_do_not_come_back() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    for written in [false, true] {
        plant(&store, "f", b"0123456789").await;
        let handle = talk.open("/f", OpenFlags::WRITE).await.unwrap();
        if written {
            talk.write(&handle, 0, b"ab").await.unwrap();
        }
        talk.client.fsetstat(&handle, size(3)).await.unwrap();
        talk.client.fsetstat(&handle, size(6)).await.unwrap();
        talk.close(&handle).await.unwrap();
        let expected = if written { b"ab2\0\0\0" } else { b"012\0\0\0" };
        assert_eq!(store.object(&at("f")).as_deref(), Some(&expected[..]));
    }
}

#[tokio::test]
async fn a_file_emptied_through_its_handle_is_written_anew() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    plant(&store, "f", b"0123456789").await;
    let handle = talk.open("/f", OpenFlags::WRITE).await.unwrap();
    talk.client.fsetstat(&handle, size(0)).await.unwrap();
    talk.write(&handle, 0, b"ab").await.unwrap();
    talk.close(&handle).await.unwrap();
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"ab"[..]));
}

#[tokio::test]
async fn appending_goes_on_at_the_size_that_was_set() {
    let store = store();
    let mut raw = Raw::start(store.clone()).await;
    let handle = raw.open("/f", APPENDING).await;
    let mut packets = raw::write(1, &handle, 77, b"abc");
    packets.extend(raw::set_size(2, &handle, 5));
    packets.extend(raw::write(3, &handle, 0, b"d"));
    packets.extend(raw::set_size(4, &handle, 6));
    packets.extend(on_handle(raw::CLOSE, 5, &handle));
    let answers = raw.exchange(packets, 5).await;
    assert!(answers.values().all(|answer| answer.status() == OK));
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"abc\0\0d"[..]));
}

#[tokio::test]
async fn a_size_is_set_after_the_writes_that_came_before_it() {
    let (failing, store) = failing();
    let mut raw = Raw::start(failing.clone()).await;
    let gate = Gate::closed();
    // Four parts on their way and two that fill: the next bytes have to wait.
    for nth in 1..=4 {
        failing.spoil(Operation::Part, nth, Fault::Hold(gate.clone()));
    }
    let content = pattern(56 * MIB);
    let handle = raw.open("/f", CREATING).await;
    let mut packets = in_pieces(1, &handle, &content);
    let count = content.len().div_ceil(PIECE);
    packets.extend(raw::set_size(1_000, &handle, 55 * MIB as u64));
    packets.extend(on_handle(raw::FSTAT, 1_001, &handle));
    // What lies beyond the size needs no place.
    let placed = 48 * 8 + 8;
    let answers = raw.exchange(packets, placed + 2).await;
    assert_eq!(answers[&1_000].status(), OK);
    gate.open();
    raw.send(&on_handle(raw::CLOSE, 1_002, &handle)).await;
    let waiting = count - placed + 1;
    let answers = raw.exchange(Vec::new(), waiting).await;
    assert!(answers.values().all(|answer| answer.status() == OK));
    assert!(store.object(&at("f")).unwrap() == content[..55 * MIB]);
}

#[tokio::test]
async fn bytes_that_were_not_written_over_are_read_from_the_old_file() {
    let store = store();
    plant(&store, "f", b"0123456789").await;
    let talk = Talk::start(store.clone()).await;
    let flags = OpenFlags::READ | OpenFlags::WRITE;
    let handle = talk.open("/f", flags).await.unwrap();
    assert_eq!(talk.client.read(&handle, 5, 2).await.unwrap().data, b"56");
    talk.write(&handle, 0, b"abc").await.unwrap();
    assert_eq!(talk.client.read(&handle, 1, 2).await.unwrap().data, b"bc");
    assert_eq!(talk.client.read(&handle, 5, 2).await.unwrap().data, b"56");
    assert_eq!(
        talk.client.read(&handle, 1, 5).await.unwrap().data,
        b"bc345"
    );
    let beyond = talk.client.read(&handle, 10, 2).await.map_err(code);
    assert_eq!(beyond.map(|data| data.data), Err(StatusCode::Eof));
    talk.close(&handle).await.unwrap();
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"abc3456789"[..]));
}

#[tokio::test]
async fn an_empty_write_changes_nothing() {
    let store = store();
    plant(&store, "f", b"0123456789").await;
    let talk = Talk::start(store.clone()).await;
    let handle = talk.open("/f", OpenFlags::WRITE).await.unwrap();
    assert_eq!(talk.write(&handle, 7, b"").await, Ok(()));
    assert_eq!(talk.write(&handle, u64::MAX, b"").await, Ok(()));
    talk.close(&handle).await.unwrap();
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"0123456789"[..]));
}

#[tokio::test]
async fn offsets_at_the_end_of_the_numbers_are_refused() {
    let store = store();
    plant(&store, "old", b"abc").await;
    let talk = Talk::start(store.clone()).await;
    let handle = talk.create("/f").await.unwrap();
    for offset in [u64::MAX, u64::MAX - 1, 6 << 40] {
        assert_eq!(
            talk.write(&handle, offset, b"ab").await,
            Err(StatusCode::Failure)
        );
    }
    assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
    let handle = talk.open("/old", OpenFlags::READ).await.unwrap();
    let end = talk.client.read(&handle, u64::MAX, u32::MAX).await;
    assert_eq!(
        end.map(|data| data.data).map_err(code),
        Err(StatusCode::Eof)
    );
    let handle = talk.create("/f").await.unwrap();
    talk.client.fsetstat(&handle, size(u64::MAX)).await.unwrap();
    assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
    assert_eq!(store.unfinished_uploads(), []);
}

#[tokio::test]
async fn a_write_beyond_the_largest_object_is_refused() {
    let store = store();
    let limits = Limits {
        object_bytes_max: 12 * MIB as u64,
        ..Limits::default()
    };
    let talk = Talk::with(store.clone(), whole_bucket(), limits).await;
    let content = pattern(12 * MIB);
    talk.put("/whole", &content).await.unwrap();
    assert!(store.object(&at("whole")).unwrap() == content);
    for (offset, bytes) in [(12 * MIB, &b"x"[..]), (12 * MIB - 1, b"xy")] {
        let handle = talk.create("/more").await.unwrap();
        talk.write(&handle, 0, &content[..PIECE]).await.unwrap();
        let refused = talk.write(&handle, offset as u64, bytes).await;
        assert_eq!(refused, Err(StatusCode::Failure));
        assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
    }
    let handle = talk.create("/more").await.unwrap();
    let beyond = 12 * MIB as u64 + 1;
    talk.client.fsetstat(&handle, size(beyond)).await.unwrap();
    assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
    assert!(store.object(&at("more")).is_none());
    assert_eq!(store.unfinished_uploads(), []);
}

#[tokio::test]
async fn writes_all_over_a_file_are_refused_rather_than_kept_waiting() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let handle = talk.create("/f").await.unwrap();
    let mut outcome = Ok(());
    for part in 0..20 {
        outcome = talk.write(&handle, part * 8 * MIB as u64, b"x").await;
        if outcome.is_err() {
            break;
        }
    }
    assert_eq!(outcome, Err(StatusCode::Failure));
    assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
    assert_eq!(talk.budget.taken_bytes(), (0, 0));
}

#[tokio::test]
async fn a_remove_that_is_refused_leaves_the_upload_as_it_is() {
    let (failing, store) = failing();
    plant(&store, "f", b"old").await;
    let talk = Talk::start(failing.clone()).await;
    let handle = talk.create("/f").await.unwrap();
    talk.write(&handle, 0, b"new").await.unwrap();
    failing.spoil(Operation::Delete, 1, Fault::Fail(StorageErrorKind::Denied));
    let removed = talk.client.remove("/f").await.map(drop).map_err(code);
    assert_eq!(removed, Err(StatusCode::PermissionDenied));
    talk.close(&handle).await.unwrap();
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"new"[..]));
}

#[tokio::test]
async fn an_upload_that_is_removed_before_its_beginning_was_confirmed_is_ended() {
    let (failing, store) = failing();
    let mut raw = Raw::start(failing.clone()).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Create, 1, Fault::Hold(gate.clone()));
    let handle = raw.open("/f", CREATING).await;
    let packets = in_pieces(0, &handle, &pattern(9 * MIB));
    raw.exchange(packets, 72).await;
    gate.reached(1).await;
    let removed = raw.ask(named(raw::REMOVE, 100, "/f")).await;
    assert_eq!(removed.status(), OK);
    let mut packets = on_handle(raw::CLOSE, 101, &handle);
    packets.extend(named(raw::REALPATH, 102, "/"));
    raw.send(&packets).await;
    // The session has seen CLOSE when the request behind it is answered.
    let mut seen = Vec::new();
    while !seen.contains(&102) {
        seen.push(raw.answer().await.unwrap().0);
    }
    gate.open();
    while !seen.contains(&101) {
        seen.push(raw.answer().await.unwrap().0);
    }
    raw.ask(named(raw::STAT, 103, "/")).await;
    let running = raw.running;
    drop(raw.pipe);
    running.end().await.drain().await;
    assert_eq!(store.unfinished_uploads(), []);
    assert_eq!(store.object(&at("f")), None);
}

#[tokio::test]
async fn a_commit_that_fails_after_its_session_leaves_nothing() {
    let (failing, store) = failing();
    let mut raw = Raw::start(failing.clone()).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Part, 2, Fault::Hold(gate.clone()));
    let handle = raw.open("/f", CREATING).await;
    let packets = in_pieces(0, &handle, &pattern(9 * MIB));
    raw.exchange(packets, 72).await;
    let complete = Gate::closed();
    failing.spoil(
        Operation::Complete,
        1,
        Fault::HoldThenFail(complete.clone(), StorageErrorKind::Denied),
    );
    gate.open();
    raw.send(&on_handle(raw::CLOSE, 100, &handle)).await;
    complete.reached(1).await;
    // The answer to the last question finds nobody: the session ends before its commit does.
    raw.send(&named(raw::REALPATH, 101, "/")).await;
    let running = raw.running;
    drop(raw.pipe);
    let reaper = running.end().await;
    complete.open();
    reaper.drain().await;
    assert_eq!(store.unfinished_uploads(), []);
    assert_eq!(store.object(&at("f")), None);
}

#[tokio::test]
async fn what_may_only_be_written_is_not_moved_to_where_it_can_be_read() {
    let store = store();
    plant(&store, "drop/secret", b"x").await;
    let mapping = |entry, target, access| {
        Mapping::parse(entry, target, EntryType::Directory, access).unwrap()
    };
    let home = HomeDirectory::logical(
        vec![
            mapping("/drop", "/b/drop", Access::Write),
            mapping("/mine", "/b/mine", Access::ReadWrite),
        ],
        VirtualPath::root(),
    )
    .unwrap();
    let talk = Talk::with(store.clone(), home, Limits::default()).await;
    let rename =
        async |from: &str, to: &str| talk.client.rename(from, to).await.map(drop).map_err(code);
    assert_eq!(
        rename("/drop/secret", "/mine/secret").await,
        Err(StatusCode::PermissionDenied)
    );
    assert_eq!(rename("/drop/secret", "/drop/renamed").await, Ok(()));
    assert_eq!(
        talk.open("/drop/renamed", OpenFlags::READ).await,
        Err(StatusCode::PermissionDenied)
    );
}

#[tokio::test]
async fn two_writers_of_one_file_the_last_close_wins_whole() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let one = talk.create("/f").await.unwrap();
    let other = talk.create("/f").await.unwrap();
    talk.write(&one, 0, b"one").await.unwrap();
    talk.write(&other, 0, b"other").await.unwrap();
    talk.close(&other).await.unwrap();
    talk.close(&one).await.unwrap();
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"one"[..]));
}

#[tokio::test]
async fn names_are_kept_byte_by_byte() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let long = "ü".repeat(127) + "x";
    for name in [
        "new\nline",
        " ",
        "a b",
        "\"q'",
        "%2F",
        "grün",
        "a\\b",
        &long,
    ] {
        let path = format!("/{name}");
        talk.put(&path, b"x").await.unwrap();
        assert_eq!(talk.names("/").await.unwrap(), [name], "{name:?}");
        assert_eq!(talk.get(&path).await.unwrap(), b"x", "{name:?}");
        talk.client.remove(path).await.unwrap();
    }
    // A key has 1,024 bytes; a directory's marker needs one of them for its slash.
    let deep = format!("/{}", "d".repeat(1_023));
    talk.client
        .mkdir(&deep, FileAttributes::empty())
        .await
        .unwrap();
    talk.client.rmdir(&deep).await.unwrap();
    let full = format!("/{}", "f".repeat(1_024));
    talk.put(&full, b"x").await.unwrap();
    assert_eq!(talk.get(&full).await.unwrap(), b"x");
    assert_eq!(talk.names(&full).await, Err(StatusCode::NoSuchFile));
    talk.client.remove(&full).await.unwrap();
    let made = talk.client.mkdir(&full, FileAttributes::empty()).await;
    assert_eq!(made.map(drop).map_err(code), Err(StatusCode::NoSuchFile));
    assert_eq!(
        talk.create(&format!("{full}f")).await,
        Err(StatusCode::NoSuchFile)
    );
}

#[tokio::test]
async fn bytes_written_into_a_directory_while_it_moves_are_not_lost() {
    let (failing, store) = failing();
    plant(&store, "d/f", b"old").await;
    let talk = Talk::start(failing.clone()).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Delete, 1, Fault::Hold(gate.clone()));
    let meanwhile = async {
        gate.reached(1).await;
        plant(&store, "d/f", b"new").await;
        gate.open();
    };
    let (moved, ()) = tokio::join!(talk.client.rename("/d", "/e"), meanwhile);
    assert_eq!(moved.map(drop).map_err(code), Err(StatusCode::Failure));
    assert_eq!(store.object(&at("d/f")).as_deref(), Some(&b"new"[..]));
}

#[tokio::test]
async fn a_rename_comes_to_its_end_without_its_session() {
    let (failing, store) = failing();
    plant(&store, "f", b"x").await;
    let mut raw = Raw::start(failing.clone()).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Delete, 1, Fault::Hold(gate.clone()));
    raw.send(&raw::rename(1, "/f", "/g")).await;
    gate.reached(1).await;
    raw.send(&named(raw::REALPATH, 2, "/")).await;
    let running = raw.running;
    drop(raw.pipe);
    let reaper = running.end().await;
    gate.open();
    reaper.drain().await;
    assert_eq!(store.object(&at("f")), None);
    assert_eq!(store.object(&at("g")).as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn files_that_keep_memory_from_each_other_do_not_wait_for_ever() {
    let store = store();
    let limits = Limits {
        upload_memory_bytes_max: 16 * MIB as u64,
        slot_idle_timeout: Duration::from_millis(10),
        ..Limits::default()
    };
    let mut raw = Raw::with(store.clone(), whole_bucket(), limits).await;
    let mut packets = Vec::new();
    for (number, path) in ["/a", "/b"].into_iter().enumerate() {
        let handle = raw.open(path, CREATING).await;
        let id = u32::try_from(number).unwrap() * 10;
        // The second part takes the slot that the first one needs.
        packets.push(raw::write(id, &handle, 8 * MIB as u64, b"x"));
        let mut rest = raw::write(id + 1, &handle, 0, b"x");
        rest.extend(on_handle(raw::CLOSE, id + 2, &handle));
        packets.push(rest);
    }
    packets.swap(1, 2);
    let answers = raw.exchange(packets.concat(), 6).await;
    assert_eq!(answers[&2].status(), FAILURE);
    assert_eq!(answers[&12].status(), FAILURE);
    assert_eq!(raw.running.budget.taken_bytes(), (0, 0));
    // Nor does a failed one stand in the line of those who wait.
    tokio::task::yield_now().await;
    assert_eq!(raw.running.budget.uploads().waiting(), 0);
    assert_eq!(store.object(&at("a")), None);
}

/// Sends the last bytes, CLOSE and goodbye at once, while nothing of the store moves.
async fn vanish(looks_first: bool, content: &[u8]) -> Arc<MemoryStore> {
    let (failing, store) = failing();
    let mut raw = Raw::start(failing.clone()).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Part, 1, Fault::Hold(gate.clone()));
    if looks_first {
        let there = raw.ask(named(raw::STAT, 1, "/f")).await;
        assert_eq!(there.status(), raw::NO_SUCH_FILE);
    }
    let handle = raw.open("/f", CREATING).await;
    let mut packets = in_pieces(10, &handle, content);
    packets.extend(on_handle(raw::CLOSE, 2, &handle));
    raw.send(&packets).await;
    let Raw { pipe, running } = raw;
    drop(pipe);
    // On this one thread the session has seen by then that its client is gone.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    gate.open();
    running.end().await.drain().await;
    store
}

#[tokio::test]
async fn a_close_that_came_is_kept_though_its_client_has_gone() {
    let content = pattern(9 * MIB);
    let store = vanish(true, &content).await;
    assert!(store.object(&at("f")).is_some_and(|found| found == content));
    // Where it is not known what the file replaces nothing is written.
    let store = vanish(false, &content).await;
    assert_eq!(store.object(&at("f")), None);
    assert_eq!(store.unfinished_uploads(), []);
}

/// Whatever came before the end counts, also where most of it waits for memory just then.
#[tokio::test]
async fn a_close_that_came_is_kept_though_memory_was_short() {
    let limits = Limits {
        upload_memory_bytes_max: 8 * MIB as u64,
        ..Limits::default()
    };
    let content = pattern(24 * MIB);
    for ahead in [1, 9, 12, 23] {
        let (failing, store) = failing();
        let mut raw = Raw::with(failing.clone(), whole_bucket(), limits.clone()).await;
        let gate = Gate::closed();
        failing.spoil(Operation::Part, 1, Fault::Hold(gate.clone()));
        let there = raw.ask(named(raw::STAT, 1, "/f")).await;
        assert_eq!(there.status(), raw::NO_SUCH_FILE);
        let handle = raw.open("/f", CREATING).await;
        let mut packets = in_pieces(10, &handle, &content);
        packets.extend(on_handle(raw::CLOSE, 2, &handle));
        let opens = async {
            tokio::time::sleep(Duration::from_millis(10 * ahead)).await;
            gate.open();
        };
        tokio::join!(raw.send(&packets), opens);
        let Raw { pipe, running } = raw;
        drop(pipe);
        let said = Arc::clone(&running.stderr);
        running.end().await.drain().await;
        let found = store.object(&at("f"));
        let length = found.as_ref().map(|found| found.len());
        assert!(
            found.is_some_and(|found| found == content),
            "{ahead}: {length:?} {:?}",
            said.lock()
        );
    }
}

#[tokio::test]
async fn a_connection_that_ends_behind_a_close_ends_its_session() {
    let (failing, store) = failing();
    let mut raw = Raw::start(failing.clone()).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Part, 1, Fault::Hold(gate));
    let handle = raw.open("/f", CREATING).await;
    let content = pattern(9 * MIB);
    let packets = in_pieces(10, &handle, &content);
    // Every WRITE is answered: only CLOSE waits, and says nothing to the client.
    raw.exchange(packets, 72).await;
    raw.send(&on_handle(raw::CLOSE, 2, &handle)).await;
    let Raw { pipe, running } = raw;
    running.gone.cancel();
    drop(pipe);
    running.end().await.drain().await;
    assert_eq!(store.object(&at("f")), None);
    assert_eq!(store.unfinished_uploads(), []);
}

#[tokio::test]
async fn writes_in_any_order_go_over_the_old_file() {
    let store = store();
    plant(&store, "f", b"0123456789").await;
    let mut raw = Raw::start(store.clone()).await;
    let handle = raw.open("/f", 0x02).await;
    let both = [
        raw::write(1, &handle, 4, b"bbbb"),
        raw::write(2, &handle, 0, b"aa"),
        on_handle(raw::CLOSE, 3, &handle),
    ];
    let answers = raw.exchange(both.concat(), 3).await;
    assert!(answers.values().all(|answer| answer.status() == OK));
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"aa23bbbb89"[..]));
    // Beyond its end nothing is made up.
    let handle = raw.open("/f", 0x02).await;
    let gap = [
        raw::write(4, &handle, 11, b"x"),
        on_handle(raw::CLOSE, 5, &handle),
    ];
    let answers = raw.exchange(gap.concat(), 2).await;
    assert_eq!(answers[&5].status(), FAILURE);
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"aa23bbbb89"[..]));
    // Emptied first it is another file.
    let handle = raw.open("/f", 0x02).await;
    let again = [
        raw::set_size(6, &handle, 0),
        raw::write(7, &handle, 4, b"bbbb"),
        raw::write(8, &handle, 0, b"aaaa"),
        on_handle(raw::CLOSE, 9, &handle),
    ];
    let answers = raw.exchange(again.concat(), 4).await;
    assert_eq!(answers[&9].status(), OK);
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"aaaabbbb"[..]));
}
