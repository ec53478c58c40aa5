//! A directory as a store: what must not be lost, shown to others or said to be what it is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;
use std::time::SystemTime;

use portcullis::limits::Limits;
use portcullis::storage::directory::{DirectoryStore, are_nested};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::routed::Routed;
use portcullis::storage::routes::{Pattern, Routes};
use portcullis::storage::{
    Bucket, CompleteUpload, CopyObject, Key, Location, NewObject, ObjectStore as _, PartNumber,
    Precondition, Properties, PutObject, Retention, SharedStore, StorageErrorKind as Kind,
    UploadId, UploadPart, Version,
};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{OpenFlags, StatusCode};

use crate::common::sftp::{Talk, code};
use crate::common::stores::{checksum, new_object};
use crate::directory_store::{Shelf, at, bucket};
use crate::session::{MIB, pattern};

fn named(name: &str) -> Bucket {
    Bucket::parse(name).unwrap()
}

fn home(rows: &[(&str, &str)]) -> HomeDirectory {
    let rows = rows.iter().map(|(entry, target)| {
        Mapping::parse(entry, target, EntryType::Directory, Access::ReadWrite).unwrap()
    });
    HomeDirectory::logical(rows.collect(), VirtualPath::root()).unwrap()
}

impl Shelf {
    fn mode(&self, name: &str) -> u32 {
        let found = fs::metadata(self.path(name)).unwrap();
        found.permissions().mode() & 0o777
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Uploads one part, and completes it after something else was done.
    async fn complete_after(
        &self,
        condition: &Precondition,
        meanwhile: impl FnOnce(&Self, &UploadId),
    ) -> Result<(), Kind> {
        let location = at("f");
        let id = self.store.create(&location, &new_object()).await.unwrap();
        let part = UploadPart {
            upload: &id,
            number: PartNumber(1),
            checksum: checksum(b"all of it"),
        };
        let part = self.store.part(&location, "all of it".into(), part);
        let parts = [part.await.unwrap()];
        meanwhile(self, &id);
        let complete = CompleteUpload {
            upload: &id,
            parts: &parts,
            checksum: None,
            condition,
        };
        let completed = self.store.complete(&location, complete).await;
        completed.map(drop).map_err(|error| error.kind)
    }
}

#[tokio::test]
async fn a_file_that_two_names_reach_is_not_deleted_by_a_rename() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().display().to_string();
    let store = DirectoryStore::open(&path, &[named("data"), named("fs-01")]).unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    fs::write(root.path().join("d/f"), b"kept").unwrap();
    // As a login has it.
    let rows = [("/a", "/data"), ("/b", "/fs-01")];
    let one_name = |bucket: &Bucket| (bucket.as_str() == "fs-01").then(|| named("data"));
    let home = home(&rows).with_names(&one_name).unwrap();
    assert_eq!(home.with_names(&one_name), None);
    let store: SharedStore = Arc::new(store);
    let talk = Talk::with(Arc::clone(&store), home, Limits::default()).await;
    for name in ["d/f", "d"] {
        let (from, to) = (format!("/a/{name}"), format!("/b/{name}"));
        let renamed = talk.client.rename(&from, &to).await.map_err(code);
        assert_eq!(renamed.unwrap_err(), StatusCode::Failure, "{name}");
    }
    let inside = talk.client.rename("/a/d", "/b/d/e").await.map_err(code);
    assert_eq!(inside.unwrap_err(), StatusCode::Failure);
    assert_eq!(talk.get("/b/d/f").await.unwrap(), b"kept");
    // And whoever asks the store itself.
    let [source, target] = ["fs-01", "data"].map(|name| Location {
        bucket: named(name),
        key: Key::parse("d/f").unwrap(),
    });
    let etag = store.head(&source).await.unwrap().etag;
    let copy = CopyObject {
        source: Version {
            location: &source,
            etag: &etag,
        },
        object: &new_object(),
        condition: &Precondition::None,
    };
    let refused = store.copy(&target, copy).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Refused);
}

