//! Logs of the past, held against configurations.

use portcullis::cli::bundled_webhook::BundledWebhook;
use portcullis::secret::Secret;
use serde_json::{Value, json};

use crate::{LOGS, checked, imported, read, run, stderr, stdout};

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
    // What was not judged is no proof.
    let other = r#"{"activity-type": "DELETE", "path": "/b/k", "session-id": "before"}"#;
    for (line, member) in [("hello", "unreadable"), (other, "unknownSessions")] {
        let text = format!("{}\n{line}\n", lines.join("\n"));
        std::fs::write(&path, text).unwrap();
        let log = path.to_str().unwrap();
        let (code, told) = checked(&["rehearse", "--json", "--config", &config, log]);
        assert_eq!((code, &told[member]), (Some(2), &json!(1)), "{told:#}");
    }
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

/// The bundled webhook knows a password of ann, and no key of anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_provider_is_asked_for_keys_and_never_with_a_password() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let mappings = json!({"mappings": [{"entry": "/in", "target": "/inbox/ann"}]});
    let password = Secret::new("tidal-fern-41".to_owned());
    let webhook = BundledWebhook::start("ann", password, mappings);
    let webhook = webhook.await.unwrap();
    std::fs::write(
        at("c.toml"),
        format!("[identity]\nurl = {:?}\n", webhook.url()),
    )
    .unwrap();
    let login = |user: &str, method: &str| {
        let line = json!({"activity-type": "CONNECTED", "user": user, "session-id": user,
            "source-ip": "192.0.2.7", "kex": "curve25519-sha256", "method": method});
        line.to_string()
    };
    let open =
        json!({"activity-type": "OPEN", "mode": "READ", "path": "/b/k", "session-id": "eve"});
    let log = [
        login("ann", "password"),
        login("bob", "publickey"),
        login("eve\n\u{1b}[31m", "publickey"),
        open.to_string(),
    ];
    std::fs::write(at("log"), log.join("\n")).unwrap();
    let (config, log) = (at("c.toml"), at("log"));
    let arguments = ["rehearse", "--json", "--ask", "--config", &config, &log];
    let (code, told) = tokio::task::block_in_place(|| checked(&arguments));
    assert_eq!(code, Some(1), "{told:#}");
    let logins = json!({"same": 0, "changed": 2, "notAsked": 1});
    assert_eq!(told["logins"], logins, "{told:#}");
    assert_eq!(told["unknownSessions"], 1, "{told:#}");
    let asked = ["rehearse", "--ask", "--config", &config, &log];
    let output = tokio::task::block_in_place(|| run(&asked));
    let text = stdout(&output);
    assert!(
        !text.contains('\u{1b}') && text.contains("eve\u{fffd}"),
        "{text}"
    );
    let (code, told) = checked(&["rehearse", "--json", "--config", &config, &log]);
    // No provider is asked for a name that none can have.
    let logins = json!({"same": 0, "changed": 1, "notAsked": 2});
    assert_eq!((code, &told["logins"]), (Some(1), &logins), "{told:#}");
}

#[test]
fn a_login_that_needs_both_is_judged_by_both() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let key = "public_keys = [\"ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS\"]\n";
    let password =
        "password_hash = \"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\"\n";
    let user = |name: &str, credentials: &[&str]| {
        let mappings = "mappings = [{ entry = \"/in\", target = \"/inbox/ann\" }]\n";
        format!("[users.{name}]\n{}{mappings}", credentials.concat())
    };
    let users = [
        user("both", &[key, password]),
        user("keyless", &[password]),
        user("wordless", &[key]),
    ];
    std::fs::write(at("users.toml"), users.concat()).unwrap();
    let config = format!(
        "[identity]\nprovider = \"static\"\nmethods = \"key-and-password\"\nusers_file = {:?}\n",
        at("users.toml")
    );
    std::fs::write(at("portcullis.toml"), config).unwrap();
    let login = |user: &str, method: &str, key: Option<&str>| {
        json!({"level": "INFO", "message": "login allowed", "session_id": user, "user": user,
            "method": method, "fingerprint": key})
        .to_string()
    };
    let fingerprint = Some(FINGERPRINT);
    let log = [
        login("both", "password", fingerprint),
        login("both", "password", None),
        login("both", "publickey", fingerprint),
        login("keyless", "password", None),
        login("wordless", "publickey", fingerprint),
    ];
    std::fs::write(at("log"), log.join("\n")).unwrap();
    let (config, log) = (at("portcullis.toml"), at("log"));
    let (code, told) = checked(&["rehearse", "--json", "--config", &config, &log]);
    assert_eq!(code, Some(1), "{told:#}");
    let logins = json!({"same": 1, "changed": 2, "notAsked": 2});
    assert_eq!(told["logins"], logins, "{told:#}");
    let groups = told["groups"].as_array().unwrap().iter();
    let mut changes: Vec<_> = groups.map(|one| one["user"].as_str().unwrap()).collect();
    changes.sort_unstable();
    assert_eq!(changes, ["keyless", "wordless"], "{told:#}");
}

const FINGERPRINT: &str = "SHA256:qH8baHrA5X0qCBovKCZyM02Q7TFtK4GMqVgOo4TZJAE";

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
    let changes: Vec<_> = groups.iter().map(|one| &one["change"]).collect();
    assert_eq!(changes.len(), 5, "{told:#}");
    for change in [
        "mapping-is-read-only",
        "no-usable-public-key",
        "other-object",
        "outside-of-mappings",
        "source-not-in-networks",
    ] {
        assert!(
            changes.iter().any(|one| *one == change),
            "{change}: {told:#}"
        );
    }
    assert_eq!(told["logins"]["same"], 1, "{told:#}");
    assert_eq!(told["operations"]["same"], 1, "{told:#}");
}
