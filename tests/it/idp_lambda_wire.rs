//! Invocations byte by byte: their signatures, their connections, and answers that are cut or odd.

use std::time::Duration;

use portcullis::aws::AccessKey;
use portcullis::clock::SystemClock;
use portcullis::idp::lambda::{Lambda, LambdaSettings};
use portcullis::idp::{AwsCredentials, Credential, Examined as _, IdentityProvider as _};
use portcullis::limits;
use portcullis::refusal::Verdict;
use portcullis::secret::Secret;
use serde_json::{Value, json};

use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::lambda::{FakeLambda, Outcome};
use crate::common::refusals::{answered, is, word};
use crate::common::sigv4::Verifier;
use crate::idp_api_gateway::{PASSWORD, password, question, yes};
use crate::idp_contract;
use crate::idp_lambda::{ARN, provider, settings, unavailable};

const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const CHINA: &str = "arn:aws-cn:lambda:cn-north-1:123456789012:function:idp:live";

fn verifier(region: &'static str, session_token: Option<&'static str>) -> Verifier {
    Verifier {
        id: "AKIDEXAMPLE",
        secret: KEY,
        session_token,
        region,
        service: "lambda",
        ahead: Duration::ZERO,
    }
}

/// Has the keys that the verifier knows.
fn signing(url: &str, session_token: Option<&str>) -> LambdaSettings {
    let secret = |text: &str| Secret::new(text.to_owned());
    let token = session_token.map(secret);
    let mut settings = settings(url);
    let key = AccessKey::new("AKIDEXAMPLE", &secret(KEY), token.as_ref());
    settings.credentials = AwsCredentials::Static(key);
    settings
}

#[tokio::test]
async fn signatures_verify_for_every_form_of_a_name() {
    for (function, region, qualifier, signed_for) in [
        ("idp", Some("eu-west-1"), None, "eu-west-1"),
        ("idp:live", Some("eu-west-1"), None, "eu-west-1"),
        ("idp", Some("us-east-1"), Some("live"), "us-east-1"),
        ("idp", Some("us-east-1"), Some("$LATEST"), "us-east-1"),
        (
            "123456789012:function:idp",
            Some("eu-west-1"),
            None,
            "eu-west-1",
        ),
        (
            "123456789012:function:idp:live",
            Some("eu-west-1"),
            None,
            "eu-west-1",
        ),
        (ARN, None, None, "eu-west-1"),
        (ARN, Some("eu-west-1"), Some("7"), "eu-west-1"),
        // With the region of the ARN.
        (CHINA, None, None, "cn-north-1"),
        // Nothing that AWS would take: it must not become another request.
        (
            "a/../b?c#d e%20",
            Some("eu-west-1"),
            Some("a&b=c/d"),
            "eu-west-1",
        ),
    ] {
        for token in [None, Some("hazel-7+/==")] {
            for stage in ["", "/stage", "/a/b/"] {
                let lambda = FakeLambda::verifying(verifier(signed_for, token)).await;
                let mut settings = signing(&format!("{}{stage}", lambda.url()), token);
                settings.function = function.to_owned();
                settings.region = region.map(str::to_owned);
                settings.qualifier = qualifier.map(str::to_owned);
                let provider = Lambda::new(settings).unwrap();
                let answer = provider.ask(&password(PASSWORD)).await;
                assert!(answered(&answer), "{function} {stage}: {answer:?}");
                let invoked = &lambda.invocations()[0];
                assert_eq!(
                    (&*invoked.function, invoked.qualifier.as_deref()),
                    (function, qualifier)
                );
                let begin = format!("{}/2015-03-31/", stage.trim_end_matches('/'));
                assert!(invoked.path.starts_with(&begin), "{}", invoked.path);
            }
        }
    }
}

