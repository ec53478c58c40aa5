//! APIs that misbehave: each gets a named verdict, in time and within bounds.

use std::time::{Duration, Instant};

use portcullis::idp::api_gateway::{ApiGateway, ApiGatewaySettings};
use portcullis::idp::{Credential, IdentityProvider as _, Judged};
use portcullis::limits;
use portcullis::refusal::Verdict;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::refusals::{self, answered, is};
use crate::common::tls::Authority;
use crate::idp_api_gateway::{PASSWORD, password, provider, question, settings, yes};
use crate::idp_lambda::gzipped;

/// Returns the reason, having made sure that nothing secret is in the error.
#[track_caller]
fn unavailable(answer: Judged) -> &'static str {
    refusals::unavailable(answer, &[PASSWORD]).0
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

fn chunked(text: &str) -> String {
    let (one, two) = text.split_at(text.len() / 2);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:X};x=y\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\nT: x\r\n\r\n",
        one.len(),
        two.len()
    )
}

#[tokio::test]
async fn answers_are_understood_however_they_come() {
    let body = yes().to_string();
    let length = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for reply in [
        Reply::Piece(length.clone().into_bytes()),
        Reply::Trickle(length.clone().into_bytes()),
        Reply::Piece(chunked(&body).into_bytes()),
        Reply::Trickle(chunked(&body).into_bytes()),
        raw(&format!("HTTP/1.1 200 OK\r\n\r\n{body}")),
        raw(&format!("HTTP/1.0 200 OK\r\n\r\n{body}")),
        raw(&format!(
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{length}"
        )),
        raw(&format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\n\r\n{body}"
        )),
    ] {
        let idp = FakeIdp::start([reply.clone()]).await;
        let answer = provider(&idp).ask(&password(PASSWORD)).await;
        assert!(answer.is_ok(), "{reply:?}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_unavailable_and_says_why() {
    let encoded = "HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\ncontent-length: 2\r\n\r\n{}";
    let huge = format!("HTTP/1.1 200 X\r\nx: {}\r\n\r\n{{}}", "y".repeat(100_000));
    let hints = "HTTP/1.1 103 X\r\n\r\n".repeat(100);
    for (reply, reason) in [
        (raw("220 mail.example.com ESMTP\r\n"), "transport"),
        (Reply::Piece(b"SSH-2.0-x\r\n".to_vec()), "transport"),
        (raw("HTTP/1.1 2x0 X\r\n\r\n"), "transport"),
        (raw("HTTP/1.1 200 X\r\nx"), "transport"),
        (
            raw("HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n{}"),
            "transport",
        ),
        (
            raw("HTTP/1.1 200 X\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}"),
            "transport",
        ),
        (
            raw("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"),
            "transport",
        ),
        (
            raw("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}}\r\n"),
            "transport",
        ),
        (Reply::Piece(encoded.into()), "answer-encoded"),
        (raw(&huge), "answer-too-large"),
        (raw(&hints), "answer-too-large"),
        (
            raw("HTTP/1.1 200 X\r\ncontent-length: 6\r\n\r\n<html>"),
            "not-json",
        ),
        (raw("HTTP/1.1 101 X\r\n\r\n"), "status"),
        (Reply::Json(500, yes()), "status-failed"),
        (Reply::Json(501, yes()), "status-failed"),
        (Reply::Json(502, yes()), "status-gateway"),
        (Reply::Json(503, yes()), "status-gateway"),
        (Reply::Json(504, yes()), "status-gateway"),
        (Reply::Json(400, yes()), "status-refused"),
        (Reply::Json(404, yes()), "status-refused"),
        (Reply::Json(429, yes()), "status"),
        (Reply::Json(201, yes()), "status"),
        (Reply::Json(204, Value::Null), "status"),
        (Reply::Close, "transport"),
    ] {
        let idp = FakeIdp::start([reply.clone()]).await;
        let answer = provider(&idp).ask(&password(PASSWORD)).await;
        assert_eq!(unavailable(answer), reason, "{reply:?}");
        assert_eq!(idp.asked().len(), 1, "a password is sent once: {reply:?}");
    }
    let gone = FakeIdp::start([]).await;
    let provider = provider(&gone);
    drop(gone);
    assert_eq!(
        unavailable(provider.ask(&password(PASSWORD)).await),
        "connect"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = FakeIdp::start([Reply::Json(200, yes())]).await;
    let idp = FakeIdp::start([Reply::Redirect(elsewhere.url())]).await;
    let answer = provider(&idp).ask(&password(PASSWORD)).await;
    assert_eq!(unavailable(answer), "redirect");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn an_answer_over_the_bound_is_cut_off() {
    for reply in [Reply::Endless, Reply::Gigabyte] {
        let idp = FakeIdp::start([reply]).await;
        let answer = provider(&idp).ask(&password(PASSWORD)).await;
        assert_eq!(unavailable(answer), "answer-too-large");
        // What the sockets buffer comes on top of what was read.
        assert!(idp.bytes_sent() < limits::ANSWER_BYTES_MAX + 32 * 1024 * 1024);
    }
}

#[tokio::test]
async fn slow_and_silent_servers_time_out() {
    for reply in [Reply::Drip(yes()), Reply::Hang] {
        let idp = FakeIdp::start([reply]).await;
        let mut settings = settings(&idp);
        settings.total_timeout = Duration::from_millis(150);
        let provider = ApiGateway::new(settings).unwrap();
        let answer = provider.ask(&password(PASSWORD)).await;
        assert_eq!(unavailable(answer), "timeout");
        assert_eq!(idp.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_with_the_time_for_connecting() {
    // Whoever connects is left waiting in the queue of the listener, with a connection.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/prod", silent.local_addr().unwrap());
    let mut settings = ApiGatewaySettings::new(&url, "s-1");
    settings.ca_pem = Some(Authority::new().pem().into_bytes());
    settings.connect_timeout = Duration::from_millis(150);
    settings.total_timeout = Duration::from_secs(60);
    let provider = ApiGateway::new(settings).unwrap();
    let began = began();
    assert_eq!(
        unavailable(provider.ask(&password(PASSWORD)).await),
        "connect-timeout"
    );
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[expect(clippy::disallowed_methods, reason = "measures what a test takes")]
fn began() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn questions_share_a_connection() {
    let replies = [
        Reply::Json(200, yes()),
        Reply::Piece(chunked("{}").into_bytes()),
        Reply::Json(200, json!({})),
    ];
    let idp = FakeIdp::start(replies).await;
    let provider = provider(&idp);
    for _ in 0..5 {
        assert!(answered(&provider.ask(&password(PASSWORD)).await));
    }
    assert_eq!((idp.asked().len(), idp.connections()), (5, 1));
}

#[tokio::test]
async fn an_answer_that_says_more_than_its_length_ends_its_connection() {
    let smuggled = "HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 X\r\n";
    let idp = FakeIdp::start([Reply::Piece(smuggled.into()), Reply::Json(200, yes())]).await;
    let provider = provider(&idp);
    assert!(answered(&provider.ask(&password("first")).await));
    let answer = provider.ask(&password(PASSWORD)).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(idp.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_its_server_closed_is_found_out_before_anything_is_sent() {
    let kept = "HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}";
    let idp = FakeIdp::start([raw(kept), Reply::Json(200, yes())]).await;
    let provider = provider(&idp);
    assert!(answered(&provider.ask(&password("first")).await));
    // Until the other side's end has arrived here.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = provider.ask(&password(PASSWORD)).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!((idp.asked().len(), idp.connections()), (2, 2));
}

#[tokio::test]
async fn a_password_is_never_sent_twice() {
    // The connection is known to work, and is closed under the second question.
    let replies = [
        Reply::Json(200, json!({})),
        Reply::Close,
        Reply::Json(200, yes()),
    ];
    let idp = FakeIdp::start(replies).await;
    let provider = provider(&idp);
    assert!(answered(&provider.ask(&password("first")).await));
    assert_eq!(
        unavailable(provider.ask(&password(PASSWORD)).await),
        "transport"
    );
    let sent = idp.asked();
    let line = format!("\r\nPassword: {PASSWORD}\r\n");
    assert_eq!(
        sent.iter()
            .filter(|asked| asked.head.contains(&line))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_look_up_that_lost_its_connection_is_asked_once_more() {
    let idp = FakeIdp::start([Reply::Close, Reply::Json(200, json!({}))]).await;
    let look_up = question("ann", Credential::PublicKey);
    let answer = provider(&idp).ask(&look_up).await;
    assert!(is(&answer, Verdict::Denied), "{answer:?}");
    for (script, sent) in [
        (vec![Reply::Close, Reply::Close, Reply::Json(200, yes())], 2),
        // An answer had begun.
        (
            vec![raw("HTTP/1.1 200 X\r\nconte"), Reply::Json(200, yes())],
            1,
        ),
    ] {
        let idp = FakeIdp::start(script).await;
        assert_eq!(unavailable(provider(&idp).ask(&look_up).await), "transport");
        assert_eq!(idp.asked().len(), sent);
    }
}

#[tokio::test]
async fn many_questions_at_once_have_connections_of_their_own() {
    let idp = FakeIdp::start([]).await;
    let provider = provider(&idp);
    for _ in 0..2 {
        let asked = (0..40).map(|n| {
            let (provider, text) = (&provider, format!("secret-{n}"));
            async move { answered(&provider.ask(&password(&text)).await) }
        });
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.into_iter().all(|answered| answered));
    }
    assert_eq!(idp.asked().len(), 80);
}

#[tokio::test]
async fn a_compressed_body_is_not_taken_for_text() {
    let replies = [true, false].map(|says_so| Reply::Raw(gzipped(says_so)));
    let idp = FakeIdp::start(replies).await;
    for _ in 0..2 {
        let asked = provider(&idp).ask(&password(PASSWORD)).await;
        assert_eq!(unavailable(asked), "answer-encoded");
    }
    assert!(
        !idp.asked()[0]
            .head
            .to_ascii_lowercase()
            .contains("accept-encoding")
    );
}
