//! The binary as a shell sees it: exit codes, messages, pipes.

use std::process::{Command, Output, Stdio};

#[test]
fn wrong_usage_exits_with_64_and_help_with_0() {
    assert_eq!(run(&["serve", "--nonsense"]).status.code(), Some(64));
    assert_eq!(run(&[]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let expected = format!("portcullis {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);
}

#[test]
fn a_wrong_configuration_exits_with_78_and_names_file_line_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.toml");
    std::fs::write(&path, "lisen = 1\n[identity]\nurl = \"https://idp\"\n").unwrap();
    let path = path.to_str().unwrap();
    let output = run(&["check-config", "--config", path]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    let expected = format!("error: {path}:1: lisen: unknown setting; did you mean listen?\n");
    assert!(text.contains(&expected), "{text}");
    assert!(
        text.contains("error: host_key_files: no host key"),
        "{text}"
    );
    let output = run(&["check-config", "--config", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_host_key_that_cannot_be_used_is_found_before_serving() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.toml");
    let text = "host_key_files = [\"/nonexistent/key\"]\n[identity]\nurl = \"https://idp\"\n";
    std::fs::write(&path, text).unwrap();
    let output = run(&["check-config", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("host_key_files: /nonexistent/key: "),
        "{text}"
    );
}

#[test]
fn a_good_configuration_is_called_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.toml");
    let text = "state_directory = \"s\"\n[identity]\nurl = \"https://idp.example.com/x?key=k\"\n";
    std::fs::write(&path, text).unwrap();
    let output = run(&["check-config", "--config", path.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("configuration is good") && !text.contains("key=k"),
        "{text}"
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = command(&["check-config", "--print-default"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).env_clear();
    command
}

#[test]
fn commands_for_logins_refuse_wrong_usage_in_one_line() {
    for (line, code, said) in WRONG_USAGE {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run(&arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{line}: {text}");
        assert!(text.contains(said), "{line}: {text}");
        assert!(
            !text.contains("secret") && !text.contains("panicked"),
            "{text}"
        );
    }
}

/// Command line, exit code, and what it says.
const WRONG_USAGE: &[(&str, i32, &str)] = &[
    (
        "probe sftp://ann@127.0.0.1:1/in",
        64,
        "nothing to log in with",
    ),
    (
        "probe sftp://ann:secret@h/",
        64,
        "a password does not belong",
    ),
    ("probe sftp://h/", 64, "it has no user"),
    ("probe sftp://a@h --size 1MB", 64, "none of B, KiB"),
    (
        "probe sftp://a@h --identity /nonexistent",
        64,
        "/nonexistent",
    ),
    (
        "probe sftp://a@h --password-file /nonexistent",
        64,
        "/nonexistent",
    ),
    (
        "probe sftp://a@h --known-hosts x --insecure-accept-any-host-key",
        64,
        "cannot be used with",
    ),
    ("test-identity-provider", 64, "--user"),
    (
        "test-identity-provider --user ann --config /none.toml",
        78,
        "/none.toml",
    ),
    (
        "test-identity-provider --user ann --source-ip here",
        64,
        "invalid IP address",
    ),
    (
        "test-identity-provider --user ann --contract http://h/",
        64,
        "--password-stdin",
    ),
    (
        "test-identity-provider --user ann --contract http://h/ --password-stdin",
        64,
        "plaintext",
    ),
];

#[test]
fn a_huge_password_file_and_a_directory_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let huge = directory.path().join("huge");
    std::fs::write(&huge, vec![b'x'; 1 << 20]).unwrap();
    for (path, said) in [
        (huge.as_path(), "longer than 1024 bytes"),
        (directory.path(), "directory"),
    ] {
        let output = run(&[
            "probe",
            "sftp://a@h",
            "--password-file",
            path.to_str().unwrap(),
        ]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(text.contains(said) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    for name in ["probe", "test-identity-provider"] {
        let output = run(&[name, "--help"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            text.contains("Examples:") && text.contains("Exit codes:"),
            "{text}"
        );
    }
}
