//! What settings of one provider are checked against, and how it is said what is wrong.

use super::super::path::{join, variable};
use super::super::url::Url;
use super::super::words::Methods;
use super::table::Aws;
use crate::secret::Secret;

/// What a provider depends on elsewhere in the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    pub(crate) methods: Methods,
    pub(crate) has_state_directory: bool,
    pub(crate) has_conditional_put: bool,
}

/// One provider while its settings are taken.
pub(crate) struct Finishing<'f> {
    /// Such as `provider.staff`.
    pub(crate) section: &'f str,
    pub(crate) around: Around,
    pub(crate) refuse: &'f mut dyn FnMut(&str, String),
}

impl Finishing<'_> {
    /// Says what is wrong with a key.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        (self.refuse)(key, message.into());
    }

    /// Says that a key must be set.
    pub(super) fn missing(&mut self, key: &str) {
        let section = self.section;
        let name = variable(&join(section, key));
        self.refuse(
            key,
            format!("missing: set {key} under [{section}], or {name}"),
        );
    }

    /// Says that a function's name alone does not say where it is.
    pub(super) fn region(&mut self) {
        let section = self.section;
        let name = variable(&join(section, "aws_region"));
        let message = format!(
            "missing: set aws_region under [{section}], or {name}, or give the function's full ARN"
        );
        self.refuse("aws_region", message);
    }

    /// Returns what must be set, or says that it is not.
    pub(super) fn required<T: Clone>(&mut self, key: &str, value: Option<&T>) -> Option<T> {
        if value.is_none() {
            self.missing(key);
        }
        value.cloned()
    }

    /// Checks where passwords are sent.
    pub(super) fn url(&mut self, key: &str, url: &str, plaintext: bool) {
        match Url::parse(url) {
            Err(message) => self.refuse(key, message),
            Ok(url) if !url.is_private() && !plaintext => {
                let host = url.host;
                let message = format!(
                    "passwords would be sent to {host} unencrypted; allowed: https://, or \
                     plaintext = true"
                );
                self.refuse(key, message);
            }
            Ok(_) => {}
        }
    }

    /// Checks the URL that a kind must have.
    pub(super) fn required_url(&mut self, url: &str, plaintext: bool) -> Option<String> {
        if url.is_empty() {
            self.missing("url");
            return None;
        }
        self.url("url", url, plaintext);
        Some(url.to_owned())
    }

    pub(super) fn headers(&mut self, headers: &[(String, Secret)]) {
        // RFC 9110 §5.6.2: a token.
        let of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        for (name, value) in headers {
            let message = if name.is_empty() || !name.chars().all(of_token) {
                format!("{name:?} is not a header name; allowed: letters, digits and -")
            } else if value.expose().chars().any(char::is_control) {
                format!("the value of {name} has a control character; allowed: one line of text")
            } else {
                continue;
            };
            self.refuse("headers", message);
        }
    }

    /// Keys are complete or not there.
    pub(super) fn keys(&mut self, aws: &Aws) {
        match (&aws.access_key_id, &aws.secret_access_key) {
            (Some(_), None) => self.refuse(
                "aws_secret_access_key",
                "missing: aws_access_key_id needs it (or aws_secret_access_key_file)",
            ),
            (None, Some(_)) => self.refuse(
                "aws_access_key_id",
                "missing: aws_secret_access_key needs it",
            ),
            (None, None) if aws.session_token.is_some() => self.refuse(
                "aws_session_token",
                "has no effect without aws_access_key_id and aws_secret_access_key",
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}
