//! From what was written to what is meant.

use std::time::Duration;

use toml::de::DeValue;

use super::Config;
use super::settings::{Kind, Range};
use crate::secret::Secret;

/// A value as it was written; not `Debug`, since it may be a secret.
#[derive(Clone)]
pub(super) enum Raw {
    Text(String),
    Integer(u64),
    Flag(bool),
    Texts(Vec<String>),
    Table(Vec<(String, Secret)>),
    /// Something that no setting takes; says what it is.
    Other(&'static str),
}

impl Raw {
    /// Takes a value of the file.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        let text = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Integer(integer) => {
                let digits = integer.as_str().replace('_', "");
                u64::from_str_radix(&digits, integer.radix()).map_or(
                    Self::Other("a number that is negative or too large"),
                    Self::Integer,
                )
            }
            DeValue::Array(items) => items
                .iter()
                .map(|item| text(item.get_ref()))
                .collect::<Option<_>>()
                .map_or(Self::Other("a list with non-string items"), Self::Texts),
            DeValue::Table(table) => table
                .iter()
                .map(|(key, value)| {
                    let secret = Secret::new(text(value.get_ref())?);
                    Some((key.get_ref().to_string(), secret))
                })
                .collect::<Option<_>>()
                .map_or(Self::Other("a table with non-string values"), Self::Table),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
        }
    }

    /// Takes a variable, read as the setting wants it: the environment has no types.
    pub(super) fn from_variable(text: &str, kind: &Kind) -> Self {
        match kind {
            Kind::Flag(_) => match text {
                "true" => Self::Flag(true),
                "false" => Self::Flag(false),
                _ => Self::Text(text.to_owned()),
            },
            Kind::Count(..) | Kind::Bytes(..) | Kind::Seconds(..) | Kind::Milliseconds(..) => text
                .parse()
                .map_or_else(|_| Self::Text(text.to_owned()), Self::Integer),
            Kind::Texts(_) => Self::Texts(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
            Kind::Text(_)
            | Kind::OptionalText(_)
            | Kind::Word(_)
            | Kind::Address(_)
            | Kind::AddressOrOff(_)
            | Kind::Secret(_)
            | Kind::FileText(_)
            | Kind::Headers(_) => Self::Text(text.to_owned()),
        }
    }

    /// Says what was found; only for settings that are no secrets.
    pub(super) fn found(&self) -> String {
        match self {
            Self::Text(text) => {
                let mut shown: String = text.chars().take(FOUND_CHARS_MAX).collect();
                if shown.len() < text.len() {
                    shown.push('…');
                }
                format!("{shown:?}")
            }
            Self::Integer(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Texts(_) | Self::Table(_) | Self::Other(_) => self.kind().to_owned(),
        }
    }

    /// Says what kind of value it is; it may be a secret.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Texts(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(what) => what,
        }
    }
}

impl Kind {
    /// Puts a value into its field, or says what is allowed.
    pub(super) fn set(&self, raw: Raw, config: &mut Config) -> Result<(), String> {
        let refused = |raw: &Raw| {
            Err(format!(
                "found {}; allowed: {}",
                raw.found(),
                self.allowed()
            ))
        };
        match (self, raw) {
            (Self::Text(field), Raw::Text(text)) if !text.is_empty() => *field(config) = text,
            (Self::OptionalText(field), Raw::Text(text)) => {
                *field(config) = Some(text).filter(|text| !text.is_empty());
            }
            (Self::Texts(field), Raw::Texts(texts)) => *field(config) = texts,
            (Self::Flag(field), Raw::Flag(flag)) => *field(config) = flag,
            (Self::Word(word), Raw::Text(text)) => {
                if !(word.set)(config, &text) {
                    return refused(&Raw::Text(text));
                }
            }
            (Self::Address(field), Raw::Text(text)) => match text.parse() {
                Ok(address) => *field(config) = address,
                Err(_) => return refused(&Raw::Text(text)),
            },
            (Self::AddressOrOff(field), Raw::Text(text)) if text == "off" => *field(config) = None,
            (Self::AddressOrOff(field), Raw::Text(text)) => match text.parse() {
                Ok(address) => *field(config) = Some(address),
                Err(_) => return refused(&Raw::Text(text)),
            },
            (Self::Secret(field), Raw::Text(text)) => {
                let text = text.trim_end();
                *field(config) = (!text.is_empty()).then(|| Secret::new(text.to_owned()));
            }
            (Self::Headers(field), Raw::Table(headers)) => *field(config) = headers,
            (Self::Headers(field), Raw::Text(text)) => *field(config) = headers(&text)?,
            (Self::Secret(_) | Self::Headers(_), raw) => {
                let (kind, allowed) = (raw.kind(), self.allowed());
                return Err(format!("found {kind}; allowed: {allowed}"));
            }
            (kind, raw) => match kind.number(&raw) {
                Some(number) => kind.set_number(number, config),
                None => return refused(&raw),
            },
        }
        Ok(())
    }

