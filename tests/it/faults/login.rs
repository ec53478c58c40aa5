//! Logins that fail, and outages of the webhook.

use serde_json::json;

use super::openssh::Seen;
use super::*;
use crate::common::fake_idp::{FakeIdp, Reply};

/// What everybody sees who is not let in, whatever the cause.
fn refusal(user: &str) -> Seen {
    Seen {
        exit: 255,
        stdout: String::new(),
        stderr: format!(
            "{user}@127.0.0.1: Permission denied (publickey,keyboard-interactive).\nConnection closed\n"
        ),
    }
}

/// Logs in with a password while the webhook answers like this, and returns the log's line.
async fn refused(reply: Option<Reply>, webhook_timeout: Duration) -> log::Line {
    let idp = FakeIdp::start(reply).await;
    let set = Set {
        webhook: Some(idp.url()),
        webhook_timeout,
        ..Set::default()
    };
    let stage = Stage::with(set).await;
    assert_eq!(stage.sftp("ls\n").await, refusal(USER));
    assert_eq!(idp.asked().len(), 1, "one call for one password");
    assert_eq!(idp.asked()[0].body["method"], "password");
    assert_eq!(stage.s3.requests(), [], "S3 hears of no stranger");
    let log = stage.end().await;
    let line = log.audit("login refused");
    assert_eq!(line.field("user"), USER);
    assert_eq!(line.field("method"), "password");
    assert_eq!(line.field("source_ip"), "127.0.0.1");
    line
}

const PATIENT: Duration = Duration::from_secs(30);

#[track_caller]
fn is(line: &log::Line, level: &str, verdict: &str, reason: &str) {
    let found = (line.level(), line.field("verdict"), line.field("reason"));
    assert_eq!(found, (level, verdict.to_owned(), reason.to_owned()));
}

#[tokio::test]
async fn a_denied_password_is_refused_after_one_call() {
    let reply = Reply::Json(200, json!({"allow": false, "reason": "contract ended"}));
    let line = refused(Some(reply), PATIENT).await;
    is(&line, "INFO", "denied", "not-allowed");
    assert_eq!(line.field("detail"), "contract ended");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_alike() {
    let stage = Stage::start().await;
    let wrong = stage.sftp_as(USER, WRONG_PASSWORD, &[], "ls\n").await;
    assert_eq!(wrong, refusal(USER));
    let unknown = stage.sftp_as("bob", PASSWORD, &[], "ls\n").await;
    assert_eq!(unknown, refusal("bob"));
    let log = stage.end().await;
    let users: Vec<_> = log
        .all("login refused")
        .iter()
        .map(|line| (line.field("user"), line.field("verdict")))
        .collect();
    let denied = |user: &str| (user.to_owned(), "denied".to_owned());
    assert_eq!(users, [denied(USER), denied("bob")]);
}

#[tokio::test]
async fn a_webhook_that_refuses_connections_is_an_outage() {
    let gone = FakeIdp::start([]).await.url();
    let stage = Stage::with(Set {
        webhook: Some(gone),
        ..Set::default()
    })
    .await;
    assert_eq!(stage.sftp("ls\n").await, refusal(USER));
    let log = stage.end().await;
    is(
        &log.audit("login refused"),
        "WARN",
        "unavailable",
        "connect",
    );
}

#[tokio::test]
async fn a_webhook_that_is_too_slow_is_an_outage() {
    let line = refused(Some(Reply::Hang), Duration::from_millis(300)).await;
    is(&line, "WARN", "unavailable", "timeout");
}

#[tokio::test]
async fn a_webhook_that_fails_is_an_outage_whatever_its_body_says() {
    let line = refused(Some(Reply::Json(500, allowed())), PATIENT).await;
    is(&line, "WARN", "unavailable", "status-failed");
}

#[tokio::test]
async fn a_webhook_that_answers_nonsense_is_an_outage() {
    let nonsense = b"HTTP/1.1 200 X\r\ncontent-length: 6\r\n\r\n<html>".to_vec();
    let line = refused(Some(Reply::Raw(nonsense)), PATIENT).await;
    is(&line, "WARN", "unavailable", "not-json");
}

#[tokio::test]
async fn an_answer_that_breaks_a_rule_looks_like_a_denial_and_is_logged_as_invalid() {
    let overlapping = json!({"allow": true, "mappings": [
        {"entry": "/in", "target": "/bucket/in"},
        {"entry": "/in/deeper", "target": "/bucket/deeper"},
    ]});
    let line = refused(Some(Reply::Json(200, overlapping)), PATIENT).await;
    is(&line, "WARN", "invalid", "entries-overlap");
    assert!(
        line.field("detail").contains("/in/deeper"),
        "the line names the entry: {line:?}"
    );
}

#[tokio::test]
async fn many_keys_are_one_question() {
    let idp = FakeIdp::start([]).await;
    let stage = Stage::with(Set {
        webhook: Some(idp.url()),
        ..Set::default()
    })
    .await;
    let keys: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|name| stage.path(name))
        .collect();
    let mut options = vec!["-o", "PreferredAuthentications=publickey"];
    for key in &keys {
        let made = tokio::process::Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", "ed25519", "-f", key])
            .status();
        assert!(made.await.unwrap().success());
        options.extend(["-i", key]);
    }
    let seen = stage.sftp_as(USER, PASSWORD, &options, "ls\n").await;
    let every_way = "Permission denied (publickey,password,keyboard-interactive)";
    assert!(seen.stderr.contains(every_way), "{seen:?}");
    let asked = idp.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body["method"], "public-key");
    assert!(asked[0].body.get("password").is_none());
    let log = stage.end().await;
    assert_eq!(log.all("key not accepted").len(), 3);
    let refused = log.all("login refused");
    assert_eq!(refused.len(), 1, "one line for all of them");
    assert_eq!(refused[0].field("user"), USER);
    assert_eq!(refused[0].field("source_ip"), "127.0.0.1");
    assert_eq!(refused[0].field("reason"), "empty-answer");
    assert_eq!(refused[0].field("fingerprint").split(',').count(), 3);
}

