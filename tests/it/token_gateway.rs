//! `portcullis serve` with tokens for passwords, beside other providers.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use embedded_s3::EmbeddedS3;
use jsonwebtoken::Algorithm;
use portcullis::clock::{Clock as _, SystemClock};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

use super::common::jwt::{IssuerKey, jwks};
use super::idp_token::{ISSUER, claims};

const CONFIGURATION: &str = r#"
listen = "127.0.0.1:0"
state_directory = "STATE"
[identity]
providers = ["sso", "file", "asked"]
[provider.sso]
provider = "token"
user_suffix = "@@sso"
token_jwks_file = "FOLDER/jwks.json"
token_issuer = "https://login.example.com/"
token_audience = "sftp"
token_clock_skew_seconds = 0
token_mappings = ["/=/inbox/{tenant}"]
[provider.file]
provider = "static"
users_file = "FOLDER/users.toml"
[provider.asked]
url = "http://127.0.0.1:1/"
user_suffix = "@@asked"
signing_key_files = ["FOLDER/sign.pem"]
breaker_failures = 1
[storage]
path_style = true
[admin]
listen = "127.0.0.1:0"
"#;

struct Gateway {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    port: u16,
    admin: u16,
    folder: TempDir,
    s3: EmbeddedS3,
}

impl Gateway {
    async fn start(key: &IssuerKey) -> Self {
        let s3 = EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec!["inbox".to_owned()],
            ..embedded_s3::Settings::default()
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        let signing = rcgen::KeyPair::generate().unwrap();
        write("sign.pem", &signing.serialize_pem());
        write("jwks.json", &jwks(&[key]).to_string());
        let user = "[users.bob]\npassword_hash = \
            \"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\"\n\
            mappings = [{ entry = \"/\", target = \"/inbox/bob\" }]\n";
        write("users.toml", user);
        let text = CONFIGURATION
            .replace("FOLDER", &path)
            .replace("STATE", &path);
        write("portcullis.toml", &text);
        let mut child = command(&folder, &s3, "serve");
        let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut gateway = Self {
            child,
            log,
            port: 0,
            admin: 0,
            folder,
            s3,
        };
        gateway.port = port_in(&gateway.logged("\"listening\"").await);
        gateway.admin = port_in(&gateway.logged("\"admin listening\"").await);
        gateway
    }

    /// Waits for a line with these words.
    async fn logged(&mut self, words: &str) -> String {
        while let Some(line) = self.log.next_line().await.unwrap() {
            if line.contains(words) {
                return line;
            }
        }
        panic!("the gateway ended without saying {words}")
    }

    /// Runs another command with the same configuration.
    async fn run(&self, name: &str, arguments: &[&str], input: &str) -> (i32, String) {
        let mut child = command(&self.folder, &self.s3, name);
        let child = child.args(arguments).stdin(Stdio::piped());
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), said)
    }

    async fn log_in(&self, user: &str, password: &str) -> (bool, client::Handle<Trusting>) {
        let config = Arc::new(client::Config::default());
        let client = client::connect(config, ("127.0.0.1", self.port), Trusting).await;
        let mut client = client.unwrap();
        let answer = client.authenticate_password(user, password).await.unwrap();
        (answer.success(), client)
    }

    async fn admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

