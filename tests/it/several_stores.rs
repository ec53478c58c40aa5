//! Mappings of one user that lead into several stores, and what moves between them.

use std::sync::Arc;

use portcullis::limits::Limits;
use portcullis::storage::failing::{Failing, Fault};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::routed::Routed;
use portcullis::storage::routes::{Pattern, Routes};
use portcullis::storage::{
    Bucket, Capabilities, Key, Location, ObjectStore as _, Operation, Properties, SharedStore,
    StorageErrorKind,
};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::StatusCode;

use crate::common::sftp::{Talk, code};
use crate::session::{MIB, pattern};
use crate::session_moves::Noting;

/// Two stores with one bucket each, what spoils and notes the calls to them, and a session that
/// sees both.
struct Port {
    near: Arc<MemoryStore>,
    far: Arc<MemoryStore>,
    failing_near: Arc<Failing>,
    failing_far: Arc<Failing>,
    noting: Arc<Noting>,
    talk: Talk,
}

impl Port {
    async fn open() -> Self {
        Self::with(Capabilities::all(), Limits::default()).await
    }

    async fn with(of_far: Capabilities, limits: Limits) -> Self {
        let near = Arc::new(MemoryStore::new(&[&bucket("near")]));
        let far = MemoryStore::new(&[&bucket("far-1")]).with_capabilities(of_far);
        let far = Arc::new(far);
        let failing_near = Arc::new(Failing::new(near.clone()));
        let failing_far = Arc::new(Failing::new(far.clone()));
        let mut routes = Routes::default();
        routes.add(Pattern::parse("far-*").unwrap(), 1);
        let stores: Vec<Option<SharedStore>> =
            vec![Some(failing_near.clone()), Some(failing_far.clone())];
        let noting = Noting::over(Arc::new(Routed::new(Arc::new(routes), stores)));
        let talk = Talk::with(noting.clone(), home(), limits).await;
        Self {
            near,
            far,
            failing_near,
            failing_far,
            noting,
            talk,
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), StatusCode> {
        let renamed = self.talk.client.rename(from, to).await;
        renamed.map(drop).map_err(code)
    }

    fn count(&self, operation: Operation) -> usize {
        self.noting.keys(operation).len()
    }

    /// Asserts that a move left everything where it was.
    async fn assert_not_moved(self, content: &[u8]) {
        let (reaper, budget) = self.talk.cut().await;
        reaper.drain().await;
        assert!(self.near.object(&near("f")).unwrap() == content);
        assert_eq!(self.far.keys(&bucket("far-1")), Vec::<String>::new());
        assert_eq!(self.far.unfinished_uploads(), []);
        assert_eq!(budget.uploads().taken_bytes(), 0);
    }
}

fn home() -> HomeDirectory {
    let mapping = |entry, target| {
        Mapping::parse(entry, target, EntryType::Directory, Access::ReadWrite).unwrap()
    };
    let mappings = vec![mapping("/near", "/near"), mapping("/far", "/far-1")];
    HomeDirectory::logical(mappings, VirtualPath::root()).unwrap()
}

fn bucket(name: &str) -> Bucket {
    Bucket::parse(name).unwrap()
}

fn at(name: &str, key: &str) -> Location {
    Location {
        bucket: bucket(name),
        key: Key::parse(key).unwrap(),
    }
}

fn near(key: &str) -> Location {
    at("near", key)
}

fn far(key: &str) -> Location {
    at("far-1", key)
}

#[tokio::test]
async fn each_mapping_is_served_by_its_own_store() {
    let port = Port::open().await;
    port.talk.put("/near/a", b"here").await.unwrap();
    port.talk.put("/far/a", b"there").await.unwrap();
    assert_eq!(port.near.object(&near("a")).unwrap(), &b"here"[..]);
    assert_eq!(port.far.object(&far("a")).unwrap(), &b"there"[..]);
    assert_eq!(port.talk.get("/far/a").await.unwrap(), b"there");
    assert_eq!(port.talk.names("/far").await.unwrap(), ["a"]);
    assert_eq!(port.talk.names("/").await.unwrap(), ["far", "near"]);
}

#[tokio::test]
async fn a_file_moves_to_another_store_with_what_describes_it() {
    let port = Port::open().await;
    let content = pattern(3 * MIB + 7);
    port.talk.put("/near/f", &content).await.unwrap();
    let properties = Properties {
        cache_control: Some("no-store".into()),
        storage_class: Some("STANDARD_IA".into()),
        ..Properties::default()
    };
    port.near.describe(&near("f"), &[("kind", "a")], properties);
    port.rename("/near/f", "/far/g").await.unwrap();
    assert!(port.far.object(&far("g")).unwrap() == content);
    assert_eq!(port.near.keys(&bucket("near")), Vec::<String>::new());
    let tags = port.far.tags(&far("g")).await.unwrap();
    assert_eq!(tags, [("kind".into(), "a".into())]);
    let carried = port.far.head(&far("g")).await.unwrap().properties.unwrap();
    assert_eq!(carried.cache_control.as_deref(), Some("no-store"));
    // A class of one store is nothing to another.
    assert_eq!(carried.storage_class, None);
    assert_eq!(port.count(Operation::Copy), 0);
    // And back, onto a file that gives way only if it is asked to.
    port.talk.put("/near/f", b"older").await.unwrap();
    let refused = port.rename("/far/g", "/near/f").await;
    assert_eq!(refused, Err(StatusCode::Failure));
    assert!(port.far.object(&far("g")).unwrap() == content);
}

#[tokio::test]
async fn a_large_file_moves_in_parts_of_which_few_are_in_memory() {
    let port = Port::open().await;
    let content = pattern(20 * MIB + 1);
    port.near.insert(&near("f"), content.clone());
    port.rename("/near/f", "/far/g").await.unwrap();
    assert!(port.far.object(&far("g")).unwrap() == content);
    assert_eq!(port.near.keys(&bucket("near")), Vec::<String>::new());
    assert_eq!(port.count(Operation::Part), 3);
    assert_eq!(port.count(Operation::PartCopy), 0);
    assert_eq!(port.count(Operation::Complete), 1);
    assert_eq!(port.far.unfinished_uploads(), []);
    assert_eq!(port.talk.budget.uploads().taken_bytes(), 0);
}

#[tokio::test]
async fn with_the_least_memory_a_large_file_moves_all_the_same() {
    let limits = Limits {
        part_bytes: 5 * MIB as u64,
        upload_memory_bytes_max: 5 * MIB as u64,
        ..Limits::default()
    };
    let port = Port::with(Capabilities::all(), limits).await;
    let content = pattern(12 * MIB);
    port.near.insert(&near("f"), content.clone());
    port.rename("/near/f", "/far/g").await.unwrap();
    assert!(port.far.object(&far("g")).unwrap() == content);
    assert_eq!(port.count(Operation::Part), 3);
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_was() {
    for (size, cut) in [(MIB, 100), (12 * MIB, 3 * MIB as u64)] {
        let port = Port::open().await;
        let content = pattern(size);
        port.near.insert(&near("f"), content.clone());
        port.failing_near
            .spoil(Operation::Get, 1, Fault::CutBodyAfter(cut));
        port.rename("/near/f", "/far/g").await.unwrap();
        assert!(port.far.object(&far("g")).unwrap() == content);
        assert_eq!(port.failing_near.pending(), 0);
    }
}

#[tokio::test]
async fn a_move_that_fails_leaves_the_file_where_it_was() {
    let kind = StorageErrorKind::Denied;
    for (size, in_near, operation) in [
        (MIB, true, Operation::Get),
        (MIB, false, Operation::Put),
        (20 * MIB, true, Operation::Get),
        (20 * MIB, false, Operation::Create),
        (20 * MIB, false, Operation::Part),
        (20 * MIB, false, Operation::Complete),
    ] {
        let port = Port::open().await;
        let content = pattern(size);
        port.near.insert(&near("f"), content.clone());
        let failing = if in_near {
            &port.failing_near
        } else {
            &port.failing_far
        };
        failing.spoil(operation, 1, Fault::Fail(kind));
        let moved = port.rename("/near/f", "/far/g").await;
        assert_eq!(moved, Err(StatusCode::PermissionDenied), "{operation:?}");
        port.assert_not_moved(&content).await;
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_once() {
    for (size, operation) in [(MIB, Operation::Put), (12 * MIB, Operation::Complete)] {
        let port = Port::open().await;
        let content = pattern(size);
        port.near.insert(&near("f"), content.clone());
        port.failing_far.spoil(operation, 1, Fault::LandThenLose);
        port.rename("/near/f", "/far/g").await.unwrap();
        assert!(port.far.object(&far("g")).unwrap() == content);
        assert_eq!(port.near.keys(&bucket("near")), Vec::<String>::new());
        assert_eq!(port.count(operation), 1);
    }
}

#[tokio::test]
async fn a_store_without_conditions_and_tags_takes_files_as_well() {
    let plain = Capabilities {
        conditional_put: false,
        conditional_complete: false,
        conditional_copy: false,
        checksums: false,
        ..Capabilities::all()
    };
    for size in [MIB, 12 * MIB] {
        let port = Port::with(plain, Limits::default()).await;
        let content = pattern(size);
        port.near.insert(&near("f"), content.clone());
        port.near
            .describe(&near("f"), &[("kind", "a")], Properties::default());
        let refused = Fault::Fail(StorageErrorKind::Refused);
        let operation = if size > 8 * MIB {
            Operation::Create
        } else {
            Operation::Put
        };
        port.failing_far.spoil(operation, 1, refused);
        port.rename("/near/f", "/far/g").await.unwrap();
        assert!(port.far.object(&far("g")).unwrap() == content);
        assert_eq!(port.far.tags(&far("g")).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_directory_moves_to_another_store() {
    let port = Port::open().await;
    let large = pattern(9 * MIB);
    port.near.insert(&near("d/"), "");
    port.near.insert(&near("d/small"), "s");
    port.near.insert(&near("d/sub/large"), large.clone());
    port.near.insert(&near("d/empty"), "");
    port.rename("/near/d", "/far/e").await.unwrap();
    let keys = port.far.keys(&bucket("far-1"));
    assert_eq!(keys, ["e/", "e/empty", "e/small", "e/sub/large"]);
    assert!(port.far.object(&far("e/sub/large")).unwrap() == large);
    assert_eq!(port.near.keys(&bucket("near")), Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_that_cannot_be_moved_as_a_whole_stays() {
    let port = Port::open().await;
    for n in 0..40 {
        port.near.insert(&near(&format!("d/{n:02}")), "x");
    }
    let denied = Fault::Fail(StorageErrorKind::Denied);
    port.failing_far.spoil(Operation::Put, 30, denied);
    let moved = port.rename("/near/d", "/far/e").await;
    assert_eq!(moved, Err(StatusCode::PermissionDenied));
    assert_eq!(port.near.keys(&bucket("near")).len(), 40);
    assert_eq!(port.far.keys(&bucket("far-1")), Vec::<String>::new());
}
