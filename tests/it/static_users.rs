//! Users in a file: what a login is answered, and what becomes of it when the file changes.

use std::process::Stdio;
use std::sync::Arc;

use portcullis::idp::follow::Followed as _;
use portcullis::idp::static_file::StaticFile;
use portcullis::idp::{Asking, Credential, IdentityProvider as _, Judged, Question};
use portcullis::refusal::Verdict;
use portcullis::secret::Secret;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::common::serving::Serving;

const PASSWORD: &str = "tidal-fern-41";
const KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS ann@laptop";
const ROWS: &str = "mappings = [{ entry = \"/\", target = \"/bucket/${transfer:UserName}\" }]\n";

/// Hashes cheaply: tests are compiled without optimisation.
fn hash(password: &str) -> String {
    let hash = bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap();
    hash.to_string()
}

fn user(name: &str, password: &str) -> String {
    let hash = hash(password);
    format!("[users.{name}]\npassword_hash = \"{hash}\"\n{ROWS}")
}

struct Users {
    file: Arc<StaticFile>,
    path: String,
    _directory: TempDir,
}

impl Users {
    fn of(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = format!("{}/users.toml", directory.path().display());
        std::fs::write(&path, text).unwrap();
        Self {
            file: Arc::new(StaticFile::open(&path).unwrap()),
            path,
            _directory: directory,
        }
    }

    async fn ask(&self, name: &str, credential: Credential) -> Judged {
        let question = Question {
            request_id: "c1-1".into(),
            username: name.into(),
            credential,
            source_ip: "192.0.2.7".parse().unwrap(),
            session_id: "c1".into(),
            asking: Asking::default(),
        };
        self.file.ask(&question).await
    }

    async fn enters(&self, name: &str, password: &str) -> bool {
        let credential = Credential::Password(Secret::new(password.to_owned()));
        self.ask(name, credential).await.is_ok()
    }

    async fn refusal(&self, name: &str, credential: Credential) -> &'static str {
        let refusal = self.ask(name, credential).await.unwrap_err();
        assert_eq!(refusal.verdict(), Verdict::Denied, "{refusal}");
        refusal.reason.as_str()
    }

    /// As an editor or a mounted secret does it: a new file takes the old one's name.
    fn replace(&self, text: &str) {
        let new = format!("{}.new", self.path);
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.path).unwrap();
    }
}

fn password(text: &str) -> Credential {
    Credential::Password(Secret::new(text.to_owned()))
}

#[tokio::test]
async fn a_password_opens_its_own_users_home_alone() {
    let users = Users::of(&format!(
        "{}{}[users.key]\npublic_keys = [\"{KEY}\"]\n{ROWS}",
        user("ann", PASSWORD),
        user("bob", "walnut-39"),
    ));
    let Ok(config) = users.ask("ann", password(PASSWORD)).await else {
        panic!("ann has the right password");
    };
    assert_eq!(&*config.user, "ann");
    assert_eq!(&*config.home.mappings()[0].prefix, "ann");
    assert!(config.public_keys.is_empty());
    for (name, given, reason) in [
        ("ann", "walnut-39", "wrong-password"),
        ("ann", "", "wrong-password"),
        ("bob", PASSWORD, "wrong-password"),
        ("key", PASSWORD, "no-password"),
        ("eve", PASSWORD, "unknown-user"),
        ("ANN", PASSWORD, "unknown-user"),
    ] {
        let refusal = users.refusal(name, password(given)).await;
        assert_eq!(refusal, reason, "{name} {given}");
    }
}

#[tokio::test]
async fn keys_are_answered_to_key_look_ups_alone() {
    let text = format!("{}public_keys = [\"{KEY}\"]\n", user("ann", PASSWORD));
    let users = Users::of(&format!("{text}{}", user("bob", PASSWORD)));
    let Ok(config) = users.ask("ann", Credential::PublicKey).await else {
        panic!("ann has a key");
    };
    assert_eq!(config.public_keys, [KEY.into()]);
    let refusal = users.refusal("bob", Credential::PublicKey).await;
    assert_eq!(refusal, "no-usable-public-key");
    let refusal = users.refusal("eve", Credential::PublicKey).await;
    assert_eq!(refusal, "unknown-user");
}

#[tokio::test]
async fn keys_of_security_keys_are_answered_too() {
    for (kind, base64) in [
        (
            "sk-ssh-ed25519",
            "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAABHNzaDo=",
        ),
        (
            "sk-ecdsa-sha2-nistp256",
            "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcAAAAEc3NoOg==",
        ),
    ] {
        let key = format!("{kind}@openssh.com {base64} ann");
        let users = Users::of(&format!("[users.ann]\npublic_keys = [\"{key}\"]\n{ROWS}"));
        let Ok(config) = users.ask("ann", Credential::PublicKey).await else {
            panic!("ann has a key");
        };
        assert_eq!(config.public_keys, [(*key).into()]);
    }
}

#[tokio::test]
async fn hashes_that_this_program_prints_are_taken() {
    use portcullis::idp::static_file::PasswordHash;
    let secret = Secret::new(PASSWORD.to_owned());
    let hash = PasswordHash::argon2id(&secret).unwrap();
    assert!(
        hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{hash}"
    );
    let users = Users::of(&format!("[users.ann]\npassword_hash = \"{hash}\"\n{ROWS}"));
    assert!(users.enters("ann", PASSWORD).await);
    assert!(!users.enters("ann", "walnut-39").await);
}

