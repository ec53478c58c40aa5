//! `portcullis probe`, run against a whole gateway over the embedded S3.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use embedded_s3::EmbeddedS3;
use portcullis::auth::{AuthSettings, ThrottleSettings};
use portcullis::gateway::{Entrance, Gateway, GatewayParts};
use portcullis::idp::history::LoginHistory;
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::ssh::{HostKey, HostKeys, Listener};
use portcullis::storage::credentials::Own;
use portcullis::storage::s3::S3Store;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::common::provider::RecordingProvider;
use super::common::stores::s3_settings;

const PASSWORD: &str = "walnut-39";

struct Bench {
    gateway: Gateway,
    host_key: HostKey,
    s3: EmbeddedS3,
    directory: TempDir,
}

impl Bench {
    /// A gateway that lets everybody into `/` with the given access.
    async fn start(access: &str) -> Self {
        Self::serve(access, json!([])).await
    }

    /// A gateway that lets these keys in as well.
    async fn with(keys: Value) -> Self {
        Self::serve("read-write", keys).await
    }

    async fn serve(access: &str, keys: Value) -> Self {
        let s3 = EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec!["inbox".to_owned()],
            ..embedded_s3::Settings::default()
        })
        .await
        .unwrap();
        let settings = s3_settings(s3.endpoint(), s3.access_key(), s3.secret_key());
        let mapping = json!({"entry": "/in", "target": "/inbox/ann", "access": access});
        let provider =
            json!({"allow": true, "mappings": [mapping], "home": "/in", "publicKeys": keys});
        let host_key = HostKey::generate().unwrap();
        let gateway = Gateway::start(GatewayParts {
            entrances: vec![Entrance {
                listener: Listener::bind("127.0.0.1:0".parse().unwrap())
                    .await
                    .unwrap(),
                provider: RecordingProvider::new(provider),
                auth: AuthSettings::default(),
            }],
            caches: Vec::new(),
            throttle: ThrottleSettings::default(),
            history: Arc::new(LoginHistory::new(Duration::from_secs(900))),
            blocks: Arc::default(),
            transport: HostKeys::new(vec![host_key.clone()]).unwrap().into(),
            stores: Arc::new(Own::new(Arc::new(
                S3Store::connect(settings).await.unwrap(),
            ))),
            limits: Limits {
                refusal_delay: Duration::ZERO,
                ..Limits::default()
            },
            metrics: Arc::new(Metrics::default()),
            sftp: portcullis::config::Sftp::default(),
            upload_records: portcullis::session::UploadRecords::default(),
            signing_keys: Vec::new(),
        })
        .unwrap();
        Self {
            gateway,
            host_key,
            s3,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn url(&self, directory: &str) -> String {
        format!("sftp://ann@{}{directory}", self.gateway.address())
    }

    fn known_hosts(&self) -> String {
        let address = self.gateway.address();
        let line = self.host_key.known_hosts_line("127.0.0.1", address.port());
        let path = format!("{}/known_hosts", self.directory.path().display());
        std::fs::write(&path, format!("{}\n", line.unwrap())).unwrap();
        path
    }

    fn left_behind(&self) -> Vec<String> {
        let keys = self.s3.keys("inbox");
        keys.into_iter()
            .filter(|key| key.contains("probe"))
            .collect()
    }
}

async fn probe(arguments: &[&str]) -> Output {
    probe_with(arguments, PASSWORD).await
}

