//! `copy-data`: the bytes of one open file become those of another, as OpenSSH's `cp` asks for it.

use std::sync::Arc;

use portcullis::idp::UserConfig;
use portcullis::idp::UserLimits;
use portcullis::limits::Limits;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{
    Bucket, Capabilities, Checksum, Kms, NewObject, Nonce, ObjectStore as _, Operation,
    Precondition, Properties, PutObject, StorageErrorKind,
};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};

use crate::auth_log::logged;
use crate::common::raw::{self, OK, Raw};
use crate::common::sftp::{Talk, as_answered, begin_as, code, user, whole_bucket};
use crate::session::{MIB, at, pattern, plant};
use crate::session_moves::{Noting, spied};
use crate::session_times::timed;

/// As `cp` opens what it writes.
pub(crate) const NEW: OpenFlags = OpenFlags::WRITE
    .union(OpenFlags::CREATE)
    .union(OpenFlags::TRUNCATE);

/// A store that takes parts of 1 MiB, what spoils its calls, what notes them, and a session.
pub(crate) struct Copier {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) failing: Arc<Failing>,
    pub(crate) noting: Arc<Noting>,
    pub(crate) talk: Talk,
}

impl Copier {
    pub(crate) async fn open() -> Self {
        Self::of(Capabilities::all(), whole_bucket()).await
    }

    async fn of(capabilities: Capabilities, home: HomeDirectory) -> Self {
        Self::for_user(capabilities, UserConfig::new("ann", home)).await
    }

    async fn for_user(capabilities: Capabilities, config: UserConfig) -> Self {
        let (store, failing, noting) = spied(capabilities);
        let limits = Limits {
            range_copy_bytes_min: 4 * MIB as u64,
            range_bytes_min: MIB as u64,
            ..Limits::default()
        };
        let (theirs, running) = begin_as(as_answered(config, noting.clone()), limits);
        let talk = Talk::over(theirs, running).await;
        Self {
            store,
            failing,
            noting,
            talk,
        }
    }

    /// How often a file was copied as a whole, begun in ranges, copied in ranges, and completed.
    pub(crate) fn copies(&self) -> [usize; 4] {
        [
            Operation::Copy,
            Operation::Create,
            Operation::PartCopy,
            Operation::Complete,
        ]
        .map(|operation| self.noting.keys(operation).len())
    }

    pub(crate) async fn both(&self, from: &str, to: &str) -> (String, String) {
        let source = self.talk.open(from, OpenFlags::READ).await.unwrap();
        let target = self.talk.open(to, NEW).await.unwrap();
        (source, target)
    }

    /// Does what OpenSSH's `cp` does; returns the answers to the copy and to the last CLOSE.
    async fn cp(&self, from: &str, to: &str) -> [Result<(), StatusCode>; 2] {
        let (source, target) = self.both(from, to).await;
        let copied = copy_data(&self.talk, (&source, 0, 0), (&target, 0)).await;
        self.talk.close(&source).await.unwrap();
        [copied, self.talk.close(&target).await]
    }

    pub(crate) fn object(&self, key: &str) -> Vec<u8> {
        self.store.object(&at(key)).unwrap().to_vec()
    }

    pub(crate) fn assert_settled(&self) {
        assert_eq!(self.store.unfinished_uploads(), []);
        assert_eq!(self.talk.budget.taken_bytes(), (0, 0));
    }
}

/// Copies from a handle, an offset and a length to a handle and an offset.
pub(crate) async fn copy_data(
    talk: &Talk,
    (from, offset, length): (&str, u64, u64),
    (to, at): (&str, u64),
) -> Result<(), StatusCode> {
    let fields = [
        &raw::string(from)[..],
        &offset.to_be_bytes(),
        &length.to_be_bytes(),
        &raw::string(to),
        &at.to_be_bytes(),
    ];
    match talk.client.extended("copy-data", fields.concat()).await {
        Ok(Packet::Status(status)) if status.status_code == StatusCode::Ok => Ok(()),
        Ok(Packet::Status(status)) => Err(status.status_code),
        Ok(other) => panic!("no status: {other:?}"),
        Err(error) => Err(code(error)),
    }
}

