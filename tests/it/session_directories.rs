//! Directories that S3 does not have: they stay when they empty themselves, and are found where
//! their names may not be asked about.

use std::sync::Arc;
use std::time::SystemTime;

use portcullis::limits::Limits;
use portcullis::session::Kept;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, ObjectStore as _, Operation, StorageErrorKind};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::raw::{self, Raw};
use crate::common::sftp::{Talk, begin_in, code, user, whole_bucket};
use crate::session::{at, failing, plant, store};
use crate::session_moves::Noting;

fn keys(store: &MemoryStore) -> Vec<String> {
    store.keys(&Bucket::parse("b").unwrap())
}

async fn remove(talk: &Talk, path: &str) -> Result<(), StatusCode> {
    talk.client.remove(path).await.map(drop).map_err(code)
}

async fn rmdir(talk: &Talk, path: &str) -> Result<(), StatusCode> {
    talk.client.rmdir(path).await.map(drop).map_err(code)
}

async fn mkdir(talk: &Talk, path: &str) -> Result<(), StatusCode> {
    let made = talk.client.mkdir(path, FileAttributes::empty()).await;
    made.map(drop).map_err(code)
}

/// Several sessions of one process.
async fn sessions<const COUNT: usize>(store: &Arc<Failing>, keep: bool) -> [Talk; COUNT] {
    let kept = Kept::new(keep);
    let mut talks = Vec::new();
    for _ in 0..COUNT {
        let user = user(whole_bucket(), store.clone());
        let (theirs, running) = begin_in(user, Limits::default(), |environment| {
            environment.kept = kept.clone();
        });
        talks.push(Talk::over(theirs, running).await);
    }
    match talks.try_into() {
        Ok(talks) => talks,
        Err(_) => panic!("not {COUNT} sessions"),
    }
}

#[tokio::test]
async fn a_directory_without_a_marker_stays_when_it_empties_itself() {
    let (failing, store) = failing();
    plant(&store, "orders/1.xml", b"x").await;
    let [consumer, producer] = sessions(&failing, true).await;
    assert_eq!(consumer.names("/orders").await.unwrap(), ["1.xml"]);
    assert_eq!(remove(&consumer, "/orders/1.xml").await, Ok(()));
    assert_eq!(keys(&store), ["orders/"]);
    assert_eq!(consumer.names("/orders").await, Ok(Vec::new()));
    producer.put("/orders/2.xml", b"y").await.unwrap();
    assert_eq!(consumer.get("/orders/2.xml").await.unwrap(), b"y");
    // What is moved away is gone as well.
    let moved = consumer.client.rename("/orders/2.xml", "/2.xml").await;
    assert!(moved.is_ok());
    assert_eq!(keys(&store), ["2.xml", "orders/"]);
    assert_eq!(rmdir(&consumer, "/orders").await, Ok(()));
    assert_eq!(keys(&store), ["2.xml"]);
}

#[tokio::test]
async fn a_tree_without_markers_is_removed_from_the_leaves_to_its_root() {
    let store = store();
    for key in ["t/a/b/1", "t/a/b/2", "t/a/3", "t/c/4"] {
        plant(&store, key, b"x").await;
    }
    let talk = Talk::start(store.clone()).await;
    for file in ["/t/a/b/1", "/t/a/b/2"] {
        assert_eq!(remove(&talk, file).await, Ok(()));
    }
    assert_eq!(rmdir(&talk, "/t/a/b").await, Ok(()));
    for file in ["/t/a/3", "/t/c/4"] {
        assert_eq!(remove(&talk, file).await, Ok(()));
    }
    for directory in ["/t/a", "/t/c", "/t"] {
        assert_eq!(rmdir(&talk, directory).await, Ok(()), "{directory}");
    }
    assert_eq!(keys(&store), Vec::<String>::new());
}

