//! What an error of a call was caused by (pure).

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;

/// An error and its causes, outermost first.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| Error::source(*cause))
}

/// Words an error with its causes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.join(": ")
}

/// Says whether there were no credentials to ask with.
pub(super) fn needs_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<CredentialsError>)
}

/// Makes one line of a foreign text. Some stores put a page of HTML into their message.
pub(super) fn line(text: &str) -> String {
    const CHARS_MAX: usize = 600;
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).take(CHARS_MAX).collect()
}
