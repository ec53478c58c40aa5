//! `objects`: what stored objects carry, in the answer or in one of its mappings. Both forms of an
//! answer write it alike, and are read strictly there: a misspelt lock would be none.

use std::sync::Arc;

use super::json::{Json, Object};
use crate::refusal::{Reason, Refusal};
use crate::storage::{ObjectSettings, WrittenRetention, WrittenSettings};

/// The key under which both forms say it.
pub(super) const OBJECTS: &str = "objects";

/// Reads the settings; `null` is the same as nothing. Those of a mapping that ask for nothing are
/// some: the answer's do not hold there.
pub(super) fn read(value: Option<Json>) -> Result<Option<Arc<ObjectSettings>>, Refusal> {
    let object = match value {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Object(object)) => object,
        Some(other) => return Err(wrong("", "an object", &other)),
    };
    let mut fields = Fields(object);
    let written = WrittenSettings {
        storage_class: fields.text("storageClass")?,
        encryption: fields.text("encryption")?,
        kms_key_id: fields.text("kmsKeyId")?,
        bucket_key: fields.boolean("bucketKey")?,
        tags: fields.tags("tags")?,
        retention: fields.retention("retention")?,
        legal_hold: fields.boolean("legalHold")?,
    };
    fields.end("")?;
    let settings = written.checked().map_err(|error| {
        // A value may be as long as the answer.
        let text: String = error.to_string().chars().take(TEXT_CHARS_MAX).collect();
        Reason::ObjectSettings.because(&format!("{OBJECTS}: {text}"))
    })?;
    Ok(Some(Arc::new(settings)))
}

/// Says whether a key differs from [`OBJECTS`] in nothing but its case.
pub(super) fn is_misspelt(key: &str) -> bool {
    key != OBJECTS && key.eq_ignore_ascii_case(OBJECTS)
}

/// Refuses such a key.
pub(super) fn misspelt(key: &str) -> Refusal {
    Reason::ObjectSettings.because(&format!("{key:?} must be written {OBJECTS:?}"))
}

/// An object's keys; each is taken out once, and none may be left.
struct Fields(Object);

impl Fields {
    fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, "a string", &other)),
        }
    }

    fn boolean(&mut self, key: &str) -> Result<bool, Refusal> {
        match self.0.remove(key) {
            None => Ok(false),
            Some(Json::Bool(value)) => Ok(value),
            Some(other) => Err(wrong(key, "true or false", &other)),
        }
    }

    fn integer(&mut self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.0.remove(key) else {
            return Ok(None);
        };
        if let Json::Number(number) = &value
            && let Some(integer) = number.as_u64()
        {
            return Ok(Some(integer));
        }
        Err(wrong(key, "a whole number, not negative", &value))
    }

    fn tags(&mut self, key: &str) -> Result<Vec<(String, String)>, Refusal> {
        let tags = match self.0.remove(key) {
            None => return Ok(Vec::new()),
            Some(Json::Object(tags)) => tags,
            Some(other) => return Err(wrong(key, "an object of strings", &other)),
        };
        let tag = |(name, value): (String, Json)| {
            let text = value.into_text();
            let text = text.map_err(|other| wrong(key, "an object of strings", &other));
            Ok((name, text?))
        };
        tags.into_iter().map(tag).collect()
    }

    fn retention(&mut self, key: &str) -> Result<Option<WrittenRetention>, Refusal> {
        let mut fields = match self.0.remove(key) {
            None => return Ok(None),
            Some(Json::Object(object)) => Self(object),
            Some(other) => return Err(wrong(key, "an object", &other)),
        };
        let retention = WrittenRetention {
            mode: fields.text("mode")?,
            days: fields.integer("days")?,
            years: fields.integer("years")?,
        };
        fields.end(key)?;
        Ok(Some(retention))
    }

    /// Refuses what nobody asked for.
    fn end(self, of: &str) -> Result<(), Refusal> {
        let Some(key) = self.0.keys().next() else {
            return Ok(());
        };
        let key: String = key.chars().take(TEXT_CHARS_MAX).collect();
        let dot = if of.is_empty() { "" } else { "." };
        let detail = format!("{OBJECTS}{dot}{of}: unknown key {key:?}");
        Err(Reason::ObjectSettings.because(&detail))
    }
}

fn wrong(key: &str, expected: &str, found: &Json) -> Refusal {
    let dot = if key.is_empty() { "" } else { "." };
    let kind = found.kind();
    let detail = format!("\"{OBJECTS}{dot}{key}\" must be {expected}, found {kind}");
    Reason::WrongType.because(&detail)
}

const TEXT_CHARS_MAX: usize = 300;
