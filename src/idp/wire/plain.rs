//! The plain answer. It is strict: a key that is misspelt or of another type refuses the login
//! instead of being passed over.

use std::time::{Duration, SystemTime};

use super::json::{Json, Object};
use super::keys::{self, Given};
use super::objects::{self, OBJECTS};
use super::substitute;
use super::{
    Asked, PARTIAL_UPLOADS, broken, conclude, excerpt, partial_uploads, timestamp, wrong_type,
};
use crate::idp::{Judged, Network, UserConfig, UserLimits, is_unprintable};
use crate::limits;
use crate::refusal::{Reason, Refusal};
use crate::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath, with_objects};

pub(super) fn read(asked: Asked<'_>, answer: Object) -> Judged {
    let mut fields = Fields(answer);
    let allow = fields.boolean("allow")?;
    let reason = fields.text("reason")?;
    let user = match fields.text("user")? {
        Some(user) => canonical(user)?,
        None => asked.username.into(),
    };
    let given = fields.texts("publicKeys")?.unwrap_or_default().into_iter();
    let given: Vec<_> = given.map(Given::from).collect();
    let listed = keys::read(&given)?;
    let mappings = fields.array("mappings")?;
    let landing = fields.text("home")?;
    let role = fields.text("role")?;
    let policy = fields.policy(&user)?;
    let networks = fields.networks()?;
    let limits = fields.limits()?;
    let partial = partial_uploads(fields.text(PARTIAL_UPLOADS)?)?;
    let objects = objects::read(fields.0.remove(OBJECTS))?;
    let expires_at = fields.expires_at()?;
    let cache_for = fields.integer("cacheSeconds")?.map(Duration::from_secs);
    fields.end()?;
    if !allow {
        return Err(match reason {
            Some(words) => Reason::NotAllowed.because(&excerpt(&words)),
            None => Reason::NotAllowed.into(),
        });
    }
    let Some(mappings) = mappings else {
        return Err(Reason::MappingsMissing.because("\"mappings\" is required"));
    };
    let rows = mappings.into_iter().map(|row| mapping(row, &user));
    let mappings = rows.collect::<Result<Vec<_>, _>>()?;
    let home = home(with_objects(mappings, objects.as_ref()), landing.as_deref())?;
    let config = UserConfig {
        role: role.as_deref().map(super::role).transpose()?,
        policy,
        networks,
        limits,
        partial_uploads: partial,
        objects,
        expires_at,
        cache_for,
        ..UserConfig::new(&user, home)
    };
    conclude(asked, config, listed)
}

/// An object's keys; each is taken out once, and none may be left.
struct Fields(Object);

