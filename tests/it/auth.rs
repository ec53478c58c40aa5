//! One connection's login: what is asked, how often, and what the client is told.

use std::time::Duration;

use portcullis::auth::{AuthMethod, AuthSettings, Methods, OfferedKey, Outcome, UserNameRule};
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::limits::Limits;
use serde_json::{Value, json};

use crate::common::login::{Bench, allowed, listed_key, other_key, try_password, with, word};

#[tokio::test]
async fn the_right_password_lets_in_with_one_question() {
    let bench = Bench::new(with("user", json!("cust-42")));
    let mut connection = bench.connect_from("::ffff:192.0.2.7".parse().unwrap());
    let Outcome::Accepted(user) = try_password(&mut connection, "ann", "tidal-fern").await else {
        panic!()
    };
    assert_eq!(user.login_name(), "ann");
    assert_eq!(&*user.config().user, "cust-42");
    assert_eq!(user.method(), AuthMethod::Password);
    assert_eq!(user.source_ip().to_string(), "192.0.2.7");
    assert_eq!(user.session_id(), "c1");
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.attempts(), [("allowed", "")]);
}

#[tokio::test]
async fn a_blank_password_is_refused_before_anybody_is_asked() {
    let fixtures: Value = serde_json::from_str(crate::idp_contract::FIXTURES).unwrap();
    let blank = fixtures["passwords_refused_before_any_call"]
        .as_array()
        .unwrap();
    assert!(!blank.is_empty());
    let bench = Bench::new(allowed());
    for password in blank {
        let password = password.as_str().unwrap();
        let outcome = try_password(&mut bench.connect(), "ann", password).await;
        assert_eq!(word(&outcome), "try again", "{password:?}");
    }
    let long = "x".repeat(1_025);
    let outcome = try_password(&mut bench.connect(), "ann", &long).await;
    assert_eq!(word(&outcome), "try again");
    assert_eq!(bench.calls(), 0);
}

#[tokio::test]
async fn a_second_password_on_the_same_connection_works() {
    let bench = Bench::new(allowed());
    bench.provider.then(200, json!({"allow": false}));
    let mut connection = bench.connect();
    assert_eq!(
        word(&try_password(&mut connection, "ann", "wrong").await),
        "try again"
    );
    assert_eq!(
        word(&try_password(&mut connection, "ann", "right").await),
        "accepted"
    );
    let calls = bench.provider.calls();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0].request_id, calls[1].request_id);
}

#[tokio::test]
async fn password_attempts_are_bounded() {
    let bench = Bench::new(json!({}));
    let mut connection = bench.connect();
    let max = Limits::default().password_attempts_max;
    for at in 1..=max {
        let expected = if at < max { "try again" } else { "over" };
        let outcome = try_password(&mut connection, "ann", "wrong").await;
        assert_eq!(word(&outcome), expected, "{at}");
    }
    bench.provider.answer_from_now_on(allowed());
    assert_eq!(
        word(&try_password(&mut connection, "ann", "right").await),
        "over"
    );
    assert_eq!(
        word(&connection.key_proved("ann", &listed_key()).await),
        "over"
    );
    assert_eq!(bench.calls(), max);
}

#[tokio::test]
async fn denied_invalid_and_unavailable_look_the_same() {
    let bench = Bench::new(allowed());
    let answers = [
        (200, json!({}), "denied"),
        (200, json!({"allow": true}), "invalid"),
        (502, json!({}), "unavailable"),
        (401, json!({}), "denied"),
    ];
    for (status, body, verdict) in answers {
        bench.provider.then(status, body);
        let outcome = try_password(&mut bench.connect(), "ann", "one").await;
        assert_eq!(word(&outcome), "try again");
        assert_eq!(bench.attempts().last().unwrap().0, verdict);
    }
    assert_eq!(bench.calls(), 4);
}

