//! RENAME of files that are being written: programs on sshfs close a file and rename it at once, and
//! the CLOSE comes last.

use std::sync::Arc;

use portcullis::limits::Limits;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Capabilities, Operation, StorageErrorKind};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, PartialUploads, VirtualPath};
use russh_sftp::protocol::{OpenFlags, StatusCode};

use crate::auth_log::logged;
use crate::common::raw::{self, CLOSE, NO_SUCH_FILE, OK, Raw, named, on_handle, string};
use crate::common::sftp::{Talk, code, whole_bucket};
use crate::session::{MIB, at, pattern, plant, store};
use crate::session_moves::{Noting, spied};

const CREATING: u32 = 0x1a;
const EXCLUSIVE: u32 = 0x2a;
const APPENDING: u32 = 0x0e;
const READING: u32 = 0x01;

/// `posix-rename@openssh.com`, as sshfs sends it.
fn posix(id: u32, from: &str, to: &str) -> Vec<u8> {
    let name = string("posix-rename@openssh.com");
    raw::packet(raw::EXTENDED, id, &[&name, &string(from), &string(to)])
}

async fn rename(talk: &Talk, from: &str, to: &str) -> Result<(), StatusCode> {
    talk.client.rename(from, to).await.map(drop).map_err(code)
}

async fn replace(talk: &Talk, from: &str, to: &str) -> Result<(), StatusCode> {
    let both = [string(from), string(to)].concat();
    let renamed = talk.client.extended("posix-rename@openssh.com", both).await;
    match renamed.map_err(code)? {
        russh_sftp::protocol::Packet::Status(status) if status.status_code == StatusCode::Ok => {
            Ok(())
        }
        russh_sftp::protocol::Packet::Status(status) => Err(status.status_code),
        other => panic!("{other:?}"),
    }
}

fn keys(store: &MemoryStore) -> Vec<String> {
    store.keys(&at("x").bucket)
}

struct Spied {
    store: Arc<MemoryStore>,
    failing: Arc<Failing>,
    noting: Arc<Noting>,
    talk: Talk,
}

impl Spied {
    async fn start() -> Self {
        Self::with(whole_bucket()).await
    }

    async fn with(home: HomeDirectory) -> Self {
        let (store, failing, noting) = spied(Capabilities::all());
        let talk = Talk::with(noting.clone(), home, Limits::default()).await;
        Self {
            store,
            failing,
            noting,
            talk,
        }
    }