impl Fields {
    fn boolean(&mut self, key: &str) -> Result<bool, Refusal> {
        match self.0.remove(key) {
            Some(Json::Bool(value)) => Ok(value),
            other => Err(wrong_type(
                key,
                "true or false",
                &other.unwrap_or(Json::Null),
            )),
        }
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(key, "a string", &other)),
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
        Err(wrong_type(key, "a whole number, not negative", &value))
    }

    fn array(&mut self, key: &str) -> Result<Option<Vec<Json>>, Refusal> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Json::Array(values)) => Ok(Some(values)),
            Some(other) => Err(wrong_type(key, "an array", &other)),
        }
    }

    fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Refusal> {
        let Some(values) = self.array(key)? else {
            return Ok(None);
        };
        let text = |value: Json| {
            let other = |other| wrong_type(key, "an array of strings", &other);
            value.into_text().map_err(other)
        };
        values
            .into_iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn object(&mut self, key: &str) -> Result<Option<Self>, Refusal> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Json::Object(object)) => Ok(Some(Self(object))),
            Some(other) => Err(wrong_type(key, "an object", &other)),
        }
    }

    fn policy(&mut self, user: &str) -> Result<Option<Box<str>>, Refusal> {
        let text = match self.0.remove("policy") {
            None => return Ok(None),
            Some(Json::Text(text)) if text.trim().is_empty() => return Ok(None),
            Some(Json::Text(text)) => text,
            Some(object @ Json::Object(_)) => object.to_text(),
            Some(other) => return Err(wrong_type("policy", "an object or a string", &other)),
        };
        super::policy_for(&text, user).map(Some)
    }

    fn networks(&mut self) -> Result<Vec<Network>, Refusal> {
        let Some(texts) = self.texts("networks")? else {
            return Ok(Vec::new());
        };
        // No list means any network; a list that came out empty surely does not.
        if texts.is_empty() {
            return Err(Reason::NetworksEmpty.because("\"networks\" is an empty array"));
        }
        let network = |text: &String| {
            let bad = |error| Reason::Network.because(&format!("{text:?}: {error}"));
            text.parse().map_err(bad)
        };
        texts.iter().map(network).collect()
    }

    fn limits(&mut self) -> Result<UserLimits, Refusal> {
        let Some(mut fields) = self.object("limits")? else {
            return Ok(UserLimits::default());
        };
        let sessions = fields.integer("sessions")?;
        let limits = UserLimits {
            sessions: sessions.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
            file_bytes: fields.integer("fileBytes")?,
            bytes_per_second: fields.integer("bytesPerSecond")?,
        };
        fields.end()?;
        Ok(limits)
    }

    fn expires_at(&mut self) -> Result<Option<SystemTime>, Refusal> {
        let Some(text) = self.text("expiresAt")? else {
            return Ok(None);
        };
        let time = timestamp::parse(&text).ok_or_else(|| {
            let detail = format!("{text:?} is not a time such as 2026-12-31T00:00:00Z");
            Reason::ExpiresAt.because(&detail)
        })?;
        Ok(Some(time))
    }

    /// Refuses what nobody asked for.
    fn end(self) -> Result<(), Refusal> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(Reason::UnknownKey.because(&format!("unknown key {key:?}"))),
        }
    }
}

fn canonical(user: String) -> Result<Box<str>, Refusal> {
    let length = user.chars().count();
    if !(1..=limits::USER_NAME_BYTES_MAX).contains(&length) || user.chars().any(is_unprintable) {
        return Err(
            Reason::User.because("\"user\" is empty, too long or has an invisible character")
        );
    }
    Ok(user.into())
}

fn home(mappings: Vec<Mapping>, landing: Option<&str>) -> Result<HomeDirectory, Refusal> {
    let landing = match landing {
        None => VirtualPath::root(),
        Some(home) => VirtualPath::parse(home).map_err(|error| {
            Reason::HomeNotNormal.because(&format!("\"home\" {home:?}: {error}"))
        })?,
    };
    HomeDirectory::logical(mappings, landing).map_err(|error| broken(&error))
}

fn mapping(row: Json, user: &str) -> Result<Mapping, Refusal> {
    let Json::Object(row) = row else {
        return Err(wrong_type("mappings", "an array of objects", &row));
    };
    let mut row = Fields(row);
    let (entry, target) = (row.text("entry")?, row.text("target")?);
    let entry_type = match row.text("type")?.as_deref() {
        None | Some("directory") => EntryType::Directory,
        Some("file") => EntryType::File,
        Some(other) => {
            let detail = format!("type {other:?} is neither \"directory\" nor \"file\"");
            return Err(Reason::MappingType.because(&detail));
        }
    };
    let access = match row.text("access")?.as_deref() {
        None | Some("read-write") => Access::ReadWrite,
        Some("read") => Access::Read,
        Some("write") => Access::Write,
        Some(other) => {
            let detail = format!("access {other:?} is not one of read, write, read-write");
            return Err(Reason::MappingAccess.because(&detail));
        }
    };
    let partial = partial_uploads(row.text(PARTIAL_UPLOADS)?)?;
    let objects = objects::read(row.0.remove(OBJECTS))?;
    row.end()?;
    let (Some(entry), Some(target)) = (entry, target) else {
        return Err(Reason::MappingIncomplete.because("a row without \"entry\" or \"target\""));
    };
    let target = substitute::target(&target, user)?;
    let mapping = Mapping::parse(&entry, &target, entry_type, access);
    let mapping = mapping.map_err(|error| broken(&error))?;
    Ok(mapping.with_partial_uploads(partial).with_objects(objects))
}
