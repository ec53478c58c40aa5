//! Names of users and servers as names of files and keys (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::fmt::Write as _;

/// Writes a name so that it is one component of a path whatever stands in it: letters, digits and
/// `_@-.` as they are, other bytes as `%2F`.
#[must_use]
pub(super) fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@' | b'-');
        if plain || (byte == b'.' && at > 0) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Returns the file of a user.
#[must_use]
pub(super) fn of_user(name: &str) -> String {
    format!("{}{ENDING}", encoded(name))
}

/// Returns the user of a file; `None` for one that is not a user's.
#[must_use]
pub(super) fn user_of(file: &str) -> Option<String> {
    let stem = file.strip_suffix(ENDING)?;
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let (digits, tail) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    bytes.extend_from_slice(rest.as_bytes());
    let name = String::from_utf8(bytes).ok()?;
    // Nothing else is written in two ways.
    (of_user(&name) == file).then_some(name)
}

const ENDING: &str = ".json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component_and_comes_back() {
        for (name, file) in [
            ("ann", "ann.json"),
            ("_a.b@c-d", "_a.b@c-d.json"),
            ("..", "%2E..json"),
            ("a/b", "a%2Fb.json"),
            ("jörg", "j%C3%B6rg.json"),
            ("100%", "100%25.json"),
        ] {
            assert_eq!(of_user(name), file);
            assert_eq!(user_of(file).as_deref(), Some(name));
        }
        for other in [
            "ann",
            ".lock",
            "a%2fb.json",
            "a%6.json",
            "%61.json",
            "a%.json",
        ] {
            assert_eq!(user_of(other), None, "{other}");
        }
    }
}
