//! Signature version 4 of a POST to `/`, verified.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::SystemTime;

use hmac::{Hmac, Mac as _};
use hyper::http::request;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::operation::Scope;
use super::refusal::Refusal;
use crate::idp::wire::timestamp;
use crate::limits;
use crate::secret::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "transfer";

/// A key with which requests can be signed.
#[derive(Debug, Clone)]
pub struct AwsKey {
    pub access_key_id: Box<str>,
    pub secret_access_key: Secret,
    pub scope: Scope,
}

/// Who signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) access_key_id: Box<str>,
    pub(super) scope: Scope,
    /// As the caller takes it to be.
    pub(super) region: Box<str>,
}

/// Checks that the sender of the request knows the secret of one of the keys, and sent it just now.
pub(super) fn verified(
    keys: &[AwsKey],
    head: &request::Parts,
    body: &[u8],
    now: SystemTime,
) -> Result<Caller, Refusal> {
    let (authorization, time) = bound(head, now)?;
    let mut keys = keys.iter();
    let key = keys.find(|key| *key.access_key_id == *authorization.access_key_id);
    let key = key.ok_or_else(|| {
        let message = "The security token included in the request is invalid";
        Refusal::new("UnrecognizedClientException", message)
    })?;
    key.verify(head, body, &authorization, time)?;
    Ok(Caller {
        access_key_id: key.access_key_id.clone(),
        scope: key.scope,
        region: authorization.region.into(),
    })
}

/// Says whether the request names one of the keys; that its sender has it is not proved.
pub(super) fn claimed(keys: &[AwsKey], head: &request::Parts) -> bool {
    let header = head.headers.get("authorization");
    let header = header.and_then(|value| value.to_str().ok());
    let Some(authorization) = header.and_then(Authorization::parse) else {
        return false;
    };
    let mut keys = keys.iter();
    keys.any(|key| *key.access_key_id == *authorization.access_key_id)
}

/// Reads who signed, and checks that the signature is of this moment and of this request.
fn bound(head: &request::Parts, now: SystemTime) -> Result<(Authorization<'_>, &str), Refusal> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = header("authorization").ok_or_else(missing)?;
    let authorization = Authorization::parse(authorization).ok_or_else(incomplete)?;
    let time = header("x-amz-date").ok_or_else(incomplete)?;
    let sent = moment(time).ok_or_else(incomplete)?;
    let signed: Vec<&str> = authorization.signed_headers.split(';').collect();
    // What is not signed could be another request's.
    let mut bound = ["host", "x-amz-date", "x-amz-target"].iter();
    // Each once, in lower case and in order: a header that is listed or sent twice could mean
    // one thing here and another to who signed it.
    let unordered = !signed.is_sorted_by(|before, after| before < after);
    let unlike = unordered || authorization.signed_headers.contains(char::is_uppercase);
    if unlike
        || !bound.all(|name| signed.contains(name))
        || !time.starts_with(authorization.date)
        || head.uri.query().is_some()
        || head.uri.path() != "/"
    {
        return Err(incomplete());
    }
    let age = now
        .duration_since(sent)
        .unwrap_or_else(|ahead| ahead.duration());
    if age > limits::SIGNATURE_AGE_MAX {
        let message = "Signature expired: the clocks are more than 5 minutes apart";
        return Err(Refusal::new("InvalidSignatureException", message));
    }
    Ok((authorization, time))
}

/// The parts of an `Authorization` header.
#[derive(Debug, PartialEq, Eq)]
struct Authorization<'h> {
    access_key_id: &'h str,
    date: &'h str,
    region: &'h str,
    signed_headers: &'h str,
    signature: &'h str,
}

impl AwsKey {
    /// Checks the signature.
    fn verify(
        &self,
        head: &request::Parts,
        body: &[u8],
        authorization: &Authorization<'_>,
        time: &str,
    ) -> Result<(), Refusal> {
        let mut headers = String::new();
        for name in authorization.signed_headers.split(';') {
            let mut values = head.headers.get_all(name).iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                return Err(incomplete());
            };
            let value = value.to_str().map_err(|_| incomplete())?;
            let words: Vec<&str> = value.split_whitespace().collect();
            headers.extend([name, ":", &words.join(" "), "\n"]);
        }
        let (names, payload) = (
            authorization.signed_headers,
            hex::encode(Sha256::digest(body)),
        );
        let canonical = format!("POST\n/\n\n{headers}\n{names}\n{payload}");
        let expected = self.signature(authorization, time, &canonical);
        if !bool::from(
            expected
                .as_bytes()
                .ct_eq(authorization.signature.as_bytes()),
        ) {
            let message = "The request signature we calculated does not match the signature you \
                provided: check the secret access key";
            return Err(Refusal::new("InvalidSignatureException", message));
        }
        Ok(())
    }

    fn signature(&self, scope: &Authorization<'_>, time: &str, canonical: &str) -> String {
        let Authorization { date, region, .. } = scope;
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let text = format!("{ALGORITHM}\n{time}\n{date}/{region}/{SERVICE}/aws4_request\n{digest}");
        let first = Secret::new(format!("AWS4{}", self.secret_access_key.expose()));
        let mut key = keyed(first.expose().as_bytes(), date);
        for part in [region, SERVICE, "aws4_request"] {
            key = keyed(&key, part);
        }
        hex::encode(keyed(&key, &text))
    }
}

