//! What is answered to messages that come when no state expects them.

use super::raw::{
    DEBUG, DISCONNECT, IGNORE, RawClient, SERVICE_REQUEST, UNIMPLEMENTED, USERAUTH_FAILURE,
    USERAUTH_REQUEST, USERAUTH_SUCCESS, string,
};
use super::*;

#[tokio::test]
async fn the_service_can_be_asked_for_again() {
    let server = Server::start_with(|_| {}, AuthSettings::default()).await;
    let mut client = RawClient::connect(server.address).await;
    client.request_service().await;
    for _ in 0..2 {
        assert_eq!(client.try_password("wrong").await, USERAUTH_FAILURE);
        client.request_service().await;
    }
    assert_eq!(client.try_password(PASSWORD).await, USERAUTH_SUCCESS);
}

#[tokio::test]
async fn asking_for_the_service_again_changes_nothing() {
    let server = Server::with_limits(|limits| limits.password_attempts_max = 2).await;
    let mut client = RawClient::connect(server.address).await;
    client.request_service().await;
    assert_eq!(client.try_password("wrong").await, USERAUTH_FAILURE);
    client.request_service().await;
    assert_eq!(client.try_password("wrong").await, USERAUTH_FAILURE);
    let goodbye = client.receive().await.unwrap();
    assert_eq!(goodbye[0], DISCONNECT, "attempts are counted on");
}

#[tokio::test]
async fn an_unknown_service_ends_the_connection() {
    let server = Server::start().await;
    for repeated in [false, true] {
        let mut client = RawClient::connect(server.address).await;
        if repeated {
            client.request_service().await;
        }
        let request = [&[SERVICE_REQUEST][..], &string("ssh-connection")].concat();
        client.send(&request).await;
        let answer = client.receive().await.unwrap();
        assert_eq!(answer[..5], [DISCONNECT, 0, 0, 0, 7]);
        assert_eq!(client.receive().await, None);
    }
}

#[tokio::test]
async fn packets_longer_than_anybody_needs_end_the_connection() {
    let server = Server::start().await;
    for logged_in in [false, true] {
        for (bytes, allowed) in [(35_000, true), (49 * 1024, false)] {
            let mut client = match logged_in {
                false => RawClient::connect(server.address).await,
                true => RawClient::user(server.address).await,
            };
            let packet = client.sealed(&[&[IGNORE][..], &vec![0; bytes]].concat());
            // The length alone decides: nothing is kept for what is announced.
            client.push(&packet[..64]).await;
            if allowed {
                client.push(&packet[64..]).await;
                unimplemented(&mut client, &[192]).await;
            } else {
                assert_eq!(client.receive().await, None, "{logged_in}");
            }
        }
    }
}

/// Sends messages, each of which has to be answered with UNIMPLEMENTED and its number.
async fn unimplemented(client: &mut RawClient, kinds: &[u8]) {
    for kind in kinds {
        client.send(&[*kind, 1, 2, 3]).await;
        let answer = client.receive().await.unwrap();
        let number = (client.sent - 1).to_be_bytes();
        assert_eq!(answer, [&[UNIMPLEMENTED][..], &number].concat(), "{kind}");
    }
}

#[tokio::test]
async fn unexpected_messages_are_unimplemented() {
    let server = Server::start().await;
    let mut client = RawClient::connect(server.address).await;
    // Channels before login, what only servers say, what nobody knows.
    let never = [SERVICE_REQUEST + 1, 30, 31, 51, 52, 192, 255];
    unimplemented(&mut client, &never).await;
    unimplemented(&mut client, &[USERAUTH_REQUEST, 80, 90, 94]).await;
    client.request_service().await;
    unimplemented(&mut client, &never).await;
    unimplemented(&mut client, &[80, 90, 94]).await;
    // Nothing answers these: the next answer is that to the password.
    for kind in [IGNORE, UNIMPLEMENTED, DEBUG] {
        client.send(&[kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    }
    assert_eq!(client.try_password(PASSWORD).await, USERAUTH_SUCCESS);
    assert_eq!(client.receive().await.unwrap()[0], raw::GLOBAL_REQUEST);
    unimplemented(&mut client, &[SERVICE_REQUEST, 30, 192, 255]).await;
    // Requests that come after the success are passed over.
    client.send(&[USERAUTH_REQUEST, 1, 2, 3]).await;
    unimplemented(&mut client, &[192]).await;
}

#[tokio::test]
async fn a_second_key_exchange_before_login_ends_the_connection() {
    let server = Server::start().await;
    for with_service in [false, true] {
        let mut client = RawClient::connect(server.address).await;
        if with_service {
            client.request_service().await;
        }
        let exchanged = client.exchange_keys(raw::CURVE).await;
        assert_eq!(exchanged, None);
    }
    server.idle().await;
    assert_eq!(server.ended(), [("rekey-before-login", 2)]);
    let mut user = RawClient::user(server.address).await;
    user.exchange_keys(raw::CURVE).await.unwrap();
    unimplemented(&mut user, &[192]).await;
}

#[tokio::test]
async fn finite_field_groups_are_for_those_who_ask_for_them() {
    let groups = [
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group16-sha512",
    ];
    let modern = Server::start().await;
    for group in groups {
        assert!(RawClient::connect_by(modern.address, group).await.is_none());
    }
    let setup = Setup {
        algorithms: Algorithms::Compatible,
        ..Setup::default()
    };
    let (log, _guard) = log::Log::filtered("info,russh=debug");
    let compatible = Server::set_up(|_| {}, AuthSettings::default(), setup).await;
    for (number, group) in (1..).zip(groups) {
        let mut client = RawClient::connect_by(compatible.address, group)
            .await
            .unwrap();
        client.request_service().await;
        assert_eq!(client.try_password(PASSWORD).await, USERAUTH_SUCCESS);
        assert_eq!(log.lines("an exponent of 512 bits").len(), 2 * number - 1);
        let option = format!("KexAlgorithms={group}");
        let output = compatible.echo(&["-o", &option], b"hello").await;
        assert_eq!(text(&output.stdout), "hello", "{}", text(&output.stderr));
    }
}
