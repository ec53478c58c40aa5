//! A move from AWS Transfer Family, as somebody does it: descriptions in, what is left to do and
//! the gateway's own files out; then a user logs in.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use embedded_s3::EmbeddedS3;
use serde_json::{Value, json};

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
    assert!(!Path::new(&format!("{into}/users/s-0123456789abcdef0/bob.json")).exists());
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

#[test]
fn users_of_sftpgo_become_static_users() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    let dump = format!("{LOGS}/sftpgo.json");
    let import = [
        "migrate", "import", "--from", "sftpgo", "--into", into, &dump,
    ];
    let imported = run(&import);
    assert_eq!(imported.status.code(), Some(1), "{}", stderr(&imported));
    let left_out = stderr(&imported);
    assert!(
        left_out.contains("user carol: /: would also permit overwrite"),
        "{left_out}"
    );
    let notes = stdout(&imported);
    assert!(
        notes.contains("user carol: the password does not move"),
        "{notes}"
    );
    assert!(
        !notes.contains("R5J62") && !left_out.contains("R5J62"),
        "{notes}"
    );
    let users = read(&format!("{into}/users.toml"));
    assert!(users.contains("entry = \"/shared\", target = \"/inbox/shared\", access = \"read\""));
    assert!(
        users.contains("entry = \"/home\", target = \"/inbox/users/ann\""),
        "{users}"
    );
    assert!(
        users.contains("entry = \"/\", target = \"/inbox/users/bob\""),
        "{users}"
    );
    assert!(
        users.contains("limits = { sessions = 4, bytes_per_second = 1048576 }"),
        "{users}"
    );
    assert!(
        users.contains("expires_at = 2030-01-01T00:00:00Z"),
        "{users}"
    );
    assert!(!users.contains("carol"), "{users}");
    let config = format!("{into}/portcullis.toml");
    let good = run(&["check-config", "--config", &config]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(
        stdout(&good).contains("static, users: 2"),
        "{}",
        stdout(&good)
    );

    let refused = run(&[&import[..], &["--widen"]].concat());
    assert!(
        stderr(&refused).contains("users.toml are there already"),
        "{}",
        stderr(&refused)
    );
    let widened = run(&[&import[..], &["--widen", "--replace"]].concat());
    assert_eq!(widened.status.code(), Some(0), "{}", stderr(&widened));
    let notes = stdout(&widened);
    assert!(
        notes.contains("user carol: /: would also permit overwrite"),
        "{notes}"
    );
    let users = read(&format!("{into}/users.toml"));
    let carol = users.split("[users.\"carol\"]").nth(1).unwrap();
    assert!(
        carol.contains("access = \"write\"") && !carol.contains("password"),
        "{carol}"
    );

    let wrong = run(&["migrate", "import", "--from", "sftpgo", "--into", into, AWS]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(
        stderr(&wrong).contains("expected a dump of SFTPGo"),
        "{}",
        stderr(&wrong)
    );
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
fn a_log_is_rehearsed_and_what_changes_is_named() {
    let place = tempfile::tempdir().unwrap();
    let config = imported(&place);
    let log = format!("{LOGS}/log.json");
    let (code, told) = checked(&["rehearse", "--json", "--config", &config, &log]);
    assert_eq!(code, Some(1), "{told:#}");
    assert_eq!(
        told["logins"],
        json!({"same": 2, "changed": 1, "notAsked": 0})
    );
    assert_eq!(
        told["operations"],
        json!({"same": 4, "changed": 0, "notAsked": 0})
    );
    let groups = told["groups"].as_array().unwrap();
    let carol = json!([
        "carol",
        "key-exchange-not-offered",
        "diffie-hellman-group18-sha512"
    ]);
    let group = &groups[0];
    assert_eq!(
        json!([group["user"], group["change"], group["about"]]),
        carol,
        "{told:#}"
    );
    assert_eq!(told["unreadable"], 0, "{told:#}");

    let config_text = read(&config).replace("path_homes = \"role\"\n", "");
    std::fs::write(&config, config_text).unwrap();
    let log = format!("{LOGS}/log-old.txt");
    let (code, told) = checked(&["rehearse", "--json", "--config", &config, &log]);
    assert_eq!(code, Some(1), "{told:#}");
    let groups = told["groups"].as_array().unwrap();
    let found = |change: &str| groups.iter().find(|one| one["change"] == change);
    let outside = found("outside-of-mappings").unwrap_or_else(|| panic!("{told:#}"));
    assert_eq!(outside["operation"], "remove");
    assert_eq!(outside["example"], "/inbox/elsewhere/old report.csv");
    let allowed = found("allowed-now").unwrap_or_else(|| panic!("{told:#}"));
    assert_eq!(allowed["user"], "bob");
}

#[test]
fn a_log_whose_outcomes_stay_ends_with_0() {
    let place = tempfile::tempdir().unwrap();
    let config = imported(&place);
    let log = read(&format!("{LOGS}/log.json"));
    let mut log: Value = serde_json::from_str(&log).unwrap();
    let events = log["events"].as_array_mut().unwrap();
    events.truncate(9);
    let lines: Vec<_> = events.iter().map(Value::to_string).collect();
    let path = place.path().join("log.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let output = run(&["rehearse", "--config", &config, path.to_str().unwrap()]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    // A log of something else, and a user of a provider that is not asked.
    std::fs::write(&path, "hello\n\n{}\n").unwrap();
    let output = run(&["rehearse", "--config", &config, path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64), "{}", stdout(&output));
    let other = place.path().join("other.toml");
    std::fs::write(&other, "[identity]\nurl = \"https://idp.example.com/\"\n").unwrap();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let other = other.to_str().unwrap();
    let (code, told) = checked(&[
        "rehearse",
        "--json",
        "--config",
        other,
        path.to_str().unwrap(),
    ]);
    assert_eq!(code, Some(2), "{told:#}");
    assert_eq!(told["logins"]["notAsked"], 2, "{told:#}");
    assert_eq!(told["operations"]["notAsked"], 4, "{told:#}");
}

#[test]
fn static_users_and_our_own_log_are_rehearsed() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let users = "[users.ann]\npassword_hash = \"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\"\n\
        networks = [\"192.0.2.0/24\"]\n\
        mappings = [{ entry = \"/in\", target = \"/inbox/ann\", access = \"read\" }]\n";
    std::fs::write(at("users.toml"), users).unwrap();
    let config = format!(
        "[identity]\nprovider = \"static\"\nusers_file = {:?}\n",
        at("users.toml")
    );
    std::fs::write(at("portcullis.toml"), config).unwrap();
    let line = |fields: Value| {
        let mut line =
            json!({"timestamp": "t", "level": "INFO", "session_id": "7f", "user": "ann"});
        let members = fields.as_object().unwrap().clone();
        line.as_object_mut().unwrap().extend(members);
        line.to_string()
    };
    let login = |ip: &str, method: &str| {
        line(json!({"message": "login allowed", "source_ip": ip, "method": method}))
    };
    let uploaded = |path: &str| {
        line(json!({"message": "uploaded", "activity": "CLOSE", "path": path, "bytes_in": 1}))
    };
    let read_elsewhere = line(
        json!({"message": "downloaded", "activity": "CLOSE", "bytes_out": 1,
        "path": "/in/x", "bucket": "inbox", "key": "bob/x"}),
    );
    let read_there = line(
        json!({"message": "downloaded", "activity": "CLOSE", "bytes_out": 1,
        "path": "/in/x", "bucket": "inbox", "key": "ann/x"}),
    );
    let log = [
        login("192.0.2.7", "password"),
        login("198.51.100.1", "password"),
        login("192.0.2.7", "publickey"),
        uploaded("/in/a"),
        uploaded("/elsewhere/a"),
        read_elsewhere,
        read_there,
        "x".repeat(3 << 20),
    ];
    std::fs::write(at("log"), log.join("\n")).unwrap();
    let arguments = [
        "rehearse",
        "--json",
        "--config",
        &at("portcullis.toml"),
        &at("log"),
    ];
    let (code, told) = checked(&arguments);
    assert_eq!(code, Some(1), "{told:#}");
    assert_eq!(told["tooLong"], 1);
    let groups = told["groups"].as_array().unwrap();
    let mut changes: Vec<_> = groups
        .iter()
        .map(|one| one["change"].as_str().unwrap())
        .collect();
    changes.sort_unstable();
    let expected = [
        "mapping-is-read-only",
        "other-object",
        "outside-of-mappings",
        "source-not-in-networks",
    ];
    assert_eq!(changes.len(), 5, "{told:#}");
    assert!(expected.iter().all(|one| changes.contains(one)), "{told:#}");
    assert_eq!(told["logins"]["same"], 1, "{told:#}");
    assert_eq!(told["operations"]["same"], 1, "{told:#}");
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