    fn called(&self, operation: Operation) -> Vec<String> {
        self.noting.keys(operation)
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_before_its_close_is_stored_under_its_new_name_alone() {
    for flags in [CREATING, EXCLUSIVE, APPENDING] {
        let (store, _, noting) = spied(Capabilities::all());
        let mut raw = Raw::start(noting.clone()).await;
        let handle = raw.open("/a.txt", flags).await;
        let mut packets = raw::write(1, &handle, 0, b"one ");
        packets.extend(raw::rename(2, "/a.txt", "/b.html"));
        // The session finds it under the new name alone, and goes on writing.
        packets.extend(named(raw::STAT, 3, "/a.txt"));
        packets.extend(named(raw::STAT, 4, "/b.html"));
        packets.extend(raw::write(5, &handle, 4, b"two"));
        let answers = raw.exchange(packets, 5).await;
        let statuses = [1, 2, 5].map(|id| answers[&id].status());
        assert_eq!(statuses, [OK, OK, OK]);
        assert_eq!(answers[&3].status(), NO_SUCH_FILE);
        assert_ne!(answers[&4].kind, 101, "{:?}", answers[&4]);
        assert!(keys(&store).is_empty(), "visible before CLOSE");
        assert_eq!(raw.ask(on_handle(CLOSE, 6, &handle)).await.status(), OK);
        assert_eq!(
            store.object(&at("b.html")).as_deref(),
            Some(&b"one two"[..])
        );
        assert_eq!(keys(&store), ["b.html"]);
        assert_eq!(noting.keys(Operation::Put), ["b.html"]);
        assert_eq!(noting.keys(Operation::Copy), [""; 0]);
        assert_eq!(noting.keys(Operation::Delete), [""; 0]);
    }
}

#[tokio::test]
async fn a_rename_before_close_costs_one_look_where_the_file_is_known_to_be_new() {
    let Spied { noting, talk, .. } = Spied::start().await;
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    let handle = talk.open("/new", flags).await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    let before = (noting.keys(Operation::Head), noting.keys(Operation::List));
    rename(&talk, "/new", "/other").await.unwrap();
    let heads = noting.keys(Operation::Head);
    assert_eq!(heads[before.0.len()..], ["other"]);
    assert_eq!(noting.keys(Operation::List).len(), before.1.len() + 1);
    talk.close(&handle).await.unwrap();
    assert_eq!(noting.keys(Operation::Head).len(), heads.len());
    assert_eq!(noting.keys(Operation::Put), ["other"]);
}

/// libfuse renames a file that a program removes while it counts as open, and removes it after its
/// CLOSE.
#[tokio::test]
async fn a_file_that_is_hidden_closed_and_removed_leaves_nothing() {
    let (store, _, noting) = spied(Capabilities::all());
    let mut raw = Raw::start(noting).await;
    for round in 0..3 {
        let handle = raw.open("/journal", CREATING).await;
        let mut packets = raw::write(1, &handle, 0, b"abc");
        packets.extend(posix(2, "/journal", "/.fuse_hidden1"));
        // All at once: each waits for the one before it.
        packets.extend(on_handle(CLOSE, 3, &handle));
        packets.extend(named(raw::REMOVE, 4, "/.fuse_hidden1"));
        packets.extend(named(raw::STAT, 5, "/journal"));
        packets.extend(named(raw::STAT, 6, "/.fuse_hidden1"));
        let answers = raw.exchange(packets, 6).await;
        let statuses = [1, 2, 3, 4, 5, 6].map(|id| answers[&id].status());
        let missing = NO_SUCH_FILE;
        assert_eq!(statuses, [OK, OK, OK, OK, missing, missing], "{round}");
        assert!(keys(&store).is_empty(), "{round}");
    }
}

#[tokio::test]
async fn a_file_that_is_removed_under_its_new_name_goes_on_and_is_stored_nowhere() {
    let Spied { store, talk, .. } = Spied::start().await;
    let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE;
    let handle = talk.open("/a", flags).await.unwrap();
    rename(&talk, "/a", "/b").await.unwrap();
    talk.client.remove("/b").await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    assert_eq!(talk.client.read(&handle, 0, 3).await.unwrap().data, b"abc");
    assert_eq!(talk.size("/b").await, Err(StatusCode::NoSuchFile));
    talk.close(&handle).await.unwrap();
    assert!(keys(&store).is_empty());
}

#[tokio::test]
async fn a_file_is_renamed_before_its_close_as_often_as_its_client_likes() {
    let Spied { store, talk, .. } = Spied::start().await;
    for names in [&["/b", "/c", "/d"][..], &["/b", "/a"], &["/b", "/a", "/b"]] {
        let handle = talk.create("/a").await.unwrap();
        talk.write(&handle, 0, b"abc").await.unwrap();
        let mut from = "/a";
        for to in names {
            rename(&talk, from, to).await.unwrap();
            assert_eq!(talk.size(to).await, Ok(Some(3)));
            assert_eq!(talk.size(from).await, Err(StatusCode::NoSuchFile));
            assert_eq!(
                talk.names("/").await.unwrap(),
                [to.trim_start_matches('/').to_owned()]
            );
            from = to;
        }
        talk.close(&handle).await.unwrap();
        assert_eq!(keys(&store), [from.trim_start_matches('/').to_owned()]);
        talk.client.remove(from).await.unwrap();
    }
}

#[tokio::test]
async fn a_rename_before_close_is_refused_as_a_rename_is() {
    let mapping = |entry, target, access| {
        Mapping::parse(entry, target, EntryType::Directory, access).unwrap()
    };
    let mappings = vec![
        mapping("/in", "/b/in", Access::ReadWrite),
        mapping("/out", "/b/out", Access::Read),
    ];
    let home = HomeDirectory::logical(mappings, VirtualPath::root()).unwrap();
    let Spied { store, talk, .. } = Spied::with(home).await;
    plant(&store, "in/there", b"old").await;
    plant(&store, "in/d/f", b"x").await;
    let handle = talk.create("/in/a").await.unwrap();
    let other = talk.create("/in/other").await.unwrap();
    talk.write(&handle, 0, b"abc").await.unwrap();
    let failure = Err(StatusCode::Failure);
    let missing = Err(StatusCode::NoSuchFile);
    let denied = Err(StatusCode::PermissionDenied);
    for (to, expected) in [
        ("/in/there", failure),
        ("/in/other", failure),
        ("/in/a", failure),
        ("/in/d", failure),
        ("/in/new/", missing),
        ("/in/none/x", missing),
        ("/out/x", denied),
        ("/x", missing),
    ] {
        assert_eq!(rename(&talk, "/in/a", to).await, expected, "{to}");
        assert_eq!(talk.size("/in/a").await, Ok(Some(3)), "{to}");
    }
    assert_eq!(replace(&talk, "/in/a", "/in/d").await, failure);
    assert_eq!(replace(&talk, "/in/a", "/in/a").await, Ok(()));
    // What it is refused changes nothing.
    talk.write(&handle, 3, b"d").await.unwrap();
    talk.close(&handle).await.unwrap();
    talk.close(&other).await.unwrap();
    assert_eq!(store.object(&at("in/a")).as_deref(), Some(&b"abcd"[..]));
    assert_eq!(keys(&store), ["in/a", "in/d/f", "in/other", "in/there"]);
}

/// Programs save by rename: the old file is there until the new one is stored.
#[tokio::test]
async fn a_file_is_renamed_over_another_one_before_its_close() {
    let Spied { store, talk, .. } = Spied::start().await;
    plant(&store, "target", b"old").await;
    let handle = talk.create("/tmp").await.unwrap();
    talk.write(&handle, 0, b"newer").await.unwrap();
    replace(&talk, "/tmp", "/target").await.unwrap();
    assert_eq!(talk.size("/target").await, Ok(Some(5)));
    assert_eq!(store.object(&at("target")).as_deref(), Some(&b"old"[..]));
    talk.close(&handle).await.unwrap();
    assert_eq!(store.object(&at("target")).as_deref(), Some(&b"newer"[..]));
    assert_eq!(keys(&store), ["target"]);
}

#[tokio::test]
async fn what_somebody_else_stores_meanwhile_is_not_written_over() {
    for planted in [false, true] {
        let Spied { store, talk, .. } = Spied::start().await;
        if planted {
            plant(&store, "target", b"old").await;
        }
        let handle = talk.create("/tmp").await.unwrap();
        talk.write(&handle, 0, b"newer").await.unwrap();
        replace(&talk, "/tmp", "/target").await.unwrap();
        plant(&store, "target", b"theirs").await;
        assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
        assert_eq!(store.object(&at("target")).as_deref(), Some(&b"theirs"[..]));
        assert_eq!(keys(&store), ["target"]);
    }
}

/// sshfs sends RENAME of the next version before the CLOSE of the one that it replaces.
#[tokio::test]
async fn a_file_whose_name_another_one_takes_is_stored_nowhere() {
    let Spied { store, talk, .. } = Spied::start().await;
    let first = talk.create("/tmp1").await.unwrap();
    talk.write(&first, 0, b"first").await.unwrap();
    replace(&talk, "/tmp1", "/target").await.unwrap();
    let second = talk.create("/tmp2").await.unwrap();
    talk.write(&second, 0, b"the second").await.unwrap();
    assert_eq!(
        rename(&talk, "/tmp2", "/target").await,
        Err(StatusCode::Failure)
    );
    replace(&talk, "/tmp2", "/target").await.unwrap();
    assert_eq!(talk.size("/target").await, Ok(Some(10)));
    talk.close(&first).await.unwrap();
    talk.close(&second).await.unwrap();
    assert_eq!(
        store.object(&at("target")).as_deref(),
        Some(&b"the second"[..])
    );
    // Also where what takes it is stored already.
    let third = talk.create("/target").await.unwrap();
    talk.write(&third, 0, b"third").await.unwrap();
    talk.put("/stored", b"fourth").await.unwrap();
    replace(&talk, "/stored", "/target").await.unwrap();
    talk.close(&third).await.unwrap();
    assert_eq!(store.object(&at("target")).as_deref(), Some(&b"fourth"[..]));
    assert_eq!(keys(&store), ["target"]);
}

#[tokio::test]
async fn what_is_stored_under_the_old_name_goes_along() {
    let Spied { store, talk, .. } = Spied::start().await;
    for flags in [
        OpenFlags::WRITE | OpenFlags::READ,
        OpenFlags::WRITE | OpenFlags::APPEND,
        OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE,
    ] {
        plant(&store, "log", b"0123456789").await;
        let handle = talk.open("/log", flags).await.unwrap();
        rename(&talk, "/log", "/log.1").await.unwrap();
        assert_eq!(talk.size("/log").await, Err(StatusCode::NoSuchFile));
        assert_eq!(
            store.object(&at("log.1")).as_deref(),
            Some(&b"0123456789"[..])
        );
        if flags.contains(OpenFlags::READ) {
            assert_eq!(talk.client.read(&handle, 2, 3).await.unwrap().data, b"234");
        }
        talk.write(&handle, 0, b"ab").await.unwrap();
        rename(&talk, "/log.1", "/log.2").await.unwrap();
        talk.close(&handle).await.unwrap();
        let expected: &[u8] = if flags.contains(OpenFlags::APPEND) {
            b"0123456789ab"
        } else if flags.contains(OpenFlags::TRUNCATE) {
            b"ab"
        } else {
            b"ab23456789"
        };
        assert_eq!(store.object(&at("log.2")).as_deref(), Some(expected));
        assert_eq!(keys(&store), ["log.2"]);
        talk.client.remove("/log.2").await.unwrap();
    }
}

#[tokio::test]
async fn an_edit_that_was_renamed_fails_where_somebody_else_changed_the_file() {
    let Spied { store, talk, .. } = Spied::start().await;
    for before in [true, false] {
        plant(&store, "f", b"0123456789").await;
        let handle = talk.open("/f", OpenFlags::WRITE).await.unwrap();
        talk.write(&handle, 0, b"ab").await.unwrap();
        if before {
            plant(&store, "f", b"theirs").await;
        }
        rename(&talk, "/f", "/g").await.unwrap();
        if !before {
            plant(&store, "g", b"theirs").await;
        }
        assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
        assert_eq!(store.object(&at("g")).as_deref(), Some(&b"theirs"[..]));
        assert_eq!(keys(&store), ["g"]);
        talk.client.remove("/g").await.unwrap();
    }
}

#[tokio::test]
async fn writes_during_the_rename_are_those_of_the_file() {
    let spied = Spied::start().await;
    let (store, talk) = (&spied.store, &spied.talk);
    let content = pattern(20 * MIB);
    plant(store, "target", b"old").await;
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    let handle = talk.open("/tmp", flags).await.unwrap();
    let gate = Gate::closed();
    spied
        .failing
        .spoil(Operation::Head, 1, Fault::Hold(gate.clone()));
    let write = async {
        gate.reached(1).await;
        talk.write(&handle, 0, &content[..100]).await.unwrap();
        gate.open();
    };
    let (renamed, ()) = tokio::join!(replace(talk, "/tmp", "/target"), write);
    renamed.unwrap();
    talk.send(&handle, 100, &content[100..]).await;
    talk.close(&handle).await.unwrap();
    assert!(store.object(&at("target")).unwrap() == content);
    assert_eq!(keys(store), ["target"]);
    // No upload began under the old name.
    let begun = spied.called(Operation::Create);
    assert!(begun.iter().all(|key| key == "target"), "{begun:?}");
    assert_eq!(spied.called(Operation::Copy), [""; 0]);
    assert_eq!(store.unfinished_uploads(), []);
}

/// S3 knows an upload by its key: the object moves when it is complete.
#[tokio::test]
async fn a_large_file_is_moved_at_its_close() {
    for (times, planted) in [(1, false), (2, false), (1, true)] {
        let spied = Spied::start().await;
        let (store, talk) = (&spied.store, &spied.talk);
        let content = pattern(20 * MIB);
        if planted {
            plant(store, "b.html", b"old").await;
        }
        let handle = talk.create("/a.txt").await.unwrap();
        talk.send(&handle, 0, &content).await;
        assert_eq!(spied.called(Operation::Create), ["a.txt"]);
        for to in ["/c", "/b.html"].into_iter().skip(2 - times) {
            let from = if to == "/b.html" && times == 2 {
                "/c"
            } else {
                "/a.txt"
            };
            replace(talk, from, to).await.unwrap();
            assert_eq!(talk.size(to).await, Ok(Some(content.len() as u64)));
            assert_eq!(talk.size(from).await, Err(StatusCode::NoSuchFile));
        }
        talk.write(&handle, content.len() as u64, b"the end")
            .await
            .unwrap();
        let time = russh_sftp::protocol::FileAttributes {
            atime: Some(1_000),
            mtime: Some(1_000),
            ..russh_sftp::protocol::FileAttributes::empty()
        };
        talk.client.fsetstat(&handle, time).await.unwrap();
        talk.close(&handle).await.unwrap();
        let stored = store.object(&at("b.html")).unwrap();
        assert!(stored[..] == [&content[..], b"the end"].concat());
        assert_eq!(keys(store), ["b.html"]);
        assert_eq!(spied.called(Operation::Complete), ["a.txt"]);
        assert_eq!(spied.called(Operation::Copy), ["b.html"]);
        assert_eq!(spied.called(Operation::Delete), ["a.txt"]);
        assert_eq!(store.unfinished_uploads(), []);
    }
}

#[tokio::test]
async fn a_large_file_that_is_renamed_back_is_completed_where_it_was_begun() {
    let spied = Spied::start().await;
    let content = pattern(20 * MIB);
    let handle = spied.talk.create("/a").await.unwrap();
    spied.talk.send(&handle, 0, &content).await;
    rename(&spied.talk, "/a", "/b").await.unwrap();
    rename(&spied.talk, "/b", "/a").await.unwrap();
    spied.talk.close(&handle).await.unwrap();
    assert!(spied.store.object(&at("a")).unwrap() == content);
    assert_eq!(spied.called(Operation::Copy), [""; 0]);
    assert_eq!(keys(&spied.store), ["a"]);
}

#[tokio::test]
async fn the_old_name_of_a_large_file_is_free_once_it_is_closed() {
    let spied = Spied::start().await;
    let (store, talk) = (&spied.store, &spied.talk);
    let content = pattern(20 * MIB);
    let handle = talk.create("/tmp").await.unwrap();
    talk.send(&handle, 0, &content).await;
    rename(talk, "/tmp", "/large").await.unwrap();
    // What is put there until then would be in the way.
    assert_eq!(talk.create("/tmp").await.err(), Some(StatusCode::Failure));
    talk.put("/other", b"x").await.unwrap();
    assert_eq!(
        rename(talk, "/other", "/tmp").await,
        Err(StatusCode::Failure)
    );
    talk.close(&handle).await.unwrap();
    talk.put("/tmp", b"y").await.unwrap();
    rename(talk, "/other", "/third").await.unwrap();
    assert!(store.object(&at("large")).unwrap() == content);
    assert_eq!(keys(store), ["large", "third", "tmp"]);
    // What another program puts there stays.
    let handle = talk.create("/tmp2").await.unwrap();
    talk.send(&handle, 0, &content).await;
    rename(talk, "/tmp2", "/lost").await.unwrap();
    plant(store, "tmp2", b"theirs").await;
    assert_eq!(talk.close(&handle).await, Err(StatusCode::Failure));
    assert_eq!(store.object(&at("tmp2")).as_deref(), Some(&b"theirs"[..]));
    assert_eq!(store.object(&at("lost")), None);
}

#[tokio::test]
async fn a_large_file_that_cannot_be_moved_stays_whole_under_its_old_name() {
    let content = pattern(20 * MIB);
    for (operation, nth) in [(Operation::Copy, 1), (Operation::Delete, 1)] {
        let spied = Spied::start().await;
        let (store, talk) = (&spied.store, &spied.talk);
        let refused = Fault::Fail(StorageErrorKind::Denied);
        spied.failing.spoil(operation, nth, refused);
        let ((), log) = logged(async {
            let handle = talk.create("/a").await.unwrap();
            talk.send(&handle, 0, &content).await;
            rename(talk, "/a", "/b").await.unwrap();
            assert!(talk.close(&handle).await.is_err());
        })
        .await;
        assert!(store.object(&at("a")).unwrap() == content);
        assert!(log.contains("stored under its old name"), "{log}");
        // Nothing of it is open any more.
        assert_eq!(talk.size("/a").await, Ok(Some(content.len() as u64)));
    }
}

#[tokio::test]
async fn a_file_goes_to_another_bucket_before_its_close() {
    let mapping = |entry, target| {
        Mapping::parse(entry, target, EntryType::Directory, Access::ReadWrite).unwrap()
    };
    let mappings = vec![mapping("/one", "/b/one"), mapping("/two", "/other/two")];
    let home = HomeDirectory::logical(mappings, VirtualPath::root()).unwrap();
    let Spied { store, talk, .. } = Spied::with(home).await;
    for length in [3, 20 * MIB] {
        let content = pattern(length);
        let handle = talk.create("/one/f").await.unwrap();
        talk.send(&handle, 0, &content).await;
        rename(&talk, "/one/f", "/two/g").await.unwrap();
        talk.close(&handle).await.unwrap();
        let mut there = at("two/g");
        there.bucket = Bucket::parse("other").unwrap();
        assert!(store.object(&there).unwrap() == content);
        assert!(keys(&store).is_empty());
        talk.client.remove("/two/g").await.unwrap();
    }
}

/// The CLOSE of what a program renamed and opens again comes next.
#[tokio::test]
async fn an_open_after_a_rename_reads_what_its_close_stores() {
    for length in [3, 20 * MIB] {
        let (store, _, noting) = spied(Capabilities::all());
        plant(&store, "target", b"old").await;
        let content = pattern(length);
        let mut raw = Raw::start(noting).await;
        let handle = raw.open("/tmp", CREATING).await;
        for (nth, piece) in content.chunks(128 * 1024).enumerate() {
            let offset = (nth * 128 * 1024) as u64;
            let wrote = raw.ask(raw::write(1, &handle, offset, piece)).await;
            assert_eq!(wrote.status(), OK);
        }
        assert_eq!(raw.ask(posix(2, "/tmp", "/target")).await.status(), OK);
        let mut packets = raw::open(3, "/target", READING);
        packets.extend(named(raw::STAT, 4, "/other"));
        packets.extend(on_handle(CLOSE, 5, &handle));
        let answers = raw.exchange(packets, 3).await;
        assert_eq!(answers[&4].status(), NO_SUCH_FILE);
        assert_eq!(answers[&5].status(), OK);
        let read = raw.ask(raw::read(6, &answers[&3].handle(), 0, 100)).await;
        assert!(content.starts_with(read.data()) && !read.data().is_empty());
    }
}

#[tokio::test]
async fn an_open_after_a_rename_does_not_wait_for_a_close_that_does_not_come() {
    let Spied { store, talk, .. } = Spied::start().await;
    plant(&store, "target", b"old").await;
    let handle = talk.create("/tmp").await.unwrap();
    talk.write(&handle, 0, b"newer").await.unwrap();
    replace(&talk, "/tmp", "/target").await.unwrap();
    // Others, and this session as before, see what is stored.
    assert_eq!(talk.get("/target").await.unwrap(), b"old");
    talk.close(&handle).await.unwrap();
    assert_eq!(talk.get("/target").await.unwrap(), b"newer");
}

#[tokio::test]
async fn directories_of_files_that_are_being_written_stay() {
    let Spied { store, talk, .. } = Spied::start().await;
    plant(&store, "d/", b"").await;
    let handle = talk.create("/d/f").await.unwrap();
    plant(&store, "d/old", b"old").await;
    assert_eq!(
        rename(&talk, "/d/old", "/d/f").await,
        Err(StatusCode::Failure)
    );
    assert_eq!(rename(&talk, "/d", "/e").await, Err(StatusCode::Failure));
    rename(&talk, "/d/f", "/f").await.unwrap();
    rename(&talk, "/d", "/e").await.unwrap();
    talk.close(&handle).await.unwrap();
    assert_eq!(keys(&store), ["e/", "e/old", "f"]);
}

#[tokio::test]
async fn a_client_that_vanishes_after_a_rename_leaves_what_the_new_mapping_keeps() {
    let mapping = |entry, kept| {
        let target = format!("/b{entry}");
        let mapping = Mapping::parse(entry, &target, EntryType::Directory, Access::ReadWrite);
        mapping.unwrap().with_partial_uploads(Some(kept))
    };
    for (from, to, kept) in [("/drop/f", "/keep/g", true), ("/keep/f", "/drop/g", false)] {
        let mappings = vec![
            mapping("/keep", PartialUploads::Keep),
            mapping("/drop", PartialUploads::Discard),
        ];
        let home = HomeDirectory::logical(mappings, VirtualPath::root()).unwrap();
        let store = store();
        let talk = Talk::with(store.clone(), home, Limits::default()).await;
        let handle = talk.create(from).await.unwrap();
        talk.write(&handle, 0, b"abc").await.unwrap();
        rename(&talk, from, to).await.unwrap();
        let (reaper, _) = talk.cut().await;
        reaper.drain().await;
        let expected: &[&str] = if kept { &["keep/g"] } else { &[] };
        assert_eq!(keys(&store), expected);
    }
}

#[tokio::test]
async fn lines_of_record_name_both_names() {
    let ((), log) = logged(async {
        let talk = Talk::start(store()).await;
        let handle = talk.create("/a").await.unwrap();
        rename(&talk, "/a", "/b").await.unwrap();
        talk.close(&handle).await.unwrap();
    })
    .await;
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["target"] == "portcullis::audit")
        .collect();
    let said = |message: &str| {
        let mut lines = lines.iter().map(|line| &line["fields"]);
        lines
            .find(|fields| fields["message"] == message)
            .unwrap()
            .clone()
    };
    let renamed = said("renamed");
    assert_eq!(
        (&renamed["path"], &renamed["to"]),
        (&"/a".into(), &"/b".into())
    );
    assert_eq!(said("uploaded")["key"], "b");
}
