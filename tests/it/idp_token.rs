//! Passwords that are tokens: what lets in, and everything that must not.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis::clock::Clock as _;
use portcullis::idp::token::{KeySource, Token, TokenSettings};
use portcullis::idp::{Asking, Credential, IdentityProvider as _, Judged, Question, UserConfig};
use portcullis::secret::Secret;
use portcullis::vfs::Access;
use serde_json::{Value, json};

use super::common::clock::FakeClock;
use super::common::jwt::{IssuerKey, b64, jwks};
use crate::common::refusals::word;

pub(crate) const ISSUER: &str = "https://login.example.com/";

pub(crate) fn settings(keys: KeySource) -> TokenSettings {
    TokenSettings {
        keys,
        issuer: ISSUER.to_owned(),
        audience: "sftp".to_owned(),
        algorithms: [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
        ]
        .map(str::to_owned)
        .to_vec(),
        clock_skew: Duration::from_secs(30),
        user_claim: "preferred_username".to_owned(),
        mappings: vec!["/in=/bucket/{tenant}/in:write".to_owned()],
        home: None,
        role: None,
        policy: None,
    }
}

/// The wall clock of the tests, in seconds.
pub(crate) fn now(clock: &FakeClock) -> u64 {
    let since = clock.wall().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

pub(crate) fn claims(now: u64) -> Value {
    json!({"iss": ISSUER, "aud": "sftp", "sub": "u-17", "preferred_username": "ann",
        "tenant": "acme", "iat": now, "exp": now + 300})
}

pub(crate) fn question(credential: Credential) -> Question {
    Question {
        request_id: "c1-1".into(),
        username: "ann".into(),
        credential,
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

pub(crate) fn password(token: &str) -> Question {
    question(Credential::Password(Secret::new(token.to_owned())))
}

struct Bench {
    token: Token,
    now: u64,
    keys: Vec<IssuerKey>,
    clock: Arc<FakeClock>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut TokenSettings)) -> Self {
        use Algorithm::{ES256, ES384, EdDSA, RS256};
        let keys = [("rsa", RS256), ("ec", ES256), ("ec3", ES384), ("ed", EdDSA)];
        let keys: Vec<_> = keys.map(|(id, alg)| IssuerKey::new(id, alg)).into();
        let set = jwks(&keys.iter().collect::<Vec<_>>()).to_string();
        let clock = Arc::new(FakeClock::new());
        let mut settings = settings(KeySource::File(String::new()));
        change(&mut settings);
        Self {
            token: Token::with_keys(&settings, &set, clock.clone()).unwrap(),
            now: now(&clock),
            keys,
            clock,
        }
    }

    fn ec(&self) -> &IssuerKey {
        &self.keys[1]
    }

    fn claims(&self) -> Value {
        claims(self.now)
    }

    /// Returns the good claims with some of them changed, or, with `null`, taken away.
    fn with(&self, changes: &Value) -> Value {
        let mut all = self.claims();
        for (key, value) in changes.as_object().unwrap() {
            all[key] = value.clone();
            if value.is_null() {
                all.as_object_mut().unwrap().remove(key);
            }
        }
        all
    }

    async fn judge(&self, token: &str) -> Judged {
        let answer = self.token.ask(&password(token)).await;
        let shown = format!("{answer:?}");
        let signature = token.rsplit('.').next().unwrap_or_default();
        assert!(signature.len() < 8 || !shown.contains(signature), "{shown}");
        answer
    }

    async fn word(&self, token: &str) -> &'static str {
        word(&self.judge(token).await)
    }

    async fn allowed(&self, token: &str) -> Arc<UserConfig> {
        match self.judge(token).await {
            Ok(config) => config,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_good_token_of_every_algorithm_lets_its_user_in() {
    let bench = Bench::new(|_| {});
    for key in &bench.keys {
        let config = bench.allowed(&key.sign(&bench.claims())).await;
        assert_eq!(&*config.user, "ann");
        let [mapping] = config.home.mappings() else {
            panic!()
        };
        assert_eq!(mapping.entry.as_str(), "/in");
        assert_eq!(
            (mapping.bucket.as_str(), &*mapping.prefix),
            ("bucket", "acme/in")
        );
        assert_eq!(mapping.access, Access::Write);
        // With the clock skew: the answer, the cache and the session end together.
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(bench.now + 330);
        assert_eq!(config.expires_at, Some(end));
    }
    let rsa = &bench.keys[0];
    for algorithm in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        let token = rsa.sign_as(algorithm, &bench.claims());
        assert_eq!(bench.word(&token).await, "allowed", "{algorithm}");
    }
}

/// Makes a token of a kind that is never allowed: its key is known to everybody.
fn symmetric(secret: &str, id: &str, claims: &Value) -> String {
    let header = Header {
        kid: Some(id.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

#[tokio::test]
async fn forged_tokens_are_denied() {
    let bench = Bench::new(|_| {});
    let (ec, good) = (bench.ec(), bench.claims());
    let token = ec.sign(&good);
    let parts: Vec<&str> = token.split('.').collect();
    let stranger = IssuerKey::new("ec", Algorithm::ES256);
    let other = b64(&bench.with(&json!({"tenant": "other"})).to_string());
    let none = b64(r#"{"alg":"none","kid":"ec"}"#);
    let [rsa_pem, ec_pem] = [&bench.keys[0], ec].map(|key| key.pair.public_key_pem());
    let sent_along =
        json!({"jwk": stranger.jwk, "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"});
    let with_header = |key: &IssuerKey, header: Value| key.sign_with(&header, &good.to_string());
    let unsigned = format!("{}.{}.", parts[0], parts[1]);
    let none_signed = format!("{none}.{}.{}", parts[1], parts[2]);
    let changed = format!("{}.{other}.{}", parts[0], parts[2]);
    for (token, expected) in [
        (unsigned, "token-signature"),
        (format!("{token}="), "token-signature"),
        (changed, "token-signature"),
        (format!("{none}.{}.", parts[1]), "token-algorithm"),
        (none_signed, "token-algorithm"),
        (symmetric(&rsa_pem, "rsa", &good), "token-algorithm"),
        (symmetric(&ec_pem, "ec", &good), "token-algorithm"),
        (symmetric("", "ec", &good), "token-algorithm"),
        (stranger.sign(&good), "token-signature"),
        (
            with_header(&stranger, sent_along.clone()),
            "token-signature",
        ),
        (with_header(ec, json!({"kid": "nobody"})), "token-key"),
        (with_header(ec, json!({"kid": "rsa"})), "token-key"),
        (with_header(ec, json!({"alg": "ES384"})), "token-key"),
        (with_header(ec, json!({"alg": "RS256"})), "token-key"),
    ] {
        assert_eq!(bench.word(&token).await, expected, "{token}");
    }
    // Without a name any key may be meant; keys that are sent along are passed over.
    for header in [json!({"kid": null}), sent_along] {
        assert_eq!(bench.word(&with_header(ec, header)).await, "allowed");
    }
}

#[tokio::test]
async fn broken_tokens_are_denied() {
    let bench = Bench::new(|_| {});
    let (ec, good) = (bench.ec(), bench.claims().to_string());
    let token = ec.sign(&bench.claims());
    let parts: Vec<&str> = token.split('.').collect();
    let twice = good.replacen('{', r#"{"tenant":"x","#, 1);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(60), "]".repeat(60));
    let with_header = |header: Value| ec.sign_with(&header, &good);
    let with_claims = |claims: &str| ec.sign_with(&json!({}), claims);
    for token in [
        String::new(),
        "tidal-fern-41".to_owned(),
        parts[..2].join("."),
        format!("{token}.x"),
        format!("{token}.x.y"),
        format!(".{token}"),
        with_header(json!({"kid": 7})),
        with_header(json!({"alg": 7})),
        with_header(json!({"alg": null})),
        with_header(json!({"crit": ["b64"], "b64": false})),
        with_claims("[1]"),
        with_claims("{"),
        with_claims(&twice),
        with_claims(&deep),
    ] {
        assert_eq!(bench.word(&token).await, "token-malformed", "{token}");
    }
    let long = format!("{}.{token}", "A".repeat(17_000));
    assert_eq!(bench.word(&long).await, "password-too-long");
}

#[tokio::test]
async fn claims_that_do_not_fit_are_denied() {
    let bench = Bench::new(|_| {});
    let n = bench.now;
    for (changes, expected) in [
        (json!({"exp": n + 1}), "allowed"),
        (json!({"exp": n - 29}), "allowed"),
        (json!({"exp": n - 30}), "token-expired"),
        (json!({"exp": 0}), "token-expired"),
        (json!({"exp": null}), "token-malformed"),
        (json!({"exp": "2099-01-01T00:00:00Z"}), "token-malformed"),
        (json!({"exp": -1}), "token-malformed"),
        (json!({"exp": 1e300}), "token-malformed"),
        (json!({"exp": u64::MAX}), "token-malformed"),
        (json!({"exp": n as f64 + 5.5}), "allowed"),
        (json!({"nbf": n + 30}), "allowed"),
        (json!({"nbf": n + 31}), "token-not-yet-valid"),
        (json!({"nbf": "soon"}), "token-malformed"),
        (json!({"iss": "https://login.example.com"}), "token-issuer"),
        (json!({"iss": null}), "token-issuer"),
        (json!({"iss": [ISSUER]}), "token-issuer"),
        (json!({"aud": "web"}), "token-audience"),
        (json!({"aud": null}), "token-audience"),
        (json!({"aud": []}), "token-audience"),
        (json!({"aud": ["web", "sftp"]}), "allowed"),
        (json!({"aud": {"sftp": true}}), "token-audience"),
        (json!({"preferred_username": "Ann"}), "token-user"),
        (json!({"preferred_username": "bob"}), "token-user"),
        (json!({"preferred_username": ["ann"]}), "token-user"),
        (json!({"preferred_username": null}), "token-user"),
        (json!({"sub": ""}), "allowed"),
        (json!({"tenant": null}), "token-claim"),
        (json!({"tenant": ""}), "token-claim"),
        (json!({"tenant": ".."}), "token-claim"),
        (json!({"tenant": "a/../../b"}), "token-claim"),
        (json!({"tenant": "a\u{0}"}), "token-claim"),
        (json!({"tenant": ["acme"]}), "token-claim"),
        (json!({"tenant": {"a": {"b": 1}}}), "token-claim"),
        (json!({"tenant": "${transfer:UserName}"}), "target-variable"),
        (json!({"tenant": 42}), "allowed"),
    ] {
        let token = bench.ec().sign(&bench.with(&changes));
        assert_eq!(bench.word(&token).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn a_user_claim_that_is_empty_or_another_one_is_compared_as_it_is() {
    let bench = Bench::new(|settings| settings.user_claim = "sub".to_owned());
    for (changes, expected) in [
        (json!({}), "token-user"),
        (json!({"sub": ""}), "token-user"),
        (json!({"sub": "ann"}), "allowed"),
    ] {
        let token = bench.ec().sign(&bench.with(&changes));
        assert_eq!(bench.word(&token).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn claims_fill_home_role_and_policy_and_widen_none_of_them() {
    const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::bucket/{tenant}/*"}]}"#;
    let bench = Bench::new(|settings| {
        settings.home = Some("/in/{tenant}".to_owned());
        settings.role = Some("arn:aws:iam::123456789012:role/{tenant}".to_owned());
        settings.policy = Some(POLICY.to_owned());
    });
    let config = bench.allowed(&bench.ec().sign(&bench.claims())).await;
    assert_eq!(config.home.landing().as_str(), "/in/acme");
    let role = config.role.as_deref();
    assert_eq!(role, Some("arn:aws:iam::123456789012:role/acme"));
    let expected = POLICY.replace("{tenant}", "acme");
    assert_eq!(config.policy.as_deref(), Some(&*expected));
    for bad in ["*", "a?", "${aws:username}", "x\",\"y", "a\\", "a:b", "é"] {
        let token = bench.ec().sign(&bench.with(&json!({"tenant": bad})));
        let word = bench.word(&token).await;
        assert!(
            matches!(word, "token-claim" | "target-variable"),
            "{bad}: {word}"
        );
    }
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_users_have_no_keys() {
    let bench = Bench::new(|_| {});
    let token = bench.ec().sign(&bench.claims());
    bench.clock.advance(Duration::from_secs(329));
    assert_eq!(bench.word(&token).await, "allowed");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.word(&token).await, "token-expired");
    let answer = bench.token.ask(&question(Credential::PublicKey)).await;
    assert_eq!(word(&answer), "token-only");
}

#[test]
fn settings_that_would_let_anybody_in_are_refused() {
    let refused = |change: &dyn Fn(&mut TokenSettings)| {
        let mut settings = settings(KeySource::File(String::new()));
        change(&mut settings);
        let key = jwks(&[&IssuerKey::new("a", Algorithm::ES256)]).to_string();
        let made = Token::with_keys(&settings, &key, Arc::new(FakeClock::new()));
        made.err().map(|error| error.to_string())
    };
    assert_eq!(refused(&|_| {}), None);
    for algorithm in ["none", "HS256", "HS384", "HS512", "es256", ""] {
        assert!(
            refused(&|s| s.algorithms.push(algorithm.to_owned())).is_some(),
            "{algorithm}"
        );
    }
    assert!(refused(&|s| s.algorithms.clear()).is_some());
    assert!(refused(&|s| s.mappings.clear()).is_some());
    assert!(refused(&|s| s.mappings = vec!["/in".to_owned()]).is_some());
    assert!(refused(&|s| s.home = Some("/{".to_owned())).is_some());
    assert!(refused(&|s| s.policy = Some("{tenant}".to_owned())).is_some());
    let symmetric = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}).to_string();
    let settings = settings(KeySource::File(String::new()));
    for jwks in [&*symmetric, "", "[]", r#"{"keys":[]}"#, r#"{"keys":[{}]}"#] {
        let made = Token::with_keys(&settings, jwks, Arc::new(FakeClock::new()));
        assert!(made.is_err(), "{jwks}");
    }
}

#[tokio::test]
async fn a_key_that_is_for_something_else_verifies_nothing() {
    let key = IssuerKey::new("a", Algorithm::ES256);
    let spare = IssuerKey::new("b", Algorithm::ES256);
    for (change, expected) in [
        (json!({}), "allowed"),
        (json!({"alg": "ES256"}), "allowed"),
        (json!({"alg": "ES384"}), "token-key"),
        (json!({"alg": 7}), "token-key"),
        (json!({"use": "enc"}), "token-key"),
        (json!({"key_ops": ["verify"]}), "allowed"),
        (json!({"key_ops": ["encrypt"]}), "token-key"),
        (json!({"kty": "OKP"}), "token-key"),
        (json!({"crv": "P-384"}), "token-key"),
        (json!({"x": "AAAA"}), "token-key"),
    ] {
        let mut jwk = key.jwk.clone();
        for (name, value) in change.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        let set = json!({"keys": [jwk, spare.jwk]}).to_string();
        let clock = Arc::new(FakeClock::new());
        let settings = settings(KeySource::File(String::new()));
        let token = Token::with_keys(&settings, &set, clock.clone()).unwrap();
        let answer = token.ask(&password(&key.sign(&claims(now(&clock))))).await;
        assert_eq!(word(&answer), expected, "{change}");
    }
}
