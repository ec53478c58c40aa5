//! Between the SDK's types and ours. Pure.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ChecksumType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::storage::{ByteRange, Checksum, ETag, Location, NewObject};

/// Writes a checksum as S3's headers carry it: base64 of the big-endian bytes.
pub(super) fn checksum_text(checksum: Checksum) -> String {
    BASE64.encode(checksum.0.to_be_bytes())
}

/// Reads a checksum header; `None` for anything that is not eight bytes of base64.
pub(super) fn checksum_from(text: Option<&str>) -> Option<Checksum> {
    let bytes = BASE64.decode(text?).ok()?;
    Some(Checksum(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// Reads the checksum of a whole object. CRC-64/NVME knows no other type, so stores that leave the
/// type out mean this one.
pub(super) fn whole_checksum_from(
    text: Option<&str>,
    kind: Option<&ChecksumType>,
) -> Option<Checksum> {
    match kind {
        None | Some(ChecksumType::FullObject) => checksum_from(text),
        Some(_) => None,
    }
}

/// Reads an entity tag. Some stores leave its quotes out of some answers; a tag must compare equal
/// wherever it came from.
pub(super) fn etag_from(text: Option<&str>) -> ETag {
    let text = text.unwrap_or_default();
    if text.is_empty() || text.ends_with('"') {
        ETag(text.into())
    } else {
        ETag(format!("\"{text}\"").into())
    }
}

/// A size that S3 leaves out, or sends below zero, is zero.
pub(super) fn size_from(size: Option<i64>) -> u64 {
    size.and_then(|size| u64::try_from(size).ok())
        .unwrap_or_default()
}

pub(super) fn time_from(time: Option<&DateTime>) -> SystemTime {
    time.and_then(|time| SystemTime::try_from(*time).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(super) fn metadata_from(map: Option<&HashMap<String, String>>) -> Vec<(Box<str>, Box<str>)> {
    let mut metadata: Vec<(Box<str>, Box<str>)> = map
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.to_ascii_lowercase().into(), value.as_str().into()))
        .collect();
    metadata.sort_unstable();
    metadata
}

pub(super) fn metadata_map(object: &NewObject) -> HashMap<String, String> {
    object
        .all_metadata()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Writes the `Range` header: its end is the last byte, not the one after.
pub(super) fn range_text(range: ByteRange) -> String {
    let last = range.end.saturating_sub(1);
    format!("bytes={}-{last}", range.start)
}

/// Reads the whole object's size out of `Content-Range: bytes 0-9/100`.
pub(super) fn whole_size_from(content_range: Option<&str>) -> Option<u64> {
    content_range?.rsplit_once('/')?.1.parse().ok()
}

/// Writes `x-amz-copy-source`, in which everything but RFC 3986's unreserved characters and `/` is
/// percent-encoded.
pub(super) fn copy_source(source: &Location) -> String {
    let mut text = format!("{}/", source.bucket);
    for byte in source.key.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a String takes what is written");
        }
    }
    text
}

/// Undoes `encoding-type=url`, S3's form encoding, where a space is `+`. A text that is not such
/// an encoding is returned as it is: one odd key must not hide a whole listing.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return text.to_owned(),
            },
            _ => byte,
        });
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Bucket, Key};

    #[test]
    fn checksums_survive_the_header() {
        let checksum = Checksum(0xAE8B_1486_0A79_9888);
        assert_eq!(checksum_text(checksum), "rosUhgp5mIg=");
        assert_eq!(checksum_from(Some("rosUhgp5mIg=")), Some(checksum));
        for bad in ["", "rosUhgp5mIg=-3", "AAAA", "!"] {
            assert_eq!(checksum_from(Some(bad)), None, "{bad:?}");
        }
        let text = Some("rosUhgp5mIg=");
        assert!(whole_checksum_from(text, Some(&ChecksumType::Composite)).is_none());
    }

    #[test]
    fn entity_tags_compare_equal_with_and_without_the_stores_quotes() {
        assert_eq!(etag_from(Some("\"abc-2\"")), etag_from(Some("abc-2")));
        assert_eq!(&*etag_from(Some("abc")).0, "\"abc\"");
    }

    #[test]
    fn ranges_name_their_last_byte() {
        let range = ByteRange { start: 5, end: 10 };
        assert_eq!(range_text(range), "bytes=5-9");
        assert_eq!(whole_size_from(Some("bytes 5-9/12345")), Some(12345));
        assert_eq!(whole_size_from(Some("bytes */*")), None);
    }

    #[test]
    fn a_copy_source_keeps_only_what_no_server_can_misread() {
        let source = Location {
            bucket: Bucket::parse("b").unwrap(),
            key: Key::parse("a b/ü+%?&#=;'~.txt").unwrap(),
        };
        assert_eq!(
            copy_source(&source),
            "b/a%20b/%C3%BC%2B%25%3F%26%23%3D%3B%27~.txt"
        );
    }

    #[test]
    fn listed_names_are_decoded_once() {
        let rows = [
            ("plain/name", "plain/name"),
            ("a+b%2Bc%20d", "a b+c d"),
            ("%C3%BC%25%2520", "ü%%20"),
            ("%0A%01", "\n\u{1}"),
            ("100%", "100%"),
            ("%FF", "%FF"),
        ];
        for (wire, name) in rows {
            assert_eq!(decoded(wire), name);
        }
    }
}
