//! AWS's question over HTTP, byte by byte, and what its answers come to.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use portcullis::aws::AccessKey;
use portcullis::idp::api_gateway::{ApiGateway, ApiGatewaySettings, Signing};
use portcullis::idp::{
    Asking, AwsCredentials, Credential, IdentityProvider as _, Judged, Question, UserNameRule,
};
use portcullis::refusal::Verdict;
use portcullis::secret::Secret;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::common::fake_idp::{FakeIdp, Reply};
use crate::common::refusals::{answered, is, unavailable};
use crate::common::tls::Authority;
use crate::idp_contract;

pub(crate) const PASSWORD: &str = "tidal-fern-41";
const SERVER: &str = "s-0123456789abcdef0";

pub(crate) fn yes() -> Value {
    json!({"Role": "arn:aws:iam::1:role/x", "HomeDirectory": "/bucket/ann"})
}

fn with_keys() -> Value {
    let mut answer = yes();
    answer["PublicKeys"] = json!([crate::common::login::LISTED_LINE]);
    answer
}

pub(crate) fn question(username: &str, credential: Credential) -> Question {
    Question {
        request_id: "c1-1".into(),
        username: username.into(),
        credential,
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

pub(crate) fn password(text: &str) -> Question {
    question("ann", Credential::Password(Secret::new(text.to_owned())))
}

pub(crate) fn settings(idp: &FakeIdp) -> ApiGatewaySettings {
    let mut settings = ApiGatewaySettings::new(&format!("http://{}/prod/", idp.address()), SERVER);
    settings.total_timeout = Duration::from_secs(30);
    settings
}

pub(crate) fn provider(idp: &FakeIdp) -> ApiGateway {
    ApiGateway::new(settings(idp)).unwrap()
}

fn allowed(answer: &Judged) -> bool {
    answer.is_ok()
}

fn head(idp: &FakeIdp, at: usize) -> String {
    idp.asked()[at].head.clone()
}

#[tokio::test]
async fn a_password_is_asked_about_as_aws_asks_letter_by_letter() {
    let idp = FakeIdp::start([Reply::Json(200, yes())]).await;
    let mut settings = settings(&idp);
    let key = Secret::new("quartz-77".to_owned());
    settings.headers.push(("x-API-Key".to_owned(), key));
    let provider = ApiGateway::new(settings).unwrap();
    assert!(allowed(&provider.ask(&password(PASSWORD)).await));
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "GET /prod/servers/{SERVER}/users/ann/config?protocol=SFTP&sourceIp=192.0.2.7 HTTP/1.1\r\n\
         Host: {}\r\n\
         Accept: application/json\r\n\
         User-Agent: portcullis/{version}\r\n\
         x-API-Key: quartz-77\r\n\
         Password: {PASSWORD}\r\n\
         PasswordBase64: {}\r\n\
         \r\n",
        idp.address(),
        STANDARD.encode(PASSWORD),
    );
    assert_eq!(head(&idp, 0), expected);
}

#[tokio::test]
async fn a_look_up_has_neither_header() {
    let idp = FakeIdp::start([Reply::Json(200, with_keys())]).await;
    let look_up = question("ann", Credential::PublicKey);
    let answer = provider(&idp).ask(&look_up).await;
    let Ok(config) = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!(config.public_keys.len(), 1);
    let head = head(&idp, 0);
    assert!(
        !head.to_ascii_lowercase().contains("\r\npassword"),
        "{head}"
    );
}

#[tokio::test]
async fn odd_names_and_addresses_stay_in_their_place() {
    let idp = FakeIdp::start([]).await;
    let provider = provider(&idp);
    for (at, (name, path)) in [
        ("ann@example.com", "ann%40example.com"),
        ("a+b", "a%2Bb"),
        ("Jörg", "J%C3%B6rg"),
        ("a b?x=1#y", "a%20b%3Fx%3D1%23y"),
    ]
    .into_iter()
    .enumerate()
    {
        let question = question(name, Credential::PublicKey);
        assert!(answered(&provider.ask(&question).await));
        let line = format!("GET /prod/servers/{SERVER}/users/{path}/config?protocol=SFTP&");
        assert!(head(&idp, at).starts_with(&line), "{}", head(&idp, at));
    }
    let six = Question {
        source_ip: "2001:db8::1".parse().unwrap(),
        ..question("ann", Credential::PublicKey)
    };
    assert!(answered(&provider.ask(&six).await));
    assert!(head(&idp, 4).contains("sourceIp=2001%3Adb8%3A%3A1 HTTP/1.1\r\n"));
    // Names that could leave their place in the path are not asked about at all.
    for name in ["a/b", "..", "a\r\nb", "Jörg", "ab"] {
        assert!(!UserNameRule::Aws.allows(name), "{name}");
    }
}

#[tokio::test]
async fn a_password_that_no_header_carries_goes_encoded_alone() {
    for text in ["geheim-ä-ß", " leading", "trailing ", "a\tb", "日本語"] {
        let idp = FakeIdp::start([Reply::Json(200, yes()), Reply::Json(200, json!({}))]).await;
        let answer = provider(&idp).ask(&password(text)).await;
        assert!(allowed(&answer), "{answer:?}");
        let asked = head(&idp, 0);
        assert!(!asked.contains("\r\nPassword:"), "{asked}");
        let line = format!("\r\nPasswordBase64: {}\r\n", STANDARD.encode(text));
        assert!(asked.contains(&line), "{asked}");
        assert!(
            !head(&idp, 1).contains("Password"),
            "the second is a look-up"
        );
    }
    let idp = FakeIdp::start([Reply::Json(200, json!({}))]).await;
    let denied = provider(&idp).ask(&password("ä")).await;
    assert!(is(&denied, Verdict::Denied), "{denied:?}");
    assert_eq!(idp.asked().len(), 1);
}

#[tokio::test]
async fn a_password_in_one_header_alone_is_hinted_at_when_it_fails() {
    let crash = json!({"errorType": "KeyError", "errorMessage": "'Password'"});
    for (text, answer, hinted) in [
        ("geheim-ä", json!({}), true),
        ("geheim-ä", crash, true),
        ("geheim-ä", with_keys(), true),
        ("geheim-a", json!({}), false),
    ] {
        let idp = FakeIdp::start([Reply::Json(200, answer.clone())]).await;
        let refusal = provider(&idp).ask(&password(text)).await.unwrap_err();
        let detail = refusal.detail.unwrap_or_default();
        assert_eq!(
            detail.contains("PasswordBase64"),
            hinted,
            "{answer}: {detail}"
        );
        assert!(!detail.contains(text), "{detail}");
    }
    let idp = FakeIdp::start([Reply::Json(500, json!({}))]).await;
    let outage = provider(&idp).ask(&password("geheim-ä")).await;
    assert!(!outage.unwrap_err().to_string().contains("PasswordBase64"));
}

#[tokio::test]
async fn a_function_that_reads_only_the_old_header_lets_nobody_in_by_other_passwords() {
    let reason = async |script: [Reply; 2], accept: bool| {
        let idp = FakeIdp::start(script).await;
        let mut settings = settings(&idp);
        settings.accept_keys_with_password = accept;
        let answer = ApiGateway::new(settings).unwrap().ask(&password("ä")).await;
        assert!(!is(&answer, Verdict::Denied), "{answer:?}");
        answer.unwrap_err().reason.as_str()
    };
    let json = |answer: Value| Reply::Json(200, answer);
    let mut no_keys = yes();
    no_keys["PublicKeys"] = json!([]);
    for (script, expected) in [
        (
            [json(with_keys()), json(with_keys())],
            "keys-in-password-answer",
        ),
        ([json(yes()), json(yes())], "password-not-read"),
        ([json(no_keys.clone()), json(no_keys)], "password-not-read"),
        ([json(yes()), Reply::Json(503, json!({}))], "status-gateway"),
        // The gateway itself may be meant: that does not tell whether the function looked.
        ([json(yes()), Reply::Json(401, json!({}))], "status"),
        ([json(yes()), Reply::Json(403, json!({}))], "status"),
    ] {
        for accept in [false, true] {
            assert_eq!(reason(script.clone(), accept).await, expected);
        }
    }
}

#[tokio::test]
async fn every_documented_answer_means_the_same_over_http() {
    let fixtures: Value = serde_json::from_str(idp_contract::FIXTURES).unwrap();
    let cases = fixtures["cases"].as_array().unwrap();
    let over_http = cases.iter().filter(|case| case["transport"] != "lambda");
    let mut asked = 0;
    for case in over_http {
        let name = case["name"].as_str().unwrap();
        let body = case["raw_body"].as_str().map(str::to_owned);
        let body = body.unwrap_or_else(|| case["body"].to_string());
        let (status, length) = (&case["status"], body.len());
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
        let idp = FakeIdp::start([Reply::Piece(answer.into_bytes())]).await;
        let mut settings = settings(&idp);
        settings.accept_keys_with_password =
            case["settings"]["accept_keys_in_password_answer"] == true;
        let credential = match case["method"].as_str() {
            Some("password") => Credential::Password(Secret::new(PASSWORD.to_owned())),
            _ => Credential::PublicKey,
        };
        let question = question(case["username"].as_str().unwrap(), credential);
        let judged = ApiGateway::new(settings).unwrap().ask(&question).await;
        let (verdict, reason) = idp_contract::verdict(&judged);
        assert_eq!(verdict, case["expect"]["verdict"], "{name}: {judged:?}");
        if let Some(expected) = case["expect"]["reason"].as_str() {
            assert_eq!(reason, Some(expected), "{name}: {judged:?}");
        }
        asked += 1;
    }
    assert!(asked >= 40, "{asked}");
}

#[tokio::test]
async fn the_own_authority_is_trusted_and_no_other() {
    let authority = Authority::new();
    let (name, other) = ("localhost", Authority::new());
    let script = [Reply::Json(200, yes()), Reply::Json(200, yes())];
    let idp = FakeIdp::start_tls(script, authority.acceptor(name)).await;
    let with = |host: &str, pem: Option<String>| {
        let url = format!("https://{host}:{}/prod", idp.address().port());
        let mut settings = ApiGatewaySettings::new(&url, SERVER);
        settings.ca_pem = pem.map(String::into_bytes);
        ApiGateway::new(settings).unwrap()
    };
    let trusting = with(name, Some(authority.pem()));
    for _ in 0..2 {
        let answer = trusting.ask(&password(PASSWORD)).await;
        assert!(allowed(&answer), "{answer:?}");
    }
    assert_eq!(idp.connections(), 1, "a connection is used again");
    for refusing in [
        with(name, Some(other.pem())),
        with("127.0.0.1", Some(authority.pem())),
        with(name, None),
    ] {
        let answer = refusing.ask(&password(PASSWORD)).await;
        let (reason, detail) = unavailable(answer, &[PASSWORD]);
        assert_eq!(reason, "connect");
        assert!(detail.to_lowercase().contains("certificate"), "{detail}");
    }
    assert_eq!(idp.asked().len(), 2);
}

const REGION: &str = "eu-west-1";
const SECRET_KEY: &str = "walnut-39/secret";

#[tokio::test]
async fn a_signed_question_verifies() {
    let idp = FakeIdp::start([Reply::Json(200, yes())]).await;
    let mut settings = settings(&idp);
    settings.signing = Some(Signing {
        region: Some(REGION.to_owned()),
        credentials: AwsCredentials::Static(AccessKey::new(
            "AKIDEXAMPLE",
            &Secret::new(SECRET_KEY.to_owned()),
            Some(&Secret::new("hazel-7".to_owned())),
        )),
    });
    let provider = ApiGateway::new(settings).unwrap();
    let secret = Credential::Password(Secret::new(PASSWORD.to_owned()));
    let question = question("ann@example.com", secret);
    assert!(allowed(&provider.ask(&question).await));
    let shown = format!("{provider:?}");
    assert!(
        !shown.contains("walnut-39") && !shown.contains("hazel-7"),
        "{shown}"
    );

    let head = head(&idp, 0);
    let header = |name: &str| {
        let line = head
            .lines()
            .find(|line| line.starts_with(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{name}: {head}"))
            .split_once(": ")
            .unwrap()
            .1
    };
    assert_eq!(header("X-Amz-Security-Token"), "hazel-7");
    assert_eq!(header("Password"), PASSWORD);
    let date = header("X-Amz-Date");
    let authorization = header("Authorization");
    let day = date.split('T').next().unwrap();
    let scope = format!("{day}/{REGION}/execute-api/aws4_request");
    let signed = "host;x-amz-date;x-amz-security-token";
    let begin = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={signed}, Signature="
    );
    let signature = authorization
        .strip_prefix(&begin)
        .unwrap_or_else(|| panic!("{authorization}"));

    // The path is encoded once on the wire, and once more in what is signed.
    let path = format!("/prod/servers/{SERVER}/users/ann%2540example.com/config");
    let canonical = format!(
        "GET\n{path}\nprotocol=SFTP&sourceIp=192.0.2.7\n\
         host:{}\nx-amz-date:{date}\nx-amz-security-token:hazel-7\n\n{signed}\n{}",
        idp.address(),
        hex(&Sha256::digest(b"")),
    );
    let digest = hex(&Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for part in [day, REGION, "execute-api", "aws4_request"] {
        key = hmac(&key, part);
    }
    assert_eq!(signature, hex(&hmac(&key, &to_sign)));
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let with = |url: &str, change: &dyn Fn(&mut ApiGatewaySettings)| {
        let mut settings = ApiGatewaySettings::new(url, SERVER);
        change(&mut settings);
        ApiGateway::new(settings)
            .err()
            .map(|error| error.to_string())
    };
    let api = "https://abc.execute-api.us-east-1.amazonaws.com/prod";
    let sign = |settings: &mut ApiGatewaySettings| {
        settings.signing = Some(Signing {
            region: None,
            credentials: AwsCredentials::DefaultChain,
        });
    };
    assert_eq!(with(api, &sign), None);
    let custom = "https://login.example.com";
    assert!(with(custom, &sign).unwrap().contains("aws_region"));
    assert!(
        with("http://login.example.com", &|_| {})
            .unwrap()
            .contains("plaintext = true")
    );
    assert_eq!(
        with("http://login.example.com", &|s| s.plaintext = true),
        None
    );
    for pem in ["", "no PEM"] {
        let ca = |s: &mut ApiGatewaySettings| s.ca_pem = Some(pem.into());
        assert!(with(custom, &ca).unwrap().contains("ca_file"));
    }
    let header = |s: &mut ApiGatewaySettings| {
        let value = Secret::new("quartz-77\r\nX: y".to_owned());
        s.headers.push(("X-Key".to_owned(), value));
    };
    let refusal = with(custom, &header).unwrap();
    assert!(
        refusal.contains("X-Key") && !refusal.contains("quartz-77"),
        "{refusal}"
    );
}
