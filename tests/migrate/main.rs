//! A move from AWS Transfer Family, as somebody does it: descriptions in, what is left to do and
//! the gateway's own files out; then a user logs in.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use embedded_s3::EmbeddedS3;
use serde_json::{Value, json};

mod checks;
mod rehearse;
mod sftpgo;

const AWS: &str = "tests/fixtures/transfer-family/aws";
const STATE: &str = "tests/fixtures/transfer-family/terraform.tfstate";
const GATEWAY: &str = "arn:aws:iam::123456789012:role/portcullis";

#[test]
fn a_check_names_what_is_open_and_ends_when_all_is_done() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    let imported = run(&["migrate", "import", "--into", into, AWS]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));
    let config = format!("{into}/portcullis.toml");
    let good = run(&["check-config", "--config", &config]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));

    let check = ["migrate", "check", "--json", "--config", &config];
    let (code, report) = checked(&[&check[..], &["--gateway-role", GATEWAY, AWS]].concat());
    assert_eq!(code, Some(1), "{report:#}");
    let trust = only(&report, "trust", "open");
    let statements = &trust["document"]["Statement"];
    assert_eq!(
        statements[0]["Principal"]["Service"],
        "transfer.amazonaws.com"
    );
    assert_eq!(statements[1]["Principal"]["AWS"], GATEWAY);
    let key = only(&report, "host-keys", "open");
    let text = format!("{}{}", key["text"], key["change"]);
    assert!(
        text.contains("uNiVztksCsDhcc0u9e8BrJG6bFf8uJkVSy3ls3RLR8Q:"),
        "{text}"
    );
    assert!(text.contains("update-host-key") && text.contains("hostkey-0a1b2c3d4e5f60718"));
    let algorithms = only(&report, "algorithms", "open");
    let text = algorithms["text"].as_str().unwrap();
    assert!(text.contains("diffie-hellman-group18-sha512"), "{text}");
    assert!(!text.contains("only curve25519"), "{text}");
    let users = only(&report, "users", "ok");
    assert!(
        users["text"].as_str().unwrap().contains("2 users"),
        "{users}"
    );
    assert_eq!(report["open"], 3, "{report:#}");

    // The role trusts the gateway now, and the rest is accepted.
    let done = place.path().join("done");
    std::fs::create_dir(&done).unwrap();
    for file in std::fs::read_dir(AWS).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), done.join(file.file_name())).unwrap();
    }
    let mut role: Value = serde_json::from_str(&read(&format!("{AWS}/role.json"))).unwrap();
    role["Role"]["AssumeRolePolicyDocument"] = trust["document"].clone();
    std::fs::write(done.join("role.json"), role.to_string()).unwrap();
    let done = done.to_str().unwrap();
    let accepted = [
        "--accept",
        "host-keys",
        "--accept",
        "algorithms",
        "--gateway-role",
    ];
    let (code, report) = checked(&[&check[..], &accepted, &[GATEWAY, done]].concat());
    assert_eq!((code, &report["open"]), (Some(0), &json!(0)), "{report:#}");
    assert_eq!(report["accepted"], 2, "{report:#}");
}

#[test]
fn what_differs_from_the_descriptions_is_named() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    drop(run(&["migrate", "import", "--into", into, AWS]));
    let user = format!("{into}/users/s-0123456789abcdef0/ann.json");
    let changed = read(&user).replace("/inbox/shared/rates.csv", "/inbox/other.csv");
    std::fs::write(&user, changed).unwrap();
    std::fs::remove_file(format!("{into}/users/s-0123456789abcdef0/bob.json")).unwrap();
    let config = format!("{into}/portcullis.toml");
    let text = read(&config)
        .replace("server_id = \"s-0123456789abcdef0\"", "server_id = \"s-1\"")
        .replace("roles = \"assume\"\n", "");
    let text = text
        .replace("path_homes = \"role\"\n", "")
        .replace("Authorised", "Other");
    std::fs::write(&config, text).unwrap();
    let (_, report) = checked(&["migrate", "check", "--json", "--config", &config, AWS]);
    assert!(only(&report, "permissions", "open")["difference"] == 13);
    let server: Vec<_> = texts(&report, "server", "open");
    assert!(
        server[0].contains("no provider") && server[1].contains("sftp.banner"),
        "{server:?}"
    );
    let homes = &texts(&report, "difference", "open")[0];
    assert!(homes.contains("PATH home: bob"), "{homes}");

    let text = read(&config).replace("\"s-1\"", "\"s-0123456789abcdef0\"");
    std::fs::write(&config, text).unwrap();
    let (_, report) = checked(&["migrate", "check", "--json", "--config", &config, AWS]);
    let users = texts(&report, "users", "open");
    assert!(
        users[0].ends_with("not kept by the gateway yet: bob"),
        "{users:?}"
    );
    assert!(
        users[1].ends_with("ann (HomeDirectoryMappings)"),
        "{users:?}"
    );
}

