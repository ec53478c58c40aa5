//! Between the SDK's types and ours. Pure.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ChecksumType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::limits;
use crate::storage::{ByteRange, Checksum, Composite, Digest, ETag, Location, NewObject};

/// Writes a checksum as S3's headers carry it: base64 of the big-endian bytes.
pub(super) fn checksum_text(checksum: Checksum) -> String {
    BASE64.encode(checksum.0.to_be_bytes())
}

/// Reads a checksum header; `None` for anything that is not eight bytes of base64.
pub(super) fn checksum_from(text: Option<&str>) -> Option<Checksum> {
    Some(Checksum(u64::from_be_bytes(decoded_sum(text)?)))
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

/// The checksums that an answer names, of which S3 keeps one or two.
pub(super) struct Sums<'a> {
    pub(super) crc64: Option<&'a str>,
    pub(super) crc32: Option<&'a str>,
    pub(super) crc32c: Option<&'a str>,
    pub(super) sha1: Option<&'a str>,
    pub(super) sha256: Option<&'a str>,
}

/// Takes the checksums of an answer to a HEAD or a GET, whose types name them alike.
macro_rules! sums_of {
    ($answer:expr) => {
        $crate::storage::s3::convert::Sums {
            crc64: $answer.checksum_crc64_nvme(),
            crc32: $answer.checksum_crc32(),
            crc32c: $answer.checksum_crc32_c(),
            sha1: $answer.checksum_sha1(),
            sha256: $answer.checksum_sha256(),
        }
    };
}
pub(super) use sums_of;

/// Reads a checksum of a whole object, the cheapest one if there are several. A composite one, such
/// as `AAAAAA==-3`, is no number of bytes that any kind has. Some stores name the checksum of the
/// parts' checksums and neither say so nor add the number: of an object made of parts only the kind
/// counts that has no such form.
pub(super) fn digest_from(
    sums: &Sums<'_>,
    kind: Option<&ChecksumType>,
    etag: &ETag,
) -> Option<Digest> {
    match kind {
        Some(ChecksumType::FullObject) => digest_of(sums),
        None if etag.parts().is_some() => digest_of(&Sums {
            crc64: sums.crc64,
            crc32: None,
            crc32c: None,
            sha1: None,
            sha256: None,
        }),
        None => digest_of(sums),
        Some(_) => None,
    }
}

/// Reads a checksum of the checksums of parts, such as `AAAAAA==-3`.
pub(super) fn composite_from(sums: &Sums<'_>) -> Option<Composite> {
    let Sums {
        crc64,
        crc32,
        crc32c,
        sha1,
        sha256,
    } = *sums;
    let all = [crc64, crc32, crc32c, sha1, sha256];
    let mut parts = all.into_iter().flatten().filter_map(in_parts);
    let (_, parts) = parts.next()?;
    let sum = |text: Option<&'_ str>| text.and_then(in_parts).map(|(sum, _)| sum.to_owned());
    let (crc64, crc32, crc32c) = (sum(crc64), sum(crc32), sum(crc32c));
    let (sha1, sha256) = (sum(sha1), sum(sha256));
    let sum = digest_of(&Sums {
        crc64: crc64.as_deref(),
        crc32: crc32.as_deref(),
        crc32c: crc32c.as_deref(),
        sha1: sha1.as_deref(),
        sha256: sha256.as_deref(),
    })?;
    Some(Composite { sum, parts })
}

fn in_parts(text: &str) -> Option<(&str, u32)> {
    let (sum, parts) = text.rsplit_once('-')?;
    let parts = parts.parse().ok()?;
    (1..=limits::PARTS_MAX)
        .contains(&parts)
        .then_some((sum, parts))
}

fn digest_of(sums: &Sums<'_>) -> Option<Digest> {
    None.or_else(|| Some(Digest::Crc64Nvme(checksum_from(sums.crc64)?)))
        .or_else(|| {
            Some(Digest::Crc32C(u32::from_be_bytes(decoded_sum(
                sums.crc32c,
            )?)))
        })
        .or_else(|| Some(Digest::Crc32(u32::from_be_bytes(decoded_sum(sums.crc32)?))))
        .or_else(|| Some(Digest::Sha1(decoded_sum(sums.sha1)?)))
        .or_else(|| Some(Digest::Sha256(decoded_sum(sums.sha256)?)))
}

fn decoded_sum<const N: usize>(text: Option<&str>) -> Option<[u8; N]> {
    BASE64.decode(text?).ok()?.try_into().ok()
}

