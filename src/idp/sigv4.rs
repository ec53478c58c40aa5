//! Signs requests to AWS (signature version 4).

use std::error::Error;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use sha2::{Digest as _, Sha256};

use super::aws::Keys;
use crate::clock::{Clock as _, SystemClock};
use crate::endpoint::Endpoint;
use crate::secret::Secret;

/// Signs with the keys of one identity, for one service in one region.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) service: &'static str,
    pub(super) region: String,
    pub(super) keys: Keys,
}

/// What is signed of a request, beside its place and the time.
#[derive(Clone, Copy)]
pub(super) struct Unsigned<'r> {
    pub(super) method: &'r str,
    /// The path and the query.
    pub(super) target: &'r str,
    pub(super) headers: &'r [(&'r str, &'r str)],
    pub(super) body: &'r [u8],
}

type SignError = Box<dyn Error + Send + Sync>;

impl Signer {
    /// Returns the headers that make the request an authorized one. Of the body only its digest is
    /// shown to the library, which may log what it signs.
    pub(super) async fn headers(
        &self,
        endpoint: &Endpoint,
        request: Unsigned<'_>,
    ) -> Result<Vec<(String, Secret)>, SignError> {
        let keys = self.keys.current().await?;
        self.signed(keys, endpoint, request, SystemClock.wall())
    }

    fn signed(
        &self,
        keys: Credentials,
        endpoint: &Endpoint,
        request: Unsigned<'_>,
        time: SystemTime,
    ) -> Result<Vec<(String, Secret)>, SignError> {
        let identity = keys.into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(time)
            .settings(SigningSettings::default())
            .build()?
            .into();
        let url = format!("{}{}", endpoint.origin(), request.target);
        let host = [("host", &*endpoint.authority)];
        let headers = host.into_iter().chain(request.headers.iter().copied());
        let digest = SignableBody::Precomputed(hex::encode(Sha256::digest(request.body)));
        let request = SignableRequest::new(request.method, url, headers, digest)?;
        let (instructions, _) = sign(request, &parameters)?.into_parts();
        let owned = |(name, value): (&str, &str)| {
            let value = Secret::new(value.to_owned());
            (spelled(name).to_owned(), value)
        };
        Ok(instructions.headers().map(owned).collect())
    }
}

/// Any spelling is right; this is AWS's.
fn spelled(name: &str) -> &str {
    match name {
        "authorization" => "Authorization",
        "x-amz-date" => "X-Amz-Date",
        "x-amz-security-token" => "X-Amz-Security-Token",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::idp::AwsCredentials;

    const INVOKE: Unsigned<'_> = Unsigned {
        method: "POST",
        target: "",
        headers: &[
            ("content-type", "application/octet-stream"),
            ("x-amz-invocation-type", "RequestResponse"),
        ],
        body: br#"{"username":"ann"}"#,
    };

    /// What botocore 1.44 signs with the same keys at the same time: with a path that is encoded,
    /// a query and headers, at a stage, with and without a session token.
    #[test]
    fn requests_are_signed_as_aws_tools_sign_them() {
        let arn = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3A\
                   function%3Aidp/invocations?Qualifier=live";
        let name = "/stage/2015-03-31/functions/idp/invocations";
        let (aws, own) = (
            "https://lambda.eu-west-1.amazonaws.com",
            "http://127.0.0.1:3001/stage",
        );
        for (url, target, token, signature) in [
            (
                aws,
                arn,
                None,
                "176956421cbdb0cd67f10975ab53b748f10d1ae187b1240120622559fe8f6a7a",
            ),
            (
                own,
                name,
                None,
                "06c3448f54bb313b72c3a3be42773be94585f42e97b4d32d600f1da6e73d2cd8",
            ),
            (
                aws,
                arn,
                Some("hazel-7"),
                "7ad24f1836837ea70b3e556a08ed0da512024fe74aab2b3b6f25fceec8bef023",
            ),
            (
                own,
                name,
                Some("hazel-7"),
                "e517d853fdeb96326964a29967e8baf6ebaa0da77629412ce18960c198728476",
            ),
        ] {
            let signer = Signer {
                service: "lambda",
                region: "eu-west-1".to_owned(),
                keys: Keys::new(AwsCredentials::DefaultChain, "eu-west-1"),
            };
            let keys = Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                token.map(str::to_owned),
                None,
                "test",
            );
            let request = Unsigned { target, ..INVOKE };
            let endpoint = Endpoint::parse(url, false).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_689_885);
            let headers = signer.signed(keys, &endpoint, request, time).unwrap();
            let header = |name: &str| {
                let mut found = headers.iter().filter(|(found, _)| found == name);
                let value = found.next().map(|(_, value)| value.expose());
                assert!(found.next().is_none(), "{name}");
                value
            };
            let also = token.map_or("", |_| ";x-amz-security-token");
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261126/eu-west-1/lambda/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-invocation-type{also}, \
                 Signature={signature}"
            );
            assert_eq!(header("Authorization"), Some(&*expected), "{target}");
            assert_eq!(header("X-Amz-Date"), Some("20261126T104445Z"));
            assert_eq!(header("X-Amz-Security-Token"), token);
        }
    }
}
