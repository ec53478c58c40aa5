//! What the cache remembers, for how long, and for whom.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis::clock::Clock as _;
use portcullis::idp::breaker::Guarded;
use portcullis::idp::cache::{CacheSettings, Cached};
use portcullis::idp::history::LoginHistory;
use portcullis::idp::places::{Bounded, PlacesSettings};
use portcullis::idp::warning::words;
use portcullis::idp::{Asking, Credential, IdentityProvider as _, Question};
use portcullis::metrics::Metrics;
use portcullis::refusal::{Reason, verdict_word};
use portcullis::secret::Secret;
use serde_json::{Value, json};

use crate::common::clock::FakeClock;
use crate::common::provider::RecordingProvider;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn allowed() -> Value {
    json!({"allow": true, "user": "cust-42", "publicKeys": [crate::common::login::LISTED_LINE],
        "mappings": [{"entry": "/", "target": "/bucket/ann"}]})
}

fn denied() -> Value {
    json!({"allow": false})
}

fn password(text: &str) -> Question {
    Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential: Credential::Password(Secret::new(text.to_owned())),
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

/// A question of a user who was let in within the last day.
fn known(user: &str) -> Question {
    Question {
        username: user.into(),
        asking: Asking {
            known: true,
            ..Asking::default()
        },
        ..password("right")
    }
}

struct Bench {
    provider: Arc<RecordingProvider>,
    history: Arc<LoginHistory>,
    clock: Arc<FakeClock>,
    cached: Cached,
}

impl Bench {
    fn new(standing: Value) -> Self {
        Self::with(standing, |_| {})
    }

    fn with(standing: Value, change: impl FnOnce(&mut CacheSettings)) -> Self {
        let mut settings = CacheSettings {
            provider: "webhook".into(),
            server_id: "s-1".into(),
            user_prefix: None,
            user_suffix: None,
            allowed_for: seconds(60),
            denied_for: seconds(5),
            stale_for: seconds(600),
            spread_percent: 0,
            bytes_max: 10_000_000,
        };
        change(&mut settings);
        let provider = RecordingProvider::new(standing);
        let clock = Arc::new(FakeClock::new());
        let metrics = Arc::new(Metrics::default());
        let history = Arc::new(LoginHistory::new(seconds(900)));
        // Without a breaker: it only tells an outage from a question.
        let watched = Guarded::new(
            provider.clone(),
            "webhook",
            0,
            Arc::clone(&history),
            Arc::clone(&metrics),
            clock.clone(),
        );
        let cached = Cached::new(Arc::new(watched), settings, metrics, clock.clone());
        Self {
            provider,
            history,
            clock,
            cached: cached.unwrap(),
        }
    }

    async fn ask(&self, question: &Question) -> &'static str {
        match self.cached.ask(question).await {
            Ok(config) if words(&config.warnings).contains(&"stale-answer") => "stale",
            answer => verdict_word(answer.as_ref().err()),
        }
    }

    fn calls(&self) -> usize {
        self.provider.calls().len()
    }
}