#[tokio::test]
async fn a_refusal_takes_its_time_whatever_its_cause() {
    let delay = Duration::from_millis(40);
    let limits = Limits {
        refusal_delay: delay,
        ..Limits::default()
    };
    let bench = Bench::with(json!({}), AuthSettings::default(), limits);
    for (user, password) in [("ann", "wrong"), ("ann", " "), ("a/b", "wrong")] {
        let start = SystemClock.now();
        let outcome = try_password(&mut bench.connect(), user, password).await;
        assert_eq!(word(&outcome), "try again");
        assert!(SystemClock.now() - start >= delay, "{user} {password}");
    }
}

#[tokio::test]
async fn an_agent_full_of_keys_costs_one_question() {
    let bench = Bench::new(allowed());
    let mut connection = bench.connect();
    for number in 0..15 {
        let outcome = connection.key_offered("ann", &other_key(number)).await;
        assert_eq!(word(&outcome), "try again");
    }
    assert_eq!(
        word(&connection.key_offered("ann", &listed_key()).await),
        "offered"
    );
    assert_eq!(bench.attempts(), []);
    let Outcome::Accepted(user) = connection.key_proved("ann", &listed_key()).await else {
        panic!()
    };
    assert_eq!(user.method(), AuthMethod::PublicKey);
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.attempts(), [("allowed", "")]);
}

#[tokio::test]
async fn keys_tried_before_a_password_are_one_refusal_and_no_failure() {
    let bench = Bench::new(allowed());
    let mut connection = bench.connect();
    for number in 0..10 {
        connection.key_offered("ann", &other_key(number)).await;
    }
    assert_eq!(
        word(&try_password(&mut connection, "ann", "right").await),
        "accepted"
    );
    let refused = ("denied", "key-not-listed");
    assert_eq!(bench.attempts(), [refused, ("allowed", "")]);
    assert_eq!(bench.calls(), 2);
    assert_eq!(bench.lockouts(), []);
}

