//! The webhook provider against a server that behaves, and against ones that do not.

use std::time::Duration;

use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::idp::webhook::{Webhook, WebhookSettings};
use portcullis::idp::{Asking, Credential, IdentityProvider as _, Judged, Question};
use portcullis::limits;
use portcullis::refusal::Verdict;
use portcullis::secret::Secret;
use serde_json::{Value, json};

use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::refusals::{self, answered, is};
use crate::idp_lambda::gzipped;

const PASSWORD: &str = "tidal-fern-41";

fn allowed() -> Value {
    json!({"allow": true, "mappings": [{"entry": "/", "target": "/bucket/ann"}]})
}

fn question(credential: Credential) -> Question {
    Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential,
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

fn password(text: &str) -> Question {
    question(Credential::Password(Secret::new(text.to_owned())))
}

fn webhook(url: &str, total: Duration) -> Webhook {
    let mut settings = WebhookSettings::new(url, "s-1");
    settings.total_timeout = total;
    let header = Secret::new("Bearer quartz-77".to_owned());
    settings.headers.push(("Authorization".to_owned(), header));
    Webhook::new(settings).unwrap()
}

fn patient(url: &str) -> Webhook {
    webhook(url, Duration::from_secs(30))
}

/// Returns the reason, having made sure that nothing secret is in the error.
#[track_caller]
fn unavailable(answer: Judged) -> &'static str {
    refusals::unavailable(answer, &[PASSWORD, "walnut-39", "quartz-77"]).0
}

#[tokio::test]
async fn a_question_is_one_post_with_the_headers_of_the_operator() {
    let idp = FakeIdp::start([Reply::Json(200, allowed())]).await;
    let answer = patient(&idp.url()).ask(&password(PASSWORD)).await;
    assert!(answer.is_ok(), "{answer:?}");
    let [asked] = &idp.asked()[..] else { panic!() };
    assert!(
        asked
            .head
            .starts_with("POST /login?key=walnut-39 HTTP/1.1\r\n")
    );
    let head = asked.head.to_ascii_lowercase();
    assert!(head.contains("authorization: bearer quartz-77\r\n"));
    assert!(head.contains("content-type: application/json\r\n"));
    assert!(!head.contains("accept-encoding"));
    assert_eq!(asked.body["password"], PASSWORD);
    assert_eq!(asked.body["sourceIp"], "192.0.2.7");
}

