//! `provider = "static"`: a file of users.

use super::finishing::Finishing;
use super::table::ProviderTable;

/// A file of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Static {
    pub users_file: String,
}

pub(super) const KEYS: &[&str] = &["users_file"];

impl Static {
    pub(super) fn finish(table: &ProviderTable, finishing: &mut Finishing<'_>) -> Option<Self> {
        let users_file = finishing.required("users_file", table.users_file.as_ref())?;
        Some(Self { users_file })
    }
}
