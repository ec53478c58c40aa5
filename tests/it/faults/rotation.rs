//! Access keys that replace each other: what S3 or STS does not know any more is passed over.

use russh_sftp::protocol::StatusCode;

use super::*;
use crate::common::fake_sts::FakeSts;

const TURNED: &str = "S3 no longer takes the access key in use: the other one is used";
const GONE: &str = "AKIDGONE";

/// The key that the embedded S3 takes, as the second one.
fn good() -> AccessKey {
    key(&embedded_s3::Settings::default().access_key, S3_SECRET)
}

fn bad() -> AccessKey {
    key(GONE, "ochre-secret-31")
}

fn key(id: &str, secret: &str) -> AccessKey {
    AccessKey::new(id, &Secret::new(secret.to_owned()), None)
}

fn position(stage: &Stage, keys: &str) -> Option<String> {
    let name = format!("portcullis_access_key_in_use{{keys=\"{keys}\"}} ");
    let metrics = stage.admin_status.metrics();
    let mut lines = metrics.lines();
    lines.find_map(|line| line.strip_prefix(&name).map(str::to_owned))
}

/// Returns how many requests S3 refused.
fn refused(stage: &Stage) -> usize {
    let requests = stage.s3.requests();
    let statuses = requests.iter().filter_map(|request| request.status);
    statuses.filter(|status| *status == 403).count()
}

#[tokio::test]
async fn a_key_that_s3_does_not_know_gives_way_to_the_next() {
    let s3 = embedded_s3::Settings::default();
    for first in [
        (GONE.to_owned(), S3_SECRET),
        (s3.access_key, "ochre-secret-31"),
    ] {
        let stage = Stage::with(Set {
            own: Some(first),
            next: Some(good()),
            ..Set::default()
        })
        .await;
        assert_eq!(position(&stage, "storage").as_deref(), Some("1"));
        let client = stage.client().await;
        client.upload("/in/a", b"small").await.unwrap();
        let turned = refused(&stage);
        assert_eq!(client.download("/in/a").await.unwrap(), b"small");
        client.rename("/in/a", "/in/b").await.unwrap();
        client.remove("/in/b").await.unwrap();
        // The old key is not tried again.
        assert_eq!(refused(&stage), turned);
        assert_eq!(position(&stage, "storage").as_deref(), Some("2"));
        drop(client);
        let log = stage.end().await;
        let line = log.one(TURNED);
        assert_eq!(line.field("keys"), "storage");
        assert_eq!(line.field("position"), "2");
        assert!(!log.text().contains("ochre-secret-31"), "{}", log.text());
    }
}

#[tokio::test]
async fn a_key_that_was_only_told_by_a_head_gives_way_as_well() {
    let stage = Stage::with(Set {
        own: Some((GONE.to_owned(), S3_SECRET)),
        next: Some(good()),
        ..Set::default()
    })
    .await;
    stage.s3.put(BUCKET, "in/a", "small");
    let client = stage.client().await;
    assert_eq!(client.size("/in/a").await, Ok(5));
    assert_eq!(position(&stage, "storage").as_deref(), Some("2"));
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn what_is_denied_to_a_known_key_is_denied() {
    let stage = Stage::with(Set {
        next: Some(bad()),
        ..Set::default()
    })
    .await;
    stage.s3.put(BUCKET, "in/a", "small");
    stage.refuse("PutObject", 403, "AccessDenied", u32::MAX);
    let client = stage.client().await;
    let denied = client.upload("/in/b", b"x").await.unwrap_err();
    assert_eq!(denied.code, StatusCode::PermissionDenied);
    let puts = stage.s3.requests();
    let puts = puts.iter().filter(|one| one.operation == "PutObject");
    assert_eq!(puts.count(), 1);
    assert_eq!(client.download("/in/a").await.unwrap(), b"small");
    assert_eq!(position(&stage, "storage").as_deref(), Some("1"));
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.all(TURNED).len(), 0);
}

#[tokio::test]
async fn two_keys_that_s3_does_not_know_are_a_refusal() {
    let stage = Stage::with(Set {
        own: Some((GONE.to_owned(), S3_SECRET)),
        next: Some(bad()),
        ..Set::default()
    })
    .await;
    let client = stage.client().await;
    let denied = client.upload("/in/b", b"x").await.unwrap_err();
    assert_eq!(denied.code, StatusCode::PermissionDenied);
    assert_eq!(position(&stage, "storage").as_deref(), Some("1"));
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.all(TURNED).len(), 0);
}

#[tokio::test]
async fn the_keys_of_a_role_give_way_each_for_itself() {
    let role = "arn:aws:iam::123456789012:role/partners";
    let mut answer = allowed();
    answer["role"] = role.into();
    let stage = Stage::with(Set {
        answer,
        roles: Roles::Map,
        keys: vec![RoleKeys {
            role: role.into(),
            key: key(GONE, S3_SECRET),
            next: Some(good()),
            section: "role.partners".to_owned(),
        }],
        ..Set::default()
    })
    .await;
    let client = stage.client().await;
    client.upload("/in/a", b"small").await.unwrap();
    assert_eq!(position(&stage, "role.partners").as_deref(), Some("2"));
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn roles_are_assumed_with_the_key_that_sts_knows() {
    let keys = embedded_s3::Settings::default();
    let sts = FakeSts::start(&keys.access_key, S3_SECRET).await;
    sts.forget_key(GONE);
    let mut answer = allowed();
    answer["role"] = "arn:aws:iam::123456789012:role/partners".into();
    let stage = Stage::with(Set {
        own: Some((GONE.to_owned(), S3_SECRET)),
        next: Some(good()),
        answer,
        roles: Roles::Assume,
        sts: Some(sts.settings()),
        ..Set::default()
    })
    .await;
    for _ in 0..2 {
        let client = stage.client().await;
        client.upload("/in/a", b"small").await.unwrap();
        drop(client);
    }
    assert_eq!(position(&stage, "storage").as_deref(), Some("2"));
    // One for the key that STS does not know, and one for each login.
    assert_eq!(sts.asked().len(), 3);
    let log = stage.end().await;
    assert_eq!(log.all("login refused").len(), 0);
}
