//! Functions invoked as Transfer Family invokes them, and a Lambda that has troubles of its own.

use std::sync::Arc;
use std::time::Duration;

use portcullis::aws::AccessKey;
use portcullis::clock::SystemClock;
use portcullis::idp::lambda::{Lambda, LambdaSettings};
use portcullis::idp::metered::Metered;
use portcullis::idp::{
    AwsCredentials, Credential, Examined as _, IdentityProvider as _, Judged, Question,
};
use portcullis::limits;
use portcullis::refusal::{Reason, Verdict};
use portcullis::secret::Secret;
use serde_json::{Value, json};

use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::lambda::{FakeLambda, Outcome, python};
use crate::common::refusals::{self, answered, is};
use crate::common::tls::Authority;
use crate::idp_api_gateway::{PASSWORD, password, question, yes};
use crate::idp_contract;
use crate::idp_examples::skip;

pub(crate) const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:idp";

pub(crate) fn settings(url: &str) -> LambdaSettings {
    let mut settings = LambdaSettings::new(ARN, "s-1");
    settings.endpoint = Some(url.to_owned());
    settings.credentials = AwsCredentials::Static(AccessKey::new(
        "AKIDEXAMPLE",
        &Secret::new("walnut-39".to_owned()),
        None,
    ));
    settings.total_timeout = Duration::from_secs(30);
    settings
}

pub(crate) fn provider(lambda: &FakeLambda) -> Lambda {
    Lambda::new(settings(&lambda.url())).unwrap()
}

/// Returns reason and detail, having made sure that nothing secret is in the error.
#[track_caller]
pub(crate) fn unavailable(answer: Judged) -> (&'static str, String) {
    refusals::unavailable(answer, &[PASSWORD, "walnut-39"])
}

#[tokio::test]
async fn a_function_is_invoked_with_the_five_keys() {
    let lambda = FakeLambda::scripted([Outcome::json(&yes()), Outcome::json(&json!({}))]).await;
    let mut settings = settings(&lambda.url());
    settings.qualifier = Some("live".to_owned());
    let provider = Lambda::new(settings).unwrap();
    let answer = provider.ask(&password(PASSWORD)).await;
    assert!(answer.is_ok(), "{answer:?}");
    let denied = provider.ask(&question("ann", Credential::PublicKey)).await;
    assert!(is(&denied, Verdict::Denied), "{denied:?}");
    let [first, second] = &lambda.invocations()[..] else {
        panic!()
    };
    assert_eq!(
        (&*first.function, first.qualifier.as_deref()),
        (ARN, Some("live"))
    );
    assert_eq!(first.invocation_type, "RequestResponse");
    let scope = "/eu-west-1/lambda/aws4_request";
    assert!(
        first.authorization.contains(scope),
        "{}",
        first.authorization
    );
    let event: Value = serde_json::from_str(&first.event).unwrap();
    let mut expected = json!({"username": "ann", "password": PASSWORD, "protocol": "SFTP",
        "serverId": "s-1", "sourceIp": "192.0.2.7"});
    assert_eq!(event, expected);
    let event: Value = serde_json::from_str(&second.event).unwrap();
    expected["password"] = "".into();
    assert_eq!(event, expected);
}

#[tokio::test]
async fn names_of_every_form_are_taken() {
    for name in ["idp", "123456789012:function:idp", ARN] {
        let lambda = FakeLambda::scripted([]).await;
        let mut settings = settings(&lambda.url());
        settings.function = name.to_owned();
        settings.region = Some("eu-west-1".to_owned());
        let provider = Lambda::new(settings).unwrap();
        assert!(answered(&provider.ask(&password(PASSWORD)).await));
        assert_eq!(lambda.invocations()[0].function, name);
    }
}

#[tokio::test]
async fn a_function_that_raises_denies_and_is_loud_about_it() {
    let error = json!({"errorType": "IdpHandlerException", "stackTrace": [],
        "errorMessage": format!("wrong password {PASSWORD}")});
    let lambda = FakeLambda::scripted([Outcome::Error(error)]).await;
    let provider = Metered::new(
        "",
        Arc::new(provider(&lambda)),
        Arc::default(),
        Arc::new(SystemClock),
    );
    let (answer, log) = crate::auth_log::logged(provider.ask(&password(PASSWORD))).await;
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.reason, Reason::FunctionError);
    assert_eq!(refusal.detail.as_deref(), Some("IdpHandlerException"));
    assert!(
        log.contains("WARN") && log.contains("IdpHandlerException"),
        "{log}"
    );
    assert!(!log.contains(PASSWORD), "{log}");
}

