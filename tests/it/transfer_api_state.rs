//! `quickstart --transfer-api` beside its servers: its port, its state, and changes that fail half-way.

use std::process::Output;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::common::lambda::{FakeLambda, Outcome};
use super::common::signed::signed;
use super::transfer_api::{Quickstart, on_own_port};

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:idp";
const ROLE: &str = "arn:aws:iam::123456789012:role/sftp";

impl Quickstart {
    fn endpoint(&self) -> &str {
        let endpoint = self.told["transfer_endpoint"].as_str().unwrap();
        endpoint.strip_prefix("http://").unwrap()
    }

    /// Lets the process open no file more, or as many as before.
    async fn set_files_max(&self, most: u32) {
        let pid = self.child.id().unwrap().to_string();
        let bound = format!("--nofile={most}:");
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &bound])
            .status();
        assert!(set.await.unwrap().success());
    }
}

/// A connection that is kept for several calls.
struct KeptOpen<'a> {
    quickstart: &'a Quickstart,
    stream: TcpStream,
}

impl<'a> KeptOpen<'a> {
    async fn to(quickstart: &'a Quickstart) -> Self {
        let stream = TcpStream::connect(quickstart.endpoint()).await.unwrap();
        let mut kept = Self { quickstart, stream };
        // It is accepted once it answers.
        assert_eq!(kept.call("ListServers", &json!({})).await.0, 200);
        kept
    }

    async fn call(&mut self, operation: &str, body: &Value) -> (u16, Value) {
        let quickstart = self.quickstart;
        let text = |key: &str| quickstart.told[key].as_str().unwrap();
        let (host, key) = (
            quickstart.endpoint(),
            (text("access_key"), text("secret_key")),
        );
        let (target, body) = (format!("TransferService.{operation}"), body.to_string());
        let (time, authorization) = signed(key, host, &target, &body, 0);
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-amz-json-1.1\r\n\
             x-amz-target: {target}\r\nx-amz-date: {time}\r\nauthorization: {authorization}\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        loop {
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece).await.unwrap();
            assert_ne!(read, 0, "{text}");
            text.push_str(str::from_utf8(&piece[..read]).unwrap());
            let whole = text.split_once("\r\n\r\n").and_then(|(_, body)| {
                let answer: Value = serde_json::from_str(body).ok()?;
                Some((text.get(9..12)?.parse().ok()?, answer))
            });
            if let Some(whole) = whole {
                return whole;
            }
        }
    }
}

#[tokio::test]
async fn its_port_answers_awss_tools_and_nothing_else() {
    let quickstart = Quickstart::start(&[]).await;
    for (line, status) in [
        ("GET /metrics", 404),
        ("GET /livez", 404),
        ("POST /revoke", 404),
        ("GET /", 405),
    ] {
        let mut stream = TcpStream::connect(quickstart.endpoint()).await.unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let expected = format!("HTTP/1.1 {status}");
        assert!(text.starts_with(&expected), "{line}: {text}");
    }
    // A script may send hundreds of requests at once, each on a connection of its own.
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(TcpStream::connect(quickstart.endpoint()).await.unwrap());
    }
    let listed = json!({"Servers": []});
    assert_eq!(quickstart.done("ListServers", json!({})).await, listed);
    let mut first = KeptOpen {
        quickstart: &quickstart,
        stream: open.swap_remove(0),
    };
    assert_eq!(first.call("ListServers", &json!({})).await, (200, listed));
}

async fn started_again(quickstart: &Quickstart) -> Output {
    let started = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["quickstart", "--listen", "127.0.0.1:0", "--state", "state"])
        .current_dir(quickstart.file("."))
        .output();
    started.await.unwrap()
}

#[tokio::test]
async fn one_process_at_a_time_has_the_state() {
    let mut first = Quickstart::start(&["--state", "state"]).await;
    let id = first.create(on_own_port()).await;
    for _ in 0..2 {
        let second = started_again(&first).await;
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(!second.status.success(), "{said}");
        let named = format!(
            "--state \"state\" is in use by another portcullis quickstart (process {})",
            first.child.id().unwrap()
        );
        assert!(said.contains(&named), "{said}");
        assert!(said.contains("name another directory"), "{said}");
    }
    assert_eq!(first.described(&id).await["State"], "ONLINE");

    // Who dies without a word leaves a file, and no lock.
    first.child.kill().await.unwrap();
    assert!(std::fs::exists(first.file("state/.lock")).unwrap());
    let directory = first.end_dead();
    let next = Quickstart::start_in(directory, &["--state", "state"]).await;
    assert_eq!(next.described(&id).await["State"], "ONLINE");
    let directory = next.end().await;
    let last = Quickstart::start_in(directory, &["--state", "state"]).await;
    assert_eq!(last.described(&id).await["State"], "ONLINE");
}

