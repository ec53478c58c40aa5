//! What an object carries beside its bytes, its type and its user metadata.

use std::time::{Duration, SystemTime};

/// The default is an object of which nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    pub cache_control: Option<Box<str>>,
    pub content_disposition: Option<Box<str>>,
    pub content_encoding: Option<Box<str>>,
    pub content_language: Option<Box<str>>,
    /// As it was written: not every `Expires` is a date.
    pub expires: Option<Box<str>>,
    pub storage_class: Option<Box<str>>,
    /// The key of a key management service.
    pub kms: Option<Kms>,
    pub retention: Option<Retention>,
    pub legal_hold: bool,
}

/// A key that an object is encrypted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kms {
    /// `aws:kms` or `aws:kms:dsse`.
    pub algorithm: Box<str>,
    pub key_id: Box<str>,
    pub bucket_key: bool,
}

/// Until when an object may not be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: Box<str>,
    pub until: SystemTime,
}

/// Names and values.
pub type Tags = Vec<(Box<str>, Box<str>)>;

impl Properties {
    /// Returns what a copy is to carry.
    ///
    /// The class is left to the store where it says where an object is rather than how it is kept,
    /// or where the copy could not be read. A retention that is over cannot be asked for.
    #[must_use]
    pub fn of_copy(&self, now: SystemTime) -> Self {
        let mut copy = self.clone();
        let kept = |class: &str| CLASSES_KEPT.contains(&class);
        copy.storage_class = copy.storage_class.filter(|class| kept(class));
        let sure = now.checked_add(CLOCKS_DIFFER);
        let lasts = |retention: &Retention| sure.is_some_and(|sure| retention.until > sure);
        copy.retention = copy.retention.filter(lasts);
        copy
    }

    /// Says whether it has to be restored before anything can be done with its bytes.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        let class = self.storage_class.as_deref();
        class.is_some_and(|class| CLASSES_ARCHIVED.contains(&class))
    }

    /// Leaves the key to the bucket, which may encrypt by itself; `false`: there was none.
    pub fn leave_key(&mut self) -> bool {
        self.kms.take().is_some()
    }

    /// Leaves key and class to the bucket; `false`: there were none.
    pub fn leave_key_and_class(&mut self) -> bool {
        let had_class = self.storage_class.take().is_some();
        self.leave_key() || had_class
    }

    /// Leaves retention and legal hold to the bucket; `false`: there were none.
    pub fn leave_lock(&mut self) -> bool {
        let was_held = std::mem::take(&mut self.legal_hold);
        self.retention.take().is_some() || was_held
    }
}

/// Classes of S3 that are read at once, and that every bucket has.
const CLASSES_KEPT: [&str; 5] = [
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "REDUCED_REDUNDANCY",
];

/// Classes that S3 does not read from.
const CLASSES_ARCHIVED: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// S3 refuses a retention until a time that is over by its own clock.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_kept_as_its_source_where_that_can_be_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let copy_of = |class: &str, seconds: u64| {
            let source = Properties {
                storage_class: Some(class.into()),
                retention: Some(Retention {
                    mode: "GOVERNANCE".into(),
                    until: now + Duration::from_secs(seconds),
                }),
                ..Properties::default()
            };
            let copy = source.of_copy(now);
            (copy.storage_class.is_some(), copy.retention.is_some())
        };
        assert_eq!(copy_of("GLACIER_IR", 3_600), (true, true));
        assert_eq!(copy_of("GLACIER", 3_600), (false, true));
        assert_eq!(copy_of("EXPRESS_ONEZONE", 0), (false, false));
    }
}