#[tokio::test]
async fn the_marker_is_there_before_the_last_file_goes() {
    let (failing, store) = failing();
    plant(&store, "d/last", b"x").await;
    let [talk] = sessions(&failing, true).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Delete, 1, Fault::Hold(gate.clone()));
    let look = async {
        gate.reached(1).await;
        let there = keys(&store);
        gate.open();
        there
    };
    let (removed, there) = tokio::join!(remove(&talk, "/d/last"), look);
    assert_eq!(removed, Ok(()));
    assert_eq!(there, ["d/", "d/last"]);
    // Without a marker nothing is removed: it may work later.
    plant(&store, "e/last", b"x").await;
    let fault = Fault::Fail(StorageErrorKind::Expired);
    failing.spoil(Operation::Put, 1, fault);
    assert_eq!(remove(&talk, "/e/last").await, Err(StatusCode::Failure));
    assert_eq!(keys(&store), ["d/", "e/last"]);
}

#[tokio::test]
async fn sessions_that_empty_a_directory_together_keep_it() {
    let (failing, store) = failing();
    for round in 0..4 {
        let names: Vec<_> = (0..12).map(|file| format!("d{round}/{file}")).collect();
        for name in &names {
            plant(&store, name, b"x").await;
        }
        let talks: [Talk; 3] = sessions(&failing, true).await;
        for talk in &talks {
            talk.names(&format!("/d{round}")).await.unwrap();
        }
        let removals = names.iter().enumerate().map(|(at, name)| {
            let talk = &talks[at % talks.len()];
            async move { remove(talk, &format!("/{name}")).await }
        });
        let removed = futures_util::future::join_all(removals).await;
        assert!(removed.iter().all(Result::is_ok), "{removed:?}");
        let left = keys(&store);
        assert!(left.contains(&format!("d{round}/")), "{left:?}");
    }
}

#[tokio::test]
async fn a_marker_that_is_refused_fails_no_removal_and_is_not_tried_again() {
    let (failing, store) = failing();
    for key in ["d/1", "e/1"] {
        plant(&store, key, b"x").await;
    }
    let [talk, other] = sessions(&failing, true).await;
    failing.spoil(Operation::Put, 1, Fault::Fail(StorageErrorKind::Denied));
    assert_eq!(remove(&talk, "/d/1").await, Ok(()));
    assert_eq!(remove(&talk, "/e/1").await, Ok(()));
    assert_eq!(keys(&store), Vec::<String>::new());
    // For the session that saw it the directory is there until it removes it.
    assert_eq!(talk.size("/d").await, Ok(Some(0)));
    assert_eq!(talk.size("/d/").await, Ok(Some(0)));
    assert_eq!(talk.names("/d").await, Ok(Vec::new()));
    assert_eq!(other.size("/d").await, Err(StatusCode::NoSuchFile));
    assert_eq!(rmdir(&talk, "/d").await, Ok(()));
    assert_eq!(talk.size("/d").await, Err(StatusCode::NoSuchFile));
    assert_eq!(rmdir(&talk, "/d").await, Err(StatusCode::NoSuchFile));
}

#[tokio::test]
async fn directories_vanish_where_the_operator_wants_no_markers() {
    let (failing, store) = failing();
    plant(&store, "d/1", b"x").await;
    let [talk, other] = sessions(&failing, false).await;
    assert_eq!(remove(&talk, "/d/1").await, Ok(()));
    assert_eq!(keys(&store), Vec::<String>::new());
    assert_eq!(other.names("/d").await, Err(StatusCode::NoSuchFile));
}

#[tokio::test]
async fn a_mappings_own_directory_gets_no_marker() {
    let store = store();
    plant(&store, "in/1", b"x").await;
    let mapping = Mapping::parse("/in", "/b/in", EntryType::Directory, Access::ReadWrite).unwrap();
    let home = HomeDirectory::logical(vec![mapping], VirtualPath::root()).unwrap();
    let talk = Talk::with(store.clone(), home, Limits::default()).await;
    assert_eq!(remove(&talk, "/in/1").await, Ok(()));
    assert_eq!(keys(&store), Vec::<String>::new());
    assert_eq!(talk.names("/in").await, Ok(Vec::new()));
}

