//! Words for questions that got no answer (pure).

#![warn(clippy::arithmetic_side_effects)]

use crate::refusal::Reason;

/// Returns what a status other than 200 means.
pub(super) const fn by_status(status: u16) -> Reason {
    match status {
        400 | 404 | 409 | 410 | 422 => Reason::StatusRefused,
        502..=504 => Reason::StatusGateway,
        500..=599 => Reason::StatusFailed,
        _ => Reason::Status,
    }
}
