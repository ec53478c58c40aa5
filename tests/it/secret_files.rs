//! Secrets in files that change while the gateway serves.

use std::sync::Arc;

use embedded_s3::EmbeddedS3;
use hmac::{Hmac, Mac as _};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh_sftp::client::SftpSession;
use serde_json::json;
use sha2::Sha256;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::common::fake_idp::{Asked, FakeIdp, Reply};
use super::common::serving::{Serving, port_in};

const PASSWORD: &str = "tidal-fern-41";

const CONFIGURATION: &str = r#"
listen = "127.0.0.1:0"
state_directory = "FOLDER"
[identity]
url = "URL"
hmac_secret_file = "FOLDER/hmac"
hmac_secret_next_file = "FOLDER/hmac_next"
headers_file = "FOLDER/headers"
breaker_failures = 1
[storage]
endpoint = "S3"
path_style = true
access_key_id = "KEY"
secret_access_key_file = "FOLDER/s3"
[admin]
listen = "127.0.0.1:0"
token_file = "FOLDER/token"
"#;

struct Gateway {
    serving: Serving,
    port: u16,
    admin: u16,
    folder: TempDir,
    idp: FakeIdp,
    s3: EmbeddedS3,
}

impl Gateway {
    async fn start() -> Self {
        let s3 = EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec!["inbox".to_owned()],
            ..embedded_s3::Settings::default()
        })
        .await
        .unwrap();
        let answer = json!({"allow": true, "mappings": [{"entry": "/", "target": "/inbox/ann"}]});
        let answers = std::iter::repeat_n(Reply::Json(200, answer), 20);
        let idp = FakeIdp::start(answers).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let text = CONFIGURATION
            .replace("FOLDER", &path)
            .replace("URL", &idp.url())
            .replace("S3", &s3.endpoint())
            .replace("KEY", s3.access_key());
        for (name, text) in [
            ("portcullis.toml", &*text),
            ("hmac", "quartz-77"),
            ("hmac_next", ""),
            ("headers", "X-Gateway: amber-20\n"),
            ("s3", "ochre-secret-31"),
            ("token", "cobalt-5"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let serving = Serving::start(&format!("{path}/portcullis.toml"));
        let mut gateway = Self {
            serving,
            port: 0,
            admin: 0,
            folder,
            idp,
            s3,
        };
        gateway.port = port_in(&gateway.logged("\"listening\"").await)
            .parse()
            .unwrap();
        gateway.admin = port_in(&gateway.logged("\"admin listening\"").await)
            .parse()
            .unwrap();
        gateway
    }

    /// Waits for a line with these words.
    async fn logged(&mut self, words: &str) -> String {
        while let Some(line) = self.serving.line().await {
            for secret in ["basalt-12", "jasper-8", "cobalt-6", "onyx-44"] {
                assert!(!line.contains(secret), "{line}");
            }
            if line.contains(words) {
                return line;
            }
        }
        panic!("the gateway ended without saying {words}")
    }

    /// Waits until the file of a setting is complained of; it may be more than once.
    async fn complained(&mut self, setting: &str) -> String {
        loop {
            let line = self.logged("the old values stay in use").await;
            if line.contains(setting) {
                return line;
            }
        }
    }

    /// Replaces a file in one step, as a kubelet does.
    fn replace(&self, name: &str, text: &str) {
        let (new, old) = (
            self.folder.path().join("new"),
            self.folder.path().join(name),
        );
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, old).unwrap();
    }

    /// Logs in and returns the question that the provider was asked.
    async fn log_in(&self) -> (Asked, client::Handle<Trusting>) {
        let config = Arc::new(client::Config::default());
        let client = client::connect(config, ("127.0.0.1", self.port), Trusting).await;
        let mut client = client.unwrap();
        let answer = client.authenticate_password("ann", PASSWORD).await.unwrap();
        assert!(answer.success());
        (self.idp.asked().pop().unwrap(), client)
    }

    async fn admin(&self, request: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await.unwrap();
        let request =
            format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Sends a command with a token and returns the status.
    async fn command(&self, token: &str) -> String {
        let headers = format!(
            "authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: 2\r\n\r\n{{}}"
        );
        let answer = self.admin("POST /forget", headers.trim_end()).await;
        answer.chars().skip("HTTP/1.1 ".len()).take(3).collect()
    }

    async fn reloads(&self, outcome: &str) -> u32 {
        let metrics = self.admin("GET /metrics", "").await;
        let name = format!("portcullis_reloads_total{{files=\"secrets\",outcome=\"{outcome}\"}} ");
        let mut lines = metrics.lines();
        let count = lines.find_map(|line| line.strip_prefix(&name));
        count.unwrap().parse().unwrap()
    }
}

/// Says whether a question is signed with a secret.
fn is_signed(asked: &Asked, header: &str, secret: &str) -> bool {
    let Some(value) = asked.header(header) else {
        return false;
    };
    let (time, code) = value
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(&asked.bytes);
    let expected = mac.finalize().into_bytes();
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    code == expected
}