#[tokio::test]
async fn a_name_that_was_taken_before_an_error_is_ours() {
    let hidden =
        |shelf: &Shelf, id: &UploadId| shelf.path(&format!(".portcullis-uploads/{}", id.0));
    // The answer to a link was lost, and the next one meets what it did.
    let shelf = Shelf::new();
    let linked = shelf.complete_after(&Precondition::IfNoneMatch, |shelf, id| {
        fs::hard_link(hidden(shelf, id), shelf.path("f")).unwrap();
    });
    assert_eq!(linked.await, Ok(()));
    assert_eq!(shelf.read("f"), b"all of it");
    assert_eq!(shelf.unfinished(), 0);
    // The same of a rename.
    let shelf = Shelf::new();
    let renamed = shelf.complete_after(&Precondition::None, |shelf, id| {
        fs::rename(hidden(shelf, id), shelf.path("f")).unwrap();
    });
    assert_eq!(renamed.await, Ok(()));
    assert_eq!(shelf.read("f"), b"all of it");
    // Another one's file is not.
    let shelf = Shelf::new();
    let taken = shelf.complete_after(&Precondition::IfNoneMatch, |shelf, _| {
        shelf.write("f", b"theirs");
    });
    assert_eq!(taken.await, Err(Kind::Precondition));
    assert_eq!(shelf.read("f"), b"theirs");
    // What nobody can tell is said to be so.
    let shelf = Shelf::new();
    let lost = shelf.complete_after(&Precondition::None, |shelf, id| {
        fs::remove_file(hidden(shelf, id)).unwrap();
    });
    assert_eq!(lost.await, Err(Kind::OutcomeUnknown));
}

#[tokio::test]
async fn a_directory_with_something_in_it_that_is_not_shown_is_not_empty() {
    let shelf = Shelf::new();
    shelf.write("d/f", b"f");
    symlink("f", shelf.path("d/link")).unwrap();
    let talk = shelf.talk().await;
    talk.client.remove("/d/f").await.unwrap();
    assert_eq!(talk.names("/d").await.unwrap(), Vec::<String>::new());
    let refused = talk.client.rmdir("/d").await.unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
    // What can move has moved, and the client hears that something stayed.
    shelf.write("d/g", b"g");
    let moved = talk.client.rename("/d", "/e").await.map_err(code);
    assert_eq!(moved.unwrap_err(), StatusCode::Failure);
    assert_eq!(shelf.read("e/g"), b"g");
    assert!(fs::symlink_metadata(shelf.path("d/link")).is_ok());
    fs::remove_file(shelf.path("d/link")).unwrap();
    talk.client.rmdir("/d").await.unwrap();
    assert!(fs::metadata(shelf.path("d")).is_err());
}

#[tokio::test]
async fn a_file_that_others_may_not_read_stays_so() {
    let shelf = Shelf::new();
    let talk = shelf.talk().await;
    shelf.write("theirs", b"x");
    let fresh = shelf.mode("theirs");
    for length in [3, 12 * MIB] {
        let content = pattern(length);
        shelf.write("f", b"before");
        shelf.set_mode("f", 0o600);
        talk.put("/f", &content).await.unwrap();
        assert_eq!(shelf.mode("f"), 0o600, "replaced, {length}");
        let flags = OpenFlags::WRITE | OpenFlags::APPEND;
        let handle = talk.open("/f", flags).await.unwrap();
        talk.write(&handle, 0, b"the end").await.unwrap();
        talk.close(&handle).await.unwrap();
        assert_eq!(shelf.mode("f"), 0o600, "appended to, {length}");
        talk.client.rename("/f", "/g").await.unwrap();
        assert_eq!(shelf.mode("g"), 0o600, "moved, {length}");
        assert_eq!(shelf.read("g").len(), length + 7);
        fs::remove_file(shelf.path("g")).unwrap();
        talk.put("/new", &content).await.unwrap();
        assert_eq!(shelf.mode("new"), fresh, "new, {length}");
        fs::remove_file(shelf.path("new")).unwrap();
    }
    assert_eq!(shelf.mode(".portcullis-uploads"), 0o700);
}