#[tokio::test]
async fn a_session_outlives_its_webhook() {
    let idp = FakeIdp::start([Reply::Json(200, allowed())]).await;
    let stage = Stage::with(Set {
        webhook: Some(idp.url()),
        ..Set::default()
    })
    .await;
    let client = stage.client().await;
    drop(idp);
    client.upload("/in/a", b"after").await.unwrap();
    assert_eq!(client.download("/in/a").await.unwrap(), b"after");
    let newcomer = Client::connect(stage.gateway.address(), PASSWORD).await;
    assert!(newcomer.is_none());
    assert_eq!(stage.object("in/a").unwrap(), b"after");
    let log = stage.end().await;
    assert_eq!(log.audit("login allowed").field("user"), USER);
    is(
        &log.audit("login refused"),
        "WARN",
        "unavailable",
        "connect",
    );
}

#[tokio::test]
async fn login_and_virtual_directories_need_no_s3() {
    let stage = Stage::start().await;
    stage.s3.set_down(true);
    let seen = stage.sftp("ls -1 /\ncd /in\npwd\nls -1\n").await;
    // OpenSSH's `ls` says that it failed, and exits with success.
    assert!(seen.stdout.contains("in\n"), "{seen:?}");
    assert!(
        seen.stdout.contains("Remote working directory: /in\n"),
        "{seen:?}"
    );
    assert_eq!(seen.stderr, "remote readdir(\"/in\"): Failure\n");
    let client = stage.client().await;
    assert_eq!(
        client.names("/in").await,
        Err(Refused::failure(storage::UNAVAILABLE))
    );
    stage.s3.set_down(false);
    assert_eq!(client.names("/in").await, Ok(Vec::new()));
    let log = stage.end().await;
    assert_eq!(log.all("login allowed").len(), 2);
    for line in log.all("operation failed") {
        assert_eq!(line.level(), "WARN");
        assert_eq!(line.field("operation"), "opendir");
        assert_eq!(line.field("path"), "/in");
        assert!(line.field("detail").contains("s3://bucket"), "{line:?}");
    }
    assert_eq!(log.all("operation failed").len(), 2);
}
