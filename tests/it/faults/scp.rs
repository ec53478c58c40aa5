//! OpenSSH's `scp` in its old protocol, over the whole gateway.

use std::process::Stdio;

use portcullis::config::Exec;
use tokio::process::Command;

use super::openssh::{Seen, seen};
use super::*;

impl Stage {
    async fn commands() -> Self {
        Self::commands_with(Set::default()).await
    }

    /// Gives up after a while on a store that fails again and again.
    async fn resigned_commands() -> Self {
        Self::commands_with(Set::resigned_after(Duration::from_secs(5))).await
    }

    async fn commands_with(set: Set) -> Self {
        Self::with(Set {
            sftp: Sftp {
                exec: Exec::All,
                ..Sftp::default()
            },
            answer: json!({"allow": true, "mappings": [
                {"entry": "/in", "target": "/bucket/in"},
                {"entry": "/out", "target": "/bucket/out", "access": "read"},
            ]}),
            ..set
        })
        .await
    }

    /// Runs one of OpenSSH's programs.
    async fn openssh(&self, program: &str, port: &str, arguments: &[&str]) -> Seen {
        let script = format!("#!/bin/sh\necho '{PASSWORD}'\n");
        let askpass = self.write_script("askpass", &script);
        let mut command = Command::new(program);
        command.args(["-F", "none", port]);
        command.arg(self.gateway.address().port().to_string());
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "NumberOfPasswordPrompts=1",
            "IdentitiesOnly=yes",
        ] {
            command.args(["-o", option]);
        }
        let output = command
            .args(arguments)
            .env_remove("SSH_AUTH_SOCK")
            .env("SSH_ASKPASS", &askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        seen(&within(output).await.unwrap())
    }

    async fn scp(&self, arguments: &[&str]) -> Seen {
        let arguments = [&["-O"], arguments].concat();
        self.openssh("scp", "-P", &arguments).await
    }

