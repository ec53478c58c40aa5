//! Roles that are assumed: what STS is asked, what its refusals mean, and credentials that end.

use std::collections::BTreeMap;

use portcullis::storage::credentials::Tag;
use russh_sftp::protocol::{OpenFlags, StatusCode};

use super::*;
use crate::common::fake_sts::{FakeSts, token};

const ROLE: &str = "arn:aws:iam::123456789012:role/partners";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;

async fn fake_sts() -> FakeSts {
    let keys = embedded_s3::Settings::default();
    FakeSts::start(&keys.access_key, S3_SECRET).await
}

fn assuming(sts: &FakeSts) -> Set {
    let mut answer = allowed();
    answer["role"] = ROLE.into();
    Set {
        answer,
        roles: Roles::Assume,
        sts: Some(sts.settings()),
        ..Set::default()
    }
}

/// S3 refuses what was signed with the nth answer of STS from now on.
fn expire(stage: &Stage, nth: usize) {
    let action = Action::Status(400, "ExpiredToken".to_owned());
    let fault = Fault::any(action).with_token(&token(nth));
    stage.s3.script(fault.times(u32::MAX));
}

#[tokio::test]
async fn a_role_is_assumed_once_per_login_with_all_that_was_said() {
    let sts = fake_sts().await;
    let mut set = assuming(&sts);
    set.answer["policy"] = POLICY.into();
    let tag = |key: &str, value: &str| Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    set.sts = Some(StsSettings {
        external_id: Some("portcullis-7".to_owned()),
        source_identity: Some("sftp-${transfer:UserName}".to_owned()),
        tags: vec![tag("gateway", "sftp"), tag("user", "${transfer:UserName}")],
        transitive_tags: vec!["user".to_owned()],
        ..sts.settings()
    });
    let stage = Stage::with(set).await;
    let client = stage.client().await;
    client.upload("/in/a", b"small").await.unwrap();
    // Another channel of the same connection.
    let channel = client.ssh.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let second = russh_sftp::client::RawSftpSession::new(channel.into_stream());
    second.init().await.unwrap();
    second.stat("/in/a").await.unwrap();

    let asked = sts.asked();
    assert_eq!(asked.len(), 1);
    let session = asked[0]["RoleSessionName"].clone();
    let (user, rest) = session.split_once('.').unwrap();
    let (id, server) = rest.split_once('@').unwrap();
    assert_eq!((user, server), (USER, "s-0123456789abcdef0"));
    let expected = BTreeMap::from([
        ("Action", "AssumeRole"),
        ("DurationSeconds", "900"),
        ("ExternalId", "portcullis-7"),
        ("Policy", POLICY),
        ("RoleArn", ROLE),
        ("RoleSessionName", &session),
        ("SourceIdentity", "sftp-ann"),
        ("Tags.member.1.Key", "gateway"),
        ("Tags.member.1.Value", "sftp"),
        ("Tags.member.2.Key", "user"),
        ("Tags.member.2.Value", "ann"),
        ("TransitiveTagKeys.member.1", "user"),
        ("Version", "2011-06-15"),
    ]);
    let seen = asked[0].iter().map(|(k, v)| (&**k, &**v));
    assert_eq!(seen.collect::<BTreeMap<_, _>>(), expected);
    for request in stage.s3.requests() {
        assert_eq!(request.session_token.as_deref(), Some("token-1"));
    }
    drop((client, second));
    let log = stage.end().await;
    assert_eq!(log.one("login allowed").field("session_id"), id);
    for secret in ["token-1", "SessionToken"] {
        assert!(!log.text().contains(secret), "{}", log.text());
    }
}

