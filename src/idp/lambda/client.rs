//! Invokes a function: signs the event, sends it once, and tells Lambda's errors from the
//! function's answer.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::time::Duration;

use super::error::LambdaError;
use crate::causes::chain;
use crate::endpoint::Endpoint;
use crate::idp::aws::Keys;
use crate::idp::http1::failure::Failure;
use crate::idp::http1::request::{Request, USER_AGENT, encoded};
use crate::idp::http1::{self, Bodies, TlsError};
use crate::idp::sigv4::{Signer, Unsigned};

/// As Lambda is called in signatures.
const SERVICE: &str = "lambda";
const INVOCATIONS: &str = "2015-03-31/functions";

/// The way to one function.
#[derive(Debug)]
pub(super) struct Client {
    http: http1::Client,
    signer: Signer,
    endpoint: Endpoint,
    /// The path and the query.
    target: String,
}

/// A function's answer, or the error of one.
pub(super) struct InvokeAnswer {
    pub(super) payload: Vec<u8>,
    pub(super) function_error: bool,
}

/// Why there is no answer of a function.
pub(super) enum NotInvoked {
    /// There are no keys to sign with.
    Credentials(String),
    Http(Failure),
    /// Lambda itself refuses.
    Refused(LambdaError),
}

impl Client {
    /// Prepares everything; nothing is sent yet. `ca_pem` holds the only roots to trust, instead of
    /// the system's.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn new(
        endpoint: &Endpoint,
        target: String,
        region: String,
        keys: Keys,
        ca_pem: Option<&[u8]>,
        connect_timeout: Duration,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            http: http1::Client::new(endpoint.clone(), Bodies::OfAll, ca_pem, connect_timeout)?,
            signer: Signer {
                service: SERVICE,
                region,
                keys,
            },
            endpoint: endpoint.clone(),
            target,
        })
    }

    /// Invokes the function once; `headed` hears of the status before the answer is complete.
    pub(super) async fn invoke(
        &self,
        event: &[u8],
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Result<InvokeAnswer, NotInvoked> {
        let own = [
            ("Content-Type", "application/octet-stream"),
            ("X-Amz-Invocation-Type", "RequestResponse"),
        ];
        let unsigned = Unsigned {
            method: "POST",
            target: &self.target,
            headers: &own,
            body: event,
        };
        let signature = self
            .signer
            .headers(&self.endpoint, unsigned)
            .await
            .map_err(|error| NotInvoked::Credentials(chain(&*error)))?;
        let signature = signature
            .iter()
            .map(|(name, value)| (&**name, value.expose()));
        let mut headers = vec![USER_AGENT];
        headers.extend(own);
        headers.extend(signature);
        let request = Request {
            method: unsigned.method,
            target: unsigned.target,
            authority: &self.endpoint.authority,
            headers: &headers,
            body: Some(event),
        };
        // A repeated password could lock its user out.
        let answer = self.http.send(&request.write(), false, headed).await;
        let answer = answer.map_err(NotInvoked::Http)?;
        if answer.is_success() {
            return Ok(InvokeAnswer {
                function_error: answer.header("X-Amz-Function-Error").is_some(),
                payload: answer.body,
            });
        }
        let kind = answer.header("X-Amzn-ErrorType");
        let error = LambdaError::read(answer.status, kind, &answer.body);
        Err(NotInvoked::Refused(error))
    }
}

/// Returns the path and the query of an invocation.
pub(super) fn target(endpoint: &Endpoint, function: &str, qualifier: Option<&str>) -> String {
    let (stage, function) = (&endpoint.path, encoded(function));
    let path = format!("{stage}/{INVOCATIONS}/{function}/invocations");
    match qualifier {
        Some(qualifier) => format!("{path}?Qualifier={}", encoded(qualifier)),
        None => path,
    }
}

/// Returns where a function is invoked, for people.
pub(super) fn shown_url(endpoint: &Endpoint, function: &str, qualifier: Option<&str>) -> String {
    let (origin, stage) = (endpoint.origin(), &endpoint.path);
    let url = format!("{origin}{stage}/{INVOCATIONS}/{function}/invocations");
    match qualifier {
        Some(qualifier) => format!("{url}?Qualifier={qualifier}"),
        None => url,
    }
}
