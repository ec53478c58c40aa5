//! Words for questions that got no answer.

use std::error::Error;

use super::IdpError;

/// Foreign errors repeat themselves after this much.
const DETAIL_CHARS_MAX: usize = 600;

/// Makes an error of one line.
pub(super) fn unavailable(reason: &'static str, detail: &str) -> IdpError {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let detail: String = detail.chars().take(DETAIL_CHARS_MAX).map(visible).collect();
    let detail = detail.into();
    IdpError::Unavailable { reason, detail }
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
    texts.join(": ")
}
