//! Members of a JSON text, each with its place for the one who has to correct it.

use serde_json::{Map, Value};

use super::report::plain;

/// A description that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}: {}", plain(file), plain(place), plain(why))]
pub struct InputError {
    pub file: String,
    /// `User.HomeDirectoryMappings[2].Entry`, or a line.
    pub place: String,
    pub why: String,
}

/// An object of a text, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    file: &'a str,
    place: String,
    members: &'a Map<String, Value>,
}

impl<'a> Node<'a> {
    pub(super) const fn root(file: &'a str, members: &'a Map<String, Value>) -> Self {
        Self {
            file,
            place: String::new(),
            members,
        }
    }

    /// Returns the name of the text.
    pub(super) const fn file(&self) -> &'a str {
        self.file
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Returns a text; none where there is no member, or `null`.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, InputError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.unlike(name, "a string", other)),
        }
    }

    /// Returns a text that says something: Terraform writes `""` for what is not set.
    pub(super) fn filled(&self, name: &str) -> Result<Option<String>, InputError> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// Returns a text that has to be there.
    pub(super) fn need(&self, name: &str) -> Result<String, InputError> {
        let text = self.filled(name)?;
        text.ok_or_else(|| self.fault(name, "missing; expected a string"))
    }

    /// Returns a number; zero where there is none.
    pub(super) fn number(&self, name: &str) -> Result<i64, InputError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(Value::Number(number)) => number
                .as_i64()
                .ok_or_else(|| self.fault(name, "expected a whole number")),
            Some(other) => Err(self.unlike(name, "a number", other)),
        }
    }

    /// Says whether a member is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.members.get(name) == Some(&Value::Bool(true))
    }

    /// Returns an object; none where there is no member, or `null`.
    pub(super) fn node(&self, name: &str) -> Result<Option<Self>, InputError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.within(self.at(name), value).map(Some),
        }
    }

    /// Returns the objects of a list; none where there is no member, or `null`.
    pub(super) fn nodes(&self, name: &str) -> Result<Vec<Self>, InputError> {
        let items = self.items(name)?.iter().enumerate();
        items
            .map(|(index, item)| self.within(format!("{}[{index}]", self.at(name)), item))
            .collect()
    }

    /// Returns the texts of a list; none where there is no member, or `null`.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, InputError> {
        let text = |item: &Value| match item.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.unlike(name, "a list of strings", item)),
        };
        self.items(name)?.iter().map(text).collect()
    }

    /// Returns the first object of a list, as Terraform writes blocks that can be there once.
    pub(super) fn block(&self, name: &str) -> Result<Option<Self>, InputError> {
        Ok(self.nodes(name)?.into_iter().next())
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.members.keys().map(String::as_str)
    }

    pub(super) fn fault(&self, name: &str, why: impl Into<String>) -> InputError {
        InputError {
            file: self.file.to_owned(),
            place: self.at(name),
            why: why.into(),
        }
    }

    fn items(&self, name: &str) -> Result<&'a [Value], InputError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.unlike(name, "a list", other)),
        }
    }

    fn within(&self, place: String, value: &'a Value) -> Result<Self, InputError> {
        match value.as_object() {
            Some(members) => Ok(Self {
                file: self.file,
                place,
                members,
            }),
            None => Err(InputError {
                file: self.file.to_owned(),
                place,
                why: format!("expected an object, found {}", kind(value)),
            }),
        }
    }

    fn at(&self, name: &str) -> String {
        if self.place.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.place)
        }
    }

    fn unlike(&self, name: &str, expected: &str, found: &Value) -> InputError {
        self.fault(name, format!("expected {expected}, found {}", kind(found)))
    }
}

/// Names a kind of value; what stands in it may be a secret.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
