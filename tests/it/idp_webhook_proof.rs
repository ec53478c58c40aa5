//! What proves to a service that a question is the gateway's: signatures and certificates.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use portcullis::clock::Clock as _;
use portcullis::idp::follow::Followed as _;
use portcullis::idp::signature::{Keys, Signing};
use portcullis::idp::webhook::{Webhook, WebhookSettings};
use portcullis::idp::{Asking, Credential, IdentityProvider as _, Question};
use portcullis::refusal::Verdict;
use portcullis::secret::Secret;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::common::clock::FakeClock;
use super::common::fake_idp::{Asked, FakeIdp};
use super::idp_documents::PAGE;
use crate::common::refusals::{answered, is, word};

fn password() -> Question {
    Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential: Credential::Password(Secret::new("tidal-fern-41".to_owned())),
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

fn p256() -> String {
    KeyPair::generate().unwrap().serialize_pem()
}

/// As `openssl genpkey -algorithm ed25519` writes it.
fn ed25519() -> String {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let der = pair.serialize_der();
    let seed = der
        .windows(4)
        .position(|w| w == [4, 0x22, 4, 0x20])
        .unwrap()
        + 4;
    let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let old = STANDARD.encode([&head[..], &der[seed..seed + 32]].concat());
    format!("-----BEGIN PRIVATE KEY-----\n{old}\n-----END PRIVATE KEY-----\n")
}

fn write(path: &str, text: &str) {
    let next = format!("{path}.next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, path).unwrap();
}

fn in_folder(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn signing(keys: &Arc<Keys>) -> Signing {
    Signing {
        keys: Arc::clone(keys),
        issuer: "s-1".into(),
        audience: None,
        lifetime: Duration::from_secs(60),
    }
}

/// Verifies the token of a question as a service would, and returns its claims.
fn verified(asked: &Asked, jwks: &str, audience: &str) -> Result<Value, String> {
    let token = asked.header("authorization").ok_or("no Authorization")?;
    let token = token.strip_prefix("Bearer ").ok_or("no Bearer")?;
    let header = decode_header(token).map_err(|e| e.to_string())?;
    let set: JwkSet = serde_json::from_str(jwks).unwrap();
    let key = set.find(&header.kid.unwrap()).ok_or("unknown key")?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["s-1"]);
    // The clock of the tests is not that of the library.
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(key).unwrap();
    let decoded = decode::<Value>(token, &key, &validation).map_err(|e| e.to_string())?;
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&asked.bytes));
    if decoded.claims["bodySha256"] != hash {
        return Err("another body".to_owned());
    }
    Ok(decoded.claims)
}

#[tokio::test]
async fn a_signed_question_is_verified_with_the_published_keys() {
    let folder = tempfile::tempdir().unwrap();
    for pem in [p256(), ed25519()] {
        let path = in_folder(&folder, "a.pem");
        write(&path, &pem);
        let keys = Arc::new(Keys::open(&[path]).unwrap());
        let idp = FakeIdp::start([]).await;
        let clock = Arc::new(FakeClock::new());
        let mut settings = WebhookSettings::new(&idp.url(), "s-1");
        settings.signing = Some(signing(&keys));
        let webhook = Webhook::new(settings).unwrap().with_clock(clock.clone());
        assert!(answered(&webhook.ask(&password()).await));
        let asked = &idp.asked()[0];
        let origin = idp.url();
        let origin = origin.split("/login").next().unwrap();
        let claims = verified(asked, &keys.jwks(), origin).unwrap();
        let since = clock.wall().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.unwrap().as_secs();
        assert_eq!(claims["jti"], "c1-1");
        assert_eq!(
            (&claims["iat"], &claims["exp"]),
            (&json!(now), &json!(now + 60))
        );
        let mut changed = asked.clone();
        changed.bytes[3] ^= 1;
        assert!(verified(&changed, &keys.jwks(), origin).is_err());
        let jwks: Value = serde_json::from_str(&keys.jwks()).unwrap();
        assert!(jwks["keys"][0].get("d").is_none(), "{jwks}");
        let debug = format!("{webhook:?}");
        assert!(
            !debug.contains("PRIVATE") && !debug.contains("tidal"),
            "{debug}"
        );
    }
}