#[tokio::test]
async fn a_function_that_lambda_cuts_is_an_outage_and_one_that_raises_is_not() {
    for (error_type, expected) in [
        ("Sandbox.Timedout", ("unavailable", "function-crashed")),
        ("Extension.Crash", ("unavailable", "function-crashed")),
        ("Runtime.ExitError", ("unavailable", "function-crashed")),
        (
            "Runtime.ImportModuleError",
            ("unavailable", "function-crashed"),
        ),
        (
            "Runtime.UnhandledPromiseRejection",
            ("denied", "function-error"),
        ),
        ("RuntimeError", ("denied", "function-error")),
        ("KeyError", ("denied", "function-error")),
    ] {
        let error = json!({"errorType": error_type, "errorMessage": PASSWORD});
        let lambda = FakeLambda::scripted([Outcome::Error(error)]).await;
        let answer = provider(&lambda).ask(&password(PASSWORD)).await;
        let (verdict, reason) = idp_contract::verdict(&answer);
        assert_eq!((verdict, reason.unwrap()), expected, "{error_type}");
        if is(&answer, Verdict::Unavailable) {
            let detail = answer.unwrap_err().detail;
            assert_eq!(
                detail.as_deref(),
                Some(error_type),
                "and nothing of its message"
            );
        }
    }
}

#[tokio::test]
async fn what_lambda_refuses_is_unavailable_asked_once_and_says_what_to_change() {
    let refused = Outcome::Refused;
    for (outcome, reason, part) in [
        (
            refused(429, "TooManyRequestsException", "Rate Exceeded."),
            "function-throttled",
            "429",
        ),
        (
            refused(500, "ServiceException", "x"),
            "status-failed",
            "500 ServiceException",
        ),
        (
            refused(502, "EC2ThrottledException", "x"),
            "status-gateway",
            "502",
        ),
        (
            refused(503, "ServiceUnavailableException", "x"),
            "status-gateway",
            "503",
        ),
        (Outcome::Page(504, "<html>"), "status-gateway", "504"),
        (
            refused(403, "AccessDeniedException", "User: x is not authorized"),
            "function-access-denied",
            "lambda:InvokeFunction",
        ),
        (
            refused(404, "ResourceNotFoundException", "Function not found"),
            "function-not-found",
            "aws_region",
        ),
        (
            refused(403, "InvalidSignatureException", "x"),
            "aws-credentials",
            "InvalidSignature",
        ),
        (
            refused(403, "UnrecognizedClientException", "x"),
            "aws-credentials",
            "Unrecognized",
        ),
        // May quote what it could not read.
        (
            refused(400, "InvalidRequestContentException", PASSWORD),
            "status-refused",
            "400",
        ),
        (Outcome::Payload(b"<html>".to_vec()), "not-json", ""),
    ] {
        let lambda = FakeLambda::scripted([outcome.clone()]).await;
        let (found, detail) = unavailable(provider(&lambda).ask(&password(PASSWORD)).await);
        assert_eq!(found, reason, "{outcome:?}: {detail}");
        assert!(detail.contains(part), "{outcome:?}: {detail}");
        assert_eq!(lambda.invocations().len(), 1, "{outcome:?}");
    }
}

#[tokio::test]
async fn late_and_long_answers_are_cut_off() {
    let lambda = FakeLambda::scripted([Outcome::Late(Duration::from_secs(60))]).await;
    let mut impatient = settings(&lambda.url());
    impatient.total_timeout = Duration::from_millis(300);
    let provider = Lambda::new(impatient).unwrap();
    assert_eq!(
        unavailable(provider.ask(&password(PASSWORD)).await).0,
        "timeout"
    );
    let long = Outcome::Long(limits::ANSWER_BYTES_MAX + 1);
    let lambda = FakeLambda::scripted([long]).await;
    let answer = self::provider(&lambda).ask(&password(PASSWORD)).await;
    assert_eq!(unavailable(answer).0, "answer-too-large");
    let gone = FakeLambda::scripted([]).await;
    let provider = self::provider(&gone);
    drop(gone);
    assert_eq!(
        unavailable(provider.ask(&password(PASSWORD)).await).0,
        "connect"
    );
}

