//! Attempts whose client goes away: what was asked counts and is written down, what was not asked is
//! not asked.

use std::sync::Arc;
use std::time::Duration;

use portcullis::auth::{AuthSettings, Authenticator, ConnectionAuth, ThrottleSettings};
use portcullis::clock::Clock as _;
use portcullis::idp::cache::{CacheSettings, Cached};
use portcullis::idp::places::{Bounded, PlacesSettings};
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use serde_json::json;

use crate::common::login::{Bench, allowed, alone, other_key, try_password, word};
use crate::common::stores::no_stores;

/// What an answer may take at the provider of these tests.
const TOTAL: Duration = Duration::from_secs(5);

/// A provider with places and a cache, as the gateway has it.
fn bench(throttle: ThrottleSettings, questions_max: usize) -> (Bench, Arc<Metrics>) {
    let mut bench = Bench::throttled(allowed(), throttle.clone());
    let metrics = Arc::new(Metrics::default());
    let bounded = Bounded::new(
        bench.provider.clone(),
        "",
        PlacesSettings {
            questions_max,
            total_timeout: TOTAL,
        },
        Arc::clone(&metrics),
        bench.clock.clone(),
    );
    let settings = CacheSettings {
        provider: "".into(),
        server_id: "".into(),
        user_prefix: None,
        user_suffix: None,
        allowed_for: Duration::from_secs(300),
        denied_for: Duration::ZERO,
        stale_for: Duration::ZERO,
        spread_percent: 0,
        bytes_max: 1 << 20,
    };
    let (counts, clock) = (Arc::clone(&metrics), bench.clock.clone());
    let cached = Cached::new(Arc::new(bounded), settings, counts, clock).unwrap();
    let limits = Limits {
        refusal_delay: Duration::ZERO,
        ..Limits::default()
    };
    bench.shared = alone(throttle, bench.records.clone());
    bench.authenticator = Arc::new(Authenticator::new(
        Arc::new(cached),
        no_stores(),
        AuthSettings::default(),
        bench.shared.clone(),
        Arc::new(limits),
        bench.clock.clone(),
    ));
    (bench, metrics)
}

/// Sends a password and goes away before there is an answer.
async fn cut(bench: &Bench, user: &str, password: &str) {
    let mut connection = bench.connect();
    let calls = bench.calls();
    let attempt = try_password(&mut connection, user, password);
    tokio::pin!(attempt);
    while bench.calls() == calls {
        assert!(futures_util::poll!(&mut attempt).is_pending());
        tokio::task::yield_now().await;
    }
}

/// Waits until nothing is under way any more.
async fn settled(bench: &Bench) {
    bench.shared.tasks.close();
    bench.shared.tasks.wait().await;
    bench.shared.tasks.reopen();
}

