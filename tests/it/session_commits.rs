//! What becomes visible, and what is known of it when an answer is lost: markers and copies as
//! well as files.

use portcullis::limits::Limits;
use portcullis::storage::failing::Fault;
use portcullis::storage::{NoRandomness, Nonces, ObjectStore as _, Operation, StorageErrorKind};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::sftp::{Talk, begin_in, code, user, whole_bucket};
use crate::session::{at, failing, plant, store};
use crate::session_moves::Noting;

#[tokio::test]
async fn without_randomness_nothing_is_written() {
    let store = store();
    plant(&store, "old/file", b"kept").await;
    let user = user(whole_bucket(), store.clone());
    let (theirs, running) = begin_in(user, Limits::default(), |environment| {
        environment.nonces = Nonces::of(|_| Err(NoRandomness));
    });
    let talk = Talk::over(theirs, running).await;
    let client = &talk.client;
    assert_eq!(talk.create("/new").await, Err(StatusCode::Failure));
    assert_eq!(talk.create("/old/file").await, Err(StatusCode::Failure));
    let made = client.mkdir("/made", FileAttributes::empty()).await;
    assert_eq!(made.map_err(code).unwrap_err(), StatusCode::Failure);
    for path in ["/old/file", "/old"] {
        let moved = client.rename(path, "/moved").await;
        assert_eq!(moved.map_err(code).unwrap_err(), StatusCode::Failure);
    }
    assert_eq!(talk.get("/old/file").await.unwrap(), b"kept");
    assert_eq!(store.keys(&at("x").bucket), ["old/file"]);
    client.remove("/old/file").await.unwrap();
}

#[tokio::test]
async fn a_marker_or_a_copy_that_landed_though_its_answer_was_lost_is_a_success() {
    let (failing, store) = failing();
    let talk = Talk::start(failing.clone()).await;
    failing.spoil(Operation::Put, 1, Fault::LandThenLose);
    let made = talk.client.mkdir("/d", FileAttributes::empty());
    made.await.unwrap();
    // Of two that make the same directory one is told that it exists.
    let again = talk.client.mkdir("/d", FileAttributes::empty()).await;
    assert_eq!(again.map_err(code).unwrap_err(), StatusCode::Failure);
    plant(&store, "f", b"bytes").await;
    failing.spoil(Operation::Copy, 1, Fault::LandThenLose);
    talk.client.rename("/f", "/d/f").await.unwrap();
    failing.spoil(Operation::Copy, 1, Fault::LandThenLose);
    failing.spoil(Operation::Put, 1, Fault::LandThenLose);
    talk.client.rename("/d", "/e").await.unwrap();
    assert_eq!(failing.pending(), 0);
    assert_eq!(store.keys(&at("x").bucket), ["e/", "e/f"]);
    assert_eq!(store.object(&at("e/f")).unwrap(), "bytes");
}

#[tokio::test]
async fn a_marker_or_a_copy_that_did_not_land_is_sent_again() {
    let (failing, store) = failing();
    let talk = Talk::start(failing.clone()).await;
    let lost = Fault::Fail(StorageErrorKind::OutcomeUnknown);
    failing.spoil(Operation::Put, 1, lost.clone());
    let made = talk.client.mkdir("/d", FileAttributes::empty());
    made.await.unwrap();
    plant(&store, "f", b"bytes").await;
    failing.spoil(Operation::Copy, 1, lost.clone());
    talk.client.rename("/f", "/d/f").await.unwrap();
    failing.spoil(Operation::Copy, 1, lost.clone());
    failing.spoil(Operation::Put, 1, lost);
    talk.client.rename("/d", "/e").await.unwrap();
    assert_eq!(failing.pending(), 0);
    assert_eq!(store.keys(&at("x").bucket), ["e/", "e/f"]);
}

#[tokio::test]
async fn anothers_marker_is_not_taken_for_ours() {
    let (failing, store) = failing();
    let talk = Talk::start(failing.clone()).await;
    let lost = Fault::Fail(StorageErrorKind::OutcomeUnknown);
    failing.spoil(Operation::Put, 1, lost);
    let mkdir = async {
        let made = talk.client.mkdir("/d", FileAttributes::empty()).await;
        made.map_err(code)
    };
    let another = async {
        while failing.pending() > 0 {
            tokio::task::yield_now().await;
        }
        plant(&store, "d/", b"").await;
    };
    let (made, ()) = tokio::join!(mkdir, another);
    assert_eq!(made.unwrap_err(), StatusCode::Failure);
}

#[tokio::test]
async fn a_copy_has_a_nonce_of_its_own() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    talk.put("/f", b"bytes").await.unwrap();
    let before = store.head(&at("f")).await.unwrap();
    talk.client.rename("/f", "/g").await.unwrap();
    let after = store.head(&at("g")).await.unwrap();
    assert!(before.nonce().is_some() && after.nonce().is_some());
    assert_ne!(before.nonce(), after.nonce());
    assert_eq!(before.content_type, after.content_type);
}

#[tokio::test]
async fn a_file_mapping_is_one_object_and_nothing_beside_it() {
    let store = store();
    plant(&store, "report/secret", b"another's").await;
    let noting = Noting::over(store.clone());
    let report = Mapping::parse("/report", "/b/report", EntryType::File, Access::ReadWrite);
    let home = HomeDirectory::logical(vec![report.unwrap()], VirtualPath::root()).unwrap();
    let talk = Talk::with(noting.clone(), home, Limits::default()).await;
    let missing = Err(StatusCode::NoSuchFile);
    assert_eq!(talk.size("/report").await.map(drop), missing);
    assert_eq!(talk.get("/report").await.map(drop), missing);
    assert_eq!(
        talk.open("/report", OpenFlags::WRITE).await.map(drop),
        missing
    );
    let removed = talk.client.remove("/report").await;
    assert_eq!(removed.map(drop).map_err(code), missing);
    talk.put("/report", b"ours").await.unwrap();
    let exclusive = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    let again = talk.open("/report", exclusive).await.map(drop);
    assert_eq!(again, Err(StatusCode::Failure));
    assert_eq!(talk.get("/report").await.unwrap(), b"ours");
    talk.client.remove("/report").await.unwrap();
    assert_eq!(store.keys(&at("x").bucket), ["report/secret"]);
    assert_eq!(noting.keys(Operation::List), [""; 0]);
}
