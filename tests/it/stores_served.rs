//! Several stores of one gateway, as a process: what it shows and does while one does not answer.

use std::sync::Arc;

use embedded_s3::EmbeddedS3;
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh_sftp::client::SftpSession;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::common::serving::Serving;

const PASSWORD: &str = "tidal-fern-41";

const CONFIGURATION: &str = r#"
listen = "127.0.0.1:0"
state_directory = "FOLDER/state"
[identity]
provider = "static"
users_file = "FOLDER/users.toml"
[storage]
endpoint = "NEAR"
path_style = true
access_key_id = "KEY"
secret_access_key = "SECRET"
look_timeout_seconds = 8
[store.far]
buckets = ["far"]
endpoint = "FAR"
path_style = true
access_key_id = "KEY"
secret_access_key = "SECRET"
[store.data]
kind = "directory"
root = "FOLDER/data"
[admin]
listen = "127.0.0.1:0"
"#;

const ROWS: &str = r#"mappings = [
    { entry = "/near", target = "/near/x" },
    { entry = "/far", target = "/far/x" },
    { entry = "/data", target = "/data" },
]
"#;

struct Gateway {
    serving: Serving,
    port: u16,
    admin: u16,
    far: EmbeddedS3,
    _near: EmbeddedS3,
    folder: TempDir,
}

impl Gateway {
    async fn start() -> Self {
        let (near, far) = (s3("near").await, s3("far").await);
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let text = CONFIGURATION
            .replace("FOLDER", &root)
            .replace("NEAR", &near.endpoint())
            .replace("FAR", &far.endpoint())
            .replace("KEY", near.access_key())
            .replace("SECRET", near.secret_key());
        std::fs::write(folder.path().join("portcullis.toml"), text).unwrap();
        let hash = bcrypt::hash_with_salt(PASSWORD, 4, [7; 16]).unwrap();
        let user = |name| format!("[users.{name}]\npassword_hash = \"{hash}\"\n{ROWS}");
        let users = [user("ann"), user("bob")].concat();
        std::fs::write(folder.path().join("users.toml"), users).unwrap();
        let mut serving = Serving::start(&format!("{root}/portcullis.toml"));
        let port = serving.port("\"listening\"").await.parse().unwrap();
        let admin = serving.port("\"admin listening\"").await.parse().unwrap();
        Self {
            serving,
            port,
            admin,
            far,
            _near: near,
            folder,
        }
    }

    async fn log_in(&self, user: &str) -> (client::Handle<Trusting>, SftpSession) {
        let config = Arc::new(client::Config::default());
        let client = client::connect(config, ("127.0.0.1", self.port), Trusting).await;
        let mut client = client.unwrap();
        let answer = client.authenticate_password(user, PASSWORD).await.unwrap();
        assert!(answer.success());
        let channel = client.channel_open_session().await.unwrap();
        channel.request_subsystem(true, "sftp").await.unwrap();
        let session = SftpSession::new(channel.into_stream()).await.unwrap();
        session.set_timeout(60);
        (client, session)
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Asserts which stores are said to be up.
    async fn assert_up(&self, stores: [(&str, u8); 3]) {
        let metrics = self.get("/metrics").await;
        for (store, up) in stores {
            let line = format!("\nportcullis_store_up{{store=\"{store}\"}} {up}\n");
            assert!(metrics.contains(&line), "{line}{metrics}");
        }
    }
}

async fn s3(bucket: &str) -> EmbeddedS3 {
    let settings = embedded_s3::Settings {
        buckets: vec![bucket.to_owned()],
        ..embedded_s3::Settings::default()
    };
    EmbeddedS3::start(settings).await.unwrap()
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

#[tokio::test]
async fn a_store_that_does_not_answer_is_named_and_takes_nobody_elsewhere() {
    let mut gateway = Gateway::start().await;
    gateway.assert_up([("", 1), ("far", 1), ("data", 1)]).await;
    let ready = gateway.get("/readyz").await;
    let body = "{\"listening\":true,\"draining\":false}";
    assert!(ready.ends_with(body), "{ready}");

    let (_connection, ann) = gateway.log_in("ann").await;
    assert!(ann.read_dir("/far").await.is_ok());
    gateway.far.set_down(true);
    assert!(ann.read_dir("/far").await.is_err());
    let line = gateway.serving.logged("the store does not answer").await;
    assert!(line.contains("\"store\":\"store.far\""), "{line}");
    gateway.assert_up([("", 1), ("far", 0), ("data", 1)]).await;
    let ready = gateway.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(
        ready.contains("\"stores_away\":[\"store.far\"]}"),
        "{ready}"
    );
    // The others go on, for those who log in now as well.
    let (_other, bob) = gateway.log_in("bob").await;
    for session in [&ann, &bob] {
        assert!(session.read_dir("/near").await.is_ok());
        assert!(session.read_dir("/data").await.is_ok());
    }

    gateway.far.set_down(false);
    assert!(bob.read_dir("/far").await.is_ok());
    let line = gateway.serving.logged("the store answers again").await;
    assert!(line.contains("\"store\":\"store.far\""), "{line}");
    gateway.assert_up([("", 1), ("far", 1), ("data", 1)]).await;
    let ready = gateway.get("/readyz").await;
    assert!(ready.ends_with(body), "{ready}");
}

#[tokio::test]
async fn users_of_a_directory_read_and_write_side_by_side() {
    let gateway = Gateway::start().await;
    let (_connection, ann) = gateway.log_in("ann").await;
    let mut file = ann.create("/data/f").await.unwrap();
    file.write_all(b"bytes").await.unwrap();
    file.shutdown().await.unwrap();
    drop(file);
    let kept = std::fs::read(gateway.folder.path().join("data/f")).unwrap();
    assert_eq!(kept, b"bytes");
    // Several users at once have turns there.
    let (_other, bob) = gateway.log_in("bob").await;
    let reads = (0..64).map(|at| {
        let session = if at % 2 == 0 { &ann } else { &bob };
        async move { session.read("/data/f").await.unwrap() }
    });
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read, b"bytes");
    }
    gateway.assert_up([("", 1), ("far", 1), ("data", 1)]).await;
}
