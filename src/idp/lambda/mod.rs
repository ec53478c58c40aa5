//! The Lambda provider: AWS Transfer Family's event, given to a function by `Invoke`.
//!
//! A question is sent once, over the same HTTP/1.1 as to an API ([`super::http1`]): the SDK of
//! Lambda takes longer to compile than the one of S3, for this one call
//! (`docs/decisions/0029-a-client-of-lambda-of-our-own.md`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use zeroize::Zeroizing;

use self::client::{Client, InvokeAnswer, shown_url, target};
use super::aws::{self, Keys};
use super::http1::TlsError;
use super::wire::{self, Asked, Transport};
use super::{
    AwsCredentials, Credential, Examined, Exchange, IdentityProvider, Judged, PathHomes, Question,
};
use crate::causes::chain;
use crate::clock::Clock;
use crate::endpoint::{Endpoint, EndpointError};
use crate::refusal::{Reason, Refusal};

mod client;
mod error;
mod failure;

/// What the operator set.
#[derive(Debug, Clone)]
pub struct LambdaSettings {
    /// A name, an ARN or a partial ARN.
    pub function: String,
    /// A version or an alias.
    pub qualifier: Option<String>,
    pub server_id: Box<str>,
    /// `None` = the one in the function's ARN.
    pub region: Option<String>,
    /// `None` = AWS's own of the region.
    pub endpoint: Option<String>,
    pub credentials: AwsCredentials,
    /// The only roots to trust, instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    pub connect_timeout: Duration,
    /// From the first byte out to the last byte in, whatever the function does in between.
    pub total_timeout: Duration,
    /// Lets passwords travel over `http://` to other hosts.
    pub plaintext: bool,
    /// Takes a password answer that lists keys.
    pub accept_keys_with_password: bool,
    pub path_homes: PathHomes,
    /// File systems that are served, by their ids.
    pub fs_ids: Arc<[Box<str>]>,
    /// Leaves `password` out of a look-up instead of sending it empty.
    pub omit_blank_password: bool,
}

impl LambdaSettings {
    /// Returns the defaults for a function.
    #[must_use]
    pub fn new(function: &str, server_id: &str) -> Self {
        Self {
            function: function.to_owned(),
            qualifier: None,
            server_id: server_id.into(),
            region: None,
            endpoint: None,
            credentials: AwsCredentials::DefaultChain,
            ca_pem: None,
            connect_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(8),
            plaintext: false,
            accept_keys_with_password: false,
            path_homes: PathHomes::default(),
            fs_ids: Arc::default(),
            omit_blank_password: false,
        }
    }
}

