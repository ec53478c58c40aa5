//! Requests of HTTP/1.1, byte by byte (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

/// A firewall's usual rules refuse a request without it.
pub const USER_AGENT: (&str, &str) = (
    "User-Agent",
    concat!("portcullis/", env!("CARGO_PKG_VERSION")),
);

/// Everything but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What is sent.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    pub method: &'r str,
    /// The path and the query.
    pub target: &'r str,
    /// The header `Host`.
    pub authority: &'r str,
    /// Written letter by letter as they are here; whoever calls makes sure that none ends its line.
    pub headers: &'r [(&'r str, &'r str)],
    pub body: Option<&'r [u8]>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Request<'_> {
    /// Writes the request into memory that is wiped.
    #[must_use]
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        let length = self.body.map(|body| body.len().to_string());
        let length = length.as_deref().map(|length| ("Content-Length", length));
        let host = ("Host", self.authority);
        let headers = || {
            let others = self.headers.iter().copied();
            std::iter::once(host).chain(others).chain(length)
        };
        // Large enough not to grow: growing would leave a copy behind.
        let room = headers()
            .flat_map(|(name, value)| [name.len(), value.len(), 4])
            .chain([self.method.len(), self.target.len(), 16])
            .chain(self.body.map(<[u8]>::len))
            .fold(0, usize::saturating_add);
        let mut text = Zeroizing::new(Vec::with_capacity(room));
        let mut push = |parts: &[&str]| {
            for part in parts {
                text.extend_from_slice(part.as_bytes());
            }
        };
        push(&[self.method, " ", self.target, " HTTP/1.1\r\n"]);
        for (name, value) in headers() {
            push(&[name, ": ", value, "\r\n"]);
        }
        push(&["\r\n"]);
        text.extend_from_slice(self.body.unwrap_or_default());
        text
    }
}

/// Writes a text as one part of a path, or as a value of a query.
#[must_use]
pub fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_is_given_and_its_length() {
        let headers = [("X-Amz-Date", "20261126T104445Z"), USER_AGENT];
        let mut request = Request {
            method: "POST",
            target: "/a?b=c",
            authority: "127.0.0.1:80",
            headers: &headers,
            body: Some(b"{}"),
        };
        let (name, value) = USER_AGENT;
        let head = format!(
            "POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:80\r\nX-Amz-Date: 20261126T104445Z\r\n\
             {name}: {value}\r\n"
        );
        let expected = format!("{head}Content-Length: 2\r\n\r\n{{}}");
        assert_eq!(request.write().to_vec(), expected.into_bytes());
        request.body = None;
        assert_eq!(
            request.write().to_vec(),
            format!("{head}\r\n").into_bytes(),
            "and none without a body"
        );
        assert!(!format!("{request:?}").contains("2026"));
    }

    #[test]
    fn the_buffer_does_not_grow() {
        for length in [0, 1, 99, 100_000] {
            let (body, value) = (vec![b'x'; length], "y".repeat(length));
            let request = Request {
                method: "POST",
                target: "/",
                authority: "a",
                headers: &[("X", &value), ("Y", "z")],
                body: Some(&body),
            };
            let text = request.write();
            assert!(text.capacity() <= text.len() + 16, "{}", text.capacity());
        }
    }
}
