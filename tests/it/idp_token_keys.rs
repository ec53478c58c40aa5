//! Where the keys of tokens come from: a URL that is asked seldom, or a file that may change.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::idp::IdentityProvider as _;
use portcullis::idp::follow::Followed as _;
use portcullis::idp::token::{KeySource, KeyTimes, Token};
use serde_json::{Value, json};

use super::common::clock::FakeClock;
use super::common::fake_idp::{FakeIdp, Reply};
use super::common::jwt::{IssuerKey, jwks};
use super::common::refusals::word;
use super::idp_token::{claims, now, password, settings};

fn source(url: String) -> KeySource {
    KeySource::Url {
        url,
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(5),
        ca_pem: None,
        times: KeyTimes {
            fresh_for: Duration::from_secs(300),
            stale_for: Duration::from_secs(3_600),
            refetch_after: Duration::from_secs(30),
        },
    }
}

struct Bench {
    idp: FakeIdp,
    token: Arc<Token>,
    clock: Arc<FakeClock>,
}

impl Bench {
    async fn new(script: impl IntoIterator<Item = Reply>) -> Self {
        let idp = FakeIdp::start(script).await;
        let clock = Arc::new(FakeClock::new());
        let token = Token::new(&settings(source(idp.url())), clock.clone()).unwrap();
        Self {
            idp,
            token: Arc::new(token),
            clock,
        }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn word(&self, key: &IssuerKey) -> &'static str {
        let token = key.sign(&claims(now(&self.clock)));
        word(&self.token.ask(&password(&token)).await)
    }
}

