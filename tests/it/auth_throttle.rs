//! Brute-force protection: delays, lock-outs, and users whose access is taken back.

use std::sync::Arc;
use std::time::Duration;

use portcullis::auth::{
    AuthSettings, Lockout, LoggedIn, Methods, Outcome, Throttle, ThrottleSettings,
};
use portcullis::idp::warning::words;
use portcullis::limits::Limits;
use serde_json::json;

use crate::common::login::{Bench, allowed, listed_key, other_key, try_password, with, word};

const BALANCER: &str = "198.51.100.9";

fn bench(throttle: ThrottleSettings) -> (Bench, Arc<Throttle>, LoggedIn) {
    let bench = Bench::throttled(allowed(), throttle);
    let shared = bench.shared.clone();
    (bench, shared.throttle, shared.logged_in)
}

/// Lets it be known that clients come from more than one address.
async fn crowd(bench: &Bench) {
    for source in ["198.51.100.1", "198.51.100.2"] {
        let mut connection = bench.connect_from(source.parse().unwrap());
        try_password(&mut connection, "somebody", "right").await;
    }
}

async fn attempt(bench: &Bench, source: &str, user: &str, password: &str) -> &'static str {
    let mut connection = bench.connect_from(source.parse().unwrap());
    word(&try_password(&mut connection, user, password).await)
}

#[tokio::test]
async fn after_too_many_wrong_passwords_nobody_is_asked_until_the_lockout_ends() {
    let (bench, throttle, _) = bench(ThrottleSettings {
        failures_max: 3,
        ..ThrottleSettings::default()
    });
    crowd(&bench).await;
    let asked = bench.calls();
    for _ in 0..3 {
        bench.provider.then(200, json!({"allow": false}));
        assert_eq!(
            attempt(&bench, "192.0.2.1", "ann", "wrong").await,
            "try again"
        );
    }
    // The right password is refused as well, and looks the same.
    assert_eq!(
        attempt(&bench, "192.0.2.1", "Ann", "right").await,
        "try again"
    );
    assert_eq!(bench.attempts().last(), Some(&("denied", "locked-out")));
    assert_eq!(bench.calls() - asked, 3);
    // Elsewhere, as somebody else, and with a key nobody is kept out.
    assert_eq!(
        attempt(&bench, "192.0.2.2", "ann", "right").await,
        "accepted"
    );
    assert_eq!(
        attempt(&bench, "192.0.2.1", "bob", "right").await,
        "accepted"
    );
    let mut by_key = bench.connect_from("192.0.2.1".parse().unwrap());
    assert_eq!(
        word(&by_key.key_proved("ann", &listed_key()).await),
        "accepted"
    );
    bench.clock.advance(Duration::from_secs(901));
    assert_eq!(
        attempt(&bench, "192.0.2.1", "ann", "right").await,
        "accepted"
    );
    // The operator can end it sooner.
    for _ in 0..3 {
        bench.provider.then(200, json!({"allow": false}));
        attempt(&bench, "192.0.2.1", "ann", "wrong").await;
    }
    assert_eq!(
        attempt(&bench, "192.0.2.1", "ann", "right").await,
        "try again"
    );
    assert_eq!(throttle.unlock(Some("ann"), None), 1);
    assert_eq!(
        attempt(&bench, "192.0.2.1", "ann", "right").await,
        "accepted"
    );
}

#[tokio::test]
async fn guesses_that_come_together_do_not_pass_the_lockout() {
    let (bench, ..) = bench(ThrottleSettings {
        failures_max: 10,
        ..ThrottleSettings::default()
    });
    crowd(&bench).await;
    let asked = bench.calls();
    bench.provider.answer_from_now_on(json!({"allow": false}));
    bench.provider.hold();
    let guesses = (0..200).map(|_| attempt(&bench, "192.0.2.1", "ann", "wrong"));
    let guesses = futures_util::future::join_all(guesses);
    let answering = async {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.calls() - asked, 10);
        bench.provider.release();
    };
    let (words, ()) = tokio::join!(guesses, answering);
    assert!(words.iter().all(|word| *word == "try again"));
    let asked = bench.calls() - asked;
    assert!((10..20).contains(&asked), "{asked}");
}

#[tokio::test]
async fn an_outage_counts_against_nobody() {
    let (bench, ..) = bench(ThrottleSettings {
        failures_max: 2,
        failures_per_source_max: 2,
        ..ThrottleSettings::default()
    });
    crowd(&bench).await;
    for (status, body) in [
        (400, json!({})),
        (404, json!({})),
        (500, json!({})),
        (503, json!({})),
        (200, json!({"allow": true})),
    ] {
        bench.provider.then(status, body);
        assert_eq!(
            attempt(&bench, "192.0.2.1", "ann", "right").await,
            "try again"
        );
    }
    assert_eq!(
        attempt(&bench, "192.0.2.1", "ann", "right").await,
        "accepted"
    );
}

