//! Names of settings.

/// What every variable of ours begins with.
pub(super) const ENVIRONMENT_PREFIX: &str = "PORTCULLIS_";

/// Returns `section.key`, or the key alone at the top of the file.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// Returns the variable of a path such as `identity.url`.
pub(super) fn variable(path: &str) -> String {
    let name = path.replace('.', "_").to_ascii_uppercase();
    format!("{ENVIRONMENT_PREFIX}{name}")
}
