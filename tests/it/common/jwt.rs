//! An issuer of tokens, good ones and others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

pub(crate) struct IssuerKey {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) pair: KeyPair,
    private: EncodingKey,
    /// The public half.
    pub(crate) jwk: Value,
}

impl IssuerKey {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::ES256 => KeyPair::generate().unwrap(),
            Algorithm::ES384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
            Algorithm::EdDSA => KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            _ => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(),
        };
        let public = pair.der_bytes();
        let part = |from: usize, to: usize| URL_SAFE_NO_PAD.encode(&public[from..to]);
        let der = pair.serialize_der();
        let (private, mut jwk) = match algorithm {
            Algorithm::ES256 => (
                EncodingKey::from_ec_der(&der),
                json!({"kty": "EC", "crv": "P-256", "x": part(1, 33), "y": part(33, 65)}),
            ),
            Algorithm::ES384 => (
                EncodingKey::from_ec_der(&der),
                json!({"kty": "EC", "crv": "P-384", "x": part(1, 49), "y": part(49, 97)}),
            ),
            Algorithm::EdDSA => (
                EncodingKey::from_ed_der(&der),
                json!({"kty": "OKP", "crv": "Ed25519", "x": part(0, 32)}),
            ),
            rsa => {
                let private = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
                let jwk = serde_json::to_value(Jwk::from_encoding_key(&private, rsa).unwrap());
                let mut jwk = jwk.unwrap();
                // One key for all RSA signatures.
                jwk.as_object_mut().unwrap().remove("alg");
                (private, jwk)
            }
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        Self {
            id: id.to_owned(),
            algorithm,
            pair,
            private,
            jwk,
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({}), &claims.to_string())
    }

    /// Signs with another algorithm of the same kind of key.
    pub(crate) fn sign_as(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": algorithm, "kid": self.id});
        let message = format!("{}.{}", b64(&header.to_string()), b64(&claims.to_string()));
        let algorithm = algorithm.parse().unwrap();
        let signature = crypto::sign(message.as_bytes(), &self.private, algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// Signs any text; `header` adds to the header, and `null` there takes away.
    pub(crate) fn sign_with(&self, header: &Value, claims: &str) -> String {
        let mut all = json!({"typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.id});
        for (key, value) in header.as_object().unwrap() {
            all[key] = value.clone();
            if value.is_null() {
                all.as_object_mut().unwrap().remove(key);
            }
        }
        let message = format!("{}.{}", b64(&all.to_string()), b64(claims));
        let signature = crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

pub(crate) fn b64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

pub(crate) fn jwks(keys: &[&IssuerKey]) -> Value {
    let keys: Vec<_> = keys.iter().map(|key| &key.jwk).collect();
    json!({ "keys": keys })
}
