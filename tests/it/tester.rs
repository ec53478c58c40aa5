//! `portcullis test-identity-provider`, run against services of one's own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Output, Stdio};

use bytes::Bytes;
use embedded_s3::EmbeddedS3;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::common::login::LISTED;

pub(crate) const PASSWORD: &str = "walnut-39";

/// A service that answers by a function of the question.
pub(crate) struct Service {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Service {
    pub(crate) async fn start(answer: fn(&Value) -> (u16, Value)) -> Self {
        Self::guarded(|_| true, answer).await
    }

    /// Answers those whose headers show that they are the gateway; others get 401.
    pub(crate) async fn guarded(
        admits: fn(&HeaderMap) -> bool,
        answer: fn(&Value) -> (u16, Value),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let respond =
                    service_fn(move |request: Request<hyper::body::Incoming>| async move {
                        let admitted = admits(request.headers());
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let question = serde_json::from_slice(&body).unwrap_or(Value::Null);
                        let (status, body) = if admitted {
                            answer(&question)
                        } else {
                            (401, json!("who are you?"))
                        };
                        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
                        *response.status_mut() = status.try_into().unwrap();
                        Ok::<_, Infallible>(response)
                    });
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(stream), respond).await);
                });
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/login?key=hazel-7", self.address)
    }
}

pub(crate) fn mapped(bucket: &str) -> Value {
    json!({"allow": true, "mappings": [{"entry": "/", "target": format!("/{bucket}/ann")}]})
}

/// Does everything right.
pub(crate) fn good(question: &Value) -> (u16, Value) {
    let known = question["username"] == "ann";
    let answer = match question["method"].as_str() {
        Some("password") if known && question["password"] == PASSWORD => mapped("inbox"),
        Some("public-key") if known => {
            let mut answer = mapped("inbox");
            answer["publicKeys"] = json!([format!("ssh-ed25519 {LISTED} ann@laptop")]);
            answer
        }
        _ => json!({"allow": false, "reason": "contract ended"}),
    };
    (200, answer)
}

pub(crate) struct Bench {
    directory: TempDir,
    pub(crate) settings: BTreeMap<&'static str, String>,
    pub(crate) s3: EmbeddedS3,
}

impl Bench {
    pub(crate) async fn new(service: &Service) -> Self {
        Self::at(&service.url()).await
    }

    /// Configures a gateway with one bucket, `inbox`.
    pub(crate) async fn at(url: &str) -> Self {
        let s3 = EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec!["inbox".to_owned()],
            ..embedded_s3::Settings::default()
        })
        .await
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let settings = BTreeMap::from([
            ("PORTCULLIS_STATE_DIRECTORY", "state".to_owned()),
            ("PORTCULLIS_IDENTITY_URL", url.to_owned()),
            ("PORTCULLIS_STORAGE_ENDPOINT", s3.endpoint()),
            ("PORTCULLIS_STORAGE_PATH_STYLE", "true".to_owned()),
            (
                "PORTCULLIS_STORAGE_ACCESS_KEY_ID",
                s3.access_key().to_owned(),
            ),
            (
                "PORTCULLIS_STORAGE_SECRET_ACCESS_KEY",
                s3.secret_key().to_owned(),
            ),
        ]);
        Self {
            directory,
            settings,
            s3,
        }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = format!("{}/{name}", self.directory.path().display());
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) async fn test(&self, arguments: &[&str], password: &str) -> (i32, String, String) {
        let output = run(&self.settings, arguments, password).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            !format!("{out}{err}").contains("hazel-7"),
            "the url's key is shown: {out}{err}"
        );
        (output.status.code().unwrap(), out, err)
    }
}

pub(crate) async fn run(
    settings: &BTreeMap<&str, String>,
    arguments: &[&str],
    input: &str,
) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("test-identity-provider")
        .args(arguments)
        .env_clear()
        .envs(settings)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not ask for a password does not read it.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

#[tokio::test]
async fn an_allowed_login_is_shown_as_aws_does_and_in_words() {
    let service = Service::start(good).await;
    let bench = Bench::new(&service).await;
    let arguments = ["--user", "ann", "--password-stdin"];
    let (code, out, err) = bench.test(&arguments, "walnut-39\n").await;
    assert_eq!(code, 0, "{out}{err}");
    for part in [
        "StatusCode: 200\n",
        "Response: {\"allow\":true",
        "allowed · 1 mapping: / → s3://inbox/ann · bucket answers · ",
        "  mapping   / → s3://inbox/ann (read-write)\n",
        "first byte",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains(PASSWORD), "{out}");
    let brief = [&arguments[..], &["--brief"]].concat();
    let (_, out, _) = bench.test(&brief, PASSWORD).await;
    assert!(
        out.starts_with("allowed · ") && out.lines().count() == 1,
        "{out}"
    );
}

#[tokio::test]
async fn json_has_the_four_fields_of_aws_and_the_verdict() {
    let service = Service::start(good).await;
    let bench = Bench::new(&service).await;
    let arguments = ["--user", "ann", "--password-stdin", "--json"];
    let (code, out, _) = bench.test(&arguments, PASSWORD).await;
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found["StatusCode"]), (0, &json!(200)));
    assert_eq!(found["Message"], "");
    let response: Value = serde_json::from_str(found["Response"].as_str().unwrap()).unwrap();
    assert_eq!(response["allow"], true);
    assert_eq!(found["verdict"], "allowed");
    assert_eq!(found["user"]["mappings"][0]["bucket"], "inbox");
    assert_eq!(found["buckets"][0]["answers"], true);
    assert!(found["timing"]["totalMs"].is_u64(), "{found}");
}

