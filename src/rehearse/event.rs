//! What a line of a log tells.

use std::net::IpAddr;

use crate::idp::AuthMethod;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Allowed(Login),
    Refused(Login),
    /// No login was tried: the client and the server had no algorithm in common.
    NoAlgorithm,
    Did {
        act: Act,
        place: Place,
        /// Of a rename.
        to: Option<Place>,
        user: Option<String>,
        session: Option<String>,
    },
    Ended {
        session: Option<String>,
    },
    /// It decides nothing.
    Other,
}

/// Somebody who tried to log in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub session: Option<String>,
    pub source: Option<IpAddr>,
    pub method: Option<AuthMethod>,
    /// Of the key, as OpenSSH prints it.
    pub fingerprint: Option<String>,
    pub key_type: Option<String>,
    pub kex: Option<String>,
    pub ciphers: Vec<String>,
    pub role: Option<String>,
}

/// What was done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Read,
    Write,
    /// Opened for both.
    ReadWrite,
    Remove,
    MakeDirectory,
    RemoveDirectory,
    Rename,
    SetAttributes,
    Link,
}

impl Act {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "read and write",
            Self::Remove => "remove",
            Self::MakeDirectory => "mkdir",
            Self::RemoveDirectory => "rmdir",
            Self::Rename => "rename",
            Self::SetAttributes => "setstat",
            Self::Link => "symlink",
        }
    }

    #[must_use]
    pub const fn reads(self) -> bool {
        match self {
            Self::Read | Self::ReadWrite | Self::Rename => true,
            Self::Write
            | Self::Remove
            | Self::MakeDirectory
            | Self::RemoveDirectory
            | Self::SetAttributes
            | Self::Link => false,
        }
    }

    #[must_use]
    pub const fn writes(self) -> bool {
        match self {
            Self::Read => false,
            Self::Write
            | Self::ReadWrite
            | Self::Remove
            | Self::MakeDirectory
            | Self::RemoveDirectory
            | Self::Rename
            | Self::SetAttributes
            | Self::Link => true,
        }
    }
}

/// A path in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// As Transfer Family writes it: `/bucket/key`.
    Stored(String),
    /// As the gateway writes it: what the client sees, and where that was.
    Seen {
        path: String,
        stored: Option<String>,
    },
}

impl Place {
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stored(path) | Self::Seen { path, .. } => path,
        }
    }
}

/// Returns the method that a word of a log names.
pub(super) fn method_of(word: &str) -> Option<AuthMethod> {
    match word {
        "publickey" => Some(AuthMethod::PublicKey),
        "password" => Some(AuthMethod::Password),
        _ => None,
    }
}

/// Returns what an activity does; those of a file that is open already do nothing new.
pub(super) fn act_of(activity: &str, mode: &str) -> Option<Act> {
    Some(match activity {
        "OPEN" => {
            let has = |word: &str| mode.split('|').any(|part| part == word);
            match (has("READ"), has("WRITE") || has("APPEND") || has("CREATE")) {
                (true, true) => Act::ReadWrite,
                (false, true) => Act::Write,
                (true | false, false) => Act::Read,
            }
        }
        "DELETE" => Act::Remove,
        "MKDIR" => Act::MakeDirectory,
        "RMDIR" => Act::RemoveDirectory,
        "RENAME" => Act::Rename,
        "SETSTAT" => Act::SetAttributes,
        "CREATE_SYMLINK" => Act::Link,
        _ => return None,
    })
}
