//! What S3 answers, to each kind of call.

use russh_sftp::protocol::{OpenFlags, StatusCode};

use super::*;

pub(super) const UNAVAILABLE: &str = "The storage is not available; try again later";

#[tokio::test]
async fn a_throttled_call_of_any_kind_is_repeated_until_it_is_let_through() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    let large = bytes(PART + 1_000);
    stage.s3.put(BUCKET, "in/here", "here");
    for (operation, key) in [
        ("PutObject", "small"),
        ("CreateMultipartUpload", "large"),
        ("UploadPart", "large"),
        ("CompleteMultipartUpload", "large"),
        ("HeadObject", "here"),
        ("GetObject", "here"),
        ("CopyObject", "moved"),
        ("DeleteObject", "here"),
    ] {
        let action = Action::Status(503, "SlowDown".to_owned());
        let fault = Fault::on(operation, action).key_containing(key);
        stage.s3.script(fault.times(2));
    }
    client.upload("/in/small", b"small").await.unwrap();
    client.upload("/in/large", &large).await.unwrap();
    assert_eq!(client.size("/in/here").await, Ok(4));
    assert_eq!(client.download("/in/here").await.unwrap(), b"here");
    client.rename("/in/here", "/in/moved").await.unwrap();
    stage.refuse("ListObjectsV2", 503, "SlowDown", 2);
    assert_eq!(
        client.names("/in").await.unwrap(),
        ["large", "moved", "small"]
    );
    assert_eq!(stage.object("in/small").unwrap(), b"small");
    assert!(stage.object("in/large").unwrap() == large);
    assert_eq!(stage.object("in/moved").unwrap(), b"here");
    assert_eq!(stage.object("in/here"), None);
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.all("uploaded").len(), 2);
    assert_eq!(log.all("upload failed").len(), 0);
}

#[tokio::test]
async fn what_the_policy_forbids_is_permission_denied() {
    let stage = Stage::start().await;
    stage.s3.put(BUCKET, "in/a", "kept");
    let client = stage.client().await;
    for operation in [
        "PutObject",
        "GetObject",
        "ListObjectsV2",
        "DeleteObject",
        "CreateMultipartUpload",
    ] {
        stage.refuse(operation, 403, "AccessDenied", u32::MAX);
    }
    let denied = |outcome: Result<(), Refused>| {
        assert_eq!(outcome.unwrap_err().code, StatusCode::PermissionDenied);
    };
    denied(client.open("/in/a", OpenFlags::READ).await.map(drop));
    denied(client.names("/in").await.map(drop));
    denied(client.remove("/in/a").await);
    stage.s3.clear_faults();
    stage.refuse("PutObject", 403, "AccessDenied", u32::MAX);
    stage.refuse("CreateMultipartUpload", 403, "AccessDenied", u32::MAX);
    denied(client.upload("/in/b", b"small").await);
    denied(client.upload("/in/c", &bytes(PART + 1)).await);
    let put = stage.path("put");
    std::fs::write(&put, "small").unwrap();
    let seen = stage.sftp(&format!("put {put} /in/b\n")).await;
    assert_eq!(seen.exit, 1);
    assert!(seen.stderr.contains("Permission denied"), "{seen:?}");
    assert_eq!(stage.s3.keys(BUCKET), ["in/a"]);
    drop(client);
    let log = stage.end().await;
    let failed = log.all("upload failed");
    assert_eq!(failed.len(), 3);
    for line in failed {
        assert_eq!(line.level(), "WARN");
        assert!(line.field("reason").contains("AccessDenied"), "{line:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_and_fails_nothing() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    let ahead = Fault::on("PutObject", Action::ClockAhead(1_200));
    stage.s3.script(ahead);
    client.upload("/in/a", b"small").await.unwrap();
    assert_eq!(stage.object("in/a").unwrap(), b"small");
    drop(client);
    let log = stage.end().await;
    let message = "S3 refuses requests because this machine's clock is wrong: set the clock; the next requests are signed with S3's clock";
    let line = log.one(message);
    assert_eq!(line.level(), "WARN");
    assert!(line.field("error").contains("s ahead"), "{line:?}");
}

#[tokio::test]
async fn a_clock_that_stays_wrong_is_no_denial() {
    let stage = Stage::with(Set::resigned()).await;
    let client = stage.client().await;
    let ahead = Fault::on("PutObject", Action::ClockAhead(1_200));
    stage.s3.script(ahead.times(u32::MAX));
    let failed = Err(Refused::failure(UNAVAILABLE));
    assert_eq!(client.upload("/in/a", b"small").await, failed);
    assert_eq!(stage.s3.keys(BUCKET), [""; 0]);
    drop(client);
    let log = stage.end().await;
    let reason = log.audit("upload failed").field("reason");
    assert!(reason.contains("clocks of this machine"), "{reason}");
}

#[tokio::test]
async fn expired_credentials_are_named_and_nothing_becomes_visible() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    for operation in ["PutObject", "UploadPart"] {
        stage.refuse(operation, 400, "ExpiredToken", u32::MAX);
    }
    let expired = Err(Refused::failure("The session's credentials have expired"));
    assert_eq!(client.upload("/in/a", b"small").await, expired);
    assert_eq!(client.upload("/in/b", &bytes(PART + 1)).await, expired);
    assert_eq!(stage.s3.keys(BUCKET), [""; 0]);
    drop(client);
    let log = stage.end().await;
    for line in log.all("upload failed") {
        assert!(line.field("reason").contains("ExpiredToken"), "{line:?}");
    }
    assert_eq!(log.all("upload failed").len(), 2);
}