#[tokio::test]
async fn a_whole_file_is_copied_by_the_store_before_the_request_is_answered() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"content").await;
    plant(&copier.store, "g", b"what was there before").await;
    let (source, target) = copier.both("/f", "/g").await;
    assert_eq!(copier.object("g"), b"what was there before");
    let copied = copy_data(&copier.talk, (&source, 0, 0), (&target, 0)).await;
    assert_eq!(copied, Ok(()));
    assert_eq!(copier.object("g"), b"content");
    let attrs = copier.talk.client.fstat(&target).await.unwrap().attrs;
    assert_eq!(attrs.size, Some(7));
    copier.talk.close(&source).await.unwrap();
    copier.talk.close(&target).await.unwrap();
    assert_eq!(
        [copier.object("f"), copier.object("g")],
        [b"content", b"content"]
    );
    assert_eq!(copier.copies(), [1, 0, 0, 0]);
    assert_eq!(copier.noting.keys(Operation::Put).len(), 0);
    copier.assert_settled();
}

#[tokio::test]
async fn a_large_file_is_copied_in_ranges_and_no_byte_of_it_comes_here() {
    let copier = Copier::open().await;
    let content = pattern(5 * MIB + 1);
    plant(&copier.store, "f", &content).await;
    assert_eq!(copier.cp("/f", "/g").await, [Ok(()), Ok(())]);
    assert!(copier.object("g") == content);
    assert_eq!(copier.copies(), [0, 1, 6, 1]);
    // That of OPEN.
    assert_eq!(copier.noting.keys(Operation::Get).len(), 1);
    copier.assert_settled();
}

#[tokio::test]
async fn an_empty_file_is_copied_as_well() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"").await;
    assert_eq!(copier.cp("/f", "/g").await, [Ok(()), Ok(())]);
    assert_eq!(copier.object("g"), b"");
    assert_eq!(copier.copies(), [1, 0, 0, 0]);
}

#[tokio::test]
async fn a_copy_is_the_same_object_at_a_time_of_its_own() {
    for (size, bucket) in [(3, "b"), (4 * MIB, "b"), (3, "other"), (4 * MIB, "other")] {
        let mapping = |entry, target| {
            Mapping::parse(entry, target, EntryType::Directory, Access::ReadWrite).unwrap()
        };
        let mappings = vec![mapping("/b", "/b"), mapping("/other", "/other")];
        let home = HomeDirectory::logical(mappings, VirtualPath::root()).unwrap();
        let copier = Copier::of(Capabilities::all(), home).await;
        let content = pattern(size);
        let object = rich_object();
        let put = PutObject {
            object: &object,
            checksum: Checksum::of(&content),
            condition: &Precondition::None,
        };
        let payload = content.clone().into();
        copier.store.put(&at("f"), payload, put).await.unwrap();
        let to = format!("/{bucket}/g");
        assert_eq!(copier.cp("/b/f", &to).await, [Ok(()), Ok(())]);
        let mut there = at("g");
        there.bucket = Bucket::parse(bucket).unwrap();
        let found = copier.store.head(&there).await.unwrap();
        assert_eq!(found.content_type, object.content_type);
        assert_eq!(found.metadata("author"), Some("ann"));
        assert_eq!(found.metadata("mtime"), None);
        let mut properties = object.properties.clone().unwrap();
        if bucket == "other" {
            // Who reads the other bucket may not have the key.
            properties.leave_key();
        }
        assert_eq!(found.properties, Some(properties));
        assert_eq!(copier.store.tags(&there).await.unwrap(), object.tags);
        assert!(copier.store.object(&there).unwrap() == content);
        // Nor has what is written over the copy.
        let (source, target) = copier.both("/b/f", &to).await;
        copy_data(&copier.talk, (&source, 0, 0), (&target, 0))
            .await
            .unwrap();
        copier.talk.write(&target, 0, b"x").await.unwrap();
        copier.talk.close(&target).await.unwrap();
        let over = copier.store.head(&there).await.unwrap();
        assert_eq!(over.properties, found.properties);
        assert_eq!(over.metadata("author"), Some("ann"));
    }
}

