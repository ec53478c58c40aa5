//! Keys that clients offer and keys that providers list (pure).
//!
//! A provider lists lines as in `authorized_keys`, without options: a line with options names a
//! condition that the gateway would not keep, so its key lets nobody in.

#![warn(clippy::arithmetic_side_effects)]

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::idp::{ListedKey, RSA, behind_options, field, type_of};
use crate::limits;
use crate::refusal::Reason;

/// A public key as it came over the wire (RFC 4252 §7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    /// The algorithm's name on the wire, such as `ssh-ed25519` or `rsa-sha2-256`.
    pub algorithm: String,
    /// The key blob (RFC 4253 §6.6), not base64.
    pub blob: Vec<u8>,
    /// Whether the signature is, or would be, made with SHA-1 (`ssh-rsa`).
    pub sha1_signature: bool,
}

impl OfferedKey {
    /// Reads a line of a `.pub` file, `algorithm base64 [comment]`, as a client would offer the
    /// key now: signed without SHA-1.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        let (_, blob) = listed(line)?;
        let algorithm = line.split_whitespace().next()?.to_owned();
        Some(Self {
            algorithm,
            blob,
            sha1_signature: false,
        })
    }

    /// Returns `SHA256:…`, as OpenSSH prints it.
    #[must_use]
    pub fn fingerprint(&self) -> Box<str> {
        let digest = STANDARD_NO_PAD.encode(Sha256::digest(&self.blob));
        format!("SHA256:{digest}").into()
    }

    /// Checks what no provider can make good: the key's type, its size, its signature.
    ///
    /// # Errors
    /// Names the rule that the key breaks.
    pub(super) fn check(&self) -> Result<(), Reason> {
        let key_type = type_of(&self.algorithm).ok_or(Reason::KeyTypeUnsupported)?;
        if key_type == RSA && self.sha1_signature {
            return Err(Reason::KeySignatureSha1);
        }
        let mut fields = Fields(&self.blob);
        let name = fields.next().ok_or(Reason::KeyMalformed)?;
        let inner = std::str::from_utf8(name).ok().and_then(type_of);
        if inner != Some(key_type) {
            return Err(Reason::KeyMalformed);
        }
        if key_type == RSA {
            fields.next().ok_or(Reason::KeyMalformed)?;
            let modulus = fields.next().ok_or(Reason::KeyMalformed)?;
            if bits(modulus) < u64::from(limits::RSA_BITS_MIN) {
                return Err(Reason::KeyRsaTooShort);
            }
        }
        Ok(())
    }

    /// Looks for a line that names this key.
    pub(super) fn found_in(&self, keys: &[ListedKey], now: SystemTime) -> Listing {
        let this = |line: &str| {
            listed(line).is_some_and(|(key_type, blob)| {
                type_of(&self.algorithm) == Some(key_type) && blob == self.blob
            })
        };
        let mut expired = false;
        for key in keys.iter().filter(|key| this(without_waiver(&key.line))) {
            if key.expires_at.is_none_or(|end| end > now) {
                return Listing::Listed;
            }
            expired = true;
        }
        if expired {
            return Listing::Expired;
        }
        let mut behind = keys.iter().flat_map(|key| behind_options(key.line.trim()));
        if behind.any(this) {
            Listing::Conditional
        } else {
            Listing::Missing
        }
    }
}

/// What the lines say of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Listed,
    /// It was valid once.
    Expired,
    /// The line names conditions, as `from="…"` or `verify-required`, that would not be kept: a
    /// person's presence at a hardware key, for one, cannot be seen from here.
    Conditional,
    Missing,
}

/// Drops the option that asks for less than what is done anyway.
fn without_waiver(line: &str) -> &str {
    let line = line.trim_start();
    line.strip_prefix("no-touch-required ").unwrap_or(line)
}

/// Reads `algorithm base64 [comment]`.
fn listed(line: &str) -> Option<(&'static str, Vec<u8>)> {
    // Providers that build the line with an escaped line break leave its two characters behind.
    let line = line.trim().trim_end_matches("\\n");
    let mut words = line.split_whitespace();
    let key_type = type_of(words.next()?)?;
    let blob = words.next()?.trim_end_matches('=');
    Some((key_type, STANDARD_NO_PAD.decode(blob).ok()?))
}

/// The length-prefixed strings of a key blob (RFC 4251 §5).
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (field, rest) = field(self.0)?;
        self.0 = rest;
        Some(field)
    }
}