#[test]
fn nothing_is_overwritten_that_differs() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    let import = ["migrate", "import", "--into", into];
    let first = run(&[&import[..], &[AWS]].concat());
    assert!(stdout(&first).starts_with("users: 2 new, 0 replaced, 0 unchanged"));
    let again = run(&[&import[..], &[AWS]].concat());
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(stdout(&again).starts_with("users: 0 new, 0 replaced, 2 unchanged"));
    let user = format!("{into}/users/s-0123456789abcdef0/ann.json");
    let own = read(&user).replace("finance", "sales");
    std::fs::write(&user, &own).unwrap();
    std::fs::remove_file(format!("{into}/users/s-0123456789abcdef0/bob.json")).unwrap();
    let refused = run(&[&import[..], &[AWS]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("nothing was written"),
        "{}",
        stderr(&refused)
    );
    assert_eq!(read(&user), own);
    assert!(!std::fs::exists(format!("{into}/users/s-0123456789abcdef0/bob.json")).unwrap());
    let replaced = run(&[&import[..], &["--replace", AWS]].concat());
    assert!(stdout(&replaced).starts_with("users: 1 new, 1 replaced, 0 unchanged"));
    assert!(read(&user).contains("finance"));
}

#[test]
fn a_state_of_terraform_says_the_same() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    let imported = run(&["migrate", "import", "--into", into, STATE]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));
    let user = read(&format!("{into}/users/s-0123456789abcdef0/ann.json"));
    let user: Value = serde_json::from_str(&user).unwrap();
    assert_eq!(user["HomeDirectoryMappings"][0]["Entry"], "/in");
    assert_eq!(
        user["SshPublicKeys"][0]["SshPublicKeyId"],
        "key-0a1b2c3d4e5f60718"
    );
    assert_eq!(user["Tags"][0]["Value"], "finance");
    let config = format!("{into}/portcullis.toml");
    assert!(read(&config).contains("algorithms = \"compatible\""));
    let check = [
        "migrate",
        "check",
        "--config",
        &config,
        "--gateway-role",
        GATEWAY,
        STATE,
    ];
    let output = run(&check);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("hmac-sha1"), "{text}");
    assert!(text.contains("sftp.example.com at the gateway"), "{text}");
    assert!(
        text.contains("SETSTAT succeeds; the old server refuses it (23)"),
        "{text}"
    );
}

