//! JSON read with bounds: no duplicate keys, no deep nesting.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::limits;
use crate::refusal::Reason;

/// A JSON value whose objects have each key once.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::idp) enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    Array(Vec<Self>),
    Object(Object),
}

pub(in crate::idp) type Object = BTreeMap<String, Json>;

impl Json {
    /// Names the type, for messages.
    pub(in crate::idp) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Returns the text of a string, or the value that is none.
    pub(super) fn into_text(self) -> Result<String, Self> {
        if let Self::Text(text) = self {
            Ok(text)
        } else {
            Err(self)
        }
    }

    /// Writes the value as JSON.
    pub(super) fn to_text(&self) -> String {
        self.to_value().to_string()
    }

    fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(number) => serde_json::Value::Number(number.clone()),
            Self::Text(text) => text.as_str().into(),
            Self::Array(values) => values.iter().map(Self::to_value).collect(),
            Self::Object(object) => object
                .iter()
                .map(|(key, value)| (key.clone(), value.to_value()))
                .collect(),
        }
    }
}

/// Says why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::idp) enum Fault {
    #[error("not JSON")]
    Syntax,
    #[error("the key {0:?} occurs twice in one object")]
    DuplicateKey(String),
    #[error("nested deeper than {} levels", limits::ANSWER_DEPTH_MAX)]
    Depth,
}

impl Fault {
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Syntax => Reason::NotJson,
            Self::DuplicateKey(_) => Reason::DuplicateKey,
            Self::Depth => Reason::TooDeep,
        }
    }
}

/// Parses one JSON document; a byte order mark is forgiven.
pub(in crate::idp) fn parse(text: &[u8]) -> Result<Json, Fault> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let fault = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let parsed = Level::top(&fault)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    settled(parsed, fault.take())
}

/// Says which of a parser's error and the first fault that was noted counts.
pub(super) fn settled<T>(
    parsed: Result<T, serde_json::Error>,
    fault: Option<Fault>,
) -> Result<T, Fault> {
    match (parsed, fault) {
        // Only too deep a text stops the parser without being broken.
        (_, Some(Fault::Depth)) => Err(Fault::Depth),
        (Err(_), _) => Err(Fault::Syntax),
        (Ok(_), Some(fault)) => Err(fault),
        (Ok(value), None) => Ok(value),
    }
}

/// Reads the values of one level and notes the first fault.
#[derive(Clone, Copy)]
pub(super) struct Level<'a> {
    left: usize,
    fault: &'a Cell<Option<Fault>>,
}

impl<'a> Level<'a> {
    /// The document itself.
    pub(super) const fn top(fault: &'a Cell<Option<Fault>>) -> Self {
        Self {
            left: limits::ANSWER_DEPTH_MAX,
            fault,
        }
    }

    pub(super) fn note(self, fault: Fault) {
        let first = self.fault.take().unwrap_or(fault);
        self.fault.set(Some(first));
    }

    pub(super) fn down<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => {
                self.fault.set(Some(Fault::Depth));
                Err(E::custom(Fault::Depth))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        serde_json::Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let level = self.down()?;
        let mut array = Vec::new();
        while let Some(value) = values.next_element_seed(level)? {
            array.push(value);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let level = self.down()?;
        let mut object = Object::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(level)?;
            match object.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(place) => self.note(Fault::DuplicateKey(place.key().clone())),
            }
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_apart() {
        let deep = |levels| [b"[".repeat(levels), b"]".repeat(levels)].concat();
        assert!(parse(&deep(limits::ANSWER_DEPTH_MAX)).is_ok());
        assert_eq!(
            parse(&deep(limits::ANSWER_DEPTH_MAX + 1)),
            Err(Fault::Depth)
        );
        assert_eq!(parse(&b"[".repeat(1_000_000)), Err(Fault::Depth));
        assert_eq!(
            parse(br#"{"a":{"b":1,"b":1}}"#),
            Err(Fault::DuplicateKey("b".to_owned()))
        );
        assert_eq!(parse(br#"{"a":1,"a":1"#), Err(Fault::Syntax));
        assert_eq!(parse(b"{} {}"), Err(Fault::Syntax));
        assert_eq!(parse(b"\xff"), Err(Fault::Syntax));
        assert_eq!(parse(b"\xef\xbb\xbf null "), Ok(Json::Null));
    }
}
