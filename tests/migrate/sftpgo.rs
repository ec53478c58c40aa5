//! Users of SFTPGo.

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