/// An object that much belongs to.
fn rich_object() -> NewObject {
    let properties = Properties {
        cache_control: Some("no-store".into()),
        storage_class: Some("STANDARD_IA".into()),
        kms: Some(Kms {
            algorithm: "aws:kms".into(),
            key_id: "key".into(),
            bucket_key: false,
        }),
        legal_hold: true,
        ..Properties::default()
    };
    NewObject {
        content_type: Some("text/x-poem".into()),
        metadata: vec![
            ("author".into(), "ann".into()),
            ("mtime".into(), "1000000000".into()),
        ],
        properties: Some(properties.into()),
        tags: vec![("project".into(), "x".into())],
        ..NewObject::new(Nonce::new().unwrap())
    }
}

#[tokio::test]
async fn a_copy_gets_the_time_that_the_client_gave_its_handle() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"content").await;
    let (source, target) = copier.both("/f", "/g").await;
    let timed = timed(1_000_000_000);
    copier.talk.client.fsetstat(&target, timed).await.unwrap();
    copy_data(&copier.talk, (&source, 0, 0), (&target, 0))
        .await
        .unwrap();
    copier.talk.close(&target).await.unwrap();
    let attrs = copier.talk.client.stat("/g").await.unwrap().attrs;
    assert_eq!(attrs.mtime, Some(1_000_000_000));
    assert_eq!(copier.copies(), [1, 0, 0, 0]);
}

#[tokio::test]
async fn what_is_written_over_a_copy_has_what_the_client_said_of_its_handle() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"content").await;
    let (source, target) = copier.both("/f", "/g").await;
    let timed = timed(1_000_000_000);
    copier.talk.client.fsetstat(&target, timed).await.unwrap();
    copy_data(&copier.talk, (&source, 0, 0), (&target, 0))
        .await
        .unwrap();
    copier.talk.write(&target, 7, b" and more").await.unwrap();
    copier.talk.close(&target).await.unwrap();
    let attrs = copier.talk.client.stat("/g").await.unwrap().attrs;
    assert_eq!(attrs.mtime, Some(1_000_000_000));
    assert_eq!(copier.object("g"), b"content and more");
    assert_eq!(copier.copies(), [1, 0, 0, 0]);
}

#[tokio::test]
async fn a_handle_reads_nothing_of_what_a_copy_has_replaced() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"content").await;
    plant(&copier.store, "g", b"what was there before").await;
    let talk = &copier.talk;
    let source = talk.open("/f", OpenFlags::READ).await.unwrap();
    let both = OpenFlags::READ | OpenFlags::WRITE;
    let target = talk.open("/g", both).await.unwrap();
    let read = talk.client.read(&target, 0, 4).await.unwrap();
    assert_eq!(read.data, b"what");
    let empty = FileAttributes {
        size: Some(0),
        ..FileAttributes::empty()
    };
    talk.client.fsetstat(&target, empty).await.unwrap();
    assert_eq!(copy_data(talk, (&source, 0, 0), (&target, 0)).await, Ok(()));
    let read = talk.client.read(&target, 0, 100).await;
    assert_eq!(read.map_err(code).unwrap_err(), StatusCode::OpUnsupported);
    let other = talk.open("/h", NEW).await.unwrap();
    let again = copy_data(talk, (&target, 0, 0), (&other, 0)).await;
    assert_eq!(again, Err(StatusCode::OpUnsupported));
    talk.close(&other).await.unwrap();
    talk.close(&target).await.unwrap();
    assert_eq!(copier.object("g"), b"content");
    assert_eq!(copier.object("h"), b"");
}

