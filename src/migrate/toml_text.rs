//! Texts for TOML files.

/// Writes a text as a basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's; JSON leaves only DEL as it is.
    let quoted = serde_json::Value::String(text.to_owned()).to_string();
    quoted.replace('\u{7f}', "\\u007F")
}

/// Writes a list of texts.
pub(super) fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let texts: Vec<_> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

/// Writes a text as a comment: control characters would end it.
pub(super) fn comment(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    format!("# {}\n", plain.collect::<String>())
}
