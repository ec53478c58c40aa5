//! Where an object is: names that were checked once, at the edge.

use std::fmt;
use std::sync::Arc;

use crate::limits;

/// An S3 bucket name (or access-point alias), or the history of a directory in the bucket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    name: Arc<str>,
    history: Option<Arc<str>>,
}

impl Bucket {
    /// Accepts 1 to 255 visible ASCII characters that cannot change the meaning of a URL.
    ///
    /// S3-compatible stores take names that AWS would refuse (upper case, underscores), so only
    /// what is unsafe everywhere is refused here.
    ///
    /// # Errors
    /// Names the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > limits::BUCKET_BYTES_MAX {
            return Err(NameError::BucketLength { found: text.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !text.chars().all(allowed) || text == "." || text == ".." {
            return Err(NameError::BucketCharacter);
        }
        Ok(Self {
            name: text.into(),
            history: None,
        })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns what the files below a directory of the bucket were, as a bucket of its own. The
    /// directory has no slash at either end; empty for the whole bucket.
    #[must_use]
    pub fn history(&self, directory: &str) -> Self {
        Self {
            history: Some(directory.into()),
            ..self.clone()
        }
    }

    /// Returns the directory that it is the history of.
    #[must_use]
    pub fn history_root(&self) -> Option<&str> {
        self.history.as_deref()
    }

    #[must_use]
    pub const fn is_history(&self) -> bool {
        self.history.is_some()
    }

    /// Returns the bucket itself.
    #[must_use]
    pub fn present(&self) -> Self {
        Self {
            history: None,
            ..self.clone()
        }
    }
}

/// An S3 key: 1 to 1,024 bytes of UTF-8. Of a bucket with versions it may be one of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    text: Arc<str>,
    version: Option<Arc<str>>,
}

impl Key {
    /// Accepts what S3 accepts as a key, less NUL.
    ///
    /// # Errors
    /// Names the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > limits::KEY_BYTES_MAX {
            return Err(NameError::KeyLength { found: text.len() });
        }
        if text.contains('\0') {
            return Err(NameError::KeyCharacter);
        }
        Ok(Self {
            text: text.into(),
            version: None,
        })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns one version of it.
    #[must_use]
    pub fn at_version(&self, id: &str) -> Self {
        Self {
            version: Some(id.into()),
            ..self.clone()
        }
    }

    /// Returns the id of the version; `None`: what is there now.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// One object's place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    pub bucket: Bucket,
    pub key: Key,
}

/// Says why a bucket or key name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a bucket name has 1 to {max} characters, found {found}", max = limits::BUCKET_BYTES_MAX)]
    BucketLength { found: usize },
    #[error("a bucket name has only letters, digits, '-', '.' and '_'")]
    BucketCharacter,
    #[error("a key has 1 to {max} bytes, found {found}", max = limits::KEY_BYTES_MAX)]
    KeyLength { found: usize },
    #[error("a key has no NUL")]
    KeyCharacter,
}

macro_rules! shows_its_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )*};
}
shows_its_text!(Bucket, Key);

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bucket.is_history() {
            f.write_str("history of ")?;
        }
        write!(f, "s3://{}/{}", self.bucket, self.key)?;
        match self.key.version() {
            Some(version) => write!(f, "?versionId={version}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_change_a_request_are_refused() {
        for bad in [
            "", ".", "..", "a/b", "a?b", "a b", "a\0b", "ümlaut", "a%2fb",
        ] {
            assert!(Bucket::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Bucket::parse("my-bucket.v2_x").is_ok());
        assert!(Key::parse("").is_err());
        assert!(Key::parse(&"k".repeat(1025)).is_err());
        assert!(Key::parse(&"k".repeat(1024)).is_ok());
        assert!(Key::parse("a\0b").is_err());
    }
}
