//! A listing is whole, or it is an error.

use super::*;

/// Three pages of files.
async fn crowded() -> Stage {
    let stage = Stage::start().await;
    for number in 0..2_500 {
        stage.s3.put(BUCKET, &format!("in/{number:04}"), "x");
    }
    stage
}

/// Loses every page but the first.
async fn crowded_without_page_two() -> Stage {
    let stage = crowded().await;
    let broken = Action::Status(503, "ServiceUnavailable".to_owned());
    let page_two = Fault::on("ListObjectsV2", broken).skip(1).times(u32::MAX);
    stage.s3.script(page_two);
    stage
}

/// One line says that the listing failed, and where.
async fn has_failed_once(stage: Stage) {
    let lines = stage.end().await.all("operation failed");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].level(), "WARN");
    assert_eq!(lines[0].field("operation"), "readdir");
    assert_eq!(lines[0].field("path"), "/in");
}

#[tokio::test]
async fn a_lost_page_fails_the_listing() {
    let stage = crowded_without_page_two().await;
    let seen = stage.sftp("ls -1 /in\n").await;
    assert_eq!(seen.exit, 1, "{}", seen.stderr);
    assert!(
        seen.stderr.contains("Couldn't read directory: Failure"),
        "{}",
        seen.stderr
    );
    assert!(
        !seen.stdout.contains("/in/0000"),
        "no listing that looks whole"
    );
    has_failed_once(stage).await;
    // A gateway of its own: a call that the first client left behind would meet these faults.
    let stage = crowded_without_page_two().await;
    let client = stage.client().await;
    assert_eq!(
        client.names("/in").await,
        Err(Refused::failure(storage::UNAVAILABLE))
    );
    stage.s3.clear_faults();
    assert_eq!(client.names("/in").await.unwrap().len(), 2_500);
    drop(client);
    has_failed_once(stage).await;
}

#[tokio::test]
async fn a_page_that_comes_at_the_second_try_is_no_gap() {
    let stage = crowded().await;
    let broken = Action::Status(503, "ServiceUnavailable".to_owned());
    stage.s3.script(Fault::on("ListObjectsV2", broken).skip(1));
    stage
        .s3
        .script(Fault::on("ListObjectsV2", Action::CutBody { after: 100 }).skip(3));
    let client = stage.client().await;
    let names = client.names("/in").await.unwrap();
    let expected: Vec<_> = (0..2_500).map(|number| format!("{number:04}")).collect();
    assert_eq!(names, expected);
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.all("operation failed").len(), 0);
}