/// What a proxy sends that compresses unasked, whether or not it says so.
pub(crate) fn gzipped(says_so: bool) -> Vec<u8> {
    let coding = if says_so {
        "content-encoding: gzip\r\n"
    } else {
        ""
    };
    let head = format!("HTTP/1.1 200 X\r\n{coding}content-length: 10\r\n\r\n");
    [head.as_bytes(), &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]].concat()
}

#[tokio::test]
async fn servers_that_are_no_lambda_get_a_verdict_in_time() {
    for (reply, reason) in [
        (Reply::Endless, "answer-too-large"),
        (Reply::Gigabyte, "answer-too-large"),
        (Reply::Drip(yes()), "timeout"),
        (Reply::Hang, "timeout"),
        (Reply::Close, "transport"),
        (
            Reply::Raw(b"220 mail.example.com ESMTP\r\n".to_vec()),
            "transport",
        ),
        (
            Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n{}".to_vec()),
            "transport",
        ),
        (Reply::Redirect("http://127.0.0.1:1/".to_owned()), "status"),
        (Reply::Raw(gzipped(true)), "answer-encoded"),
        (Reply::Raw(gzipped(false)), "answer-encoded"),
    ] {
        let idp = FakeIdp::start([reply.clone()]).await;
        let mut settings = settings(&format!("http://{}", idp.address()));
        if reason == "timeout" {
            settings.total_timeout = Duration::from_millis(300);
        }
        let answer = Lambda::new(settings)
            .unwrap()
            .ask(&password(PASSWORD))
            .await;
        assert_eq!(unavailable(answer).0, reason, "{reply:?}");
        assert_eq!(idp.asked().len(), 1, "asked once: {reply:?}");
        assert!(idp.bytes_sent() < limits::ANSWER_BYTES_MAX + 32 * 1024 * 1024);
    }
}

#[tokio::test]
async fn a_password_is_never_sent_twice() {
    // The connection is known to work, and is closed under the second question.
    let replies = [
        Reply::Json(200, json!({})),
        Reply::Close,
        Reply::Json(200, yes()),
    ];
    let idp = FakeIdp::start(replies).await;
    let provider = Lambda::new(settings(&format!("http://{}", idp.address()))).unwrap();
    assert!(answered(&provider.ask(&password("first")).await));
    assert_eq!(
        unavailable(provider.ask(&password(PASSWORD)).await).0,
        "transport"
    );
    let sent = idp.asked();
    let times = sent
        .iter()
        .filter(|asked| asked.body["password"] == PASSWORD);
    assert_eq!((times.count(), idp.connections()), (1, 1));
}

