//! What a mapping says of the objects below it: class, encryption, tags and lock, whichever way they
//! come there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use embedded_s3::EmbeddedS3;
use portcullis::auth::{AuthSettings, would_enter};
use portcullis::idp::UserConfig;
use portcullis::limits::Limits;
use portcullis::storage::credentials::Own;
use portcullis::storage::directory::DirectoryStore;
use portcullis::storage::failing::{Failing, Fault};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::s3::{Encryption, S3Store, Settings};
use portcullis::storage::{
    Bucket, Capabilities, Key, Kms, Location, ObjectSettings, ObjectStore, Operation, Properties,
    Retention, SharedStore, StorageErrorKind, WrittenRetention, WrittenSettings,
};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::sftp::{Talk, as_answered, begin_as, code};
use crate::common::stores::{repeated, s3_settings};
use crate::session::{MIB, at, pattern};
use crate::session_moves::{Noting, spied};
use crate::session_times::timed;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn settings(written: WrittenSettings) -> Arc<ObjectSettings> {
    Arc::new(written.checked().unwrap())
}

/// Everything that a mapping can say.
fn all() -> Arc<ObjectSettings> {
    settings(WrittenSettings {
        storage_class: Some("STANDARD_IA".to_owned()),
        encryption: Some("aws:kms".to_owned()),
        kms_key_id: Some("key-of-ann".to_owned()),
        bucket_key: true,
        tags: vec![("cost".to_owned(), "ann & co".to_owned())],
        retention: Some(WrittenRetention {
            mode: Some("GOVERNANCE".to_owned()),
            days: Some(30),
            years: None,
        }),
        legal_hold: true,
    })
}

fn mapping(entry: &str, target: &str, objects: Option<Arc<ObjectSettings>>) -> Mapping {
    let mapping = Mapping::parse(entry, target, EntryType::Directory, Access::ReadWrite);
    mapping.unwrap().with_objects(objects)
}

async fn rename(talk: &Talk, from: &str, to: &str) -> Result<(), StatusCode> {
    let renamed = talk.client.rename(from, to).await;
    renamed.map(drop).map_err(code)
}

/// `/kept` has settings, `/plain` has none.
fn home(bucket: &str) -> HomeDirectory {
    let mappings = vec![
        mapping("/kept", &format!("/{bucket}/kept"), Some(all())),
        mapping("/plain", &format!("/{bucket}/plain"), None),
    ];
    HomeDirectory::logical(mappings, VirtualPath::root()).unwrap()
}

/// Copies in ranges of 5 MiB from 10 MiB on, and times that are kept by a copy.
fn limits() -> Limits {
    Limits {
        range_copy_bytes_min: 10 * MIB as u64,
        range_bytes_min: 5 * MIB as u64,
        keep_times: true,
        ..Limits::default()
    }
}

async fn server() -> (EmbeddedS3, S3Store) {
    let server = EmbeddedS3::start(embedded_s3::Settings {
        buckets: vec!["bucket".to_owned()],
        log_requests: true,
        ..embedded_s3::Settings::default()
    })
    .await
    .unwrap();
    let (access, secret) = (server.access_key(), server.secret_key());
    // The store's own class and encryption give way.
    let settings = Settings {
        storage_class: Some("ONEZONE_IA".to_owned()),
        encryption: Encryption::S3,
        ..s3_settings(server.endpoint(), access, secret)
    };
    let store = S3Store::connect(settings).await.unwrap();
    (server, store)
}

/// A place in the bucket of the server.
fn there(key: &str) -> Location {
    Location {
        bucket: Bucket::parse("bucket").unwrap(),
        ..at(key)
    }
}

