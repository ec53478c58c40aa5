//! What Lambda says where it does not run a function (pure).
//!
//! The code is in a header, or in the body's JSON; the body has the message. A proxy on the way
//! may have written the body instead.

#![warn(clippy::arithmetic_side_effects)]

use crate::idp::wire::json::{self, Json, Object};

/// A refusal of Lambda's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LambdaError {
    pub(super) status: u16,
    /// Such as `TooManyRequestsException`; empty: none was found.
    pub(super) code: String,
    pub(super) message: String,
}

impl LambdaError {
    /// Reads an answer with another status than one of success; `kind` is its header
    /// `X-Amzn-ErrorType`.
    pub(super) fn read(status: u16, kind: Option<&[u8]>, body: &[u8]) -> Self {
        let object = match json::parse(body) {
            Ok(Json::Object(object)) => object,
            Ok(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_))
            | Err(_) => Object::new(),
        };
        let text = |key: &str| match object.get(key) {
            Some(Json::Text(text)) => Some(&**text),
            Some(
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_),
            )
            | None => None,
        };
        let first = |keys: &[&str]| keys.iter().find_map(|key| text(key));
        let kind = kind.and_then(|kind| str::from_utf8(kind).ok());
        let code = kind.or_else(|| first(&["code", "__type"]));
        let message = first(&["message", "Message", "errorMessage"]);
        Self {
            status,
            code: bare(code.unwrap_or_default()).to_owned(),
            message: message.unwrap_or_default().to_owned(),
        }
    }
}

/// Takes the namespace from a code and the URL after it: `ns#Code:http://…`.
fn bare(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or_default();
    code.split_once('#').map_or(code, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_messages_are_found_wherever_they_stand() {
        let uri = "TooManyRequestsException:http://internal.amazon.com/coral/";
        for (kind, body, code, message) in [
            (
                Some(uri),
                r#"{"Reason":"x","Type":"User","message":"m"}"#,
                "TooManyRequestsException",
                "m",
            ),
            (Some("ns#X"), r#"{"Message":"m"}"#, "X", "m"),
            (Some("X"), r#"{"code":"Y","errorMessage":"m"}"#, "X", "m"),
            (None, r#"{"code":"Y","__type":"Z"}"#, "Y", ""),
            (
                None,
                r#"{"__type":"ns#Z:x","Message":"M","message":"m"}"#,
                "Z",
                "m",
            ),
            // Of a proxy, or of nobody.
            (Some("X"), "<html>", "X", ""),
            (Some("X"), "", "X", ""),
            (None, "<html>", "", ""),
            (None, r#"["message"]"#, "", ""),
            (None, r#"{"message":5,"code":{"code":"x"}}"#, "", ""),
            (None, r#"{"message":"m"#, "", ""),
        ] {
            let expected = LambdaError {
                status: 429,
                code: code.to_owned(),
                message: message.to_owned(),
            };
            let found = LambdaError::read(429, kind.map(str::as_bytes), body.as_bytes());
            assert_eq!(found, expected, "{kind:?} {body}");
        }
        let found = LambdaError::read(500, Some(b"\xff"), b"{\"message\":\"\xff\"}");
        assert_eq!((&*found.code, &*found.message), ("", ""));
    }
}
