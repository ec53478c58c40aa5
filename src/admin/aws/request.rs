//! What a request says: its members, each of the type that AWS's model has.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::operation::Operation;
use super::refusal::Refusal;
use crate::idp::service_managed::{Fault, Fields, HomeDirectoryType, Tag};
use crate::idp::{UserNameRule, service_managed};
use crate::limits::LIST_PAGE_MAX;

/// The body of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'b>(&'b Map<String, Value>);

impl<'b> Request<'b> {
    /// Takes a body whose members the operation knows: what is not known could mean anything.
    pub(super) fn of(operation: Operation, body: &'b Value) -> Result<Self, Refusal> {
        let object = body
            .as_object()
            .ok_or_else(|| Refusal::of_type("the body", "an object"))?;
        for key in object.keys() {
            if !operation.members().contains(&&**key) {
                let shown = shown(key);
                let operation = operation.as_str();
                return Err(Refusal::invalid(&format!(
                    "{operation} has no member {shown:?} here"
                )));
            }
        }
        Ok(Self(object))
    }

    fn value(self, key: &str) -> Option<&'b Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(self, key: &str) -> Result<Option<&'b str>, Refusal> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let text = value.as_str();
        text.map(Some)
            .ok_or_else(|| Refusal::of_type(key, "a string"))
    }

    pub(super) fn required(self, key: &str) -> Result<&'b str, Refusal> {
        let text = self.text(key)?;
        text.ok_or_else(|| Refusal::invalid(&format!("{key} is required")))
    }

    /// Returns the name of a user; another one cannot have been created.
    pub(super) fn user_name(self) -> Result<&'b str, Refusal> {
        let name = self.required("UserName")?;
        if !UserNameRule::Aws.allows(name) {
            return Err(Refusal::invalid(
                "UserName is not one: 3 to 100 letters, digits and _ . @ -, beginning with a \
                 letter, a digit or _, and not root",
            ));
        }
        Ok(name)
    }

    /// Returns how many rows a page may have.
    pub(super) fn max_results(self) -> Result<u16, Refusal> {
        const KEY: &str = "MaxResults";
        let Some(value) = self.value(KEY) else {
            return Ok(LIST_PAGE_MAX);
        };
        let number = value
            .as_i64()
            .ok_or_else(|| Refusal::of_type(KEY, "a whole number"))?;
        let number = u16::try_from(number).ok();
        number
            .filter(|number| (1..=LIST_PAGE_MAX).contains(number))
            .ok_or_else(|| Refusal::invalid("MaxResults must be 1 to 1000"))
    }

    /// Returns what an earlier page said of the next one.
    pub(super) fn next_token(self) -> Result<Option<String>, Refusal> {
        let Some(token) = self.text("NextToken")? else {
            return Ok(None);
        };
        let read = || {
            let bytes = hex::decode(token).ok()?;
            String::from_utf8(bytes).ok()
        };
        read().map(Some).ok_or_else(|| Fault::NextToken.into())
    }

    /// Returns what is said of a user.
    pub(super) fn user_fields(self) -> Result<Fields, Refusal> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let home_directory_type = match self.text("HomeDirectoryType")? {
            None => None,
            Some(word) => Some(
                HomeDirectoryType::from_word(word)
                    .ok_or_else(|| Refusal::invalid("HomeDirectoryType must be PATH or LOGICAL"))?,
            ),
        };
        let mappings: Option<Vec<service_managed::MapEntry>> =
            self.typed("HomeDirectoryMappings")?;
        if mappings.as_ref().is_some_and(Vec::is_empty) {
            return Err(Refusal::invalid(
                "HomeDirectoryMappings is empty; at least one entry is needed",
            ));
        }
        Ok(Fields {
            role: owned(self.text("Role")?),
            policy: owned(self.text("Policy")?),
            home_directory_type,
            home_directory: owned(self.text("HomeDirectory")?),
            home_directory_mappings: mappings,
            posix_profile: self.typed("PosixProfile")?,
        })
    }

    pub(super) fn tags(self) -> Result<Vec<Tag>, Refusal> {
        Ok(self.typed("Tags")?.unwrap_or_default())
    }

    /// Returns the tags that are added: one at least.
    pub(super) fn added_tags(self) -> Result<Vec<Tag>, Refusal> {
        let tags = self.tags()?;
        if tags.is_empty() {
            return Err(Refusal::invalid("Tags is required"));
        }
        Ok(tags)
    }

    /// Returns the keys of the tags that are taken away: one at least.
    pub(super) fn removed_tag_keys(self) -> Result<Vec<String>, Refusal> {
        let keys: Vec<String> = self.typed("TagKeys")?.unwrap_or_default();
        if keys.is_empty() {
            return Err(Refusal::invalid("TagKeys is required"));
        }
        Ok(keys)
    }

    /// Reads a structure; what it has beside its own members is refused.
    fn typed<T: DeserializeOwned>(self, key: &str) -> Result<Option<T>, Refusal> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let read = T::deserialize(value);
        read.map(Some).map_err(|error| {
            let why = shown(&error.to_string());
            Refusal::invalid(&format!("{key}: {why}"))
        })
    }
}

/// JSON whose objects have each member once: of two, another reader might take the other.
#[derive(Debug)]
pub(super) struct Unique(pub(super) Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Members).map(Self)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Unique(value))) = members.next_entry::<String, _>()? {
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// Writes where the next page begins, so that nobody makes one up.
pub(super) fn token(place: &str) -> String {
    hex::encode(place)
}

/// Sets a member of an answer.
pub(super) fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// Returns as much of a text as an error shows.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

const SHOWN_CHARS_MAX: usize = 200;