fn served(keys: &[&IssuerKey]) -> Reply {
    Reply::Json(200, jwks(keys))
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_for_a_new_one_but_seldom() {
    let [old, new, never] = ["old", "new", "never"].map(|id| IssuerKey::new(id, Algorithm::ES256));
    let bench = Bench::new([served(&[&old]), served(&[&old, &new])]).await;
    for _ in 0..5 {
        assert_eq!(bench.word(&old).await, "allowed");
    }
    assert_eq!(bench.idp.asked().len(), 1);
    let asked = &bench.idp.asked()[0];
    assert!(
        asked.head.starts_with("GET /login?key=walnut-39 "),
        "{}",
        asked.head
    );
    // Rotation: too soon after the last fetch, then not.
    assert_eq!(bench.word(&new).await, "token-key");
    assert_eq!(bench.idp.asked().len(), 1);
    bench.advance(30);
    assert_eq!(bench.word(&new).await, "allowed");
    assert_eq!(bench.word(&old).await, "allowed");
    assert_eq!(bench.idp.asked().len(), 2);
    for _ in 0..20 {
        assert_eq!(bench.word(&never).await, "token-key");
    }
    assert_eq!(bench.idp.asked().len(), 2, "an attacker makes nobody fetch");
}

#[tokio::test]
async fn unknown_keys_at_the_same_time_share_one_fetch() {
    let [old, new] = ["old", "new"].map(|id| IssuerKey::new(id, Algorithm::ES256));
    let bench = Bench::new([served(&[&old]), served(&[&new])]).await;
    assert_eq!(bench.word(&old).await, "allowed");
    bench.advance(30);
    let all = (0..20).map(|_| bench.word(&new));
    let words = futures_util::future::join_all(all).await;
    assert!(words.iter().all(|word| *word == "allowed"), "{words:?}");
    assert_eq!(bench.idp.asked().len(), 2);
}

#[tokio::test]
async fn an_outage_is_bridged_for_a_bounded_time() {
    let key = IssuerKey::new("a", Algorithm::EdDSA);
    let failures = [
        Reply::Json(503, Value::Null),
        Reply::Json(200, json!({"keys": []})),
        Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 3\r\n\r\n<p>".to_vec()),
    ];
    let mut script = vec![served(&[&key])];
    script.extend(failures);
    let bench = Bench::new(script).await;
    assert_eq!(bench.word(&key).await, "allowed");
    bench.advance(300);
    assert_eq!(
        bench.word(&key).await,
        "allowed",
        "503: the old keys stand in"
    );
    assert_eq!(bench.word(&key).await, "allowed");
    assert_eq!(bench.idp.asked().len(), 2, "not at every login");
    bench.advance(3_599);
    assert_eq!(
        bench.word(&key).await,
        "allowed",
        "no keys: the old ones stand in"
    );
    bench.advance(2);
    assert_eq!(bench.word(&key).await, "token-keys", "too old");
    assert_eq!(bench.idp.asked().len(), 4);
}

#[tokio::test]
async fn while_old_keys_do_a_login_waits_a_second_and_the_fetch_goes_on() {
    let [old, new] = ["old", "new"].map(|id| IssuerKey::new(id, Algorithm::EdDSA));
    let late = Reply::Late(Duration::from_millis(2_500), jwks(&[&new]));
    let bench = Bench::new([served(&[&old]), late]).await;
    assert_eq!(bench.word(&old).await, "allowed");
    bench.advance(300);
    let began = SystemClock.now();
    let all = (0..5).map(|_| bench.word(&old));
    let words = futures_util::future::join_all(all).await;
    assert!(words.iter().all(|word| *word == "allowed"), "{words:?}");
    let waited = began.elapsed();
    assert!(waited < Duration::from_millis(2_000), "{waited:?}");
    // The old ones are of no use to this one: it waits.
    assert_eq!(bench.word(&new).await, "allowed");
    assert_eq!(bench.word(&old).await, "token-key");
    assert_eq!(bench.idp.asked().len(), 2);
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_an_outage() {
    let key = IssuerKey::new("a", Algorithm::ES384);
    let elsewhere = FakeIdp::start([served(&[&key])]).await;
    for reply in [
        Reply::Json(500, jwks(&[&key])),
        Reply::Redirect(elsewhere.url()),
        Reply::Endless,
        Reply::Close,
        Reply::Raw(crate::idp_lambda::gzipped(true)),
    ] {
        let bench = Bench::new([reply.clone(), served(&[&key])]).await;
        assert_eq!(bench.word(&key).await, "token-keys", "{reply:?}");
        assert_eq!(
            bench.word(&key).await,
            "token-keys",
            "at once, without asking"
        );
        bench.advance(2);
        assert_eq!(bench.word(&key).await, "allowed", "{reply:?}");
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_login_is_given_up() {
    let key = IssuerKey::new("a", Algorithm::ES256);
    let slow = Reply::Drip(jwks(&[&key]));
    let bench = Bench::new([slow, served(&[&key])]).await;
    for _ in 0..5 {
        let login = bench.word(&key);
        let given_up = tokio::time::timeout(Duration::from_millis(20), login).await;
        assert!(given_up.is_err());
    }
    assert_eq!(bench.idp.asked().len(), 1);
}

#[tokio::test]
async fn a_key_file_is_read_again_when_it_changes() {
    let [old, new] = ["old", "new"].map(|id| IssuerKey::new(id, Algorithm::ES256));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let write = |text: &str| {
        std::fs::write(folder.path().join("next"), text).unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
    };
    write(&jwks(&[&old]).to_string());
    let clock = Arc::new(FakeClock::new());
    let file = KeySource::File(path.to_str().unwrap().to_owned());
    let token = Token::new(&settings(file), clock.clone()).unwrap();
    let judged = async |key: &IssuerKey| {
        let signed = key.sign(&claims(now(&clock)));
        word(&token.ask(&password(&signed)).await)
    };
    assert_eq!(judged(&old).await, "allowed");
    assert_eq!(judged(&new).await, "token-key");
    assert!(!token.reload_if_changed());
    write(&jwks(&[&new]).to_string());
    assert!(token.reload_if_changed());
    assert_eq!(judged(&new).await, "allowed");
    assert_eq!(judged(&old).await, "token-key");
    write("{");
    assert!(token.reload_if_changed());
    assert_eq!(
        judged(&new).await,
        "allowed",
        "a wrong file changes nothing"
    );
    let gone = KeySource::File("/nonexistent/jwks.json".to_owned());
    assert!(Token::new(&settings(gone), clock.clone()).is_err());
}

#[test]
fn keys_do_not_travel_in_clear_text() {
    for (url, good) in [
        ("https://login.example.com/keys", true),
        ("http://127.0.0.1:8000/keys", true),
        ("http://login.example.com/keys", false),
        ("ftp://login.example.com/keys", false),
        ("keys", false),
    ] {
        let made = Token::new(
            &settings(source(url.to_owned())),
            Arc::new(FakeClock::new()),
        );
        assert_eq!(made.is_ok(), good, "{url}");
    }
}