#[tokio::test]
async fn a_signature_that_lambda_refuses_is_told_from_a_permission_that_lacks() {
    let right = verifier("eu-west-1", None);
    let wrong_secret = Verifier {
        secret: "other",
        ..right.clone()
    };
    let other_id = Verifier {
        id: "AKIDOTHER",
        ..right.clone()
    };
    let no_token = verifier("eu-west-1", Some("hazel-7"));
    let late = Verifier {
        ahead: Duration::from_secs(3_600),
        ..right.clone()
    };
    let other_region = Verifier {
        region: "us-east-1",
        ..right
    };
    for (verifier, part) in [
        (
            wrong_secret,
            "InvalidSignatureException: The request signature",
        ),
        (other_id, "UnrecognizedClientException: The security token"),
        (no_token, "UnrecognizedClientException: The security token"),
        (late, "InvalidSignatureException: Signature expired"),
        (
            other_region,
            "InvalidSignatureException: Credential should be scoped",
        ),
    ] {
        let lambda = FakeLambda::verifying(verifier).await;
        let provider = Lambda::new(signing(&lambda.url(), None)).unwrap();
        let (reason, detail) = unavailable(provider.ask(&password(PASSWORD)).await);
        assert_eq!(reason, "aws-credentials", "{detail}");
        assert!(detail.starts_with(part), "{detail}");
        assert!(!detail.contains(KEY), "{detail}");
    }
}

#[tokio::test]
async fn an_event_is_in_the_body_alone_and_its_length_is_in_bytes() {
    for text in [
        PASSWORD,
        "wälnut\r\nX-Evil: 1\r\n\r\n\u{1f511}",
        "\"\\\u{0}",
    ] {
        let lambda = FakeLambda::verifying(verifier("eu-west-1", None)).await;
        let provider = Lambda::new(signing(&lambda.url(), None)).unwrap();
        let question = password(text);
        let (answer, log) = crate::auth_log::logged(provider.ask(&question)).await;
        assert!(answered(&answer), "{answer:?}");
        let invoked = &lambda.invocations()[0];
        let event: Value = serde_json::from_str(&invoked.event).unwrap();
        assert_eq!(event["password"], text);
        let header = |name: &str| invoked.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-length"), invoked.event.len().to_string());
        assert_eq!(header("x-amz-invocation-type"), "RequestResponse");
        assert!(header("user-agent").starts_with("portcullis/"));
        assert!(!invoked.headers.contains_key("x-evil"));
        assert!(!invoked.headers.contains_key("accept-encoding"));
        assert!(!invoked.headers.contains_key("x-amz-log-type"));
        // The library that signs says at the lowest level what it signs.
        let bytes: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        for shown in [text, &*bytes.join(", "), KEY] {
            assert!(!log.contains(shown), "{log}");
        }
    }
}

#[tokio::test]
async fn invocations_share_a_connection_whatever_came_of_them() {
    let lambda = FakeLambda::scripted([
        Outcome::json(&yes()),
        Outcome::Error(json!({"errorType": "KeyError"})),
        Outcome::Refused(429, "TooManyRequestsException", "Rate Exceeded."),
        Outcome::Page(502, "<html>"),
        Outcome::Payload(b"<html>".to_vec()),
        Outcome::Payload(Vec::new()),
    ])
    .await;
    let provider = provider(&lambda);
    let mut words = Vec::new();
    for _ in 0..7 {
        words.push(word(&provider.ask(&password(PASSWORD)).await));
    }
    assert_eq!(
        words,
        [
            "allowed",
            "function-error",
            "function-throttled",
            "status-gateway",
            "not-json",
            "empty-answer",
            "empty-answer"
        ]
    );
    assert_eq!((lambda.invocations().len(), lambda.connections()), (7, 1));
}

