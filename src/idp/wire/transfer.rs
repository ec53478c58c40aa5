//! Transfer Family's answer: JSON strings inside JSON, and what functions in the field make of it.

use std::sync::Arc;

use super::json::{self, Json, Object};
use super::keys::{self, Given, Keys};
use super::objects::{self, OBJECTS, is_misspelt, misspelt};
use super::python;
use super::rows::{self, Row, Values};
use super::substitute::{self, PolicyValues};
use super::{Asked, PARTIAL_UPLOADS, broken, conclude, partial_uploads, wrong_type};
use crate::idp::{Judged, Oddity, PathHomes, UserConfig, Warning};
use crate::limits;
use crate::refusal::{Reason, Refusal};
use crate::storage::ObjectSettings;
use crate::vfs::{
    Access, EntryType, HomeDirectory, HomeType, Mapping, MappingError, VirtualPath, with_objects,
};

pub(super) fn read(asked: Asked<'_>, answer: Object) -> Judged {
    let mut answer = ProviderAnswer(answer);
    let Some(role) = answer.text("Role")? else {
        return Err(Reason::NoRole.into());
    };
    let role = super::role(&role)?;
    let mut warnings = Vec::new();
    let listed = answer.public_keys()?;
    let objects = answer.objects()?;
    let (home, home_text) = answer.home(asked, objects.as_ref(), &mut warnings)?;
    let values = PolicyValues {
        user: asked.username,
        home: home_text.as_deref(),
    };
    let policy = answer.policy(values, &mut warnings)?;
    let partial = partial_uploads(answer.text(PARTIAL_UPLOADS)?)?;
    let config = UserConfig {
        role: Some(role),
        policy,
        partial_uploads: partial,
        objects,
        warnings,
        ..UserConfig::new(asked.username, home)
    };
    conclude(asked, config, listed)
}

/// The answer's keys; each is taken out once.
struct ProviderAnswer(Object);

impl ProviderAnswer {
    /// Takes a value; `null` is the same as nothing.
    fn take(&mut self, key: &str) -> Option<Json> {
        self.0.remove(key).filter(|value| *value != Json::Null)
    }