/// A policy by prefix: `d/*` may be listed and used, the key `d` not be asked about.
#[tokio::test]
async fn what_may_be_listed_is_there_though_its_key_is_denied() {
    let (failing, store) = failing();
    plant(&store, "d/in", b"x").await;
    plant(&store, "f", b"four").await;
    let [talk] = sessions(&failing, true).await;
    let deny = |operation| failing.spoil(operation, 1, Fault::Fail(StorageErrorKind::Denied));
    deny(Operation::Head);
    let attrs = talk.client.stat("/d").await.unwrap().attrs;
    assert!(attrs.is_dir());
    deny(Operation::Head);
    let attrs = talk.client.stat("/f").await.unwrap().attrs;
    assert_eq!((attrs.is_dir(), attrs.size), (false, Some(4)));
    assert!(attrs.mtime.is_some_and(|time| time > 1_000_000_000));
    let denied = StatusCode::PermissionDenied;
    deny(Operation::Head);
    assert_eq!(talk.size("/none").await, Err(denied));
    // Where the key's own name may not be listed either.
    deny(Operation::Head);
    deny(Operation::List);
    assert!(talk.client.stat("/d").await.unwrap().attrs.is_dir());
    deny(Operation::Get);
    let read = talk.open("/d", OpenFlags::READ).await;
    assert_eq!(read, Err(StatusCode::Failure));
    deny(Operation::Get);
    assert_eq!(talk.open("/f", OpenFlags::READ).await, Err(denied));
    deny(Operation::Head);
    let exclusive = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    assert_eq!(talk.open("/f", exclusive).await, Err(StatusCode::Failure));
    deny(Operation::Head);
    assert_eq!(talk.create("/d").await, Err(StatusCode::Failure));
    let rename = async |from: &str, to: &str| {
        let renamed = talk.client.rename(from, to).await;
        renamed.map(drop).map_err(code)
    };
    deny(Operation::Head);
    assert_eq!(rename("/f", "/g").await, Err(denied));
    deny(Operation::Head);
    assert_eq!(rename("/d", "/e").await, Ok(()));
    deny(Operation::Head);
    assert_eq!(remove(&talk, "/f").await, Ok(()));
    assert_eq!(failing.pending(), 0);
    assert_eq!(keys(&store), ["e/in"]);
}

#[tokio::test]
async fn mkdir_of_what_is_there_says_so_before_anything_else() {
    let store = store();
    plant(&store, "out/d/1", b"x").await;
    let mapping = Mapping::parse("/out", "/b/out", EntryType::Directory, Access::Read).unwrap();
    let home = HomeDirectory::logical(vec![mapping], VirtualPath::root()).unwrap();
    let talk = Talk::with(store.clone(), home, Limits::default()).await;
    assert_eq!(mkdir(&talk, "/out").await, Err(StatusCode::Failure));
    assert_eq!(mkdir(&talk, "/out/d").await, Err(StatusCode::Failure));
    let denied = Err(StatusCode::PermissionDenied);
    assert_eq!(mkdir(&talk, "/out/e").await, denied);
    assert_eq!(keys(&store), ["out/d/1"]);
}

/// `SeaweedFS` after a race: a directory with nothing in it, of which no key is shown.
#[tokio::test]
async fn a_directory_that_only_the_store_knows_of_can_be_made_and_removed() {
    let (failing, store) = failing();
    let [talk] = sessions(&failing, true).await;
    let taken = Fault::Fail(StorageErrorKind::Precondition);
    failing.spoil(Operation::Put, 1, taken.clone());
    assert_eq!(mkdir(&talk, "/d").await, Ok(()));
    assert_eq!(keys(&store), ["d/"]);
    talk.put("/d/1", b"x").await.unwrap();
    assert_eq!(remove(&talk, "/d/1").await, Ok(()));
    assert_eq!(rmdir(&talk, "/d").await, Ok(()));
    assert_eq!(keys(&store), Vec::<String>::new());
}