#[tokio::test]
async fn an_answer_is_used_again_until_its_time_is_over() {
    let bench = Bench::new(allowed());
    for _ in 0..3 {
        assert_eq!(bench.ask(&password("one")).await, "allowed");
    }
    bench.clock.advance(seconds(59));
    assert_eq!(bench.ask(&password("one")).await, "allowed");
    assert_eq!(bench.calls(), 1);
    bench.clock.advance(seconds(1));
    assert_eq!(bench.ask(&password("one")).await, "allowed");
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn an_answer_is_never_anothers() {
    let bench = Bench::new(allowed());
    let known = password("one");
    assert_eq!(bench.ask(&known).await, "allowed");
    bench.provider.answer_from_now_on(denied());
    let others = [
        password("two"),
        password("one "),
        Question {
            username: "bob".into(),
            ..known.clone()
        },
        Question {
            source_ip: "192.0.2.8".parse().unwrap(),
            ..known.clone()
        },
        Question {
            credential: Credential::PublicKey,
            ..known.clone()
        },
        Question {
            username: "an".into(),
            ..password("none")
        },
    ];
    for (at, other) in others.iter().enumerate() {
        assert_eq!(bench.ask(other).await, "denied", "{other:?}");
        assert_eq!(bench.calls(), at + 2);
    }
    assert_eq!(bench.ask(&known).await, "allowed");
    let mapped = "::ffff:192.0.2.7".parse().unwrap();
    assert_eq!(
        bench
            .ask(&Question {
                source_ip: mapped,
                ..known
            })
            .await,
        "allowed"
    );
    assert_eq!(bench.calls(), others.len() + 1);
}

#[tokio::test]
async fn only_explicit_denials_are_remembered() {
    let bench = Bench::new(denied());
    for _ in 0..2 {
        assert_eq!(bench.ask(&password("one")).await, "denied");
    }
    assert_eq!(bench.calls(), 1);
    bench.clock.advance(seconds(5));
    bench.provider.answer_from_now_on(allowed());
    assert_eq!(bench.ask(&password("one")).await, "allowed");

    for (status, body, expected) in [
        (401, json!({}), "denied"),
        (403, json!({}), "denied"),
        (500, json!({}), "unavailable"),
        (200, json!({"allow": true}), "invalid"),
    ] {
        let bench = Bench::new(allowed());
        bench.provider.then(status, body);
        assert_eq!(bench.ask(&password("one")).await, expected, "{status}");
        assert_eq!(bench.ask(&password("one")).await, "allowed", "{status}");
        assert_eq!(bench.calls(), 2);
    }
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_an_outage_and_for_nothing_else() {
    let bench = Bench::new(allowed());
    assert_eq!(bench.ask(&password("one")).await, "allowed");
    bench.clock.advance(seconds(61));
    bench.provider.then_gone();
    assert_eq!(bench.ask(&password("one")).await, "stale");
    bench.provider.then_gone();
    assert_eq!(bench.ask(&password("never seen")).await, "unavailable");
    bench.provider.then(401, Value::Null);
    assert_eq!(bench.ask(&password("one")).await, "denied");
    bench.provider.then_gone();
    assert_eq!(bench.ask(&password("one")).await, "unavailable");

    let bench = Bench::new(allowed());
    assert_eq!(bench.ask(&password("one")).await, "allowed");
    bench.clock.advance(seconds(661));
    bench.provider.then_gone();
    assert_eq!(bench.ask(&password("one")).await, "unavailable");
}

#[tokio::test]
async fn the_provider_may_shorten_the_time_and_not_lengthen_it() {
    let with = |key: &str, value: Value| {
        let mut answer = allowed();
        answer[key] = value;
        Bench::new(answer)
    };
    for (bench, good_for) in [
        (with("cacheSeconds", json!(10)), 10),
        (with("cacheSeconds", json!(86_400)), 60),
        // The test's clock begins at 22:13:20.
        (with("expiresAt", json!("2023-11-14T22:13:40Z")), 20),
    ] {
        assert_eq!(bench.ask(&password("one")).await, "allowed");
        bench.clock.advance(seconds(good_for - 1));
        assert_eq!(bench.ask(&password("one")).await, "allowed");
        assert_eq!(bench.calls(), 1, "{good_for}");
        bench.clock.advance(seconds(1));
        assert_eq!(bench.ask(&password("one")).await, "allowed");
        assert_eq!(bench.calls(), 2, "{good_for}");
    }
    let never = with("cacheSeconds", json!(0));
    assert_eq!(never.ask(&password("one")).await, "allowed");
    never.provider.then_gone();
    assert_eq!(never.ask(&password("one")).await, "unavailable");
}

#[tokio::test]
async fn zero_switches_the_cache_off() {
    let bench = Bench::with(allowed(), |settings| settings.allowed_for = Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(bench.ask(&password("one")).await, "allowed");
    }
    bench.provider.then_gone();
    assert_eq!(bench.ask(&password("one")).await, "unavailable");
    assert_eq!(bench.calls(), 4);
}

#[tokio::test]
async fn five_hundred_like_questions_make_one_call() {
    let bench = Bench::new(allowed());
    bench.provider.hold();
    let question = password("one");
    let all = join_all((0..500).map(|_| bench.ask(&question)));
    let release = async {
        while bench.calls() == 0 {
            tokio::task::yield_now().await;
        }
        bench.provider.release();
    };
    let (answers, ()) = tokio::join!(all, release);
    assert!(answers.iter().all(|answer| *answer == "allowed"));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn who_leaves_takes_the_answer_from_nobody() {
    let bench = Bench::new(allowed());
    bench.provider.hold();
    let question = password("one");
    {
        let first = bench.ask(&question);
        tokio::pin!(first);
        while bench.calls() == 0 {
            assert!(futures_util::poll!(&mut first).is_pending());
            tokio::task::yield_now().await;
        }
    }
    bench.provider.release();
    assert_eq!(bench.ask(&question).await, "allowed");
    assert_eq!(bench.calls(), 1);
    bench.cached.drain().await;
}

#[tokio::test]
async fn a_flush_forgets_one_user_or_all() {
    let bench = Bench::new(allowed());
    let ann = password("one");
    let bob = Question {
        username: "bob".into(),
        ..password("one")
    };
    let ask_both = async || {
        bench.ask(&ann).await;
        bench.ask(&bob).await;
        bench.calls()
    };
    assert_eq!(ask_both().await, 2);
    bench.cached.flush_user("ann").await;
    assert_eq!(ask_both().await, 3);
    // Both answers name the same canonical user.
    bench.cached.flush_user("cust-42").await;
    assert_eq!(ask_both().await, 5);
    bench.cached.flush_all();
    assert_eq!(ask_both().await, 7);
}

#[tokio::test]
async fn a_flush_knows_the_login_name_and_every_spelling_of_a_name() {
    let bench = Bench::with(allowed(), |settings| {
        settings.user_suffix = Some("@@staff".into());
        settings.user_prefix = Some("eu/".into());
    });
    for (calls, name) in ["eu/ann@@staff", "EU/Ann@@Staff", "CUST-42"]
        .iter()
        .enumerate()
    {
        bench.ask(&password("one")).await;
        assert_eq!(bench.calls(), calls + 1);
        assert_eq!(bench.cached.flush_user(name).await, 1, "{name}");
    }
    // A denial names nobody but who logged in.
    bench.provider.answer_from_now_on(denied());
    bench.ask(&password("one")).await;
    assert_eq!(bench.cached.flush_user("ann@@staff").await, 0);
    assert_eq!(bench.cached.flush_user("eu/ann@@staff").await, 1);
}

#[tokio::test]
async fn an_answer_asked_for_before_a_flush_is_not_kept() {
    let bench = Bench::new(allowed());
    bench.provider.hold();
    let question = password("one");
    let before = bench.ask(&question);
    let flush = async {
        while bench.calls() == 0 {
            tokio::task::yield_now().await;
        }
        bench.cached.flush_user("ann").await;
        bench.provider.release();
    };
    let (answer, ()) = tokio::join!(before, flush);
    assert_eq!(answer, "allowed");
    bench.provider.answer_from_now_on(denied());
    assert_eq!(bench.ask(&question).await, "denied");
}

#[tokio::test]
async fn an_outage_of_ten_minutes_keeps_a_thousand_users_in() {
    let bench = Bench::with(allowed(), |settings| settings.stale_for = seconds(900));
    let user = |number: usize| known(&format!("user-{number}"));
    let source = password("right").source_ip;
    for number in 0..1_000 {
        let question = user(number);
        assert_eq!(bench.ask(&question).await, "allowed");
        let now = bench.clock.now();
        bench
            .history
            .let_in(&question.username, source, "webhook", now);
    }
    bench.provider.fail_from_now_on(503);
    bench.clock.advance(seconds(60));
    // The first ones are refused once: theirs might be about their own question.
    for number in 0..3 {
        assert_eq!(bench.ask(&user(number)).await, "unavailable", "{number}");
    }
    for number in [3, 0, 1, 2] {
        assert_eq!(bench.ask(&user(number)).await, "stale", "{number}");
    }
    for minute in 1..=9 {
        bench.clock.advance(seconds(60));
        for number in (minute..1_000).step_by(97) {
            assert_eq!(bench.ask(&user(number)).await, "stale", "minute {minute}");
        }
        // Nobody comes in who was not let in before.
        assert_eq!(bench.ask(&user(5_000)).await, "unavailable");
        let other = Question {
            credential: Credential::Password(Secret::new("wrong".to_owned())),
            ..user(1)
        };
        assert_eq!(bench.ask(&other).await, "unavailable");
    }
    bench.clock.advance(seconds(600));
    assert_eq!(bench.ask(&user(1)).await, "unavailable");
}

#[tokio::test]
async fn a_changed_password_and_a_revoked_user_are_known_at_the_next_question() {
    let bench = Bench::new(allowed());
    assert_eq!(bench.ask(&password("old")).await, "allowed");
    bench.clock.advance(seconds(60));
    bench.provider.answer_from_now_on(denied());
    assert_eq!(bench.ask(&password("old")).await, "denied");
    // A denial is never followed by an answer from before it, outage or not.
    bench.clock.advance(seconds(10));
    bench.provider.fail_from_now_on(503);
    assert_eq!(bench.ask(&password("old")).await, "unavailable");
}

#[tokio::test]
async fn a_provider_that_flaps_lets_in_whom_it_would() {
    let bench = Bench::new(allowed());
    assert_eq!(bench.ask(&password("right")).await, "allowed");
    for _ in 0..5 {
        bench.clock.advance(seconds(60));
        bench.provider.then_gone();
        assert_eq!(bench.ask(&password("right")).await, "stale");
        // A stale answer is no new one: the provider is asked again at once.
        assert_eq!(bench.ask(&password("right")).await, "allowed");
    }
    assert_eq!(bench.calls(), 11);
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_is_not_asked() {
    let provider = RecordingProvider::new(allowed());
    let (metrics, clock) = (Arc::new(Metrics::default()), Arc::new(FakeClock::new()));
    let places = PlacesSettings {
        questions_max: 2,
        total_timeout: Duration::ZERO,
    };
    let bounded = Bounded::new(
        provider.clone(),
        "",
        places,
        Arc::clone(&metrics),
        clock.clone(),
    );
    let settings = CacheSettings {
        provider: "".into(),
        server_id: "".into(),
        user_prefix: None,
        user_suffix: None,
        allowed_for: seconds(60),
        denied_for: seconds(5),
        stale_for: Duration::ZERO,
        spread_percent: 0,
        bytes_max: 1 << 20,
    };
    let cached = Cached::new(Arc::new(bounded), settings, metrics, clock).unwrap();
    provider.hold();
    let (holds, waits) = (password("holds"), password("waits"));
    let first = cached.ask(&holds);
    let second = cached.ask(&waits);
    let third = cached.ask(&waits);
    tokio::pin!(first, second, third);
    while provider.calls().is_empty() {
        assert!(futures_util::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    // Strangers have one place of two; both askers of the other question wait and give up.
    for _ in 0..10 {
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(waits.asking.beginning.give_up());
    assert_eq!(second.await.unwrap_err().reason, Reason::GivenUp);
    assert_eq!(third.await.unwrap_err().reason, Reason::GivenUp);
    // One that has begun goes on, and who gave it up hears what came of it.
    assert!(holds.asking.beginning.give_up());
    provider.release();
    assert!(first.await.is_ok());
    cached.drain().await;
    assert_eq!(provider.calls().len(), 1);
}