    /// Returns the number that was written, if the setting takes one and it is in its range.
    fn number(&self, raw: &Raw) -> Option<u64> {
        let number = match (self, raw) {
            (_, Raw::Integer(number)) => *number,
            (Self::Bytes(..), Raw::Text(text)) => size(text)?,
            _ => return None,
        };
        self.range()?.contains(&number).then_some(number)
    }

    fn set_number(&self, number: u64, config: &mut Config) {
        match self {
            Self::Count(_, field) => {
                *field(config) = usize::try_from(number).unwrap_or(usize::MAX);
            }
            Self::Bytes(_, field) => *field(config) = number,
            Self::Seconds(_, field) => *field(config) = Duration::from_secs(number),
            Self::Milliseconds(_, field) => *field(config) = Duration::from_millis(number),
            Self::Text(_)
            | Self::OptionalText(_)
            | Self::Texts(_)
            | Self::Flag(_)
            | Self::Word(_)
            | Self::Address(_)
            | Self::AddressOrOff(_)
            | Self::Secret(_)
            | Self::FileText(_)
            | Self::Headers(_) => {}
        }
    }

    const fn range(&self) -> Option<&Range> {
        match self {
            Self::Count(range, _)
            | Self::Bytes(range, _)
            | Self::Seconds(range, _)
            | Self::Milliseconds(range, _) => Some(range),
            Self::Text(_)
            | Self::OptionalText(_)
            | Self::Texts(_)
            | Self::Flag(_)
            | Self::Word(_)
            | Self::Address(_)
            | Self::AddressOrOff(_)
            | Self::Secret(_)
            | Self::FileText(_)
            | Self::Headers(_) => None,
        }
    }