const SIGNATURE: &str = "x-portcullis-signature";
const SIGNATURE_NEXT: &str = "x-portcullis-signature-next";

#[derive(Debug)]
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _server: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn secrets_in_files_change_while_the_gateway_serves() {
    let mut gateway = Gateway::start().await;
    let (asked, _client) = gateway.log_in().await;
    assert!(is_signed(&asked, SIGNATURE, "quartz-77"));
    assert_eq!(asked.header("x-gateway"), Some("amber-20"));
    assert!(asked.header(SIGNATURE_NEXT).is_none());
    // The next secret comes to stand beside the first one.
    gateway.replace("hmac_next", "basalt-12\n");
    gateway.replace("headers", "X-Gateway: onyx-44\n");
    gateway.serving.hang_up().await;
    let line = gateway.logged("secrets reloaded").await;
    let settings = "identity.headers, identity.hmac_secret_next";
    assert!(line.contains(settings), "{line}");
    let (asked, _client) = gateway.log_in().await;
    assert!(is_signed(&asked, SIGNATURE, "quartz-77"));
    assert!(is_signed(&asked, SIGNATURE_NEXT, "basalt-12"));
    assert_eq!(asked.header("x-gateway"), Some("onyx-44"));
    // It takes over, and its own file is empty again; nobody sends a signal.
    gateway.replace("hmac", "basalt-12");
    gateway.replace("hmac_next", "");
    while {
        let (asked, _client) = gateway.log_in().await;
        !is_signed(&asked, SIGNATURE, "basalt-12") || asked.header(SIGNATURE_NEXT).is_some()
    } {
        gateway.logged("secrets reloaded").await;
    }
    // A signal without a change changes nothing, and says so.
    let done = gateway.reloads("done").await;
    gateway.serving.hang_up().await;
    let line = gateway.logged("nothing changed").await;
    assert!(line.contains("\"secrets\""), "{line}");
    assert_eq!(gateway.reloads("done").await, done);
    assert_eq!(gateway.reloads("failed").await, 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing() {
    let mut gateway = Gateway::start().await;
    for (round, (name, text, setting)) in [
        ("headers", "X-Gateway\n", "identity.headers"),
        ("headers", "X-Gateway: a\u{1}b\n", "identity.headers"),
        ("hmac", "\n", "identity.hmac_secret"),
        ("token", "", "admin.token"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = std::fs::read_to_string(gateway.folder.path().join(name)).unwrap();
        gateway.replace(name, text);
        // What is good beside it does not come into use either.
        gateway.replace("s3", &format!("jasper-8{round}"));
        gateway.serving.hang_up().await;
        let line = gateway.complained(setting).await;
        assert!(line.contains("ERROR"), "{line}");
        let (asked, _client) = gateway.log_in().await;
        assert!(is_signed(&asked, SIGNATURE, "quartz-77"));
        assert_eq!(asked.header("x-gateway"), Some("amber-20"));
        assert_eq!(gateway.command("cobalt-5").await, "200");
        assert_eq!(gateway.command("").await, "401");
        gateway.replace(name, &before);
        gateway.serving.hang_up().await;
        gateway.logged("secrets reloaded").await;
    }
    std::fs::remove_file(gateway.folder.path().join("hmac")).unwrap();
    gateway.serving.hang_up().await;
    gateway
        .complained("identity.hmac_secret: cannot read")
        .await;
    let (asked, _client) = gateway.log_in().await;
    assert!(is_signed(&asked, SIGNATURE, "quartz-77"));
    assert!(gateway.reloads("failed").await >= 5);
}

#[tokio::test]
async fn the_secret_of_s3_and_the_token_of_commands_change_for_who_is_there_already() {
    let mut gateway = Gateway::start().await;
    let (_, client) = gateway.log_in().await;
    let channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let sftp = SftpSession::new(channel.into_stream()).await.unwrap();
    assert!(sftp.read_dir("/").await.is_err());
    gateway.replace("s3", gateway.s3.secret_key());
    gateway.replace("token", "cobalt-6");
    gateway.serving.hang_up().await;
    let line = gateway.logged("secrets reloaded").await;
    assert!(line.contains("storage.secret_access_key"), "{line}");
    assert!(line.contains("admin.token"), "{line}");
    assert!(sftp.read_dir("/").await.is_ok());
    assert_eq!(gateway.command("cobalt-5").await, "401");
    assert_eq!(gateway.command("cobalt-6").await, "200");
    // Whatever else was written into the configuration needs a restart.
    let configuration = gateway.folder.path().join("portcullis.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    gateway.replace(
        "portcullis.toml",
        &format!("{text}token_next = \"onyx-44\"\n"),
    );
    gateway.serving.hang_up().await;
    gateway.logged("restart to apply it").await;
    assert_eq!(gateway.command("onyx-44").await, "401");
}
