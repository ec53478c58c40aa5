//! Whether a token is good (pure): its form, its signature, its claims.
//!
//! The header is believed in nothing but the choice among algorithms and keys that are allowed
//! anyway: `jku`, `x5u`, `jwk` and the like are passed over. It is read with the bounds of any other
//! foreign JSON; a key that stands twice makes the token invalid, because two readers might take
//! different ones.

#![warn(clippy::arithmetic_side_effects)]

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};

use super::Object;
use super::keys::KeySet;
use crate::idp::wire::json::{self, Json};
use crate::refusal::{Reason, Refusal};

/// What a token must have.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) issuer: Box<str>,
    pub(super) audience: Box<str>,
    /// Asymmetric ones.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) clock_skew: Duration,
    pub(super) user_claim: Box<str>,
}

/// A token whose header was read, and nothing else yet.
#[derive(Debug)]
pub(super) struct Envelope<'t> {
    /// Header and payload as they were signed.
    message: &'t str,
    payload: &'t str,
    signature: &'t str,
    algorithm: Algorithm,
    key: Option<String>,
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) claims: Object,
    /// With the clock skew: until then the token counts.
    pub(super) expires_at: SystemTime,
}

impl<'t> Envelope<'t> {
    /// Takes a token apart (RFC 7515 §7.1).
    pub(super) fn open(token: &'t str, rules: &Rules) -> Result<Self, Refusal> {
        let malformed = |why: &str| Reason::TokenMalformed.because(why);
        let parts = token.rsplit_once('.');
        let parts = parts.and_then(|(message, signature)| {
            let (header, payload) = message.split_once('.')?;
            Some((message, header, payload, signature))
        });
        let Some((message, header, payload, signature)) = parts else {
            return Err(malformed("not three parts with dots between them"));
        };
        if payload.contains('.') {
            return Err(malformed("more than three parts"));
        }
        let header = object(header).ok_or_else(|| malformed("the header is not a JSON object"))?;
        // Extensions that must be understood are not.
        if header.contains_key("crit") {
            return Err(malformed("the header has `crit`"));
        }
        let key = match header.get("kid") {
            None => None,
            Some(Json::Text(id)) => Some(id.clone()),
            Some(_) => return Err(malformed("`kid` is not a string")),
        };
        let Some(Json::Text(algorithm)) = header.get("alg") else {
            return Err(malformed("`alg` is not a string"));
        };
        let algorithm = algorithm.parse().ok();
        let Some(algorithm) = algorithm.filter(|a| rules.algorithms.contains(a)) else {
            return Err(Reason::TokenAlgorithm.into());
        };
        Ok(Self {
            message,
            payload,
            signature,
            algorithm,
            key,
        })
    }

    /// Says whether the token names a key that is not in the set.
    pub(super) fn is_of_unknown_key(&self, keys: &KeySet) -> bool {
        self.key.as_deref().is_some_and(|id| !keys.knows(id))
    }

    /// Judges signature and claims.
    pub(super) fn judge(
        &self,
        keys: &KeySet,
        rules: &Rules,
        user: &str,
        now: SystemTime,
    ) -> Result<Accepted, Refusal> {
        let mut candidates = keys
            .candidates(self.key.as_deref(), self.algorithm)
            .peekable();
        if candidates.peek().is_none() {
            return Err(Reason::TokenKey.into());
        }
        let signed = candidates.any(|key| {
            let message = self.message.as_bytes();
            crypto::verify(self.signature, message, key, self.algorithm).unwrap_or(false)
        });
        if !signed {
            return Err(Reason::TokenSignature.into());
        }
        let Some(claims) = object(self.payload) else {
            let why = "the claims are not a JSON object, or one occurs twice";
            return Err(Reason::TokenMalformed.because(why));
        };
        let expires_at = times(&claims, rules.clock_skew, now)?;
        let is = |value: Option<&Json>, wanted: &str| matches!(value, Some(Json::Text(text)) if text == wanted);
        if !is(claims.get("iss"), &rules.issuer) {
            return Err(Reason::TokenIssuer.into());
        }
        let audience = &*rules.audience;
        let for_us = match claims.get("aud") {
            Some(Json::Array(all)) => all.iter().any(|one| is(Some(one), audience)),
            one => is(one, audience),
        };
        if !for_us {
            return Err(Reason::TokenAudience.into());
        }
        if !is(claims.get(&*rules.user_claim), user) {
            return Err(Reason::TokenUser.into());
        }
        Ok(Accepted { claims, expires_at })
    }
}

/// Reads a part of the token.
fn object(part: &str) -> Option<Object> {
    let text = URL_SAFE_NO_PAD.decode(part).ok()?;
    match json::parse(&text) {
        Ok(Json::Object(object)) => Some(object),
        Ok(_) | Err(_) => None,
    }
}

/// Checks `exp` and `nbf`, and returns the end.
fn times(claims: &Object, skew: Duration, now: SystemTime) -> Result<SystemTime, Refusal> {
    let malformed = |name: &str| {
        let why = format!("`{name}` is missing or not a time");
        Reason::TokenMalformed.because(&why)
    };
    let end = claims.get("exp").and_then(time);
    let end = end.and_then(|end| end.checked_add(skew));
    let end = end.ok_or_else(|| malformed("exp"))?;
    if end <= now {
        return Err(Reason::TokenExpired.into());
    }
    if let Some(value) = claims.get("nbf") {
        let begin = time(value).ok_or_else(|| malformed("nbf"))?;
        if now.checked_add(skew).is_none_or(|now| now < begin) {
            return Err(Reason::TokenNotYetValid.into());
        }
    }
    Ok(end)
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519 §2).
fn time(value: &Json) -> Option<SystemTime> {
    let Json::Number(number) = value else {
        return None;
    };
    let since = match number.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::try_from_secs_f64(number.as_f64()?).ok()?,
    };
    // What a calendar can write: a time beyond is a mistake, and would overflow elsewhere.
    let last = Duration::from_secs(YEAR_9999);
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .filter(|_| since < last)
}

const YEAR_9999: u64 = 253_402_300_800;
