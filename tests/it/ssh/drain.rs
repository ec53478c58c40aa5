//! How the gateway leaves.

use russh::ChannelMsg;
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn running_sessions_finish_and_nobody_new_enters() {
    let mut server = Server::start().await;
    let idle = server.user().await;
    let busy = server.user().await;
    let mut channel = busy.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    channel.data_bytes("before").await.unwrap();
    while !matches!(within(channel.wait()).await, Some(ChannelMsg::Data { .. })) {}

    server.stop.cancel();
    assert_eq!(
        server.farewell().await,
        "the gateway is closing this port: connect again later"
    );
    drop(within(idle).await);
    channel.data_bytes("after").await.unwrap();
    let Some(ChannelMsg::Data { data }) = within(channel.wait()).await else {
        panic!("the session goes on");
    };
    assert_eq!(text(&data), "after");
    assert!(TcpStream::connect(server.address).await.is_err());

    channel.eof().await.unwrap();
    while within(channel.wait()).await.is_some() {}
    assert_eq!(
        server.farewell().await,
        "the gateway is closing this port: connect again later"
    );
    drop(within(busy).await);
    server.drained().await;
    assert_eq!(server.entrance.tasks_running(), 0);
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let limit = Duration::from_millis(50);
    let mut server = Server::with_limits(|limits| limits.drain_timeout = limit).await;
    let user = server.user().await;
    let channel = user.channel_open_session().await.unwrap();
    channel.request_subsystem(false, "sftp").await.unwrap();
    server.stop.cancel();
    assert_eq!(
        server.farewell().await,
        "the gateway is closing this port: connect again later"
    );
    server.drained().await;
    assert_eq!(server.entrance.tasks_running(), 0);
    drop(within(user).await);
}
