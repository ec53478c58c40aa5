//! The modification time that is stored with a file (pure), in the form of rclone and s3fs.

#![warn(clippy::arithmetic_side_effects)]

use crate::storage::ObjectMeta;

/// Returns the time that was stored with a file, in seconds since 1970.
pub(crate) fn stored_time(meta: &ObjectMeta) -> Option<u32> {
    meta.metadata(MTIME).and_then(seconds)
}

/// Reads a time as other programs write it too: seconds since 1970, with or without a fraction.
fn seconds(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = fraction.bytes().all(|byte| byte.is_ascii_digit());
    whole.parse().ok().filter(|_| is_number)
}

/// Where a file's time is kept, in seconds since 1970.
pub(crate) const MTIME: &str = "mtime";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_other_programs_are_read() {
        assert_eq!(seconds("1700000000"), Some(1_700_000_000));
        assert_eq!(seconds("1700000000.123456789"), Some(1_700_000_000));
        for none in ["", ".5", "-1", "1e9", "1700000000.x", "99999999999"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }
}
