//! Tables in JSON: arrays of thousands of small objects, read without a map for each.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::json::{self, Fault, Json, Level};

/// What was asked for of an element, or the element that is no object.
pub(super) type Row<const N: usize> = Result<Values<N>, Json>;

/// The values of the keys that were asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Values<const N: usize> {
    pub(super) values: [Option<Json>; N],
    /// Other keys, which differ from one of these only in their case.
    pub(super) near: Vec<String>,
}

/// Reads one JSON document, and hands over its rows one by one; returns the value that is no array.
/// Other keys than `keys` are passed over, under the same bounds.
pub(super) fn parse<const N: usize>(
    text: &str,
    keys: [&'static str; N],
    each: &mut dyn FnMut(Row<N>),
) -> Result<Option<Json>, Fault> {
    if !text.trim_start().starts_with('[') {
        return json::parse(text.as_bytes()).map(Some);
    }
    let fault = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let table = Table {
        keys,
        level: Level::top(&fault),
        each,
    };
    let read = deserializer
        .deserialize_seq(table)
        .and_then(|()| deserializer.end());
    json::settled(read, fault.take()).map(|()| None)
}

/// Takes the wanted keys out of an element that was read as a whole.
pub(super) fn row<const N: usize>(element: Json, keys: [&'static str; N]) -> Row<N> {
    if let Json::Object(mut object) = element {
        let values = keys.map(|key| object.remove(key));
        let others = object.into_keys();
        let near = others.filter(|key| is_near(key, &keys)).collect();
        Ok(Values { values, near })
    } else {
        Err(element)
    }
}

fn is_near(text: &str, keys: &[&str]) -> bool {
    keys.iter().any(|key| key.eq_ignore_ascii_case(text))
}

/// Reads the elements of the array.
struct Table<'a, const N: usize> {
    keys: [&'static str; N],
    level: Level<'a>,
    each: &'a mut dyn FnMut(Row<N>),
}

impl<'de, const N: usize> Visitor<'de> for Table<'_, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let element = Element {
            keys: self.keys,
            level: self.level.down()?,
        };
        while let Some(row) = elements.next_element_seed(element)? {
            (self.each)(row);
        }
        Ok(())
    }
}

/// Reads one element.
#[derive(Clone, Copy)]
struct Element<'a, const N: usize> {
    keys: [&'static str; N],
    level: Level<'a>,
}

impl<'de, const N: usize> DeserializeSeed<'de> for Element<'_, N> {
    type Value = Row<N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Row<N>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! no_object {
    ($($visit:ident($type:ty),)+) => {
        $(fn $visit<E: Error>(self, value: $type) -> Result<Row<N>, E> {
            self.level.$visit(value).map(Err)
        })+
    };
}

impl<'de, const N: usize> Visitor<'de> for Element<'_, N> {
    type Value = Row<N>;

    no_object! {
        visit_bool(bool),
        visit_i64(i64),
        visit_u64(u64),
        visit_f64(f64),
        visit_str(&str),
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Row<N>, E> {
        self.level.visit_unit().map(Err)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Row<N>, A::Error> {
        self.level.visit_seq(values).map(Err)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Row<N>, A::Error> {
        let level = self.level.down()?;
        let mut values = [const { None }; N];
        let mut others = BTreeSet::new();
        while let Some(name) = entries.next_key_seed(Name(self.keys))? {
            let value = entries.next_value_seed(level)?;
            match name {
                Ok(at) => {
                    let earlier = values.get_mut(at).and_then(|place| place.replace(value));
                    if let (Some(_), Some(key)) = (earlier, self.keys.get(at)) {
                        level.note(Fault::DuplicateKey((*key).to_owned()));
                    }
                }
                Err(other) => {
                    if let Some(twice) = others.replace(other) {
                        level.note(Fault::DuplicateKey(twice));
                    }
                }
            }
        }
        let near = others.into_iter();
        let near = near.filter(|key| is_near(key, &self.keys)).collect();
        Ok(Ok(Values { values, near }))
    }
}

/// Reads a key: its place among those that are wanted, or its text.
struct Name<const N: usize>([&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Name<N> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Name<N> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let place = self.0.iter().position(|key| *key == text);
        Ok(place.ok_or_else(|| text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 2] = ["a", "b"];

    #[test]
    fn a_table_is_read_as_the_whole_document_would_be() {
        for text in [
            "[]",
            " [ ]",
            r#"[{"a":1,"b":"x","c":[{}]},{},{"b":null},7,"t",[1],null,true,-1,1.5]"#,
            r#"{"a":1}"#,
            "7",
            r#"[{"A":1,"a":2,"B":3,"C":4}]"#,
            r#"[{"a":1,"a":2}]"#,
            r#"[{"c":1,"c":2}]"#,
            r#"[{"a":{"x":1,"x":2}}]"#,
            "[",
            "[{}",
            "[{}] x",
            "",
            "[1e999]",
        ] {
            let mut rows = Vec::new();
            let read = parse(text, KEYS, &mut |row| rows.push(row));
            let whole = json::parse(text.as_bytes());
            let expected = whole.map(|value| {
                if let Json::Array(elements) = value {
                    let expected: Vec<_> = elements.into_iter().map(|one| row(one, KEYS)).collect();
                    assert_eq!(rows, expected, "{text}");
                    None
                } else {
                    Some(value)
                }
            });
            assert_eq!(read, expected, "{text}");
        }
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let max = crate::limits::ANSWER_DEPTH_MAX;
        assert!(parse(&deep(max), KEYS, &mut |_| {}).is_ok());
        let too_deep = parse(&deep(max + 1), KEYS, &mut |_| {});
        assert_eq!(too_deep, Err(Fault::Depth));
    }
}