impl<'h> Authorization<'h> {
    fn parse(header: &'h str) -> Option<Self> {
        let rest = header.strip_prefix(ALGORITHM)?;
        let field = |name: &str| {
            rest.split(',').find_map(|part| {
                let part = part.trim().strip_prefix(name)?;
                part.strip_prefix('=')
            })
        };
        let scope: Vec<&str> = field("Credential")?.split('/').collect();
        let [access_key_id, date, region, SERVICE, "aws4_request"] = *scope else {
            return None;
        };
        Some(Self {
            access_key_id,
            date,
            region,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
        })
    }
}

fn missing() -> Refusal {
    let message = "the request is not signed";
    Refusal::new("MissingAuthenticationTokenException", message)
}

fn incomplete() -> Refusal {
    let message =
        "the Authorization header is not one of AWS4-HMAC-SHA256 for the service transfer";
    Refusal::new("IncompleteSignatureException", message)
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is good for HMAC");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Reads `20261126T104445Z`.
fn moment(text: &str) -> Option<SystemTime> {
    let [year, month, day] = [0..4, 4..6, 6..8].map(|range| text.get(range));
    let [hour, minute, second] = [9..11, 11..13, 13..15].map(|range| text.get(range));
    if text.len() != 16 || text.get(8..9) != Some("T") || !text.ends_with('Z') {
        return None;
    }
    timestamp::parse(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        year?, month?, day?, hour?, minute?, second?
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BODY: &[u8] = br#"{"ServerId":"s-01234567890abcdef","UserName":"ann"}"#;

    fn key() -> AwsKey {
        AwsKey {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            scope: Scope::Users,
        }
    }

    /// Signed by botocore 1.43 with the key above.
    fn request() -> request::Parts {
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261126/us-east-1/transfer/\
            aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=\
            7c88a470e4c25d440d8719c08994e46711cee86d3f6250a61a9e74ade68427f9";
        let request = hyper::Request::post("http://127.0.0.1:9090/")
            .header("host", "127.0.0.1:9090")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "TransferService.TestIdentityProvider")
            .header("x-amz-date", "20261126T104445Z")
            .header("authorization", authorization)
            .body(())
            .unwrap();
        request.into_parts().0
    }

    fn refused(head: &request::Parts, body: &[u8], seconds_later: u64) -> Option<&'static str> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_689_885 + seconds_later);
        let judged = verified(&[key()], head, body, now);
        judged.err().map(|refusal| refusal.kind)
    }

    #[test]
    fn a_request_of_an_aws_tool_is_verified() {
        assert_eq!(refused(&request(), BODY, 0), None);
        assert_eq!(refused(&request(), BODY, 299), None);
    }

    #[test]
    fn anything_that_was_changed_is_refused() {
        let invalid = Some("InvalidSignatureException");
        assert_eq!(refused(&request(), b"{}", 0), invalid);
        assert_eq!(refused(&request(), BODY, 301), invalid);
        let changed = |name: &'static str, value: &'static str| {
            let mut head = request();
            head.headers.insert(name, value.parse().unwrap());
            refused(&head, BODY, 0)
        };
        assert_eq!(
            changed("x-amz-target", "TransferService.DeleteUser"),
            invalid
        );
        assert_eq!(changed("host", "example.com"), invalid);
        let incomplete = Some("IncompleteSignatureException");
        assert_eq!(changed("authorization", "Bearer x"), incomplete);
        let mut bare = request();
        bare.headers.remove("authorization");
        let missing = Some("MissingAuthenticationTokenException");
        assert_eq!(refused(&bare, BODY, 0), missing);
        let mut other = key();
        other.access_key_id = "AKIDOTHER".into();
        let now = moment("20261126T104445Z").unwrap();
        assert!(!claimed(&[other.clone()], &request()));
        let unknown = verified(&[other.clone()], &request(), BODY, now).unwrap_err();
        assert_eq!(unknown.kind, "UnrecognizedClientException");
        let caller = verified(&[other, key()], &request(), BODY, now).unwrap();
        assert_eq!((&*caller.region, caller.scope), ("us-east-1", Scope::Users));
    }

    #[test]
    fn a_header_that_is_listed_or_sent_twice_is_refused() {
        let incomplete = Some("IncompleteSignatureException");
        for (from, to) in [
            ("host;x-amz-date", "host;host;x-amz-date"),
            ("host;x-amz-date", "Host;host;x-amz-date"),
            ("content-type;host", "host;content-type"),
        ] {
            let mut head = request();
            let signed = head.headers["authorization"].to_str().unwrap();
            let signed = signed.replace(from, to).parse().unwrap();
            head.headers.insert("authorization", signed);
            assert_eq!(refused(&head, BODY, 0), incomplete, "{to}");
        }
        for name in ["host", "content-type", "x-amz-date", "x-amz-target"] {
            let mut head = request();
            let again = head.headers[name].clone();
            head.headers.append(name, again);
            assert_eq!(refused(&head, BODY, 0), incomplete, "{name}");
        }
        // Of what is not signed nothing is read.
        let mut head = request();
        for _ in 0..2 {
            head.headers.append("accept", "*/*".parse().unwrap());
        }
        assert_eq!(refused(&head, BODY, 0), None);
    }

    #[test]
    fn times_are_read_as_the_calendar_has_them() {
        for (text, seconds) in [
            ("19700101T000000Z", 0),
            ("20000229T235959Z", 951_868_799),
            ("20261126T104445Z", 1_795_689_885),
        ] {
            let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(moment(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "20261126T104445",
            "2026-11-26T10:44:45Z",
            "20261326T104445Z",
            "é",
        ] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }
}
