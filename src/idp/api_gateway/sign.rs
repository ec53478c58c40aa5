//! Signs questions as AWS's IAM wants them (signature version 4, service `execute-api`).

use std::error::Error;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;

use crate::clock::{Clock as _, SystemClock};
use crate::endpoint::Endpoint;
use crate::idp::aws::Keys;
use crate::secret::Secret;

const SERVICE: &str = "execute-api";

/// Signs with the keys of one identity.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) region: String,
    pub(super) keys: Keys,
}

impl Signer {
    /// Returns the headers that make a GET of the target an authorized one. Signed are the place,
    /// the path, the query and the time; the password is not shown to the signer.
    pub(super) async fn headers(
        &self,
        endpoint: &Endpoint,
        target: &str,
    ) -> Result<Vec<(String, Secret)>, Box<dyn Error + Send + Sync>> {
        let identity = self.keys.current().await?.into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(SystemClock.wall())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let url = format!("{}{target}", endpoint.origin());
        let host = [("host", &*endpoint.authority)];
        let request = SignableRequest::new("GET", url, host.into_iter(), SignableBody::Bytes(&[]))?;
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
