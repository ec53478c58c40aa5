//! The binary as a shell sees it: exit codes, messages, pipes.

use std::io::{BufRead as _, BufReader, Write as _};
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
    assert!(text.contains("\nmemory: at least 1011 MiB: "), "{text}");
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

#[test]
fn a_password_becomes_a_hash() {
    let argon2id = run_with(&["hash-password", "--password-stdin"], b"tidal-fern-41\n");
    assert_eq!(argon2id.status.code(), Some(0));
    let text = String::from_utf8_lossy(&argon2id.stdout);
    let expected = "$argon2id$v=19$m=19456,t=2,p=1$";
    assert!(text.starts_with(expected) && text.ends_with('\n'), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_password_that_no_login_could_use_is_refused() {
    let hash = ["hash-password", "--password-stdin"];
    let bcrypt = ["hash-password", "--password-stdin", "--bcrypt"];
    let long = "p".repeat(1025);
    for (arguments, input, status, words) in [
        (&hash[..], &b""[..], 64, "no visible character"),
        (&hash, b" \xE2\x80\x8B\n", 64, "no visible character"),
        (&hash, b"one\ntwo\n", 64, "more than one line"),
        (&hash, b"\xff\n", 64, "not UTF-8"),
        (&hash, long.as_bytes(), 64, "longer than 1024 bytes"),
        (&bcrypt, &long.as_bytes()[..73], 1, "72 bytes"),
        (&hash[..1], b"tidal-fern-41\n", 64, "--password-stdin"),
    ] {
        let output = run_with(arguments, input);
        is_one_line(&output, status, words);
    }
}

#[test]
fn every_shell_gets_its_script() {
    for (shell, words) in [
        ("bash", "complete -F _portcullis"),
        ("zsh", "#compdef portcullis"),
        ("fish", "complete -c portcullis"),
    ] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains(words) && text.contains("check-config"),
            "{text}"
        );
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(64));
}

#[test]
fn every_command_shows_examples() {
    for command in [
        "serve",
        "check-config",
        "quickstart",
        "hash-password",
        "completions",
    ] {
        let output = run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("Examples:\n  "), "{command}: {text}");
    }
}

#[test]
fn quickstart_needs_no_folder_to_write_to() {
    let directory = tempfile::tempdir().unwrap();
    // Nobody can write a file there, root neither.
    std::fs::create_dir(directory.path().join("known_hosts.quickstart")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["quickstart", "--listen", "127.0.0.1:0"])
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines();
    let told: Vec<_> = told.take(5).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        told[1].contains("StrictHostKeyChecking=accept-new demo@127.0.0.1"),
        "{told:?}"
    );
    assert!(
        told[4].contains("aws s3 ls") && told[4].contains("--endpoint-url http://"),
        "{told:?}"
    );
}

#[test]
fn files_that_cannot_be_used_are_one_line_and_exit_78() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let binary = format!("{root}/binary");
    std::fs::write(&binary, b"\xff\xfe").unwrap();
    for (path, words) in [
        ("/nonexistent.toml", "No such file"),
        (root, "directory"),
        (&binary, "not UTF-8 text"),
        ("/dev/zero", "too large; allowed: up to "),
    ] {
        for command in ["serve", "check-config"] {
            is_one_line(&run(&[command, "--config", path]), 78, words);
        }
        let config = format!("{root}/portcullis.toml");
        let with = |text: &str| std::fs::write(&config, text).unwrap();
        with(&format!(
            "state_directory = \"{root}\"\n[identity]\nprovider = \"static\"\n\
            users_file = \"{path}\"\n"
        ));
        for command in ["serve", "check-config"] {
            let output = last_line(run(&[command, "--config", &config]));
            is_one_line(&output, 78, words);
            is_one_line(&output, 78, "identity.users_file");
        }
        with(&format!(
            "host_key_files = [\"{path}\"]\n[identity]\nurl = \"https://idp\"\n"
        ));
        is_one_line(&run(&["check-config", "--config", &config]), 78, words);
    }
}

