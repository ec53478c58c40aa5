//! The question in AWS's form, byte by byte (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::endpoint::Endpoint;
use crate::idp::http1::request::{Request, USER_AGENT, encoded};
use crate::secret::Secret;

/// Headers that are ours to write, in small letters.
const OURS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
    "expect",
    "te",
    "upgrade",
    "password",
    "passwordbase64",
];
/// The same while questions are signed.
const SIGNED: &[&str] = &["authorization", "x-amz-date", "x-amz-security-token"];

/// Returns the path of a user's configuration: `/prod/servers/s-…/users/ann/config`.
#[must_use]
pub fn path(endpoint: &Endpoint, server_id: &str, username: &str) -> String {
    let (server_id, username) = (encoded(server_id), encoded(username));
    let stage = &endpoint.path;
    format!("{stage}/servers/{server_id}/users/{username}/config")
}

/// Returns the query of a question.
#[must_use]
pub fn query(source_ip: IpAddr) -> String {
    let source_ip = source_ip.to_canonical().to_string();
    format!("protocol=SFTP&sourceIp={}", encoded(&source_ip))
}

/// Says whether the header `Password` brings a password to the other side as it is.
#[must_use]
pub fn header_carries(password: &str) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    password.trim_ascii() == password && !password.is_empty() && password.bytes().all(visible)
}

/// Says whether the operator may add a header of this name and value.
#[must_use]
pub fn may_be_added(name: &str, value: &str, signing: bool) -> bool {
    // RFC 9110 §5.6.2: a token.
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let small = name.to_ascii_lowercase();
    let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !name.is_empty()
        && name.bytes().all(of_token)
        && value.bytes().all(visible)
        && !OURS.contains(&&*small)
        && !(signing && SIGNED.contains(&&*small))
}

/// Writes a question into memory that is wiped.
///
/// Names of headers are written letter by letter as they are here: handlers of API Gateway tell
/// `PasswordBase64` from `passwordbase64`.
#[must_use]
pub fn write(
    endpoint: &Endpoint,
    target: &str,
    password: Option<&str>,
    headers: &[(String, Secret)],
    signature: &[(String, Secret)],
) -> Zeroizing<Vec<u8>> {
    let added = || headers.iter().chain(signature);
    let base64 = password.map(|password| Zeroizing::new(STANDARD.encode(password)));
    let is_added = |name: &str| added().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let mut lines: Vec<(&str, &str)> = Vec::new();
    lines.extend(DEFAULTS.iter().filter(|(name, _)| !is_added(name)));
    lines.extend(added().map(|(name, value)| (&**name, value.expose())));
    let plain = password.filter(|password| header_carries(password));
    lines.extend(plain.map(|password| ("Password", password)));
    lines.extend(
        base64
            .as_deref()
            .map(|base64| ("PasswordBase64", &**base64)),
    );
    let request = Request {
        method: "GET",
        target,
        authority: &endpoint.authority,
        headers: &lines,
        body: None,
    };
    request.write()
}

const DEFAULTS: &[(&str, &str)] = &[("Accept", "application/json"), USER_AGENT];

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::parse(
            "https://abc.execute-api.us-east-1.amazonaws.com/prod",
            false,
        )
        .unwrap()
    }

    #[test]
    fn names_are_encoded_in_the_path() {
        for (name, encoded) in [
            ("ann", "ann"),
            ("a_b-c.d~", "a_b-c.d~"),
            ("ann@example.com", "ann%40example.com"),
            ("a+b", "a%2Bb"),
            ("Jörg", "J%C3%B6rg"),
            ("a/b", "a%2Fb"),
            ("a b?c#d%e", "a%20b%3Fc%23d%25e"),
            ("a\r\nX: y", "a%0D%0AX%3A%20y"),
        ] {
            let expected = format!("/prod/servers/s-1/users/{encoded}/config");
            assert_eq!(path(&endpoint(), "s-1", name), expected);
        }
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(query(mapped), "protocol=SFTP&sourceIp=192.0.2.7");
        let six = "2001:db8::1".parse().unwrap();
        assert_eq!(query(six), "protocol=SFTP&sourceIp=2001%3Adb8%3A%3A1");
    }

    #[test]
    fn a_header_carries_what_it_does_not_change() {
        for good in ["x", "tidal fern", "a:b,c;\"d\"", "~!"] {
            assert!(header_carries(good), "{good:?}");
        }
        for bad in [
            "",
            " x",
            "x ",
            "\tx",
            "x\t",
            "a\tb",
            "ä",
            "a\r\nX: y",
            "a\0",
            "\u{7f}",
            "日本",
        ] {
            assert!(!header_carries(bad), "{bad:?}");
        }
    }

    #[test]
    fn no_password_adds_a_header() {
        for password in [
            "a\r\nX-Evil: 1",
            "a\nX-Evil: 1",
            "\r\n\r\nGET / HTTP/1.1",
            "ä",
            "x",
        ] {
            let request = write(&endpoint(), "/p", Some(password), &[], &[]);
            let text = String::from_utf8(request.to_vec()).unwrap();
            assert!(!text.contains("X-Evil"), "{text}");
            assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text}");
            assert_eq!(text.contains("\r\nPassword: "), password == "x");
            let encoded = STANDARD.encode(password);
            assert!(text.ends_with(&format!("\r\nPasswordBase64: {encoded}\r\n\r\n")));
        }
        let look_up = write(&endpoint(), "/p", None, &[], &[]);
        let text = String::from_utf8(look_up.to_vec()).unwrap();
        assert!(!text.contains("Password"), "{text}");
    }

    #[test]
    fn the_buffer_does_not_grow() {
        let long = "x".repeat(1024);
        let headers = [("X-Long".to_owned(), Secret::new("y".repeat(9000)))];
        let request = write(&endpoint(), &"/z".repeat(500), Some(&long), &headers, &[]);
        assert!(request.len() <= request.capacity());
        let before = 1024 + 1000 + 48 + 3 * 1024 + 9006 + 4;
        assert!(request.capacity() <= before + 64, "{}", request.capacity());
    }

    #[test]
    fn the_operator_adds_headers_but_not_ours() {
        assert!(may_be_added("X-Api-Key", "abc", true));
        assert!(may_be_added("Authorization", "Bearer abc", false));
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a", "x\r\nB: y"),
            ("a", "ä"),
            ("HOST", "x"),
            ("Content-Length", "0"),
            ("passwordBase64", "x"),
            ("Accept-Encoding", "gzip"),
            ("Authorization", "x"),
        ] {
            assert!(!may_be_added(name, value, true), "{name}");
        }
        let headers = [("accept".to_owned(), Secret::new("text/x".to_owned()))];
        let request = write(&endpoint(), "/p", None, &headers, &[]);
        let text = String::from_utf8(request.to_vec()).unwrap();
        assert!(
            text.contains("\r\naccept: text/x\r\n") && !text.contains("Accept: "),
            "{text}"
        );
    }
}
