//! Files whose text is the value of a setting.

use crate::secret::Secret;

/// A file whose text is the value of a setting.
#[derive(Debug, Clone)]
pub struct ValueFile {
    /// Such as `identity.hmac_secret`.
    pub setting: String,
    pub path: String,
    pub(super) text: Secret,
}

impl ValueFile {
    pub(super) fn is_empty(&self) -> bool {
        self.text.expose().trim_end().is_empty()
    }

    /// Says whether it holds the second of two values that stand side by side.
    pub(super) fn is_second(&self) -> bool {
        self.setting.ends_with("_next")
    }

    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        self.setting == other.setting
            && self.text.expose().trim_end() == other.text.expose().trim_end()
    }
}
