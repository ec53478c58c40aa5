//! S3 fails at CLOSE: what the client is told is what happened.

use super::*;

const UNCONFIRMED: &str = "The storage did not confirm; the outcome is not known";

/// Uploads with a fault waiting for its commit.
async fn closed_with(set: Set, fault: Fault, content: &[u8]) -> (Stage, Result<(), Refused>) {
    let stage = Stage::with(set).await;
    stage.s3.script(fault);
    let client = stage.client().await;
    let outcome = client.upload("/in/a", content).await;
    (stage, outcome)
}

fn internal_error() -> Action {
    Action::Status(500, "InternalError".to_owned())
}

/// The file is there, whole, and said to be.
async fn is_uploaded(stage: Stage, content: &[u8]) -> Log {
    assert!(stage.object("in/a").unwrap() == content);
    let log = stage.end().await;
    assert_eq!(
        log.audit("uploaded").field("bytes_in"),
        content.len().to_string()
    );
    assert_eq!(log.all("upload failed").len(), 0);
    log
}

/// Nothing is there, and the log says why.
async fn is_failed(stage: Stage, reason: &str) {
    assert_eq!(stage.s3.keys(BUCKET), [""; 0]);
    let log = stage.end().await;
    let line = log.audit("upload failed");
    assert_eq!(line.level(), "WARN");
    assert!(line.field("reason").contains(reason), "{line:?}");
    assert_eq!(log.all("uploaded").len(), 0);
}

#[tokio::test]
async fn a_put_that_landed_though_its_answer_was_lost_is_a_success() {
    let fault = Fault::on("PutObject", Action::LoseAnswer);
    let (stage, outcome) = closed_with(Set::default(), fault, b"small").await;
    assert_eq!(outcome, Ok(()));
    assert_eq!(stage.s3.count("PutObject"), 1, "it is not written twice");
    let log = is_uploaded(stage, b"small").await;
    let line = log.audit("commit succeeded although its answer was lost");
    assert!(line.field("location").contains("in/a"));
}

#[tokio::test]
async fn a_put_that_did_not_land_is_sent_again() {
    let fault = Fault::on("PutObject", internal_error());
    let (stage, outcome) = closed_with(Set::default(), fault, b"small").await;
    assert_eq!(outcome, Ok(()));
    assert_eq!(stage.s3.count("PutObject"), 2);
    is_uploaded(stage, b"small").await;
}

#[tokio::test]
async fn a_put_that_never_lands_is_a_failure() {
    let fault = Fault::on("PutObject", internal_error()).times(u32::MAX);
    let (stage, outcome) = closed_with(Set::resigned(), fault, b"small").await;
    assert_eq!(outcome, Err(Refused::failure(UNCONFIRMED)));
    is_failed(stage, "500 InternalError").await;
}

#[tokio::test]
async fn an_outage_at_close_is_a_failure() {
    let stage = Stage::with(Set::resigned()).await;
    let client = stage.client().await;
    let handle = client.create("/in/a").await.unwrap();
    client.write(&handle, 0, b"small").await.unwrap();
    stage.s3.set_down(true);
    let closed = client.close(&handle).await;
    assert!(closed.is_err(), "{closed:?}");
    stage.s3.set_down(false);
    drop(client);
    is_failed(stage, "PutObject s3://bucket/in/a").await;
}

#[tokio::test]
async fn a_silent_put_is_looked_after_and_sent_again() {
    let fault = Fault::on("PutObject", Action::Hang);
    let (stage, outcome) = closed_with(Set::impatient(), fault, b"small").await;
    assert_eq!(outcome, Ok(()));
    is_uploaded(stage, b"small").await;
}

#[tokio::test]
async fn a_silent_complete_is_looked_after_and_sent_again() {
    let content = bytes(PART + 1_000);
    let fault = Fault::on("CompleteMultipartUpload", Action::Hang);
    let (stage, outcome) = closed_with(Set::impatient(), fault, &content).await;
    assert_eq!(outcome, Ok(()));
    is_uploaded(stage, &content).await;
}

#[tokio::test]
async fn a_silent_copy_is_looked_after_and_sent_again() {
    let stage = Stage::with(Set::impatient()).await;
    stage.s3.put(BUCKET, "in/a", "moved");
    stage.s3.script(Fault::on("CopyObject", Action::Hang));
    let client = stage.client().await;
    client.rename("/in/a", "/in/b").await.unwrap();
    assert_eq!(stage.object("in/b").unwrap(), b"moved");
    assert_eq!(stage.object("in/a"), None);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn a_person_reads_that_close_failed() {
    let stage = Stage::with(Set::resigned()).await;
    stage.refuse("PutObject", 403, "AccessDenied", u32::MAX);
    stage.refuse("CompleteMultipartUpload", 500, "InternalError", u32::MAX);
    for (name, content) in [("a", bytes(10)), ("b", bytes(PART + 1))] {
        let local = stage.path(name);
        std::fs::write(&local, content).unwrap();
        let seen = stage.sftp(&format!("put {local} /in/{name}\n")).await;
        assert_eq!(seen.exit, 1, "{seen:?}");
        assert!(seen.stderr.contains("close remote: "), "{seen:?}");
    }
    assert_eq!(stage.s3.keys(BUCKET), [""; 0]);
    let log = stage.end().await;
    assert_eq!(log.all("upload failed").len(), 2);
}

#[tokio::test]
async fn a_complete_that_landed_though_its_answer_was_lost_is_a_success() {
    let content = bytes(PART + 1_000);
    let fault = Fault::on("CompleteMultipartUpload", Action::LoseAnswer);
    let (stage, outcome) = closed_with(Set::default(), fault, &content).await;
    assert_eq!(outcome, Ok(()));
    assert_eq!(stage.s3.count("CompleteMultipartUpload"), 1);
    let log = is_uploaded(stage, &content).await;
    log.audit("commit succeeded although its answer was lost");
}

#[tokio::test]
async fn a_complete_that_did_not_land_is_sent_again() {
    let content = bytes(PART + 1_000);
    for action in [internal_error(), Action::ErrorIn200] {
        let fault = Fault::on("CompleteMultipartUpload", action);
        let (stage, outcome) = closed_with(Set::default(), fault, &content).await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(stage.s3.count("CompleteMultipartUpload"), 2);
        is_uploaded(stage, &content).await;
    }
}

#[tokio::test]
async fn an_error_in_the_body_of_a_200_is_never_a_success() {
    let fault = Fault::on("CompleteMultipartUpload", Action::ErrorIn200).times(u32::MAX);
    let (stage, outcome) = closed_with(Set::resigned(), fault, &bytes(PART + 1_000)).await;
    assert_eq!(outcome, Err(Refused::failure(UNCONFIRMED)));
    is_failed(stage, "200 InternalError").await;
}
