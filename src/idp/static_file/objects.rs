//! `objects` of a user or of a mapping in the file of users (pure): what stored objects carry.

use std::sync::Arc;

use toml::de::DeValue;

use super::field::{Field, Lines};
use crate::config::Problem;
use crate::storage::{ObjectSettings, WrittenRetention, WrittenSettings};

/// Reads the table; one that asks for nothing takes a mapping out of what the user's asks for.
pub(super) fn read(lines: &Lines, table: &Field<'_, '_>) -> Result<Arc<ObjectSettings>, Problem> {
    let mut written = WrittenSettings::default();
    for field in table.table(lines)? {
        match field.name {
            "storage_class" => written.storage_class = Some(field.text()?.to_owned()),
            "encryption" => written.encryption = Some(field.text()?.to_owned()),
            "kms_key_id" => written.kms_key_id = Some(field.text()?.to_owned()),
            "bucket_key" => written.bucket_key = boolean(&field)?,
            "tags" => {
                for tag in field.table(lines)? {
                    written
                        .tags
                        .push((tag.name.to_owned(), tag.text()?.to_owned()));
                }
            }
            "retention" => written.retention = Some(retention(lines, &field)?),
            "legal_hold" => written.legal_hold = boolean(&field)?,
            _ => {
                return Err(field.unknown(
                    "storage_class, encryption, kms_key_id, bucket_key, tags, retention, \
                     legal_hold",
                ));
            }
        }
    }
    let settings = written
        .checked()
        .map_err(|error| table.refuse(error.to_string()))?;
    Ok(Arc::new(settings))
}

fn retention(lines: &Lines, table: &Field<'_, '_>) -> Result<WrittenRetention, Problem> {
    let mut retention = WrittenRetention::default();
    for field in table.table(lines)? {
        match field.name {
            "mode" => retention.mode = Some(field.text()?.to_owned()),
            "days" => retention.days = Some(field.number()?),
            "years" => retention.years = Some(field.number()?),
            _ => return Err(field.unknown("mode, days, years")),
        }
    }
    Ok(retention)
}

fn boolean(field: &Field<'_, '_>) -> Result<bool, Problem> {
    if let DeValue::Boolean(value) = field.value {
        Ok(*value)
    } else {
        Err(field.refuse("allowed: true or false"))
    }
}
