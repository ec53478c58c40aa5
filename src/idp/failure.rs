//! Words for questions that got no answer (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::error::Error;

use crate::refusal::Reason;
use crate::storage::causes::with_remedy;

/// Returns what a status other than 200 means.
pub(super) const fn by_status(status: u16) -> Reason {
    match status {
        400 | 404 | 409 | 410 | 422 => Reason::StatusRefused,
        502..=504 => Reason::StatusGateway,
        500..=599 => Reason::StatusFailed,
        _ => Reason::Status,
    }
}

/// An error and its causes, outermost first.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| Error::source(*cause))
}

/// Joins an error and its causes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    with_remedy(texts.join(": "))
}