#[tokio::test]
async fn behind_a_balancer_nobody_locks_everybody_out() {
    let (bench, ..) = bench(ThrottleSettings {
        failures_max: 1_000,
        failures_per_source_max: 3,
        ..ThrottleSettings::default()
    });
    for at in 0..20 {
        bench.provider.then(200, json!({"allow": false}));
        let user = format!("guess-{at}");
        assert_eq!(attempt(&bench, BALANCER, &user, "wrong").await, "try again");
    }
    assert_eq!(attempt(&bench, BALANCER, "ann", "right").await, "accepted");
}

#[tokio::test]
async fn refusals_of_the_same_user_come_ever_later() {
    let limits = Limits {
        refusal_delay: Duration::from_millis(10),
        ..Limits::default()
    };
    let bench = Bench::with(json!({}), AuthSettings::default(), limits);
    for least in [10, 20, 40, 80, 160, 320] {
        let began = tokio::time::Instant::now();
        attempt(&bench, "192.0.2.1", "ann", "wrong").await;
        assert!(began.elapsed().as_millis() >= least, "{least}");
    }
}

#[tokio::test]
async fn whoever_is_revoked_during_the_login_does_not_come_in() {
    let (bench, _, logged_in) = bench(ThrottleSettings::default());
    bench.provider.hold();
    let mut connection = bench.connect();
    let login = try_password(&mut connection, "ann", "right");
    let revoking = async {
        while bench.calls() == 0 {
            tokio::task::yield_now().await;
        }
        logged_in.revoke("ann");
        bench.provider.release();
    };
    let (outcome, ()) = tokio::join!(login, revoking);
    assert_eq!(word(&outcome), "try again");
    assert_eq!(bench.attempts(), [("denied", "revoked")]);
    // What was answered about the key before the revocation opens nothing after it.
    let mut by_key = bench.connect();
    assert_eq!(
        word(&by_key.key_offered("ann", &listed_key()).await),
        "offered"
    );
    logged_in.revoke("ann");
    assert_eq!(
        word(&by_key.key_proved("ann", &listed_key()).await),
        "try again"
    );
    // A new login is a new question.
    assert_eq!(
        attempt(&bench, "192.0.2.7", "ann", "right").await,
        "accepted"
    );
}

fn both() -> AuthSettings {
    AuthSettings {
        methods: Methods::KeyAndPassword,
        ..AuthSettings::default()
    }
}

/// Logs in with a key and then a password, each answered on its own.
async fn by_both(bench: &Bench, key: serde_json::Value, password: serde_json::Value) -> Outcome {
    bench.provider.then(200, key);
    bench.provider.then(200, password);
    let mut connection = bench.connect();
    let half = connection.key_proved("ann", &listed_key()).await;
    assert_eq!(word(&half), "password required");
    try_password(&mut connection, "ann", "right").await
}

#[tokio::test]
async fn of_two_answers_the_later_builds_the_session_and_a_difference_is_noted() {
    let limits = Limits {
        refusal_delay: Duration::ZERO,
        ..Limits::default()
    };
    let bench = Bench::with(allowed(), both(), limits);
    let soon = "2026-12-31T00:00:00Z";
    let other = json!([{"entry": "/", "target": "/bucket/by-password"}]);
    let Outcome::Accepted(user) = by_both(
        &bench,
        with("expiresAt", json!(soon)),
        with("mappings", other),
    )
    .await
    else {
        panic!()
    };
    assert_eq!(&*user.config().home.mappings()[0].prefix, "by-password");
    assert_eq!(words(&user.config().warnings), ["answers-differ"]);
    assert!(user.config().expires_at.is_some(), "the earlier end holds");
    let Outcome::Accepted(user) = by_both(&bench, allowed(), allowed()).await else {
        panic!()
    };
    assert!(user.config().warnings.is_empty());
    let stranger = by_both(&bench, allowed(), with("user", json!("bob"))).await;
    assert_eq!(word(&stranger), "try again");
    assert_eq!(
        bench.attempts().last(),
        Some(&("invalid", "answers-disagree"))
    );
}

