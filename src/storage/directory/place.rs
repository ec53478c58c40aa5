//! What a key names below the root (pure).

#![warn(clippy::arithmetic_side_effects)]

/// A name below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Without slashes at its ends.
    path: String,
    /// The key ends with a slash: it means a directory.
    pub(super) is_directory: bool,
}

impl Place {
    /// Returns the name that a key stands for; `None`: no file can have it.
    pub(super) fn of(key: &str) -> Option<Self> {
        let (path, is_directory) = match key.strip_suffix('/') {
            Some(path) => (path, true),
            None => (key, false),
        };
        path.split('/').all(is_name).then(|| Self {
            path: path.to_owned(),
            is_directory,
        })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the directory that it is in, empty for the root, and its name there.
    pub(super) fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }
}

/// Says whether a file can have this name in its directory.
pub(super) fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= NAME_BYTES_MAX
        && !name.contains('\0')
        && !is_hidden(name)
}

/// In another root too, which may be around this one, and as others write it, where the file system
/// does not tell them apart.
fn is_hidden(name: &str) -> bool {
    name.eq_ignore_ascii_case(HIDDEN)
}

/// Where unfinished files are, directly below the root.
pub(super) const HIDDEN: &str = ".portcullis-uploads";

/// Of Linux.
const NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_places() {
        for (key, parts, is_directory) in [
            ("a", ("", "a"), false),
            ("a/b.txt", ("a", "b.txt"), false),
            ("a/b/", ("a", "b"), true),
            ("..name", ("", "..name"), false),
        ] {
            let place = Place::of(key).unwrap();
            assert_eq!((place.split(), place.is_directory), (parts, is_directory));
        }
        let long = "n".repeat(256);
        for key in [
            "",
            "/",
            "/a",
            "a//b",
            "a//",
            "./a",
            "a/../b",
            "..",
            "a\0",
            ".portcullis-uploads",
            ".portcullis-uploads/x",
            "a/.portcullis-uploads/x",
            ".Portcullis-UPLOADS/x",
            &long,
        ] {
            assert_eq!(Place::of(key), None, "{key:?}");
        }
    }
}
