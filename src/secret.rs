//! Values that must never be seen: they redact themselves and wipe their memory when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// Holds a password, token or key; printing it shows `[redacted]`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text; the caller keeps no copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Gives the text to the one place that has to send or compare it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes the secret out of a foreign text, as it is and as JSON writes it; `None`: it is not
    /// in there.
    ///
    /// A short one counts only as a word of its own: inside of other words it is by chance.
    #[must_use]
    pub fn taken_out_of(&self, text: &str) -> Option<String> {
        let secret = self.expose();
        if secret.is_empty() {
            return None;
        }
        let escaped = Zeroizing::new(serde_json::Value::from(secret).to_string());
        let escaped = escaped.strip_prefix('"').unwrap_or(&escaped);
        let escaped = escaped.strip_suffix('"').unwrap_or(escaped);
        // The longer one first: it may hold the other.
        let first = without(text, escaped);
        let text = first.as_deref().unwrap_or(text);
        without(text, secret).or(first)
    }
}

/// Redacts each place where `part` stands; `None`: there is none.
fn without(text: &str, part: &str) -> Option<String> {
    let by_chance = part.len() < SHORT_BYTES;
    let mut left = None::<String>;
    let mut kept = 0;
    for (at, _) in text.match_indices(part) {
        let (before, from) = text.split_at(at);
        let after = from.strip_prefix(part).unwrap_or_default();
        let inside =
            before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        if by_chance && inside {
            continue;
        }
        let out = left.get_or_insert_default();
        out.push_str(before.get(kept..).unwrap_or_default());
        out.push_str("[redacted]");
        kept = at.saturating_add(part.len());
    }
    let rest = text.get(kept..).unwrap_or_default();
    left.map(|out| out + rest)
}

/// Passwords below this are parts of ordinary words.
const SHORT_BYTES: usize = 6;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_text() {
        let secret = Secret::new("tidal-fern-41".to_owned());
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(secret.expose(), "tidal-fern-41");
    }

    #[test]
    fn a_secret_is_taken_out_of_a_text_where_it_is_not_there_by_chance() {
        let out = |text: &str, secret: &str| Secret::new(secret.to_owned()).taken_out_of(text);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(out("no: walnut-39!", "walnut-39"), some("no: [redacted]!"));
        assert_eq!(out("xwalnut-39x", "walnut-39"), some("x[redacted]x"));
        assert_eq!(
            out(r#"{"x":"a\"b"}"#, "a\"b"),
            some(r#"{"x":"[redacted]"}"#)
        );
        assert_eq!(out("an account", "a"), None);
        assert_eq!(
            out("a password: a", "a"),
            some("[redacted] password: [redacted]")
        );
        assert_eq!(out("is it fern?", "fern"), some("is it [redacted]?"));
        assert_eq!(out("ferns are not ünfern", "fern"), None);
        assert_eq!(out("nothing", ""), None);
    }
}
