//! Keys that live in a FIDO token (`sk-…`), with a token that signs in software.

use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::public::{KeyData, SkEd25519};
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use sha2::{Digest as _, Sha256};

use super::*;

const APPLICATION: &str = "ssh:";
const USER_PRESENT: u8 = 1;

/// Nothing that could go wrong does.
#[derive(Debug)]
struct SignError;

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self
    }
}

/// Signs as a token does: what was asked for, under the flags and a counter.
struct Token {
    key: PrivateKey,
    flags: u8,
}

impl Token {
    fn new(flags: u8) -> Self {
        let seed = [flags ^ 0x5a; 32];
        let keypair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let key = PrivateKey::new(keypair, "token").unwrap();
        Self { key, flags }
    }

    fn public(&self) -> PublicKey {
        let KeyData::Ed25519(point) = self.key.public_key().key_data() else {
            panic!("not the key that was made");
        };
        KeyData::SkEd25519(SkEd25519::new(*point, APPLICATION)).into()
    }
}

impl russh::Signer for Token {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        _hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let trailer = [&[self.flags][..], &7_u32.to_be_bytes()].concat();
        let signed = [
            &Sha256::digest(APPLICATION)[..],
            &trailer,
            &Sha256::digest(&to_sign)[..],
        ]
        .concat();
        let signature = self.key.try_sign(&signed).unwrap();
        let blob = [
            string(b"sk-ssh-ed25519@openssh.com"),
            string(signature.as_bytes()),
            trailer,
        ]
        .concat();
        to_sign.extend(string(&blob));
        Ok(to_sign)
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

async fn opens(server: &Server, token: &mut Token) -> bool {
    let mut client = server.connect().await;
    let public = token.public();
    let answer = client.authenticate_publickey_with(USER, public, None, token);
    answer.await.unwrap().success()
}

#[tokio::test]
async fn a_hardware_key_opens_where_it_is_listed_alone() {
    let server = Server::start().await;
    let mut token = Token::new(USER_PRESENT);
    let line = token.public().to_openssh().unwrap();
    for (listed, expected) in [
        (line.clone(), true),
        (format!("no-touch-required {line}"), true),
        // Whether a person was verified cannot be seen from here: nobody is let in.
        (format!("verify-required {line}"), false),
        (String::new(), false),
    ] {
        std::fs::write(server.path("keys"), &listed).unwrap();
        assert_eq!(opens(&server, &mut token).await, expected, "{listed}");
    }
    std::fs::write(server.path("keys"), &line).unwrap();
    let mut other = Token::new(0);
    assert!(!opens(&server, &mut other).await);
}
