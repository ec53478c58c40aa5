//! What an error was caused by, in an operator's words (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::error::Error;
use std::io;

/// An error and its causes, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| Error::source(*cause))
}

/// Words an error with its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let all: Vec<String> = causes(error)
        .map(|cause| plain(cause.to_string()))
        .collect();
    let mut telling: Vec<&str> = all.iter().map(String::as_str).collect();
    telling.retain(|text| !LAYERS.contains(text));
    telling.dedup();
    let words = if telling.is_empty() {
        all.join(": ")
    } else {
        telling.join(": ")
    };
    with_remedy(words)
}

/// Words an error of which only the text is left.
pub(crate) fn worded(text: String) -> String {
    with_remedy(plain(text))
}

/// Words an error of the system without its number.
pub(crate) fn system(error: &io::Error) -> String {
    plain(error.to_string())
}

/// Says what to change about a certificate that nobody signed but its own key, where an error of
/// TLS is about one: the TLS library's word for it says nothing to somebody who made it.
fn with_remedy(mut text: String) -> String {
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

/// Makes one line of a foreign text. Some servers put a page of HTML into their message.
pub(crate) fn line(text: &str) -> String {
    harmless(text, LINE_CHARS_MAX)
}

/// Makes one line of a foreign text, of so many characters at most.
pub(crate) fn harmless(text: &str, chars_max: usize) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(chars_max).map(visible).collect()
}

/// Returns a text without what a terminal could take for a command: names come from elsewhere.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// Says in other words what only a library's author understands.
fn plain(text: String) -> String {
    if let Some((words, number)) = text.rsplit_once(" (os error ") {
        let rest = number.split_once(')').map_or("", |(_, rest)| rest);
        return plain(format!("{words}{rest}"));
    }
    if let Some(why) = text.strip_prefix("failed to lookup address information: ") {
        return format!("the host name cannot be resolved ({why})");
    }
    if text.contains("received corrupt message of type") {
        return NO_TLS.to_owned();
    }
    text
}

/// What the log has of a foreign text, in characters.
pub(crate) const LINE_CHARS_MAX: usize = 600;

/// What a server says to a TLS handshake that does not know TLS.
pub(crate) const NO_TLS: &str = "the server does not speak TLS: is its URL http://?";

/// Layers of HTTP clients, which say nothing beside their cause.
const LAYERS: &[&str] = &[
    "client error (Connect)",
    "dispatch failure",
    "dns error",
    "error resolving DNS",
    "error sending request",
    "io error",
    "tcp connect error",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<dyn Error + Send + Sync>>);

    fn layers(texts: &[&'static str], root: io::Error) -> Layer {
        let mut cause: Box<dyn Error + Send + Sync> = root.into();
        for text in texts.iter().skip(1).rev() {
            cause = Box::new(Layer(text, Some(cause)));
        }
        Layer(texts[0], Some(cause))
    }

    #[test]
    fn layers_of_a_client_are_left_out_where_the_cause_tells() {
        let refused = || io::Error::from_raw_os_error(111);
        for (texts, root, said) in [
            (
                &["error sending request", "client error (Connect)"][..],
                refused(),
                "Connection refused",
            ),
            (
                &["dispatch failure", "io error", "client error (SendRequest)"],
                refused(),
                "client error (SendRequest): Connection refused",
            ),
            (
                &["dns error"],
                io::Error::other("failed to lookup address information: Name or service not known"),
                "the host name cannot be resolved (Name or service not known)",
            ),
            (
                &["client error (Connect)"],
                io::Error::other("received corrupt message of type InvalidContentType"),
                NO_TLS,
            ),
        ] {
            assert_eq!(chain(&layers(texts, root)), said);
        }
        assert_eq!(chain(&Layer("io error", None)), "io error");
    }

    #[test]
    fn what_stands_behind_the_number_of_an_error_stays() {
        for (text, said) in [
            ("Connection refused (os error 111)", "Connection refused"),
            (
                "no CA (os error 2): /etc/ssl (os error 13): give ca_file",
                "no CA: /etc/ssl: give ca_file",
            ),
            ("cut (os error 1", "cut"),
        ] {
            assert_eq!(worded(text.to_owned()), said);
        }
    }
}
