//! Why a question about a user, or a change, comes to nothing (pure): one variant for each answer
//! of AWS's API.

#![warn(clippy::arithmetic_side_effects)]

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Server,
    User,
    SshPublicKey,
    HostKey,
    SecurityPolicy,
}

impl Resource {
    /// Returns AWS's word, `ResourceType` of its errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::User => "User",
            Self::SshPublicKey => "SshPublicKey",
            Self::HostKey => "HostKey",
            Self::SecurityPolicy => "SecurityPolicy",
        }
    }
}

/// Says what is wrong; the texts are for the one who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Invalid(String),
    #[error("{} {name} already exists", what.as_str())]
    Exists { what: Resource, name: String },
    #[error("Unknown {}: {name}", what.as_str())]
    NotFound { what: Resource, name: String },
    /// Others changed the same user again and again.
    #[error("the user was changed by others at the same time: try again")]
    Contended,
    #[error("NextToken is not one that this operation returned")]
    NextToken,
    /// Nothing was changed, or it is not known.
    #[error("the store of users cannot be used: {0}")]
    Unavailable(String),
    /// What is stored is no user.
    #[error("the document of user {name} cannot be used: {why}")]
    Document { name: String, why: String },
}

impl Fault {
    pub(super) fn no_user(name: &str) -> Self {
        Self::NotFound {
            what: Resource::User,
            name: name.to_owned(),
        }
    }
}
