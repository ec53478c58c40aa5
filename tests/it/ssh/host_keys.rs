//! The server's keys as clients see them: RSA, announced, proved, replaced.

use portcullis::secret::Secret;
use russh::keys::PublicKey;
use russh::keys::signature::Verifier as _;
use russh::keys::ssh_key::{Signature, encoding::Decode as _};

use super::raw::{GLOBAL_REQUEST, REQUEST_FAILURE, REQUEST_SUCCESS, RawClient, string, take};
use super::*;

const ANNOUNCE: &str = "hostkeys-00@openssh.com";
const PROVE: &str = "hostkeys-prove-00@openssh.com";

async fn keygen(arguments: &[&str]) -> HostKey {
    let directory = tempfile::tempdir().unwrap();
    let path = format!("{}/key", directory.path().display());
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-f", &path])
        .args(arguments)
        .status()
        .await
        .unwrap();
    assert!(made.success());
    let text = std::fs::read_to_string(&path).unwrap();
    HostKey::parse(&Secret::new(text)).unwrap()
}

async fn server_with(host_keys: HostKeys) -> Server {
    let setup = Setup {
        host_keys: Some(host_keys),
        ..Setup::default()
    };
    Server::set_up(|_| {}, AuthSettings::default(), setup).await
}

/// The line of `known_hosts` about a key of the server.
fn line(server: &Server, key: &HostKey) -> String {
    let line = key.known_hosts_line("127.0.0.1", server.address.port());
    line.unwrap() + "\n"
}

/// Logs in with OpenSSH's client, which knows these keys and takes no others.
async fn visit(server: &Server, options: &[&str], known: &str) -> (bool, String) {
    let path = server.path("known_hosts");
    std::fs::write(&path, known).unwrap();
    let file = format!("UserKnownHostsFile={path}");
    let strict = ["-o", "StrictHostKeyChecking=yes", "-o", &file];
    let output = server.echo(&[options, &strict].concat(), b"hello").await;
    let known = std::fs::read_to_string(&path).unwrap();
    (output.stdout == b"hello", known)
}

#[tokio::test]
async fn an_rsa_host_key_signs_with_sha2() {
    for arguments in [
        &["-t", "rsa", "-b", "2048"][..],
        &["-t", "rsa", "-b", "3072", "-m", "PEM"],
        &["-t", "rsa", "-b", "4096", "-m", "PKCS8"],
    ] {
        let key = keygen(arguments).await;
        let server = server_with(HostKeys::new(vec![key.clone()]).unwrap()).await;
        let known = line(&server, &key);
        for (algorithm, expected) in [
            ("rsa-sha2-512", true),
            ("rsa-sha2-256", true),
            ("ssh-rsa", false),
            ("ssh-ed25519", false),
        ] {
            let option = format!("HostKeyAlgorithms={algorithm}");
            let (entered, _) = visit(&server, &["-o", &option], &known).await;
            assert_eq!(entered, expected, "{arguments:?} {algorithm}");
        }
        let stranger = line(&server, &keygen(&["-t", "rsa", "-b", "2048"]).await);
        assert!(!visit(&server, &[], &stranger).await.0);
    }
}

#[tokio::test]
async fn a_client_learns_the_next_host_key() {
    let used = vec![
        keygen(&["-t", "ed25519"]).await,
        keygen(&["-t", "rsa", "-b", "2048"]).await,
    ];
    let next = vec![
        keygen(&["-t", "ed25519"]).await,
        keygen(&["-t", "rsa", "-b", "3072"]).await,
    ];
    let keys = HostKeys::new(used.clone()).unwrap().with_next(next.clone());
    let server = server_with(keys).await;
    let update = ["-o", "UpdateHostKeys=yes"];
    let (entered, known) = visit(&server, &update, &line(&server, &used[0])).await;
    assert!(entered);
    let known: Vec<_> = known.lines().collect();
    assert_eq!(known.len(), 4, "{known:?}");
    for key in used.iter().chain(&next) {
        assert!(known.contains(&line(&server, key).trim_end()), "{known:?}");
    }

    // The change that the announcement was for: nobody who was here sees a warning.
    let known = known.join("\n") + "\n";
    server
        .entrance
        .set_host_keys(HostKeys::new(next.clone()).unwrap());
    let (entered, known) = visit(&server, &update, &known).await;
    assert!(entered);
    let known: Vec<_> = known.lines().collect();
    assert_eq!(
        known.len(),
        2,
        "what is not announced is forgotten: {known:?}"
    );
    let stranger = line(&server, &used[0]);
    assert!(
        !visit(&server, &[], &stranger).await.0,
        "the old key is gone"
    );
}

/// The announcement after the login, if one comes: the keys as they stand on the wire.
async fn announced(client: &mut RawClient) -> Vec<Vec<u8>> {
    let message = client.receive().await.unwrap();
    assert_eq!(message[0], GLOBAL_REQUEST);
    let mut rest = &message[1..];
    assert_eq!(take(&mut rest), ANNOUNCE.as_bytes());
    let (wants_reply, mut rest) = rest.split_first().unwrap();
    assert_eq!(*wants_reply, 0);
    let mut keys = Vec::new();
    while !rest.is_empty() {
        keys.push(take(&mut rest));
    }
    keys
}

async fn prove(client: &mut RawClient, keys: &[&[u8]]) -> Vec<u8> {
    let mut request = [&[GLOBAL_REQUEST][..], &string(PROVE), &[1]].concat();
    for key in keys {
        request.extend(string(key));
    }
    client.send(&request).await;
    client.receive().await.unwrap()
}

#[tokio::test]
async fn a_host_key_is_proved() {
    let used = keygen(&["-t", "ed25519"]).await;
    let next = keygen(&["-t", "rsa", "-b", "2048"]).await;
    let stranger = keygen(&["-t", "ed25519"]).await;
    let keys = HostKeys::new(vec![used]).unwrap().with_next(vec![next]);
    let server = server_with(keys).await;
    let mut client = RawClient::connect(server.address).await;
    client.request_service().await;
    let answer = client.try_password(PASSWORD).await;
    assert_eq!(answer, raw::USERAUTH_SUCCESS);
    let keys = announced(&mut client).await;
    let [ed25519, rsa] = &*keys else {
        panic!("{keys:?}");
    };
    // In the order of the question; RSA with SHA-512, as no RSA was agreed on.
    let proofs = prove(&mut client, &[rsa, ed25519]).await;
    assert_eq!(proofs[0], REQUEST_SUCCESS);
    let mut rest = &proofs[1..];
    for (key, algorithm) in [(rsa, "rsa-sha2-512"), (ed25519, "ssh-ed25519")] {
        let proof = take(&mut rest);
        let signature = Signature::decode(&mut &*proof).unwrap();
        assert_eq!(signature.algorithm().as_str(), algorithm);
        let signed = [string(PROVE), string(&client.session_id), string(key)].concat();
        let public = PublicKey::from_bytes(key).unwrap();
        public.key_data().verify(&signed, &signature).unwrap();
    }
    assert!(rest.is_empty());

    let stranger = stranger.known_hosts_line("x", 22).unwrap();
    let stranger = PublicKey::from_openssh(stranger.strip_prefix("x ").unwrap()).unwrap();
    let stranger = stranger.to_bytes().unwrap();
    for asked in [
        &[&*stranger][..],
        &[rsa, &stranger],
        &[],
        // No key has to be asked about twice.
        &[rsa, rsa, rsa],
    ] {
        assert_eq!(prove(&mut client, asked).await, [REQUEST_FAILURE]);
    }
}
