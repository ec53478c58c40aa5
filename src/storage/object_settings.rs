//! What a mapping says of the objects below it: class, encryption, tags and lock (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::location::Location;
use super::properties::{Properties, Retention, Tags};

/// What every object carries that is stored below a mapping, whichever way it comes there.
///
/// The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectSettings {
    pub storage_class: Option<Box<str>>,
    pub encryption: Option<Sse>,
    pub tags: Tags,
    pub retention: Option<RetentionPeriod>,
    pub legal_hold: bool,
}

/// Server-side encryption.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sse {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub algorithm: Box<str>,
    /// `None`: the key of the bucket, or of the account.
    pub kms_key_id: Option<Box<str>>,
    pub bucket_key: bool,
}

/// How long a new object may not be deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetentionPeriod {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: Box<str>,
    pub days: u32,
}

/// Says what is asked for of an object by its place.
pub trait SettingsAt: Debug + Send + Sync + 'static {
    /// Returns the settings of the mapping that a place is below; `None`: it asks for nothing.
    fn settings_at(&self, location: &Location) -> Option<Arc<ObjectSettings>>;
}

impl ObjectSettings {
    /// Says whether they ask for anything.
    #[must_use]
    pub fn ask(&self) -> bool {
        *self != Self::default()
    }

    /// Says whether they lock objects: S3 takes a lock only together with a checksum.
    #[must_use]
    pub const fn is_lock(&self) -> bool {
        self.retention.is_some() || self.legal_hold
    }

    /// Says whether the class is one of AWS S3. Other makers have classes of their own.
    #[must_use]
    pub fn has_class_of_aws(&self) -> bool {
        let class = self.storage_class.as_deref();
        class.is_none_or(|class| CLASSES_OF_AWS.contains(&class))
    }

    /// Adds the lock to what an object has: a longer or stricter one that it has stays.
    pub(super) fn lock(&self, properties: &mut Properties, now: SystemTime) {
        properties.legal_hold |= self.legal_hold;
        let Some(asked) = &self.retention else {
            return;
        };
        let days = Duration::from_secs(u64::from(asked.days).saturating_mul(DAY_SECONDS));
        // What a clock cannot count is refused by S3.
        let until = now.checked_add(days).unwrap_or(now);
        let (mode, until) = match properties.retention.take() {
            Some(own) if &*own.mode == COMPLIANCE => (own.mode, own.until.max(until)),
            Some(own) => (asked.mode.clone(), own.until.max(until)),
            None => (asked.mode.clone(), until),
        };
        properties.retention = Some(Retention { mode, until });
    }

    /// Puts the tags before those that an object has.
    pub(super) fn tag(&self, own: &Tags) -> Tags {
        let others = own
            .iter()
            .filter(|(name, _)| !self.tags.iter().any(|(asked, _)| asked == name));
        self.tags.iter().chain(others).cloned().collect()
    }
}

/// The settings as somebody wrote them.
#[derive(Debug, Default)]
pub struct WrittenSettings {
    pub storage_class: Option<String>,
    pub encryption: Option<String>,
    pub kms_key_id: Option<String>,
    pub bucket_key: bool,
    pub tags: Vec<(String, String)>,
    pub retention: Option<WrittenRetention>,
    pub legal_hold: bool,
}

/// A retention as somebody wrote it.
#[derive(Debug, Default)]
pub struct WrittenRetention {
    pub mode: Option<String>,
    pub days: Option<u64>,
    pub years: Option<u64>,
}

impl WrittenSettings {
    /// Checks what can be known without the store.
    ///
    /// # Errors
    /// Says what was found and what is allowed.
    pub fn checked(self) -> Result<ObjectSettings, SettingsError> {
        let class = self.storage_class.map(class).transpose()?;
        let encryption = sse(self.encryption, self.kms_key_id, self.bucket_key)?;
        let retention = self.retention.map(WrittenRetention::checked).transpose()?;
        Ok(ObjectSettings {
            storage_class: class,
            encryption,
            tags: tags(self.tags)?,
            retention,
            legal_hold: self.legal_hold,
        })
    }
}