#[tokio::test]
async fn many_invocations_at_once_have_connections_of_their_own() {
    let lambda = FakeLambda::scripted([]).await;
    let provider = provider(&lambda);
    for round in 1..=2 {
        let asked = (0..40).map(|n| {
            let (provider, text) = (&provider, format!("secret-{n}"));
            async move { answered(&provider.ask(&password(&text)).await) }
        });
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.into_iter().all(|answered| answered));
        assert_eq!(lambda.invocations().len(), 40 * round);
    }
    let before = lambda.connections();
    assert!(answered(&provider.ask(&password(PASSWORD)).await));
    assert_eq!(lambda.connections(), before, "some are kept");
    let mut passwords: Vec<String> = lambda
        .invocations()
        .into_iter()
        .map(|invoked| {
            serde_json::from_str::<Value>(&invoked.event).unwrap()["password"].to_string()
        })
        .collect();
    passwords.sort_unstable();
    passwords.dedup();
    assert_eq!(passwords.len(), 41, "each was sent as its own");
}

#[tokio::test]
async fn a_connection_that_was_closed_or_says_too_much_is_not_used_again() {
    for first in [
        Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
        Reply::Raw(b"HTTP/1.1 200 X\r\n\r\n{}".to_vec()),
        Reply::Piece(
            b"HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
        ),
        Reply::Piece(b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 X\r\n".to_vec()),
    ] {
        let idp = FakeIdp::start([first.clone(), Reply::Json(200, yes())]).await;
        let provider = Lambda::new(settings(&format!("http://{}", idp.address()))).unwrap();
        assert!(answered(&provider.ask(&password("first")).await));
        // Until the other side's end has arrived here.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = provider.ask(&password(PASSWORD)).await;
        assert!(answer.is_ok(), "{first:?}: {answer:?}");
        assert_eq!((idp.asked().len(), idp.connections()), (2, 2), "{first:?}");
    }
}

fn head(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}\r\n")
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

#[tokio::test]
async fn odd_answers_mean_what_they_say_and_are_asked_for_once() {
    let long = |headers: &str, length: usize| {
        let body = " ".repeat(length);
        raw(&format!("{}{body}", head(500, headers)))
    };
    let over = limits::ANSWER_BYTES_MAX + 1;
    let (short, error) = ("content-length: 9\r\n", "x-amzn-ErrorType: X\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    for (reply, reason) in [
        // Cut: in the head, in the body, in an error, between two chunks.
        (raw("HTTP/1.1 200 X\r\nx-amz"), "transport"),
        (raw(&format!("{}{{}}", head(200, short))), "transport"),
        (raw(&format!("{}{{}}", head(429, short))), "transport"),
        (
            raw(&format!("{}2\r\n{{}}\r\n", head(200, chunked))),
            "transport",
        ),
        (Reply::Close, "transport"),
        // Too long, whatever the status, and however its length is told.
        (
            long(&format!("{error}content-length: {over}\r\n"), over),
            "answer-too-large",
        ),
        (long(error, over), "answer-too-large"),
        (
            raw(&head(200, &format!("x: {}\r\n", "y".repeat(100_000)))),
            "answer-too-large",
        ),
        // Not of Lambda, but of something before it.
        (raw(&head(413, "content-length: 0\r\n")), "status"),
        (
            raw(&head(
                301,
                "location: http://127.0.0.1:1/\r\ncontent-length: 0\r\n",
            )),
            "status",
        ),
        (
            Reply::Json(500, json!({"code": "ServiceException"})),
            "status-failed",
        ),
        (
            Reply::Json(400, json!({"__type": "ns#ExpiredTokenException:x"})),
            "aws-credentials",
        ),
        (Reply::Json(403, Value::Null), "function-access-denied"),
        (
            Reply::Json(404, json!({"message": "no such page"})),
            "status-refused",
        ),
        // The code counts although nobody can read the rest.
        (
            Reply::Raw(
                [
                    head(
                        404,
                        "x-amzn-errortype: ResourceNotFoundException:http://x/\r\n",
                    )
                    .as_bytes(),
                    b"\xff\xfe",
                ]
                .concat(),
            ),
            "function-not-found",
        ),
        (
            raw(&format!("{}{{}}", head(429, "content-encoding: gzip\r\n"))),
            "function-throttled",
        ),
        (
            Reply::Raw([head(200, "").as_bytes(), b"{\"Role\":\"\xff\"}"].concat()),
            "not-json",
        ),
    ] {
        let idp = FakeIdp::start([reply.clone()]).await;
        let provider = Lambda::new(settings(&format!("http://{}", idp.address()))).unwrap();
        let (found, detail) = unavailable(provider.ask(&password(PASSWORD)).await);
        let shown: String = format!("{reply:?}").chars().take(200).collect();
        assert_eq!(found, reason, "{shown}: {detail}");
        assert_eq!(idp.asked().len(), 1, "{shown}");
        assert!(
            idp.asked()[0]
                .head
                .starts_with("POST /2015-03-31/functions/")
        );
    }
}

#[tokio::test]
async fn answers_are_understood_however_they_come() {
    let body = yes().to_string();
    let whole = format!(
        "{}{body}",
        head(200, &format!("content-length: {}\r\n", body.len()))
    );
    let chunked = format!(
        "{}{:x};x=y\r\n{body}\r\n0\r\nx: y\r\n\r\n",
        head(200, "transfer-encoding: chunked\r\n"),
        body.len()
    );
    for reply in [
        Reply::Piece(whole.clone().into_bytes()),
        Reply::Trickle(whole.clone().into_bytes()),
        Reply::Trickle(chunked.into_bytes()),
        raw(&format!("{}{body}", head(200, ""))),
        raw(&format!("HTTP/1.1 100 Continue\r\n\r\n{whole}")),
        raw(&format!("{}{body}", head(202, ""))),
    ] {
        let idp = FakeIdp::start([reply.clone()]).await;
        let provider = Lambda::new(settings(&format!("http://{}", idp.address()))).unwrap();
        let answer = provider.ask(&password(PASSWORD)).await;
        assert!(answer.is_ok(), "{reply:?}: {answer:?}");
    }
    // The header that makes an error of it, however it is written.
    for headers in [
        "X-Amz-Function-Error: Handled\r\n",
        "x-amz-function-error:Unhandled\r\nx-amz-function-error: Unhandled\r\n",
        "X-AMZ-FUNCTION-ERROR:\r\n",
    ] {
        let idp = FakeIdp::start([raw(&format!("{}{body}", head(200, headers)))]).await;
        let provider = Lambda::new(settings(&format!("http://{}", idp.address()))).unwrap();
        let answer = provider.ask(&password(PASSWORD)).await;
        assert!(!answer.is_ok(), "{headers}");
        let (verdict, reason) = idp_contract::verdict(&answer);
        assert_eq!((verdict, reason), ("denied", Some("function-error")));
    }
}

#[tokio::test]
async fn a_key_look_up_is_not_sent_again_either() {
    let idp = FakeIdp::start([Reply::Close, Reply::Json(200, json!({}))]).await;
    let provider = Lambda::new(settings(&format!("http://{}", idp.address()))).unwrap();
    let look_up = question("ann", Credential::PublicKey);
    assert_eq!(unavailable(provider.ask(&look_up).await).0, "transport");
    assert_eq!(idp.asked().len(), 1);
    assert!(is(&provider.ask(&look_up).await, Verdict::Denied));
}

#[tokio::test]
async fn a_person_who_looks_sees_the_status_of_an_answer_that_was_cut() {
    let cut = format!("{}{{}}", head(200, "content-length: 9\r\n"));
    let idp = FakeIdp::start([raw(&cut), Reply::Close]).await;
    let provider = Lambda::new(settings(&format!("http://{}", idp.address()))).unwrap();
    let clock = SystemClock;
    let seen = provider.examine(&password(PASSWORD), &clock).await;
    assert_eq!((seen.status, seen.body.len()), (Some(200), 0));
    assert!(seen.first_byte.is_some_and(|after| after <= seen.total));
    let seen = provider.examine(&password(PASSWORD), &clock).await;
    assert_eq!((seen.status, seen.first_byte), (None, None));
    assert_eq!(word(&seen.judged), "transport");
}