/// What is wrong with an answer that cannot be taken for what was asked.
pub(super) type Fault = &'static str;

/// Reads an entity tag. Some stores leave its quotes out of some answers; a tag must compare equal
/// wherever it came from.
///
/// # Errors
/// There is none: no later call could name this version.
pub(super) fn etag_from(text: Option<&str>) -> Result<ETag, Fault> {
    match text.unwrap_or_default() {
        "" => Err("the answer has no ETag"),
        text if text.ends_with('"') => Ok(ETag(text.into())),
        text => Ok(ETag(format!("\"{text}\"").into())),
    }
}

/// Reads a size.
///
/// # Errors
/// There is none.
pub(super) fn size_from(size: Option<i64>) -> Result<u64, Fault> {
    size.and_then(|size| u64::try_from(size).ok())
        .ok_or("the answer has no size")
}

/// Reads where the next page of a listing begins; `None`: this was the last one. `honest`: the
/// store says of the last page too that it is the last one.
///
/// # Errors
/// It cannot be told whether this was the last page, or where the next one begins.
pub(super) fn next_page(
    honest: bool,
    is_truncated: Option<bool>,
    next: Option<&str>,
) -> Result<Option<String>, Fault> {
    let next = next.filter(|next| !next.is_empty()).map(ToOwned::to_owned);
    match (is_truncated, next) {
        (Some(false), _) => Ok(None),
        (Some(true), Some(next)) => Ok(Some(next)),
        (Some(true), None) => Err("more names follow, but the answer does not say where"),
        (None, _) if honest => Err(
            "the answer does not say whether more follows (a store that leaves IsTruncated out of \
             the last page: set is_truncated = false under [storage])",
        ),
        (None, next) => Ok(next),
    }
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

/// What `Content-Range: bytes 0-9/100` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) range: ByteRange,
    /// The whole object's size.
    pub(super) size: u64,
}

/// Reads a `Content-Range`; `None` unless it says all that there is to say, and may be true.
pub(super) fn content_range_from(text: &str) -> Option<ContentRange> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (start, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let size = size.trim().parse().ok()?;
    let end = last.checked_add(1)?;
    (start < end && end <= size).then_some(ContentRange {
        range: ByteRange { start, end },
        size,
    })
}

/// Says which bytes an answer to a GET brings, and the size of the whole object. A 206 has a
/// `Content-Range`, and nothing else has one.
///
/// # Errors
/// They are not provably those that were asked for.
pub(super) fn extent(
    asked: Option<ByteRange>,
    content_range: Option<&str>,
    length: Option<i64>,
) -> Result<ContentRange, Fault> {
    let length = length.map(|length| size_from(Some(length))).transpose()?;
    let Some(text) = content_range else {
        let size = length.ok_or("the answer has no Content-Length")?;
        let whole = ByteRange {
            start: 0,
            end: size,
        };
        // An object that ends before the range does was sent as a whole. One that ends with it may
        // be the range of a longer one.
        return match asked {
            Some(asked) if asked.start > 0 || asked.end <= size => Err(RANGE_IGNORED),
            Some(_) | None => Ok(ContentRange { range: whole, size }),
        };
    };
    let asked = asked.ok_or("a part of the object instead of the whole")?;
    let sent = content_range_from(text).ok_or("the answer's Content-Range cannot be read")?;
    let brought = sent.range.end.saturating_sub(sent.range.start);
    let expected = ByteRange {
        start: asked.start,
        end: asked.end.min(sent.size),
    };
    if sent.range != expected || length.is_some_and(|length| length != brought) {
        return Err("the answer has another range than the request");
    }
    Ok(sent)
}

/// Asking again changes nothing about it.
pub(super) const RANGE_IGNORED: Fault = "the store ignored the range and sent the whole object";

/// Writes `x-amz-copy-source`, in which everything but RFC 3986's unreserved characters and `/` is
/// percent-encoded.
pub(super) fn copy_source(source: &Location) -> String {
    let mut text = format!("{}/", source.bucket);
    encode(source.key.as_str(), &mut text);
    if let Some(version) = source.key.version() {
        text.push_str("?versionId=");
        encode(version, &mut text);
    }
    text
}