#[tokio::test]
async fn a_file_that_changed_counts_from_the_next_login_on() {
    let users = Users::of(&user("ann", PASSWORD));
    assert!(!users.file.reload_if_changed());
    users.replace(&user("ann", "walnut-39"));
    assert!(users.enters("ann", PASSWORD).await, "nobody looked yet");
    assert!(users.file.reload_if_changed());
    assert!(!users.enters("ann", PASSWORD).await);
    assert!(users.enters("ann", "walnut-39").await);
    assert!(!users.file.reload_if_changed());
}

#[tokio::test]
async fn a_file_that_is_wrong_or_gone_changes_nothing() {
    let users = Users::of(&user("ann", PASSWORD));
    users.replace("[users.ann]\npasword = 1\n");
    assert!(users.file.reload_if_changed());
    assert!(users.enters("ann", PASSWORD).await);
    assert!(!users.file.reload_if_changed(), "it is complained of once");
    std::fs::remove_file(&users.path).unwrap();
    assert!(users.file.reload_if_changed());
    assert!(users.enters("ann", PASSWORD).await);
    users.replace(&user("bob", PASSWORD));
    assert!(users.file.reload_if_changed());
    assert_eq!(users.file.users(), 1);
    assert!(!users.enters("ann", PASSWORD).await);
    assert!(users.enters("bob", PASSWORD).await);
}

/// The binary, its log and everything that it reads.
struct Gateway {
    serving: Serving,
    port: String,
    directory: TempDir,
    _s3: embedded_s3::EmbeddedS3,
}

impl Gateway {
    async fn start(users: &str) -> Self {
        let s3 = embedded_s3::EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec!["bucket".to_owned()],
            ..embedded_s3::Settings::default()
        });
        let s3 = s3.await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display().to_string();
        let config = format!(
            "listen = \"127.0.0.1:0\"\nstate_directory = \"{root}/state\"\n\
            [identity]\nprovider = \"static\"\nusers_file = \"{root}/users.toml\"\n\
            [storage]\nendpoint = \"{}\"\npath_style = true\naccess_key_id = \"{}\"\n\
            secret_access_key = \"{}\"\n[admin]\nlisten = \"off\"\n",
            s3.endpoint(),
            s3.access_key(),
            s3.secret_key(),
        );
        std::fs::write(format!("{root}/portcullis.toml"), config).unwrap();
        std::fs::write(format!("{root}/users.toml"), users).unwrap();
        let mut serving = Serving::start(&format!("{root}/portcullis.toml"));
        let port = serving.port("\"listening\"").await;
        Self {
            serving,
            port,
            directory,
            _s3: s3,
        }
    }

    /// Writes another file of users and says so.
    async fn change_users(&self, text: &str) {
        let users = format!("{}/users.toml", self.directory.path().display());
        let new = format!("{users}.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, users).unwrap();
        self.serving.hang_up().await;
    }

    /// Starts OpenSSH's client as a user.
    fn sftp(&self, user: &str) -> Child {
        use std::os::unix::fs::PermissionsExt as _;
        let askpass = format!("{}/askpass", self.directory.path().display());
        std::fs::write(&askpass, format!("#!/bin/sh\necho '{PASSWORD}'\n")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&askpass, mode).unwrap();
        Command::new("sftp")
            .args(["-F", "none", "-q", "-P", &self.port])
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "NumberOfPasswordPrompts=1"])
            .args(["-o", "PubkeyAuthentication=no"])
            .arg(format!("{user}@127.0.0.1"))
            .env("SSH_ASKPASS", askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}

#[tokio::test]
async fn users_change_while_sessions_go_on() {
    let mut gateway = Gateway::start(&user("ann", PASSWORD)).await;
    let mut session = gateway.sftp("ann");
    let mut input = session.stdin.take().unwrap();
    let mut output = BufReader::new(session.stdout.take().unwrap()).lines();
    let mut says = async |command: &[u8], words: &str| {
        input.write_all(command).await.unwrap();
        while let Some(line) = output.next_line().await.unwrap() {
            if line.contains(words) && !line.starts_with("sftp>") {
                return;
            }
        }
        panic!("the session ended without saying {words}")
    };
    says(b"pwd\n", "Remote working directory: /").await;
    gateway.serving.logged("login allowed").await;
    gateway.change_users(&user("bob", PASSWORD)).await;
    gateway.serving.logged("users reloaded").await;
    // The old session works on; a new one of its user does not begin.
    says(b"mkdir here\nls -1\n", "here").await;
    let refused = gateway.sftp("ann").wait_with_output().await.unwrap();
    assert!(!refused.status.success());
    gateway.serving.logged("unknown-user").await;
    let mut bob = gateway.sftp("bob");
    drop(bob.stdin.take());
    assert!(bob.wait_with_output().await.unwrap().status.success());
    // A file that is wrong is an error in the log, and nothing else.
    gateway
        .change_users("[users.bob]\npassword_hash = \"walnut-39\"\n")
        .await;
    let line = gateway
        .serving
        .logged("the users file cannot be used")
        .await;
    assert!(
        line.contains("ERROR") && line.contains("users.toml:2: "),
        "{line}"
    );
    assert!(!line.contains("walnut-39"), "{line}");
    let mut bob = gateway.sftp("bob");
    drop(bob.stdin.take());
    assert!(bob.wait_with_output().await.unwrap().status.success());
}
