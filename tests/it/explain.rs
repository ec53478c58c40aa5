//! `portcullis explain`, run as a command.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::common::fake_idp::{FakeIdp, Reply};
use super::tester::{PASSWORD, Service, mapped};

fn command(environment: &BTreeMap<&str, String>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .args(["explain", "--user", "ann"])
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs the command; its exit status and what it printed.
async fn explain(
    environment: &BTreeMap<&str, String>,
    arguments: &[&str],
    input: &str,
) -> (i32, String) {
    let mut child = command(environment, arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // With --answer it reads nothing.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

/// An answer in a file.
struct Answer {
    _directory: tempfile::TempDir,
    file: String,
}

impl Answer {
    fn of(answer: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = format!("{}/answer.json", directory.path().display());
        std::fs::write(&file, answer.to_string()).unwrap();
        Self {
            _directory: directory,
            file,
        }
    }

    async fn explain(&self, arguments: &[&str]) -> (i32, String) {
        let arguments = [arguments, &["--answer", &self.file]].concat();
        explain(&BTreeMap::new(), &arguments, "").await
    }

    /// Returns the operations and places of the calls.
    async fn calls(&self, arguments: &[&str]) -> Vec<String> {
        let (_, text) = self.explain(&[arguments, &["--json"]].concat()).await;
        let told: Value = serde_json::from_str(&text).unwrap();
        let calls = told["calls"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        calls
            .map(|call| format!("{} {}", text(&call["operation"]), text(&call["place"])))
            .collect()
    }
}

fn answer() -> Answer {
    Answer::of(
        &json!({"allow": true, "role": "arn:aws:iam::123456789012:role/partners",
        "mappings": [
            {"entry": "/in", "target": "/inbox/${transfer:UserName}", "access": "read-write"},
            {"entry": "/out", "target": "/outbox/ann", "access": "read"},
            {"entry": "/list.txt", "target": "/lists/all", "type": "file", "access": "read"},
        ]}),
    )
}

#[tokio::test]
async fn what_the_gateway_does_is_told_with_its_calls() {
    let answer = answer();
    let (code, text) = answer
        .explain(&["--op", "put", "--path", "/in/x.txt"])
        .await;
    assert_eq!(code, 0, "{text}");
    for part in [
        "put /in/x.txt: allowed by the gateway",
        "mapping   /in (read-write)",
        "place     s3://inbox/ann/x.txt",
        "role      arn:aws:iam::123456789012:role/partners",
        "call      PutObject s3://inbox/ann/x.txt",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for (arguments, call) in [
        (
            &["--op", "get", "--path", "out/x"][..],
            "GetObject s3://outbox/ann/x",
        ),
        (
            &["--op", "get", "--path", "/list.txt"],
            "GetObject s3://lists/all",
        ),
        (
            &["--op", "stat", "--path", "/in/x"],
            "HeadObject s3://inbox/ann/x",
        ),
        (
            &["--op", "ls", "--path", "/in/d"],
            "ListObjectsV2 s3://inbox/ann/d/",
        ),
        (
            &["--op", "rm", "--path", "/in/x"],
            "DeleteObject s3://inbox/ann/x",
        ),
        (
            &["--op", "mkdir", "--path", "/in/d"],
            "PutObject s3://inbox/ann/d/",
        ),
        (
            &["--op", "rmdir", "--path", "/in/d"],
            "DeleteObject s3://inbox/ann/d/",
        ),
        (
            &["--op", "rename", "--path", "/in/x", "--to", "/in/y"],
            "CopyObject s3://inbox/ann/y",
        ),
    ] {
        let calls = answer.calls(arguments).await;
        assert!(
            calls.iter().any(|made| made == call),
            "{arguments:?}: {calls:?}"
        );
    }
}

#[tokio::test]
async fn what_the_gateway_refuses_is_told_with_the_reason_and_changes_nothing() {
    let answer = answer();
    for (arguments, why) in [
        (
            &["--op", "put", "--path", "/out/x"][..],
            "refused: This directory is read-only",
        ),
        (&["--op", "rm", "--path", "/list.txt"], "refused: "),
        (&["--op", "mkdir", "--path", "/in"], "refused: "),
        (
            &["--op", "get", "--path", "/elsewhere/x"],
            "refused: No such file",
        ),
        (
            &["--op", "rename", "--path", "/in/x", "--to", "/out/y"],
            "read-only",
        ),
    ] {
        let (code, text) = answer.explain(arguments).await;
        assert_eq!(code, 1, "{arguments:?}: {text}");
        assert!(text.contains(why), "{arguments:?}: {text}");
        for call in ["PutObject", "CopyObject", "DeleteObject"] {
            assert!(!text.contains(call), "{arguments:?}: {text}");
        }
    }
    let (code, text) = answer.explain(&["--op", "ls", "--path", "/"]).await;
    assert_eq!(code, 0, "{text}");
    // The file of a mapping is looked at; the virtual directory itself needs nothing.
    assert!(!text.contains("ListObjects"), "{text}");
    let put = ["--op", "put", "--path", "/x"];
    let denied = Answer::of(&json!({"allow": false}));
    assert_eq!(denied.explain(&put).await.0, 1);
    let invalid = Answer::of(&json!({"allow": true}));
    let (code, text) = invalid.explain(&put).await;
    assert_eq!(code, 3);
    assert!(text.contains("invalid · mappings-missing: "), "{text}");
}

fn with_password(question: &Value) -> (u16, Value) {
    match question["password"].as_str() {
        Some(PASSWORD) => (200, mapped("inbox")),
        _ => (200, json!({"allow": false})),
    }
}

fn environment(url: String) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("PORTCULLIS_STATE_DIRECTORY", "state".to_owned()),
        ("PORTCULLIS_IDENTITY_URL", url),
        (
            "PORTCULLIS_STORAGE_ENDPOINT",
            "http://127.0.0.1:9".to_owned(),
        ),
        ("PORTCULLIS_STORAGE_ACCESS_KEY_ID", "a".to_owned()),
        ("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", "b".to_owned()),
    ])
}

#[tokio::test]
async fn a_signal_ends_it_at_once() {
    let idp = FakeIdp::start([Reply::Hang]).await;
    let child = command(&environment(idp.url()), &["--op", "ls", "--path", "/"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while idp.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(sent.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(4), child.wait_with_output());
    let output = ended
        .await
        .expect("it does not wait for the answer")
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped by a signal"));
}

#[tokio::test]
async fn without_a_file_the_provider_is_asked() {
    let service = Service::start(with_password).await;
    let environment = environment(service.url());
    let arguments = ["--op", "get", "--path", "x", "--password-stdin"];
    let (code, text) = explain(&environment, &arguments, PASSWORD).await;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("call      GetObject s3://inbox/ann/x"),
        "{text}"
    );
    let (code, text) = explain(&environment, &arguments, "wrong-12").await;
    assert_eq!(code, 1);
    assert!(text.contains("no session: denied · not-allowed"), "{text}");
    assert!(text.contains("\n  change    "), "{text}");
}

#[tokio::test]
async fn a_history_is_explained_where_the_configuration_has_one() {
    let service = Service::start(with_password).await;
    let path = "/.history/f/2026-11-29T10-15-02Z-id";
    for (history, code, place) in [
        (
            "false",
            0,
            "s3://inbox/ann/.history/f/2026-11-29T10-15-02Z-id\n",
        ),
        ("true", 1, "s3://inbox/ann/f?versionId=id\n"),
    ] {
        let mut environment = environment(service.url());
        environment.insert("PORTCULLIS_SFTP_HISTORY", history.to_owned());
        let arguments = ["--op", "put", "--path", path, "--password-stdin"];
        let (found, text) = explain(&environment, &arguments, PASSWORD).await;
        assert_eq!(found, code, "{text}");
        assert!(text.contains(place), "{text}");
    }
}

#[tokio::test]
async fn a_home_that_follows_its_role_is_explained_bucket_by_bucket() {
    let answer = Answer::of(&json!({
        "Role": "arn:aws:iam::123456789012:role/partners",
        "HomeDirectoryType": "PATH",
        "HomeDirectory": "/inbox/ann",
    }));
    let arguments =
        |op, path| ["--path-homes", "role", "--op", op, "--path", path].map(str::to_owned);
    for (op, path, call) in [
        ("ls", "/", "ListBuckets s3://"),
        ("stat", "/other", "ListObjectsV2 s3://other/"),
        ("ls", "/other", "ListObjectsV2 s3://other/"),
        ("put", "/other/x", "PutObject s3://other/x"),
        ("get", "../bob/x", "GetObject s3://inbox/bob/x"),
    ] {
        let arguments = arguments(op, path);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let calls = answer.calls(&arguments).await;
        assert!(calls.iter().any(|made| made == call), "{call}: {calls:?}");
    }
    let (code, text) = answer
        .explain(&["--path-homes", "role", "--op", "put", "--path", "/other/x"])
        .await;
    assert_eq!(code, 0, "{text}");
    for part in [
        "mapping   none: the role decides (path_homes = \"role\")",
        "place     s3://other/x",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = answer
        .explain(&["--path-homes", "role", "--op", "mkdir", "--path", "/other"])
        .await;
    assert_eq!(code, 1, "{text}");
    // The bucket is there, in the memory that stands in for S3.
    assert!(text.contains("exists already"), "{text}");
    // As the setting is by default.
    let (code, text) = answer.explain(&["--op", "get", "--path", "../bob/x"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("virtual, or outside the mappings"), "{text}");
}
