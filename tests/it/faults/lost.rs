//! S3 does what it is asked, and its answer is lost: whichever call it is, the client hears what
//! was done.

use super::*;

/// The keys below a directory, without its prefix.
fn keys_below(stage: &Stage, directory: &str) -> Vec<String> {
    let prefix = format!("in/{directory}/");
    let keys = stage.s3.keys(BUCKET).into_iter();
    keys.filter_map(|key| key.strip_prefix(&prefix).map(ToOwned::to_owned))
        .collect()
}

/// Makes, fills, moves, empties and removes a directory; each step is done, and said to be.
async fn life_of_a_directory(stage: &Stage, client: &Client, name: &str) {
    let (from, to) = (format!("/in/{name}"), format!("/in/{name}-moved"));
    client.mkdir(&from).await.unwrap();
    for file in ["a", "b"] {
        let path = format!("{from}/{file}");
        client.upload(&path, path.as_bytes()).await.unwrap();
    }
    client
        .rename(&format!("{from}/a"), &format!("{from}/c"))
        .await
        .unwrap();
    assert_eq!(keys_below(stage, name), ["", "b", "c"]);
    client.rename(&from, &to).await.unwrap();
    assert_eq!(keys_below(stage, name), [""; 0]);
    assert_eq!(keys_below(stage, &format!("{name}-moved")), ["", "b", "c"]);
    let moved = client.download(&format!("{to}/c")).await.unwrap();
    assert_eq!(moved, format!("{from}/a").as_bytes());
    assert_eq!(client.names(&to).await.unwrap(), ["b", "c"]);
    for file in ["b", "c"] {
        client.remove(&format!("{to}/{file}")).await.unwrap();
    }
    client.rmdir(&to).await.unwrap();
    assert_eq!(keys_below(stage, &format!("{name}-moved")), [""; 0]);
}

/// Spoils one call of an operation after the other, each in a life of its own.
async fn each_call_once(stage: &Stage, client: &Client, operation: &str, action: Action) -> usize {
    for nth in 0..100 {
        stage.s3.clear_requests();
        let fault = Fault::on(operation, action.clone());
        stage.s3.script(fault.skip(u32::try_from(nth).unwrap()));
        life_of_a_directory(stage, client, &format!("{operation}-{nth}")).await;
        stage.s3.clear_faults();
        if stage.s3.count(operation) <= nth {
            return nth;
        }
    }
    unreachable!("a life takes fewer calls");
}

#[tokio::test]
async fn an_answer_that_is_lost_at_any_call_changes_nothing_for_the_client() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    for (operation, least) in [
        ("HeadObject", 5),
        ("GetObject", 1),
        ("ListObjectsV2", 3),
        ("PutObject", 3),
        ("CopyObject", 3),
        ("DeleteObject", 5),
    ] {
        let met = each_call_once(&stage, &client, operation, Action::LoseAnswer).await;
        assert!(met >= least, "{operation}: {met}");
    }
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn a_commit_that_the_store_did_not_hear_to_its_end_is_sent_again() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    for (operation, code, least) in [
        ("PutObject", "RequestTimeout", 3),
        ("PutObject", "IncompleteBody", 3),
        ("CopyObject", "OperationAborted", 3),
    ] {
        let refused = Action::Status(400, code.to_owned());
        let met = each_call_once(&stage, &client, operation, refused).await;
        assert!(met >= least, "{operation} {code}: {met}");
    }
    stage.refuse("CompleteMultipartUpload", 409, "OperationAborted", 2);
    let large = bytes(PART + 1_000);
    client.upload("/in/large", &large).await.unwrap();
    assert!(stage.object("in/large").unwrap() == large);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn a_deletion_that_was_not_done_is_not_said_to_be() {
    let stage = Stage::with(Set::resigned()).await;
    let client = stage.client().await;
    client.mkdir("/in/d").await.unwrap();
    client.upload("/in/a", b"kept").await.unwrap();
    stage.refuse("DeleteObject", 503, "ServiceUnavailable", u32::MAX);
    let unavailable = Err(Refused::failure(storage::UNAVAILABLE));
    assert_eq!(client.remove("/in/a").await, unavailable);
    assert_eq!(client.rmdir("/in/d").await, unavailable);
    assert_eq!(client.rename("/in/a", "/in/b").await, unavailable);
    stage.s3.clear_faults();
    assert_eq!(stage.object("in/a").unwrap(), b"kept");
    client.remove("/in/a").await.unwrap();
    client.rmdir("/in/d").await.unwrap();
    drop(client);
    stage.end().await;
}

/// Waits until S3 has been asked so often.
async fn asked(stage: &Stage, operation: &str, times: usize) {
    until(|| stage.s3.count(operation) >= times).await;
}

/// Refuses the first call of an operation, and keeps the second one waiting.
fn refuse_then_keep(stage: &Stage, operation: &str) {
    let refused = Action::Status(503, "SlowDown".to_owned());
    stage.s3.script(Fault::on(operation, refused));
    stage.s3.script(Fault::on(operation, Action::Hang));
}

#[tokio::test]
async fn a_commit_that_is_sent_again_replaces_nothing_that_came_meanwhile() {
    for there_before in [true, false] {
        let stage = Stage::start().await;
        if there_before {
            stage.s3.put(BUCKET, "in/a", "old");
        }
        let client = stage.client().await;
        let handle = client.create("/in/a").await.unwrap();
        client.write(&handle, 0, b"ours").await.unwrap();
        refuse_then_keep(&stage, "PutObject");
        let overtaken = async {
            asked(&stage, "PutObject", 2).await;
            stage.s3.put(BUCKET, "in/a", "another's");
            stage.s3.clear_faults();
        };
        let (closed, ()) = tokio::join!(client.close(&handle), overtaken);
        assert!(closed.is_err(), "{closed:?}");
        assert_eq!(stage.object("in/a").unwrap(), b"another's");
        drop(client);
        stage.end().await;
    }
}

#[tokio::test]
async fn a_removal_that_is_sent_again_removes_nothing_that_came_meanwhile() {
    // The same bytes have the same ETag, and are another's all the same.
    for (lost, another) in [(false, "another's"), (true, "another's"), (true, "old")] {
        let stage = Stage::start().await;
        let client = stage.client().await;
        client.upload("/in/a", b"old").await.unwrap();
        stage.s3.clear_requests();
        if lost {
            // It is gone, and what comes next is not what was to go.
            stage
                .s3
                .script(Fault::on("DeleteObject", Action::LoseAnswer));
            stage
                .s3
                .script(Fault::on("HeadObject", Action::Hang).skip(1));
        } else {
            refuse_then_keep(&stage, "DeleteObject");
        }
        let overtaken = async {
            if lost {
                asked(&stage, "HeadObject", 2).await;
            } else {
                asked(&stage, "DeleteObject", 2).await;
            }
            stage.s3.put(BUCKET, "in/a", another);
            stage.s3.clear_faults();
        };
        let (removed, ()) = tokio::join!(client.remove("/in/a"), overtaken);
        removed.unwrap();
        assert_eq!(stage.object("in/a").unwrap(), another.as_bytes());
        drop(client);
        stage.end().await;
    }
}