    /// Takes a text; a blank one is the same as nothing.
    fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        text(key, self.take(key))
    }

    fn public_keys(&mut self) -> Result<Keys, Refusal> {
        const KEY: &str = "PublicKeys";
        let mut form = None;
        let given = match self.take(KEY) {
            None => Vec::new(),
            Some(Json::Array(values)) => elements(values, &mut form)?,
            Some(Json::Text(text)) if text.trim().is_empty() => vec![Given::from(text)],
            Some(Json::Text(text)) => {
                let python = || json::parse(python::as_json(&text)?.as_bytes()).ok();
                match json::parse(text.as_bytes()).ok().or_else(python) {
                    Some(Json::Array(values)) => {
                        let given = elements(values, &mut form)?;
                        form = Some("a list inside a string");
                        given
                    }
                    _ => {
                        form = Some("a string");
                        vec![Given::from(unbracketed(&text).to_owned())]
                    }
                }
            }
            Some(other) => return Err(wrong_type(KEY, "an array of strings", &other)),
        };
        let mut keys = keys::read(&given)?;
        keys.forms.extend(form);
        Ok(keys)
    }

    /// Takes what stored objects carry. Other keys that nobody asked for are passed over; one that
    /// differs from this one in its case was surely meant.
    fn objects(&mut self) -> Result<Option<Arc<ObjectSettings>>, Refusal> {
        let objects = objects::read(self.take(OBJECTS))?;
        match self.0.keys().find(|key| is_misspelt(key)) {
            Some(key) => Err(misspelt(key)),
            None => Ok(objects),
        }
    }

    /// Returns the home and, for a PATH one, the text that a policy's variables refer to.
    fn home(
        &mut self,
        asked: Asked<'_>,
        objects: Option<&Arc<ObjectSettings>>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(HomeDirectory, Option<String>), Refusal> {
        let user = asked.username;
        let home_type = match self.text("HomeDirectoryType")?.as_deref() {
            None | Some("PATH") => HomeType::Path,
            Some("LOGICAL") => HomeType::Logical,
            Some(other) => {
                let detail = format!("HomeDirectoryType {other:?} is neither PATH nor LOGICAL");
                return Err(Reason::HomeType.because(&detail));
            }
        };
        let home = self.text("HomeDirectory")?;
        let details = self.take("HomeDirectoryDetails");
        match home_type {
            HomeType::Logical => {
                let mappings = mappings(details, asked, warnings)?;
                let landing = match home {
                    None => VirtualPath::root(),
                    Some(home) => landing(&with_slash(home, warnings), &mappings, user, warnings)?,
                };
                let built = HomeDirectory::logical(with_objects(mappings, objects), landing);
                Ok((built.map_err(|error| broken(&error))?, None))
            }
            HomeType::Path => {
                let blank =
                    |value: &Json| matches!(value, Json::Text(text) if text.trim().is_empty());
                if details.is_some_and(|value| !blank(&value)) {
                    warnings.push(Oddity::DetailsWithoutLogical.into());
                }
                let home = if let Some(home) = home {
                    with_slash(home, warnings)
                } else {
                    let shows = match asked.path_homes {
                        PathHomes::Confined => "an empty directory",
                        PathHomes::Role => {
                            "the buckets of the role, and all that it allows (path_homes = \"role\")"
                        }
                    };
                    warnings.push(Oddity::HomeDirectoryMissing.because(shows));
                    "/".to_owned()
                };
                if is_foreign_efs(&home, asked.fs_ids) {
                    return Err(
                        Reason::EfsTarget.because("the home directory is on EFS, not on S3")
                    );
                }
                let built = match asked.path_homes {
                    PathHomes::Confined => HomeDirectory::path(&home, Access::ReadWrite),
                    PathHomes::Role => HomeDirectory::of_role(&home, Access::ReadWrite),
                };
                Ok((built.map_err(|error| bad_home(&home, &error))?, Some(home)))
            }
        }
    }

    fn policy(
        &mut self,
        values: PolicyValues<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Box<str>>, Refusal> {
        let text = match self.take("Policy") {
            None => return Ok(None),
            Some(Json::Text(text)) if text.trim().is_empty() => return Ok(None),
            Some(Json::Text(text)) => text,
            Some(object @ Json::Object(_)) => {
                warnings.push(Oddity::PolicyNotStringified.into());
                object.to_text()
            }
            Some(other) => return Err(wrong_type("Policy", "a string that holds JSON", &other)),
        };
        super::policy(substitute::policy(&text, values)?).map(Some)
    }
}

/// The keys of a mapping.
const ROW_KEYS: [&str; 5] = ["Entry", "Target", "Type", PARTIAL_UPLOADS, OBJECTS];

/// Returns a text; a blank one, and `null`, are the same as nothing.
fn text(key: &str, value: Option<Json>) -> Result<Option<String>, Refusal> {
    match value {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        Some(other) => Err(wrong_type(key, "a string", &other)),
    }
}

/// Reads the elements of a list of keys: texts, or objects as AWS's toolkit keeps them.
fn elements(values: Vec<Json>, form: &mut Option<&'static str>) -> Result<Vec<Given>, Refusal> {
    let mut given = Vec::with_capacity(values.len());
    for value in values {
        given.push(match value {
            Json::Null => continue,
            Json::Text(text) => Given::from(text),
            Json::Object(mut key) => {
                *form = Some("objects with PublicKey and Expires");
                let given = Given {
                    text: text("PublicKey", key.remove("PublicKey"))?.unwrap_or_default(),
                    expires: text("Expires", key.remove("Expires"))?,
                };
                // Such as `"Enabled": false`: what else it says of the key would not be kept.
                if !key.is_empty() {
                    let expected = "strings, or objects with only PublicKey and Expires";
                    return Err(wrong_type("PublicKeys", expected, &Json::Object(key)));
                }
                given
            }
            other @ (Json::Bool(_) | Json::Number(_) | Json::Array(_)) => {
                return Err(wrong_type("PublicKeys", "an array of strings", &other));
            }
        });
    }
    Ok(given)
}

/// Takes the brackets off keys that were written as one text.
fn unbracketed(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix('[');
    inner
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

/// Adds the slash that `bucket/prefix` lacks.
fn with_slash(home: String, warnings: &mut Vec<Warning>) -> String {
    if home.starts_with('/') {
        return home;
    }
    warnings.push(Oddity::HomeWithoutSlash.because(&format!("{home:?}")));
    format!("/{home}")
}

/// Where a LOGICAL user lands; one trailing slash is forgiven.
///
/// Functions that had PATH homes before keep sending the place in the bucket, which is no place in
/// the tree that the user sees: under the entry `/` it would name a directory that is not there.
fn landing(
    home: &str,
    mappings: &[Mapping],
    user: &str,
    warnings: &mut Vec<Warning>,
) -> Result<VirtualPath, Refusal> {
    let bad = |why: &str| Reason::HomeNotNormal.because(&format!("HomeDirectory {home:?}: {why}"));
    let trimmed = home.strip_suffix('/').filter(|rest| !rest.is_empty());
    let trimmed = trimmed.unwrap_or(home);
    let path = VirtualPath::parse(trimmed).map_err(|error| bad(&error.to_string()))?;
    let filled = substitute::target(trimmed, user).ok();
    let repeats = filled.is_some_and(|place| mappings.iter().any(|row| is_target(row, &place)));
    let is_named = mappings
        .iter()
        .any(|row| !row.entry.is_root() && path.is_related(&row.entry));
    if repeats && !is_named {
        warnings.push(Oddity::HomeRepeatsTarget.because(&format!("{home:?}")));
        return Ok(VirtualPath::root());
    }
    if substitute::has_variable(trimmed) {
        return Err(bad("it has a variable, which is not allowed there"));
    }
    Ok(path)
}

/// Says whether a text is the target of a mapping.
fn is_target(row: &Mapping, text: &str) -> bool {
    let place = text.strip_prefix('/').unwrap_or(text);
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    row.bucket.as_str() == bucket && *row.prefix == *prefix
}

/// Says what is wrong with a PATH home: the operator wrote no entry and no target.
fn bad_home(home: &str, error: &MappingError) -> Refusal {
    let (reason, why) = match error {
        MappingError::Entry { source, .. } => (Reason::HomeNotNormal, source.to_string()),
        MappingError::TextTooLong => (Reason::HomeNotNormal, "it is too long".to_owned()),
        MappingError::TargetVariable(_) => (
            Reason::HomeNotNormal,
            "it has a variable, which is not allowed there".to_owned(),
        ),
        MappingError::TargetBucket { source, .. } => (Reason::HomeBucket, source.to_string()),
        MappingError::EntryVariable(_)
        | MappingError::TargetNoLeadingSlash(_)
        | MappingError::TargetTrailingSlash(_)
        | MappingError::TargetComponent(_)
        | MappingError::FileWithoutKey(_)
        | MappingError::FileAtRoot
        | MappingError::Overlap(..)
        | MappingError::RootBesideOthers(_)
        | MappingError::TooMany(_)
        | MappingError::None
        | MappingError::ObjectsDiffer(..)
        | MappingError::HomeElsewhere(_) => (error.reason(), error.to_string()),
    };
    reason.because(&format!("HomeDirectory {home:?}: {why}"))
}

fn mappings(
    details: Option<Json>,
    asked: Asked<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Mapping>, Refusal> {
    let missing = || Reason::DetailsMissing.because("LOGICAL without HomeDirectoryDetails");
    let mut read = Rows::of(asked);
    let other = match details {
        None => return Err(missing()),
        Some(Json::Text(text)) if text.trim().is_empty() => return Err(missing()),
        Some(Json::Text(text)) if text.len() > limits::MAPPINGS_BYTES_MAX => {
            let detail = format!("{} bytes", text.len());
            return Err(Reason::DetailsTooLong.because(&detail));
        }
        Some(Json::Text(text)) => {
            let mut parsed = rows::parse(&text, ROW_KEYS, &mut |row| read.take(row));
            if parsed == Err(json::Fault::Syntax)
                && let Some(text) = python::as_json(&text)
            {
                read.restart();
                parsed = rows::parse(&text, ROW_KEYS, &mut |row| read.take(row));
                warnings.push(Oddity::DetailsAsPython.into());
            }
            parsed.map_err(|fault| {
                let reason = match fault {
                    json::Fault::Syntax => Reason::DetailsNotJson,
                    json::Fault::DuplicateKey(_) | json::Fault::Depth => fault.reason(),
                };
                reason.because(&format!("HomeDirectoryDetails: {fault}"))
            })?
        }
        Some(Json::Array(elements)) => {
            warnings.push(Oddity::DetailsNotStringified.into());
            for element in elements {
                read.take(rows::row(element, ROW_KEYS));
            }
            None
        }
        Some(value) => Some(value),
    };
    if let Some(other) = other {
        let detail = format!(
            "HomeDirectoryDetails must be an array, found {}",
            other.kind()
        );
        return Err(Reason::DetailsNotAnArray.because(&detail));
    }
    let (count, mappings) = (read.count, read.mappings?);
    if mappings.len() < count {
        if mappings.is_empty() {
            return Err(Reason::EfsTarget.because("every target is on EFS, none on S3"));
        }
        warnings.push(Oddity::EfsTargetSkipped.into());
    }
    Ok(mappings)
}

/// The rows so far. One that breaks a rule ends nothing yet: what is no JSON at all is said first.
struct Rows<'a> {
    asked: Asked<'a>,
    count: usize,
    mappings: Result<Vec<Mapping>, Refusal>,
}

impl<'a> Rows<'a> {
    const fn of(asked: Asked<'a>) -> Self {
        Self {
            asked,
            count: 0,
            mappings: Ok(Vec::new()),
        }
    }

    /// Forgets the rows of a text that turned out to be written in another way.
    fn restart(&mut self) {
        *self = Self::of(self.asked);
    }

    fn take(&mut self, row: Row<5>) {
        self.count = self.count.saturating_add(1);
        let Ok(mappings) = &mut self.mappings else {
            return;
        };
        match mapping(row, self.asked) {
            Ok(mapping) => mappings.extend(mapping),
            Err(error) => self.mappings = Err(error),
        }
    }
}

/// Reads one row; `None` for one on EFS, which one function may list for another server.
fn mapping(row: Row<5>, asked: Asked<'_>) -> Result<Option<Mapping>, Refusal> {
    let wrong = |other| wrong_type("HomeDirectoryDetails", "an array of objects", &other);
    let Values { values, near } = row.map_err(wrong)?;
    if let Some(key) = near.iter().find(|key| is_misspelt(key)) {
        return Err(misspelt(key));
    }
    let [entry, target, entry_type, partial, objects] = values;
    let (entry, target) = (text("Entry", entry)?, text("Target", target)?);
    let (Some(entry), Some(target)) = (entry, target) else {
        return Err(Reason::MappingIncomplete.because("a row without Entry or Target"));
    };
    let entry_type = match text("Type", entry_type)?.as_deref() {
        None | Some("DIRECTORY") => EntryType::Directory,
        Some("FILE") => EntryType::File,
        Some(other) => {
            let detail = format!("Type {other:?} is neither FILE nor DIRECTORY");
            return Err(Reason::MappingType.because(&detail));
        }
    };
    let partial = partial_uploads(text(PARTIAL_UPLOADS, partial)?)?;
    let objects = objects::read(objects)?;
    if is_foreign_efs(&target, asked.fs_ids) {
        return Ok(None);
    }
    let target = substitute::target(&target, asked.username)?;
    let mapping = Mapping::parse(&entry, &target, entry_type, Access::ReadWrite);
    let mapping = mapping.map_err(|error| broken(&error))?;
    Ok(Some(
        mapping.with_partial_uploads(partial).with_objects(objects),
    ))
}

/// Says whether a target begins with the id of an EFS file system, 8 or 17 digits, that no store
/// serves.
fn is_foreign_efs(target: &str, served: &[Box<str>]) -> bool {
    let Some(rest) = target.strip_prefix("/fs-") else {
        return false;
    };
    let id = rest.split('/').next().unwrap_or_default();
    let is_id = matches!(id.len(), 8 | 17) && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id && !served.iter().any(|one| one.strip_prefix("fs-") == Some(id))
}
