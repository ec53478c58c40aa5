//! Signed questions: how a service can tell that a question comes from this gateway, and that
//! nobody changed it on the way.
//!
//! Two ways: a short-lived JWT with the hash of the body, for which the service needs a public key
//! alone, and an HMAC over time and body, for which it needs the secret.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::follow::{Followed, Reloaded, Seen};
use crate::clock::unix_seconds;
use crate::config;
use crate::limits;
use crate::metrics::Holding;
use crate::secret::Secret;

/// The private keys of some files: the first one signs, the public halves of all are published, so
/// that a service knows the next key before it is used and the last one for as long as it matters.
#[derive(Debug)]
pub struct Keys {
    paths: Vec<String>,
    current: RwLock<Arc<Ring>>,
    seen: Seen,
}

/// The keys of one reading; never empty.
#[derive(Debug)]
struct Ring(Vec<Key>);

/// One private key and what is published of it.
struct Key {
    algorithm: Algorithm,
    private: EncodingKey,
    public: Jwk,
    id: String,
}

/// The keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("the list of files is empty")]
    None,
    #[error("{path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "{path}: not a private key in PKCS#8 PEM, P-256 or Ed25519; make one: openssl genpkey \
         -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
    )]
    NoKey { path: String },
    #[error("{path}: the same key as {other}")]
    Twice { path: String, other: String },
}

impl Keys {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn open(paths: &[String]) -> Result<Self, KeysError> {
        let seen = Seen::now(paths);
        let ring = Ring::read(paths)?;
        Ok(Self {
            paths: paths.to_vec(),
            current: RwLock::new(Arc::new(ring)),
            seen,
        })
    }

    /// Returns the public keys as a JWK set (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> String {
        published(&[self]).unwrap_or_default()
    }

    fn ring(&self) -> Arc<Ring> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

/// Returns the public keys of several, each once; `None` when there is none.
#[must_use]
pub fn published(all: &[impl AsRef<Keys>]) -> Option<String> {
    let mut set: Vec<Jwk> = Vec::new();
    for keys in all {
        for key in &keys.as_ref().ring().0 {
            if !set.contains(&key.public) {
                set.push(key.public.clone());
            }
        }
    }
    (!set.is_empty()).then(|| serde_json::json!({ "keys": set }).to_string())
}

impl AsRef<Self> for Keys {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Followed for Keys {
    fn holds(&self) -> Holding {
        Holding::SigningKeys
    }

    fn changed(&self) -> bool {
        self.seen.changed(&self.paths)
    }

    fn reload(&self) -> Reloaded {
        match Ring::read(&self.paths) {
            Ok(ring) => {
                let key = ring.0.first().map_or("", |key| &key.id);
                tracing::info!(key, keys = ring.0.len(), "signing keys reloaded");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
                Reloaded::Done
            }
            Err(error) => {
                tracing::error!(%error, "a signing key cannot be used: the old keys stay in use");
                Reloaded::Failed
            }
        }
    }
}

impl Ring {
    fn read(paths: &[String]) -> Result<Self, KeysError> {
        let mut keys: Vec<Key> = Vec::with_capacity(paths.len());
        for path in paths {
            let key = Key::read(path)?;
            if let Some((at, _)) = keys.iter().enumerate().find(|(_, k)| k.id == key.id) {
                let other = paths.get(at).cloned().unwrap_or_default();
                let path = path.clone();
                return Err(KeysError::Twice { path, other });
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeysError::None);
        }
        Ok(Self(keys))
    }
}

impl Key {
    fn read(path: &str) -> Result<Self, KeysError> {
        let text = config::read_text(path, limits::CONFIG_FILE_BYTES_MAX);
        let text = Zeroizing::new(text.map_err(|source| KeysError::Read {
            path: path.to_owned(),
            source,
        })?);
        Self::parse(&text).ok_or_else(|| KeysError::NoKey {
            path: path.to_owned(),
        })
    }

    fn parse(pem: &str) -> Option<Self> {
        let (algorithm, private) = match EncodingKey::from_ec_pem(pem.as_bytes()) {
            Ok(key) => (Algorithm::ES256, key),
            Err(_) => (
                Algorithm::EdDSA,
                EncodingKey::from_ed_pem(pem.as_bytes()).ok()?,
            ),
        };
        // Fails for other curves.
        let mut public = Jwk::from_encoding_key(&private, algorithm).ok()?;
        let id = public.thumbprint(ThumbprintHash::SHA256).ok()?;
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Some(Self {
            algorithm,
            private,
            public,
            id,
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.id).finish()
    }
}

/// How questions are signed with a key.
#[derive(Debug, Clone)]
pub struct Signing {
    pub keys: Arc<Keys>,
    pub issuer: Box<str>,
    /// `None` = the origin of the URL that is asked.
    pub audience: Option<Box<str>>,
    pub lifetime: Duration,
}

/// What the token of a question says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: u32,
    exp: u32,
    jti: &'a str,
    body_sha256: String,
}

impl Signing {
    /// Returns the token for one question: the value of `Authorization: Bearer`.
    ///
    /// # Errors
    /// The key does not sign.
    pub(super) fn token(
        &self,
        origin: &str,
        request_id: &str,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Secret, jsonwebtoken::errors::Error> {
        let ring = self.keys.ring();
        let key = ring.0.first().expect("a ring is never empty");
        let header = Header {
            kid: Some(key.id.clone()),
            ..Header::new(key.algorithm)
        };
        let claims = Claims {
            iss: &self.issuer,
            aud: self.audience.as_deref().unwrap_or(origin),
            iat: unix_seconds(now),
            exp: unix_seconds(now.checked_add(self.lifetime).unwrap_or(now)),
            jti: request_id,
            body_sha256: URL_SAFE_NO_PAD.encode(Sha256::digest(body)),
        };
        jsonwebtoken::encode(&header, &claims, &key.private).map(Secret::new)
    }
}

/// Returns the value of `X-Portcullis-Signature`: `t=<unix time>,v1=<hex>`, where the latter is the
/// HMAC-SHA256 of `<unix time>.<body>`.
pub(super) fn hmac(secret: &Secret, body: &[u8], now: SystemTime) -> String {
    let time = unix_seconds(now).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("a key of any length is good for HMAC");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let code = mac.finalize().into_bytes();
    format!("t={time},v1={}", hex::encode(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hmac_is_the_one_that_others_compute() {
        // printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac quartz-77
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let secret = Secret::new("quartz-77".to_owned());
        assert_eq!(
            hmac(&secret, br#"{"a":1}"#, now),
            "t=1700000000,v1=5998b4765d90f346a5f4a443b608bbeeb9dd70162ba58ff8afb89cf920be71b9"
        );
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        let rsa = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        for pem in ["", "not PEM", rsa] {
            assert!(Key::parse(pem).is_none(), "{pem}");
        }
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(Key::parse(&p384.serialize_pem()).is_none());
        let p256 = rcgen::KeyPair::generate().unwrap();
        let key = Key::parse(&p256.serialize_pem()).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.len() < 80, "{shown}");
    }
}