#[tokio::test]
async fn a_made_server_shows_its_fingerprint_in_one_form() {
    let quickstart = Quickstart::start(&[]).await;
    quickstart.key_pair().await;
    let shown = Command::new("ssh-keygen")
        .args(["-lf", &quickstart.file("key.pub")])
        .output();
    let shown = String::from_utf8(shown.await.unwrap().stdout).unwrap();
    let of_key = format!("{}=", shown.split(' ').nth(1).unwrap());
    let given = std::fs::read_to_string(quickstart.file("key")).unwrap();
    for (body, known) in [
        (json!({}), None),
        (json!({"HostKey": given}), Some(&*of_key)),
    ] {
        let id = quickstart.create(body).await;
        let server = quickstart.described(&id).await;
        let fingerprint = server["HostKeyFingerprint"].as_str().unwrap();
        assert!(fingerprint.starts_with("SHA256:") && fingerprint.ends_with('='));
        assert_eq!(known.unwrap_or(fingerprint), fingerprint);
        let one = json!({"ServerId": id});
        let listed = quickstart.done("ListHostKeys", one.clone()).await;
        let rows = listed["HostKeys"].as_array().unwrap();
        let row = rows.iter().find(|row| row["Fingerprint"] == fingerprint);
        let row = row.unwrap_or_else(|| panic!("{fingerprint} is not in {listed}"));
        let asked = json!({"ServerId": id, "HostKeyId": row["HostKeyId"]});
        let described = quickstart.done("DescribeHostKey", asked).await;
        assert_eq!(described["HostKey"]["HostKeyFingerprint"], fingerprint);
        // Also of one that nobody can connect to.
        quickstart.done("StopServer", one).await;
        let stopped = quickstart.described(&id).await;
        assert_eq!(stopped["HostKeyFingerprint"], fingerprint);
    }
}

/// The settings are kept before the listener starts again: whatever becomes of that, they count.
#[tokio::test]
async fn an_update_whose_listener_fails_asks_the_new_function() {
    let lambda = FakeLambda::scripted([]).await;
    let quickstart = Quickstart::start(&["--lambda-endpoint", &lambda.url()]).await;
    let key = quickstart.key_pair().await;
    let mut body = on_own_port();
    body["IdentityProviderType"] = json!("AWS_LAMBDA");
    body["IdentityProviderDetails"] = json!({"Function": FUNCTION});
    let id = quickstart.create(body).await;
    let port = quickstart.port(&id).await;

    let mut kept = KeptOpen::to(&quickstart).await;
    // Nothing can be bound: another banner needs another listener.
    quickstart.set_files_max(3).await;
    let change = json!({"ServerId": id, "PreAuthenticationLoginBanner": "hello",
        "IdentityProviderDetails": {"Function": format!("{FUNCTION}-next")}});
    let (status, answer) = kept.call("UpdateServer", &change).await;
    quickstart.set_files_max(1024).await;
    assert_eq!(status, 400, "{answer}");
    let text = answer["Message"].as_str().unwrap();
    assert!(text.contains(&format!("port {port}")), "{answer}");

    let server = quickstart.described(&id).await;
    assert_eq!(server["State"], "START_FAILED");
    assert_eq!(server["PreAuthenticationLoginBanner"], "hello");
    let next = format!("{FUNCTION}-next");
    assert_eq!(server["IdentityProviderDetails"]["Function"], next);
    let asked = || lambda.invocations().pop().unwrap().function;
    let tried = json!({"ServerId": id, "UserName": "ann"});
    quickstart.done("TestIdentityProvider", tried).await;
    assert!(asked().ends_with("idp-next"), "{}", asked());

    let yes = json!({"Role": ROLE, "HomeDirectory": "/amzn-s3-demo-bucket1/fn",
        "PublicKeys": [key]});
    lambda.then([Outcome::json(&yes), Outcome::json(&yes)]);
    quickstart
        .done("StartServer", json!({"ServerId": id}))
        .await;
    assert_eq!(quickstart.described(&id).await["State"], "ONLINE");
    assert!(quickstart.lets_in(port, "ann").await);
    assert!(asked().ends_with("idp-next"), "{}", asked());
}
