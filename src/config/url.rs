//! As much of a URL as the configuration checks.

use crate::endpoint::{EndpointError, UrlParts, is_loopback};

/// As much of a URL as the checks need.
pub(super) struct Url<'a> {
    encrypted: bool,
    pub(super) host: &'a str,
}

impl<'a> Url<'a> {
    /// Takes `http://` and `https://`; what it refuses it does not quote, since it may be a secret.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let parts = UrlParts::of(text).map_err(|error| match error {
            EndpointError::Scheme => {
                "does not begin with https:// or http://; allowed: such as \
                https://host.example.com"
            }
            EndpointError::Credentials => {
                "has a user or password in it; leave them out, and set headers"
            }
            EndpointError::Host
            | EndpointError::Port
            | EndpointError::Path
            | EndpointError::Plaintext(_) => NO_HOST,
        })?;
        let UrlParts {
            encrypted,
            authority,
            ..
        } = parts;
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(NO_HOST);
        }
        Ok(Self { encrypted, host })
    }

    /// Says whether nobody on the way can read along.
    pub(super) fn is_private(&self) -> bool {
        self.encrypted || is_loopback(self.host)
    }
}

const NO_HOST: &str = "has no host; allowed: such as https://host.example.com";
