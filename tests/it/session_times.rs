//! Modification times that clients give files which are there already, with `sftp.mtime = "copy"`.

use std::sync::Arc;

use bytes::Bytes;
use portcullis::limits::Limits;
use portcullis::session::ListedTimes;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{
    Capabilities, Checksum, NewObject, Nonce, ObjectStore as _, Operation, Precondition,
    Properties, PutObject, StorageErrorKind,
};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::sftp::{Talk, begin_in, code, user, whole_bucket};
use crate::session::{MIB, at, pattern, plant};
use crate::session_moves::{Noting, spied};

const THEN: u32 = 1_000_000_000;

/// A store that takes parts of 1 MiB, what spoils its calls, what notes them, and a session.
struct Clerk {
    store: Arc<MemoryStore>,
    failing: Arc<Failing>,
    noting: Arc<Noting>,
    talk: Talk,
}

impl Clerk {
    async fn open() -> Self {
        Self::of(Capabilities::all(), true).await
    }

    async fn of(capabilities: Capabilities, keep_times: bool) -> Self {
        let (store, failing, noting) = spied(capabilities);
        let limits = Limits {
            range_copy_bytes_min: 4 * MIB as u64,
            range_bytes_min: MIB as u64,
            keep_times,
            ..Limits::default()
        };
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

    async fn touch(&self, path: &str, time: u32) -> Result<(), StatusCode> {
        let set = self.talk.client.setstat(path, timed(time)).await;
        set.map(drop).map_err(code)
    }

    /// The time that STAT shows.
    async fn time(&self, path: &str) -> u32 {
        let attrs = self.talk.client.stat(path).await.unwrap().attrs;
        attrs.mtime.unwrap()
    }

    async fn assert_kept(&self, content: &[u8]) {
        assert_eq!(self.time("/f").await, THEN);
        assert!(self.store.object(&at("f")).unwrap() == content);
        assert_eq!(self.store.unfinished_uploads(), []);
    }

    /// Puts down an object that much belongs to.
    async fn plant_rich(&self, class: &str) -> NewObject {
        let object = NewObject {
            content_type: Some("text/x-poem".into()),
            metadata: vec![("author".into(), "ann".into())],
            properties: Some(
                Properties {
                    cache_control: Some("no-store".into()),
                    storage_class: Some(class.into()),
                    legal_hold: true,
                    ..Properties::default()
                }
                .into(),
            ),
            tags: vec![("project".into(), "x".into())],
            ..NewObject::new(Nonce::new().unwrap())
        };
        let put = PutObject {
            object: &object,
            checksum: Checksum::of(b"old"),
            condition: &Precondition::None,
        };
        let payload = Bytes::from_static(b"old");
        self.store.put(&at("f"), payload, put).await.unwrap();
        object
    }
}

pub(crate) fn timed(time: u32) -> FileAttributes {
    FileAttributes {
        atime: Some(time),
        mtime: Some(time),
        ..FileAttributes::empty()
    }
}

#[tokio::test]
async fn a_time_that_comes_after_the_upload_is_kept_by_one_copy() {
    let clerk = Clerk::open().await;
    clerk.talk.put("/f", b"content").await.unwrap();
    clerk.touch("/f", THEN).await.unwrap();
    clerk.assert_kept(b"content").await;
    assert_eq!(clerk.count(Operation::Copy), 1);
    // What it has already costs no copy.
    clerk.touch("/f", THEN).await.unwrap();
    assert_eq!(clerk.count(Operation::Copy), 1);
    clerk.touch("/f", THEN + 1).await.unwrap();
    assert_eq!(clerk.time("/f").await, THEN + 1);
    clerk.talk.client.rename("/f", "/g").await.unwrap();
    assert_eq!(clerk.time("/g").await, THEN + 1);
}

#[tokio::test]
async fn an_empty_file_has_its_time_as_well() {
    let clerk = Clerk::open().await;
    clerk.talk.put("/f", b"").await.unwrap();
    clerk.touch("/f", THEN).await.unwrap();
    clerk.assert_kept(b"").await;
}

#[tokio::test]
async fn without_the_setting_nothing_is_copied_and_the_client_hears_ok() {
    let clerk = Clerk::of(Capabilities::all(), false).await;
    clerk.talk.put("/f", b"content").await.unwrap();
    clerk.touch("/f", THEN).await.unwrap();
    assert_ne!(clerk.time("/f").await, THEN);
    assert_eq!(clerk.count(Operation::Copy), 0);
    // A time that is not going to be kept is not shown before CLOSE either.
    let handle = clerk.talk.create("/g").await.unwrap();
    clerk.talk.send(&handle, 0, &pattern(17 * MIB)).await;
    clerk.touch("/g", THEN).await.unwrap();
    assert_ne!(clerk.time("/g").await, THEN);
    clerk.talk.close(&handle).await.unwrap();
    assert_ne!(clerk.time("/g").await, THEN);
}

#[tokio::test]
async fn a_time_that_comes_while_a_large_file_is_sent_is_kept_when_it_is_closed() {
    for by_name in [false, true] {
        let clerk = Clerk::open().await;
        let content = pattern(17 * MIB);
        let handle = clerk.talk.create("/f").await.unwrap();
        clerk.talk.send(&handle, 0, &content).await;
        if by_name {
            clerk.touch("/f", THEN).await.unwrap();
        } else {
            let set = clerk.talk.client.fsetstat(&handle, timed(THEN)).await;
            set.unwrap();
        }
        // It is shown before CLOSE as well: sshfs looks at a file before it closes it.
        assert_eq!(clerk.time("/f").await, THEN);
        clerk.talk.close(&handle).await.unwrap();
        clerk.assert_kept(&content).await;
        // Its size makes it a copy in ranges.
        assert_eq!(clerk.count(Operation::Copy), 0);
        assert_eq!(clerk.count(Operation::PartCopy), 17);
    }
}

#[tokio::test]
async fn a_time_for_an_open_file_goes_with_its_upload_where_that_has_not_begun() {
    for keep_times in [false, true] {
        let clerk = Clerk::of(Capabilities::all(), keep_times).await;
        let handle = clerk.talk.create("/f").await.unwrap();
        clerk.talk.write(&handle, 0, b"content").await.unwrap();
        clerk.touch("/f", THEN).await.unwrap();
        clerk.talk.close(&handle).await.unwrap();
        clerk.assert_kept(b"content").await;
        assert_eq!(clerk.count(Operation::Copy), 0);
    }
}

#[tokio::test]
async fn a_time_that_comes_by_a_handle_that_writes_nothing_is_kept_at_its_close() {
    for keep_times in [true, false] {
        let clerk = Clerk::of(Capabilities::all(), keep_times).await;
        clerk.talk.put("/f", b"content").await.unwrap();
        let handle = clerk.talk.open("/f", OpenFlags::WRITE).await.unwrap();
        let set = clerk.talk.client.fsetstat(&handle, timed(THEN)).await;
        set.unwrap();
        clerk.talk.close(&handle).await.unwrap();
        assert_eq!(clerk.count(Operation::Copy), usize::from(keep_times));
        assert_eq!(clerk.time("/f").await == THEN, keep_times);
    }
}

#[tokio::test]
async fn a_time_beside_the_size_that_a_file_has_is_kept() {
    let clerk = Clerk::open().await;
    clerk.talk.put("/f", b"content").await.unwrap();
    let both = FileAttributes {
        size: Some(7),
        ..timed(THEN)
    };
    clerk.talk.client.setstat("/f", both).await.unwrap();
    clerk.assert_kept(b"content").await;
}

#[tokio::test]
async fn everything_else_of_the_object_stays() {
    let clerk = Clerk::open().await;
    let before = clerk.plant_rich("STANDARD_IA").await;
    clerk.touch("/f", THEN).await.unwrap();
    clerk.assert_kept(b"old").await;
    let after = clerk.store.head(&at("f")).await.unwrap();
    assert_eq!(after.content_type, before.content_type);
    assert_eq!(after.properties, before.properties);
    assert_eq!(after.metadata("author"), Some("ann"));
    assert_eq!(clerk.store.tags(&at("f")).await.unwrap(), before.tags);
}

#[tokio::test]
async fn a_time_is_left_where_keeping_it_would_change_more() {
    // An archived object is read by nobody.
    let clerk = Clerk::open().await;
    clerk.plant_rich("DEEP_ARCHIVE").await;
    clerk.touch("/f", THEN).await.unwrap();
    assert_eq!(clerk.count(Operation::Copy), 0);
    // What may not be copied with its class and lock is not copied without them.
    for kind in [StorageErrorKind::Denied, StorageErrorKind::Refused] {
        let clerk = Clerk::open().await;
        clerk.plant_rich("STANDARD_IA").await;
        clerk.failing.spoil(Operation::Copy, 1, Fault::Fail(kind));
        clerk.touch("/f", THEN).await.unwrap();
        assert_ne!(clerk.time("/f").await, THEN);
        assert_eq!(clerk.count(Operation::Copy), 1);
    }
}

#[tokio::test]
async fn what_somebody_else_put_meanwhile_is_never_replaced() {
    let without = Capabilities {
        conditional_put: false,
        conditional_complete: false,
        conditional_copy: false,
        ..Capabilities::all()
    };
    for (capabilities, bytes) in [
        (Capabilities::all(), MIB),
        (Capabilities::all(), 5 * MIB),
        (without, MIB),
    ] {
        let clerk = Clerk::of(capabilities, true).await;
        plant(&clerk.store, "f", &pattern(bytes)).await;
        let (gate, operation) = (Gate::closed(), Operation::Head);
        // The HEAD that comes after the one that found the object, or the first call of the copy.
        let operation = if bytes > 4 * MIB {
            Operation::Complete
        } else if capabilities.conditional_copy {
            Operation::Copy
        } else {
            operation
        };
        let nth = if operation == Operation::Head { 2 } else { 1 };
        let held = Fault::Hold(gate.clone());
        clerk.failing.spoil(operation, nth, held);
        let replaced = async {
            gate.reached(1).await;
            plant(&clerk.store, "f", b"somebody else's").await;
            gate.open();
        };
        let (touched, ()) = tokio::join!(clerk.touch("/f", THEN), replaced);
        assert_eq!(touched, Err(StatusCode::Failure), "{operation:?}");
        assert!(clerk.store.object(&at("f")).unwrap() == b"somebody else's"[..]);
        assert_eq!(clerk.failing.pending(), 0);
    }
}

#[tokio::test]
async fn a_lost_answer_is_looked_into() {
    for bytes in [MIB, 5 * MIB] {
        let clerk = Clerk::open().await;
        let content = pattern(bytes);
        plant(&clerk.store, "f", &content).await;
        let operation = if bytes == MIB {
            Operation::Copy
        } else {
            Operation::Complete
        };
        clerk.failing.spoil(operation, 1, Fault::LandThenLose);
        clerk.touch("/f", THEN).await.unwrap();
        clerk.assert_kept(&content).await;
        assert_eq!(clerk.count(operation), 1);
    }
}

#[tokio::test]
async fn an_upload_is_a_success_even_if_its_time_cannot_be_kept() {
    let clerk = Clerk::open().await;
    let content = pattern(17 * MIB);
    let handle = clerk.talk.create("/f").await.unwrap();
    clerk.talk.send(&handle, 0, &content).await;
    clerk
        .talk
        .client
        .fsetstat(&handle, timed(THEN))
        .await
        .unwrap();
    let lost = Fault::Fail(StorageErrorKind::Denied);
    // Those of the upload itself go well.
    clerk.failing.spoil(Operation::Create, 1, lost);
    clerk.talk.close(&handle).await.unwrap();
    assert!(clerk.store.object(&at("f")).unwrap() == content);
    assert_eq!(clerk.failing.pending(), 0);
    assert_eq!(clerk.store.unfinished_uploads(), []);
}

#[tokio::test]
async fn a_file_that_is_being_read_is_read_on_when_it_gets_a_time() {
    let clerk = Clerk::open().await;
    let content = pattern(3 * MIB);
    plant(&clerk.store, "f", &content).await;
    let handle = clerk.talk.open("/f", OpenFlags::READ).await.unwrap();
    let first = clerk.talk.client.read(&handle, 0, 1_000).await.unwrap();
    clerk.touch("/f", THEN).await.unwrap();
    let last = (content.len() - 1_000) as u64;
    let then = clerk.talk.client.read(&handle, last, 1_000).await.unwrap();
    assert!(first.data[..] == content[..1_000]);
    assert!(then.data[..] == content[content.len() - 1_000..]);
}

#[tokio::test]
async fn a_directory_has_no_time_and_what_is_not_there_none_either() {
    let clerk = Clerk::open().await;
    clerk
        .talk
        .client
        .mkdir("/d", FileAttributes::empty())
        .await
        .unwrap();
    clerk.touch("/d", THEN).await.unwrap();
    clerk.touch("/", THEN).await.unwrap();
    assert_eq!(clerk.touch("/no", THEN).await, Err(StatusCode::NoSuchFile));
    assert_eq!(clerk.count(Operation::Copy), 0);
}

/// Another session over the same bucket, in whose process listings show stored times.
async fn lister(clerk: &Clerk, times: &ListedTimes) -> Talk {
    let user = user(whole_bucket(), clerk.noting.clone());
    let times = times.clone();
    let (theirs, running) = begin_in(user, Limits::default(), |environment| {
        environment.listed_times = times;
    });
    Talk::over(theirs, running).await
}

/// The times that a listing shows, by name.
async fn listed(talk: &Talk) -> Result<Vec<(String, u32)>, StatusCode> {
    let opened = talk.client.opendir("/").await.map_err(code)?;
    let mut times = Vec::new();
    loop {
        match talk.client.readdir(&opened.handle).await {
            Ok(page) => times.extend(page.files),
            Err(error) => match code(error) {
                StatusCode::Eof => break,
                other => return Err(other),
            },
        }
    }
    talk.close(&opened.handle).await?;
    times.retain(|file| !file.attrs.is_dir());
    let times = times.into_iter();
    Ok(times
        .map(|file| (file.filename, file.attrs.mtime.unwrap()))
        .collect())
}

#[tokio::test]
async fn listings_show_stored_times_where_the_operator_wants_it() {
    let clerk = Clerk::open().await;
    for number in 0..130 {
        let name = format!("/f{number:03}");
        clerk.talk.put(&name, b"content").await.unwrap();
        if number % 2 == 0 {
            clerk.touch(&name, THEN + number).await.unwrap();
        }
    }
    clerk
        .talk
        .client
        .mkdir("/d", FileAttributes::empty())
        .await
        .unwrap();
    let without = lister(&clerk, &ListedTimes::new(false)).await;
    let theirs = listed(&without).await.unwrap();
    assert!(theirs.iter().all(|(_, time)| *time > THEN + 130));
    let times = ListedTimes::new(true);
    let talk = lister(&clerk, &times).await;
    let heads = clerk.count(Operation::Head);
    let shown = listed(&talk).await.unwrap();
    assert_eq!(shown.len(), 130);
    for (number, (name, time)) in (0..).zip(&shown) {
        assert_eq!(*name, format!("f{number:03}"));
        let attrs = talk.client.stat(format!("/{name}")).await.unwrap().attrs;
        assert_eq!(attrs.mtime, Some(*time), "STAT shows the same");
        assert_eq!(*time == THEN + number, number % 2 == 0);
    }
    // One for each file, and none for the directory; then those of STAT.
    assert_eq!(clerk.count(Operation::Head), heads + 260);
}

#[tokio::test]
async fn what_a_listing_shows_changes_with_the_file() {
    let clerk = Clerk::open().await;
    clerk.talk.put("/f", b"content").await.unwrap();
    let talk = lister(&clerk, &ListedTimes::new(true)).await;
    for time in [THEN, THEN + 1, THEN + 2] {
        clerk.touch("/f", time).await.unwrap();
        let shown = listed(&talk).await.unwrap();
        assert_eq!(shown, [("f".to_owned(), time)], "however soon");
    }
    clerk.talk.client.remove("/f").await.unwrap();
    assert_eq!(listed(&talk).await.unwrap(), []);
}

#[tokio::test]
async fn a_listing_fails_rather_than_show_another_time() {
    let clerk = Clerk::open().await;
    clerk.talk.put("/f", b"content").await.unwrap();
    clerk.touch("/f", THEN).await.unwrap();
    let talk = lister(&clerk, &ListedTimes::new(true)).await;
    let down = Fault::Fail(StorageErrorKind::Unavailable);
    clerk.failing.spoil(Operation::Head, 1, down);
    assert_eq!(listed(&talk).await, Err(StatusCode::Failure));
    // What may be listed and not read has S3's own time.
    let denied = Fault::Fail(StorageErrorKind::Denied);
    clerk.failing.spoil(Operation::Head, 1, denied);
    let shown = listed(&talk).await.unwrap();
    assert!(shown[0].1 > THEN);
    assert_eq!(listed(&talk).await.unwrap(), [("f".to_owned(), THEN)]);
}

#[tokio::test]
async fn what_a_copy_for_a_time_keeps_of_its_parts_is_on_the_account() {
    let clerk = Clerk::open().await;
    // 5 MiB in ranges of 1 MiB keep five parts' names until they are one object.
    plant(&clerk.store, "f", &pattern(5 * MIB)).await;
    let gate = Gate::closed();
    let held = Fault::Hold(gate.clone());
    clerk.failing.spoil(Operation::Complete, 1, held);
    let account = clerk.talk.budget.account();
    let before = account.taken_bytes();
    let looked = async {
        gate.reached(1).await;
        assert!(account.taken_bytes() > before);
        gate.open();
    };
    let (touched, ()) = tokio::join!(clerk.touch("/f", THEN), looked);
    assert_eq!(touched, Ok(()));
    assert_eq!(clerk.count(Operation::PartCopy), 5);
}
