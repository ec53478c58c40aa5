//! Modes and owners that clients give files, with `sftp.modes = "keep"`.

use std::sync::Arc;

use bytes::Bytes;
use portcullis::limits::Limits;
use portcullis::session::ListedTimes;
use portcullis::storage::failing::{Failing, Fault};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{
    Capabilities, Checksum, NewObject, Nonce, ObjectStore as _, Operation, Precondition, PutObject,
    StorageErrorKind,
};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::sftp::{Talk, begin_in, code, user, whole_bucket};
use crate::session::{MIB, at, pattern};
use crate::session_moves::{Noting, spied};

const NEW: OpenFlags = OpenFlags::WRITE
    .union(OpenFlags::CREATE)
    .union(OpenFlags::TRUNCATE);
const THEN: u32 = 1_000_000_000;

/// A store, what spoils its calls, what notes them, and a session.
struct Keeper {
    store: Arc<MemoryStore>,
    failing: Arc<Failing>,
    noting: Arc<Noting>,
    talk: Talk,
}

impl Keeper {
    async fn open() -> Self {
        Self::of(true).await
    }

    async fn of(keep_modes: bool) -> Self {
        Self::over(keep_modes, Capabilities::all()).await
    }

    async fn over(keep_modes: bool, capabilities: Capabilities) -> Self {
        let (store, failing, noting) = spied(capabilities);
        let limits = Limits {
            keep_modes,
            ..Limits::default()
        };
        let user = user(whole_bucket(), noting.clone());
        let (theirs, running) = begin_in(user, limits, |environment| {
            environment.listed_times = ListedTimes::new(true).with_modes(keep_modes);
        });
        let talk = Talk::over(theirs, running).await;
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

    async fn put(&self, attrs: FileAttributes, content: &[u8]) -> String {
        let opened = self.talk.client.open("/f", NEW, attrs).await.unwrap();
        self.talk.send(&opened.handle, 0, content).await;
        opened.handle
    }

    async fn set(&self, attrs: FileAttributes) -> Result<(), StatusCode> {
        let set = self.talk.client.setstat("/f", attrs).await;
        set.map(drop).map_err(code)
    }

    async fn stored(&self, name: &str) -> Option<String> {
        let found = self.store.head(&at("f")).await.unwrap();
        found.metadata(name).map(str::to_owned)
    }

    /// What STAT shows: permissions, user and group.
    async fn shown(&self) -> [u32; 3] {
        let attrs = self.talk.client.stat("/f").await.unwrap().attrs;
        [attrs.permissions, attrs.uid, attrs.gid].map(Option::unwrap)
    }

    /// Puts an object as another program would.
    async fn plant(&self, metadata: &[(&str, &str)]) {
        let metadata = metadata
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let object = NewObject {
            metadata: metadata.collect(),
            ..NewObject::new(Nonce::new().unwrap())
        };
        let put = PutObject {
            object: &object,
            checksum: Checksum::of(b"old"),
            condition: &Precondition::None,
        };
        let payload = Bytes::from_static(b"old");
        self.store.put(&at("f"), payload, put).await.unwrap();
    }
}

fn mode(bits: u32) -> FileAttributes {
    FileAttributes {
        permissions: Some(bits),
        ..FileAttributes::empty()
    }
}

#[tokio::test]
async fn a_mode_goes_with_its_upload() {
    let keeper = Keeper::open().await;
    let handle = keeper.put(mode(0o100_640), b"content").await;
    keeper.talk.close(&handle).await.unwrap();
    assert_eq!(keeper.stored("mode").await.as_deref(), Some("33184"));
    assert_eq!(keeper.shown().await, [0o100_640, 0, 0]);
    assert_eq!(
        (keeper.count(Operation::Put), keeper.count(Operation::Copy)),
        (1, 0)
    );
}

#[tokio::test]
async fn without_the_setting_no_mode_is_kept_or_shown() {
    let keeper = Keeper::of(false).await;
    let handle = keeper.put(mode(0o100_600), b"content").await;
    keeper
        .talk
        .client
        .fsetstat(&handle, mode(0o600))
        .await
        .unwrap();
    keeper.talk.close(&handle).await.unwrap();
    assert_eq!(keeper.set(mode(0o600)).await, Ok(()));
    assert_eq!(keeper.stored("mode").await, None);
    assert_eq!(keeper.count(Operation::Copy), 0);
    keeper
        .plant(&[("mode", "33152"), ("uid", "7"), ("gid", "8")])
        .await;
    assert_eq!(keeper.shown().await, [0o100_644, 0, 0]);
    let handle = keeper.talk.client.opendir("/").await.unwrap().handle;
    let page = keeper.talk.client.readdir(&handle).await.unwrap().files;
    let file = page.iter().find(|file| file.filename == "f").unwrap();
    assert_eq!(file.attrs.permissions, Some(0o100_644));
}

#[tokio::test]
async fn a_mode_that_comes_after_the_upload_is_kept_by_one_copy() {
    let keeper = Keeper::open().await;
    keeper.plant(&[("author", "ann"), ("mtime", "5")]).await;
    assert_eq!(keeper.set(mode(0o755)).await, Ok(()));
    assert_eq!(keeper.shown().await, [0o100_755, 0, 0]);
    assert_eq!(keeper.stored("author").await.as_deref(), Some("ann"));
    assert_eq!(keeper.stored("mtime").await.as_deref(), Some("5"));
    assert_eq!(keeper.store.object(&at("f")).unwrap(), &b"old"[..]);
    assert_eq!(keeper.count(Operation::Copy), 1);
    // It has it.
    assert_eq!(keeper.set(mode(0o100_755)).await, Ok(()));
    assert_eq!(keeper.count(Operation::Copy), 1);
    let owned = FileAttributes {
        uid: Some(7),
        gid: Some(8),
        ..FileAttributes::empty()
    };
    assert_eq!(keeper.set(owned).await, Ok(()));
    assert_eq!(keeper.shown().await, [0o100_755, 7, 8]);
    assert_eq!(keeper.stored("uid").await.as_deref(), Some("7"));
    assert_eq!(keeper.stored("gid").await.as_deref(), Some("8"));
    keeper.talk.client.rename("/f", "/g").await.unwrap();
    let attrs = keeper.talk.client.stat("/g").await.unwrap().attrs;
    assert_eq!(attrs.permissions, Some(0o100_755));
}

#[tokio::test]
async fn a_request_with_mode_and_time_makes_one_copy() {
    let keeper = Keeper::open().await;
    keeper.plant(&[]).await;
    let both = FileAttributes {
        atime: Some(THEN),
        mtime: Some(THEN),
        ..mode(0o600)
    };
    assert_eq!(keeper.set(both).await, Ok(()));
    assert_eq!(keeper.stored("mode").await.as_deref(), Some("33152"));
    assert_eq!(keeper.stored("mtime").await.as_deref(), Some("1000000000"));
    assert_eq!(keeper.count(Operation::Copy), 1);
    // A time alone costs no copy without `mtime = "copy"`.
    let time = FileAttributes {
        atime: Some(5),
        mtime: Some(5),
        ..FileAttributes::empty()
    };
    assert_eq!(keeper.set(time).await, Ok(()));
    assert_eq!(keeper.count(Operation::Copy), 1);
}

#[tokio::test]
async fn a_mode_that_comes_while_a_large_file_is_sent_is_kept_when_it_is_closed() {
    for (late, copies) in [(0o640, 0), (0o600, 1)] {
        let keeper = Keeper::open().await;
        let content = pattern(20 * MIB);
        let handle = keeper.put(mode(0o100_640), &content).await;
        assert_eq!(keeper.count(Operation::Create), 1);
        keeper
            .talk
            .client
            .fsetstat(&handle, mode(late))
            .await
            .unwrap();
        keeper.talk.close(&handle).await.unwrap();
        assert_eq!(keeper.shown().await, [0o100_000 | late, 0, 0]);
        assert_eq!(keeper.count(Operation::Copy), copies);
        assert!(keeper.store.object(&at("f")).unwrap() == content);
    }
}

#[tokio::test]
async fn a_file_that_is_there_keeps_its_mode_when_it_is_opened() {
    let keeper = Keeper::open().await;
    keeper
        .plant(&[("mode", "33152"), ("uid", "7"), ("gid", "8")])
        .await;
    let append = OpenFlags::WRITE | OpenFlags::CREATE;
    let opened = keeper.talk.client.open("/f", append, mode(0o644)).await;
    let handle = opened.unwrap().handle;
    keeper.talk.write(&handle, 3, b"er").await.unwrap();
    keeper.talk.close(&handle).await.unwrap();
    assert_eq!(keeper.store.object(&at("f")).unwrap(), &b"older"[..]);
    assert_eq!(keeper.shown().await, [0o100_600, 7, 8]);
    // Nothing is written, and nothing is copied for the mode of OPEN.
    let opened = keeper.talk.client.open("/f", append, mode(0o644)).await;
    keeper.talk.close(&opened.unwrap().handle).await.unwrap();
    assert_eq!(keeper.count(Operation::Copy), 0);
}

#[tokio::test]
async fn a_mode_is_left_where_keeping_it_would_change_more() {
    let keeper = Keeper::open().await;
    keeper.plant(&[]).await;
    let denied = Fault::Fail(StorageErrorKind::Denied);
    keeper.failing.spoil(Operation::Copy, 1, denied);
    assert_eq!(keeper.set(mode(0o600)).await, Ok(()));
    assert_eq!(keeper.shown().await, [0o100_644, 0, 0]);
    // Of directories, and of what is not there, there is none.
    keeper
        .talk
        .client
        .mkdir("/d", FileAttributes::empty())
        .await
        .unwrap();
    let set = keeper.talk.client.setstat("/d", mode(0o700)).await;
    assert!(set.is_ok());
    let missing = keeper.talk.client.setstat("/missing", mode(0o700)).await;
    assert_eq!(missing.map_err(code).unwrap_err(), StatusCode::NoSuchFile);
    assert_eq!(keeper.count(Operation::Copy), 1);
}

#[tokio::test]
async fn modes_of_other_programs_are_shown_also_in_listings() {
    let keeper = Keeper::open().await;
    for (stored, shown) in [("33261", 0o100_755), ("33", 0o100_041), ("junk", 0o100_644)] {
        keeper.plant(&[("mode", stored)]).await;
        assert_eq!(keeper.shown().await, [shown, 0, 0]);
        let handle = keeper.talk.client.opendir("/").await.unwrap().handle;
        let page = keeper.talk.client.readdir(&handle).await.unwrap().files;
        let file = page.iter().find(|file| file.filename == "f").unwrap();
        assert_eq!(file.attrs.permissions, Some(shown), "{stored}");
        keeper.talk.close(&handle).await.unwrap();
    }
}

#[tokio::test]
async fn a_time_beside_the_mode_that_a_file_has_costs_no_copy() {
    let keeper = Keeper::open().await;
    keeper.plant(&[("mode", "33152"), ("mtime", "5")]).await;
    let both = FileAttributes {
        atime: Some(THEN),
        mtime: Some(THEN),
        ..mode(0o600)
    };
    assert_eq!(keeper.set(both).await, Ok(()));
    assert_eq!(keeper.stored("mtime").await.as_deref(), Some("5"));
    assert_eq!(keeper.count(Operation::Copy), 0);
}

#[tokio::test]
async fn where_a_store_keeps_no_metadata_nothing_is_copied_for_a_mode() {
    let bare = Capabilities {
        metadata: false,
        ..Capabilities::all()
    };
    let keeper = Keeper::over(true, bare).await;
    keeper.plant(&[]).await;
    for bits in [0o600, 0o640] {
        assert_eq!(keeper.set(mode(bits)).await, Ok(()));
    }
    assert_eq!(keeper.count(Operation::Copy), 0);
}

#[tokio::test]
async fn no_file_is_stored_that_would_run_as_its_owner() {
    let keeper = Keeper::open().await;
    let handle = keeper.put(mode(0o104_755), b"content").await;
    keeper.talk.close(&handle).await.unwrap();
    assert_eq!(keeper.shown().await, [0o100_755, 0, 0]);
    assert_eq!(keeper.set(mode(0o106_711)).await, Ok(()));
    assert_eq!(keeper.stored("mode").await.as_deref(), Some("33225"));
    assert_eq!(keeper.set(mode(0o101_777)).await, Ok(()));
    assert_eq!(keeper.shown().await, [0o101_777, 0, 0]);
}
