//! How buckets are addressed that a client chose.

use std::sync::Arc;
use std::time::Duration;

use embedded_s3::EmbeddedS3;
use portcullis::clock::SystemClock;
use portcullis::metrics::Metrics;
use portcullis::storage::addressing::Buckets;
use portcullis::storage::credentials::{Assumed, Grant, Stores as _};
use portcullis::storage::metered::Meter;
use portcullis::storage::s3::{S3Store, Settings};
use portcullis::storage::{ListQuery, SharedStore, StorageErrorKind};

use crate::common::fake_sts::FakeSts;
use crate::common::stores::{bucket, s3_settings};

async fn open(server: &EmbeddedS3, sts: &FakeSts) -> SharedStore {
    // A name, below which each bucket would be a host of its own.
    let endpoint = server.endpoint().replace("127.0.0.1", "localhost");
    let settings = Settings {
        path_style: false,
        ..s3_settings(endpoint, server.access_key(), server.secret_key())
    };
    let clock = Arc::new(SystemClock);
    let store = S3Store::connect(settings).await.unwrap();
    let meter = Meter::new(clock.clone(), Arc::new(Metrics::default()));
    let assumed = Assumed::new(store, sts.settings(), meter, clock).unwrap();
    let grant = Grant {
        user: "ann",
        session_id: "1",
        provider: "",
        role: Some("arn:aws:iam::123456789012:role/partners"),
        policy: None,
        buckets: Buckets::OfRole { home: None },
        mapped: Vec::new(),
    };
    assumed.open(grant).await.unwrap().store
}

#[tokio::test]
async fn buckets_that_a_client_names_share_one_host() {
    let server = EmbeddedS3::start(embedded_s3::Settings {
        buckets: vec!["other".to_owned()],
        log_requests: true,
        ..embedded_s3::Settings::default()
    });
    let server = server.await.unwrap();
    let sts = FakeSts::start(server.access_key(), server.secret_key()).await;
    let store = open(&server, &sts).await;
    let query = ListQuery::first("");
    let list = |name: String| {
        let (store, query) = (store.clone(), query.clone());
        async move {
            let bucket = bucket(&name);
            let listed = store.list(&bucket, &query);
            let listed = tokio::time::timeout(Duration::from_secs(60), listed).await;
            listed.expect("an answer comes")
        }
    };
    assert!(list("other".to_owned()).await.is_ok());
    for n in 0..20 {
        let error = list(format!("invented-{n}")).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::NoSuchBucket, "{error}");
    }
    // What is a host of its own arrives without its bucket, or not at all.
    assert_eq!(server.count("ListObjectsV2"), 21);
}