#[test]
fn every_line_of_a_gateway_that_cannot_serve_is_a_record_of_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // Not even silence keeps the reason back.
    for filter in ["info", "off"] {
        let output = command(&["serve"])
            .env("PORTCULLIS_STATE_DIRECTORY", directory.path())
            .env("PORTCULLIS_SERVER_ID", "s-01")
            .env("PORTCULLIS_LISTEN", &address)
            .env("PORTCULLIS_ADMIN_LISTEN", "off")
            .env("PORTCULLIS_IDENTITY_URL", "https://idp.example.com/x")
            .env("PORTCULLIS_LOG_FILTER", filter)
            .env("PORTCULLIS_STORAGE_ACCESS_KEY_ID", "k")
            .env("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", "s")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}")))
            .collect();
        assert!(lines.iter().all(|line| line["server_id"] == "s-01"));
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR");
        assert_eq!(last["target"], "portcullis::fatal");
        let message = last["message"].as_str().unwrap();
        let expected = format!("failed to listen on {address} (listen)");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_file_of_users_is_checked_with_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let (config, users) = (
        format!("{root}/portcullis.toml"),
        format!("{root}/users.toml"),
    );
    let text = format!(
        "state_directory = \"{root}\"\n[identity]\nprovider = \"static\"\n\
        users_file = \"{users}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let hash = run_with(&["hash-password", "--password-stdin"], b"tidal-fern-41");
    let hash = String::from_utf8(hash.stdout).unwrap();
    let text = format!(
        "[users.ann]\npassword_hash = \"{}\"\n\
        mappings = [{{ entry = \"/\", target = \"/bucket/ann\" }}]\n",
        hash.trim_end()
    );
    std::fs::write(&users, &text).unwrap();
    let output = run(&["check-config", "--config", &config]);
    let good = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{good}");
    assert!(
        good.contains("identity provider static, users: 1"),
        "{good}"
    );
    std::fs::write(&users, text.replace("target", "tarjet")).unwrap();
    let output = run(&["check-config", "--config", &config]);
    let place = format!("error: {users}:3: users.ann.mappings[0].tarjet: unknown key; allowed: ");
    is_one_line(&output, 78, &place);
}

#[test]
fn a_static_provider_without_its_file_is_refused() {
    let (name, value) = ("PORTCULLIS_IDENTITY_PROVIDER", "static");
    let mut command = command(&["check-config"]);
    command
        .env(name, value)
        .env("PORTCULLIS_STATE_DIRECTORY", "s");
    let output = command.output().unwrap();
    is_one_line(
        &output,
        78,
        "identity.users_file: missing: set users_file under [identity]",
    );
}

#[test]
fn a_place_to_probe_is_checked_before_anything_else() {
    for bad in ["bucket/prefix", "s3://", "s3://a b/c"] {
        let output = run(&["check-config", "--probe", bad]);
        assert_eq!(output.status.code(), Some(64), "{bad}");
    }
}

/// Checks that a command failed in one line, with its status and these words.
#[track_caller]
fn is_one_line(output: &Output, status: i32, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(words), "{text} does not say {words:?}");
    assert!(text.starts_with("error: "), "{text}");
}

/// Leaves the last line of what `serve` says: what it logs stands before it.
fn last_line(mut output: Output) -> Output {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().last().unwrap_or_default();
    // Once there is a log, it is a line of it.
    let logged = serde_json::from_str::<serde_json::Value>(last);
    let last = logged.map_or_else(
        |_| last.to_owned(),
        |line| {
            let word = |name| line.get(name).and_then(serde_json::Value::as_str);
            assert_eq!(word("level"), Some("ERROR"), "{text}");
            format!("error: {}", word("message").unwrap_or_default())
        },
    );
    output.stderr = format!("{last}\n").into_bytes();
    output
}

fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // The command may end without having read everything.
    drop(
        child
            .stdin
            .take()
            .expect("it has an input")
            .write_all(input),
    );
    child.wait_with_output().expect("the binary ends")
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
    ("probe sftp://ann@127.0.0.1:1/in", 64, "no credential"),
    (
        "probe sftp://ann:secret@h/",
        64,
        "must not contain a password",
    ),
    ("probe sftp://h/", 64, "it has no user"),
    ("probe sftp://a@h --size 1MB", 64, "allowed: B, KiB"),
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
        (huge.as_path(), "longer than 16384 bytes"),
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

