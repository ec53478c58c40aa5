//! A person at OpenSSH's `sftp`.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::{PASSWORD, Stage, USER, within};

/// What the person saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) exit: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Stage {
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.files.path().display())
    }

    pub(super) fn write_script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    /// Runs a batch of commands as the user.
    pub(super) async fn sftp(&self, batch: &str) -> Seen {
        self.sftp_as(USER, PASSWORD, &[], batch).await
    }

    pub(super) async fn sftp_as(
        &self,
        user: &str,
        password: &str,
        options: &[&str],
        batch: &str,
    ) -> Seen {
        let child = self.begin_sftp(user, password, options, batch).await;
        seen(&within(child.wait_with_output()).await.unwrap())
    }

    /// Starts a client, which goes on by itself.
    pub(super) async fn begin_sftp(
        &self,
        user: &str,
        password: &str,
        options: &[&str],
        batch: &str,
    ) -> Child {
        let script = format!("#!/bin/sh\necho '{password}'\n");
        let askpass = self.write_script("askpass", &script);
        let mut command = Command::new("sftp");
        command.args(["-F", "none"]);
        command.args(["-P", &self.gateway.address().port().to_string()]);
        for option in [
            "BatchMode=no",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "NumberOfPasswordPrompts=1",
            "IdentitiesOnly=yes",
        ] {
            command.args(["-o", option]);
        }
        let mut child = command
            .args(options)
            // Says "no password" too, so it comes after our word on that.
            .args(["-b", "-"])
            .arg(format!("{user}@127.0.0.1"))
            .env_remove("SSH_AUTH_SOCK")
            .env("SSH_ASKPASS", &askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A batch fits the pipe.
        stdin.write_all(batch.as_bytes()).await.unwrap();
        child
    }
}

pub(super) fn seen(output: &Output) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\r', "");
    Seen {
        exit: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
