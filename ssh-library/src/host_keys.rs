//! The host keys of a server: signing with RSA ones, announcing and proving all of them
//! (OpenSSH's PROTOCOL, section 2.5).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512};
use num_bigint::BigUint;
use ssh_encoding::{Decode as _, Encode as _, Reader};
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::{Algorithm, HashAlg, PrivateKey};

use crate::helpers::sign_with_hash_alg;
use crate::keys::PrivateKeyWithHashAlg;
use crate::server::Session;
use crate::{Error, msg};

const ANNOUNCE: &str = "hostkeys-00@openssh.com";
const PROVE: &str = "hostkeys-prove-00@openssh.com";

/// The keys of a server, those in use and those that will be.
#[derive(Clone, Default)]
pub struct HostKeys(Arc<[HostKey]>);

struct HostKey {
    key: Arc<PrivateKey>,
    /// As the clients know it.
    blob: Vec<u8>,
    /// Present for RSA keys alone.
    rsa: Option<KeyPair>,
}

/// A key with which nothing can be signed.
#[derive(Debug, thiserror::Error)]
#[error("the parts of the key do not go together, or it is too short or too long")]
pub struct UnusableKey;

impl HostKeys {
    /// Takes the keys that are announced. All keys of the configuration have to be among them.
    ///
    /// # Errors
    /// An RSA key whose parts do not go together, or with less than 2048 or more than 8192 bits.
    pub fn new(keys: Vec<PrivateKey>) -> Result<Self, UnusableKey> {
        let keys = keys.into_iter().map(|key| {
            Ok(HostKey {
                blob: key.public_key().to_bytes().map_err(|_| UnusableKey)?,
                rsa: match key.key_data() {
                    KeypairData::Rsa(pair) => Some(rsa_pair(pair).ok_or(UnusableKey)?),
                    _ => None,
                },
                key: Arc::new(key),
            })
        });
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// Signs, with the `rsa` crate in no case.
    pub(crate) fn sign(
        &self,
        key: &PrivateKeyWithHashAlg,
        data: &[u8],
    ) -> ssh_key::Result<Vec<u8>> {
        if !key.algorithm().is_rsa() {
            return sign_with_hash_alg(key, data);
        }
        let known = self.0.iter().find(|known| *known.key == **key);
        let pair = known.and_then(|known| known.rsa.as_ref());
        let pair = pair.ok_or(ssh_key::Error::PublicKey)?;
        let encoding = match key.hash_alg() {
            Some(HashAlg::Sha256) => &RSA_PKCS1_SHA256,
            Some(HashAlg::Sha512) => &RSA_PKCS1_SHA512,
            _ => return Err(ssh_key::Error::AlgorithmUnknown),
        };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), data, &mut signature)
            .map_err(|_| ssh_key::Error::Crypto)?;
        let mut encoded = Vec::new();
        key.algorithm().as_str().encode(&mut encoded)?;
        signature.encode(&mut encoded)?;
        Ok(encoded)
    }
}

impl fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostKeys").field(&self.0.len()).finish()
    }
}

/// The key for the crypto backend. This happens once, when no client looks on.
fn rsa_pair(pair: &RsaKeypair) -> Option<KeyPair> {
    let (public, private) = (pair.public(), pair.private());
    let [n, e] = [public.n(), public.e()].map(|part| part.as_positive_bytes());
    let [d, q_inverse, p, q] = [private.d(), private.iqmp(), private.p(), private.q()]
        .map(|part| part.as_positive_bytes());
    let (d, p, q) = (d?, p?, q?);
    let reduced = |prime| {
        let order = BigUint::from_bytes_be(prime) - 1_u8;
        (BigUint::from_bytes_be(d) % order).to_bytes_be()
    };
    if [p, q].iter().any(|prime| matches!(prime, [] | [0 | 1])) {
        return None;
    }
    KeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n: n?, e: e? },
        d,
        p,
        q,
        dP: &*reduced(p),
        dQ: &*reduced(q),
        qInv: q_inverse?,
    })
    .ok()
}

impl Session {
    /// Tells the client all host keys there are; to be called once it is authenticated.
    pub fn announce_host_keys(&mut self) -> Result<(), Error> {
        let keys = self.common.config.host_keys.clone();
        if let Some(encrypted) = self
            .common
            .encrypted
            .as_mut()
            .filter(|_| !keys.0.is_empty())
        {
            let wants_reply = 0_u8;
            push_packet!(encrypted.write, {
                msg::GLOBAL_REQUEST.encode(&mut encrypted.write)?;
                ANNOUNCE.encode(&mut encrypted.write)?;
                wants_reply.encode(&mut encrypted.write)?;
                for key in &*keys.0 {
                    key.blob.encode(&mut encrypted.write)?;
                }
            });
        }
        Ok(())
    }

    /// Signs for each key that the client asks about, or refuses if one is not ours.
    pub(crate) fn prove_host_keys<R: Reader>(&mut self, asked: &mut R) -> Result<(), Error> {
        let keys = self.common.config.host_keys.clone();
        let Some(encrypted) = self.common.encrypted.as_mut() else {
            return Err(Error::Inconsistent);
        };
        // What the exchange was signed with, if that was RSA (as OpenSSH has it).
        let agreed = encrypted.exchange.as_ref();
        let hash = match agreed.and_then(|exchange| exchange.host_key_algorithm.clone()) {
            Some(Algorithm::Rsa { hash: Some(hash) }) => hash,
            _ => HashAlg::Sha512,
        };
        let (mut proofs, mut count) = (vec![msg::REQUEST_SUCCESS], 0);
        while !asked.is_finished() {
            let blob = Vec::<u8>::decode(asked)?;
            count += 1;
            let known = keys.0.iter().find(|known| known.blob == blob);
            // Nobody has to ask about a key twice, and each costs a signature.
            let Some(known) = known.filter(|_| count <= keys.0.len()) else {
                self.request_failure();
                return Ok(());
            };
            let mut signed = Vec::new();
            PROVE.encode(&mut signed)?;
            encrypted.session_id.as_ref().encode(&mut signed)?;
            blob.encode(&mut signed)?;
            let key = PrivateKeyWithHashAlg::new(Arc::clone(&known.key), Some(hash));
            keys.sign(&key, &signed)?.encode(&mut proofs)?;
        }
        if count > 0 && self.common.wants_reply {
            self.common.wants_reply = false;
            push_packet!(encrypted.write, encrypted.write.extend(&proofs));
        } else {
            self.request_failure();
        }
        Ok(())
    }
}
