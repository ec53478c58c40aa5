//! The public keys that tokens are verified with (pure): a JWK set (RFC 7517), of which only what
//! can verify a signature is kept.

#![warn(clippy::arithmetic_side_effects)]

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::Object;
use crate::idp::wire::json::{self, Json};
use crate::limits;

/// The keys of one reading; never empty.
#[derive(Debug)]
pub(super) struct KeySet(Vec<PublicKey>);

/// One key and what it may be used for.
pub(super) struct PublicKey {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<String>,
    kind: KeyKind,
    key: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// The text is no key set that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("not a JWK set: an object with the array `keys`")]
    NotASet,
    #[error("{0} keys; allowed: up to {max}", max = limits::JWKS_KEYS_MAX)]
    TooMany(usize),
    #[error("no key that can verify a signature: RSA from 2048 bits, P-256, P-384 or Ed25519")]
    NoKey,
}

impl KeySet {
    pub(super) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let Ok(Json::Object(mut set)) = json::parse(text) else {
            return Err(KeySetError::NotASet);
        };
        let Some(Json::Array(keys)) = set.remove("keys") else {
            return Err(KeySetError::NotASet);
        };
        if keys.len() > limits::JWKS_KEYS_MAX {
            return Err(KeySetError::TooMany(keys.len()));
        }
        // What is of no use here may be of use to others.
        let keys: Vec<_> = keys.into_iter().filter_map(PublicKey::read).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoKey);
        }
        Ok(Self(keys))
    }

    /// Returns how many keys there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether a key has this name, whatever it is for.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Returns the keys that a signature may be of. A token that names no key may be of any.
    pub(super) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let named = move |key: &&PublicKey| id.is_none() || key.id.as_deref() == id;
        let keys = self.0.iter().filter(named);
        keys.filter(move |key| key.fits(algorithm))
            .map(|key| &key.key)
    }
}

impl PublicKey {
    fn read(key: Json) -> Option<Self> {
        let Json::Object(key) = key else {
            return None;
        };
        let for_signatures = match key.get("use") {
            None => true,
            Some(value) => is_text(value, "sig"),
        };
        let verifies = match key.get("key_ops") {
            None => true,
            Some(Json::Array(operations)) => operations.iter().any(|op| is_text(op, "verify")),
            Some(_) => false,
        };
        if !for_signatures || !verifies {
            return None;
        }
        let (kind, public) = material(&key)?;
        Some(Self {
            id: optional(&key, "kid")?,
            algorithm: optional(&key, "alg")?,
            kind,
            key: public,
        })
    }

    /// Says whether a signature of this algorithm may be verified with this key.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => KeyKind::Rsa,
            Algorithm::ES256 => KeyKind::P256,
            Algorithm::ES384 => KeyKind::P384,
            Algorithm::EdDSA => KeyKind::Ed25519,
            // A public key is no secret: nobody proves anything by knowing it.
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 | _ => return false,
        };
        let own = format!("{algorithm:?}");
        self.kind == kind && self.algorithm.as_ref().is_none_or(|only| *only == own)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey")
            .field(&self.id)
            .field(&self.kind)
            .finish()
    }
}

fn is_text(value: &Json, wanted: &str) -> bool {
    matches!(value, Json::Text(text) if text == wanted)
}

/// `None` for a value that is no string, `Some(None)` for none at all.
#[expect(clippy::option_option, reason = "wrong and missing are not the same")]
fn optional(key: &Object, name: &str) -> Option<Option<String>> {
    match key.get(name) {
        None => Some(None),
        Some(Json::Text(text)) => Some(Some(text.clone())),
        Some(_) => None,
    }
}

fn material(key: &Object) -> Option<(KeyKind, DecodingKey)> {
    let text = |name: &str| match key.get(name) {
        Some(Json::Text(text)) => Some(&**text),
        _ => None,
    };
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let of_length = |name: &str, length: usize| bytes(name).is_some_and(|b| b.len() == length);
    match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let modulus = bytes("n")?;
            let modulus = modulus.strip_prefix(&[0]).unwrap_or(&modulus);
            let bits = modulus.len().saturating_mul(8);
            if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                return None;
            }
            let key = DecodingKey::from_rsa_raw_components(modulus, &bytes("e")?);
            Some((KeyKind::Rsa, key))
        }
        ("EC", Some(curve @ ("P-256" | "P-384"))) => {
            let (kind, length) = match curve {
                "P-256" => (KeyKind::P256, 32),
                _ => (KeyKind::P384, 48),
            };
            if !of_length("x", length) || !of_length("y", length) {
                return None;
            }
            let key = DecodingKey::from_ec_components(text("x")?, text("y")?);
            Some((kind, key.ok()?))
        }
        ("OKP", Some("Ed25519")) if of_length("x", 32) => {
            let key = DecodingKey::from_ed_components(text("x")?).ok()?;
            Some((KeyKind::Ed25519, key))
        }
        _ => None,
    }
}

/// Shorter RSA keys can be broken, longer ones cost too much time for a key that a stranger names.
const RSA_BITS_MIN: usize = 2_048;
const RSA_BITS_MAX: usize = 8_192;