#[tokio::test]
async fn a_file_that_is_copied_onto_itself_stays() {
    let mapping =
        |entry| Mapping::parse(entry, "/b", EntryType::Directory, Access::ReadWrite).unwrap();
    let home = HomeDirectory::logical(vec![mapping("/a"), mapping("/z")], VirtualPath::root());
    let copier = Copier::of(Capabilities::all(), home.unwrap()).await;
    plant(&copier.store, "f", b"content").await;
    for to in ["/a/f", "/z/f"] {
        let failed = Err(StatusCode::Failure);
        assert_eq!(copier.cp("/a/f", to).await, [failed, failed]);
        assert_eq!(copier.object("f"), b"content");
    }
    let both = OpenFlags::READ | OpenFlags::WRITE;
    let handle = copier.talk.open("/a/f", both).await.unwrap();
    let copied = copy_data(&copier.talk, (&handle, 0, 0), (&handle, 0)).await;
    assert_eq!(copied, Err(StatusCode::Failure));
    assert_eq!(copier.copies(), [0; 4]);
}

#[tokio::test]
async fn a_source_that_was_replaced_or_removed_is_not_copied() {
    for removed in [false, true] {
        let copier = Copier::open().await;
        plant(&copier.store, "f", b"content").await;
        plant(&copier.store, "g", b"old").await;
        let (source, target) = copier.both("/f", "/g").await;
        if removed {
            copier.talk.client.remove("/f").await.unwrap();
        } else {
            plant(&copier.store, "f", b"another").await;
        }
        let copied = copy_data(&copier.talk, (&source, 0, 0), (&target, 0)).await;
        assert_eq!(copied, Err(StatusCode::Failure));
        assert_eq!(copier.talk.close(&target).await, Err(StatusCode::Failure));
        assert_eq!(copier.object("g"), b"old");
        assert_eq!(copier.copies(), [0; 4]);
    }
}

#[tokio::test]
async fn a_source_that_is_replaced_just_then_is_not_copied() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"content").await;
    let gate = Gate::closed();
    copier
        .failing
        .spoil(Operation::Copy, 1, Fault::Hold(gate.clone()));
    let meanwhile = async {
        gate.reached(1).await;
        plant(&copier.store, "f", b"another").await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(copier.cp("/f", "/g"), meanwhile);
    assert_eq!(answers, [Err(StatusCode::Failure); 2]);
    assert_eq!(copier.store.object(&at("g")), None);
}

#[tokio::test]
async fn a_copy_that_fails_leaves_what_was_there() {
    let failures = [
        (StorageErrorKind::Denied, StatusCode::PermissionDenied),
        (StorageErrorKind::Refused, StatusCode::Failure),
    ];
    for (kind, status) in failures {
        for size in [7, 4 * MIB] {
            let copier = Copier::open().await;
            plant(&copier.store, "f", &pattern(size)).await;
            plant(&copier.store, "g", b"old").await;
            for operation in [Operation::Copy, Operation::Complete] {
                copier.failing.spoil(operation, 1, Fault::Fail(kind));
            }
            assert_eq!(
                copier.cp("/f", "/g").await,
                [Err(status); 2],
                "{kind:?} {size}"
            );
            assert_eq!(copier.object("g"), b"old");
            let (reaper, _) = copier.talk.cut().await;
            reaper.drain().await;
            assert_eq!(copier.store.unfinished_uploads(), []);
        }
    }
}

#[tokio::test]
async fn a_copy_whose_answer_is_lost_is_a_success() {
    for (operation, size) in [(Operation::Copy, 7), (Operation::Complete, 4 * MIB)] {
        let copier = Copier::open().await;
        let content = pattern(size);
        plant(&copier.store, "f", &content).await;
        copier.failing.spoil(operation, 1, Fault::LandThenLose);
        assert_eq!(copier.cp("/f", "/g").await, [Ok(()), Ok(())]);
        assert!(copier.object("g") == content);
    }
}

