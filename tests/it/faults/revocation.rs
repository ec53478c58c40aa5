//! The operator takes a user's access back.

use portcullis::clock::Clock as _;
use portcullis::idp::blocks::Blocked;
use russh_sftp::protocol::OpenFlags;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::*;

/// What the operator is promised.
const OUT_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_revoked_user_is_out_and_nothing_open_is_committed() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    let small = client.create("/in/small").await.unwrap();
    client.write(&small, 0, b"a few bytes").await.unwrap();
    let large = client.create("/in/large").await.unwrap();
    client.write(&large, 0, &bytes(2 * PART)).await.unwrap();
    let done = client.upload("/in/done", b"closed before").await;
    assert_eq!(done, Ok(()));
    let grown = client.open("/in/done", OpenFlags::WRITE).await.unwrap();
    client.write(&grown, 13, b", and after").await.unwrap();

    let revoked = stage.gateway.actions().revoke(USER).await;
    assert_eq!(revoked.connections, 1);
    let gone = async {
        // A CLOSE that comes now commits nothing.
        drop(client.sftp.close(&small).await);
        drop(client.sftp.close(&grown).await);
        while !client.ssh.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(OUT_WITHIN, gone).await.expect("still connected");
    until(|| stage.s3.uploads(BUCKET).is_empty()).await;
    assert_eq!(stage.object("in/small"), None);
    assert_eq!(stage.object("in/large"), None);
    assert_eq!(stage.object("in/done").unwrap(), b"closed before");
    // The provider decides about the next login.
    assert!(
        Client::connect(stage.gateway.address(), PASSWORD)
            .await
            .is_some()
    );
    let log = stage.end().await;
    assert!(log.text().contains("revoked"), "{}", log.text());
}

/// Waits until the connection is closed.
async fn ended(client: &Client) {
    let gone = async {
        while !client.ssh.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(OUT_WITHIN, gone).await.expect("still connected");
}

#[tokio::test]
async fn a_user_who_is_blocked_is_out_and_stays_out_until_the_block_is_lifted() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    let actions = stage.gateway.actions();
    let user = Blocked::user(&USER.to_uppercase());
    let now = SystemClock.wall();
    actions.blocks().block(user.clone(), None, now).unwrap();
    assert_eq!(actions.end_blocked(&user).await, 1);
    ended(&client).await;
    let address = stage.gateway.address();
    assert!(Client::connect(address, PASSWORD).await.is_none());
    assert!(actions.blocks().lift(&user));
    assert!(Client::connect(address, PASSWORD).await.is_some());
    let log = stage.end().await;
    assert!(log.text().contains("user-blocked"), "{}", log.text());
}

#[tokio::test]
async fn a_network_that_is_blocked_is_out_and_not_spoken_to() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    let actions = stage.gateway.actions();
    let network = Blocked::Network("127.0.0.0/8".parse().unwrap());
    let now = SystemClock.wall();
    actions.blocks().block(network.clone(), None, now).unwrap();
    assert_eq!(actions.end_blocked(&network).await, 1);
    ended(&client).await;
    let address = stage.gateway.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut said = Vec::new();
    // Closed, or reset, before a word.
    drop(stream.read_to_end(&mut said).await);
    assert_eq!(said, b"");
    assert_eq!(stage.gateway.ssh().tally().blocked_total, 1);
    assert!(actions.blocks().lift(&network));
    assert!(Client::connect(address, PASSWORD).await.is_some());
    let log = stage.end().await;
    let refused = r#""reason":"blocked""#;
    assert!(log.text().contains(refused), "{}", log.text());
}

#[tokio::test]
async fn a_client_that_does_not_listen_is_out_as_well() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    client.upload("/in/big", &bytes(2 * PART)).await.unwrap();
    let handle = client.open("/in/big", OpenFlags::READ).await.unwrap();
    // Asks for more than its window takes, and reads nothing.
    let asked = (0..64).map(|at| client.read(&handle, at * 128 * 1024));
    let asking = futures_util::future::join_all(asked);
    tokio::pin!(asking);
    drop(timeout(Duration::from_millis(200), &mut asking).await);
    assert_eq!(stage.gateway.actions().revoke(USER).await.connections, 1);
    let quiet = async {
        while stage.gateway.ssh().tally().connections > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(OUT_WITHIN, quiet).await.expect("still connected");
    stage.end().await;
}

#[tokio::test]
async fn a_move_that_outlives_its_client_is_stopped_by_a_revocation() {
    for leaves in [false, true] {
        let stage = Stage::start().await;
        for number in 0..2_000 {
            stage.s3.put(BUCKET, &format!("in/d/{number:04}"), "x");
        }
        let client = stage.client().await;
        let moving = client.sftp.rename("/in/d", "/in/e");
        let begun = until(|| stage.s3.count("CopyObject") >= 100);
        tokio::select! {
            moved = moving => panic!("over already: {moved:?}"),
            () = begun => {}
        }
        if leaves {
            drop(client);
            let quiet = || stage.gateway.ssh().tally().connections == 0;
            until(quiet).await;
        }
        assert_eq!(stage.gateway.actions().revoke(USER).await.connections, 1);
        let copied = stage.s3.count("CopyObject");
        let below = |folder: &str| {
            let keys = stage.s3.keys(BUCKET);
            keys.iter().filter(|key| key.starts_with(folder)).count()
        };
        until(|| below("in/e/") == 0).await;
        assert_eq!(below("in/d/"), 2_000);
        let more = stage.s3.count("CopyObject") - copied;
        assert!(more <= 16, "{more} copies after the revocation");
        let log = stage.end().await;
        let lines = log.all("a move failed: its copies were removed");
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].field("reason"), "Your access was revoked");
    }
}

#[tokio::test]
async fn what_the_store_refuses_for_now_is_not_sent_again_after_a_revocation() {
    for operation in ["PutObject", "DeleteObject", "CopyObject"] {
        let stage = Stage::start().await;
        stage.s3.put(BUCKET, "in/there", "x");
        let client = stage.client().await;
        let handle = client.create("/in/new").await.unwrap();
        client.write(&handle, 0, b"x").await.unwrap();
        stage.refuse(operation, 503, "SlowDown", u32::MAX);
        let changing = async {
            match operation {
                "PutObject" => client.sftp.close(&handle).await.map(drop),
                "DeleteObject" => client.sftp.remove("/in/there").await.map(drop),
                _ => client.sftp.rename("/in/there", "/in/moved").await.map(drop),
            }
        };
        let revoked = async {
            until(|| stage.s3.count(operation) >= 2).await;
            assert_eq!(stage.gateway.actions().revoke(USER).await.connections, 1);
        };
        let (outcome, ()) = tokio::join!(changing, revoked);
        assert!(outcome.is_err(), "{operation}: {outcome:?}");
        drop(client);
        // The end waits for whatever goes on: it would be minutes.
        let Stage { s3, gateway, .. } = stage;
        within(gateway.drain()).await;
        assert_eq!(s3.keys(BUCKET), ["in/there"], "{operation}");
    }
}
