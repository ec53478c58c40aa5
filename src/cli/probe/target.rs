//! What is probed (pure): `sftp://user@host:port/directory`, and how much.

use std::fmt;
use std::str::FromStr;

/// Where to log in and where to put the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) user: String,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// `None` = where the user lands.
    pub(super) directory: Option<String>,
}

/// Says what is wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    #[error("it must begin with sftp://")]
    Scheme,
    #[error("it has no user: write sftp://USER@HOST")]
    NoUser,
    #[error("it must not contain a password: use --password-stdin or --password-file")]
    Password,
    #[error("it has no host")]
    NoHost,
    #[error("{0:?} is not a valid port")]
    Port(String),
    #[error("it has a % that is not followed by two hexadecimal digits, or is not UTF-8")]
    Escape,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let rest = text.strip_prefix("sftp://").ok_or(TargetError::Scheme)?;
        let (authority, directory) = match rest.split_once('/') {
            Some((authority, directory)) => (authority, Some(directory)),
            None => (rest, None),
        };
        let (user, place) = authority.rsplit_once('@').ok_or(TargetError::NoUser)?;
        if user.contains(':') {
            return Err(TargetError::Password);
        }
        let user = unescape(user)?;
        if user.is_empty() {
            return Err(TargetError::NoUser);
        }
        let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        let port = match port {
            None => 22,
            Some(port) => match port.parse() {
                Ok(number) if number > 0 => number,
                _ => return Err(TargetError::Port(port.to_owned())),
            },
        };
        let directory = match directory.map(|path| path.trim_end_matches('/')) {
            None => None,
            Some(path) => Some(format!("/{}", unescape(path)?)),
        };
        Ok(Self {
            user,
            host: host.to_owned(),
            port,
            directory,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        let Self {
            user, host, port, ..
        } = self;
        let directory = self.directory.as_deref().unwrap_or_default();
        write!(f, "sftp://{user}@{open}{host}{close}:{port}{directory}")
    }
}

/// Undoes percent-encoding; `percent_encoding` would let through what is none.
fn unescape(text: &str) -> Result<String, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(TargetError::Escape);
        };
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| TargetError::Escape)
}

/// Reads a number of bytes: `0`, `512KiB`, `1MiB`, `2GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unknown unit {other:?}; allowed: B, KiB, MiB, GiB")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a number and a unit, such as 1MiB".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|bytes| *bytes <= SIZE_MAX)
        .ok_or_else(|| "at most 1024GiB".to_owned())
}

const SIZE_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_user_host_port_and_directory() {
        let parsed = |text: &str| text.parse::<Target>();
        let full = parsed("sftp://ann@sftp.example.com:2222/in/a%20b/").unwrap();
        assert_eq!(
            (&*full.user, &*full.host, full.port),
            ("ann", "sftp.example.com", 2222)
        );
        assert_eq!(full.directory.as_deref(), Some("/in/a b"));
        assert_eq!(full.to_string(), "sftp://ann@sftp.example.com:2222/in/a b");
        let short = parsed("sftp://ann%40example.com@[::1]").unwrap();
        assert_eq!(
            (&*short.user, &*short.host, short.port),
            ("ann@example.com", "::1", 22)
        );
        assert_eq!(short.directory, None);
        assert_eq!(
            parsed("sftp://ann@h/").unwrap().directory.as_deref(),
            Some("/")
        );
        for (bad, error) in [
            ("ssh://ann@h", TargetError::Scheme),
            ("sftp://h/in", TargetError::NoUser),
            ("sftp://@h/in", TargetError::NoUser),
            ("sftp://ann:secret@h", TargetError::Password),
            ("sftp://ann@/in", TargetError::NoHost),
            ("sftp://ann@h:0", TargetError::Port("0".to_owned())),
            ("sftp://ann@h:x", TargetError::Port("x".to_owned())),
            ("sftp://ann@h/%zz", TargetError::Escape),
            ("sftp://ann@h/%ff", TargetError::Escape),
        ] {
            assert_eq!(parsed(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("7B"), Ok(7));
        assert_eq!(size("512KiB"), Ok(524_288));
        assert_eq!(size("2GiB"), Ok(2_147_483_648));
        for bad in [
            "",
            "MiB",
            "1MB",
            "-1",
            "1.5MiB",
            "99999999999GiB",
            "2000GiB",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
