//! What a value may look like in a line: no end of the line, no longer than it may be (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::limits::LOG_FIELD_BYTES_MAX;

/// Escapes what is not to be seen as it is; in JSON it can only be inside strings.
pub(super) fn escaped(line: &str, json: bool) -> Cow<'_, str> {
    if !line.contains(is_deceptive) {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len().saturating_add(16));
    for c in line.chars() {
        if !is_deceptive(c) {
            text.push(c);
        } else if json {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.extend(c.escape_default());
        }
    }
    Cow::Owned(text)
}

/// Says whether a character ends lines, steers terminals, or changes the order in which others are
/// shown.
pub(super) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Cuts what is longer than a field may be, and says how much was cut.
pub(super) fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= LOG_FIELD_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(LOG_FIELD_BYTES_MAX);
    let more = text.len().saturating_sub(end);
    let kept = text.get(..end).unwrap_or_default();
    Cow::Owned(format!("{kept}… ({more} bytes more)"))
}

/// Says whether a value can stand without quotes.
pub(super) fn is_plain(value: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || matches!(c, '"' | '\\') || is_deceptive(c);
    !value.is_empty() && !value.contains(odd)
}

/// Returns a source file's name within its crate: where a crate was built is nobody's business.
pub(super) fn in_its_crate(file: &str) -> &str {
    let Some((before, _)) = file.rsplit_once("/src/") else {
        return match file.rsplit_once('/') {
            Some((_, name)) if file.starts_with('/') => name,
            Some(_) | None => file,
        };
    };
    let start = before.rfind('/').map_or(0, |slash| slash.saturating_add(1));
    file.get(start..).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_says_where_it_was_built() {
        for (file, expected) in [
            ("src/session/actor.rs", "src/session/actor.rs"),
            ("/home/ann/portcullis/src/main.rs", "portcullis/src/main.rs"),
            (
                "/home/ann/.cargo/registry/src/index-1a/russh-0.65.1/src/server/mod.rs",
                "russh-0.65.1/src/server/mod.rs",
            ),
            (
                "/rustc/ab12/library/core/src/option.rs",
                "core/src/option.rs",
            ),
            ("/home/ann/build.rs", "build.rs"),
        ] {
            assert_eq!(in_its_crate(file), expected);
        }
    }
}