async fn probe_with(arguments: &[&str], password: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("probe")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    drop(stdin.write_all(password.as_bytes()).await);
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_file_goes_there_and_back_and_nothing_is_left() {
    let bench = Bench::start("read-write").await;
    let known_hosts = bench.known_hosts();
    for size in ["0", "1B", "300KiB", "12MiB"] {
        for directory in ["/in", "", "/in/"] {
            let url = bench.url(directory);
            let arguments = [
                &*url,
                "--password-stdin",
                "--known-hosts",
                &known_hosts,
                "--size",
                size,
            ];
            let output = probe(&arguments).await;
            assert_eq!(
                output.status.code(),
                Some(0),
                "{size} {directory}: {}",
                err(&output)
            );
            let text = out(&output);
            for step in [
                "connect", "ssh", "login", "write", "list", "read", "rename", "delete",
            ] {
                assert!(text.contains(&format!("  {step} ")), "{step}: {text}");
            }
            assert!(text.lines().last().unwrap().starts_with("ok · "), "{text}");
            assert_eq!(bench.left_behind(), Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_known_is_refused_before_login() {
    let bench = Bench::start("read-write").await;
    let (url, fingerprint) = (bench.url("/in"), bench.host_key.fingerprint());
    let output = probe(&[&url, "--password-stdin"]).await;
    assert_eq!(output.status.code(), Some(12), "{}", err(&output));
    assert!(err(&output).contains(&fingerprint), "{}", err(&output));
    let pinned = |key: &str| {
        let (url, key) = (url.clone(), key.to_owned());
        async move { probe(&[&url, "--password-stdin", "--host-key-fingerprint", &key]).await }
    };
    assert_eq!(pinned(&fingerprint).await.status.code(), Some(0));
    let other = HostKey::generate().unwrap().fingerprint();
    let output = pinned(&other).await;
    assert_eq!(output.status.code(), Some(12));
    assert!(err(&output).contains("another server"), "{}", err(&output));
    let empty = format!("{}/empty", bench.directory.path().display());
    std::fs::write(&empty, "").unwrap();
    let output = probe(&[&url, "--password-stdin", "--known-hosts", &empty]).await;
    assert_eq!(output.status.code(), Some(12));
    let output = probe(&[&url, "--password-stdin", "--insecure-accept-any-host-key"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(
        err(&output).contains("warning: the host key is not verified"),
        "{}",
        err(&output)
    );
}

#[tokio::test]
async fn the_exit_status_is_the_step_that_failed_and_the_file_is_gone() {
    let bench = Bench::start("write").await;
    let (url, known_hosts) = (bench.url("/in"), bench.known_hosts());
    let known = ["--password-stdin", "--known-hosts", &known_hosts];
    let output = probe(&[&[&*url][..], &known].concat()).await;
    let code = output.status.code().unwrap();
    assert!((16..=17).contains(&code), "{code}: {}", err(&output));
    assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
    assert_eq!(bench.left_behind(), Vec::<String>::new());
    let nowhere = bench.url("/elsewhere");
    let output = probe(&[&[&*nowhere][..], &known].concat()).await;
    assert_eq!(output.status.code(), Some(15), "{}", err(&output));
    let output = probe_with(&[&[&*url][..], &known].concat(), " ").await;
    assert_eq!(output.status.code(), Some(13), "{}", err(&output));
    assert!(
        err(&output).contains("the password was refused"),
        "{}",
        err(&output)
    );
}

#[tokio::test]
async fn a_key_logs_in() {
    let key = HostKey::generate().unwrap();
    let line = key.known_hosts_line("user", 22).unwrap();
    let line = line.strip_prefix("user ").unwrap().to_owned();
    let bench = Bench::with(json!([line])).await;
    let (url, known_hosts) = (bench.url("/in"), bench.known_hosts());
    let path = format!("{}/key", bench.directory.path().display());
    key.save(&path).unwrap();
    let arguments = [&*url, "--identity", &path, "--known-hosts", &known_hosts];
    let output = probe(&arguments).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let other = format!("{}/other", bench.directory.path().display());
    HostKey::generate().unwrap().save(&other).unwrap();
    let arguments = [&*url, "--identity", &other, "--known-hosts", &known_hosts];
    let output = probe(&arguments).await;
    assert_eq!(output.status.code(), Some(13), "{}", err(&output));
    assert!(
        err(&output).contains("the key was refused"),
        "{}",
        err(&output)
    );
}

#[tokio::test]
async fn a_signal_stops_it_and_nothing_is_left() {
    let bench = Bench::start("read-write").await;
    let (url, known_hosts) = (bench.url("/in"), bench.known_hosts());
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args([
            "probe",
            &url,
            "--password-stdin",
            "--known-hosts",
            &known_hosts,
        ])
        .args(["--size", "10GiB"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(PASSWORD.as_bytes()).await.unwrap();
    drop(stdin);
    while bench.s3.uploads("inbox").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(15), "{}", err(&output));
    assert!(
        err(&output).contains("stopped by a signal"),
        "{}",
        err(&output)
    );
    bench.gateway.drain().await;
    assert!(bench.s3.uploads("inbox").is_empty());
    assert_eq!(bench.s3.keys("inbox"), Vec::<String>::new());
}

#[tokio::test]
async fn rounds_are_lines_of_json() {
    let bench = Bench::start("read-write").await;
    let (url, known_hosts) = (bench.url("/in"), bench.known_hosts());
    let output = probe(&[
        &url,
        "--password-stdin",
        "--known-hosts",
        &known_hosts,
        "--json",
        "--count",
        "3",
        "--interval",
        "0",
        "--size",
        "1KiB",
    ])
    .await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let lines: Vec<Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(
            (&line["ok"], &line["round"]),
            (&json!(true), &json!(number + 1))
        );
        assert_eq!(line["steps"].as_array().unwrap().len(), 10, "{line}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_speaks_something_else_is_one_line() {
    let output = probe(&["sftp://ann@127.0.0.1:1/", "--password-stdin"]).await;
    assert_eq!(output.status.code(), Some(11), "{}", err(&output));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("sftp://ann@{}/", listener.local_addr().unwrap());
    let mut web = JoinSet::new();
    web.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let page = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
            drop(stream.write_all(page).await);
        }
    });
    let output = probe(&[&url, "--password-stdin"]).await;
    assert_eq!(output.status.code(), Some(12), "{}", err(&output));
    assert!(err(&output).contains("no SSH server"), "{}", err(&output));
    assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
}