#[test]
fn a_server_with_another_provider_is_configured_or_named() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    let server = |id: &str, kind: &str, details: Value| {
        let server = json!({"Server": {"ServerId": id, "IdentityProviderType": kind,
            "Arn": format!("arn:aws:transfer:eu-west-1:123456789012:server/{id}"),
            "IdentityProviderDetails": details, "Protocols": ["SFTP"]}});
        std::fs::write(place.path().join(format!("{id}.json")), server.to_string()).unwrap();
    };
    let function = "arn:aws:lambda:eu-west-1:123456789012:function:idp";
    let url = "https://abcdef123.execute-api.eu-west-1.amazonaws.com/prod";
    let methods = "PUBLIC_KEY_AND_PASSWORD";
    let lambda = json!({"Function": function, "SftpAuthenticationMethods": methods});
    server("s-0000000000000000a", "AWS_LAMBDA", lambda);
    server("s-0000000000000000b", "API_GATEWAY", json!({"Url": url}));
    server(
        "s-0000000000000000c",
        "AWS_DIRECTORY_SERVICE",
        json!({"DirectoryId": "d-1"}),
    );
    let out = format!("{into}/out");
    let imported = run(&["migrate", "import", "--into", &out, into]);
    assert_eq!(imported.status.code(), Some(1));
    let text = stderr(&imported);
    assert!(
        text.contains("s-0000000000000000c: AWS_DIRECTORY_SERVICE cannot move"),
        "{text}"
    );
    let config = format!("{out}/portcullis.toml");
    let good = run(&["check-config", "--config", &config]);
    assert_eq!(
        good.status.code(),
        Some(0),
        "{}{}",
        read(&config),
        stderr(&good)
    );
    let (_, report) = checked(&["migrate", "check", "--json", "--config", &config, into]);
    let ok = texts(&report, "provider", "ok");
    let expected = [
        "s-0000000000000000a: lambda",
        "s-0000000000000000b: api-gateway",
    ];
    assert_eq!(ok, expected);
    assert_eq!(
        texts(&report, "methods", "open"),
        Vec::<String>::new(),
        "{report:#}"
    );
}

#[test]
fn input_that_cannot_be_used_names_its_place() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("x.json");
    let path = file.to_str().unwrap();
    for (text, words) in [
        ("", "the file is empty"),
        ("{\"User\": {", "line 1: not JSON"),
        ("[]", "found a list"),
        ("{\"Connector\": {}}", "found members: Connector"),
        (
            "{\"User\": {\"UserName\": 7}}",
            "User.UserName: expected a string, found a number",
        ),
        ("{\"User\": {\"UserName\": \"ann\"}}", "ServerId: missing"),
        (
            "{\"ServerId\": \"s-1\", \"User\": {\"UserName\": \"ann\",
              \"HomeDirectoryMappings\": [{\"Entry\": \"/a\"}]}}",
            "User.HomeDirectoryMappings[0].Target: missing",
        ),
        (
            "{\"version\": 3, \"resources\": []}",
            "version: found 3; allowed: 4",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = run(&["migrate", "import", "--into", "unused", path]);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{text}: {}",
            stderr(&output)
        );
        let said = stderr(&output);
        assert!(
            said.contains(words) && said.contains("x.json"),
            "{text}: {said}"
        );
    }
    let missing = run(&["migrate", "import", "--into", "unused", "/nonexistent"]);
    assert!(
        stderr(&missing).contains("/nonexistent: No such file"),
        "{}",
        stderr(&missing)
    );
    let role = ["migrate", "check", "--gateway-role", "portcullis", path];
    assert_eq!(run(&role).status.code(), Some(64));
}

const LOGS: &str = "tests/fixtures/transfer-family";

/// Imports what was recorded, and returns the configuration.
fn imported(place: &tempfile::TempDir) -> String {
    let into = place.path().to_str().unwrap();
    let imported = run(&["migrate", "import", "--into", into, AWS]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));
    format!("{into}/portcullis.toml")
}

#[test]
fn roles_of_other_services_are_none_of_the_move() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    let state = read(STATE).replacen(
        "\"instances\": [",
        "\"instances\": [{\"attributes\": {\"arn\": \"arn:aws:iam::123456789012:role/other\",
            \"assume_role_policy\": \"{\\\"Statement\\\": []}\"}}, ",
        2,
    );
    let path = format!("{into}/x.tfstate");
    std::fs::write(&path, state).unwrap();
    drop(run(&["migrate", "import", "--into", into, &path]));
    let config = format!("{into}/portcullis.toml");
    let check = [
        "migrate",
        "check",
        "--json",
        "--config",
        &config,
        "--gateway-role",
        GATEWAY,
    ];
    let (_, report) = checked(&[&check[..], &[&path]].concat());
    let trust = texts(&report, "trust", "open");
    assert!(
        trust.len() == 1 && trust[0].contains("sftp-users"),
        "{trust:?}"
    );
}

