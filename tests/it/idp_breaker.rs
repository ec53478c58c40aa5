//! A provider that does not answer is left alone, and tried again by one login at a time.

use std::sync::Arc;
use std::time::Duration;

use portcullis::idp::breaker::Guarded;
use portcullis::idp::cache::{CacheSettings, Cached};
use portcullis::idp::{Credential, IdentityProvider, Question};
use portcullis::metrics::Metrics;
use portcullis::secret::Secret;
use serde_json::json;

use super::common::clock::FakeClock;
use super::common::login::allowed;
use super::common::provider::RecordingProvider;
use super::common::refusals;

struct Bench {
    provider: Arc<RecordingProvider>,
    guarded: Arc<Guarded>,
    clock: Arc<FakeClock>,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new(failures: usize) -> Self {
        let provider = RecordingProvider::new(allowed());
        let clock = Arc::new(FakeClock::new());
        let metrics = Arc::new(Metrics::default());
        let guarded = Guarded::new(
            provider.clone(),
            "main",
            failures,
            Arc::clone(&metrics),
            clock.clone(),
        );
        Self {
            provider,
            guarded: Arc::new(guarded),
            clock,
            metrics,
        }
    }

    fn fail_next(&self, times: usize) {
        for _ in 0..times {
            self.provider.then(503, json!({}));
        }
    }

    fn asked(&self) -> usize {
        self.provider.calls().len()
    }

    fn shows(&self, line: &str) -> bool {
        let text = self.metrics.encode();
        text.lines().any(|found| found == line)
    }
}

fn question() -> Question {
    Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential: Credential::Password(Secret::new("tidal-fern-41".to_owned())),
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
    }
}

async fn word(provider: &dyn IdentityProvider) -> &'static str {
    asked(provider, &question()).await
}

async fn asked(provider: &dyn IdentityProvider, question: &Question) -> &'static str {
    refusals::word(&provider.ask(question).await)
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_left_alone_for_a_growing_pause() {
    let bench = Bench::new(3);
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 0"));
    bench.fail_next(4);
    for _ in 0..3 {
        assert_eq!(word(&*bench.guarded).await, "status-gateway");
    }
    for _ in 0..5 {
        assert_eq!(word(&*bench.guarded).await, "breaker-open");
    }
    assert_eq!(bench.asked(), 3);
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 1"));
    assert!(bench.shows("portcullis_idp_questions_kept_back_total{provider=\"main\"} 5"));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(word(&*bench.guarded).await, "status-gateway", "the trial");
    bench.clock.advance(Duration::from_millis(1_999));
    assert_eq!(word(&*bench.guarded).await, "breaker-open");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(word(&*bench.guarded).await, "allowed");
    assert_eq!(word(&*bench.guarded).await, "allowed");
    assert!(bench.shows("portcullis_idp_breaker_open{provider=\"main\"} 0"));
}

#[tokio::test]
async fn a_provider_that_fails_at_every_look_up_is_still_asked_about_passwords() {
    let bench = Bench::new(2);
    let look_up = Question {
        credential: Credential::PublicKey,
        ..question()
    };
    bench.fail_next(2);
    for _ in 0..2 {
        assert_eq!(asked(&*bench.guarded, &look_up).await, "status-gateway");
    }
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
    let bench = Bench::new(1);
    bench.fail_next(1);
    assert_eq!(word(&*bench.guarded).await, "status-gateway");
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
    let bench = Bench::new(1);
    bench.fail_next(1);
    assert_eq!(word(&*bench.guarded).await, "status-gateway");
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
async fn older_answers_stand_in_while_the_provider_is_left_alone() {
    let bench = Bench::new(1);
    let settings = CacheSettings {
        provider: "main".into(),
        server_id: "s-1".into(),
        user_prefix: None,
        user_suffix: None,
        allowed_for: Duration::from_secs(60),
        denied_for: Duration::ZERO,
        stale_for: Duration::from_secs(600),
        spread_percent: 0,
        bytes_max: 1 << 20,
    };
    let metrics = Arc::clone(&bench.metrics);
    let cached = Cached::new(
        bench.guarded.clone(),
        settings,
        metrics,
        bench.clock.clone(),
    );
    let cached = cached.unwrap();
    assert_eq!(word(&cached).await, "allowed");
    bench.clock.advance(Duration::from_secs(61));
    bench.fail_next(1);
    for _ in 0..3 {
        assert_eq!(word(&cached).await, "allowed");
    }
    assert_eq!(bench.asked(), 2, "the breaker is open");
}
