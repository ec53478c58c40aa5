//! `portcullis test-identity-provider` where roles are assumed or mapped.

use embedded_s3::EmbeddedS3;
use serde_json::{Value, json};

use super::common::fake_sts::FakeSts;
use super::tester::{Bench, PASSWORD, Service, mapped};

const ROLE: &str = "arn:aws:iam::123456789012:role/partners";
const ARGUMENTS: [&str; 3] = ["--user", "ann", "--password-stdin"];

fn with_role(_question: &Value) -> (u16, Value) {
    let mut answer = mapped("inbox");
    answer["role"] = ROLE.into();
    answer["policy"] = json!({"Statement": [{"Resource": "inbox/${transfer:UserName}/*"}]});
    (200, answer)
}

fn with_a_long_policy(question: &Value) -> (u16, Value) {
    let (status, mut answer) = with_role(question);
    answer["policy"] = json!({"Statement": ["x".repeat(2_048)]});
    (status, answer)
}

fn without_role(_question: &Value) -> (u16, Value) {
    (200, mapped("inbox"))
}

/// A tester that asks an STS for roles.
async fn assuming(answer: fn(&Value) -> (u16, Value)) -> (Bench, FakeSts, Service) {
    let service = Service::start(answer).await;
    let mut bench = Bench::new(&service).await;
    let sts = FakeSts::start(bench.s3.access_key(), bench.s3.secret_key()).await;
    bench.settings.extend([
        ("PORTCULLIS_IDENTITY_ROLES", "assume".to_owned()),
        ("PORTCULLIS_STS_ENDPOINT", sts.endpoint()),
        ("PORTCULLIS_SERVER_ID", "s-1".to_owned()),
    ]);
    (bench, sts, service)
}

#[tokio::test]
async fn the_role_is_assumed_and_buckets_are_asked_with_it() {
    let (bench, sts, _service) = assuming(with_role).await;
    let (code, out, err) = bench.test(&ARGUMENTS, PASSWORD).await;
    assert_eq!(code, 0, "{out}{err}");
    let assumed = format!("  assumed   {ROLE}, until 2");
    for part in [
        &assumed,
        "  session   ann.test-",
        "@s-1\n",
        "bucket answers",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let asked = sts.asked();
    assert_eq!(asked.len(), 1);
    let policy = r#"{"Statement":[{"Resource":"inbox/ann/*"}]}"#;
    assert_eq!(asked[0]["Policy"], policy);
    let json = [&ARGUMENTS[..], &["--json"]].concat();
    let (_, out, _) = bench.test(&json, PASSWORD).await;
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["assumedRole"]["role"], ROLE);
    let session = found["assumedRole"]["sessionName"].as_str().unwrap();
    assert!(session.starts_with("ann.test-"), "{session}");
    assert!(!out.contains("token-"), "{out}");
}

#[tokio::test]
async fn what_keeps_a_role_from_being_assumed_is_said_with_its_remedy() {
    let (bench, sts, _service) = assuming(with_role).await;
    sts.refuse(Some((403, "AccessDenied")));
    let (code, out, _) = bench.test(&ARGUMENTS, PASSWORD).await;
    assert_eq!(code, 3, "{out}");
    for part in [
        "invalid · role-not-assumable: ",
        "AccessDenied: as scripted",
        "trust policy",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    sts.refuse(Some((503, "ServiceUnavailable")));
    let (code, out, _) = bench.test(&ARGUMENTS, PASSWORD).await;
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("unavailable · sts-unavailable: "), "{out}");

    for (answer, reason) in [
        (
            with_a_long_policy as fn(&Value) -> (u16, Value),
            "policy-too-long",
        ),
        (without_role, "role-missing"),
    ] {
        let (bench, sts, _service) = assuming(answer).await;
        let (code, out, _) = bench.test(&ARGUMENTS, PASSWORD).await;
        assert_eq!(code, 3, "{out}");
        assert!(out.contains(&format!("invalid · {reason}: ")), "{out}");
        assert_eq!(sts.asked().len(), 0);
    }
}

fn with_a_path_home(_question: &Value) -> (u16, Value) {
    let home = json!({"Role": ROLE, "HomeDirectoryType": "PATH", "HomeDirectory": "/inbox/ann"});
    (200, home)
}

#[tokio::test]
async fn a_home_that_follows_its_role_is_told_from_one_that_is_confined() {
    let (mut bench, _sts, _service) = assuming(with_a_path_home).await;
    let json = [&ARGUMENTS[..], &["--json"]].concat();
    let told = async |bench: &Bench| {
        let (_, out, _) = bench.test(&json, PASSWORD).await;
        let found: Value = serde_json::from_str(&out).unwrap();
        found["user"]["pathHomes"].clone()
    };
    assert_eq!(told(&bench).await, "confined");
    let role = ("PORTCULLIS_IDENTITY_PATH_HOMES", "role".to_owned());
    bench.settings.extend([role]);
    assert_eq!(told(&bench).await, "role");
    let (code, out, err) = bench.test(&ARGUMENTS, PASSWORD).await;
    assert_eq!(code, 0, "{out}{err}");
    let mapping = "mapping   none: the role decides (path_homes = \"role\")";
    assert!(out.contains(mapping), "{out}");
    assert_eq!(out.matches("\n  mapping ").count(), 1, "{out}");
}