#[tokio::test]
async fn with_the_gateways_credentials_nothing_is_assumed() {
    let sts = fake_sts().await;
    let set = Set {
        roles: Roles::Gateway,
        sts: None,
        ..assuming(&sts)
    };
    let stage = Stage::with(set).await;
    let client = stage.client().await;
    client.upload("/in/a", b"small").await.unwrap();
    assert_eq!(sts.asked().len(), 0);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_lets_nobody_in() {
    let sts = fake_sts().await;
    let stage = Stage::with(assuming(&sts)).await;
    let refused = async || {
        let client = Client::connect(stage.gateway.address(), PASSWORD).await;
        assert!(client.is_none());
    };
    for (status, code, verdict, reason) in [
        (403, "AccessDenied", "invalid", "role-not-assumable"),
        (
            400,
            "MalformedPolicyDocument",
            "invalid",
            "policy-malformed",
        ),
        (
            400,
            "PackedPolicyTooLarge",
            "invalid",
            "policy-too-large-packed",
        ),
        (400, "ValidationError", "invalid", "sts-refused"),
        (
            403,
            "InvalidClientTokenId",
            "unavailable",
            "sts-credentials",
        ),
        (500, "InternalFailure", "unavailable", "sts-unavailable"),
    ] {
        sts.refuse(Some((status, code)));
        refused().await;
        let line = stage.log.all("login refused").pop().unwrap();
        assert_eq!(
            (&*line.field("verdict"), &*line.field("reason")),
            (verdict, reason)
        );
        assert_eq!(line.level(), "WARN");
        assert!(line.field("detail").contains(ROLE), "{line:?}");
    }
    sts.refuse(None);
    sts.delay(Duration::from_secs(30));
    refused().await;
    let line = stage.log.all("login refused").pop().unwrap();
    assert_eq!(line.field("reason"), "sts-unavailable");
    sts.delay(Duration::ZERO);
    drop(stage.client().await);
    assert_eq!(stage.s3.requests().len(), 0);
    let admin_status = Arc::clone(&stage.admin_status);
    stage.end().await;
    for (outcome, calls) in [
        ("role-not-assumable", 1),
        ("sts-unavailable", 2),
        ("done", 1),
    ] {
        let line = format!("portcullis_sts_calls_total{{outcome=\"{outcome}\"}} {calls}\n");
        assert!(
            admin_status.metrics().contains(&line),
            "{}",
            admin_status.metrics()
        );
    }
}

#[tokio::test]
async fn an_answer_without_a_role_is_refused_unless_there_is_one_for_all() {
    let sts = fake_sts().await;
    let set = || Set {
        answer: allowed(),
        ..assuming(&sts)
    };
    let stage = Stage::with(set()).await;
    assert!(
        Client::connect(stage.gateway.address(), PASSWORD)
            .await
            .is_none()
    );
    let line = stage.log.one("login refused");
    assert_eq!(line.field("reason"), "role-missing");
    assert_eq!(sts.asked().len(), 0);
    stage.end().await;

    let mut with_default = set();
    with_default.sts.as_mut().unwrap().default_role = Some(ROLE.into());
    let stage = Stage::with(with_default).await;
    drop(stage.client().await);
    assert_eq!(sts.asked()[0]["RoleArn"], ROLE);
    stage.end().await;
}

#[tokio::test]
async fn a_transfer_goes_on_with_new_credentials_when_the_old_ones_end() {
    let sts = fake_sts().await;
    let stage = Stage::with(assuming(&sts)).await;
    let client = stage.client().await;
    let content = bytes(3 * PART + 1_000);
    let handle = client.create("/in/large").await.unwrap();
    client
        .write(&handle, 0, &content[..PART + 10])
        .await
        .unwrap();
    until(|| stage.s3.count("UploadPart") == 1).await;
    expire(&stage, 1);
    client
        .write(&handle, PART + 10, &content[PART + 10..])
        .await
        .unwrap();
    client.close(&handle).await.unwrap();
    assert!(stage.object("in/large").unwrap() == content);
    // One renewal, however many parts were under way.
    assert_eq!(sts.asked().len(), 2);
    assert_eq!(sts.asked()[0], sts.asked()[1]);
    assert_eq!(
        client.download("/in/large").await.unwrap().len(),
        content.len()
    );
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.all("upload failed").len(), 0);
}

