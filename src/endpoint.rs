//! Where questions go over HTTP, and whether a password may travel there (pure).
//!
//! What is parsed here is written into requests byte by byte, so it is refused where the `url` crate
//! would mend it: that one takes spaces, backslashes and tabs, and gives back another text than the
//! operator's. It is used where its own client sends the request.

#![warn(clippy::arithmetic_side_effects)]

use std::net::IpAddr;

/// A URL, as far as a question needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub encrypted: bool,
    /// Without the brackets of an IPv6 address.
    pub host: Box<str>,
    pub port: u16,
    /// As the header `Host` carries it.
    pub authority: Box<str>,
    /// Begins with a slash and does not end with one; may be empty.
    pub path: Box<str>,
}

/// Says what is wrong with a URL, without quoting what may be secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("the url must begin with https:// or http://")]
    Scheme,
    #[error("the url must not contain credentials")]
    Credentials,
    #[error("the url's host is not a valid host name or address")]
    Host,
    #[error("the url's port is not a valid port")]
    Port,
    #[error("the url's path must be visible ASCII, without `?` and `#`")]
    Path,
    #[error(
        "passwords would be sent to {0} unencrypted: use https://, or set `plaintext = true` if \
         the connection is protected by other means"
    )]
    Plaintext(Box<str>),
}

impl Endpoint {
    /// Parses a URL; `plaintext` lets passwords travel over `http://` to other hosts.
    ///
    /// # Errors
    /// The URL cannot be asked, or must not be.
    pub fn parse(url: &str, plaintext: bool) -> Result<Self, EndpointError> {
        let UrlParts {
            encrypted,
            authority,
            path,
        } = UrlParts::of(url)?;
        let (host, port) = host_and_port(authority)?;
        let port = match port {
            Some(port) => port,
            None if encrypted => 443,
            None => 80,
        };
        let path = path.trim_end_matches('/');
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains(['?', '#']) {
            return Err(EndpointError::Path);
        }
        if !may_carry_passwords(encrypted, host, plaintext) {
            return Err(EndpointError::Plaintext(host.into()));
        }
        Ok(Self {
            encrypted,
            host: host.into(),
            port,
            authority: authority.into(),
            path: path.into(),
        })
    }

    /// Returns the URL without its path.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }
}

/// A URL, taken apart as far as its form goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UrlParts<'u> {
    pub(crate) encrypted: bool,
    pub(crate) authority: &'u str,
    /// With query and fragment.
    path: &'u str,
}

impl<'u> UrlParts<'u> {
    /// Takes `http://` and `https://`, without credentials.
    pub(crate) fn of(url: &'u str) -> Result<Self, EndpointError> {
        let (encrypted, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(EndpointError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or(EndpointError::Host)?;
        if authority.contains('@') {
            return Err(EndpointError::Credentials);
        }
        Ok(Self {
            encrypted,
            authority,
            path,
        })
    }
}

/// Returns an IPv6 address without the brackets that it has in URLs, and any other host as it is.
pub(crate) fn without_brackets(host: &str) -> &str {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    address.unwrap_or(host)
}

/// Says whether a host is this machine by its name or address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = without_brackets(host).parse();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// Says whether a password may travel: encrypted, within this machine, or because it was so
/// decided.
#[must_use]
pub fn may_carry_passwords(encrypted: bool, host: &str, plaintext: bool) -> bool {
    encrypted || plaintext || is_loopback(host)
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), EndpointError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(EndpointError::Host)?;
            if !matches!(host.parse(), Ok(IpAddr::V6(_))) {
                return Err(EndpointError::Host);
            }
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or(EndpointError::Port)?),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_name = !host.is_empty() && host.bytes().all(of_name);
    if !is_name && !authority.starts_with('[') {
        return Err(EndpointError::Host);
    }
    let port = match port {
        None => None,
        // `u16::from_str` takes a sign; a port has none.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port: u16 = digits.parse().map_err(|_| EndpointError::Port)?;
            match port {
                0 => return Err(EndpointError::Port),
                port => Some(port),
            }
        }
        Some(_) => return Err(EndpointError::Port),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        for (url, host, port, authority, path) in [
            (
                "https://a.example.com",
                "a.example.com",
                443,
                "a.example.com",
                "",
            ),
            (
                "https://a.example.com/prod",
                "a.example.com",
                443,
                "a.example.com",
                "/prod",
            ),
            ("https://a:8443/v1/prod//", "a", 8443, "a:8443", "/v1/prod"),
            ("http://127.0.0.1:80/", "127.0.0.1", 80, "127.0.0.1:80", ""),
            ("http://[::1]:8000/x", "::1", 8000, "[::1]:8000", "/x"),
            (
                "https://[2001:db8::1]",
                "2001:db8::1",
                443,
                "[2001:db8::1]",
                "",
            ),
        ] {
            let found = Endpoint::parse(url, false).unwrap();
            assert_eq!((&*found.host, found.port), (host, port), "{url}");
            assert_eq!(
                (&*found.authority, &*found.path),
                (authority, path),
                "{url}"
            );
        }
    }

    #[test]
    fn this_machine_has_many_names() {
        for host in [
            "localhost",
            "LocalHost",
            "127.8.0.1",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example.com",
            "128.0.0.1",
            "[::1",
            "::2",
            "",
            "10.0.0.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_without_being_quoted() {
        for (url, error) in [
            ("", EndpointError::Scheme),
            ("ftp://a/", EndpointError::Scheme),
            ("https://", EndpointError::Host),
            ("https://a b/", EndpointError::Host),
            ("https://jörg.example/", EndpointError::Host),
            ("https://[::1/", EndpointError::Host),
            ("https://[x]/", EndpointError::Host),
            ("https://a\r\nX: y/", EndpointError::Host),
            ("https://a:+1/", EndpointError::Port),
            ("https://a:65536/", EndpointError::Port),
            ("https://a:0/", EndpointError::Port),
            ("https://[::1]:00/", EndpointError::Port),
            ("https://[::1]x/", EndpointError::Port),
            ("https://ann:walnut-39@a/", EndpointError::Credentials),
            ("https://a/x?key=walnut-39", EndpointError::Path),
            ("https://a/x#y", EndpointError::Path),
            ("https://a/x y", EndpointError::Path),
            ("https://a/x\r\nHost: b", EndpointError::Path),
            (
                "http://a.example.com/",
                EndpointError::Plaintext("a.example.com".into()),
            ),
        ] {
            let found = Endpoint::parse(url, false).unwrap_err();
            assert_eq!(found, error, "{url:?}");
            assert!(!found.to_string().contains("walnut-39"));
        }
        assert!(Endpoint::parse("http://a.example.com/", true).is_ok());
    }
}
