//! A provider that does not answer is left alone, and tried again by one login at a time; what only
//! strangers meet with closes it to nobody.

use std::sync::Arc;
use std::time::Duration;

use portcullis::idp::breaker::Guarded;
use portcullis::idp::cache::{CacheSettings, Cached};
use portcullis::idp::history::LoginHistory;
use portcullis::idp::{Asking, Credential, IdentityProvider, Question};
use portcullis::metrics::Metrics;
use portcullis::refusal::Refusal;
use portcullis::secret::Secret;
use serde_json::{Value, json};

use super::common::clock::FakeClock;
use super::common::login::allowed;
use super::common::provider::RecordingProvider;

/// Who were let in within the last day.
const REGULARS: [&str; 5] = ["ann", "bob", "cid", "dan", "eve"];

struct Bench {
    provider: Arc<RecordingProvider>,
    guarded: Arc<Guarded>,
    history: Arc<LoginHistory>,
    clock: Arc<FakeClock>,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new(failures: usize) -> Self {
        let provider = RecordingProvider::new(allowed());
        let clock = Arc::new(FakeClock::new());
        let metrics = Arc::new(Metrics::default());
        let history = Arc::new(LoginHistory::new(Duration::from_secs(900)));
        let guarded = Guarded::new(
            provider.clone(),
            "main",
            failures,
            Arc::clone(&history),
            Arc::clone(&metrics),
            clock.clone(),
        );
        let bench = Self {
            provider,
            guarded: Arc::new(guarded),
            history,
            clock,
            metrics,
        };
        bench.know(&REGULARS);
        bench
    }

    fn know(&self, users: &[&str]) {
        use portcullis::clock::Clock as _;
        for user in users {
            let source = "192.0.2.7".parse().unwrap();
            self.history.let_in(user, source, "main", self.clock.now());
        }
    }

    fn cached(&self, stale_seconds: u64) -> Cached {
        let settings = CacheSettings {
            provider: "main".into(),
            server_id: "s-1".into(),
            user_prefix: None,
            user_suffix: None,
            allowed_for: Duration::from_secs(60),
            denied_for: Duration::ZERO,
            stale_for: Duration::from_secs(stale_seconds),
            spread_percent: 0,
            bytes_max: 1 << 20,
        };
        let (metrics, clock) = (Arc::clone(&self.metrics), self.clock.clone());
        Cached::new(self.guarded.clone(), settings, metrics, clock).unwrap()
    }

    fn fail_next(&self, times: usize) {
        for _ in 0..times {
            self.provider.then(503, json!({}));
        }
    }

    /// Opens the breaker as a true outage would.
    async fn open(&self) {
        for user in &REGULARS[..3] {
            self.provider.then(503, Value::Null);
            assert_eq!(asked(&*self.guarded, &known(user)).await, "status-gateway");
        }
        assert_eq!(word(&*self.guarded).await, "breaker-open");
    }

    fn asked(&self) -> usize {
        self.provider.calls().len()
    }

    fn shows(&self, line: &str) -> bool {
        let text = self.metrics.encode();
        text.lines().any(|found| found == line)
    }
}

