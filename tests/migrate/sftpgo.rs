//! Users of SFTPGo.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::{Value, json};

use crate::{AWS, LOGS, read, run, stderr, stdout};

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
}

#[test]
fn permissions_become_wider_only_if_somebody_says_so() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    let dump = format!("{LOGS}/sftpgo.json");
    let import = [
        "migrate", "import", "--from", "sftpgo", "--into", into, &dump,
    ];
    drop(run(&import));
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

    let server = &*format!("{AWS}/server.json");
    let wrong = run(&[
        "migrate", "import", "--from", "sftpgo", "--into", into, server,
    ]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(
        stderr(&wrong).contains("expected a dump of SFTPGo"),
        "{}",
        stderr(&wrong)
    );
}

/// A user with a key, at a bucket of a store; further members replace these.
fn user(name: &str, (endpoint, bucket): (&str, &str), members: &Value) -> Value {
    let mut user = json!({"username": name, "status": 1, "permissions": {"/": ["*"]},
        "public_keys": ["ssh-ed25519 \
            AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"],
        "filesystem": {"provider": 1,
            "s3config": {"bucket": bucket, "region": "eu-central-1", "endpoint": endpoint}}});
    let members = members.as_object().unwrap().clone();
    user.as_object_mut().unwrap().extend(members);
    user
}

/// Imports dumps into a directory, which they are written to as well.
fn import(into: &tempfile::TempDir, dumps: &[Value], options: &[&str]) -> Output {
    let mut files = Vec::new();
    for (at, dump) in dumps.iter().enumerate() {
        let file = into.path().join(format!("dump{at}.json"));
        std::fs::write(&file, dump.to_string()).unwrap();
        files.push(file.to_str().unwrap().to_owned());
    }
    let into = into.path().to_str().unwrap();
    let mut arguments = vec!["migrate", "import", "--from", "sftpgo", "--into", into];
    arguments.extend(options);
    arguments.extend(files.iter().map(String::as_str));
    run(&arguments)
}

const HERE: &str = "https://s3.example.com";
const THERE: &str = "https://archive.example.com";

#[test]
fn each_store_gets_the_buckets_of_its_users_only() {
    let place = tempfile::tempdir().unwrap();
    let none = json!({});
    let disabled = json!({"status": 0});
    let dump = json!({"users": [
        user("ann", (HERE, "inbox"), &none),
        user("bea", (HERE, "inbox"), &none),
        user("cid", (THERE, "archive"), &none),
        user("dan", (HERE, "both"), &none),
        user("eve", (THERE, "both"), &none),
        user("fay", (THERE, "unused"), &disabled),
    ]});
    let imported = import(&place, &[dump], &[]);
    let left_out = stderr(&imported);
    for name in ["dan", "eve"] {
        let why = format!("user {name}: several stores have a bucket both");
        assert!(left_out.contains(&why), "{left_out}");
    }
    assert!(stdout(&imported).starts_with("users: 3 new"));
    let path = place.path().join("portcullis.toml");
    let config = read(path.to_str().unwrap());
    let (before, store) = config.split_once("[store.store2]").unwrap();
    assert!(before.contains("endpoint = \"https://s3.example.com\""));
    assert!(store.contains("buckets = [\"archive\"]"), "{config}");
    assert!(
        store.contains("endpoint = \"https://archive.example.com\""),
        "{config}"
    );
    let good = run(&["check-config", "--config", path.to_str().unwrap()]);
    assert_eq!(good.status.code(), Some(0), "{config}{}", stderr(&good));
}

#[test]
fn whatever_keeps_somebody_out_is_named() {
    let place = tempfile::tempdir().unwrap();
    let at = (HERE, "inbox");
    let dump = json!({"ip_lists": [{"ipornet": "192.0.2.0/24"}], "users": [
        user("blind", at, &json!({"permissions": {"/": ["download"]}})),
        user("pattern", at, &json!({"permissions": {"/": ["*"], "/a*": ["list"]}})),
        user("nothing", at, &json!({"permissions": null})),
        user("late", at, &json!({"filters": {"access_time": [{"day_of_week": 1}]}})),
        user("old", at, &json!({"filters": {"password_expiration": 90}})),
        user("free", at, &json!({"filters": {"access_time": [], "is_anonymous": false,
            "web_client": ["shares-disabled"], "hooks": {"external_auth_disabled": true},
            "password_expiration": 0, "start_directory": "/"}})),
    ]});
    let imported = import(&place, &[dump], &[]);
    let left_out = stderr(&imported);
    for why in [
        "user blind: /: would also permit list",
        "user pattern: permissions of the pattern /a*",
        "user nothing: /: neither download nor upload",
        "user late: the filter access_time",
        "user old: the filter password_expiration",
    ] {
        assert!(left_out.contains(why), "{why}: {left_out}");
    }
    assert!(!left_out.contains("free"), "{left_out}");
    assert!(
        stdout(&imported).contains("1 ip_lists"),
        "{}",
        stdout(&imported)
    );
}

#[test]
fn a_user_who_is_described_twice_is_the_same_or_an_error() {
    let place = tempfile::tempdir().unwrap();
    let dump = |bucket: &str| json!({"users": [user("ann", (HERE, bucket), &json!({}))]});
    let same = import(&place, &[dump("inbox"), dump("inbox")], &[]);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let other = import(&place, &[dump("inbox"), dump("outbox")], &[]);
    assert_eq!(other.status.code(), Some(64));
    let said = stderr(&other);
    assert!(
        said.contains("dump0.json") && said.contains("dump1.json") && said.contains("user ann"),
        "{said}"
    );
}

#[test]
fn a_configuration_stays_and_a_users_file_keeps_its_mode() {
    let place = tempfile::tempdir().unwrap();
    let dump = |bucket: &str| json!({"users": [user("ann", (HERE, bucket), &json!({}))]});
    drop(import(&place, &[dump("inbox")], &[]));
    let (config, users) = (
        place.path().join("portcullis.toml"),
        place.path().join("users.toml"),
    );
    std::fs::write(&config, "# mine\n").unwrap();
    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o640)).unwrap();
    let replaced = import(&place, &[dump("outbox")], &["--replace"]);
    assert_eq!(replaced.status.code(), Some(0), "{}", stderr(&replaced));
    assert!(
        stdout(&replaced).contains("portcullis.toml.new"),
        "{}",
        stdout(&replaced)
    );
    assert_eq!(read(config.to_str().unwrap()), "# mine\n");
    let new = place.path().join("portcullis.toml.new");
    assert!(read(new.to_str().unwrap()).contains("[storage]"));
    assert!(read(users.to_str().unwrap()).contains("outbox"));
    let mode = std::fs::metadata(&users).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn no_name_is_a_command_for_the_terminal() {
    let place = tempfile::tempdir().unwrap();
    let dump = json!({"users": [{"username": "a", "permissions": {"/\u{1b}[31m\u{9b}": 7}}]});
    let refused = import(&place, &[dump], &[]);
    let said = stderr(&refused);
    assert!(!said.contains(['\u{1b}', '\u{9b}']), "{said}");
    let unknown = place.path().join("x\u{1b}[31m.json");
    std::fs::write(&unknown, "{\"\u{9b}a\": 1}").unwrap();
    let into = place.path().to_str().unwrap();
    let refused = run(&[
        "migrate",
        "import",
        "--into",
        into,
        unknown.to_str().unwrap(),
    ]);
    let said = stderr(&refused);
    assert!(
        said.contains("found members") && !said.contains(['\u{1b}', '\u{9b}']),
        "{said}"
    );
}
