//! What is said of answers that are taken although something in them is not as it should be.

use std::sync::Arc;
use std::time::Duration;

use portcullis::idp::metered::Metered;
use portcullis::idp::{Asking, Credential, IdentityProvider as _, Question};
use portcullis::metrics::Metrics;
use portcullis::refusal::{Counts, Reason, Verdict};
use portcullis::secret::Secret;
use serde_json::{Value, json};

use crate::auth_log::logged;
use crate::common::clock::FakeClock;
use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::login::{Bench, LISTED_LINE, listed_key, word};
use crate::common::provider::RecordingProvider;

const PASSWORD: &str = "walnut-39";

fn question() -> Question {
    Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential: Credential::Password(Secret::new(PASSWORD.to_owned())),
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

fn lines(log: &str, message: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let fields = lines.map(|line: Value| line["fields"].clone());
    fields.filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn an_odd_answer_is_one_line_in_a_while_and_counted_each_time() {
    let details = json!([{"Entry": "/", "Target": "/b"}]);
    let answer =
        json!({"Role": "r", "HomeDirectoryType": "LOGICAL", "HomeDirectoryDetails": details});
    let (clock, metrics) = (Arc::new(FakeClock::new()), Arc::new(Metrics::default()));
    let provider = RecordingProvider::new(answer);
    let provider = Metered::new("staff", provider, metrics.clone(), clock.clone());
    let ask = async || {
        let (judged, log) = logged(provider.ask(&question())).await;
        judged.unwrap();
        assert!(!log.contains(PASSWORD), "{log}");
        lines(
            &log,
            "the identity provider's answer has a mistake that was tolerated",
        )
    };
    let first = ask().await;
    let [line] = &*first else { panic!("{first:?}") };
    for (key, part) in [
        ("provider", "staff"),
        ("user", "ann"),
        ("request_id", "c1-1"),
        ("warning", "details-not-stringified"),
        ("taken", "is an array"),
        ("change", "json.dumps"),
    ] {
        assert!(line[key].as_str().unwrap().contains(part), "{key}: {line}");
    }
    assert!(ask().await.is_empty() && ask().await.is_empty());
    clock.advance(Duration::from_secs(11));
    assert_eq!(ask().await[0]["unlogged"], 2);
    let counted =
        r#"idp_answer_warnings_total{provider="staff",warning="details-not-stringified"} 4"#;
    assert!(metrics.encode().contains(counted), "{}", metrics.encode());
}

#[tokio::test]
async fn a_key_that_has_ended_lets_nobody_in() {
    // The clock of the test begins at 2023-11-14T22:13:20Z.
    let keys = json!([{"PublicKey": LISTED_LINE, "Expires": "2023-11-15T00:00:00+00:00"}]);
    let answer = json!({"Role": "r", "HomeDirectory": "/b/ann", "PublicKeys": keys});
    let bench = Bench::new(answer);
    let mut connection = bench.connect();
    let offered = connection.key_offered("ann", &listed_key()).await;
    assert_eq!(word(&offered), "offered");
    bench.clock.advance(Duration::from_secs(7_200));
    let proved = connection.key_proved("ann", &listed_key()).await;
    assert_eq!(word(&proved), "try again");
    let record = bench.last_attempt();
    assert_eq!(record.refusal.unwrap().reason, Reason::KeyExpired);
}

#[tokio::test]
async fn the_readable_keys_of_a_list_work_and_the_others_are_named() {
    let keys = json!([LISTED_LINE, "ssh-rsa AAAA", "walnut"]);
    let answer = json!({"Role": "r", "HomeDirectory": "/b/ann", "PublicKeys": keys});
    let provider = RecordingProvider::new(answer);
    let provider = Metered::new("", provider, Arc::default(), Arc::new(FakeClock::new()));
    let look_up = Question {
        credential: Credential::PublicKey,
        ..question()
    };
    let (judged, log) = logged(provider.ask(&look_up)).await;
    let message = "the identity provider's answer has a mistake that was tolerated";
    let lines = lines(&log, message);
    let [line] = &*lines else { panic!("{log}") };
    assert_eq!(line["warning"], "keys-unreadable");
    let detail = line["detail"].as_str().unwrap();
    assert!(
        detail.contains("key 2: its base64 is incomplete"),
        "{detail}"
    );
    assert!(detail.contains("key 3: it does not begin"), "{detail}");
    assert!(!log.contains("walnut"), "{log}");
    assert_eq!(judged.unwrap().public_keys, [LISTED_LINE.into()]);
}

#[tokio::test]
async fn a_function_that_raises_behind_a_template_is_as_loud_as_under_lambda() {
    let error = json!({"errorType": "KeyError", "errorMessage": format!("{PASSWORD} is wrong"),
        "stackTrace": []});
    let idp = FakeIdp::start([Reply::Json(200, error)]).await;
    let api = Arc::new(crate::idp_api_gateway::provider(&idp));
    let provider = Metered::new("", api, Arc::default(), Arc::new(FakeClock::new()));
    let (judged, log) = logged(provider.ask(&question())).await;
    let reason = judged.unwrap_err().reason;
    assert_eq!(reason, Reason::FunctionError);
    assert_eq!(
        (reason.verdict(), reason.counts()),
        (Verdict::Denied, Counts::PairAndSource)
    );
    let lines = lines(&log, "the identity function raised an error");
    assert_eq!(lines[0]["error_type"], "KeyError", "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
}