/// Asserts that an object carries everything, locked for so many days.
async fn assert_carries(store: &dyn ObjectStore, location: &Location, days: u32) {
    let key = &location.key;
    let meta = store.head(location).await.unwrap();
    let properties = meta.properties.unwrap();
    assert_eq!(
        properties.storage_class.as_deref(),
        Some("STANDARD_IA"),
        "{key:?}"
    );
    let kms = Kms {
        algorithm: "aws:kms".into(),
        key_id: "key-of-ann".into(),
        bucket_key: true,
    };
    assert_eq!(properties.kms, Some(kms), "{key:?}");
    assert!(properties.legal_hold, "{key:?}");
    let retention = properties.retention.unwrap();
    assert_eq!(&*retention.mode, "GOVERNANCE", "{key:?}");
    let (least, most) = (days - 1, days + 1);
    let until = retention.until.duration_since(SystemTime::now()).unwrap();
    assert!(
        (DAY * least..DAY * most).contains(&until),
        "{key:?} {until:?}"
    );
    let tags = store.tags(location).await.unwrap();
    assert!(
        tags.contains(&("cost".into(), "ann & co".into())),
        "{key:?} {tags:?}"
    );
}

#[tokio::test]
async fn whatever_is_stored_below_a_mapping_carries_what_it_says() {
    let (server, store) = server().await;
    let talk = Talk::with(repeated(store.clone()), home("bucket"), limits()).await;
    let (small, large) = (pattern(1_000), pattern(17 * MIB));
    talk.put("/kept/small", &small).await.unwrap();
    talk.put("/kept/large", &large).await.unwrap();
    talk.put("/kept/empty", b"").await.unwrap();
    assert_eq!(server.count("CreateMultipartUpload"), 1);
    for key in ["kept/small", "kept/large", "kept/empty"] {
        assert_carries(&store, &there(key), 30).await;
    }
    // An edit, a time, a copy within it, and moves into it of files that are copied as a whole and
    // in ranges.
    let handle = talk.open("/kept/small", OpenFlags::WRITE).await.unwrap();
    talk.write(&handle, 10, b"edited").await.unwrap();
    talk.close(&handle).await.unwrap();
    talk.client
        .setstat("/kept/empty", timed(1_000_000_000))
        .await
        .unwrap();
    rename(&talk, "/kept/large", "/kept/renamed").await.unwrap();
    talk.put("/plain/small", &small).await.unwrap();
    talk.put("/plain/large", &large).await.unwrap();
    rename(&talk, "/plain/small", "/kept/came").await.unwrap();
    rename(&talk, "/plain/large", "/kept/came-large")
        .await
        .unwrap();
    for key in ["small", "empty", "renamed", "came", "came-large"] {
        assert_carries(&store, &there(&format!("kept/{key}")), 30).await;
    }
    assert!(talk.get("/kept/came-large").await.unwrap() == large);
    // Nor is anything of it carried by what is elsewhere.
    talk.put("/plain/new", &small).await.unwrap();
    let plain = store
        .head(&there("plain/new"))
        .await
        .unwrap()
        .properties
        .unwrap();
    assert_eq!(plain.storage_class.as_deref(), Some("ONEZONE_IA"));
    assert_eq!(
        (plain.kms, plain.retention, plain.legal_hold),
        (None, None, false)
    );
    assert_eq!(store.tags(&there("plain/new")).await.unwrap(), []);
    let stored = server.object("bucket", "plain/new").unwrap();
    assert_eq!(stored.server_side_encryption.as_deref(), Some("AES256"));
}