impl WrittenRetention {
    fn checked(self) -> Result<RetentionPeriod, SettingsError> {
        let mode = self.mode.unwrap_or_default();
        if !matches!(&*mode, GOVERNANCE | COMPLIANCE) {
            return Err(SettingsError::LockMode(mode.into()));
        }
        let days = match (self.days, self.years) {
            (Some(days), None) => Some(days),
            (None, Some(years)) => years.checked_mul(YEAR_DAYS),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let days = days
            .filter(|days| (1..=DAYS_MAX).contains(days))
            .and_then(|days| u32::try_from(days).ok());
        Ok(RetentionPeriod {
            mode: mode.into(),
            days: days.ok_or(SettingsError::Period)?,
        })
    }
}

fn class(class: String) -> Result<Box<str>, SettingsError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if class.is_empty() || class.len() > CLASS_BYTES_MAX || !class.chars().all(fits) {
        return Err(SettingsError::Class(class.into()));
    }
    Ok(class.into())
}

fn sse(
    algorithm: Option<String>,
    key: Option<String>,
    bucket_key: bool,
) -> Result<Option<Sse>, SettingsError> {
    let Some(algorithm) = algorithm else {
        return if key.is_some() || bucket_key {
            Err(SettingsError::KeyWithoutKms)
        } else {
            Ok(None)
        };
    };
    let takes_key = match &*algorithm {
        "AES256" => false,
        "aws:kms" | DSSE => true,
        _ => return Err(SettingsError::Algorithm(algorithm.into())),
    };
    if !takes_key && (key.is_some() || bucket_key) {
        return Err(SettingsError::KeyWithoutKms);
    }
    if bucket_key && algorithm == DSSE {
        return Err(SettingsError::BucketKeyWithDsse);
    }
    let fits = |key: &String| {
        (1..=KEY_ID_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
    };
    if let Some(key) = key.as_ref().filter(|key| !fits(key)) {
        return Err(SettingsError::KeyId(key.as_str().into()));
    }
    Ok(Some(Sse {
        algorithm: algorithm.into(),
        kms_key_id: key.map(Into::into),
        bucket_key,
    }))
}

fn tags(written: Vec<(String, String)>) -> Result<Tags, SettingsError> {
    if written.len() > TAGS_MAX {
        return Err(SettingsError::TooManyTags(written.len()));
    }
    let mut names = BTreeSet::new();
    for (name, value) in &written {
        let length = name.chars().count();
        let plain = |text: &str| !text.chars().any(char::is_control);
        let fits = (1..=TAG_NAME_CHARS_MAX).contains(&length)
            && value.chars().count() <= TAG_VALUE_CHARS_MAX
            && plain(name)
            && plain(value)
            && !name.to_ascii_lowercase().starts_with("aws:");
        if !fits || !names.insert(name.as_str()) {
            return Err(SettingsError::Tag(name.as_str().into()));
        }
    }
    let tags = written.into_iter();
    Ok(tags
        .map(|(name, value)| (name.into(), value.into()))
        .collect())
}

/// Says what is wrong with settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "the storage class {0:?} is not valid; allowed: up to {CLASS_BYTES_MAX} letters, digits, \
         _ and -, such as STANDARD_IA"
    )]
    Class(Box<str>),
    #[error("the encryption {0:?} is unknown; allowed: AES256, aws:kms, aws:kms:dsse")]
    Algorithm(Box<str>),
    #[error("the KMS key id {0:?} is not valid; allowed: an id, an alias or an ARN")]
    KeyId(Box<str>),
    #[error("a KMS key id or a bucket key needs the encryption aws:kms or aws:kms:dsse")]
    KeyWithoutKms,
    #[error("the encryption aws:kms:dsse has no bucket keys")]
    BucketKeyWithDsse,
    #[error("{0} tags; allowed: at most {TAGS_MAX}")]
    TooManyTags(usize),
    #[error(
        "the tag {0:?} is not valid; allowed: each name once, 1 to {TAG_NAME_CHARS_MAX} \
         characters, not beginning with aws:, with a value of up to {TAG_VALUE_CHARS_MAX}"
    )]
    Tag(Box<str>),
    #[error("the retention mode {0:?} is unknown; allowed: GOVERNANCE, COMPLIANCE")]
    LockMode(Box<str>),
    #[error("a retention needs either days (1 to {DAYS_MAX}) or years")]
    Period,
}

/// Those that S3 documents for `x-amz-storage-class`.
const CLASSES_OF_AWS: [&str; 12] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
];