#[tokio::test]
async fn what_is_written_after_a_copy_goes_over_it() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"0123456789").await;
    let (source, target) = copier.both("/f", "/g").await;
    copy_data(&copier.talk, (&source, 0, 0), (&target, 0))
        .await
        .unwrap();
    copier.talk.write(&target, 10, b"abc").await.unwrap();
    copier.talk.close(&target).await.unwrap();
    copier.talk.close(&source).await.unwrap();
    assert_eq!(copier.object("g"), b"0123456789abc");
    assert_eq!(copier.object("f"), b"0123456789");

    // What somebody else puts there meanwhile is not written over.
    let (source, target) = copier.both("/f", "/g").await;
    copy_data(&copier.talk, (&source, 0, 0), (&target, 0))
        .await
        .unwrap();
    copier.talk.write(&target, 10, b"abc").await.unwrap();
    plant(&copier.store, "g", b"theirs").await;
    assert_eq!(copier.talk.close(&target).await, Err(StatusCode::Failure));
    copier.talk.close(&source).await.unwrap();
    assert_eq!(copier.object("g"), b"theirs");
    copier.assert_settled();
}

#[tokio::test]
async fn what_is_written_while_a_file_is_copied_is_refused() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"content").await;
    let (source, target) = copier.both("/f", "/g").await;
    let gate = Gate::closed();
    copier
        .failing
        .spoil(Operation::Copy, 1, Fault::Hold(gate.clone()));
    let meanwhile = async {
        gate.reached(1).await;
        let refused = copier.talk.write(&target, 0, b"x").await;
        assert_eq!(refused, Err(StatusCode::Failure));
        let again = copy_data(&copier.talk, (&source, 0, 0), (&target, 0)).await;
        assert_eq!(again, Err(StatusCode::Failure));
        gate.open();
    };
    let copied = copy_data(&copier.talk, (&source, 0, 0), (&target, 0));
    let (copied, ()) = tokio::join!(copied, meanwhile);
    assert_eq!(copied, Ok(()));
    copier.talk.close(&target).await.unwrap();
    assert_eq!(copier.object("g"), b"content");
}

#[tokio::test]
async fn an_exclusive_file_is_not_copied_over_what_came_meanwhile() {
    let blind = Capabilities {
        conditional_copy: false,
        ..Capabilities::all()
    };
    for capabilities in [Capabilities::all(), blind] {
        let copier = Copier::of(capabilities, whole_bucket()).await;
        plant(&copier.store, "f", b"content").await;
        let source = copier.talk.open("/f", OpenFlags::READ).await.unwrap();
        let exclusive = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let target = copier.talk.open("/g", exclusive).await.unwrap();
        plant(&copier.store, "g", b"theirs").await;
        let copied = copy_data(&copier.talk, (&source, 0, 0), (&target, 0)).await;
        assert_eq!(copied, Err(StatusCode::Failure));
        assert_eq!(copier.talk.close(&target).await, Err(StatusCode::Failure));
        assert_eq!(copier.object("g"), b"theirs");
    }
}

#[tokio::test]
async fn both_files_may_be_closed_before_their_copy_is_answered() {
    let (failing, store) = crate::session::failing();
    plant(&store, "f", b"content").await;
    let mut raw = Raw::start(failing).await;
    let source = raw.open("/f", 1).await;
    let target = raw.open("/g", 0x1a).await;
    let asked = [
        raw::copy_data(1, (&source, 0, 0), (&target, 0)),
        raw::on_handle(raw::CLOSE, 2, &source),
        raw::on_handle(raw::CLOSE, 3, &target),
        raw::named(raw::STAT, 4, "/g"),
    ];
    let answers = raw.exchange(asked.concat(), 4).await;
    assert_eq!([1, 2, 3].map(|id| answers[&id].status()), [OK; 3]);
    assert_eq!(answers[&4].kind, 105);
    assert_eq!(store.object(&at("g")).unwrap(), &b"content"[..]);
}

