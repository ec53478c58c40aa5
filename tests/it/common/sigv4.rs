//! Signatures of requests to AWS, verified as AWS verifies them.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac as _};
use hyper::http::request::Parts;
use portcullis::clock::{Clock as _, SystemClock, written};
use sha2::{Digest as _, Sha256};

/// A service, with the one key that it knows.
#[derive(Debug, Clone)]
pub(crate) struct Verifier {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) session_token: Option<&'static str>,
    pub(crate) region: &'static str,
    pub(crate) service: &'static str,
    /// By how much its clock is ahead.
    pub(crate) ahead: Duration,
}

impl Verifier {
    /// Returns the code and the message of a request that is refused.
    pub(crate) fn refusal(&self, head: &Parts, body: &[u8]) -> Option<(&'static str, String)> {
        let header = |name: &str| {
            let value = head.headers.get(name)?;
            Some(value.to_str().unwrap())
        };
        let Some(authorization) = header("authorization") else {
            return Some(("MissingAuthenticationTokenException", "none".to_owned()));
        };
        let field = |name: &str| {
            let (_, rest) = authorization.split_once(&format!("{name}=")).unwrap();
            rest.split(',').next().unwrap()
        };
        let (id, scope) = field("Credential").split_once('/').unwrap();
        if (id, header("x-amz-security-token")) != (self.id, self.session_token) {
            let message = "The security token included in the request is invalid.";
            return Some(("UnrecognizedClientException", message.to_owned()));
        }
        let time = header("x-amz-date").unwrap();
        let day = time.get(..8).unwrap();
        let expected = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        if scope != expected {
            let message = format!("Credential should be scoped to {expected}, is {scope}");
            return Some(("InvalidSignatureException", message));
        }
        let oldest = amz_date(SystemClock.wall() + self.ahead - Duration::from_secs(300));
        if *time < *oldest {
            let message = format!("Signature expired: {time} is now earlier than {oldest}");
            return Some(("InvalidSignatureException", message));
        }
        let signed = field("SignedHeaders");
        let names: Vec<&str> = signed.split(';').collect();
        let must = |name: &&str| *name == "host" || name.starts_with("x-amz-");
        let mut all = head.headers.keys().map(|name| name.as_str());
        if !names.is_sorted() || all.any(|name| must(&name) && !names.contains(&name)) {
            let message = format!("not all is signed: {signed}");
            return Some(("InvalidSignatureException", message));
        }
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            digest(canonical(head, &names, body).as_bytes())
        );
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/') {
            key = keyed(&key, part);
        }
        let wrong = field("Signature") != hex::encode(keyed(&key, &text));
        let message = "The request signature we calculated does not match";
        wrong.then(|| ("InvalidSignatureException", message.to_owned()))
    }
}

fn canonical(head: &Parts, names: &[&str], body: &[u8]) -> String {
    // What is encoded in the path is encoded once more.
    let path = head.uri.path().replace('%', "%25");
    let mut query: Vec<&str> = head.uri.query().unwrap_or_default().split('&').collect();
    query.sort_unstable();
    let headers: String = names
        .iter()
        .map(|name| {
            let value = head.headers[*name].to_str().unwrap().trim();
            format!("{name}:{value}\n")
        })
        .collect();
    let (query, names, digest) = (query.join("&"), names.join(";"), digest(body));
    format!(
        "{}\n{path}\n{query}\n{headers}\n{names}\n{digest}",
        head.method
    )
}

fn amz_date(time: SystemTime) -> String {
    written(time)
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect()
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
