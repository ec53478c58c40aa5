//! How public keys are written: lines of text, and the strings of a blob (pure).

/// Returns what follows each of the first words of a line: a key stands there, if it stands behind
/// options.
pub(crate) fn behind_options(line: &str) -> impl Iterator<Item = &str> {
    let words = line.match_indices(char::is_whitespace);
    words
        .take(OPTION_WORDS_MAX)
        .filter_map(|(at, _)| line.get(at..))
}

/// Takes a length-prefixed string (RFC 4251 §5); returns it and what follows.
pub(crate) fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Words that are searched for the key behind its options.
const OPTION_WORDS_MAX: usize = 32;
