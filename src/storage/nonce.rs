//! What tells one write of an object from every other.

#![warn(clippy::arithmetic_side_effects)]

use std::fmt;

use super::{StorageError, StorageErrorKind};

/// 128 random bits that an object keeps in its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; BYTES]);

/// Where nonces come from.
#[derive(Debug, Clone, Copy)]
pub struct Nonces {
    fill: fn(&mut [u8]) -> Result<(), NoRandomness>,
}

/// Without random bytes two writes could be taken for each other, so nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct NoRandomness;

impl Nonce {
    /// The metadata name under which it is kept.
    pub const NAME: &str = "portcullis-nonce";

    /// Takes random bits of the system.
    ///
    /// # Errors
    /// When it has none.
    pub fn new() -> Result<Self, NoRandomness> {
        Nonces::default().next()
    }

    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_ours = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 2 * BYTES || !text.bytes().all(is_ours) {
            return None;
        }
        let bits = u128::from_str_radix(text, 16).ok()?;
        Some(Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Nonces {
    /// Takes random bits from another source than the system.
    #[must_use]
    pub const fn of(fill: fn(&mut [u8]) -> Result<(), NoRandomness>) -> Self {
        Self { fill }
    }

    /// Returns one that nobody had before.
    ///
    /// # Errors
    /// When there are no random bits.
    pub fn next(self) -> Result<Nonce, NoRandomness> {
        let mut bytes = [0; BYTES];
        (self.fill)(&mut bytes)?;
        Ok(Nonce(bytes))
    }
}

impl Default for Nonces {
    fn default() -> Self {
        Self::of(|bytes| getrandom::fill(bytes).map_err(|_| NoRandomness))
    }
}

impl From<NoRandomness> for StorageError {
    fn from(error: NoRandomness) -> Self {
        Self::new(StorageErrorKind::Unavailable, error.to_string())
    }
}

const BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_read_as_it_was_written_and_never_comes_twice() {
        let (one, other) = (Nonce::new().unwrap(), Nonce::new().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), 32);
        assert_eq!(Nonce::parse(&one.to_string()), Some(one));
        let known = Nonces::of(|bytes| {
            bytes.fill(0xab);
            Ok(())
        });
        let text = known.next().unwrap().to_string();
        assert_eq!(text, "ab".repeat(16));
        let signed = format!("+{}", "a".repeat(31));
        for foreign in ["", "n-1", &signed, &text.to_uppercase()] {
            assert!(Nonce::parse(foreign).is_none(), "{foreign}");
        }
    }

    #[test]
    fn without_randomness_there_is_none() {
        assert_eq!(Nonces::of(|_| Err(NoRandomness)).next(), Err(NoRandomness));
    }
}
