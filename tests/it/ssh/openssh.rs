//! What OpenSSH's own client sees.

use super::*;

/// The cipher that the client says it uses towards us.
fn cipher(output: &Output) -> String {
    let log = text(&output.stderr);
    let line = log
        .lines()
        .find(|line| line.contains("kex: client->server cipher:"))
        .unwrap_or_else(|| panic!("{log}"));
    let (_, rest) = line.split_once("cipher: ").unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_default_client_gets_gcm_and_strict_key_exchange() {
    let server = Server::start().await;
    let output = server.echo(&["-vvv"], b"hello").await;
    assert_eq!(text(&output.stdout), "hello", "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(cipher(&output), "aes128-gcm@openssh.com");
    let log = text(&output.stderr);
    assert!(log.contains("will use strict KEX ordering"), "{log}");
    assert!(log.contains("remote software version Portcullis_"), "{log}");
    let algorithms = log
        .lines()
        .find(|line| line.contains("server-sig-algs="))
        .unwrap();
    assert!(algorithms.contains("rsa-sha2-512"), "{algorithms}");
    assert!(!algorithms.contains("ssh-rsa"), "{algorithms}");
}

#[tokio::test]
async fn a_client_that_insists_on_a_cipher_gets_it() {
    let server = Server::start().await;
    for wanted in [
        "chacha20-poly1305@openssh.com",
        "aes128-ctr",
        "aes256-ctr",
        "aes256-gcm@openssh.com",
    ] {
        let output = server.echo(&["-v", "-c", wanted], b"hello").await;
        assert_eq!(text(&output.stdout), "hello", "{}", text(&output.stderr));
        assert_eq!(cipher(&output), wanted);
    }
    let output = server.echo(&["-c", "aes128-cbc"], b"hello").await;
    assert!(!output.status.success());
}

#[tokio::test]
async fn every_key_exchange_we_offer_works() {
    let setup = Setup {
        algorithms: Algorithms::Compatible,
        ..Setup::default()
    };
    let server = Server::set_up(|_| {}, AuthSettings::default(), setup).await;
    for kex in [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group14-sha256",
    ] {
        let option = format!("KexAlgorithms={kex}");
        let output = server.echo(&["-o", &option], b"hello").await;
        assert_eq!(
            text(&output.stdout),
            "hello",
            "{kex}: {}",
            text(&output.stderr)
        );
    }
}

#[tokio::test]
async fn new_keys_come_after_so_many_bytes() {
    let input = vec![7; 4 << 20];
    for (rekey_bytes, expected) in [(1 << 20, true), (Ssh::default().rekey_bytes, false)] {
        let setup = Setup {
            rekey_bytes,
            ..Setup::default()
        };
        let server = Server::set_up(|_| {}, AuthSettings::default(), setup).await;
        for cipher in [
            "aes256-gcm@openssh.com",
            "aes256-ctr",
            "chacha20-poly1305@openssh.com",
        ] {
            let output = server.echo(&["-v", "-c", cipher], &input).await;
            assert!(output.stdout == input, "{}", text(&output.stderr));
            let exchanges = text(&output.stderr)
                .matches("SSH2_MSG_NEWKEYS received")
                .count();
            assert_eq!(exchanges > 2, expected, "{cipher}: {exchanges} exchanges");
            assert!(exchanges > 0, "{}", text(&output.stderr));
        }
    }
}

#[tokio::test]
async fn keys_are_exchanged_anew_in_the_middle_of_a_transfer() {
    let server = Server::start().await;
    let input: Vec<u8> = (0..4_u32 << 20)
        .map(|i| (i * 7 / 3).to_be_bytes()[2])
        .collect();
    let output = server.echo(&["-v", "-o", "RekeyLimit=1M"], &input).await;
    let log = text(&output.stderr);
    assert!(output.stdout == input, "{log}");
    assert!(
        log.matches("rekeying in progress").count()
            + log.matches("SSH2_MSG_NEWKEYS received").count()
            > 2,
        "{log}"
    );
}

#[tokio::test]
async fn what_is_not_sftp_is_refused_in_so_many_words() {
    let server = Server::start().await;
    let sentence = "This server only speaks SFTP.";
    for (arguments, expected) in [
        (&["-T", "alice@127.0.0.1"][..], sentence),
        // The client asks for a terminal before anything else, and ends without one.
        (&["-tt", "alice@127.0.0.1"], "PTY allocation request failed"),
        (&["alice@127.0.0.1", "ls"], sentence),
        (
            &["alice@127.0.0.1", "scp -t /"],
            "SFTP only: use scp without -O",
        ),
        (
            &["-s", "alice@127.0.0.1", "netconf"],
            "subsystem request failed",
        ),
    ] {
        let output = server.ssh(Some(PASSWORD), arguments, b"").await;
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{said}");
    }
    server.idle().await;
}

#[tokio::test]
async fn the_host_key_is_known_by_our_line() {
    let server = Server::start().await;
    let line = server
        .host_key
        .known_hosts_line("127.0.0.1", server.address.port())
        .unwrap();
    let known_hosts = server.path("known_hosts");
    std::fs::write(&known_hosts, line).unwrap();
    let known = format!("UserKnownHostsFile={known_hosts}");
    let strict = ["-o", &known, "-o", "StrictHostKeyChecking=yes"];
    let output = server.echo(&strict, b"hello").await;
    assert_eq!(text(&output.stdout), "hello", "{}", text(&output.stderr));

    let other = HostKeys::new(vec![HostKey::generate().unwrap()]).unwrap();
    server.entrance.set_host_keys(other);
    let output = server.echo(&strict, b"hello").await;
    assert!(!output.status.success(), "new connections see the new key");
}