fn command(folder: &TempDir, s3: &EmbeddedS3, name: &str) -> Command {
    let configuration = folder.path().join("portcullis.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let _ = command
        .arg(name)
        .arg("--config")
        .arg(configuration)
        .env_clear()
        .env("PORTCULLIS_STORAGE_ENDPOINT", s3.endpoint())
        .env("PORTCULLIS_STORAGE_ACCESS_KEY_ID", s3.access_key())
        .env("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", s3.secret_key())
        .kill_on_drop(true);
    command
}

fn port_in(line: &str) -> u16 {
    let (_, rest) = line.split_once("127.0.0.1:").unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

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

fn now() -> u64 {
    let since = SystemClock.wall().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A good token of about ten thousand bytes.
fn long(key: &IssuerKey, seconds: u64) -> String {
    let mut all = claims(now());
    all["groups"] = json!("x".repeat(7_000));
    all["exp"] = json!(now() + seconds);
    assert_eq!(all["iss"], ISSUER);
    key.sign(&all)
}

#[tokio::test]
async fn tokens_are_long_and_passwords_are_not() {
    let key = IssuerKey::new("a", Algorithm::RS256);
    let mut gateway = Gateway::start(&key).await;
    let token = long(&key, 300);
    assert!(token.len() > 9_000);
    assert!(gateway.log_in("ann@@sso", &token).await.0);
    let line = gateway.logged("login allowed").await;
    assert!(!line.contains(token.get(..40).unwrap()), "{line}");
    for (user, reason) in [
        ("bob", "password-too-long"),
        ("ann@@asked", "password-too-long"),
        ("eve@@sso", "token-user"),
    ] {
        assert!(!gateway.log_in(user, &token).await.0, "{user}");
        let line = gateway.logged("login refused").await;
        assert!(line.contains(reason), "{line}");
    }
    assert!(!gateway.log_in("ann@@sso", &"x".repeat(16_385)).await.0);
    let line = gateway.logged("login refused").await;
    assert!(line.contains("password-too-long"), "{line}");
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let key = IssuerKey::new("a", Algorithm::ES256);
    let mut gateway = Gateway::start(&key).await;
    let (allowed, client) = gateway.log_in("ann@@sso", &long(&key, 3)).await;
    assert!(allowed);
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let ended = async { while channel.wait().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert!(ended.is_ok(), "the session goes on");
    gateway.logged("answer has expired").await;
}

#[tokio::test]
async fn the_admin_port_shows_public_keys_and_who_is_left_alone() {
    let key = IssuerKey::new("a", Algorithm::ES256);
    let mut gateway = Gateway::start(&key).await;
    let text = gateway.admin("/.well-known/jwks.json").await;
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let set: Value = serde_json::from_str(body).unwrap();
    let jwk = &set["keys"][0];
    assert_eq!((&jwk["kty"], &jwk["alg"]), (&json!("EC"), &json!("ES256")));
    assert!(jwk["kid"].is_string() && jwk.get("d").is_none(), "{jwk}");
    for reason in ["\"connect\"", "breaker-open"] {
        assert!(!gateway.log_in("ann@@asked", "tidal-fern-41").await.0);
        let line = gateway.logged("login refused").await;
        assert!(line.contains(reason), "{line}");
    }
    let metrics = gateway.admin("/metrics").await;
    let open = "portcullis_idp_breaker_open{provider=\"asked\"} 1\n";
    assert!(metrics.contains(open), "{metrics}");
    assert!(metrics.contains("portcullis_idp_breaker_open{provider=\"sso\"} 0\n"));
}

#[tokio::test]
async fn the_commands_of_the_operator_know_tokens() {
    let key = IssuerKey::new("a", Algorithm::RS256);
    let mut gateway = Gateway::start(&key).await;
    gateway.child.kill().await.unwrap();
    let (code, said) = gateway.run("check-config", &[], "").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("sso (token, keys: of a file)"), "{said}");
    let token = long(&key, 300);
    let test = "test-identity-provider";
    let arguments = ["--user", "ann@@sso", "--password-stdin"];
    let (code, said) = gateway.run(test, &arguments, &token).await;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("allowed · 1 mapping: / → s3://inbox/acme"),
        "{said}"
    );
    assert!(!said.contains(token.get(..40).unwrap()), "{said}");
    let (code, said) = gateway.run(test, &arguments, &long(&key, 0)).await;
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("token-expired: the token has expired"),
        "{said}"
    );
    assert!(said.contains("  change    get a new token"), "{said}");
}