#[tokio::test]
async fn keys_are_rotated_while_questions_are_asked() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["now.pem", "next.pem"].map(|name| in_folder(&folder, name));
    let [now, next] = &paths;
    let (old, new) = (p256(), p256());
    write(now, &old);
    write(next, &new);
    let keys = Arc::new(Keys::open(&paths).unwrap());
    let idp = FakeIdp::start([]).await;
    let mut settings = WebhookSettings::new(&idp.url(), "s-1");
    settings.signing = Some(Signing {
        audience: Some("my-service".into()),
        ..signing(&keys)
    });
    let webhook = Webhook::new(settings).unwrap();
    let published = keys.jwks();
    assert!(answered(&webhook.ask(&password()).await));
    assert!(!keys.reload_if_changed());
    // The next key takes over; a service that fetched the keys before knows it already.
    write(now, &new);
    write(next, &p256());
    assert!(keys.reload_if_changed());
    assert!(answered(&webhook.ask(&password()).await));
    let ids: Vec<_> = idp
        .asked()
        .iter()
        .map(|asked| {
            verified(asked, &published, "my-service").unwrap();
            let token = asked
                .header("authorization")
                .unwrap()
                .split_once(' ')
                .unwrap()
                .1;
            decode_header(token).unwrap().kid.unwrap()
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
    write(now, "half a key");
    assert!(keys.reload_if_changed());
    assert!(answered(&webhook.ask(&password()).await));
    let last = idp.asked().pop().unwrap();
    assert!(
        verified(&last, &published, "my-service").is_ok(),
        "the old keys stay"
    );
    let same = [paths[1].clone(), paths[1].clone()];
    assert!(Keys::open(&same).is_err());
    assert!(Keys::open(&[]).is_err());
}

#[tokio::test]
async fn an_hmac_covers_time_and_body() {
    let idp = FakeIdp::start([]).await;
    let clock = Arc::new(FakeClock::new());
    let mut settings = WebhookSettings::new(&idp.url(), "s-1");
    settings.hmac_secret = Some(Secret::new("quartz-77".to_owned()));
    let webhook = Webhook::new(settings).unwrap().with_clock(clock.clone());
    assert!(answered(&webhook.ask(&password()).await));
    let asked = &idp.asked()[0];
    let value = asked.header("x-portcullis-signature").unwrap();
    let (time, code) = value
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    assert_eq!(time, "1700000000");
    let mut mac = Hmac::<Sha256>::new_from_slice(b"quartz-77").unwrap();
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(&asked.bytes);
    assert_eq!(code, hex(&mac.finalize().into_bytes()));
    assert!(!format!("{webhook:?}").contains("quartz-77"));
}

#[tokio::test]
async fn two_hmac_secrets_sign_side_by_side() {
    let idp = FakeIdp::start([]).await;
    let clock = Arc::new(FakeClock::new());
    let mut settings = WebhookSettings::new(&idp.url(), "s-1");
    settings.hmac_secret = Some(Secret::new("quartz-77".to_owned()));
    settings.hmac_secret_next = Some(Secret::new("basalt-12".to_owned()));
    let webhook = Webhook::new(settings).unwrap().with_clock(clock);
    assert!(answered(&webhook.ask(&password()).await));
    let asked = &idp.asked()[0];
    for (header, secret) in [
        ("x-portcullis-signature", "quartz-77"),
        ("x-portcullis-signature-next", "basalt-12"),
    ] {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(b"1700000000.");
        mac.update(&asked.bytes);
        let code = hex(&mac.finalize().into_bytes());
        let expected = format!("t=1700000000,v1={code}");
        assert_eq!(asked.header(header), Some(&*expected));
        assert!(!format!("{webhook:?}").contains(secret));
    }
}

/// Returns the code on the page that defines a function.
fn on_the_page(language: &str, function: &str) -> &'static str {
    let begin = format!("```{language}\n");
    let blocks = PAGE.split(&*begin).skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    let found = blocks.into_iter().find(|code| code.contains(function));
    found.expect("the page has the function")
}

