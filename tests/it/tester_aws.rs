//! `test-identity-provider` and `check-config` with the providers in AWS's form.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::lambda::{FakeLambda, Outcome};
use crate::tester::Bench;

const SERVER: &str = "s-0123456789abcdef0";
const LOGIN: [&str; 4] = ["--user", "ann", "--password-stdin", "--json"];

fn yes() -> Value {
    json!({"Role": "arn:aws:iam::1:role/x", "HomeDirectoryType": "LOGICAL",
        "HomeDirectoryDetails": "[{\"Entry\":\"/\",\"Target\":\"/inbox/${transfer:UserName}\"}]"})
}

async fn bench(url: &str, settings: &[(&'static str, &str)]) -> Bench {
    let mut bench = Bench::at(url).await;
    bench
        .settings
        .insert("PORTCULLIS_SERVER_ID", SERVER.to_owned());
    for (name, value) in settings {
        bench.settings.insert(name, (*value).to_owned());
    }
    bench
}

async fn api(idp: &FakeIdp) -> Bench {
    let url = format!("http://{}/prod", idp.address());
    bench(&url, &[("PORTCULLIS_IDENTITY_PROVIDER", "api-gateway")]).await
}

async fn function(lambda: &FakeLambda) -> Bench {
    let settings = [
        ("PORTCULLIS_IDENTITY_PROVIDER", "lambda"),
        ("PORTCULLIS_IDENTITY_FUNCTION", "idp"),
        ("PORTCULLIS_IDENTITY_QUALIFIER", "live"),
        ("PORTCULLIS_IDENTITY_AWS_REGION", "eu-west-1"),
        ("PORTCULLIS_IDENTITY_AWS_ENDPOINT", &*lambda.url()),
        ("PORTCULLIS_IDENTITY_AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("PORTCULLIS_IDENTITY_AWS_SECRET_ACCESS_KEY", "hazel-7"),
    ];
    let mut bench = bench("", &settings).await;
    bench.settings.remove("PORTCULLIS_IDENTITY_URL");
    bench
}

async fn check_config(settings: &BTreeMap<&str, String>) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("check-config")
        .env_clear()
        .envs(settings)
        .output()
        .await
        .unwrap();
    let both = [stdout, stderr].concat();
    (status.code(), String::from_utf8(both).unwrap())
}

#[tokio::test]
async fn an_api_is_tested_as_aws_tests_it() {
    let idp = FakeIdp::start([Reply::Json(200, yes()), Reply::Json(200, json!({}))]).await;
    let bench = api(&idp).await;
    let (code, out, err) = bench.test(&LOGIN, "walnut-39").await;
    assert_eq!(code, 0, "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let url = format!(
        "http://{}/prod/servers/{SERVER}/users/ann/config",
        idp.address()
    );
    assert_eq!(found["Url"], url);
    assert_eq!(
        (&found["StatusCode"], &found["Message"]),
        (&json!(200), &json!(""))
    );
    let response: Value = serde_json::from_str(found["Response"].as_str().unwrap()).unwrap();
    assert_eq!(response, yes());
    assert_eq!(found["user"]["mappings"][0]["prefix"], "ann");
    let (code, out, _) = bench.test(&LOGIN, "wrong").await;
    assert_eq!(code, 1, "{out}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&found["Response"], &found["StatusCode"]),
        (&json!("{}"), &json!(200))
    );
}

#[tokio::test]
async fn a_function_is_tested_as_it_is_invoked() {
    let error = json!({"errorType": "KeyError", "errorMessage": "walnut-39"});
    let lambda = FakeLambda::scripted([Outcome::json(&yes()), Outcome::Error(error)]).await;
    let bench = function(&lambda).await;
    let (code, out, err) = bench.test(&LOGIN, "walnut-39").await;
    assert_eq!(code, 0, "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        found["Url"],
        format!(
            "{}/2015-03-31/functions/idp/invocations?Qualifier=live",
            lambda.url()
        )
    );
    assert_eq!(lambda.invocations()[0].qualifier.as_deref(), Some("live"));
    let (code, out, err) = bench.test(&LOGIN, "walnut-39").await;
    assert_eq!(code, 1, "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&found["reason"], &found["detail"]),
        (&json!("function-error"), &json!("KeyError"))
    );
    assert!(!format!("{out}{err}").contains("walnut-39"), "{out}{err}");
}

#[tokio::test]
async fn names_follow_the_rule_of_aws_unless_told_otherwise() {
    let (idp, lambda) = (FakeIdp::start([]).await, FakeLambda::scripted([]).await);
    for mut bench in [api(&idp).await, function(&lambda).await] {
        for name in ["a/b", "Jörg", "ab", "-ann", "../x"] {
            let (code, out, _) = bench
                .test(&[&format!("--user={name}"), "--password-stdin"], "x")
                .await;
            assert_eq!(code, 1, "{out}");
            assert!(
                out.contains("denied · user-name") && out.contains("no request was sent"),
                "{out}"
            );
        }
        bench
            .settings
            .insert("PORTCULLIS_IDENTITY_USER_NAMES", "open".to_owned());
        let (_, out, _) = bench
            .test(&["--user", "Jörg", "--password-stdin"], "x")
            .await;
        assert!(out.contains("denied · empty-answer"), "{out}");
    }
    assert_eq!((idp.asked().len(), lambda.invocations().len()), (1, 1));
}

#[tokio::test]
async fn check_config_says_where_each_provider_is() {
    let idp = FakeIdp::start([]).await;
    let (code, out) = check_config(&api(&idp).await.settings).await;
    assert_eq!(code, Some(0), "{out}");
    let place = format!(
        "identity provider api-gateway at http://{}\n",
        idp.address()
    );
    assert!(out.contains(&place), "{out}");
    let lambda = FakeLambda::scripted([]).await;
    let mut settings = function(&lambda).await.settings;
    let (code, out) = check_config(&settings).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("identity provider lambda idp:live at 127.0.0.1\n"),
        "{out}"
    );
    settings.remove("PORTCULLIS_IDENTITY_AWS_ENDPOINT");
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:idp";
    settings.insert("PORTCULLIS_IDENTITY_FUNCTION", arn.to_owned());
    let (code, out) = check_config(&settings).await;
    assert_eq!(code, Some(78), "{out}");
    assert!(
        out.contains("[identity] cannot be used: aws_region is \"eu-west-1\""),
        "{out}"
    );
    settings.remove("PORTCULLIS_IDENTITY_AWS_REGION");
    let (code, out) = check_config(&settings).await;
    assert_eq!(code, Some(0), "{out}");
    let place = format!("identity provider lambda {arn}:live at lambda.us-east-1.amazonaws.com\n");
    assert!(out.contains(&place), "{out}");
    settings.insert("AWS_ENDPOINT_URL_LAMBDA", lambda.url());
    settings.insert("AWS_USE_FIPS_ENDPOINT", "true".to_owned());
    let (code, out) = check_config(&settings).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains(&place), "only aws_endpoint changes it: {out}");
}

