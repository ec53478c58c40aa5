//! Who is let in.

use portcullis::auth::Methods;

use super::*;

#[tokio::test]
async fn passwords_open_and_wrong_ones_do_not() {
    let server = Server::start().await;
    let right = server.echo(&[], b"hello").await;
    assert_eq!(text(&right.stdout), "hello", "{}", text(&right.stderr));
    let arguments = ["-s", "alice@127.0.0.1", "sftp"];
    let wrong = server.ssh(Some("wrong"), &arguments, b"").await;
    assert_eq!(wrong.status.code(), Some(255));
    assert!(
        text(&wrong.stderr).contains("Permission denied (publickey,keyboard-interactive)"),
        "{}",
        text(&wrong.stderr)
    );
    server.idle().await;
}

#[tokio::test]
async fn keys_of_every_kind_open() {
    let server = Server::start().await;
    for arguments in [
        &["-t", "ed25519"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "2048"],
    ] {
        let key = server.user_key(arguments).await;
        let ssh = ["-i", &key, "-s", "alice@127.0.0.1", "sftp"];
        let output = server.ssh(None, &ssh, b"hello").await;
        assert_eq!(
            text(&output.stdout),
            "hello",
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}

#[tokio::test]
async fn sha1_signatures_and_short_rsa_keys_do_not_open() {
    let server = Server::start().await;
    let key = server.user_key(&["-t", "rsa", "-b", "2048"]).await;
    let key = russh::keys::load_secret_key(&key, None).unwrap();
    for (hash, opens) in [
        (Some(russh::keys::HashAlg::Sha256), true),
        (Some(russh::keys::HashAlg::Sha512), true),
        (None, false),
    ] {
        let mut client = server.connect().await;
        let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::new(key.clone()), hash);
        let answer = client.authenticate_publickey(USER, key).await.unwrap();
        assert_eq!(answer.success(), opens, "{hash:?}");
    }
    let short = server.user_key(&["-t", "rsa", "-b", "1024"]).await;
    let short = russh::keys::load_secret_key(&short, None).unwrap();
    let short = russh::keys::PrivateKeyWithHashAlg::new(
        Arc::new(short),
        Some(russh::keys::HashAlg::Sha256),
    );
    let mut client = server.connect().await;
    let answer = client.authenticate_publickey(USER, short).await.unwrap();
    assert!(!answer.success());
}

#[tokio::test]
async fn a_key_that_is_not_listed_leaves_the_password_open() {
    let server = Server::start().await;
    let key = server.user_key(&["-t", "ed25519"]).await;
    std::fs::write(server.path("keys"), "").unwrap();
    let output = server.echo(&["-i", &key], b"hello").await;
    assert_eq!(text(&output.stdout), "hello", "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_key_and_then_a_password() {
    let settings = AuthSettings {
        methods: Methods::KeyAndPassword,
        ..AuthSettings::default()
    };
    let server = Server::start_with(|_| {}, settings).await;
    let key = server.user_key(&["-t", "ed25519"]).await;
    let both = server.echo(&["-v", "-i", &key], b"hello").await;
    let log = text(&both.stderr);
    assert_eq!(text(&both.stdout), "hello", "{log}");
    assert!(log.contains("partial success"), "{log}");
    let without_key = server.echo(&[], b"hello").await;
    assert!(!without_key.status.success());
    let arguments = ["-i", &key, "-s", "alice@127.0.0.1", "sftp"];
    let without_password = server.ssh(None, &arguments, b"hello").await;
    assert!(!without_password.status.success());
}

#[tokio::test]
async fn too_many_failed_logins_end_the_connection() {
    let server = Server::with_limits(|limits| limits.password_attempts_max = 2).await;
    let mut client = server.connect().await;
    for _ in 0..20 {
        match client.authenticate_password(USER, "wrong").await {
            Ok(answer) => assert!(!answer.success()),
            Err(_) => break,
        }
    }
    assert_eq!(server.farewell().await, "too many failed logins");
    drop(within(client).await);
    server.idle().await;
}

#[tokio::test]
async fn a_password_also_comes_by_keyboard_interactive() {
    let server = Server::start().await;
    for (by, password, opens) in [
        ("keyboard-interactive", PASSWORD, true),
        ("password", PASSWORD, true),
        ("keyboard-interactive", "wrong", false),
    ] {
        let option = format!("PreferredAuthentications={by}");
        let arguments = ["-o", &option, "-s", "alice@127.0.0.1", "sftp"];
        let output = server.ssh(Some(password), &arguments, b"hello").await;
        assert_eq!(
            output.status.success(),
            opens,
            "{by} {password}: {}",
            text(&output.stderr)
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_not_taken_twice_by_both_ways() {
    let server = Server::start().await;
    let wrong = [
        "-o",
        "NumberOfPasswordPrompts=1",
        "-s",
        "alice@127.0.0.1",
        "sftp",
    ];
    assert!(
        !server
            .ssh(Some("wrong"), &wrong, b"")
            .await
            .status
            .success()
    );
    assert_eq!(server.provider.passwords_asked(), 1);
}
