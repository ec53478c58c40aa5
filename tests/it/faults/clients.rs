//! Clients that die, race or stand still.

use russh_sftp::protocol::OpenFlags;

use super::*;

#[tokio::test]
async fn a_client_killed_in_mid_upload_leaves_nothing() {
    let stage = Stage::start().await;
    let local = stage.path("a");
    std::fs::write(&local, bytes(8 * PART)).unwrap();
    let batch = format!("put {local} /in/a\n");
    // Slow enough to be met in the middle.
    let slow = ["-l", "40000"];
    let mut child = stage.begin_sftp(USER, PASSWORD, &slow, &batch).await;
    until(|| stage.s3.uploads(BUCKET).iter().any(|u| !u.parts.is_empty())).await;
    child.kill().await.unwrap();
    until(|| stage.s3.uploads(BUCKET).is_empty()).await;
    assert_eq!(stage.s3.keys(BUCKET), [""; 0]);
    let log = stage.end().await;
    let line = log.audit("upload failed");
    assert_eq!(line.level(), "WARN");
    assert_eq!(line.field("reason"), "the session ended before CLOSE");
    assert_eq!(log.one("disconnected").span("user"), USER);
}

#[tokio::test]
async fn a_connection_lost_while_s3_is_silent_leaves_nothing() {
    let stage = Stage::start().await;
    let hang = Fault::on("UploadPart", Action::Hang);
    stage.s3.script(hang.times(u32::MAX));
    let client = stage.client().await;
    let handle = client.create("/in/a").await.unwrap();
    client.write(&handle, 0, &bytes(PART)).await.unwrap();
    until(|| stage.s3.count("UploadPart") == 1).await;
    let lost = client
        .ssh
        .disconnect(russh::Disconnect::ByApplication, "", "");
    lost.await.unwrap();
    until(|| stage.s3.uploads(BUCKET).is_empty()).await;
    let log = stage.end().await;
    let line = log.audit("upload failed");
    assert_eq!(line.field("reason"), "the session ended before CLOSE");
}

#[tokio::test]
async fn a_client_that_asks_for_a_sign_of_life_gets_it_while_s3_takes_its_time() {
    let stage = Stage::start().await;
    let local = stage.path("a");
    let content = bytes(PART + 1);
    std::fs::write(&local, &content).unwrap();
    // The client would end the connection after ten questions without an answer.
    let alive = [
        "-o",
        "ServerAliveInterval=1",
        "-o",
        "ServerAliveCountMax=10",
    ];
    let late = Action::Delay(Duration::from_secs(15));
    stage.s3.script(Fault::on("CompleteMultipartUpload", late));
    let batch = format!("put {local} /in/a\n");
    let child = stage.begin_sftp(USER, PASSWORD, &alive, &batch).await;
    let output = child.wait_with_output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stage.object("in/a").unwrap() == content);
    stage.end().await;
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
    let config = russh::client::Config {
        // Without a reader of its channel the client's whole connection stands still.
        channel_buffer_size: 1,
        ..Default::default()
    };
    let still = client::login(stage.gateway.address(), PASSWORD, config).await;
    let channel = still.as_ref().unwrap().channel_open_session().await;
    let mut channel = channel.unwrap();
    channel.request_subsystem(false, "sftp").await.unwrap();
    channel
        .data_bytes(packet(&[&[INIT], &3_u32.to_be_bytes()]))
        .await
        .unwrap();
    let path = b"/in/a";
    let open: [&[u8]; 5] = [
        &[OPEN, 0, 0, 0, 1, 0, 0, 0, 5],
        path,
        &1_u32.to_be_bytes(),
        &[0; 4],
        &[],
    ];
    channel.data_bytes(packet(&open)).await.unwrap();
    // The answer to OPEN ends with the handle.
    let handle = loop {
        if let russh::ChannelMsg::Data { data } = within(channel.wait()).await.unwrap()
            && data[4] == HANDLE
        {
            break data[9..].to_vec();
        }
    };
    let reads = (0..512_u64).flat_map(|index| {
        let at = (index * 65_536).to_be_bytes();
        packet(&[&[READ, 0, 0, 0, 2], &handle, &at, &65_536_u32.to_be_bytes()])
    });
    channel.data_bytes(reads.collect::<Vec<_>>()).await.unwrap();
    let client = stage.client().await;
    client.upload("/in/b", b"meanwhile").await.unwrap();
    assert_eq!(client.download("/in/b").await.unwrap(), b"meanwhile");
    until(|| !stage.log.all("disconnected").is_empty()).await;
    let line = stage.log.one("disconnected");
    drop((client, channel, still));
    stage.end().await;
    assert_eq!(line.field("reason"), "stalled-output");
}

/// One SFTP packet.
fn packet(pieces: &[&[u8]]) -> Vec<u8> {
    let body = pieces.concat();
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes()[..], &body].concat()
}

const INIT: u8 = 1;
const OPEN: u8 = 3;
const READ: u8 = 5;
const HANDLE: u8 = 102;
