//! `portcullis test-identity-provider --contract`: what a service gets wrong, and how it is asked.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper::HeaderMap;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::common::lambda::FakeLambda;
use crate::idp_examples::skip;
use crate::tester::{Bench, PASSWORD, Service, good, mapped, run};

async fn contract(service: &Service, password: &str) -> (i32, String) {
    let url = service.url();
    let arguments = ["--contract", &url, "--user", "ann", "--password-stdin"];
    let output = run(&BTreeMap::new(), &arguments, password).await;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), out)
}

#[tokio::test]
async fn a_service_that_keeps_the_contract_has_nothing_wrong() {
    let (code, out) = contract(&Service::start(good).await, PASSWORD).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("· 0 wrong ·"), "{out}");
}

#[tokio::test]
async fn a_service_that_breaks_the_contract_is_told_where_and_why() {
    let service = Service::start(|question| {
        let (_, answer) = good(question);
        // The classic: no password is a key look-up, and a look-up is always answered.
        if question["username"] == "ann"
            && question["password"].as_str().unwrap_or_default().is_empty()
        {
            return (200, mapped("inbox"));
        }
        match question["username"].as_str() {
            Some("ann") if answer["allow"] == false => (401, answer),
            Some("portcullis-nobody-7f3a") => (500, json!("no such user")),
            _ => (200, answer),
        }
    })
    .await;
    let (code, out) = contract(&service, PASSWORD).await;
    assert_eq!(code, 1, "{out}");
    for line in [
        "WRONG   wrong passwords",
        "WRONG   blank passwords",
        "WRONG   unknown user",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(out.contains("why it matters: a blank password"), "{out}");
    assert!(
        out.contains("answers with status 401; answer every request with 200"),
        "{out}"
    );
    assert!(out.contains("2 answers with status 500\n"), "{out}");
    assert!(!out.contains(PASSWORD), "{out}");
}

#[tokio::test]
async fn a_single_question_that_is_answered_with_an_error_is_found() {
    // Only what no other trial looks at: the look-ups before a password.
    static LOOK_UPS: AtomicU32 = AtomicU32::new(0);
    let service = Service::start(|question| {
        let (status, answer) = good(question);
        let is_look_up = question["method"] == "public-key" && question["username"] == "ann";
        let fifth = is_look_up && LOOK_UPS.fetch_add(1, Ordering::Relaxed) == 4;
        if fifth {
            (404, answer)
        } else {
            (status, answer)
        }
    })
    .await;
    let (code, out) = contract(&service, PASSWORD).await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("WRONG   password after many look-ups"),
        "{out}"
    );
    assert!(out.contains("1 answer with status 404; "), "{out}");
    assert!(out.contains("· 1 wrong ·"), "{out}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_asked_once() {
    let url = "http://127.0.0.1:1/";
    let arguments = ["--contract", url, "--user", "ann", "--password-stdin"];
    let output = run(&BTreeMap::new(), &arguments, PASSWORD).await;
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{out}");
    assert!(out.contains("does not answer"), "{out}");
}

#[tokio::test]
async fn the_service_on_the_page_keeps_the_contract() {
    let code = crate::idp_documents::PAGE
        .split("```python\n")
        .nth(1)
        .unwrap();
    let code = code.split("```").next().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let code = code.replace("8000", &address.port().to_string());
    let spawned = Command::new("python3")
        .args(["-c", &code])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            println!("skipped: python3 does not start: {error}");
            return;
        }
    };
    while TcpStream::connect(address).await.is_err() {
        assert!(child.try_wait().unwrap().is_none(), "the service ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let url = format!("http://{address}/");
    let arguments = ["--contract", &url, "--user", "ann", "--password-stdin"];
    let output = run(&BTreeMap::new(), &arguments, "s3cret").await;
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("· 0 wrong ·"), "{out}");
    assert_eq!(output.status.code(), Some(0));
}

/// The gateway's header and its signature, as the documents advise.
fn is_the_gateway(headers: &HeaderMap) -> bool {
    let token = headers.get("x-api-key").is_some_and(|key| key == "walnut");
    let signed = headers.get("x-portcullis-signature");
    token && signed.is_some_and(|text| text.to_str().unwrap().starts_with("t="))
}