/// Writes a configuration and says what `check-config` makes of it.
fn checked(directory: &tempfile::TempDir, text: &str) -> (Option<i32>, String) {
    let path = directory.path().join("portcullis.toml");
    std::fs::write(&path, text).expect("it can be written and run");
    let output = command(&["check-config", "--config"])
        .arg(&path)
        .current_dir(directory.path())
        // Without credentials in sight there is a warning more.
        .env("AWS_PROFILE", "gateway")
        .output()
        .expect("it can be written and run");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[test]
fn the_minimal_configuration_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let minimal = run(&["check-config", "--print-minimal"]);
    assert_eq!(minimal.status.code(), Some(0));
    let text = String::from_utf8(minimal.stdout).unwrap();
    assert!(text.lines().count() < 20, "{text}");
    assert_eq!(
        checked(&directory, &text),
        (Some(0), String::new()),
        "{text}"
    );
    assert!(!directory.path().join("state").exists());
}

#[test]
fn what_is_no_toml_is_told_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = "lisen = 1\n[identity\nurl = \"nonsense\"\n";
    let (status, said) = checked(&directory, text);
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains(":2: TOML: "), "{said}");
    for line in said.lines() {
        assert!(line.contains(" TOML: "), "{said}");
    }
}

#[test]
fn a_section_that_there_is_not_is_told_with_the_nearest() {
    let directory = tempfile::tempdir().unwrap();
    for (section, words) in [
        ("identiy", "unknown section; did you mean [identity]?"),
        ("provder", "unknown section; did you mean [provider]?"),
        ("nonsense", "unknown section; allowed: [admin], "),
    ] {
        let text = format!(
            "state_directory = \"s\"\n[identity]\nurl = \"https://idp\"\n[{section}]\nx = 1\n"
        );
        let (status, said) = checked(&directory, &text);
        assert_eq!(status, Some(78), "{said}");
        assert!(
            said.contains(&format!(":4: [{section}]: {words}")),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_state_directory_that_cannot_be_is_found_before_serving() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    for state in ["file/state", "file"] {
        let text = format!("state_directory = \"{state}\"\n[identity]\nurl = \"https://idp\"\n");
        let (status, said) = checked(&directory, &text);
        assert_eq!(status, Some(78), "{said}");
        let expected = format!("error: state_directory: \"{state}\": ");
        assert!(said.starts_with(&expected), "{said}");
        assert!(
            said.contains("/file is not a directory: set another state_directory"),
            "{said}"
        );
    }
}

#[test]
fn a_setting_without_effect_is_read_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let text = "state_directory = \"s\"\n[identity]\nurl = \"https://idp\"\n[sftp]\nsetstat = ";
    let (status, said) = checked(&directory, &format!("{text}\"ignore\"\n"));
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("sftp.setstat has one value and no effect"),
        "{said}"
    );
    let (status, said) = checked(&directory, &format!("{text}\"refuse\"\n"));
    assert_eq!(status, Some(78), "{said}");
    assert!(
        said.contains("sftp.setstat: found \"refuse\"; allowed: \"ignore\""),
        "{said}"
    );
}

#[test]
fn credentials_that_are_nowhere_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.toml");
    for (keys, told) in [
        ("", true),
        ("access_key_id = \"AKIA\"\nsecret_access_key = \"s\"", false),
    ] {
        let text = format!(
            "state_directory = \"s\"\n[identity]\nurl = \"https://idp\"\n[storage]\n{keys}\n"
        );
        std::fs::write(&path, text).unwrap();
        let output = command(&["check-config", "--config"])
            .arg(&path)
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let expected = "no AWS credentials found: set storage.access_key_id and ";
        assert_eq!(said.contains(expected), told, "{said}");
        assert_eq!(said.lines().count(), usize::from(told), "{said}");
    }
}

#[test]
fn a_host_key_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("host_key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status()
        .unwrap();
    assert!(made.success());
    let text = "host_key_files = [\"host_key\"]\n[identity]\nurl = \"https://idp\"\n";
    for (mode, words) in [
        (0o600, ""),
        (0o440, ""),
        (0o644, "\"host_key\" can be read by everybody: chmod 600"),
    ] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let (status, said) = checked(&directory, text);
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(said.is_empty(), words.is_empty(), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