#[test]
fn a_root_in_another_one_is_told() {
    let around = tempfile::tempdir().unwrap();
    let [inner, beside] = ["a/inner", "beside"].map(|name| around.path().join(name));
    for directory in [&inner, &beside] {
        fs::create_dir_all(directory).unwrap();
    }
    let alias = around.path().join("alias");
    symlink(&inner, &alias).unwrap();
    let all = [around.path(), &inner, &alias, &beside].map(|path| path.display().to_string());
    let [outer, inner, alias, beside] = &all;
    for (one, other, nested) in [
        (inner, outer, true),
        (inner, alias, true),
        (inner, inner, true),
        (beside, outer, true),
        (beside, inner, false),
        (beside, alias, false),
    ] {
        assert_eq!(are_nested(one, other).unwrap(), nested, "{one} {other}");
        assert_eq!(are_nested(other, one).unwrap(), nested, "{other} {one}");
    }
    assert!(are_nested(inner, &format!("{inner}/none")).is_err());
    let seen = fs::read_dir(beside).unwrap().count();
    assert_eq!(seen, 0, "looked at, and nothing made in it");
}

#[tokio::test]
async fn what_another_file_system_hides_is_noticed() {
    let around = tempfile::tempdir().unwrap();
    let root = around.path().join("root");
    fs::create_dir(&root).unwrap();
    let store = DirectoryStore::open(&root.display().to_string(), &[bucket()]).unwrap();
    assert!(store.check_bucket(&bucket()).await.is_ok());
    // As a mount would.
    fs::rename(&root, around.path().join("below")).unwrap();
    fs::create_dir(&root).unwrap();
    let checked = store.check_bucket(&bucket()).await.unwrap_err();
    assert_eq!(checked.kind, Kind::Unavailable);
}

#[tokio::test]
async fn no_retention_and_no_hold_is_dropped_in_silence() {
    let shelf = Shelf::new();
    let retention = Retention {
        mode: "COMPLIANCE".into(),
        until: SystemTime::now(),
    };
    for properties in [
        Properties {
            legal_hold: true,
            ..Properties::default()
        },
        Properties {
            retention: Some(retention),
            ..Properties::default()
        },
    ] {
        let object = NewObject {
            properties: Some(Box::new(properties)),
            ..new_object()
        };
        let put = PutObject {
            object: &object,
            checksum: checksum(b"x"),
            condition: &Precondition::None,
        };
        let stored = shelf.store.put(&at("f"), "x".into(), put).await;
        assert_eq!(stored.unwrap_err().kind, Kind::Refused);
        let created = shelf.store.create(&at("f"), &object).await;
        assert_eq!(created.unwrap_err().kind, Kind::Refused);
    }
    assert!(fs::metadata(shelf.path("f")).is_err());
}

#[tokio::test]
async fn a_move_that_fails_leaves_no_directories_behind() {
    let shelf = Shelf::new();
    let near = Arc::new(MemoryStore::new(&[&named("near")]));
    let key = |key: &str| Location {
        bucket: named("near"),
        key: Key::parse(key).unwrap(),
    };
    // S3 has a file and a directory of one name; a directory cannot.
    for name in ["d/a", "d/a/b", "d/x/y/1", "d/z/2"] {
        near.insert(&key(name), "x");
    }
    let mut routes = Routes::default();
    routes.add(Pattern::parse("data").unwrap(), 1);
    let stores: Vec<Option<SharedStore>> = vec![Some(near.clone()), Some(shelf.store.clone())];
    let store = Routed::new(Arc::new(routes), stores);
    let home = home(&[("/near", "/near"), ("/far", "/data")]);
    let talk = Talk::with(Arc::new(store), home, Limits::default()).await;
    let moved = talk.client.rename("/near/d", "/far/d").await.map_err(code);
    assert_eq!(moved.unwrap_err(), StatusCode::Failure);
    assert_eq!(near.keys(&named("near")).len(), 4);
    assert!(fs::metadata(shelf.path("d")).is_err());
    assert_eq!(shelf.unfinished(), 0);
    // The next try meets nothing.
    assert!(near.remove(&key("d/a")));
    talk.client.rename("/near/d", "/far/d").await.unwrap();
    assert_eq!(shelf.read("d/x/y/1"), b"x");
    assert_eq!(near.keys(&named("near")), Vec::<String>::new());
}
