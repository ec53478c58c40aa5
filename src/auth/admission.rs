//! Who may not enter whatever the provider says (pure): rules for names, passwords and answers.

use std::net::IpAddr;
use std::time::SystemTime;

use super::attempt::AttemptVerdict;
use crate::idp::{Denied, IdpError, Network, UserConfig};
use crate::limits;

/// The ways to log in: AWS's `SftpAuthenticationMethods`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Methods {
    #[default]
    KeyOrPassword,
    Password,
    Key,
    /// A key first, then a password: two questions, both answered in full.
    KeyAndPassword,
}

impl Methods {
    /// Says whether a key may be offered.
    #[must_use]
    pub const fn key(self) -> bool {
        matches!(self, Self::KeyOrPassword | Self::Key | Self::KeyAndPassword)
    }

    /// Says whether a password may be the first thing that is tried.
    #[must_use]
    pub const fn password_first(self) -> bool {
        matches!(self, Self::KeyOrPassword | Self::Password)
    }
}

/// Which user names are asked about at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserNameRule {
    /// 1 to 100 characters, no control character, no `/`, not `.` or `..`.
    #[default]
    Open,
    /// AWS's `[\w][\w@.-]{2,99}`, for providers of its shape.
    Aws,
}

/// Whose credentials a session uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Roles {
    /// The gateway's own: a session policy cannot be enforced with them.
    #[default]
    Gateway,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) verdict: AttemptVerdict,
    pub(super) reason: &'static str,
    pub(super) detail: Option<Box<str>>,
}

impl Refusal {
    pub(super) const fn denied(reason: &'static str) -> Self {
        Self {
            verdict: AttemptVerdict::Denied,
            reason,
            detail: None,
        }
    }

    const fn invalid(reason: &'static str) -> Self {
        Self {
            verdict: AttemptVerdict::Invalid,
            reason,
            detail: None,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self {
            verdict: AttemptVerdict::Denied,
            reason: denied.reason,
            detail: denied.detail,
        }
    }
}

impl From<IdpError> for Refusal {
    fn from(error: IdpError) -> Self {
        let (verdict, reason, detail) = match error {
            IdpError::Invalid { reason, detail } => (AttemptVerdict::Invalid, reason, detail),
            IdpError::Unavailable { reason, detail } => {
                (AttemptVerdict::Unavailable, reason, detail)
            }
        };
        Self {
            verdict,
            reason,
            detail: Some(detail),
        }
    }
}
