//! Checksums as `md5sum` and its kin print them (pure).

#![warn(clippy::arithmetic_side_effects)]

use md5::Md5;
use sha1::{Digest as _, Sha1};
use sha2::{Digest as _, Sha256, Sha512};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    /// Returns what a program of this name computes.
    pub(super) fn of_program(name: &[u8]) -> Option<Self> {
        let all = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];
        all.into_iter()
            .find(|algorithm| algorithm.program().as_bytes() == name)
    }

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Md5 => "md5sum",
            Self::Sha1 => "sha1sum",
            Self::Sha256 => "sha256sum",
            Self::Sha512 => "sha512sum",
        }
    }

    pub(super) fn begin(self) -> Sum {
        match self {
            Self::Md5 => Sum::Md5(Md5::new()),
            Self::Sha1 => Sum::Sha1(Sha1::new()),
            Self::Sha256 => Sum::Sha256(Sha256::new()),
            Self::Sha512 => Sum::Sha512(Sha512::new()),
        }
    }
}

/// A sum of the bytes so far.
#[derive(Debug)]
pub(super) enum Sum {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Sum {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(sum) => sum.update(bytes),
            Self::Sha1(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
            Self::Sha512(sum) => sum.update(bytes),
        }
    }

    /// Returns it as hexadecimal digits.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Md5(sum) => hex::encode(sum.finalize()),
            Self::Sha1(sum) => hex::encode(sum.finalize()),
            Self::Sha256(sum) => hex::encode(sum.finalize()),
            Self::Sha512(sum) => hex::encode(sum.finalize()),
        }
    }
}

/// Makes the line of a file, as GNU's coreutils do: where a name would break the line, a backslash
/// before it says that the name is escaped.
pub(super) fn line(digits: &str, is_binary: bool, path: &[u8]) -> Vec<u8> {
    let escapes = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r');
    let mut line = Vec::new();
    if path.iter().any(escapes) {
        line.push(b'\\');
    }
    line.extend_from_slice(digits.as_bytes());
    line.extend_from_slice(if is_binary { b" *" } else { b"  " });
    for byte in path {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_nothing_are_those_that_programs_probe_for() {
        for (algorithm, expected) in [
            (Algorithm::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
            (Algorithm::Sha1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (
                Algorithm::Sha256,
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
        ] {
            assert_eq!(algorithm.begin().finish(), expected);
            let program = algorithm.program().as_bytes();
            assert_eq!(Algorithm::of_program(program), Some(algorithm));
        }
        let mut sum = Algorithm::Sha512.begin();
        sum.add(b"ab");
        sum.add(b"c");
        assert!(sum.finish().starts_with("ddaf35a193617aba"));
        assert_eq!(Algorithm::of_program(b"b3sum"), None);
    }

    #[test]
    fn lines_are_those_of_coreutils() {
        assert_eq!(line("00ff", false, b"/a b"), b"00ff  /a b\n");
        assert_eq!(line("00ff", true, b"a"), b"00ff *a\n");
        assert_eq!(line("00ff", false, b"a\nb\\"), b"\\00ff  a\\nb\\\\\n");
    }
}