#[tokio::test]
async fn a_download_and_a_head_outlive_their_credentials() {
    let sts = fake_sts().await;
    let stage = Stage::with(assuming(&sts)).await;
    let content = bytes(2 * PART);
    stage.s3.put(BUCKET, "in/large", content.clone());
    let client = stage.client().await;
    let handle = client.open("/in/large", OpenFlags::READ).await.unwrap();
    let first = client.read(&handle, 0).await.unwrap();
    expire(&stage, 1);
    let rest = client.download("/in/large").await.unwrap();
    assert!(rest == content);
    let again = client.read(&handle, content.len() - 100).await.unwrap();
    assert!(again == content[content.len() - 100..]);
    assert!(content.starts_with(&first));
    assert_eq!(sts.asked().len(), 2);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn short_lived_credentials_are_renewed_before_they_end() {
    let sts = fake_sts().await;
    sts.live(Duration::from_secs(2));
    let stage = Stage::with(assuming(&sts)).await;
    let client = stage.client().await;
    let content = bytes(PART + 1_000);
    let handle = client.create("/in/slow").await.unwrap();
    let mut sent = 0;
    for piece in content.chunks(content.len() / 10) {
        client.write(&handle, sent, piece).await.unwrap();
        sent += piece.len();
        client.size("/in").await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        // Nothing is ever signed with what has ended.
        for nth in 1..sts.asked().len() {
            expire(&stage, nth);
        }
    }
    client.close(&handle).await.unwrap();
    assert!(stage.object("in/slow").unwrap() == content);
    assert!(
        (2..=4).contains(&sts.asked().len()),
        "{}",
        sts.asked().len()
    );
    let refused = stage.s3.requests().into_iter();
    assert_eq!(refused.filter(|r| r.status == Some(400)).count(), 0);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn credentials_that_cannot_be_renewed_fail_what_is_open_and_say_so() {
    let sts = fake_sts().await;
    let stage = Stage::with(assuming(&sts)).await;
    let client = stage.client().await;
    sts.refuse(Some((403, "AccessDenied")));
    expire(&stage, 1);
    let expired = Err(Refused::failure("The session's credentials have expired"));
    assert_eq!(client.upload("/in/a", b"small").await, expired);
    assert_eq!(client.upload("/in/b", &bytes(PART + 1)).await, expired);
    assert_eq!(stage.s3.keys(BUCKET), [""; 0]);
    drop(client);
    let log = stage.end().await;
    let line = log.all("credentials not renewed").remove(0);
    assert_eq!(line.field("reason"), "role-not-assumable");
}

#[tokio::test]
async fn a_role_without_keys_lets_nobody_in() {
    let s3 = embedded_s3::Settings::default();
    let keys = |role: &str, secret: &str| RoleKeys {
        role: role.into(),
        key: AccessKey::new(&s3.access_key, &Secret::new(secret.to_owned()), None),
        next: None,
        section: format!("role.{role}"),
    };
    let all = || vec![keys(ROLE, S3_SECRET), keys("other", "wrong-secret-12")];
    let set = |answer: Value| Set {
        answer,
        roles: Roles::Map,
        keys: all(),
        ..Set::default()
    };
    let with = |key: &str, value: &str| {
        let mut answer = allowed();
        answer["role"] = ROLE.into();
        answer[key] = value.into();
        answer
    };
    for (answer, reason) in [
        (allowed(), "role-missing"),
        (with("role", "arn:aws:iam::1:role/none"), "role-unknown"),
        (with("policy", POLICY), "policy-not-enforceable"),
    ] {
        let stage = Stage::with(set(answer)).await;
        let client = Client::connect(stage.gateway.address(), PASSWORD).await;
        assert!(client.is_none(), "{reason}");
        let line = stage.log.one("login refused");
        assert_eq!(line.field("verdict"), "invalid");
        assert_eq!(line.field("reason"), reason);
        stage.end().await;
    }
    let stage = Stage::with(set(with("role", ROLE))).await;
    let client = stage.client().await;
    client.upload("/in/a", b"small").await.unwrap();
    drop(client);
    let admin_status = Arc::clone(&stage.admin_status);
    stage.end().await;
    // Calls are counted whosever credentials they have.
    let counted = "portcullis_s3_calls_total{operation=\"PutObject\"";
    assert!(
        admin_status.metrics().contains(counted),
        "{}",
        admin_status.metrics()
    );
    // These are other keys indeed.
    let stage = Stage::with(set(with("role", "other"))).await;
    let client = stage.client().await;
    let refused = client.upload("/in/a", b"small").await.unwrap_err();
    assert_eq!(refused.code, StatusCode::PermissionDenied);
    drop(client);
    let log = stage.end().await;
    assert!(!log.text().contains("wrong-secret-12"));
}