fn encode(plain: &str, onto: &mut String) {
    for byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            onto.push(char::from(byte));
        } else {
            write!(onto, "%{byte:02X}").expect("a String takes what is written");
        }
    }
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

    /// Some stores name the sum of the parts' sums as if it were the object's.
    #[test]
    fn the_sum_of_an_object_made_of_parts_counts_where_its_kind_is_known() {
        let (crc64, crc32) = (Some("rosUhgp5mIg="), Some("AAAAAA=="));
        let read = |crc64, kind: Option<ChecksumType>, etag| {
            let (crc32c, sha1, sha256) = (None, None, None);
            let sums = Sums {
                crc64,
                crc32,
                crc32c,
                sha1,
                sha256,
            };
            digest_from(&sums, kind.as_ref(), &etag_from(Some(etag)).unwrap())
        };
        assert!(read(None, None, "abc").is_some());
        assert!(read(None, None, "abc-2").is_none());
        assert!(read(crc64, None, "abc-2").is_some());
        assert!(read(None, Some(ChecksumType::FullObject), "abc-2").is_some());
        assert!(read(None, Some(ChecksumType::Composite), "abc-2").is_none());
    }

    #[test]
    fn entity_tags_compare_equal_with_and_without_the_stores_quotes() {
        assert_eq!(etag_from(Some("\"abc-2\"")), etag_from(Some("abc-2")));
        assert_eq!(&*etag_from(Some("abc")).unwrap().0, "\"abc\"");
        assert!(etag_from(None).is_err() && etag_from(Some("")).is_err());
    }

    #[test]
    fn ranges_name_their_last_byte() {
        let range = ByteRange { start: 5, end: 10 };
        assert_eq!(range_text(range), "bytes=5-9");
        let sent = content_range_from("bytes 5-9/12345").unwrap();
        assert_eq!((sent.range, sent.size), (range, 12345));
        for bad in [
            "bytes */*",
            "bytes */100",
            "bytes 5-9/*",
            "bytes 9-5/100",
            "bytes 5-9/9",
            "bytes 5-18446744073709551615/18446744073709551615",
            "5-9/100",
            "",
        ] {
            assert_eq!(content_range_from(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_get_is_answered_with_what_was_asked_or_not_at_all() {
        let asked = |start, end| Some(ByteRange { start, end });
        let brought = |range, content_range, length| {
            let sent = extent(range, content_range, length).ok()?;
            Some((sent.range.start, sent.range.end, sent.size))
        };
        let rows = [
            (
                asked(5, 10),
                Some("bytes 5-9/100"),
                Some(5),
                Some((5, 10, 100)),
            ),
            (
                asked(5, 10),
                Some("bytes 5-9/100"),
                None,
                Some((5, 10, 100)),
            ),
            (
                asked(5, 200),
                Some("bytes 5-99/100"),
                Some(95),
                Some((5, 100, 100)),
            ),
            (asked(0, 200), None, Some(100), Some((0, 100, 100))),
            (None, None, Some(100), Some((0, 100, 100))),
            (asked(5, 10), Some("bytes 4-8/100"), Some(5), None),
            (asked(5, 10), Some("bytes 5-8/100"), Some(4), None),
            (asked(5, 10), Some("bytes 5-9/100"), Some(4), None),
            (asked(5, 10), Some("bytes 5-10/100"), Some(6), None),
            (asked(5, 10), Some("bytes 5-9/*"), Some(5), None),
            (asked(5, 10), None, Some(100), None),
            (asked(0, 10), None, Some(100), None),
            (asked(0, 10), None, Some(10), None),
            (asked(0, 10), None, None, None),
            (None, None, None, None),
            (None, None, Some(-1), None),
            (None, Some("bytes 0-99/100"), Some(100), None),
        ];
        for (range, content_range, length, expected) in rows {
            let found = brought(range, content_range, length);
            assert_eq!(found, expected, "{range:?} {content_range:?} {length:?}");
        }
    }

    #[test]
    fn a_page_says_whether_it_is_the_last_one() {
        for honest in [true, false] {
            assert_eq!(next_page(honest, Some(false), None), Ok(None));
            let next = next_page(honest, Some(true), Some("t"));
            assert_eq!(next.unwrap().as_deref(), Some("t"));
            for next in [None, Some("")] {
                assert!(next_page(honest, Some(true), next).is_err());
            }
        }
        assert!(next_page(true, None, None).is_err());
        assert!(next_page(true, None, Some("t")).is_err());
        assert_eq!(next_page(false, None, None), Ok(None));
        let next = next_page(false, None, Some("t"));
        assert_eq!(next.unwrap().as_deref(), Some("t"));
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
