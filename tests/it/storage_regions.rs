//! Buckets in another region than the configured one.

use std::sync::Arc;

use bytes::Bytes;
use embedded_s3::{EmbeddedS3, Placement};
use portcullis::clock::SystemClock;
use portcullis::metrics::Metrics;
use portcullis::storage::addressing::Buckets;
use portcullis::storage::credentials::{Grant, Own, Stores as _};
use portcullis::storage::metered::Meter;
use portcullis::storage::s3::{S3Store, Settings};
use portcullis::storage::{
    CopyObject, GetObject, ListQuery, Location, Precondition, PutObject, SharedStore,
    StorageErrorKind, Version,
};

use crate::common::stores::{bucket, checksum, collect, new_object, s3_settings};

const BUCKET: &str = "far-away";

async fn start(named: bool) -> EmbeddedS3 {
    let settings = embedded_s3::Settings {
        buckets: vec![BUCKET.to_owned()],
        log_requests: true,
        ..embedded_s3::Settings::default()
    };
    let server = EmbeddedS3::start(settings).await.unwrap();
    let region = "eu-west-1".to_owned();
    server.place(BUCKET, Placement { region, named });
    server
}

/// Returns what every session has of this store.
async fn open(server: &EmbeddedS3, follow_regions: bool) -> SharedStore {
    let settings = Settings {
        follow_regions,
        ..s3_settings(server.endpoint(), server.access_key(), server.secret_key())
    };
    let store = S3Store::connect(settings).await.unwrap();
    let clock = Arc::new(SystemClock);
    let meter = Meter::new(clock.clone(), Arc::new(Metrics::default()));
    let grant = Grant {
        user: "ann",
        session_id: "1",
        provider: "",
        role: None,
        policy: None,
        buckets: Buckets::OfMappings,
        mapped: Vec::new(),
    };
    Own::of(store, meter, clock)
        .open(grant)
        .await
        .unwrap()
        .store
}

fn at(key: &str) -> Location {
    Location {
        bucket: bucket(BUCKET),
        key: portcullis::storage::Key::parse(key).unwrap(),
    }
}

async fn put(store: &SharedStore, key: &str) -> portcullis::storage::ETag {
    let put = PutObject {
        object: &new_object(),
        checksum: checksum(b"content"),
        condition: &Precondition::IfNoneMatch,
    };
    let content = Bytes::from_static(b"content");
    store.put(&at(key), content, put).await.unwrap().etag
}

#[tokio::test]
async fn a_bucket_in_another_region_is_asked_there_from_then_on() {
    let server = start(true).await;
    let store = open(&server, true).await;
    let etag = put(&store, "a").await;
    assert_eq!(server.count("PutObject"), 2, "one was sent to its region");

    store.check_bucket(&bucket(BUCKET)).await.unwrap();
    store.head(&at("a")).await.unwrap();
    let query = ListQuery {
        prefix: String::new(),
        delimited: true,
        after: None,
        max: 10,
    };
    let page = store.list(&bucket(BUCKET), &query).await.unwrap();
    assert_eq!(page.objects.len(), 1);
    let body = store.get(&at("a"), GetObject::default()).await.unwrap();
    assert_eq!(collect(body).await.unwrap(), &b"content"[..]);
    let copy = CopyObject {
        source: Version {
            location: &at("a"),
            etag: &etag,
        },
        object: &new_object(),
        condition: &Precondition::IfNoneMatch,
    };
    store.copy(&at("b"), copy).await.unwrap();
    let upload = store.create(&at("c"), &new_object()).await.unwrap();
    store.abort(&at("c"), &upload).await.unwrap();
    store.delete(&at("a"), None).await.unwrap();
    assert_eq!(server.keys(BUCKET), ["b"]);
    assert_eq!(server.requests().len(), 10, "each but the first asks once");
}

#[tokio::test]
async fn a_region_that_a_refusal_does_not_name_is_asked_for_once() {
    let server = start(false).await;
    let store = open(&server, true).await;
    put(&store, "a").await;
    put(&store, "b").await;
    assert_eq!(server.keys(BUCKET), ["a", "b"]);
    assert_eq!(server.count("HeadBucket"), 1);
    assert_eq!(server.count("PutObject"), 3);
}

#[tokio::test]
async fn a_refused_look_finds_the_region_as_well() {
    for named in [true, false] {
        let server = start(named).await;
        let store = open(&server, true).await;
        let missing = store.head(&at("a")).await.unwrap_err();
        assert_eq!(missing.kind, StorageErrorKind::NotFound);
        let store = open(&server, true).await;
        let query = ListQuery {
            prefix: String::new(),
            delimited: true,
            after: None,
            max: 10,
        };
        let page = store.list(&bucket(BUCKET), &query).await.unwrap();
        assert!(page.objects.is_empty());
    }
}

#[tokio::test]
async fn an_endpoint_of_ones_own_is_asked_in_its_own_region_alone() {
    let server = start(true).await;
    let store = open(&server, false).await;
    let refused = store.get(&at("a"), GetObject::default()).await.unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Refused);
    let words = "; the bucket is in region eu-west-1";
    assert!(refused.detail.ends_with(words), "{refused}");
    assert_eq!(server.requests().len(), 1);
}
