//! What a client may have under way.

use portcullis::limits::CHANNEL_WINDOW_BYTES;

use super::raw::{
    CHANNEL_WINDOW_ADJUST, DISCONNECT, GLOBAL_REQUEST, REQUEST_FAILURE, RawClient, string, take,
};
use super::*;

/// The channel's number at the client, and the bytes, of an adjustment.
fn adjustment(message: &[u8]) -> (u32, u32) {
    assert_eq!(message[0], CHANNEL_WINDOW_ADJUST);
    let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
    (number(1), number(5))
}

#[tokio::test]
async fn a_window_grows_when_its_session_takes_the_bytes() {
    let server = Server::start().await;
    let mut client = RawClient::user(server.address).await;
    let (holding, window) = client.open_sftp().await;
    assert_eq!(window, CHANNEL_WINDOW_BYTES);
    client.send_data(holding, "hold").await;
    client.fill(holding, window - 4).await;
    client.ping().await;
    let answer = client.receive().await.unwrap();
    assert_eq!(answer[0], REQUEST_FAILURE, "no credit for what nobody took");

    let (taking, window) = client.open_sftp().await;
    client.send_data(taking, "sink").await;
    client.fill(taking, window / 2).await;
    let (channel, bytes) = adjustment(&client.receive().await.unwrap());
    // All that was taken, and as much again.
    assert_eq!(bytes, window + window / 2 + 4);
    assert_eq!(channel, 1, "the number that the client gave it");
}

#[tokio::test]
async fn a_client_that_ignores_its_window_is_disconnected() {
    let server = Server::start().await;
    let mut client = RawClient::user(server.address).await;
    let (channel, window) = client.open_sftp().await;
    client.send_data(channel, "hold").await;
    client.fill(channel, window - 4).await;
    // As OpenSSH does it, a tenth is passed over.
    client.fill(channel, window / 10).await;
    client.ping().await;
    assert_eq!(client.receive().await.unwrap()[0], REQUEST_FAILURE);
    client.fill(channel, 1).await;
    let goodbye = client.receive().await.unwrap();
    assert_eq!(goodbye[..5], [DISCONNECT, 0, 0, 0, 2]);
    let words = text(&take(&mut &goodbye[5..]));
    assert_eq!(words, "more data than the channel's window allows");
    assert_eq!(client.receive().await, None);
    drop(client);
    server.idle().await;
    assert_eq!(server.ended(), [("window-exceeded", 1)]);
}

#[tokio::test]
async fn channels_of_a_connection_share_their_window() {
    // Half of the account.
    const WINDOW: u32 = 8 << 20;
    let server = Server::with_limits(|limits| {
        limits.session_memory_bytes_max = 2 * u64::from(WINDOW);
    })
    .await;
    let mut client = RawClient::user(server.address).await;
    let mut channels = Vec::new();
    let mut granted = Vec::new();
    for _ in 0..10 {
        let (channel, window) = client.open_sftp().await;
        client.send_data(channel, "sink").await;
        channels.push(channel);
        granted.push(window - 4);
    }
    let mut most = 0;
    for _ in 0..100 {
        for (channel, window) in channels.iter().zip(&mut granted) {
            client.fill(*channel, std::mem::take(window)).await;
        }
        let (number, bytes) = adjustment(&client.receive().await.unwrap());
        granted[usize::try_from(number).unwrap()] += bytes;
        most = most.max(bytes);
        assert!(granted.iter().sum::<u32>() <= WINDOW);
    }
    assert!(most > CHANNEL_WINDOW_BYTES, "they grow");
    assert!(most <= WINDOW / 10, "evenly");
}

#[tokio::test]
async fn what_no_session_takes_is_not_read_where_it_has_no_place() {
    for (account_kib, is_read) in [(4 * 1024, true), (256, false)] {
        let server = Server::with_limits(|limits| {
            limits.session_memory_bytes_max = account_kib * 1024;
        })
        .await;
        let mut client = RawClient::user(server.address).await;
        let mut channels = Vec::new();
        for _ in 0..3 {
            let (channel, window) = client.open_sftp().await;
            client.send_data(channel, "hold").await;
            channels.push((channel, window - 4));
        }
        for (channel, window) in channels {
            client.fill(channel, window).await;
        }
        client.ping().await;
        let answer = timeout(Duration::from_millis(500), client.receive()).await;
        assert_eq!(answer.is_ok(), is_read, "{account_kib} KiB");
        // Nobody else is kept waiting.
        let other = server.echo(&[], b"hello").await;
        assert_eq!(text(&other.stdout), "hello");
    }
}

/// A gateway that asks for new keys after so many bytes.
async fn rekeying(rekey_bytes: u64) -> Server {
    let setup = Setup {
        rekey_bytes,
        ..Setup::default()
    };
    Server::set_up(|_| {}, AuthSettings::default(), setup).await
}

#[tokio::test]
async fn a_server_begun_exchange_waits_for_data_alone() {
    const REKEY_BYTES: u32 = 4 << 20;
    let server = rekeying(REKEY_BYTES.into()).await;
    let mut client = RawClient::user(server.address).await;
    let (channel, mut window) = client.open_sftp().await;
    client.send_data(channel, "sink").await;
    window -= 4;
    let mut left = REKEY_BYTES - 64 * 1024;
    while left > 0 || window < 512 * 1024 {
        let bytes = left.min(window);
        client.fill(channel, bytes).await;
        (left, window) = (left - bytes, window - bytes);
        if window == 0 || bytes == 0 {
            window += adjustment(&client.receive().await.unwrap()).1;
        }
    }
    // What was under way when the gateway asked for new keys is taken.
    client.fill(channel, window).await;
    client.exchange_keys(raw::CURVE).await.unwrap();
    client.ping().await;
    while client.receive().await.unwrap()[0] != REQUEST_FAILURE {}
    drop(client);

    let mut client = RawClient::user(server.address).await;
    let (channel, window) = client.open_sftp().await;
    client.send_data(channel, "flood").await;
    let listening = [&[CHANNEL_WINDOW_ADJUST][..], &channel, &[1, 0, 0, 0]];
    client.send(&listening.concat()).await;
    while client.receive().await.unwrap()[0] != raw::KEXINIT {}
    client.fill(channel, window - 5).await;
    let request = [&[GLOBAL_REQUEST][..], &string("x".repeat(1_000)), &[0]].concat();
    for _ in 0..40 {
        client.send(&request).await;
    }
    assert_eq!(client.receive().await, None);
    drop(client);
    server.idle().await;
    let mut ended = server.ended();
    ended.retain(|(reason, _)| *reason != "client-closed");
    assert_eq!(ended, [("protocol-error", 1)]);
}
