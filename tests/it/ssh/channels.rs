//! What a channel answers.

#![expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive")]

use russh::{Channel, ChannelMsg};

use super::*;

/// Goes on until one of the answers to a request comes.
async fn answer(channel: &mut Channel<client::Msg>) -> bool {
    loop {
        match within(channel.wait()).await.expect("an answer") {
            ChannelMsg::Success => return true,
            ChannelMsg::Failure => return false,
            _ => {}
        }
    }
}

async fn sftp(client: &client::Handle<Trusting>) -> Channel<client::Msg> {
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(answer(&mut channel).await);
    channel
}

/// Everything up to the channel's end, in order.
async fn rest(mut channel: Channel<client::Msg>) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(message) = within(channel.wait()).await {
        match message {
            ChannelMsg::Data { data } => seen.push(text(&data)),
            ChannelMsg::ExtendedData { data, .. } => seen.push(format!("stderr: {}", text(&data))),
            ChannelMsg::ExitStatus { exit_status } => seen.push(format!("exit {exit_status}")),
            ChannelMsg::Eof => seen.push("eof".to_owned()),
            ChannelMsg::Close => seen.push("close".to_owned()),
            _ => {}
        }
    }
    seen
}

#[tokio::test]
async fn a_session_ends_with_its_status_then_eof_then_close() {
    let server = Server::start().await;
    let client = server.user().await;
    let channel = sftp(&client).await;
    channel.data_bytes("hello").await.unwrap();
    channel.eof().await.unwrap();
    assert_eq!(rest(channel).await, ["hello", "exit 0", "eof", "close"]);
}

#[tokio::test]
async fn a_session_that_panics_ends_alone() {
    let server = Server::start().await;
    let client = server.user().await;
    let other = sftp(&client).await;
    let channel = sftp(&client).await;
    channel.data_bytes("panic").await.unwrap();
    assert_eq!(rest(channel).await, ["exit 1", "eof", "close"]);
    other.data_bytes("hello").await.unwrap();
    other.eof().await.unwrap();
    assert_eq!(rest(other).await, ["hello", "exit 0", "eof", "close"]);
}

#[tokio::test]
async fn everything_but_sftp_is_refused() {
    let server = Server::start().await;
    let client = server.user().await;
    let mut channel = client.channel_open_session().await.unwrap();
    channel.set_env(true, "LANG", "C").await.unwrap();
    assert!(!answer(&mut channel).await);
    channel
        .request_pty(true, "xterm", 80, 24, 0, 0, &[])
        .await
        .unwrap();
    assert!(!answer(&mut channel).await);
    channel
        .request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00", 0)
        .await
        .unwrap();
    assert!(!answer(&mut channel).await);
    channel.agent_forward(true).await.unwrap();
    assert!(!answer(&mut channel).await);
    channel.request_subsystem(true, "netconf").await.unwrap();
    assert!(!answer(&mut channel).await);
    // None of it spoils the channel.
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(answer(&mut channel).await);
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(!answer(&mut channel).await, "one session per channel");

    // The client's program ends at a failure, and its person would not see the sentence.
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_shell(true).await.unwrap();
    assert!(answer(&mut channel).await);
    let sentence = "stderr: This server only speaks SFTP.\r\n";
    assert_eq!(rest(channel).await, [sentence, "exit 1", "eof", "close"]);
    // This server's channels run no command.
    for (command, sentence) in [
        ("ls", sentence),
        ("scp -t /in", "stderr: SFTP only: use scp without -O\r\n"),
    ] {
        let mut channel = client.channel_open_session().await.unwrap();
        channel.exec(true, command).await.unwrap();
        assert!(answer(&mut channel).await);
        assert_eq!(rest(channel).await, [sentence, "exit 127", "eof", "close"]);
    }

    let forwarded = client.channel_open_direct_tcpip("localhost", 80, "localhost", 1);
    assert!(forwarded.await.is_err());
    assert!(client.tcpip_forward("localhost", 0).await.is_err());
}

#[tokio::test]
async fn a_channel_that_asks_for_nothing_holds_up_nobody() {
    let server = Server::start().await;
    let client = server.user().await;
    let idle = client.channel_open_session().await.unwrap();
    for _ in 0..500 {
        idle.set_env(false, "LANG", "C").await.unwrap();
        idle.data_bytes(vec![0; 1_000]).await.unwrap();
    }
    let channel = sftp(&client).await;
    channel.data_bytes("hello").await.unwrap();
    channel.eof().await.unwrap();
    assert_eq!(rest(channel).await[0], "hello");
}

#[tokio::test]
async fn channels_are_capped_at_once_and_in_all() {
    let server = Server::with_limits(|limits| {
        limits.channels_per_connection_max = 2;
        limits.channel_opens_per_connection_max = 3;
    })
    .await;
    let client = server.user().await;
    let first = sftp(&client).await;
    let _second = sftp(&client).await;
    assert!(client.channel_open_session().await.is_err());
    first.eof().await.unwrap();
    assert_eq!(rest(first).await, ["exit 0", "eof", "close"]);
    let third = within(async {
        loop {
            // The session's end is seen before its channel is counted out.
            if let Ok(channel) = client.channel_open_session().await {
                break channel;
            }
        }
    })
    .await;
    third.close().await.unwrap();
    assert!(client.channel_open_session().await.is_err());
}

#[tokio::test]
async fn a_closed_gate_stops_what_comes_in_and_nothing_else() {
    let server = Server::start().await;
    let client = server.user().await;
    let mut channel = sftp(&client).await;
    channel.data_bytes("shut").await.unwrap();
    for expected in ["shut", "open", "through"] {
        let data = loop {
            match within(channel.wait()).await {
                Some(ChannelMsg::Data { data }) => break data,
                other => assert!(other.is_some(), "{expected}"),
            }
        };
        assert_eq!(text(&data), expected);
        if expected == "shut" {
            channel.data_bytes("through").await.unwrap();
        }
    }
}

#[tokio::test]
async fn crumbs_are_refused() {
    let server = Server::start().await;
    let config = client::Config {
        maximum_packet_size: 512,
        ..client::Config::default()
    };
    let mut client = server.connect_with(config).await;
    let answer = client.authenticate_password(USER, PASSWORD).await.unwrap();
    assert!(answer.success());
    assert!(client.channel_open_session().await.is_err());
}

#[tokio::test]
async fn a_connection_that_is_cut_leaves_nothing_behind() {
    let server = Server::start().await;
    let client = server.user().await;
    let channel = sftp(&client).await;
    channel.data_bytes("flood").await.unwrap();
    drop((channel, client));
    server.idle().await;
    assert_eq!(server.ssh.tally().connections, 0);
}

#[tokio::test]
async fn a_closed_channel_ends_a_session_that_waits_for_window() {
    let server = Server::start().await;
    let client = server.user().await;
    let before = server.entrance.tasks_running();
    let mut channel = sftp(&client).await;
    channel.data_bytes("flood").await.unwrap();
    while !matches!(within(channel.wait()).await, Some(ChannelMsg::Data { .. })) {}
    channel.close().await.unwrap();
    within(async {
        while server.entrance.tasks_running() > before {
            drop(timeout(Duration::from_millis(2), channel.wait()).await);
        }
    })
    .await;
}