/// A question of somebody nobody knows.
fn question() -> Question {
    Question {
        request_id: "c1-1".into(),
        username: "mallory".into(),
        credential: Credential::Password(Secret::new("tidal-fern-41".to_owned())),
        source_ip: "192.0.2.66".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

fn known(user: &str) -> Question {
    Question {
        username: user.into(),
        source_ip: "192.0.2.7".parse().unwrap(),
        asking: Asking {
            known: true,
            ..Asking::default()
        },
        ..question()
    }
}

async fn word(provider: &dyn IdentityProvider) -> &'static str {
    asked(provider, &known("ann")).await
}

async fn asked(provider: &dyn IdentityProvider, question: &Question) -> &'static str {
    let reason = |refusal: &Refusal| refusal.reason.as_str();
    let judged = provider.ask(question).await;
    judged.as_ref().map_or_else(reason, |_| "allowed")
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_left_alone_for_a_growing_pause() {
    let bench = Bench::new(3);
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 0"));
    bench.open().await;
    for _ in 0..3 {
        assert_eq!(word(&*bench.guarded).await, "breaker-open");
    }
    assert_eq!(bench.asked(), 3);
    let refusal = bench.guarded.ask(&known("ann")).await.unwrap_err();
    assert_eq!(refusal.provider.as_deref(), Some("main"));
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 1"));
    assert!(bench.shows("portcullis_idp_questions_kept_back_total{provider=\"main\"} 5"));
    bench.clock.advance(Duration::from_secs(1));
    bench.fail_next(1);
    assert_eq!(word(&*bench.guarded).await, "status-gateway", "the trial");
    bench.clock.advance(Duration::from_millis(1_999));
    assert_eq!(word(&*bench.guarded).await, "breaker-open");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(word(&*bench.guarded).await, "allowed");
    assert_eq!(word(&*bench.guarded).await, "allowed");
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 0"));
}

#[tokio::test]
async fn strangers_questions_never_open_the_breaker() {
    let bench = Bench::new(1);
    for status in [400, 404, 409, 410, 422, 429, 500, 502, 503, 504] {
        for _ in 0..100 {
            bench.provider.then(status, Value::Null);
            let refused = asked(&*bench.guarded, &question()).await;
            assert!(refused.starts_with("status"), "{status}: {refused}");
        }
        assert_eq!(word(&*bench.guarded).await, "allowed", "{status}");
    }
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 0"));
}

#[tokio::test]
async fn two_known_users_are_not_enough_and_what_is_about_a_question_is_no_failure() {
    let bench = Bench::new(1);
    for _ in 0..50 {
        for user in &REGULARS[..2] {
            bench.provider.then(500, Value::Null);
            assert_eq!(asked(&*bench.guarded, &known(user)).await, "status-failed");
        }
    }
    for user in REGULARS {
        bench.provider.then(404, Value::Null);
        assert_eq!(asked(&*bench.guarded, &known(user)).await, "status-refused");
    }
    bench.provider.then(500, Value::Null);
    assert_eq!(asked(&*bench.guarded, &known("cid")).await, "status-failed");
    assert_eq!(word(&*bench.guarded).await, "breaker-open");
}

#[tokio::test]
async fn a_strangers_trial_does_not_keep_known_users_out() {
    let bench = Bench::new(3);
    bench.open().await;
    bench.clock.advance(Duration::from_secs(1));
    bench.provider.hold();
    let stranger = question();
    let trial = asked(&*bench.guarded, &stranger);
    tokio::pin!(trial);
    let early = tokio::time::timeout(Duration::from_millis(20), trial.as_mut()).await;
    assert!(early.is_err());
    assert_eq!(asked(&*bench.guarded, &stranger).await, "breaker-open");
    let ann = word(&*bench.guarded);
    tokio::pin!(ann);
    let early = tokio::time::timeout(Duration::from_millis(20), ann.as_mut()).await;
    assert!(early.is_err(), "it is asked");
    bench.provider.release();
    assert_eq!(ann.await, "allowed");
    assert_eq!(trial.await, "allowed");
}

#[tokio::test]
async fn a_provider_that_fails_at_every_look_up_is_still_asked_about_passwords() {
    let bench = Bench::new(3);
    let look_up = |user: &str| Question {
        credential: Credential::PublicKey,
        ..known(user)
    };
    bench.fail_next(3);
    for user in &REGULARS[..3] {
        let refused = asked(&*bench.guarded, &look_up(user)).await;
        assert_eq!(refused, "status-gateway");
    }
    let look_up = look_up("ann");
    assert_eq!(asked(&*bench.guarded, &look_up).await, "breaker-open");
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 1"));
    assert_eq!(word(&*bench.guarded).await, "allowed");
    // An answer to a password says nothing of look-ups.
    assert_eq!(asked(&*bench.guarded, &look_up).await, "breaker-open");
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 1"));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(asked(&*bench.guarded, &look_up).await, "allowed");
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 0"));
}

#[tokio::test]
async fn denials_and_answers_that_cannot_be_used_are_answers() {
    let bench = Bench::new(1);
    bench.provider.answer_from_now_on(json!({"allow": false}));
    assert_eq!(word(&*bench.guarded).await, "not-allowed");
    bench.provider.answer_from_now_on(json!({"allow": 7}));
    assert_eq!(word(&*bench.guarded).await, "wrong-type");
    assert_eq!(word(&*bench.guarded).await, "wrong-type");
    assert_eq!(bench.asked(), 3);
}

#[tokio::test]
async fn a_trial_whose_login_is_given_up_does_not_keep_the_others_out() {
    let bench = Bench::new(3);
    bench.open().await;
    bench.clock.advance(Duration::from_secs(1));
    bench.provider.hold();
    let trial = word(&*bench.guarded);
    let given_up = tokio::time::timeout(Duration::from_millis(20), trial).await;
    assert!(given_up.is_err());
    bench.provider.release();
    assert_eq!(word(&*bench.guarded).await, "allowed");
}

#[tokio::test]
async fn while_a_trial_is_under_way_the_others_do_not_wait_for_it() {
    let bench = Bench::new(3);
    bench.open().await;
    bench.clock.advance(Duration::from_secs(1));
    bench.provider.hold();
    let trial = word(&*bench.guarded);
    tokio::pin!(trial);
    let early = tokio::time::timeout(Duration::from_millis(20), trial.as_mut()).await;
    assert!(early.is_err());
    assert_eq!(word(&*bench.guarded).await, "breaker-open");
    bench.provider.release();
    assert_eq!(trial.await, "allowed");
    assert_eq!(word(&*bench.guarded).await, "allowed");
}

#[tokio::test]
async fn older_answers_stand_in_once_three_others_met_with_the_outage() {
    let bench = Bench::new(3);
    let cached = bench.cached(600);
    for user in REGULARS {
        assert_eq!(asked(&cached, &known(user)).await, "allowed");
    }
    bench.clock.advance(Duration::from_secs(61));
    bench.provider.fail_from_now_on(503);
    for user in &REGULARS[..3] {
        assert_eq!(
            asked(&cached, &known(user)).await,
            "status-gateway",
            "{user}"
        );
    }
    assert_eq!(
        asked(&cached, &known("ann")).await,
        "breaker-open",
        "two others"
    );
    // One more is asked about, and from then on nobody is.
    let calls = bench.asked();
    for user in ["dan", "eve", "ann", "bob", "cid"] {
        assert_eq!(asked(&cached, &known(user)).await, "allowed", "{user}");
    }
    assert_eq!(asked(&cached, &question()).await, "breaker-open");
    assert_eq!(bench.asked(), calls + 1);
}

#[tokio::test]
async fn nobodys_own_questions_bring_an_older_answer() {
    for status in [500, 502, 503, 504, 404] {
        let bench = Bench::new(5);
        let cached = bench.cached(600);
        for user in REGULARS {
            assert_eq!(asked(&cached, &known(user)).await, "allowed");
        }
        bench.clock.advance(Duration::from_secs(61));
        // Ann has just been removed, and makes the provider fail as often as she likes, under her
        // own name and under others that nobody knows.
        for _ in 0..20 {
            bench.provider.then(status, Value::Null);
            let refused = asked(&cached, &known("ann")).await;
            assert!(refused.starts_with("status"), "{status}: {refused}");
            bench.provider.then(status, Value::Null);
            let refused = asked(&cached, &question()).await;
            assert!(refused.starts_with("status"), "{status}: {refused}");
        }
        bench.provider.then(200, json!({"allow": false}));
        assert_eq!(asked(&cached, &known("ann")).await, "not-allowed");
    }
}

#[tokio::test]
async fn errors_of_the_service_are_no_outage_however_many_meet_with_them() {
    let bench = Bench::new(0);
    let cached = bench.cached(600);
    for user in REGULARS {
        assert_eq!(asked(&cached, &known(user)).await, "allowed");
    }
    bench.clock.advance(Duration::from_secs(61));
    bench.provider.fail_from_now_on(500);
    for _ in 0..3 {
        for user in REGULARS {
            assert_eq!(asked(&cached, &known(user)).await, "status-failed");
        }
    }
}

#[tokio::test]
async fn an_answer_to_anybody_ends_the_outage_for_older_answers() {
    let bench = Bench::new(0);
    let cached = bench.cached(600);
    for user in REGULARS {
        assert_eq!(asked(&cached, &known(user)).await, "allowed");
    }
    bench.clock.advance(Duration::from_secs(61));
    bench.fail_next(3);
    for user in &REGULARS[..3] {
        assert_eq!(asked(&cached, &known(user)).await, "status-gateway");
    }
    bench.provider.then(200, json!({"allow": false}));
    assert_eq!(asked(&cached, &question()).await, "not-allowed");
    bench.fail_next(1);
    assert_eq!(asked(&cached, &known("dan")).await, "status-gateway");
}

#[tokio::test]
async fn where_two_users_are_known_the_other_one_is_enough() {
    let bench = Bench::new(0);
    for user in &REGULARS[2..] {
        bench.history.known().forget(user);
    }
    let cached = bench.cached(600);
    for user in &REGULARS[..2] {
        assert_eq!(asked(&cached, &known(user)).await, "allowed");
    }
    bench.clock.advance(Duration::from_secs(61));
    bench.provider.fail_from_now_on(504);
    assert_eq!(asked(&cached, &known("ann")).await, "status-gateway");
    assert_eq!(asked(&cached, &known("bob")).await, "allowed");
    // Alone nobody can tell an outage from their own question.
    bench.history.known().forget("bob");
    let alone = Bench::new(0);
    for user in &REGULARS[1..] {
        alone.history.known().forget(user);
    }
    let cached = alone.cached(600);
    assert_eq!(asked(&cached, &known("ann")).await, "allowed");
    alone.clock.advance(Duration::from_secs(61));
    alone.provider.fail_from_now_on(504);
    for _ in 0..5 {
        assert_eq!(asked(&cached, &known("ann")).await, "status-gateway");
    }
}
