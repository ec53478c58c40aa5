//! Hashes of passwords: argon2id and bcrypt, each with bounds on what a check may cost.

use std::fmt;

use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use crate::limits;
use crate::secret::Secret;

/// A hash that was checked when it was read, so that using it cannot fail.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Argon2id(Box<str>),
    Bcrypt(Box<str>),
}

/// Why a password cannot be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    #[error("bcrypt uses only the first {BCRYPT_BYTES_MAX} bytes; use argon2id instead")]
    TooLongForBcrypt,
    #[error("the system has no random numbers, or too little memory")]
    Failed,
}

impl PasswordHash {
    /// Reads `$argon2id$…` or `$2b$…`.
    ///
    /// # Errors
    /// Says what is allowed; the text itself is never quoted.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("$argon2id$") {
            check_argon2id(text)?;
            return Ok(Self(Form::Argon2id(text.into())));
        }
        if ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            check_bcrypt(text)?;
            return Ok(Self(Form::Bcrypt(text.into())));
        }
        Err(ALLOWED.to_owned())
    }

    /// Makes an argon2id hash with the parameters that OWASP recommends.
    ///
    /// # Errors
    /// Randomness or memory is missing.
    pub fn argon2id(password: &Secret) -> Result<String, HashError> {
        let failed = |_| HashError::Failed;
        let salt = SaltString::encode_b64(&salt()?).map_err(failed)?;
        let parameters = Params::new(ARGON2_KIB, ARGON2_PASSES, ARGON2_LANES, None)
            .map_err(|_| HashError::Failed)?;
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password(password.expose().as_bytes(), &salt)
            .map_err(failed)?;
        Ok(hash.to_string())
    }

    /// Makes a bcrypt hash, for files that other programs read as well.
    ///
    /// # Errors
    /// The password is longer than bcrypt looks, or randomness is missing.
    pub fn bcrypt(password: &Secret) -> Result<String, HashError> {
        let password = password.expose().as_bytes();
        if password.len() > BCRYPT_BYTES_MAX {
            return Err(HashError::TooLongForBcrypt);
        }
        let parts = bcrypt::hash_with_salt(password, BCRYPT_COST, salt()?);
        Ok(parts.map_err(|_| HashError::Failed)?.to_string())
    }

    /// Says whether the password is the one that was hashed. Takes a processor for a while.
    #[must_use]
    pub fn verify(&self, password: &Secret) -> bool {
        match &self.0 {
            Form::Argon2id(text) => password_hash::PasswordHash::new(text).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.expose().as_bytes(), &hash)
                    .is_ok()
            }),
            Form::Bcrypt(text) => bcrypt::verify(password.expose(), text).unwrap_or(false),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Form::Argon2id(_) => "$argon2id$[redacted]",
            Form::Bcrypt(_) => "$2b$[redacted]",
        })
    }
}

fn check_argon2id(text: &str) -> Result<(), String> {
    let malformed = || ALLOWED.to_owned();
    let hash = password_hash::PasswordHash::new(text).map_err(|_| malformed())?;
    let parameters = Params::try_from(&hash).map_err(|_| malformed())?;
    let version = hash.version.map(Version::try_from).transpose();
    let whole = hash.algorithm == ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some();
    if !whole || version.is_err() {
        return Err(malformed());
    }
    let (memory, passes) = (limits::ARGON2_KIB_MAX, limits::ARGON2_PASSES_MAX);
    if parameters.m_cost() > memory || parameters.t_cost() > passes {
        return Err(format!(
            "a check would need m={} and t={}; allowed: up to m={memory} and t={passes}",
            parameters.m_cost(),
            parameters.t_cost(),
        ));
    }
    Ok(())
}