#[tokio::test]
async fn a_mkdir_with_half_of_its_attributes_is_a_bad_message() {
    const BAD_MESSAGE: u32 = 5;
    let store = store();
    let mut raw = Raw::start(store.clone()).await;
    let huge = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    for attributes in [&[][..], &[0, 0, 0, 4], &huge] {
        let packet = raw::packet(14, 1, &[&raw::string("/d"), attributes]);
        assert_eq!(raw.ask(packet).await.status(), BAD_MESSAGE);
    }
    let packet = raw::packet(14, 2, &[&raw::string("/d"), &[0; 4]]);
    assert_eq!(raw.ask(packet).await.status(), raw::OK);
    assert_eq!(keys(&store), ["d/"]);
}

#[tokio::test]
async fn an_empty_directory_that_a_move_could_not_replace_is_still_there() {
    let (failing, store) = failing();
    for key in ["d/", "d/1", "e/"] {
        plant(&store, key, b"").await;
    }
    let [talk] = sessions(&failing, true).await;
    failing.spoil(Operation::Copy, 1, Fault::Fail(StorageErrorKind::Refused));
    let both = [raw::string("/d"), raw::string("/e")].concat();
    let moved = talk.client.extended("posix-rename@openssh.com", both).await;
    assert!(!matches!(
        moved,
        Ok(russh_sftp::protocol::Packet::Status(status)) if status.status_code == StatusCode::Ok
    ));
    assert_eq!(keys(&store), ["d/", "d/1", "e/"]);
    assert_eq!(store.object(&at("d/1")).as_deref(), Some(&b""[..]));
}

#[tokio::test]
async fn a_directory_shows_when_its_marker_was_written() {
    let (failing, store) = failing();
    plant(&store, "made/", b"").await;
    plant(&store, "made/below/x", b"x").await;
    let noting = Noting::over(failing.clone());
    let talk = Talk::start(noting.clone()).await;
    let written = store.head(&at("made/")).await.unwrap().modified;
    let written = written.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let written = u32::try_from(written.as_secs()).unwrap();
    let time = async |path: &str| {
        let attrs = talk.client.stat(path).await.unwrap().attrs;
        attrs.mtime.unwrap()
    };
    for path in ["/made", "/made/"] {
        assert_eq!(time(path).await, written, "{path}");
    }
    // Without a marker there is none, and the mapping's own directory is not looked for.
    for path in ["/made/below", "/made/below/", "/"] {
        assert_eq!(time(path).await, 0, "{path}");
    }
    let heads = noting.keys(Operation::Head).len();
    let lists = noting.keys(Operation::List).len();
    let handle = talk.client.opendir("/made").await.unwrap().handle;
    let shown = talk.client.fstat(&handle).await.unwrap().attrs;
    assert_eq!(shown.mtime, Some(written));
    let page = talk.client.readdir(&handle).await.unwrap().files;
    let times = page
        .iter()
        .map(|file| (&*file.filename, file.attrs.mtime.unwrap()));
    let times: Vec<_> = times.collect();
    assert_eq!(times, [(".", written), ("..", 0), ("below", 0)]);
    assert_eq!(noting.keys(Operation::Head).len(), heads);
    assert_eq!(noting.keys(Operation::List).len(), lists + 1);
    talk.close(&handle).await.unwrap();
}

#[tokio::test]
async fn where_a_name_is_denied_its_directory_shows_its_time_all_the_same() {
    let (failing, store) = failing();
    plant(&store, "made/", b"").await;
    failing.spoil(Operation::Head, 1, Fault::Fail(StorageErrorKind::Denied));
    let talk = Talk::start(failing).await;
    let attrs = talk.client.stat("/made").await.unwrap().attrs;
    assert!(attrs.mtime.unwrap() > 1_000_000_000);
}