#[tokio::test]
async fn questions_share_a_connection() {
    let idp = FakeIdp::start([Reply::Json(200, allowed()), Reply::Json(200, json!({}))]).await;
    let webhook = patient(&idp.url());
    for _ in 0..5 {
        assert!(answered(&webhook.ask(&password(PASSWORD)).await));
    }
    assert_eq!(idp.asked().len(), 5);
    assert_eq!(idp.connections(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = FakeIdp::start([Reply::Json(200, allowed())]).await;
    let idp = FakeIdp::start([Reply::Redirect(elsewhere.url())]).await;
    let answer = patient(&idp.url()).ask(&password(PASSWORD)).await;
    assert_eq!(unavailable(answer), "redirect");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn an_answer_over_the_bound_is_cut_off() {
    for reply in [Reply::Endless, Reply::Gigabyte] {
        let idp = FakeIdp::start([reply]).await;
        let answer = patient(&idp.url()).ask(&password(PASSWORD)).await;
        assert_eq!(unavailable(answer), "answer-too-large");
        // What the sockets buffer comes on top of what was read.
        assert!(idp.bytes_sent() < limits::ANSWER_BYTES_MAX + 32 * 1024 * 1024);
    }
}

#[tokio::test]
async fn slow_and_silent_servers_time_out() {
    for reply in [Reply::Drip(allowed()), Reply::Hang] {
        let idp = FakeIdp::start([reply]).await;
        let webhook = webhook(&idp.url(), Duration::from_millis(100));
        assert_eq!(
            unavailable(webhook.ask(&password(PASSWORD)).await),
            "timeout"
        );
        assert_eq!(idp.asked().len(), 1);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_unavailable() {
    for (reply, reason) in [
        (
            Reply::Raw(b"220 mail.example.com ESMTP\r\n".to_vec()),
            "transport",
        ),
        (
            Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\n{\"all".to_vec()),
            "transport",
        ),
        (
            Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 6\r\n\r\n<html>".to_vec()),
            "not-json",
        ),
        (Reply::Raw(gzipped(true)), "answer-encoded"),
        (Reply::Raw(gzipped(false)), "answer-encoded"),
        (
            Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-encoding: br\r\n\r\n{}".to_vec()),
            "answer-encoded",
        ),
        (Reply::Json(500, allowed()), "status-failed"),
        (Reply::Json(404, allowed()), "status-refused"),
        (Reply::Json(204, Value::Null), "status"),
        (Reply::Close, "transport"),
    ] {
        let idp = FakeIdp::start([reply.clone()]).await;
        let answer = patient(&idp.url()).ask(&password(PASSWORD)).await;
        assert_eq!(unavailable(answer), reason, "{reply:?}");
    }
    let gone = FakeIdp::start([]).await.url();
    assert_eq!(
        unavailable(patient(&gone).ask(&password(PASSWORD)).await),
        "connect"
    );
}

#[tokio::test]
async fn a_password_is_never_sent_twice() {
    // The connection is known to work, and is closed under the second question.
    let replies = [
        Reply::Json(200, json!({})),
        Reply::Close,
        Reply::Json(200, allowed()),
    ];
    let idp = FakeIdp::start(replies).await;
    let webhook = patient(&idp.url());
    assert!(answered(&webhook.ask(&password("first")).await));
    assert_eq!(
        unavailable(webhook.ask(&password(PASSWORD)).await),
        "transport"
    );
    let sent = idp.asked();
    let times = sent
        .iter()
        .filter(|asked| asked.body["password"] == PASSWORD);
    assert_eq!(times.count(), 1);
}

#[tokio::test]
async fn a_key_look_up_that_lost_its_connection_is_asked_once_more() {
    let idp = FakeIdp::start([Reply::Close, Reply::Json(200, json!({}))]).await;
    let answer = patient(&idp.url())
        .ask(&question(Credential::PublicKey))
        .await;
    assert!(is(&answer, Verdict::Denied), "{answer:?}");
    let idp = FakeIdp::start([Reply::Close, Reply::Close, Reply::Json(200, json!({}))]).await;
    let answer = patient(&idp.url())
        .ask(&question(Credential::PublicKey))
        .await;
    assert_eq!(unavailable(answer), "transport");
    assert_eq!(idp.asked().len(), 2);
}

#[tokio::test]
async fn the_bundled_webhook_lets_its_one_user_in() {
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
    let answer = json!({"mappings": [{"entry": "/", "target": "/bucket"}], "publicKeys": [KEY]});
    let secret = Secret::new(PASSWORD.to_owned());
    let bundled = BundledWebhook::start("ann", secret, answer).await.unwrap();
    let webhook = patient(&bundled.url());
    let let_in = async |question: &Question| {
        let answer = webhook.ask(question).await;
        assert!(answer.is_ok() || is(&answer, Verdict::Denied), "{answer:?}");
        answer.is_ok()
    };
    assert!(let_in(&password(PASSWORD)).await);
    assert!(let_in(&question(Credential::PublicKey)).await);
    assert!(!let_in(&password("tidal-fern-42")).await);
    assert!(!let_in(&password("")).await);
    let stranger = Question {
        username: "bob".into(),
        ..password(PASSWORD)
    };
    assert!(!let_in(&stranger).await);
    let url = bundled.url();
    drop(bundled);
    assert!(patient(&url).ask(&password(PASSWORD)).await.is_err());
}