fn check_bcrypt(text: &str) -> Result<(), String> {
    let malformed = || ALLOWED.to_owned();
    let parts: bcrypt::HashParts = text.parse().map_err(|_| malformed())?;
    let (cost, most) = (parts.get_cost(), limits::BCRYPT_COST_MAX);
    if !(BCRYPT_COST_MIN..=most).contains(&cost) {
        return Err(format!(
            "a cost of {cost}; allowed: {BCRYPT_COST_MIN} to {most}"
        ));
    }
    let letters = text.rsplit('$').next().unwrap_or_default();
    // 16 bytes of salt and 23 of the hash: the last letter of each carries only some of its bits,
    // and a check fails where the others are not zero.
    let encoded = |part: Option<&str>| part.is_some_and(|part| BCRYPT_BASE64.decode(part).is_ok());
    if encoded(letters.get(..22)) && encoded(letters.get(22..)) {
        Ok(())
    } else {
        Err(malformed())
    }
}

fn salt() -> Result<[u8; 16], HashError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| HashError::Failed)?;
    Ok(salt)
}

const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, NO_PAD);

const ALLOWED: &str = "not a supported hash; allowed: \"$argon2id$…\" or \"$2b$…\" as `portcullis \
                       hash-password` prints it";

/// 19 MiB, two passes, one lane: the OWASP Password Storage Cheat Sheet's minimum for argon2id.
const ARGON2_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
/// About a quarter of a second; OWASP asks for 10 or more.
const BCRYPT_COST: u32 = 12;
const BCRYPT_COST_MIN: u32 = 4;
/// What bcrypt does with longer passwords is to look at their beginning.
const BCRYPT_BYTES_MAX: usize = 72;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "correct-horse"; cheap, since tests are compiled without optimisation.
    const ARGON2ID: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$";

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn cheap_argon2id(password: &str) -> String {
        let salt = SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
        let parameters = Params::new(8, 1, 1, None).unwrap();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password(password.as_bytes(), &salt)
            .unwrap()
            .to_string()
    }

    #[test]
    fn both_forms_tell_right_from_wrong() {
        let bcrypt = bcrypt::hash_with_salt("correct-horse", 4, [7; 16]).unwrap();
        for text in [cheap_argon2id("correct-horse"), bcrypt.to_string()] {
            let hash = PasswordHash::parse(&text).unwrap();
            assert!(hash.verify(&secret("correct-horse")), "{text}");
            assert!(!hash.verify(&secret("correct-hors")), "{text}");
            assert!(!hash.verify(&secret("")), "{text}");
            let (_, secret) = text.rsplit_once('$').unwrap();
            assert!(!format!("{hash:?}").contains(secret), "{hash:?}");
        }
    }

    #[test]
    fn known_hashes_of_other_programs_are_understood() {
        // The vector of OpenBSD's bcrypt that every library carries.
        let hash =
            PasswordHash::parse("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
        assert!(hash.unwrap().verify(&secret("U*U")));
    }

    #[test]
    fn what_cannot_be_checked_or_costs_too_much_is_refused_without_being_quoted() {
        let good = cheap_argon2id("x");
        assert!(PasswordHash::parse(&good).is_ok());
        for bad in [
            "".to_owned(),
            "hunter2".to_owned(),
            "$1$salt$hash".to_owned(),
            ARGON2ID.to_owned(),
            good.replace("argon2id", "argon2i"),
            good.replace("m=8", "m=4000000000"),
            good.replace("m=8", "m=262145"),
            good.replace("t=1", "t=1000000"),
            good.replace("v=19", "v=20"),
            "$2b$04$short".to_owned(),
            "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned(),
            "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned(),
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC!E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned(),
        ] {
            let message = PasswordHash::parse(&bad).unwrap_err();
            assert!(message.contains("allowed: "), "{bad}: {message}");
            assert!(bad.is_empty() || !message.contains(&bad), "{message}");
        }
    }

    #[test]
    fn bcrypt_takes_no_password_that_it_would_cut() {
        let long = secret(&"p".repeat(73));
        assert_eq!(
            PasswordHash::bcrypt(&long).unwrap_err(),
            HashError::TooLongForBcrypt
        );
    }
}
