//! Percent-encoding as `encoding-type=url` and request paths use it.

use std::fmt::Write as _;

/// Encodes all but RFC 3986's unreserved characters and the slash.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").unwrap_or_default(),
        }
    }
    encoded
}

/// Decodes a path; a malformed escape stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = (byte == b'%').then(|| tail.split_at_checked(2)).flatten();
        let value = escaped.and_then(|(digits, after)| {
            let digits = str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        match value {
            Some((value, after)) => {
                decoded.push(value);
                rest = after;
            }
            None => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_both_ways() {
        for text in ["", "a/b c", "100%", "é€😀", "%41", "a+b&<>\u{1}"] {
            assert_eq!(decode(&encode(text)), text);
        }
        assert_eq!(encode("a b/ü"), "a%20b/%C3%BC");
        assert_eq!(decode("%4"), "%4");
    }
}
