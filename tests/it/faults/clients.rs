//! Clients that die, race or stand still.

use russh_sftp::protocol::OpenFlags;

use super::*;

#[tokio::test]
async fn a_client_killed_in_mid_upload_leaves_nothing() {
    let stage = Stage::start().await;
    let hang = Fault::on("UploadPart", Action::Hang).skip(1);
    stage.s3.script(hang.times(u32::MAX));
    let local = stage.path("a");
    std::fs::write(&local, bytes(4 * PART)).unwrap();
    let batch = format!("put {local} /in/a\n");
    let mut child = stage.begin_sftp(USER, PASSWORD, &[], &batch).await;
    until(|| stage.s3.uploads(BUCKET).iter().any(|u| !u.parts.is_empty())).await;
    child.kill().await.unwrap();
    until(|| stage.s3.uploads(BUCKET).is_empty()).await;
    stage.s3.clear_faults();
    assert_eq!(stage.s3.keys(BUCKET), [""; 0]);
    let log = stage.end().await;
    let line = log.audit("upload failed");
    assert_eq!(line.level(), "WARN");
    assert_eq!(line.field("reason"), "the session ended before CLOSE");
    assert_eq!(log.one("DISCONNECTED").field("user"), USER);
}

#[tokio::test]
async fn of_two_exclusive_creates_exactly_one_wins() {
    let stage = Stage::start().await;
    let (one, other) = (stage.client().await, stage.client().await);
    let exclusive = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    let upload = async |client: &Client, content: &[u8]| {
        let handle = client.open("/in/lock", exclusive).await?;
        client.write(&handle, 0, content).await?;
        client.close(&handle).await
    };
    let outcomes = tokio::join!(upload(&one, b"one"), upload(&other, b"other"));
    let winner: &[u8] = match outcomes {
        (Ok(()), Err(_)) => b"one",
        (Err(_), Ok(())) => b"other",
        both => panic!("{both:?}"),
    };
    assert_eq!(stage.object("in/lock").unwrap(), winner);
    assert!(upload(&one, b"third").await.is_err());
    assert_eq!(stage.object("in/lock").unwrap(), winner);
    drop((one, other));
    let log = stage.end().await;
    assert_eq!(log.all("uploaded").len(), 1);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_holds_up_nobody() {
    let set = Set::default();
    let limits = Limits {
        stalled_output_timeout: Duration::from_millis(500),
        ..set.limits
    };
    let stage = Stage::with(Set { limits, ..set }).await;
    stage.s3.put(BUCKET, "in/a", bytes(32 << 20));
    let local = stage.path("a");
    let batch = format!("get /in/a {local}\n");
    // ssh reads on by itself; what it cannot hand to a stopped sftp closes the window.
    let slow = ["-l", "8000"];
    let mut child = stage.begin_sftp(USER, PASSWORD, &slow, &batch).await;
    until(|| stage.s3.count("GetObject") > 0).await;
    let stopped = shutdown::signal(child.id().unwrap(), "STOP").await;
    assert!(stopped);
    let client = stage.client().await;
    client.upload("/in/b", b"meanwhile").await.unwrap();
    assert_eq!(client.download("/in/b").await.unwrap(), b"meanwhile");
    until(|| !stage.log.all("DISCONNECTED").is_empty()).await;
    child.kill().await.unwrap();
    drop(client);
    let log = stage.end().await;
    let line = log.all("DISCONNECTED").remove(0);
    assert_eq!(line.field("reason"), "stalled-output");
}