/// Whom a signed question names.
fn signer(authorization: &str) -> &str {
    let (_, rest) = authorization.split_once("Credential=").unwrap();
    rest.split('/').next().unwrap()
}

#[tokio::test]
async fn without_keys_of_its_own_the_gateway_uses_the_aws_chain() {
    let chain = [
        ("AWS_ACCESS_KEY_ID", "AKIDCHAIN"),
        ("AWS_SECRET_ACCESS_KEY", "hazel-7"),
        ("AWS_SESSION_TOKEN", "ochre-12"),
        // The endpoints of AWS's tools are not those of the gateway.
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9"),
        // Nothing else is to be asked.
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let (idp, lambda) = (FakeIdp::start([]).await, FakeLambda::scripted([]).await);
    let mut signed = api(&idp).await;
    for (name, value) in [
        ("PORTCULLIS_IDENTITY_SIGN", "aws"),
        ("PORTCULLIS_IDENTITY_AWS_REGION", "eu-west-1"),
    ] {
        signed.settings.insert(name, value.to_owned());
    }
    let mut invoked = function(&lambda).await;
    invoked
        .settings
        .remove("PORTCULLIS_IDENTITY_AWS_ACCESS_KEY_ID");
    invoked
        .settings
        .remove("PORTCULLIS_IDENTITY_AWS_SECRET_ACCESS_KEY");
    for bench in [&mut signed, &mut invoked] {
        bench
            .settings
            .insert("AWS_EC2_METADATA_DISABLED", "true".to_owned());
        let (code, out, err) = bench.test(&LOGIN, "walnut-39").await;
        let found: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (code, &found["reason"]),
            (2, &json!("aws-credentials")),
            "{out}{err}"
        );
        for (name, value) in chain {
            bench.settings.insert(name, value.to_owned());
        }
        let (code, out, err) = bench.test(&LOGIN, "walnut-39").await;
        assert_eq!(code, 1, "{out}{err}");
    }
    let head = idp.asked()[0].head.clone();
    let line = head
        .lines()
        .find(|line| line.starts_with("Authorization: "))
        .unwrap();
    assert_eq!(signer(line), "AKIDCHAIN");
    assert!(head.contains("\r\nX-Amz-Security-Token: ochre-12\r\n"));
    let invoked = &lambda.invocations()[0];
    assert_eq!(signer(&invoked.authorization), "AKIDCHAIN");
    assert_eq!(invoked.headers["x-amz-security-token"], "ochre-12");
    assert_eq!((idp.asked().len(), lambda.invocations().len()), (1, 1));
}