#[tokio::test]
async fn a_provider_that_refuses_with_401_locks_out_the_pair_and_never_the_source() {
    let (bench, ..) = bench(ThrottleSettings {
        failures_max: 3,
        failures_per_source_max: 3,
        ..ThrottleSettings::default()
    });
    crowd(&bench).await;
    let asked = bench.calls();
    for status in [401, 403, 401] {
        bench.provider.then(status, json!({}));
        let word = attempt(&bench, "192.0.2.1", "ann", "wrong").await;
        assert_eq!(word, "try again");
    }
    for _ in 0..30 {
        attempt(&bench, "192.0.2.1", "ann", "right").await;
    }
    assert_eq!(bench.calls() - asked, 3);
    assert_eq!(bench.attempts().last(), Some(&("denied", "locked-out")));
    assert_eq!(bench.lockouts(), [Lockout::User]);
    let word = attempt(&bench, "192.0.2.1", "bob", "right").await;
    assert_eq!(word, "accepted");
}

#[tokio::test]
async fn refusals_of_a_gateway_without_authorization_are_forgotten_when_it_has_it_again() {
    let throttle = ThrottleSettings {
        failures_max: 3,
        // Longer than what follows.
        lockout: Duration::from_secs(86_400),
        ..ThrottleSettings::default()
    };
    let window = throttle.window;
    let mut bench = Bench::throttled(allowed(), throttle);
    bench.guard();
    crowd(&bench).await;
    bench.provider.fail_from_now_on(403);
    for _ in 0..3 {
        attempt(&bench, "192.0.2.1", "ann", "right").await;
    }
    bench.clock.advance(window);
    attempt(&bench, "192.0.2.2", "bob", "right").await;
    bench.provider.succeed_from_now_on(allowed());
    let word = attempt(&bench, "192.0.2.1", "ann", "right").await;
    assert_eq!(word, "try again", "nobody can tell yet");
    let word = attempt(&bench, "192.0.2.2", "bob", "right").await;
    assert_eq!(word, "accepted");
    let word = attempt(&bench, "192.0.2.1", "ann", "right").await;
    assert_eq!(word, "accepted");
}

#[tokio::test]
async fn a_failing_service_makes_the_next_refusal_of_the_pair_come_later() {
    let limits = Limits {
        refusal_delay: Duration::from_millis(10),
        ..Limits::default()
    };
    for status in [400, 500, 502] {
        let bench = Bench::with(json!({}), AuthSettings::default(), limits.clone());
        bench.provider.fail_from_now_on(status);
        for least in [10, 20, 40, 80] {
            let began = tokio::time::Instant::now();
            attempt(&bench, "192.0.2.1", "ann", "wrong").await;
            assert!(began.elapsed().as_millis() >= least, "{status}: {least}");
        }
        assert_eq!(bench.lockouts(), []);
    }
}

#[tokio::test]
async fn the_names_that_one_source_asks_about_are_bounded() {
    let (bench, ..) = bench(ThrottleSettings {
        names_per_source_max: 5,
        ..ThrottleSettings::default()
    });
    crowd(&bench).await;
    let asked = bench.calls();
    let look_up = async |source: &str, user: &str| {
        let mut connection = bench.connect_from(source.parse().unwrap());
        word(&connection.key_offered(user, &other_key(1)).await)
    };
    for name in 0..40 {
        look_up("192.0.2.1", &format!("user-{name}")).await;
    }
    assert_eq!(bench.calls() - asked, 5);
    assert_eq!(bench.attempts().last(), Some(&("denied", "too-many-names")));
    assert_eq!(bench.lockouts(), [Lockout::Names]);
    // Elsewhere, and for names that were asked about before, nothing changes.
    look_up("192.0.2.2", "user-39").await;
    look_up("192.0.2.1", "user-3").await;
    assert_eq!(bench.calls() - asked, 7);
    // A password is no look-up.
    let word = attempt(&bench, "192.0.2.1", "ann", "right").await;
    assert_eq!(word, "accepted");
    // And who is in from there can be looked up.
    look_up("192.0.2.1", "ann").await;
    assert_eq!(bench.calls() - asked, 9);
}

#[tokio::test]
async fn users_who_log_in_by_key_do_not_use_up_the_names_of_their_source() {
    let (bench, ..) = bench(ThrottleSettings {
        names_per_source_max: 5,
        ..ThrottleSettings::default()
    });
    crowd(&bench).await;
    for name in 0..40 {
        let mut connection = bench.connect_from("192.0.2.1".parse().unwrap());
        let user = format!("user-{name}");
        let outcome = connection.key_proved(&user, &listed_key()).await;
        assert_eq!(word(&outcome), "accepted", "{user}");
    }
    assert_eq!(bench.lockouts(), []);
}
