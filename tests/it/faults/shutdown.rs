//! The process is told to stop while a file is on its way.

use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::*;

/// `portcullis serve` between this test's webhook and S3.
struct Process {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
    s3: EmbeddedS3,
    client: Client,
    heard: String,
    _files: tempfile::TempDir,
    _webhook: BundledWebhook,
}

impl Process {
    /// Serves, with a client logged in.
    async fn start(drain_timeout_seconds: u64) -> Self {
        let (s3, webhook) = (start_s3().await, start_webhook(allowed()).await);
        let files = tempfile::tempdir().unwrap();
        let state = files.path().display();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nstate_directory = \"{state}\"\n\
             [identity]\nurl = \"{}\"\n\
             [storage]\nendpoint = \"{}\"\npath_style = true\naccess_key_id = \"{}\"\n\
             secret_access_key = \"{S3_SECRET}\"\n\
             [limits]\npart_bytes = {PART}\ndrain_timeout_seconds = {drain_timeout_seconds}\n\
             [admin]\nlisten = \"off\"\n",
            webhook.url(),
            s3.endpoint(),
            s3.access_key(),
        );
        let config = format!("{state}/portcullis.toml");
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--config", &config])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = String::new();
        let address = loop {
            let line = within(errors.next_line()).await.unwrap().unwrap();
            heard.push_str(&line);
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                let address = line["address"].as_str().unwrap().parse();
                break address.unwrap();
            }
        };
        let client = Client::connect(address, PASSWORD).await.unwrap();
        Self {
            child,
            said,
            errors,
            s3,
            client,
            heard,
            _files: files,
            _webhook: webhook,
        }
    }

    /// Begins an upload that has its first part in S3.
    async fn begin_upload(&self, content: &[u8]) -> String {
        let handle = self.client.create("/in/a").await.unwrap();
        self.client
            .write(&handle, 0, &content[..PART])
            .await
            .unwrap();
        until(|| self.s3.uploads(BUCKET).iter().any(|u| u.parts.len() == 1)).await;
        handle
    }

    /// Sends a signal.
    async fn signal(&self) {
        assert!(signal(self.child.id().unwrap(), "TERM").await);
    }

    /// Reads the log until a line contains `words`.
    async fn hears(&mut self, words: &str) {
        loop {
            let line = within(self.errors.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("{}", self.heard));
            self.heard.push_str(&line);
            if line.contains(words) {
                return;
            }
        }
    }

    /// Waits for the end; nothing secret was said.
    async fn ended(mut self) -> (ExitStatus, EmbeddedS3, String) {
        let status = timeout(Duration::from_secs(120), self.child.wait()).await;
        let status = status.expect("took too long").unwrap();
        while let Some(line) = self.errors.next_line().await.unwrap() {
            self.heard.push_str(&line);
        }
        while let Some(line) = self.said.next_line().await.unwrap() {
            self.heard.push_str(&line);
        }
        for secret in [PASSWORD, S3_SECRET] {
            assert!(!self.heard.contains(secret), "{}", self.heard);
        }
        (status, self.s3, self.heard)
    }
}

const STOPPING: &str = "stopping: open transfers may finish";

#[tokio::test]
async fn a_drain_lets_an_upload_finish() {
    let mut process = Process::start(60).await;
    let content = bytes(PART + 1_000);
    let handle = process.begin_upload(&content).await;
    process.signal().await;
    process.hears(STOPPING).await;
    let client = &process.client;
    client.write(&handle, PART, &content[PART..]).await.unwrap();
    client.close(&handle).await.unwrap();
    let (status, s3, heard) = process.ended().await;
    assert!(status.success(), "{heard}");
    assert!(s3.object(BUCKET, "in/a").unwrap().body == content);
    assert_eq!(s3.uploads(BUCKET), []);
    assert!(heard.contains("portcullis ends"), "{heard}");
}

#[tokio::test]
async fn what_a_drain_cuts_leaves_nothing() {
    let process = Process::start(1).await;
    process.begin_upload(&bytes(PART)).await;
    process.signal().await;
    let (status, s3, heard) = process.ended().await;
    assert!(status.success(), "{heard}");
    assert_eq!(s3.keys(BUCKET), [""; 0]);
    assert_eq!(s3.uploads(BUCKET), []);
    assert!(heard.contains("the session ended before CLOSE"), "{heard}");
}

#[tokio::test]
async fn a_drain_ends_though_s3_is_silent() {
    let process = Process::start(1).await;
    process.begin_upload(&bytes(PART)).await;
    process.s3.script(Fault::any(Action::Hang).times(u32::MAX));
    process.signal().await;
    // Calls to a silent S3 would take minutes.
    let (status, s3, heard) = process.ended().await;
    assert!(status.success(), "{heard}");
    let named = heard
        .lines()
        .find(|line| line.contains("abort of the upload"));
    let named = named.unwrap_or_else(|| panic!("{heard}"));
    assert!(named.contains("before the outcome"), "{named}");
    assert!(named.contains(&format!("s3://{BUCKET}/in/a")), "{named}");
    assert!(heard.contains("operations of closed sessions"), "{heard}");
    assert_eq!(s3.keys(BUCKET), [""; 0]);
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_nothing_becomes_visible() {
    let mut process = Process::start(600).await;
    process.begin_upload(&bytes(PART)).await;
    process.signal().await;
    process.hears(STOPPING).await;
    process.signal().await;
    let (status, s3, heard) = process.ended().await;
    assert_eq!(status.code(), Some(1), "{heard}");
    assert!(heard.contains("ended by a second signal"), "{heard}");
    assert_eq!(s3.keys(BUCKET), [""; 0]);
}

/// Signals a process of this test.
pub(super) async fn signal(id: u32, name: &str) -> bool {
    let sent = Command::new("kill")
        .args([format!("-{name}"), id.to_string()])
        .status();
    sent.await.unwrap().success()
}