#[tokio::test]
async fn what_a_handle_may_not_do_no_copy_does() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"content").await;
    let (source, target) = copier.both("/f", "/g").await;
    let talk = &copier.talk;
    let denied = Err(StatusCode::PermissionDenied);
    assert_eq!(copy_data(talk, (&target, 0, 0), (&source, 0)).await, denied);
    assert_eq!(copy_data(talk, (&source, 0, 0), (&source, 0)).await, denied);
    let invalid = Err(StatusCode::Failure);
    assert_eq!(
        copy_data(talk, ("nonsense", 0, 0), (&target, 0)).await,
        invalid
    );
    assert_eq!(
        copy_data(talk, (&source, 0, 0), ("nonsense", 0)).await,
        invalid
    );
    let directory = talk.client.opendir("/").await.unwrap().handle;
    assert_eq!(
        copy_data(talk, (&directory, 0, 0), (&target, 0)).await,
        invalid
    );
    // More than there is.
    let end = Err(StatusCode::Eof);
    assert_eq!(copy_data(talk, (&source, 0, 8), (&target, 0)).await, end);
    assert_eq!(
        copy_data(talk, (&source, u64::MAX, 8), (&target, 0)).await,
        end
    );
    // None of them lost the file.
    assert_eq!(copy_data(talk, (&source, 0, 7), (&target, 0)).await, Ok(()));
    talk.close(&target).await.unwrap();
    assert_eq!(copier.object("g"), b"content");
}

#[tokio::test]
async fn a_copy_is_no_larger_than_its_user_may_store() {
    let config = UserConfig {
        limits: UserLimits {
            file_bytes: Some(6),
            ..UserLimits::default()
        },
        ..UserConfig::new("ann", whole_bucket())
    };
    let copier = Copier::for_user(Capabilities::all(), config).await;
    plant(&copier.store, "f", b"content").await;
    assert_eq!(copier.cp("/f", "/g").await, [Err(StatusCode::Failure); 2]);
    assert_eq!(copier.store.object(&at("g")), None);
}

#[tokio::test]
async fn a_copy_stops_when_its_user_is_revoked() {
    let store = MemoryStore::new(&[&Bucket::parse("b").unwrap()]);
    let store = Arc::new(store.with_part_bytes_min(MIB as u64));
    let failing = Arc::new(Failing::new(store.clone()));
    plant(&store, "f", &pattern(5 * MIB)).await;
    let user = user(whole_bucket(), failing.clone());
    let revoked = user.revoked().clone();
    let limits = Limits {
        range_copy_bytes_min: 4 * MIB as u64,
        range_bytes_min: MIB as u64,
        ..Limits::default()
    };
    let (theirs, running) = begin_as(user, limits);
    let talk = Talk::over(theirs, running).await;
    let source = talk.open("/f", OpenFlags::READ).await.unwrap();
    let target = talk.open("/g", NEW).await.unwrap();
    let gate = Gate::closed();
    failing.spoil(Operation::PartCopy, 3, Fault::Hold(gate.clone()));
    tokio::select! {
        copied = copy_data(&talk, (&source, 0, 0), (&target, 0)) => panic!("{copied:?}"),
        () = gate.reached(1) => {}
    }
    revoked.cancel();
    let (reaper, _) = talk.cut().await;
    gate.open();
    reaper.drain().await;
    assert_eq!(store.keys(&at("x").bucket), ["f"]);
    assert_eq!(store.unfinished_uploads(), []);
}

#[tokio::test]
async fn a_line_of_record_says_what_was_copied_where() {
    let ((), log) = logged(async {
        let copier = Copier::open().await;
        plant(&copier.store, "f", b"content").await;
        assert_eq!(copier.cp("/f", "/g").await, [Ok(()), Ok(())]);
    })
    .await;
    let line = log
        .lines()
        .find(|line| line.contains("\"copied\""))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let fields = &line["fields"];
    assert_eq!([&fields["path"], &fields["to"]], ["/f", "/g"]);
    assert_eq!([&fields["key"], &fields["to_key"]], ["f", "g"]);
    assert!(fields["etag"].is_string());
    assert!(!log.contains("upload failed"));
}