const DSSE: &str = "aws:kms:dsse";
const GOVERNANCE: &str = "GOVERNANCE";
const COMPLIANCE: &str = "COMPLIANCE";
const CLASS_BYTES_MAX: usize = 64;
const KEY_ID_BYTES_MAX: usize = 2048;
/// S3's bounds on tags.
const TAGS_MAX: usize = 10;
const TAG_NAME_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
/// S3's bound on a retention: a hundred years.
const DAYS_MAX: u64 = 36_500;
/// No year is longer: a retention in years is never a day too short.
const YEAR_DAYS: u64 = 366;
const DAY_SECONDS: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mode: &str, days: Option<u64>, years: Option<u64>) -> WrittenSettings {
        WrittenSettings {
            retention: Some(WrittenRetention {
                mode: Some(mode.to_owned()),
                days,
                years,
            }),
            ..WrittenSettings::default()
        }
    }

    fn what_no_store_could_keep() -> Vec<(WrittenSettings, &'static str)> {
        let text = |text: &str| Some(text.to_owned());
        let tag = |name: &str| (name.to_owned(), "v".to_owned());
        let none = WrittenSettings::default;
        vec![
            (
                WrittenSettings {
                    storage_class: text("STANDARD IA"),
                    ..none()
                },
                "storage class \"STANDARD IA\"",
            ),
            (
                WrittenSettings {
                    encryption: text("kms"),
                    ..none()
                },
                "encryption \"kms\"",
            ),
            (
                WrittenSettings {
                    encryption: text("AES256"),
                    kms_key_id: text("k"),
                    ..none()
                },
                "needs the encryption",
            ),
            (
                WrittenSettings {
                    bucket_key: true,
                    ..none()
                },
                "needs the encryption",
            ),
            (
                WrittenSettings {
                    encryption: text("aws:kms:dsse"),
                    bucket_key: true,
                    ..none()
                },
                "no bucket keys",
            ),
            (
                WrittenSettings {
                    encryption: text("aws:kms"),
                    kms_key_id: text("a\nb"),
                    ..none()
                },
                "KMS key id",
            ),
            (
                WrittenSettings {
                    tags: vec![tag("a"), tag("a")],
                    ..none()
                },
                "tag \"a\"",
            ),
            (
                WrittenSettings {
                    tags: vec![tag("AWS:x")],
                    ..none()
                },
                "tag \"AWS:x\"",
            ),
        ]
    }

    #[test]
    fn what_no_store_could_keep_is_refused() {
        let tag = |name: &str| (name.to_owned(), "v".to_owned());
        let more = [
            (
                WrittenSettings {
                    tags: (0..11).map(|at| tag(&at.to_string())).collect(),
                    ..WrittenSettings::default()
                },
                "11 tags",
            ),
            (written("governance", Some(1), None), "retention mode"),
            (written("GOVERNANCE", Some(1), Some(1)), "either days"),
            (written("GOVERNANCE", None, None), "either days"),
            (written("COMPLIANCE", Some(0), None), "either days"),
            (written("COMPLIANCE", None, Some(u64::MAX)), "either days"),
        ];
        for (settings, said) in what_no_store_could_keep().into_iter().chain(more) {
            let error = settings.checked().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let years = written("COMPLIANCE", None, Some(7)).checked().unwrap();
        assert_eq!(years.retention.unwrap().days, 7 * 366);
    }

    #[test]
    fn a_lock_that_an_object_has_is_never_shortened() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = |days: u64| now + Duration::from_secs(days * DAY_SECONDS);
        let locked = |mode: &str, days: u64| Properties {
            retention: Some(Retention {
                mode: mode.into(),
                until: after(days),
            }),
            ..Properties::default()
        };
        let asked = written(GOVERNANCE, Some(10), None).checked().unwrap();
        for (mut own, mode, days) in [
            (Properties::default(), GOVERNANCE, 10),
            (locked(GOVERNANCE, 3), GOVERNANCE, 10),
            (locked(GOVERNANCE, 30), GOVERNANCE, 30),
            (locked(COMPLIANCE, 3), COMPLIANCE, 10),
        ] {
            asked.lock(&mut own, now);
            assert_eq!(own, locked(mode, days));
        }
    }
}
