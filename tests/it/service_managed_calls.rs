//! What a look-up of a service-managed user costs at S3.

use std::sync::Arc;
use std::time::Duration;

use embedded_s3::{EmbeddedS3, RequestRecord};
use portcullis::clock::SystemClock;
use portcullis::idp::service_managed::{InBucket, Source, Users};
use portcullis::storage::Bucket;
use portcullis::storage::s3::S3Store;
use serde_json::json;

use super::aws_api::{Gateway, SERVER};
use super::common::stores::s3_settings;
use super::service_managed::{home, key, replica};

/// Longer than answers count, shorter than they may stand in.
const LATER: Duration = Duration::from_secs(3);

/// What was asked since so many requests: operation, condition and status of each.
fn asked(s3: &EmbeddedS3, before: usize) -> Vec<(String, bool, u16)> {
    let told = |one: &RequestRecord| {
        let is_conditional = one.if_none_match.is_some();
        (
            one.operation.clone(),
            is_conditional,
            one.status.unwrap_or(0),
        )
    };
    s3.requests().iter().skip(before).map(told).collect()
}

fn get(is_conditional: bool, status: u16) -> Vec<(String, bool, u16)> {
    vec![("GetObject".to_owned(), is_conditional, status)]
}

#[tokio::test]
async fn a_user_is_one_get_then_none_then_one_that_brings_only_what_is_new() {
    let s3 = EmbeddedS3::start(embedded_s3::Settings {
        buckets: vec!["config".to_owned()],
        log_requests: true,
        ..embedded_s3::Settings::default()
    });
    let s3 = s3.await.unwrap();
    let settings = s3_settings(s3.endpoint(), s3.access_key(), s3.secret_key());
    let store = Arc::new(S3Store::connect(settings).await.unwrap());
    let documents = || {
        let bucket = Bucket::parse("config").unwrap();
        let users = InBucket::of(bucket, "users", "s-1", Arc::new(SystemClock));
        users.connect(store.clone());
        Arc::new(users)
    };
    let (one, other) = (replica(documents()), replica(documents()));
    let line = key(1);
    let created = one
        .users
        .create("ann", home("/bucket/home"), vec![], Some(&line));
    created.await.unwrap();
    let looked_up = async |users: &Users, expected: Source| {
        let before = s3.requests().len();
        let (judged, source) = users.look_up("ann").await;
        assert_eq!(source, expected);
        (judged.is_ok(), asked(&s3, before))
    };
    let users = &other.users;
    let first = looked_up(users, Source::Asked).await;
    assert_eq!(first, (true, get(false, 200)));
    for _ in 0..3 {
        let again = looked_up(users, Source::Remembered).await;
        assert_eq!(again, (true, vec![]));
    }
    for _ in 0..2 {
        other.clock.advance(LATER);
        let same = looked_up(users, Source::Asked).await;
        assert_eq!(same, (true, get(true, 304)));
        let again = looked_up(users, Source::Remembered).await;
        assert_eq!(again, (true, vec![]), "confirmed for as long again");
    }
    one.users.import_key("ann", &key(2)).await.unwrap();
    other.clock.advance(LATER);
    let changed = looked_up(users, Source::Asked).await;
    assert_eq!(changed, (true, get(true, 200)), "one call, and no second");
    let (judged, _) = users.look_up("ann").await;
    assert_eq!(judged.unwrap().public_keys.len(), 2);
    one.users.delete("ann").await.unwrap();
    other.clock.advance(LATER);
    let gone = looked_up(users, Source::Asked).await;
    assert_eq!(gone, (false, get(true, 404)));
    let still = looked_up(users, Source::Asked).await;
    assert_eq!(still, (false, get(false, 404)), "nothing is known of it");
}

/// The whole gateway: a client asks whether a key is taken, and then signs with it.
#[tokio::test]
async fn a_login_is_one_get() {
    let gateway = Gateway::start_with(true, "", None).await;
    let line = gateway.key_pair().await;
    let ann = json!({"ServerId": SERVER, "UserName": "ann", "HomeDirectory": "/bucket",
        "Role": "arn:aws:iam::123456789012:role/sftp-user", "SshPublicKeyBody": line});
    gateway.done("CreateUser", ann).await;
    let before = gateway.s3.requests().len();
    let output = gateway.sftp("ann", "pwd\n").await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(asked(&gateway.s3, before), get(false, 200));
}