#[tokio::test]
async fn a_directory_has_the_key_and_the_tags_and_no_class_or_lock() {
    let (server, store) = server().await;
    let talk = Talk::with(repeated(store.clone()), home("bucket"), limits()).await;
    talk.client
        .mkdir("/kept/d", FileAttributes::empty())
        .await
        .unwrap();
    let marker = there("kept/d/");
    let properties = store.head(&marker).await.unwrap().properties.unwrap();
    assert_eq!(&*properties.kms.unwrap().key_id, "key-of-ann");
    assert_eq!((properties.retention, properties.legal_hold), (None, false));
    assert_eq!(properties.storage_class.as_deref(), Some("ONEZONE_IA"));
    assert_eq!(store.tags(&marker).await.unwrap().len(), 1);
    // One that moves there has them as well, and so has what is in it.
    talk.client
        .mkdir("/plain/e", FileAttributes::empty())
        .await
        .unwrap();
    talk.put("/plain/e/f", b"content").await.unwrap();
    rename(&talk, "/plain/e", "/kept/e").await.unwrap();
    assert_carries(&store, &there("kept/e/f"), 30).await;
    let moved = store
        .head(&there("kept/e/"))
        .await
        .unwrap()
        .properties
        .unwrap();
    assert_eq!(&*moved.kms.unwrap().key_id, "key-of-ann");
    assert_eq!(server.keys("bucket"), ["kept/d/", "kept/e/", "kept/e/f"]);
}

/// A session over memory, whose calls are noted and spoiled.
async fn spied_talk() -> (Arc<MemoryStore>, Arc<Failing>, Arc<Noting>, Talk) {
    let (store, failing, noting) = spied(Capabilities::all());
    let talk = Talk::with(noting.clone(), home("b"), limits()).await;
    (store, failing, noting, talk)
}