/// Returns the length of an unsigned integer in bits.
fn bits(number: &[u8]) -> u64 {
    let digits = number.iter().skip_while(|byte| **byte == 0).copied();
    let mut digits = digits.peekable();
    let unused = digits
        .peek()
        .map_or(0, |first| u64::from(first.leading_zeros()));
    let bytes = u64::try_from(digits.count()).unwrap_or(u64::MAX);
    bytes.saturating_mul(8).saturating_sub(unused)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

    fn field(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    }

    fn ed25519() -> OfferedKey {
        OfferedKey {
            algorithm: "ssh-ed25519".to_owned(),
            blob: STANDARD.decode(ED25519).unwrap(),
            sha1_signature: false,
        }
    }

    fn rsa(algorithm: &str, modulus: &[u8]) -> OfferedKey {
        OfferedKey {
            algorithm: algorithm.to_owned(),
            blob: [field(b"ssh-rsa"), field(&[1, 0, 1]), field(modulus)].concat(),
            sha1_signature: algorithm == "ssh-rsa",
        }
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn lines(lines: &[String]) -> Vec<ListedKey> {
        lines.iter().map(|line| (**line).into()).collect()
    }

    #[test]
    fn a_key_is_found_among_lines_as_people_write_them() {
        for line in [
            format!("ssh-ed25519 {ED25519}"),
            format!("  ssh-ed25519\t{ED25519}  ann@laptop the second\r"),
            format!("ssh-ed25519 {ED25519}\\n"),
            format!("ssh-ed25519 {ED25519} ann@laptop\\n"),
        ] {
            let listed = lines(&[String::new(), "# ann".to_owned(), line.clone()]);
            assert_eq!(ed25519().found_in(&listed, NOW), Listing::Listed, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_not_exactly_this_key_does_not_match() {
        let other = format!("{}B", ED25519.trim_end_matches('S'));
        for line in [
            format!("ssh-rsa {ED25519}"),
            format!("ssh-ed25519 {other}"),
            ED25519.to_owned(),
            "ssh-ed25519".to_owned(),
            "ssh-ed25519 !!!!".to_owned(),
        ] {
            let found = ed25519().found_in(&lines(std::slice::from_ref(&line)), NOW);
            assert_eq!(found, Listing::Missing, "{line}");
        }
    }

    #[test]
    fn a_line_with_a_condition_that_is_not_kept_lets_nobody_in() {
        for line in [
            format!("from=\"10.0.0.0/8\" ssh-ed25519 {ED25519}"),
            format!("restrict ssh-ed25519 {ED25519} ann"),
            format!("command=\"a b c\",verify-required ssh-ed25519 {ED25519}"),
        ] {
            let found = ed25519().found_in(&lines(std::slice::from_ref(&line)), NOW);
            assert_eq!(found, Listing::Conditional, "{line}");
        }
    }

    #[test]
    fn a_hardware_key_is_a_key_of_its_own_kind() {
        let algorithm = "sk-ssh-ed25519@openssh.com";
        let blob = [field(algorithm.as_bytes()), field(&[7; 32]), field(b"ssh:")].concat();
        let line = format!("{algorithm} {} ann", STANDARD.encode(&blob));
        let key = OfferedKey {
            algorithm: algorithm.to_owned(),
            blob,
            sha1_signature: false,
        };
        assert_eq!(key.check(), Ok(()));
        for (line, expected) in [
            (line.clone(), Listing::Listed),
            (format!("no-touch-required {line}"), Listing::Listed),
            (format!("verify-required {line}"), Listing::Conditional),
            (line.replace(algorithm, "ssh-ed25519"), Listing::Missing),
        ] {
            assert_eq!(
                key.found_in(&lines(std::slice::from_ref(&line)), NOW),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn an_rsa_key_matches_whatever_hash_it_signs_with() {
        let key = rsa("rsa-sha2-256", &[0xff; 256]);
        let line = format!("ssh-rsa {} ann", STANDARD.encode(&key.blob));
        assert_eq!(key.check(), Ok(()));
        for key in [key, rsa("rsa-sha2-512", &[0xff; 256])] {
            let found = key.found_in(&lines(std::slice::from_ref(&line)), NOW);
            assert_eq!(found, Listing::Listed);
        }
    }

    #[test]
    fn weak_and_foreign_keys_are_refused_by_name() {
        let mut leading_zero = vec![0_u8];
        leading_zero.extend([0x80; 256]);
        assert_eq!(rsa("rsa-sha2-256", &leading_zero).check(), Ok(()));
        let short = rsa("rsa-sha2-256", &[0x7f; 256]);
        assert_eq!(short.check(), Err(Reason::KeyRsaTooShort));
        let sha1 = rsa("ssh-rsa", &[0xff; 256]);
        assert_eq!(sha1.check(), Err(Reason::KeySignatureSha1));
        let named = |algorithm: &str| {
            let algorithm = algorithm.to_owned();
            OfferedKey {
                algorithm,
                ..ed25519()
            }
            .check()
        };
        assert_eq!(named("ssh-ed25519"), Ok(()));
        assert_eq!(named("ssh-dss"), Err(Reason::KeyTypeUnsupported));
        assert_eq!(named("ecdsa-sha2-nistp256"), Err(Reason::KeyMalformed));
        assert_eq!(
            named("sk-ssh-ed25519@openssh.com"),
            Err(Reason::KeyMalformed)
        );
        let cut = OfferedKey {
            blob: vec![0, 0, 0, 200, 1],
            ..ed25519()
        };
        assert_eq!(cut.check(), Err(Reason::KeyMalformed));
    }

    #[test]
    fn fingerprints_are_those_of_openssh() {
        // What `ssh-keygen -lf` prints for the key above.
        let expected = "SHA256:qH8baHrA5X0qCBovKCZyM02Q7TFtK4GMqVgOo4TZJAE";
        assert_eq!(&*ed25519().fingerprint(), expected);
    }
}
