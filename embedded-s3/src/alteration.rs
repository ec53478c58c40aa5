//! Answers that are not what the server said: cut, emptied, damaged, with other headers.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use s3s::Body;

/// One change of an answer, whose length is announced as if nothing were missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// Ends the body behind the n-th place, counted from 1, at which this text stands.
    EndAfter {
        /// The text.
        text: String,
        /// Which of its places.
        nth: usize,
    },
    /// Puts a text in the place of another one, wherever that stands.
    Replace {
        /// What is taken out.
        from: String,
        /// What stands there instead.
        to: String,
    },
    /// Leaves the body out.
    Empty,
    /// Inverts one bit of the byte at this place.
    Flip {
        /// Counted from 0.
        at: usize,
    },
    /// Answers with another HTTP status.
    Status(u16),
    /// Gives a header another value, or takes it out.
    Header {
        /// In lower case.
        name: &'static str,
        /// None takes it out.
        value: Option<String>,
    },
}

/// Changes an answer, one step after the other.
pub(crate) async fn alter(
    response: Response<Body>,
    method: &Method,
    alterations: &[Alteration],
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let mut bytes = match body.collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(_) => Vec::new(),
    };
    if *method != Method::HEAD {
        parts.headers.remove(CONTENT_LENGTH);
    }
    for alteration in alterations {
        match alteration {
            Alteration::EndAfter { text, nth } => {
                let place = places(&bytes, text).nth(nth.saturating_sub(1));
                if let Some(place) = place {
                    bytes.truncate(place + text.len());
                }
            }
            Alteration::Replace { from, to } => {
                bytes = String::from_utf8_lossy(&bytes)
                    .replace(from, to)
                    .into_bytes();
            }
            Alteration::Empty => bytes.clear(),
            Alteration::Flip { at } => {
                if let Some(byte) = bytes.get_mut(*at) {
                    *byte ^= 1;
                }
            }
            Alteration::Status(status) => {
                parts.status = StatusCode::from_u16(*status).unwrap_or(parts.status);
            }
            Alteration::Header { name, value } => {
                let name = HeaderName::from_static(name);
                match value.as_deref().map(HeaderValue::from_str) {
                    Some(Ok(value)) => drop(parts.headers.insert(name, value)),
                    Some(Err(_)) | None => drop(parts.headers.remove(name)),
                }
            }
        }
    }
    Response::from_parts(parts, Body::from(Bytes::from(bytes)))
}

fn places<'a>(bytes: &'a [u8], text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let windows = bytes.windows(text.len().max(1)).enumerate();
    windows.filter_map(|(place, window)| (window == text.as_bytes()).then_some(place))
}