    /// Says which values are allowed.
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Text(_) => "a string that is not empty".to_owned(),
            Self::OptionalText(_) => "a string".to_owned(),
            Self::Texts(_) => "a list of strings".to_owned(),
            Self::Flag(_) => "true or false".to_owned(),
            Self::Word(word) => {
                let quoted: Vec<_> = word
                    .words
                    .iter()
                    .map(|word| format!("\"{word}\""))
                    .collect();
                quoted.join(" or ")
            }
            Self::Address(_) => "an address and a port, such as \"0.0.0.0:2222\"".to_owned(),
            Self::AddressOrOff(_) => {
                "an address and a port, such as \"127.0.0.1:9090\", or \"off\"".to_owned()
            }
            Self::Count(range, _) => format!("{} to {}", range.start(), range.end()),
            Self::Seconds(range, _) => format!("{} to {} seconds", range.start(), range.end()),
            Self::Milliseconds(range, _) => {
                format!("{} to {} milliseconds", range.start(), range.end())
            }
            Self::Bytes(range, _) => {
                format!(
                    "{} to {}",
                    show_size(*range.start()),
                    show_size(*range.end())
                )
            }
            Self::Secret(_) => "a string".to_owned(),
            Self::FileText(_) => "the name of a file that can be read".to_owned(),
            Self::Headers(_) => "a table of strings, or lines of `Name: value`".to_owned(),
        }
    }

    /// Says whether a value is the default; a secret has none.
    pub(super) fn is_default(&self, config: &mut Config, defaults: &mut Config) -> bool {
        match self {
            Self::Secret(field) => field(config).is_none(),
            Self::FileText(field) => field(config).is_none(),
            Self::Headers(field) => field(config).is_empty(),
            Self::Text(_)
            | Self::OptionalText(_)
            | Self::Texts(_)
            | Self::Flag(_)
            | Self::Word(_)
            | Self::Address(_)
            | Self::AddressOrOff(_)
            | Self::Count(..)
            | Self::Bytes(..)
            | Self::Seconds(..)
            | Self::Milliseconds(..) => self.show(config) == self.show(defaults),
        }
    }

    /// Writes the field's value as the file would have it; `None` where nothing is set.
    pub(super) fn show(&self, config: &mut Config) -> Option<String> {
        let quoted = |text: &str| format!("\"{text}\"");
        match self {
            Self::Text(field) => Some(&*field(config))
                .filter(|text| !text.is_empty())
                .map(|text| quoted(text)),
            Self::OptionalText(field) => field(config).as_deref().map(quoted),
            Self::Texts(field) => {
                let quoted: Vec<_> = field(config).iter().map(|text| quoted(text)).collect();
                Some(format!("[{}]", quoted.join(", ")))
            }
            Self::Flag(field) => Some(field(config).to_string()),
            Self::Word(word) => Some(quoted((word.show)(config))),
            Self::Address(field) => Some(quoted(&field(config).to_string())),
            Self::AddressOrOff(field) => Some(
                field(config).map_or_else(|| quoted("off"), |address| quoted(&address.to_string())),
            ),
            Self::Count(_, field) => Some(field(config).to_string()),
            Self::Bytes(_, field) => Some(quoted(&show_size(*field(config)))),
            Self::Seconds(_, field) => Some(field(config).as_secs().to_string()),
            Self::Milliseconds(_, field) => Some(field(config).as_millis().to_string()),
            Self::Secret(_) | Self::FileText(_) | Self::Headers(_) => None,
        }
    }
}

/// Reads lines of `Name: value`.
fn headers(text: &str) -> Result<Vec<(String, Secret)>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .enumerate()
        .map(|(at, line)| {
            let pair = line.split_once(':');
            let (name, value) = pair.ok_or_else(|| {
                format!("header {}: allowed: `Name: value`", at.saturating_add(1))
            })?;
            let value = Secret::new(value.trim().to_owned());
            Ok((name.trim().to_owned(), value))
        })
        .collect()
}

/// Reads `8MiB`, `512 KiB`, `1GiB` or plain bytes.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.strip_prefix(digits)?.trim_start();
    let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Writes bytes in the largest unit that leaves a whole number.
pub(super) fn show_size(bytes: u64) -> String {
    UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || bytes.to_string(),
            |(name, factor)| format!("{}{name}", bytes / factor),
        )
}

const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

const FOUND_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_alike() {
        for (text, bytes) in [
            ("8MiB", 8 << 20),
            ("512KiB", 512 << 10),
            ("1GiB", 1 << 30),
            ("7", 7),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
        assert_eq!(size("2 TiB"), Some(2 << 40));
        for bad in [
            "",
            "MiB",
            "8MB",
            "8mib",
            "-1MiB",
            "1.5GiB",
            "99999999999TiB",
        ] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn header_lines_are_split_at_the_first_colon() {
        let read = headers("Authorization: Bearer a:b\n\nX-Api-Key:k\n").unwrap();
        let seen: Vec<_> = read
            .iter()
            .map(|(name, value)| (&**name, value.expose()))
            .collect();
        assert_eq!(seen, [("Authorization", "Bearer a:b"), ("X-Api-Key", "k")]);
        assert!(
            !headers("s3cret-without-a-name")
                .unwrap_err()
                .contains("s3cret")
        );
    }
}
