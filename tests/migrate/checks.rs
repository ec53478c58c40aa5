//! What a check must not pass over.

use serde_json::{Value, json};

use crate::{AWS, GATEWAY, checked, imported, read, run, stderr, texts};

#[test]
fn a_user_who_is_only_kept_here_is_open() {
    let place = tempfile::tempdir().unwrap();
    let config = imported(&place);
    let users = place.path().join("users/s-0123456789abcdef0");
    let gone = read(users.join("bob.json").to_str().unwrap()).replace("bob", "zoe");
    std::fs::write(users.join("zoe.json"), gone).unwrap();
    let check = ["migrate", "check", "--json", "--config", &config, AWS];
    let (code, report) = checked(&check);
    assert_eq!(code, Some(1));
    let open = texts(&report, "users", "open");
    assert!(
        open.len() == 1 && open[0].ends_with("not described on the old server: zoe"),
        "{report:#}"
    );
}

#[test]
fn what_was_never_described_is_open() {
    let place = tempfile::tempdir().unwrap();
    let config = imported(&place);
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let found = |server: &str, other: &Value| {
        let file = at("described.json");
        std::fs::write(&file, format!("{server}\n{other}")).unwrap();
        let check = ["migrate", "check", "--json", "--config", &config, &file];
        checked(&check).1
    };
    let has = |report: &Value, topic: &str, words: &str| {
        let open = texts(report, topic, "open");
        assert!(
            open.iter().any(|text| text.contains(words)),
            "{topic} {words}: {report:#}"
        );
    };
    let server = read(&format!("{AWS}/server.json"));
    let of_other = json!({"ServerId": "s-1", "HostKeys": [{"Fingerprint": "SHA256:x"}]});
    let report = found(&server, &of_other);
    has(&report, "users", "it has 2 users, of whom 0 are described");
    has(&report, "host-keys", "s-1: its host keys are described");
    let lambda = json!({"Server": {"ServerId": "s-0123456789abcdef0", "Protocols": ["SFTP"],
        "IdentityProviderType": "AWS_LAMBDA",
        "IdentityProviderDetails": {"Function": "arn:aws:lambda:eu-west-1:1:function:idp"}}});
    let user = json!({"ServerId": "s-2", "User": {"UserName": "ann"}});
    let report = found(&lambda.to_string(), &user);
    has(&report, "users", "s-2: its users are described");
    has(
        &report,
        "trust",
        "answers with roles, and none is described",
    );
    has(&report, "algorithms", "no security policy");
}

#[test]
fn a_role_without_a_table_is_open() {
    let place = tempfile::tempdir().unwrap();
    let config = imported(&place);
    let table = "roles = \"map\"\n\n[role.other]\n\
        arn = \"arn:aws:iam::123456789012:role/other\"\n\
        access_key_id = \"A\"\nsecret_access_key = \"x\"\n";
    let text = read(&config).replace("path_homes = \"role\"\n", "");
    let (before, after) = text.split_once("roles = \"assume\"\n").unwrap();
    std::fs::write(&config, format!("{before}{table}{after}")).unwrap();
    let (code, report) = checked(&["migrate", "check", "--json", "--config", &config, AWS]);
    let open = texts(&report, "permissions", "open");
    assert!(
        code == Some(1) && open.len() == 1 && open[0].ends_with("role/sftp-users"),
        "{report:#}"
    );
}

/// The key of the old server is at another listener, or only announced.
#[test]
fn a_host_key_counts_where_the_users_connect() {
    let place = tempfile::tempdir().unwrap();
    let config = imported(&place);
    let key = |name: &str| {
        let path = place.path().join(name).to_str().unwrap().to_owned();
        let mut made = std::process::Command::new("ssh-keygen");
        made.args(["-q", "-t", "ed25519", "-N", "", "-f", &path]);
        assert!(made.status().unwrap().success());
        path
    };
    let (old, new) = (key("old"), key("new"));
    let printed = std::process::Command::new("ssh-keygen")
        .args(["-l", "-f", &old])
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let fingerprint = printed.split(' ').nth(1).unwrap();
    let keys = json!({"ServerId": "s-0123456789abcdef0",
        "HostKeys": [{"Fingerprint": fingerprint, "Type": "ssh-ed25519",
            "HostKeyId": "hostkey-0; reboot"}]});
    let keys_file = place.path().join("keys.json").to_str().unwrap().to_owned();
    std::fs::write(&keys_file, keys.to_string()).unwrap();
    let text = read(&config);
    let state = text
        .lines()
        .find(|line| line.starts_with("state_directory"));
    let found = |keys: &str| {
        let own = place.path().join("own.toml").to_str().unwrap().to_owned();
        let text = text.replace(state.unwrap(), &format!("{}\n{keys}", state.unwrap()));
        std::fs::write(&own, text).unwrap();
        let check = ["migrate", "check", "--json", "--config", &own, &keys_file];
        let (_, report) = checked(&[&check[..], &[&format!("{AWS}/server.json")]].concat());
        assert!(!report.to_string().contains("reboot"), "{report:#}");
        let open = texts(&report, "host-keys", "open");
        let of_old = open.into_iter().find(|text| text.contains(fingerprint));
        (of_old, texts(&report, "host-keys", "ok").len())
    };
    assert_eq!(found(&format!("host_key_files = [{old:?}]")), (None, 1));
    let (open, ok) = found(&format!("host_key_files = [{new:?}]"));
    assert!(ok == 0 && open.unwrap().contains("does not have this key"));
    let announced = format!("[ssh]\nhost_key_next_files = [{old:?}]\n");
    let text = text.replace("[ssh]\n", &announced);
    std::fs::write(&config, text).unwrap();
    let check = [
        "migrate", "check", "--json", "--config", &config, &keys_file,
    ];
    let (_, report) = checked(&[&check[..], &[&format!("{AWS}/server.json")]].concat());
    let open = texts(&report, "host-keys", "open");
    assert!(
        open.iter().any(|text| text.contains("announces this key")),
        "{report:#}"
    );
}

#[test]
fn a_user_who_is_described_twice_is_the_same_or_an_error() {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().to_str().unwrap();
    let other = format!("{into}/other.json");
    let text = read(&format!("{AWS}/described-users.json"));
    std::fs::write(&other, &text).unwrap();
    let import = ["migrate", "import", "--into", into, AWS, &other];
    let same = run(&import);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    std::fs::write(&other, text.replace("/inbox/shared", "/outbox/shared")).unwrap();
    let differs = run(&import);
    assert_eq!(differs.status.code(), Some(64));
    let said = stderr(&differs);
    assert!(
        said.contains("other.json") && said.contains("described-users.json"),
        "{said}"
    );
}

#[test]
fn no_line_to_be_pasted_has_a_name_that_is_a_command() {
    let place = tempfile::tempdir().unwrap();
    let config = imported(&place);
    let role = read(&format!("{AWS}/role.json")).replace("role/sftp-users", "role/x;reboot");
    let file = place.path().join("role.json");
    std::fs::write(&file, role).unwrap();
    let check = [
        "migrate",
        "check",
        "--json",
        "--config",
        &config,
        "--gateway-role",
        GATEWAY,
        AWS,
        file.to_str().unwrap(),
    ];
    let (_, report) = checked(&check);
    for finding in report["findings"].as_array().unwrap() {
        let change = finding["change"].as_str().unwrap_or_default();
        assert!(!change.contains("reboot"), "{report:#}");
    }
}