#[tokio::test]
async fn the_own_authority_is_trusted_and_no_other() {
    let (authority, other) = (Authority::new(), Authority::new());
    let script = vec![Outcome::json(&yes())];
    let lambda = FakeLambda::scripted_tls(script, authority.acceptor("localhost")).await;
    let with = |pem: Option<String>| {
        let mut settings = settings(&format!("https://localhost:{}", lambda.address().port()));
        settings.ca_pem = pem.map(String::into_bytes);
        Lambda::new(settings).unwrap()
    };
    for refusing in [with(Some(other.pem())), with(None)] {
        let answer = refusing.ask(&password(PASSWORD)).await;
        assert_eq!(unavailable(answer).0, "connect");
    }
    let answer = with(Some(authority.pem())).ask(&password(PASSWORD)).await;
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn every_documented_answer_means_the_same_from_a_function() {
    let fixtures: Value = serde_json::from_str(idp_contract::FIXTURES).unwrap();
    let mut asked = 0;
    for case in fixtures["cases"].as_array().unwrap() {
        if case["status"] != 200 {
            continue;
        }
        let name = case["name"].as_str().unwrap();
        let outcome = match (
            case["raw_body"].as_str(),
            &case["headers"]["X-Amz-Function-Error"],
        ) {
            (Some(raw), _) => Outcome::Payload(raw.as_bytes().to_vec()),
            (None, Value::Null) => Outcome::json(&case["body"]),
            (None, _) => Outcome::Error(case["body"].clone()),
        };
        let lambda = FakeLambda::scripted([outcome]).await;
        let mut settings = settings(&lambda.url());
        settings.accept_keys_with_password =
            case["settings"]["accept_keys_in_password_answer"] == true;
        let credential = match case["method"].as_str() {
            Some("password") => Credential::Password(Secret::new(PASSWORD.to_owned())),
            _ => Credential::PublicKey,
        };
        let question = question(case["username"].as_str().unwrap(), credential);
        let judged = Lambda::new(settings).unwrap().ask(&question).await;
        let (verdict, reason) = idp_contract::verdict(&judged);
        assert_eq!(verdict, case["expect"]["verdict"], "{name}: {judged:?}");
        if let Some(expected) = case["expect"]["reason"].as_str() {
            assert_eq!(reason, Some(expected), "{name}: {judged:?}");
        }
        asked += 1;
    }
    assert!(asked >= 40, "{asked}");
}

#[tokio::test]
async fn a_person_who_looks_sees_what_lambda_said() {
    let script = [
        Outcome::json(&yes()),
        Outcome::Refused(429, "TooManyRequestsException", "Rate Exceeded."),
    ];
    let lambda = FakeLambda::scripted(script).await;
    let provider = provider(&lambda);
    let clock = SystemClock;
    let seen = provider.examine(&password(PASSWORD), &clock).await;
    assert_eq!(
        (seen.status, seen.body),
        (Some(200), yes().to_string().into_bytes())
    );
    assert!(
        seen.url.ends_with(&format!("/functions/{ARN}/invocations")),
        "{}",
        seen.url
    );
    let seen = provider.examine(&password(PASSWORD), &clock).await;
    assert_eq!((seen.status, seen.body.len()), (Some(429), 0));
    let place = provider.place().unwrap();
    assert_eq!(place, ("127.0.0.1".to_owned(), lambda.address().port()));
    assert!(!format!("{provider:?}").contains("walnut-39"));
}

/// The example of this repository, and functions that go wrong, run by Python.
#[tokio::test]
async fn the_example_function_decides_when_it_is_invoked() {
    if let Err(error) = python(&["--version"]).output().await {
        skip("lambda", &format!("python3 does not start: {error}"));
        return;
    }
    let folder = format!("{}/idp-examples/aws-lambda", env!("CARGO_MANIFEST_DIR"));
    let functions = [
        ("idp", &*folder, "lambda_function.lambda_handler"),
        ("broken", &*folder, "operator.truediv"),
    ];
    let lambda = FakeLambda::running(&functions).await;
    let with = |function: &str| {
        let mut settings = settings(&lambda.url());
        settings.function = function.to_owned();
        settings.region = Some("eu-west-1".to_owned());
        Lambda::new(settings).unwrap()
    };
    let asked = async |function: &str, user: &str, secret: Option<&str>| {
        let secret = secret.map(|text| Credential::Password(Secret::new(text.to_owned())));
        let question: Question = question(user, secret.unwrap_or(Credential::PublicKey));
        with(function).ask(&question).await
    };
    for (user, secret, expected) in [
        ("alice", Some("alice-secret"), "allowed"),
        ("bob", Some("bob-secret"), "allowed"),
        ("carol", Some("carol-secret"), "allowed"),
        ("alice", Some("wrong"), "denied"),
        ("nobody", Some("alice-secret"), "denied"),
        ("alice", None, "allowed"),
        ("carol", None, "denied"),
        ("nobody", None, "denied"),
    ] {
        let answer = asked("idp", user, secret).await;
        assert_eq!(
            idp_contract::verdict(&answer).0,
            expected,
            "{user}: {answer:?}"
        );
    }
    let raised = asked("broken", "alice", Some("alice-secret")).await;
    assert_eq!(
        idp_contract::verdict(&raised),
        ("denied", Some("function-error"))
    );
    let missing = asked("gone", "alice", Some("alice-secret")).await;
    assert_eq!(
        idp_contract::verdict(&missing),
        ("unavailable", Some("function-not-found"))
    );
}