#[tokio::test]
async fn guesses_that_are_cut_off_count_and_are_written_down() {
    let (bench, _) = bench(
        ThrottleSettings {
            failures_max: 3,
            ..ThrottleSettings::default()
        },
        64,
    );
    for guess in ["one", "two", "three"] {
        bench.provider.hold();
        bench.provider.then(200, json!({"allow": false}));
        cut(&bench, "ann", guess).await;
        bench.provider.release();
        settled(&bench).await;
    }
    assert_eq!(bench.attempts(), [("denied", "not-allowed"); 3]);
    // The fourth is not asked about, be it right or wrong.
    let outcome = try_password(&mut bench.connect(), "ann", "right").await;
    assert_eq!(word(&outcome), "try again");
    assert_eq!(bench.attempts().last(), Some(&("denied", "locked-out")));
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn a_right_password_whose_client_has_gone_is_written_down_and_lets_nobody_in() {
    let (bench, _) = bench(ThrottleSettings::default(), 64);
    bench.provider.hold();
    cut(&bench, "ann", "right").await;
    bench.provider.release();
    settled(&bench).await;
    assert_eq!(bench.attempts(), [("denied", "client-gone")]);
    assert!(!bench.shared.history.known().contains(
        "ann",
        "192.0.2.7".parse().unwrap(),
        bench.clock.now()
    ));
}

#[tokio::test]
async fn a_question_that_waits_for_a_place_is_not_asked_once_its_client_has_gone() {
    let (bench, metrics) = bench(ThrottleSettings::default(), 2);
    bench.provider.hold();
    cut(&bench, "ann", "first").await;
    for guess in 0..50 {
        let mut connection = bench.connect();
        let password = format!("guess-{guess}");
        let attempt = try_password(&mut connection, "ann", &password);
        tokio::pin!(attempt);
        for _ in 0..5 {
            assert!(futures_util::poll!(&mut attempt).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let under_way = "portcullis_idp_questions_under_way{provider=\"identity\"} ";
    assert!(metrics.encode().contains(&format!("{under_way}1\n")));
    bench.provider.release();
    settled(&bench).await;
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.attempts(), [("denied", "client-gone")]);
    assert!(metrics.encode().contains(&format!("{under_way}0\n")));
}

#[tokio::test]
async fn nothing_is_asked_that_cannot_be_answered_within_the_grace() {
    let (bench, _) = bench(ThrottleSettings::default(), 64);
    let mut connection = bench.connect();
    bench.clock.advance(Limits::default().login_grace - TOTAL);
    let outcome = try_password(&mut connection, "ann", "wrong").await;
    assert_eq!(word(&outcome), "accepted", "just in time");
    let mut connection = bench.connect();
    let late = Duration::from_millis(1);
    bench
        .clock
        .advance(Limits::default().login_grace - TOTAL + late);
    let asked = bench.calls();
    let outcome = try_password(&mut connection, "ann", "late").await;
    assert_eq!(word(&outcome), "try again");
    assert_eq!(
        bench.attempts().last(),
        Some(&("unavailable", "no-time-left"))
    );
    assert_eq!(bench.last_attempt().provider.as_deref(), Some(""));
    connection.key_offered("ann", &other_key(1)).await;
    assert_eq!(bench.calls(), asked);
}

#[tokio::test]
async fn who_finds_no_place_in_time_is_told_so_and_opens_no_breaker() {
    let (bench, metrics) = bench(ThrottleSettings::default(), 2);
    bench.provider.hold();
    cut(&bench, "ann", "first").await;
    let mut connection = bench.connect();
    bench
        .clock
        .advance(Limits::default().login_grace - TOTAL - Duration::from_millis(20));
    let outcome = try_password(&mut connection, "bob", "right").await;
    assert_eq!(word(&outcome), "try again");
    assert_eq!(
        bench.attempts().last(),
        Some(&("unavailable", "provider-busy"))
    );
    assert_eq!(bench.last_attempt().provider.as_deref(), Some(""));
    let busy = "portcullis_idp_questions_busy_total{provider=\"identity\"} 1\n";
    assert!(metrics.encode().contains(busy));
    // Somebody who is known has a place.
    let now = bench.clock.now();
    let source = "192.0.2.9".parse().unwrap();
    bench.shared.history.let_in("cid", source, "", now);
    let mut connection: ConnectionAuth = bench.connect_from(source);
    let attempt = try_password(&mut connection, "cid", "right");
    tokio::pin!(attempt);
    while bench.calls() < 2 {
        assert!(futures_util::poll!(&mut attempt).is_pending());
        tokio::task::yield_now().await;
    }
    bench.provider.release();
    assert_eq!(word(&attempt.await), "accepted");
    settled(&bench).await;
}

#[tokio::test]
async fn a_key_whose_look_up_is_cut_off_leaves_a_line() {
    let (bench, _) = bench(ThrottleSettings::default(), 64);
    bench.provider.hold();
    {
        let mut connection = bench.connect();
        let key = other_key(1);
        let offer = connection.key_offered("ann", &key);
        tokio::pin!(offer);
        while bench.calls() == 0 {
            assert!(futures_util::poll!(&mut offer).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bench.attempts(), [("denied", "client-gone")]);
    let line = bench.last_attempt();
    assert_eq!(line.request_id.as_deref(), Some("c1-1"));
    assert_eq!(line.fingerprint, Some(other_key(1).fingerprint()));
    bench.provider.release();
    settled(&bench).await;
}