#[tokio::test]
async fn each_verdict_has_its_exit_status_and_says_what_to_change() {
    let service = Service::start(good).await;
    let bench = Bench::new(&service).await;
    let password = ["--user", "ann", "--password-stdin"];
    let (code, out, _) = bench.test(&password, "wrong").await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("denied · not-allowed") && out.contains("contract ended"),
        "{out}"
    );
    let (code, out, _) = bench.test(&password, " \n").await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("password-blank") && out.contains("no request was sent"),
        "{out}"
    );

    let typo = Service::start(|_| (200, json!({"allow": true, "mapings": []}))).await;
    let (code, out, _) = Bench::new(&typo).await.test(&password, PASSWORD).await;
    assert_eq!(code, 3, "{out}");
    assert!(
        out.contains("invalid · unknown-key") && out.contains("spelling"),
        "{out}"
    );

    let broken = Service::start(|_| (500, json!({"error": "boom"}))).await;
    let (code, out, _) = Bench::new(&broken).await.test(&password, PASSWORD).await;
    assert_eq!(code, 2, "{out}");
    assert!(
        out.contains("unavailable · status") && out.contains("StatusCode: 500"),
        "{out}"
    );

    let gone = Bench::at("http://127.0.0.1:1/").await;
    let (code, out, _) = gone.test(&password, PASSWORD).await;
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("unavailable · connect"), "{out}");
}

#[tokio::test]
async fn a_key_is_matched_as_at_login_and_without_one_the_list_is_looked_up() {
    let service = Service::start(good).await;
    let bench = Bench::new(&service).await;
    let listed = bench.file("ann.pub", &format!("ssh-ed25519 {LISTED} ann\n"));
    let (code, out, err) = bench
        .test(&["--user", "ann", "--public-key", &listed], "")
        .await;
    assert_eq!(code, 0, "{out}{err}");
    let other = LISTED.replace("GPKSUTyz1H", "GPKSUTyz1G");
    let other = bench.file("other.pub", &format!("ssh-ed25519 {other} ann\n"));
    let (code, out, _) = bench
        .test(&["--user", "ann", "--public-key", &other], "")
        .await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("key-not-listed"), "{out}");
    let (code, out, _) = bench.test(&["--user", "ann"], "").await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("  keys      1\n"), "{out}");
    let (code, out, _) = bench.test(&["--user", "bob"], "").await;
    assert_eq!(code, 1, "{out}");
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_is_named() {
    let service = Service::start(|_| (200, mapped("elsewhere"))).await;
    let bench = Bench::new(&service).await;
    let (code, out, _) = bench
        .test(&["--user", "ann", "--password-stdin"], PASSWORD)
        .await;
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("bucket elsewhere does not answer"), "{out}");
}

#[tokio::test]
async fn a_service_that_repeats_the_password_does_not_make_us_show_it() {
    let service = Service::start(|question| {
        let said = format!("no such password: {}", question["password"]);
        (200, json!({"allow": false, "reason": said}))
    })
    .await;
    let bench = Bench::new(&service).await;
    for format in [
        &["--user", "ann", "--password-stdin"][..],
        &["--user", "ann", "--password-stdin", "--json"],
    ] {
        let (code, out, _) = bench.test(format, PASSWORD).await;
        assert_eq!(code, 1, "{out}");
        assert!(!out.contains(PASSWORD), "{out}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_one_line() {
    let service = Service::start(good).await;
    let bench = Bench::new(&service).await;
    let private = bench.file("key", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for (arguments, input, said) in [
        (
            vec!["--user", "ann", "--public-key", "/nonexistent.pub"],
            "",
            "/nonexistent.pub",
        ),
        (
            vec!["--user", "ann", "--public-key", &private],
            "",
            "give the file that ends with .pub",
        ),
        (
            vec!["--user", "ann", "--password-stdin"],
            &*"x".repeat(20_000),
            "longer than 16384 bytes",
        ),
    ] {
        let (code, _, err) = bench.test(&arguments, input).await;
        assert_eq!(code, 64, "{err}");
        assert!(err.contains(said) && err.lines().count() == 1, "{err}");
    }
}

#[tokio::test]
async fn where_key_and_password_are_needed_both_are_judged() {
    let service = Service::start(good).await;
    let mut bench = Bench::new(&service).await;
    let methods = "key-and-password".to_owned();
    bench
        .settings
        .insert("PORTCULLIS_IDENTITY_METHODS", methods);
    let key = bench.file("ann.pub", &format!("ssh-ed25519 {LISTED} ann\n"));
    let with_key = ["--user", "ann", "--public-key", &key];
    let (code, out, _) = bench.test(&with_key, "").await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("a password is also required"), "{out}");
    let both = [&with_key[..], &["--password-stdin"]].concat();
    assert_eq!(bench.test(&both, PASSWORD).await.0, 0);
    assert_eq!(bench.test(&both, "wrong").await.0, 1);
    let password = ["--user", "ann", "--password-stdin"];
    let (code, out, _) = bench.test(&password, PASSWORD).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("method-not-allowed"), "{out}");
}

#[tokio::test]
async fn a_list_without_a_readable_key_lets_nobody_in() {
    let service = Service::start(|_| {
        let mut answer = mapped("inbox");
        answer["publicKeys"] = json!([format!("from=\"*\" {}", crate::common::login::LISTED_LINE)]);
        (200, answer)
    })
    .await;
    let (code, out, _) = Bench::new(&service)
        .await
        .test(&["--user", "ann"], "")
        .await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("denied · no-usable-public-key"), "{out}");
}