#[tokio::test]
async fn a_protected_service_is_asked_as_the_gateway_asks_it() {
    let service = Service::guarded(is_the_gateway, good).await;
    // By itself, it is told once what the matter is.
    let (code, out) = contract(&service, PASSWORD).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("the other tests were skipped"), "{out}");
    assert!(out.contains("--config"), "{out}");
    assert_eq!(out.matches("WRONG").count(), 1, "{out}");

    let bench = Bench::new(&service).await;
    let text = format!(
        "[identity]\nurl = {:?}\nheaders = {{ X-Api-Key = \"walnut\" }}\n\
         hmac_secret = \"tidal-fern-41-tidal-fern-41-tidal\"\n",
        service.url()
    );
    let file = bench.file("asked.toml", &text);
    let none = BTreeMap::new();
    let of_config = ["--contract", "--config", &file];
    let url = service.url();
    let at_url = ["--contract", &url, "--config", &file];
    for how in [&of_config[..], &at_url[..]] {
        let arguments = [how, &["--user", "ann", "--password-stdin"]].concat();
        let output = run(&none, &arguments, PASSWORD).await;
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{out}");
        assert!(out.contains("· 0 wrong ·"), "{out}");
        assert!(out.contains("skipped slow request"), "{out}");
    }
}

#[tokio::test]
async fn a_password_that_is_not_right_ends_the_trials_at_the_first_row() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let service = Service::start(|question| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        good(question)
    })
    .await;
    let (code, out) = contract(&service, "not it").await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("give the right password"), "{out}");
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_ends_the_trials_at_the_first_row() {
    let service = Service::start(|_| (200, json!({"allow": true, "mappings": 7}))).await;
    let (code, out) = contract(&service, PASSWORD).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("correct this answer first"), "{out}");
    assert_eq!(out.matches("WRONG").count(), 1, "{out}");
}

#[tokio::test]
async fn one_of_several_providers_is_named() {
    let service = Service::start(good).await;
    let bench = Bench::new(&service).await;
    let text = format!(
        "[identity]\nproviders = [\"staff\", \"file\"]\n[provider.staff]\nurl = {:?}\n\
         [provider.file]\nprovider = \"static\"\nusers_file = {:?}\n",
        service.url(),
        bench.file("users.toml", "[users]\n"),
    );
    let file = bench.file("several.toml", &text);
    let ask = async |more: &[&str]| {
        let arguments = ["--contract", "--config", &file, "--user", "ann"];
        let arguments = [&arguments[..], &["--password-stdin"], more].concat();
        let output = run(&BTreeMap::new(), &arguments, PASSWORD).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    for (more, code, said) in [
        (&[][..], 64, "choose one with --provider: staff, file"),
        (&["--provider", "other"], 64, "there are: staff, file"),
        (&["--provider", "file"], 64, "has no service to test"),
        (&["--provider", "staff"], 0, "· 0 wrong ·"),
    ] {
        let (found, text) = ask(more).await;
        assert_eq!(found, Some(code), "{more:?}: {text}");
        assert!(text.contains(said), "{more:?}: {text}");
    }
}

#[tokio::test]
async fn a_function_is_tried_as_the_gateway_invokes_it() {
    let Ok(python) = Command::new("python3").arg("-V").output().await else {
        return skip("the function", "python3 does not start");
    };
    assert!(python.status.success());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/idp-examples/aws-lambda");
    let functions = [("idp", folder, "lambda_function.lambda_handler")];
    let lambda = FakeLambda::running(&functions).await;
    let settings = BTreeMap::from([
        ("PORTCULLIS_IDENTITY_PROVIDER", "lambda".to_owned()),
        ("PORTCULLIS_IDENTITY_FUNCTION", "idp".to_owned()),
        ("PORTCULLIS_IDENTITY_AWS_REGION", "eu-west-1".to_owned()),
        ("PORTCULLIS_IDENTITY_AWS_ENDPOINT", lambda.url()),
        ("PORTCULLIS_IDENTITY_AWS_ACCESS_KEY_ID", "AK".to_owned()),
        ("PORTCULLIS_IDENTITY_AWS_SECRET_ACCESS_KEY", "SK".to_owned()),
        ("PATH", std::env::var("PATH").unwrap()),
    ]);
    let arguments = ["--contract", "--user", "alice", "--password-stdin"];
    let output = run(&settings, &arguments, "alice-secret").await;
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("· 0 wrong ·"), "{out}");
}