fn with_two_stores(_question: &Value) -> (u16, Value) {
    let mut answer = mapped("inbox");
    answer["mappings"] = json!([
        {"entry": "/in", "target": "/inbox/ann"},
        {"entry": "/old", "target": "/archive/ann"},
    ]);
    answer["role"] = ROLE.into();
    answer["policy"] = json!({"Statement": [{"Resource": "*/${transfer:UserName}/*"}]});
    (200, answer)
}

#[tokio::test]
async fn a_role_is_assumed_at_the_sts_of_each_store_that_a_login_reaches() {
    let (mut bench, near, _service) = assuming(with_two_stores).await;
    let archive = EmbeddedS3::start(embedded_s3::Settings {
        buckets: vec!["archive".to_owned()],
        ..embedded_s3::Settings::default()
    });
    let archive = archive.await.unwrap();
    let (key, secret) = (archive.access_key(), archive.secret_key());
    let far = FakeSts::start(key, secret).await;
    bench.settings.extend([
        ("PORTCULLIS_STORE_ARCHIVE_BUCKETS", "archive".to_owned()),
        ("PORTCULLIS_STORE_ARCHIVE_ENDPOINT", archive.endpoint()),
        ("PORTCULLIS_STORE_ARCHIVE_PATH_STYLE", "true".to_owned()),
        ("PORTCULLIS_STORE_ARCHIVE_ACCESS_KEY_ID", key.to_owned()),
        (
            "PORTCULLIS_STORE_ARCHIVE_SECRET_ACCESS_KEY",
            secret.to_owned(),
        ),
        ("PORTCULLIS_STORE_ARCHIVE_REGION", "eu-west-9".to_owned()),
    ]);
    // Without an STS there is nobody to apply the policy.
    for roles in ["refuse", "gateway"] {
        let roles = ("PORTCULLIS_STORE_ARCHIVE_ROLES", roles.to_owned());
        bench.settings.extend([roles]);
        let (code, out, _) = bench.test(&ARGUMENTS, PASSWORD).await;
        assert_eq!(code, 3, "{out}");
        assert!(out.contains("invalid · store-without-roles: "), "{out}");
    }
    assert_eq!(near.asked().len(), 0, "nothing is asked for who is refused");
    bench.settings.extend([
        ("PORTCULLIS_STORE_ARCHIVE_ROLES", "assume".to_owned()),
        ("PORTCULLIS_STORE_ARCHIVE_STS_ENDPOINT", far.endpoint()),
    ]);
    let (code, out, err) = bench.test(&ARGUMENTS, PASSWORD).await;
    assert_eq!(code, 0, "{out}{err}");
    for bucket in ["inbox: answers", "archive: answers"] {
        assert!(out.contains(bucket), "{out}");
    }
    let asked = [near.asked(), far.asked()];
    for asked in &asked {
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0]["RoleArn"], ROLE);
        let policy = r#"{"Statement":[{"Resource":"*/ann/*"}]}"#;
        assert_eq!(asked[0]["Policy"], policy);
    }
    let name = "RoleSessionName";
    assert_eq!(asked[0][0][name], asked[1][0][name]);
    // Each of them can refuse.
    far.refuse(Some((403, "AccessDenied")));
    let (code, out, _) = bench.test(&ARGUMENTS, PASSWORD).await;
    assert_eq!(code, 3, "{out}");
    assert!(out.contains("invalid · role-not-assumable: "), "{out}");
}

#[tokio::test]
async fn the_sts_of_a_store_is_asked_only_for_whom_leads_there() {
    let (mut bench, near, _service) = assuming(with_role).await;
    // Nobody is there.
    bench.settings.extend([
        ("PORTCULLIS_STORE_ARCHIVE_BUCKETS", "archive".to_owned()),
        (
            "PORTCULLIS_STORE_ARCHIVE_ENDPOINT",
            "http://127.0.0.1:1".to_owned(),
        ),
        ("PORTCULLIS_STORE_ARCHIVE_ROLES", "assume".to_owned()),
        (
            "PORTCULLIS_STORE_ARCHIVE_STS_ENDPOINT",
            "http://127.0.0.1:1".to_owned(),
        ),
    ]);
    let (code, out, err) = bench.test(&ARGUMENTS, PASSWORD).await;
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(near.asked().len(), 1);
}
