//! The path that a client sees.

use std::fmt;
use std::sync::Arc;

use crate::limits;

/// An absolute path in normal form: begins with `/`, has no empty, `.` or `..` component and no
/// trailing slash; the root is `/` alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualPath(Arc<str>);

/// A path as a client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPath {
    pub path: VirtualPath,
    pub ending: Ending,
}

/// What stands at the end of a path as it was written. All but a name mean a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Name,
    /// A name and `/`.
    Slash,
    /// `.`, also where a slash follows.
    Dot,
    /// `..`, also where a slash follows.
    DotDot,
}

impl Ending {
    fn of(text: &str) -> Self {
        let mut components = text.rsplit('/').filter(|name| !name.is_empty());
        match components.next() {
            Some(".") => Self::Dot,
            Some("..") => Self::DotDot,
            Some(_) | None if text.ends_with('/') => Self::Slash,
            Some(_) => Self::Name,
            // The working directory.
            None => Self::Dot,
        }
    }
}

impl WrittenPath {
    /// Resolves what came over the wire, as [`VirtualPath::resolve`] does.
    ///
    /// # Errors
    /// The same.
    pub fn resolve(base: &VirtualPath, raw: &[u8]) -> Result<Self, PathError> {
        let path = VirtualPath::resolve(base, raw)?;
        let text = std::str::from_utf8(raw).map_err(|_| PathError::NotUtf8)?;
        Ok(Self {
            path,
            ending: Ending::of(text),
        })
    }
}

impl VirtualPath {
    /// Returns `/`.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Resolves what came over the wire against a working directory, without looking at storage.
    ///
    /// `..` at the root stays at the root, as `chroot` does. An empty path is the working
    /// directory.
    ///
    /// # Errors
    /// Names that are not UTF-8, have a NUL or are too long are refused, never converted.
    pub fn resolve(base: &Self, raw: &[u8]) -> Result<Self, PathError> {
        if raw.len() > limits::PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let text = std::str::from_utf8(raw).map_err(|_| PathError::NotUtf8)?;
        if text.contains('\0') {
            return Err(PathError::Nul);
        }
        let mut components: Vec<&str> = Vec::new();
        let start = if text.starts_with('/') { "" } else { &*base.0 };
        for component in start.split('/').chain(text.split('/')) {
            match component {
                "" | "." => {}
                ".." => {
                    components.pop();
                }
                name => components.push(name),
            }
        }
        let path = if components.is_empty() {
            "/".to_owned()
        } else {
            components.iter().flat_map(|name| ["/", name]).collect()
        };
        if path.len() > limits::PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self(path.into()))
    }

    /// Takes a path that is already in normal form, as operators and providers write them.
    ///
    /// # Errors
    /// Refuses anything that [`Self::resolve`] would change.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let Some(components) = text.strip_prefix('/') else {
            return Err(PathError::Relative);
        };
        if text.len() > limits::PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if text.contains('\0') {
            return Err(PathError::Nul);
        }
        let mut components = components.split('/');
        if text != "/" && components.any(|name| matches!(name, "" | "." | "..")) {
            return Err(PathError::NotNormal);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// Returns the last component; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0
            .rsplit_once('/')
            .map(|(_, name)| name)
            .filter(|name| !name.is_empty())
    }

    /// Returns the directory that holds this path; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(if parent.is_empty() {
            Self::root()
        } else {
            Self(parent.into())
        })
    }

    /// Returns what stands below `ancestor`, without a leading slash; empty for the same path,
    /// `None` when this path is elsewhere.
    #[must_use]
    pub fn below<'a>(&'a self, ancestor: &Self) -> Option<&'a str> {
        if ancestor.is_root() {
            return self.0.strip_prefix('/');
        }
        let rest = self.0.strip_prefix(&*ancestor.0)?;
        if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix('/')
        }
    }

    /// Says whether one is the other or an ancestor of it.
    #[must_use]
    pub fn is_related(&self, other: &Self) -> bool {
        self.below(other).is_some() || other.below(self).is_some()
    }

    /// Iterates over `/`, `/a`, `/a/b` up to and with the path itself.
    pub fn ancestors_and_self(&self) -> impl Iterator<Item = &str> {
        let cuts = self
            .0
            .char_indices()
            .skip(1)
            .filter(|(_, c)| *c == '/')
            .map(|(at, _)| at);
        let text = &*self.0;
        std::iter::once("/")
            .chain(cuts.filter_map(move |at| text.get(..at)))
            .chain((!self.is_root()).then_some(text))
    }
}

impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Says why a path cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the name is not UTF-8")]
    NotUtf8,
    #[error("the name has a NUL")]
    Nul,
    #[error("the path is longer than {} bytes", limits::PATH_BYTES_MAX)]
    TooLong,
    #[error("the path does not begin with '/'")]
    Relative,
    #[error("the path has an empty, '.' or '..' component or a trailing '/'")]
    NotNormal,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(base: &str, raw: &str) -> String {
        let base = VirtualPath::parse(base).unwrap();
        VirtualPath::resolve(&base, raw.as_bytes())
            .unwrap()
            .as_str()
            .to_owned()
    }

    #[test]
    fn paths_resolve_as_a_shell_would() {
        for (base, raw, expected) in [
            ("/", "", "/"),
            ("/home", "", "/home"),
            ("/home", ".", "/home"),
            ("/home", "a", "/home/a"),
            ("/home", "/a", "/a"),
            ("/home", "../a", "/a"),
            ("/", "../../a", "/a"),
            ("/", "a//b/./c/../d/", "/a/b/d"),
            ("/", "//a", "/a"),
            ("/", "...", "/..."),
            ("/", "a/.../b", "/a/.../b"),
            ("/", " ", "/ "),
        ] {
            assert_eq!(resolve(base, raw), expected, "{base:?} + {raw:?}");
        }
    }

    #[test]
    fn a_path_keeps_how_it_was_written_at_its_end() {
        for (raw, path, ending) in [
            ("a", "/home/a", Ending::Name),
            ("a/", "/home/a", Ending::Slash),
            ("a//", "/home/a", Ending::Slash),
            ("a/.", "/home/a", Ending::Dot),
            ("a/.//", "/home/a", Ending::Dot),
            ("a/b/..", "/home/a", Ending::DotDot),
            ("a/b/../", "/home/a", Ending::DotDot),
            ("a/...", "/home/a/...", Ending::Name),
            ("", "/home", Ending::Dot),
            (".", "/home", Ending::Dot),
            ("..", "/", Ending::DotDot),
            ("/", "/", Ending::Slash),
        ] {
            let home = VirtualPath::parse("/home").unwrap();
            let written = WrittenPath::resolve(&home, raw.as_bytes()).unwrap();
            assert_eq!(written.path.as_str(), path, "{raw:?}");
            assert_eq!(written.ending, ending, "{raw:?}");
        }
    }

    #[test]
    fn names_that_cannot_be_kept_are_refused() {
        let root = VirtualPath::root();
        assert_eq!(
            VirtualPath::resolve(&root, b"a\xff"),
            Err(PathError::NotUtf8)
        );
        assert_eq!(VirtualPath::resolve(&root, b"a\0b"), Err(PathError::Nul));
        assert_eq!(
            VirtualPath::resolve(&root, &[b'a'; 5000]),
            Err(PathError::TooLong)
        );
    }

    #[test]
    fn only_normal_paths_parse() {
        for good in ["/", "/a", "/a/b", "/ü b"] {
            assert!(VirtualPath::parse(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a", "/a/", "//", "/a//b", "/a/./b", "/..", "/a/.."] {
            assert!(VirtualPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn below_respects_component_borders() {
        let path = |text| VirtualPath::parse(text).unwrap();
        assert_eq!(path("/a/b").below(&path("/a")), Some("b"));
        assert_eq!(path("/a").below(&path("/a")), Some(""));
        assert_eq!(path("/ab").below(&path("/a")), None);
        assert_eq!(path("/a").below(&path("/")), Some("a"));
        assert_eq!(path("/").below(&path("/a")), None);
    }

    #[test]
    fn ancestors_run_from_the_root_to_the_path() {
        let all = |text| {
            let path = VirtualPath::parse(text).unwrap();
            path.ancestors_and_self()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(all("/"), ["/"]);
        assert_eq!(all("/a/b"), ["/", "/a", "/a/b"]);
    }
}