/// A gateway that serves what was imported, over an S3 in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_was_imported_logs_in_with_the_key_and_finds_the_folders() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let key = at("key");
    let mut made = Command::new("ssh-keygen");
    made.args(["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    assert!(made.status().unwrap().success());
    let own = read(&at("key.pub"));
    let listed = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS ann@laptop";
    let described = read(&format!("{AWS}/described-users.json")).replace(listed, own.trim());
    std::fs::write(at("users.json"), described).unwrap();
    let server = format!("{AWS}/server.json");
    let into = at("gateway");
    let imported = run(&[
        "migrate",
        "import",
        "--into",
        &into,
        &server,
        &at("users.json"),
    ]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));

    let s3 = EmbeddedS3::start(embedded_s3::Settings {
        buckets: vec!["inbox".to_owned()],
        ..embedded_s3::Settings::default()
    });
    let s3 = s3.await.unwrap();
    let gateway = Serving::start(&into, &s3.endpoint());
    let batch = at("batch");
    std::fs::write(
        &batch,
        format!("put {batch} /in/batch\nls -1 /\nls -1 /in\n"),
    )
    .unwrap();
    let port = gateway.port.to_string();
    let output = Command::new("sftp")
        .args(["-q", "-b", &batch, "-i", &key, "-P", &port])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "IdentitiesOnly=yes", "ann@127.0.0.1"])
        .output()
        .unwrap();
    let shown = stdout(&output);
    assert!(output.status.success(), "{shown}{}", stderr(&output));
    assert!(
        shown.contains("/in\n") && shown.contains("/in/batch\n"),
        "{shown}"
    );
}

/// A gateway, ended with this value.
struct Serving {
    process: Child,
    port: u16,
}

impl Serving {
    fn start(into: &str, endpoint: &str) -> Self {
        let log_path = format!("{into}/log");
        let log = std::fs::File::create(&log_path).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--config", &format!("{into}/portcullis.toml")])
            .env("PORTCULLIS_LISTEN", "127.0.0.1:0")
            .env("PORTCULLIS_ADMIN_LISTEN", "off")
            .env("PORTCULLIS_IDENTITY_ROLES", "gateway")
            .env("PORTCULLIS_IDENTITY_PATH_HOMES", "confined")
            .env("PORTCULLIS_STORAGE_ENDPOINT", endpoint)
            .env("PORTCULLIS_STORAGE_PATH_STYLE", "true")
            .env("PORTCULLIS_STORAGE_ACCESS_KEY_ID", "embedded")
            .env("PORTCULLIS_STORAGE_SECRET_ACCESS_KEY", "embedded-secret")
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let mut serving = Self { process, port: 0 };
        while serving.port == 0 {
            let log = read(&log_path);
            let ended = serving.process.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway did not start: {log}");
            serving.port = listening(&log).unwrap_or_default();
            std::thread::sleep(Duration::from_millis(20));
        }
        serving
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn listening(log: &str) -> Option<u16> {
    let line = log.lines().find(|line| line.contains("\"listening\""))?;
    let line: Value = serde_json::from_str(line).ok()?;
    line["address"].as_str()?.rsplit(':').next()?.parse().ok()
}

/// Returns the exit code and the report of a check.
fn checked(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(arguments);
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", stderr(&output)));
    (output.status.code(), report)
}

fn only<'r>(report: &'r Value, topic: &str, state: &str) -> &'r Value {
    let findings = report["findings"].as_array().unwrap().iter();
    let mut found = findings.filter(|one| one["topic"] == topic && one["state"] == state);
    let one = found.next().unwrap_or_else(|| panic!("{report:#}"));
    assert!(found.next().is_none(), "{report:#}");
    one
}

fn texts(report: &Value, topic: &str, state: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let found = findings.filter(|one| one["topic"] == topic && one["state"] == state);
    found
        .map(|one| one["text"].as_str().unwrap().to_owned())
        .collect()
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).env_clear().output().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