/// Runs a program and returns what it printed; `None` where its language is not there.
fn printed(command: &[&str], arguments: &[&str]) -> Option<String> {
    let (name, options) = command.split_first().unwrap();
    let run = Command::new(name).args(options).args(arguments).output();
    let output = match run {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let ci = std::env::vars_os().any(|(name, _)| name == "CI");
            assert!(!ci, "{name} is missing");
            println!("skipped: {name} is missing");
            return None;
        }
        run => run.unwrap(),
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_code_on_the_page_tells_the_gateways_questions_from_others() {
    let folder = tempfile::tempdir().unwrap();
    for pem in [p256(), ed25519()] {
        let path = in_folder(&folder, "a.pem");
        write(&path, &pem);
        let keys = Arc::new(Keys::open(&[path]).unwrap());
        let idp = FakeIdp::start([]).await;
        let mut settings = WebhookSettings::new(&idp.url(), "s-1");
        settings.signing = Some(signing(&keys));
        settings.hmac_secret = Some(Secret::new("quartz-77".to_owned()));
        let webhook = Webhook::new(settings).unwrap();
        assert!(answered(&webhook.ask(&password()).await));
        let asked = idp.asked().remove(0);
        let changed = hex(&asked.bytes).replacen("616e6e", "626f62", 1);
        let origin = idp.url();
        let origin = origin.split("/login").next().unwrap();
        let python = format!(
            "{}\nimport sys, time\n\
            print(is_the_gateways(b'quartz-77', sys.argv[1], bytes.fromhex(sys.argv[2]), time.time()))",
            on_the_page("python", "is_the_gateways")
        );
        let node = format!(
            "{}\nconst [jwks, audience, token, body] = process.argv.slice(1);\n\
            const bytes = Buffer.from(body, 'hex');\n\
            console.log(isTheGateways(JSON.parse(jwks).keys, audience, token, bytes));",
            on_the_page("js", "isTheGateways")
        );
        for (body, right) in [(hex(&asked.bytes), true), (changed, false)] {
            let code = asked.header("x-portcullis-signature").unwrap();
            if let Some(said) = printed(&["python3", "-c", &python], &[code, &body]) {
                assert_eq!(said, if right { "True" } else { "False" });
            }
            let token = asked.header("authorization").unwrap();
            let command = ["node", "--input-type=module", "-e", &node];
            let jwks = keys.jwks();
            if let Some(said) = printed(&command, &[&jwks, origin, token, &body]) {
                assert_eq!(said, right.to_string());
            }
        }
    }
}

/// A certificate authority and what it signed.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

#[tokio::test]
async fn a_service_that_demands_a_certificate_is_shown_the_gateways() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = vec![0; 4_096];
            drop(stream.read(&mut head).await);
            let answer = b"HTTP/1.1 200 X\r\ncontent-length: 15\r\n\r\n{\"allow\":false}";
            drop(stream.write_all(answer).await);
            drop(stream.shutdown().await);
        }
    });
    let ask = async |identity: Option<String>| {
        let mut settings = WebhookSettings::new(&url, "s-1");
        settings.ca_pem = Some(authority.pem.clone().into_bytes());
        settings.identity_pem = identity.map(Secret::new);
        Webhook::new(settings).unwrap().ask(&password()).await
    };
    let (own, own_key) = authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let answer = ask(Some(format!("{}{}", own.pem(), own_key.serialize_pem()))).await;
    assert_eq!(word(&answer), "not-allowed", "{answer:?}");
    let stranger = Authority::new();
    let (other, other_key) = stranger.issue(ExtendedKeyUsagePurpose::ClientAuth);
    for identity in [
        None,
        Some(format!("{}{}", other.pem(), other_key.serialize_pem())),
    ] {
        let answer = ask(identity).await;
        assert!(is(&answer, Verdict::Unavailable), "{answer:?}");
    }
}

#[test]
fn a_certificate_without_its_key_is_refused_without_showing_it() {
    let mut settings = WebhookSettings::new("https://idp.example.com/", "s-1");
    settings.identity_pem = Some(Secret::new(p256()));
    let error = Webhook::new(settings).unwrap_err().to_string();
    assert!(
        error.contains("client_certificate_file") && !error.contains("PRIVATE"),
        "{error}"
    );
}
