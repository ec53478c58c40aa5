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
    with_remedy(texts.join(": "))
}

/// Says what to change about a certificate that nobody signed but its own key, where an error of
/// TLS is about one: the TLS library's word for it says nothing to somebody who made it.
pub(crate) fn with_remedy(mut text: String) -> String {
    let remedy = if text.contains("CaUsedAsEndEntity") {
        "the server's certificate is marked as a certificate authority (CA:TRUE), the default of \
         `openssl req -x509`, and is refused even if ca_file has it; make it with `-addext \
         basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:HOST`, or sign the \
         server's certificate with it"
    } else if text.contains("certificate is not valid for any names") {
        "the server's certificate has no subjectAltName; make it with `-addext \
         subjectAltName=DNS:HOST`"
    } else {
        return text;
    };
    text.push_str(": ");
    text.push_str(remedy);
    text
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