/// Says which setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LambdaSettingsError {
    #[error("aws_endpoint: {0}")]
    Endpoint(EndpointError),
    #[error("aws_region is missing: the function is not named by a full ARN")]
    Region,
    #[error("aws_region is {set:?}, and the function's ARN says {found:?}")]
    OtherRegion { set: String, found: String },
    #[error("aws_region {0:?} is not a valid region")]
    NoRegion(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Invokes a function.
#[derive(Debug)]
pub struct Lambda {
    settings: LambdaSettings,
    endpoint: Endpoint,
    client: Client,
}

impl Lambda {
    /// Checks the settings and prepares the client; nothing is sent yet.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(settings: LambdaSettings) -> Result<Self, LambdaSettingsError> {
        let region = region(&settings)?;
        let endpoint = match &settings.endpoint {
            Some(url) => {
                Endpoint::parse(url, settings.plaintext).map_err(LambdaSettingsError::Endpoint)?
            }
            None => own_endpoint(&region)?,
        };
        let keys = Keys::new(settings.credentials.clone(), &region);
        let qualifier = settings.qualifier.as_deref();
        let client = Client::new(
            &endpoint,
            target(&endpoint, &settings.function, qualifier),
            region,
            keys,
            settings.ca_pem.as_deref(),
            settings.connect_timeout,
        )?;
        Ok(Self {
            settings,
            endpoint,
            client,
        })
    }

    /// Invokes the function once, within the time there is.
    async fn bounded(
        &self,
        question: &Question,
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Result<InvokeAnswer, Refusal> {
        let total = self.settings.total_timeout;
        tokio::time::timeout(total, self.invoke(question, headed))
            .await
            .unwrap_or_else(|_| {
                let detail = format!("no complete answer within {} ms", total.as_millis());
                Err(Reason::Timeout.because(&detail))
            })
    }

    async fn invoke(
        &self,
        question: &Question,
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Result<InvokeAnswer, Refusal> {
        let event = self
            .event(question)
            .map_err(|error| Reason::Transport.because(&chain(&error)))?;
        let invoked = self.client.invoke(&event, headed).await;
        invoked.map_err(|why| failure::explained(why, &self.settings.function))
    }

    /// Writes the event into memory that is wiped.
    fn event(&self, question: &Question) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        let blank = (!self.settings.omit_blank_password).then_some("");
        let password = match &question.credential {
            Credential::Password(password) => Some(password.expose()),
            Credential::PublicKey => blank,
        };
        let event = Event {
            username: &question.username,
            password,
            protocol: "SFTP",
            server_id: &self.settings.server_id,
            source_ip: question.source_ip.to_canonical(),
        };
        // Large enough not to grow: growing would leave a copy behind.
        let room = [
            event.username,
            password.unwrap_or_default(),
            event.server_id,
        ]
        .iter()
        .map(|text| text.len().saturating_mul(6))
        .fold(256, usize::saturating_add);
        let mut text = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *text, &event)?;
        Ok(text)
    }

    fn judge(&self, question: &Question, answer: &InvokeAnswer) -> Judged {
        let asked = Asked {
            username: &question.username,
            method: question.credential.method(),
            accept_keys_with_password: self.settings.accept_keys_with_password,
            path_homes: self.settings.path_homes,
            fs_ids: &self.settings.fs_ids,
            transport: Transport::Lambda,
            function_error: answer.function_error,
        };
        wire::parse(asked, 200, &answer.payload)
    }
}

#[async_trait]
impl IdentityProvider for Lambda {
    async fn ask(&self, question: &Question) -> Judged {
        let answer = self.bounded(question, &mut |_| {}).await?;
        self.judge(question, &answer)
    }
}

#[async_trait]
impl Examined for Lambda {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        let began = clock.now();
        let elapsed = || clock.now().saturating_duration_since(began);
        let mut head = None;
        let mut headed = |status| head = Some((status, elapsed()));
        let answered = self.bounded(question, &mut headed).await;
        let total = elapsed();
        let (body, judged) = match answered {
            Ok(answer) => {
                let judged = self.judge(question, &answer);
                (answer.payload, judged)
            }
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        let qualifier = self.settings.qualifier.as_deref();
        Exchange {
            url: shown_url(&self.endpoint, &self.settings.function, qualifier),
            status: head.map(|(status, _)| status),
            body,
            judged,
            first_byte: head.map(|(_, after)| after),
            total,
        }
    }

    fn place(&self) -> Option<(String, u16)> {
        Some((self.endpoint.host.to_string(), self.endpoint.port))
    }
}

/// Transfer Family's event; it has no other key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    protocol: &'static str,
    server_id: &'a str,
    source_ip: IpAddr,
}

fn region(settings: &LambdaSettings) -> Result<String, LambdaSettingsError> {
    let found = aws::region_of_arn(&settings.function);
    match (settings.region.as_deref(), found) {
        (Some(set), Some(found)) if set != found => Err(LambdaSettingsError::OtherRegion {
            set: set.to_owned(),
            found: found.to_owned(),
        }),
        (Some(region), _) | (None, Some(region)) => Ok(region.to_owned()),
        (None, None) => Err(LambdaSettingsError::Region),
    }
}

/// Returns AWS's own endpoint in a region.
fn own_endpoint(region: &str) -> Result<Endpoint, LambdaSettingsError> {
    let refused = || LambdaSettingsError::NoRegion(region.to_owned());
    let of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    // Of anything else the host could be another one than AWS's.
    if region.is_empty() || !region.bytes().all(of_label) {
        return Err(refused());
    }
    let suffix = aws::dns_suffix(region);
    let url = format!("https://lambda.{region}.{suffix}");
    Endpoint::parse(&url, false).map_err(|_| refused())
}

#[cfg(test)]
mod tests;
