//! A configuration that is well formed and cannot be used all the same.

use crate::config::ConfigErrors;

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Something is wrong in a file that it names.
    #[error("{0}")]
    Configuration(#[from] ConfigErrors),
    #[error("{0}")]
    Setting(String),
}
