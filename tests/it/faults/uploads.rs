//! S3 fails while a file is on its way.

use super::storage::UNAVAILABLE;
use super::*;

#[tokio::test]
async fn a_part_that_is_refused_for_a_while_is_sent_again() {
    let stage = Stage::start().await;
    let content = bytes(PART + 1_000);
    stage.refuse("UploadPart", 503, "ServiceUnavailable", 2);
    let local = stage.path("a");
    std::fs::write(&local, &content).unwrap();
    let seen = stage.sftp(&format!("put {local} /in/a\n")).await;
    assert_eq!((seen.exit, seen.stderr.as_str()), (0, ""));
    assert!(stage.object("in/a").unwrap() == content);
    assert_eq!(stage.s3.count("UploadPart"), 4);
    let log = stage.end().await;
    let line = log.audit("uploaded");
    assert_eq!(line.field("path"), "/in/a");
    assert_eq!(line.field("bytes_in"), content.len().to_string());
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_stopped() {
    let content = bytes(20_000_000);
    let stage = Stage::with(Set::resigned()).await;
    let (half, whole) = (stage.path("half"), stage.path("whole"));
    std::fs::write(&half, &content[..12_000_000]).unwrap();
    std::fs::write(&whole, &content).unwrap();
    stage.refuse("UploadPartCopy", 503, "ServiceUnavailable", 2);
    let batch = format!("put {half} /in/a\nreput {whole} /in/a\n");
    let seen = stage.sftp(&batch).await;
    assert_eq!((seen.exit, seen.stderr.as_str()), (0, ""));
    assert!(stage.object("in/a").unwrap() == content);
    assert_eq!(stage.s3.count("UploadPartCopy"), 3);
    let log = stage.end().await;
    let line = log.all("uploaded").pop().unwrap();
    assert_eq!(line.field("bytes_in"), "8000000");
    assert_eq!(line.field("size"), "20000000");
}

#[tokio::test]
async fn a_lasting_refusal_fails_close_and_leaves_nothing() {
    let stage = Stage::with(Set::resigned()).await;
    stage.refuse("UploadPart", 503, "ServiceUnavailable", u32::MAX);
    let client = stage.client().await;
    let outcome = client.upload("/in/a", &bytes(PART + 1_000)).await;
    assert_eq!(outcome, Err(Refused::failure(UNAVAILABLE)));
    assert_eq!(stage.s3.keys(BUCKET), [""; 0]);
    drop(client);
    let log = stage.end().await;
    let line = log.audit("upload failed");
    assert_eq!(line.level(), "WARN");
    assert_eq!(line.field("path"), "/in/a");
    assert!(
        line.field("reason").contains("503 ServiceUnavailable"),
        "{line:?}"
    );
}

#[tokio::test]
async fn an_outage_in_the_middle_leaves_what_was_there_before() {
    let stage = Stage::with(Set::resigned()).await;
    stage.s3.put(BUCKET, "in/a", "old");
    let client = stage.client().await;
    let handle = client.create("/in/a").await.unwrap();
    let content = bytes(PART + 1_000);
    client.write(&handle, 0, &content[..PART]).await.unwrap();
    until(|| stage.s3.uploads(BUCKET).iter().any(|u| u.parts.len() == 1)).await;
    stage.s3.set_down(true);
    // The rest is taken: it is not a part yet.
    client.write(&handle, PART, &content[PART..]).await.unwrap();
    assert_eq!(
        client.close(&handle).await,
        Err(Refused::failure(UNAVAILABLE))
    );
    assert_eq!(stage.object("in/a").unwrap(), b"old");
    assert_eq!(stage.s3.uploads(BUCKET).len(), 1, "nobody can end it yet");
    stage.s3.set_down(false);
    until(|| stage.s3.uploads(BUCKET).is_empty()).await;
    client.upload("/in/a", b"new").await.unwrap();
    assert_eq!(stage.object("in/a").unwrap(), b"new");
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.audit("upload failed").level(), "WARN");
}

#[tokio::test]
async fn a_silent_part_is_sent_again() {
    let stage = Stage::with(Set::impatient()).await;
    stage.s3.script(Fault::on("UploadPart", Action::Hang));
    let client = stage.client().await;
    let content = bytes(PART + 1_000);
    client.upload("/in/a", &content).await.unwrap();
    assert!(stage.object("in/a").unwrap() == content);
    drop(client);
    stage.end().await;
}