#[tokio::test]
async fn a_move_keeps_other_tags_and_a_longer_lock() {
    let (store, _, noting, talk) = spied_talk().await;
    let until = SystemTime::now() + DAY * 90;
    let own = Properties {
        cache_control: Some("no-store".into()),
        storage_class: Some("GLACIER_IR".into()),
        retention: Some(Retention {
            mode: "GOVERNANCE".into(),
            until,
        }),
        ..Properties::default()
    };
    talk.put("/plain/f", b"content").await.unwrap();
    let tags = [("cost", "other"), ("project", "x")];
    store.describe(&at("plain/f"), &tags, own);
    rename(&talk, "/plain/f", "/kept/f").await.unwrap();
    assert_carries(&*store, &at("kept/f"), 90).await;
    let carried = store.head(&at("kept/f")).await.unwrap().properties.unwrap();
    assert_eq!(carried.cache_control.as_deref(), Some("no-store"));
    assert_eq!(
        store.tags(&at("kept/f")).await.unwrap(),
        [
            ("cost".into(), "ann & co".into()),
            ("project".into(), "x".into())
        ]
    );
    assert_eq!(noting.keys(Operation::Tags), ["plain/f"]);
    // Out of it a file keeps what it has, and no tag is asked for.
    rename(&talk, "/kept/f", "/plain/g").await.unwrap();
    assert_eq!(noting.keys(Operation::Tags), ["plain/f"]);
    let kept = store
        .head(&at("plain/g"))
        .await
        .unwrap()
        .properties
        .unwrap();
    assert_eq!(kept.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(store.tags(&at("plain/g")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_mapping_says_is_never_left_out() {
    let (store, failing, noting, talk) = spied_talk().await;
    // The store refuses an edit: what belongs to the older file is left, what the mapping says not.
    talk.put("/kept/f", b"older").await.unwrap();
    let refused = Fault::Fail(StorageErrorKind::Refused);
    for nth in 1..=3 {
        failing.spoil(Operation::Put, nth, refused.clone());
    }
    let handle = talk.open("/kept/f", OpenFlags::WRITE).await.unwrap();
    talk.write(&handle, 0, b"newer").await.unwrap();
    talk.close(&handle).await.unwrap();
    assert_eq!(store.object(&at("kept/f")).unwrap(), &b"newer"[..]);
    assert_eq!(failing.pending(), 0);
    assert_carries(&*store, &at("kept/f"), 30).await;
    // The answer of a put is lost; what landed counts.
    failing.spoil(Operation::Put, 1, Fault::LandThenLose);
    talk.put("/kept/f", b"content").await.unwrap();
    assert_carries(&*store, &at("kept/f"), 30).await;
    // Who may not read the tags of a file cannot move it to where tags are added: they would be lost.
    talk.put("/plain/f", b"content").await.unwrap();
    failing.spoil(Operation::Tags, 1, Fault::Fail(StorageErrorKind::Denied));
    let refused = rename(&talk, "/plain/f", "/kept/g").await;
    assert_eq!(refused, Err(StatusCode::PermissionDenied));
    assert!(store.object(&at("plain/f")).is_some());
    assert!(store.object(&at("kept/g")).is_none());
    assert_eq!(noting.keys(Operation::Copy), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_kept_of_a_lost_session_and_a_home_of_one_role_carry_it_too() {
    let (store, _, noting) = spied(Capabilities::all());
    let home = HomeDirectory::of_role("/b/home", Access::ReadWrite).unwrap();
    let config = UserConfig {
        objects: Some(all()),
        ..UserConfig::new("ann", home)
    };
    let (theirs, running) = begin_as(as_answered(config, noting), limits());
    let talk = Talk::over(theirs, running).await;
    talk.put("/b/home/f", b"content").await.unwrap();
    // As far as the role lets the session walk.
    talk.put("/other/f", b"content").await.unwrap();
    assert_carries(&*store, &at("home/f"), 30).await;
    let other = Location {
        bucket: Bucket::parse("other").unwrap(),
        key: Key::parse("f").unwrap(),
    };
    let properties = store.head(&other).await.unwrap().properties.unwrap();
    assert!(properties.legal_hold);
}

#[tokio::test]
async fn a_directory_that_could_not_keep_it_is_refused_at_login() {
    let root = tempfile::tempdir().unwrap();
    let bucket = Bucket::parse("b").unwrap();
    let path = root.path().display().to_string();
    let directory = DirectoryStore::open(&path, std::slice::from_ref(&bucket)).unwrap();
    let memory = MemoryStore::new(&[&bucket]);
    let stores: [(SharedStore, bool); 2] = [(Arc::new(directory), true), (Arc::new(memory), false)];
    for (store, is_directory) in stores {
        let stores = Own::new(store);
        for config in [
            UserConfig::new("ann", home("b")),
            UserConfig {
                objects: Some(all()),
                ..UserConfig::new(
                    "ann",
                    HomeDirectory::path("/b/x", Access::ReadWrite).unwrap(),
                )
            },
        ] {
            let from = (IpAddr::V4(Ipv4Addr::LOCALHOST), "1");
            let now = SystemTime::now();
            let entered = would_enter(&config, &AuthSettings::default(), &stores, from, now).await;
            let refused = entered.err().map(|refusal| refusal.reason.as_str());
            let expected = is_directory.then_some("store-without-object-settings");
            assert_eq!(refused, expected);
        }
    }
}

#[tokio::test]
async fn a_lock_that_would_be_sent_without_a_checksum_is_refused_at_login() {
    let bucket = Bucket::parse("b").unwrap();
    let capabilities = Capabilities {
        checksums: false,
        ..Capabilities::all()
    };
    let store = MemoryStore::new(&[&bucket]).with_capabilities(capabilities);
    let stores = Own::new(Arc::new(store));
    let tags = settings(WrittenSettings {
        tags: vec![("cost".to_owned(), "7".to_owned())],
        ..WrittenSettings::default()
    });
    for (objects, reason) in [(all(), Some("store-without-object-settings")), (tags, None)] {
        let mappings = vec![mapping("/", "/b", Some(objects))];
        let home = HomeDirectory::logical(mappings, VirtualPath::root()).unwrap();
        let config = UserConfig::new("ann", home);
        let from = (IpAddr::V4(Ipv4Addr::LOCALHOST), "1");
        let auth = AuthSettings::default();
        let entered = would_enter(&config, &auth, &stores, from, SystemTime::now()).await;
        let refused = entered.err().map(|refusal| refusal.reason.as_str());
        assert_eq!(refused, reason);
    }
}