/// Returns the fingerprints of the latest attempt.
fn fingerprints(bench: &Bench) -> Vec<String> {
    let fingerprint = bench.last_attempt().fingerprint.unwrap();
    fingerprint.split(',').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_refused_key_leaves_one_line_when_the_client_goes() {
    let bench = Bench::new(allowed());
    let mut connection = bench.connect();
    for number in [1, 2, 2, 3] {
        connection.key_offered("ann", &other_key(number)).await;
    }
    assert_eq!(bench.attempts(), [], "one of them may still be accepted");
    drop(connection);
    assert_eq!(bench.attempts(), [("denied", "key-not-listed")]);
    let line = bench.last_attempt();
    assert_eq!(&*line.user, "ann");
    assert_eq!(line.source_ip.to_string(), "192.0.2.7");
    assert_eq!(line.request_id.as_deref(), Some("c1-1"));
    let offered: Vec<_> = (1..=3)
        .map(|at| other_key(at).fingerprint().to_string())
        .collect();
    assert_eq!(fingerprints(&bench), offered);
}

#[tokio::test]
async fn refused_keys_of_each_user_are_told_and_those_before_the_right_one_are_not() {
    let bench = Bench::new(allowed());
    let mut connection = bench.connect();
    connection.key_offered("ann", &other_key(1)).await;
    connection.key_offered("bob", &other_key(2)).await;
    assert_eq!(bench.attempts(), [("denied", "key-not-listed")]);
    assert_eq!(&*bench.last_attempt().user, "ann");
    connection.key_offered("bob", &listed_key()).await;
    let outcome = connection.key_proved("bob", &listed_key()).await;
    assert_eq!(word(&outcome), "accepted");
    drop(connection);
    assert_eq!(bench.attempts().len(), 2);
}

#[tokio::test]
async fn a_listed_key_that_is_never_proven_is_no_refused_key() {
    let bench = Bench::new(allowed());
    let mut connection = bench.connect();
    let offer = connection.key_offered("ann", &listed_key()).await;
    assert_eq!(word(&offer), "offered");
    let outcome = try_password(&mut connection, "ann", "right").await;
    assert_eq!(word(&outcome), "accepted");
    drop(connection);
    assert_eq!(bench.attempts(), [("allowed", "")]);
    // Beside refused ones it is not named.
    let mut connection = bench.connect();
    connection.key_offered("ann", &other_key(1)).await;
    connection.key_offered("ann", &listed_key()).await;
    bench.clock.advance(Duration::from_secs(30));
    drop(connection);
    assert_eq!(fingerprints(&bench), [&*other_key(1).fingerprint()]);
    let took = bench.last_attempt().duration;
    assert_eq!(took, Duration::ZERO, "nobody waited for an answer");
}

#[tokio::test]
async fn a_client_with_too_many_keys_makes_a_short_line() {
    let limits = Limits {
        key_offers_max: 1_000,
        refusal_delay: Duration::ZERO,
        ..Limits::default()
    };
    let bench = Bench::with(allowed(), AuthSettings::default(), limits);
    let mut connection = bench.connect();
    for number in 1..=100 {
        connection.key_offered("ann", &other_key(number)).await;
    }
    drop(connection);
    let offered = fingerprints(&bench);
    assert_eq!(offered.len(), 21);
    assert_eq!(offered[20], "and 80 more");
}

#[tokio::test]
async fn only_the_first_refused_key_is_held_back() {
    let limits = Limits {
        refusal_delay: Duration::from_millis(30),
        ..Limits::default()
    };
    let bench = Bench::with(allowed(), AuthSettings::default(), limits);
    let mut connection = bench.connect();
    let began = tokio::time::Instant::now();
    connection.key_offered("ann", &other_key(1)).await;
    assert!(began.elapsed().as_millis() >= 30);
    for number in 2..=9 {
        let key = other_key(number);
        let offer = connection.key_offered("ann", &key);
        tokio::pin!(offer);
        assert!(futures_util::poll!(offer).is_ready(), "{number}");
    }
}

#[tokio::test]
async fn key_offers_are_bounded() {
    let bench = Bench::new(allowed());
    let max = u8::try_from(Limits::default().key_offers_max).unwrap();
    let mut connection = bench.connect();
    for number in 1..max {
        assert_eq!(
            word(&connection.key_offered("ann", &other_key(number)).await),
            "try again"
        );
    }
    // The last offer that counts may still be the right one.
    assert_eq!(
        word(&connection.key_offered("ann", &listed_key()).await),
        "offered"
    );
    assert_eq!(
        word(&connection.key_proved("ann", &listed_key()).await),
        "accepted"
    );
    assert_eq!(
        word(&connection.key_offered("ann", &listed_key()).await),
        "over"
    );
}

#[tokio::test]
async fn a_key_that_is_not_listed_or_not_good_is_refused() {
    let bench = Bench::new(allowed());
    let outcome = bench.connect().key_proved("ann", &other_key(1)).await;
    assert_eq!(word(&outcome), "try again");
    let foreign = OfferedKey {
        algorithm: "ssh-dss".to_owned(),
        ..listed_key()
    };
    assert_eq!(
        word(&bench.connect().key_proved("ann", &foreign).await),
        "try again"
    );
    assert_eq!(
        bench.attempts(),
        [
            ("denied", "key-not-listed"),
            ("denied", "key-type-unsupported")
        ]
    );
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn changing_the_name_does_not_multiply_questions() {
    let bench = Bench::new(json!({}));
    let mut connection = bench.connect();
    let mut last = "";
    for number in 0..50 {
        let user = format!("user-{number}");
        last = word(&connection.key_offered(&user, &listed_key()).await);
    }
    assert_eq!(last, "over");
    assert!(bench.calls() <= 1 + Limits::default().password_attempts_max);
}

#[tokio::test]
async fn an_outage_is_reported_once_and_asked_about_once() {
    let bench = Bench::new(allowed());
    bench.provider.then(503, Value::Null);
    let mut connection = bench.connect();
    for number in 0..5 {
        let outcome = connection.key_offered("ann", &other_key(number)).await;
        assert_eq!(word(&outcome), "try again");
    }
    assert_eq!(bench.attempts(), [("unavailable", "status-gateway")]);
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn answers_that_cannot_be_kept_are_refused() {
    for (answer, expected) in [
        (
            with("networks", json!(["198.51.100.0/24"])),
            ("denied", "source-not-in-networks"),
        ),
        (
            with("expiresAt", json!("2020-01-01T00:00:00Z")),
            ("invalid", "answer-expired"),
        ),
        (
            with("policy", json!({"Version": "2012-10-17"})),
            ("invalid", "policy-not-enforceable"),
        ),
    ] {
        let bench = Bench::new(answer);
        let outcome = try_password(&mut bench.connect(), "ann", "one").await;
        assert_eq!(word(&outcome), "try again");
        assert_eq!(bench.attempts(), [expected]);
        let mut connection = bench.connect();
        assert_eq!(
            word(&connection.key_offered("ann", &listed_key()).await),
            "try again"
        );
        assert_eq!(
            word(&connection.key_proved("ann", &listed_key()).await),
            "try again"
        );
    }
}

#[tokio::test]
async fn an_answer_that_ends_between_offer_and_proof_lets_nobody_in() {
    let bench = Bench::new(with("expiresAt", json!("2023-11-14T22:13:30Z")));
    let mut connection = bench.connect();
    assert_eq!(
        word(&connection.key_offered("ann", &listed_key()).await),
        "offered"
    );
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(
        word(&connection.key_proved("ann", &listed_key()).await),
        "try again"
    );
}

#[tokio::test]
async fn names_outside_the_rule_are_not_asked_about() {
    let settings = AuthSettings {
        user_names: UserNameRule::Aws,
        ..AuthSettings::default()
    };
    let bench = Bench::with(allowed(), settings, Limits::default());
    assert_eq!(
        word(&try_password(&mut bench.connect(), "-x", "one").await),
        "try again"
    );
    assert_eq!(
        word(&bench.connect().key_offered("a/b", &listed_key()).await),
        "try again"
    );
    assert_eq!(bench.calls(), 0);
}

#[tokio::test]
async fn a_login_has_a_history_where_the_setting_says_so() {
    for history in [false, true] {
        let settings = AuthSettings {
            history,
            ..AuthSettings::default()
        };
        let bench = Bench::with(allowed(), settings, Limits::default());
        let outcome = try_password(&mut bench.connect(), "ann", "right").await;
        let Outcome::Accepted(user) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(user.config().home.has_history(), history);
    }
}

fn methods(methods: Methods) -> Bench {
    let settings = AuthSettings {
        methods,
        ..AuthSettings::default()
    };
    Bench::with(allowed(), settings, Limits::default())
}

#[tokio::test]
async fn key_and_password_are_both_needed_and_belong_to_one_user() {
    let bench = methods(Methods::KeyAndPassword);
    let mut connection = bench.connect();
    assert_eq!(
        word(&try_password(&mut connection, "ann", "one").await),
        "try again"
    );
    assert_eq!(bench.calls(), 0);
    assert_eq!(
        word(&connection.key_offered("ann", &listed_key()).await),
        "offered"
    );
    assert_eq!(
        word(&try_password(&mut connection, "ann", "one").await),
        "try again"
    );
    assert_eq!(
        word(&connection.key_proved("ann", &listed_key()).await),
        "password required"
    );
    assert_eq!(
        word(&try_password(&mut connection, "bob", "one").await),
        "try again"
    );
    assert_eq!(
        word(&try_password(&mut connection, "ann", "one").await),
        "accepted"
    );
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_method_that_is_off_is_not_asked_about() {
    let bench = methods(Methods::Password);
    assert_eq!(
        word(&bench.connect().key_proved("ann", &listed_key()).await),
        "try again"
    );
    let other = methods(Methods::Key);
    assert_eq!(
        word(&try_password(&mut other.connect(), "ann", "one").await),
        "try again"
    );
    assert_eq!((bench.calls(), other.calls()), (0, 0));
}
