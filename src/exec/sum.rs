//! Checksums as `md5sum` and its kin print them (pure).

#![warn(clippy::arithmetic_side_effects)]

use crate::transfer::Algorithm;

/// Returns what a program of this name computes.
pub(super) fn of_program(name: &[u8]) -> Option<Algorithm> {
    Algorithm::of_name(name.strip_suffix(b"sum")?).filter(|algorithm| match algorithm {
        Algorithm::Md5 | Algorithm::Sha1 | Algorithm::Sha256 | Algorithm::Sha512 => true,
        Algorithm::Crc32 => false,
    })
}

pub(super) const fn program(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "md5sum",
        Algorithm::Sha1 => "sha1sum",
        Algorithm::Sha256 => "sha256sum",
        Algorithm::Sha512 => "sha512sum",
        // No program of this name is run.
        Algorithm::Crc32 => "crc32sum",
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
            assert_eq!(hex::encode(algorithm.begin().finish()), expected);
            let name = program(algorithm).as_bytes();
            assert_eq!(of_program(name), Some(algorithm));
        }
        for none in [&b"b3sum"[..], b"crc32sum", b"md5", b"sum"] {
            assert_eq!(of_program(none), None);
        }
    }

    #[test]
    fn lines_are_those_of_coreutils() {
        assert_eq!(line("00ff", false, b"/a b"), b"00ff  /a b\n");
        assert_eq!(line("00ff", true, b"a"), b"00ff *a\n");
        assert_eq!(line("00ff", false, b"a\nb\\"), b"\\00ff  a\\nb\\\\\n");
    }
}