    async fn ssh(&self, line: &str) -> Seen {
        let user = format!("{USER}@127.0.0.1");
        self.openssh("ssh", "-p", &[&user, line]).await
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.rsplit_once('/').unwrap().0).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

/// How `scp` names what is on the gateway.
fn far(path: &str) -> String {
    format!("{USER}@127.0.0.1:{path}")
}

fn silent(seen: &Seen) {
    assert_eq!((seen.exit, &*seen.stderr), (0, ""), "{seen:?}");
}

#[tokio::test]
async fn files_go_up_and_come_back() {
    let stage = Stage::commands().await;
    let large = bytes(3 * PART + 7);
    for (name, content) in [("small", &b"hello"[..]), ("large", &large), ("none", b"")] {
        let local = stage.write(name, content);
        silent(&stage.scp(&[&local, &far("/in/file")]).await);
        assert!(stage.object("in/file").unwrap() == content, "{name}");
        silent(&stage.scp(&[&far("/in/file"), &stage.path("back")]).await);
        assert!(stage.file("back") == content, "{name}");
    }
    // One GET at a time goes on where the last one ended: nothing is read twice.
    let log = stage.end().await;
    let line = log.all("command finished").pop().unwrap();
    assert_eq!(line.field("command"), "scp -f");
    assert_eq!(
        (line.field("outcome"), line.field("files")),
        ("done".into(), "1".into())
    );
    assert_eq!(log.all("uploaded").len(), 3);
    assert_eq!(log.all("downloaded").len(), 3);
}

#[tokio::test]
async fn trees_times_and_awkward_names() {
    let stage = Stage::commands().await;
    let names = [
        "plain",
        "a b",
        "it's \"so\"",
        "[x]*",
        "é ü",
        "back\\slash",
        "d/e/deep",
        "-x",
    ];
    for name in names {
        stage.write(&format!("tree/{name}"), name.as_bytes());
    }
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let plain = std::fs::File::options()
        .write(true)
        .open(stage.path("tree/plain"))
        .unwrap();
    plain.set_modified(old).unwrap();
    silent(
        &stage
            .scp(&["-r", "-p", &stage.path("tree"), &far("/in")])
            .await,
    );
    for name in names {
        let key = format!("in/tree/{name}");
        assert_eq!(stage.object(&key).unwrap(), name.as_bytes());
    }
    silent(
        &stage
            .scp(&["-rp", &far("/in/tree"), &stage.path("back")])
            .await,
    );
    for name in names {
        assert_eq!(stage.file(&format!("back/{name}")), name.as_bytes());
    }
    let back = std::fs::metadata(stage.path("back/plain")).unwrap();
    assert_eq!(back.modified().unwrap(), old);
    // As a person quotes for the shell that there is not; the client itself understands only the
    // first way, and compares names otherwise.
    for quoted in ["/in/tree/a\\ b", "'/in/tree/a b'", "\"/in/tree/a b\""] {
        silent(&stage.scp(&["-T", &far(quoted), &stage.path("one")]).await);
        assert_eq!(stage.file("one"), b"a b");
    }
    stage.end().await;
}

#[tokio::test]
async fn several_files_and_wildcards() {
    let stage = Stage::commands().await;
    let locals: Vec<_> = ["a1", "a2", "b1"]
        .map(|name| stage.write(name, name.as_bytes()))
        .into();
    let there = far("/in");
    let arguments: Vec<_> = locals
        .iter()
        .map(|local| &**local)
        .chain([&*there])
        .collect();
    silent(&stage.scp(&arguments).await);
    std::fs::create_dir(stage.path("back")).unwrap();
    silent(
        &stage
            .scp(&[&far("/in/a*"), &far("/in/[b]1"), &stage.path("back")])
            .await,
    );
    for name in ["a1", "a2", "b1"] {
        assert_eq!(stage.file(&format!("back/{name}")), name.as_bytes());
    }
    stage.end().await;
}

#[tokio::test]
async fn what_fails_is_said() {
    let stage = Stage::resigned_commands().await;
    stage.s3.put(BUCKET, "out/x", "x");
    let local = stage.write("local", b"hello");
    for (arguments, said) in [
        (
            [&*far("/in/none"), &*stage.path("x")],
            "/in/none: No such file",
        ),
        (
            [&*far("/out"), &*stage.path("x")],
            "/out: not a regular file",
        ),
        (
            [&*local, &*far("/out/y")],
            "/out/y: This directory is read-only",
        ),
        ([&*local, &*far("/in/no/such/")], "/in/no/such/"),
        (
            [&*far("/in/$(id)"), &*stage.path("x")],
            "This server has no shell",
        ),
    ] {
        let seen = stage.scp(&arguments).await;
        assert_eq!(seen.exit, 1, "{seen:?}");
        assert!(seen.stderr.contains(said), "{seen:?}");
    }
    assert_eq!(stage.s3.keys(BUCKET), ["out/x"]);
    stage.refuse("PutObject", 503, "ServiceUnavailable", u32::MAX);
    let seen = stage.scp(&[&local, &far("/in/file")]).await;
    assert_eq!(seen.exit, 1);
    assert!(
        seen.stderr.contains("scp: /in/file: The storage "),
        "{seen:?}"
    );
    assert_eq!(stage.object("in/file"), None);
    // And again, when the store is well.
    stage.s3.clear_faults();
    silent(&stage.scp(&[&local, &far("/in/file")]).await);
    let log = stage.end().await;
    let refused = log.all("operation refused");
    assert!(
        refused
            .iter()
            .any(|line| line.field("reason") == "shell-syntax")
    );
    assert!(
        !log.text().contains("$(id)"),
        "the line itself is not logged"
    );
}

#[tokio::test]
async fn commands_are_answered_and_others_are_not() {
    let stage = Stage::commands().await;
    stage.s3.put(BUCKET, "in/abc", "abc");
    let seen = stage.ssh("md5sum /in/abc").await;
    assert_eq!(seen.stdout, "900150983cd24fb0d6963f7d28e17f72  /in/abc\n");
    silent(&seen);
    assert_eq!(
        stage.ssh("md5sum").await.stdout,
        "d41d8cd98f00b204e9800998ecf8427e  -\n"
    );
    assert_eq!(stage.ssh("ls /in").await.stdout, "abc\n");
    for line in ["rm -r /in", "b3sum x", "sh -c 'ls'"] {
        let seen = stage.ssh(line).await;
        assert_eq!((seen.exit, &*seen.stdout), (127, ""), "{line}");
        assert!(seen.stderr.contains("only speaks SFTP and scp"), "{seen:?}");
    }
    let metrics = stage.admin_status.metrics();
    for line in [
        r#"portcullis_commands_total{command="md5sum",outcome="done"} 2"#,
        r#"portcullis_operations_refused_total{operation="exec",reason="unknown-command"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    stage.end().await;
}

#[tokio::test]
async fn by_default_scp_alone_is_run() {
    let stage = Stage::start().await;
    let local = stage.write("local", b"hello");
    silent(&stage.scp(&[&local, &far("/in/a")]).await);
    assert_eq!(stage.ssh("md5sum /in/a").await.exit, 127);
    stage.end().await;
    let off = Sftp {
        exec: Exec::Off,
        ..Sftp::default()
    };
    let stage = Stage::with(Set {
        sftp: off,
        ..Set::default()
    })
    .await;
    let seen = stage.scp(&["/etc/hostname", &far("/in/a")]).await;
    assert!(
        seen.exit != 0 && seen.stderr.contains("use scp without -O"),
        "{seen:?}"
    );
    stage.end().await;
}

/// Returns what a command says to its end.
async fn rest(mut channel: russh::Channel<russh::client::Msg>) -> String {
    let mut said = Vec::new();
    while let Some(message) = within(channel.wait()).await {
        if let russh::ChannelMsg::Data { data } = message {
            said.extend_from_slice(&data);
        }
    }
    String::from_utf8(said).unwrap()
}

/// The SSH library queues 64 messages for a channel, and then waits with all of the connection.
#[tokio::test]
async fn a_command_that_waits_holds_up_no_other_channel() {
    let stage = Stage::commands().await;
    stage.s3.put(BUCKET, "in/large", "x");
    for operation in ["HeadObject", "ListObjectsV2", "GetObject"] {
        let hang = Fault::on(operation, Action::Hang);
        stage.s3.script(hang.times(u32::MAX));
    }
    let config = russh::client::Config::default();
    let ssh = client::login(stage.gateway.address(), PASSWORD, config).await;
    let ssh = ssh.unwrap();
    let open = async || within(ssh.channel_open_session()).await.unwrap();
    let mut waiting = Vec::new();
    for (line, input) in [
        ("md5sum /in/large", ""),
        ("ls /in", ""),
        ("scp -f /in/large", "\0\0"),
        ("scp -t /in/new", "C0644 5 a\nx"),
    ] {
        let channel = open().await;
        channel.exec(true, line).await.unwrap();
        channel.data_bytes(input).await.unwrap();
        waiting.push(channel);
    }
    for channel in &waiting {
        for _ in 0..500 {
            within(channel.set_env(false, "LANG", "C")).await.unwrap();
        }
        // As long as it has window.
        within(channel.data_bytes(vec![0; 100])).await.unwrap();
    }
    let other = open().await;
    other.exec(true, "pwd").await.unwrap();
    assert_eq!(rest(other).await, "/\n");
    // Their end is noticed though the store does not answer.
    for channel in &waiting {
        channel.close().await.unwrap();
    }
    for command in ["md5sum", "ls", "scp -f", "scp -t"] {
        let line =
            format!(r#"portcullis_commands_total{{command="{command}",outcome="disconnected"}} 1"#);
        until(|| stage.admin_status.metrics().contains(&line)).await;
    }
    stage.s3.clear_faults();
    stage.end().await;
}

#[tokio::test]
async fn where_the_target_cannot_be_looked_at_nothing_is_stored() {
    let stage = Stage::resigned_commands().await;
    stage.s3.put(BUCKET, "in/old/x", "x");
    stage.write("tree/a", b"a");
    let arguments = ["-r", &*stage.path("tree"), &*far("/in/old")];
    for operation in ["HeadObject", "ListObjectsV2"] {
        stage.refuse(operation, 503, "ServiceUnavailable", u32::MAX);
    }
    let seen = stage.scp(&arguments).await;
    assert_eq!(seen.exit, 1, "{seen:?}");
    assert!(
        seen.stderr.contains("scp: /in/old: The storage "),
        "{seen:?}"
    );
    assert_eq!(stage.s3.keys(BUCKET), ["in/old/x"]);
    stage.s3.clear_faults();
    silent(&stage.scp(&arguments).await);
    assert!(stage.object("in/old/tree/a").is_some());
    stage.end().await;
}

#[tokio::test]
async fn a_revoked_user_is_out_in_the_middle_of_a_file() {
    let stage = Stage::commands().await;
    let local = stage.write("large", &bytes(8 * PART));
    // Slow enough to be in the middle.
    let large = far("/in/large");
    let arguments = ["-l", "40000", &*local, &*large];
    let revoke = async {
        until(|| !stage.s3.uploads(BUCKET).is_empty()).await;
        assert_eq!(stage.gateway.actions().revoke(USER).await.connections, 1);
    };
    let (seen, ()) = tokio::join!(stage.scp(&arguments), revoke);
    assert_ne!(seen.exit, 0);
    until(|| stage.s3.uploads(BUCKET).is_empty()).await;
    assert_eq!(stage.object("in/large"), None);
    stage.end().await;
}
