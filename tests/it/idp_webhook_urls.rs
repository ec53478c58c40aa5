//! Several URLs: who is asked when the first one cannot be reached, and who must not be.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use portcullis::idp::webhook::{Webhook, WebhookSettings};
use portcullis::idp::{Asking, Credential, IdentityProvider as _, Question};
use portcullis::refusal::Verdict;
use portcullis::secret::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::common::clock::FakeClock;
use super::common::fake_idp::{FakeIdp, Reply};
use crate::common::refusals::{is, word};

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

fn password() -> Question {
    let secret = Secret::new("tidal-fern-41".to_owned());
    question(Credential::Password(secret))
}

fn look_up() -> Question {
    question(Credential::PublicKey)
}

fn settings(urls: &[&str], total: Duration) -> WebhookSettings {
    let mut settings = WebhookSettings::new(urls[0], "s-1");
    settings.more_urls = urls[1..].iter().map(|url| (*url).to_owned()).collect();
    settings.total_timeout = total;
    settings
}

fn webhook(urls: &[&str]) -> Webhook {
    Webhook::new(settings(urls, Duration::from_secs(30))).unwrap()
}

fn allowed() -> Reply {
    let mappings = json!([{"entry": "/", "target": "/bucket/ann"}]);
    Reply::Json(200, json!({"allow": true, "mappings": mappings}))
}

/// An address where nobody listens.
async fn nobody() -> String {
    FakeIdp::start([]).await.url()
}

#[tokio::test]
async fn the_next_url_is_asked_when_the_first_cannot_be_reached() {
    let (gone, second) = (nobody().await, FakeIdp::start([allowed()]).await);
    let answer = webhook(&[&gone, &second.url()]).ask(&password()).await;
    assert_eq!(word(&answer), "allowed");
    // It is no TLS server: the handshake fails before anything is said.
    let plain = FakeIdp::start([]).await;
    let tls = plain.url().replace("http://", "https://");
    let second = FakeIdp::start([allowed()]).await;
    let answer = webhook(&[&tls, &second.url()]).ask(&password()).await;
    assert_eq!(word(&answer), "allowed");
    assert!(plain.asked().is_empty());
    let unknown = "https://no-such-host.invalid/";
    let second = FakeIdp::start([allowed()]).await;
    let answer = webhook(&[unknown, &second.url()]).ask(&password()).await;
    assert_eq!(word(&answer), "allowed");
}

#[tokio::test]
async fn a_password_reaches_one_server_at_most() {
    for reply in [
        Reply::Close,
        Reply::Json(503, Value::Null),
        Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\n{\"all".to_vec()),
        Reply::Redirect("http://127.0.0.1:1/".to_owned()),
        Reply::Hang,
    ] {
        let first = FakeIdp::start([reply.clone()]).await;
        let second = FakeIdp::start([allowed()]).await;
        let total = Duration::from_millis(300);
        let webhook = Webhook::new(settings(&[&first.url(), &second.url()], total)).unwrap();
        let answer = webhook.ask(&password()).await;
        assert!(is(&answer, Verdict::Unavailable), "{reply:?}: {answer:?}");
        let sent = first.asked().len() + second.asked().len();
        assert_eq!(sent, 1, "{reply:?}");
    }
}

#[tokio::test]
async fn a_look_up_is_asked_elsewhere_when_it_is_not_answered() {
    for reply in [
        Reply::Close,
        Reply::Json(503, Value::Null),
        Reply::Hang,
        Reply::Redirect("http://127.0.0.1:1/".to_owned()),
    ] {
        let first = FakeIdp::start([reply.clone(), reply.clone()]).await;
        let second = FakeIdp::start([Reply::Json(200, json!({"allow": false}))]).await;
        let total = Duration::from_millis(600);
        let webhook = Webhook::new(settings(&[&first.url(), &second.url()], total)).unwrap();
        assert_eq!(
            word(&webhook.ask(&look_up()).await),
            "not-allowed",
            "{reply:?}"
        );
    }
    let first = FakeIdp::start([Reply::Json(403, Value::Null)]).await;
    let second = FakeIdp::start([allowed()]).await;
    let answer = webhook(&[&first.url(), &second.url()])
        .ask(&look_up())
        .await;
    assert_eq!(word(&answer), "status-denied", "a refusal is an answer");
    assert!(second.asked().is_empty());
}

#[tokio::test]
async fn all_urls_together_have_the_total_time() {
    let idps = [
        FakeIdp::start([Reply::Hang]).await,
        FakeIdp::start([Reply::Hang]).await,
        FakeIdp::start([Reply::Hang]).await,
    ];
    let urls = idps.each_ref().map(FakeIdp::url);
    let urls = urls.each_ref().map(String::as_str);
    let webhook = Webhook::new(settings(&urls, Duration::from_millis(300))).unwrap();
    let began = SystemClock.now();
    assert_eq!(word(&webhook.ask(&look_up()).await), "timeout");
    let took = SystemClock.now() - began;
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert!(idps.iter().all(|idp| idp.asked().len() == 1));
}

#[tokio::test]
async fn a_url_out_of_reach_is_passed_over_for_a_while() {
    // Somebody listens there who only counts.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = format!("https://{}/", listener.local_addr().unwrap());
    let (tries, mut tried) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
            tries.send(()).unwrap();
        }
    });
    let second = FakeIdp::start((0..4).map(|_| allowed())).await;
    let clock = Arc::new(FakeClock::new());
    let webhook = webhook(&[&first, &second.url()]).with_clock(clock.clone());
    for _ in 0..3 {
        assert_eq!(word(&webhook.ask(&password()).await), "allowed");
    }
    tried.recv().await.unwrap();
    assert!(tried.try_recv().is_err(), "tried once");
    clock.advance(Duration::from_secs(10));
    assert_eq!(word(&webhook.ask(&password()).await), "allowed");
    tried.recv().await.unwrap();
    assert_eq!(second.asked().len(), 4);
}

#[tokio::test]
async fn when_nobody_can_be_reached_nobody_is_given_up() {
    let (gone, also_gone) = (nobody().await, nobody().await);
    let webhook = webhook(&[&gone, &also_gone]);
    for _ in 0..3 {
        assert_eq!(word(&webhook.ask(&password()).await), "connect");
    }
}
