//! The Lambda provider: AWS Transfer Family's event, given to a function by `Invoke`.
//!
//! A question is sent once: the SDK's retries are off, and its connection pool repeats a request
//! only when its connection was found closed before it took the request. The SDK keeps copies of
//! the event that are out of reach of wiping; ours are wiped.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use serde::Serialize;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use self::client::Connection;
use super::aws::{self, Keys};
use super::wire::{self, Asked, Transport};
use super::{
    AwsCredentials, Credential, Examined, Exchange, IdentityProvider, Judged, PathHomes, Question,
};
use crate::aws::ConnectError;
use crate::causes::chain;
use crate::clock::Clock;
use crate::endpoint::{Endpoint, EndpointError};
use crate::refusal::{Reason, Refusal};

mod client;
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
    #[error("`ca_file`: {0}")]
    Tls(#[from] ConnectError),
}

/// Invokes a function.
#[derive(Debug)]
pub struct Lambda {
    settings: LambdaSettings,
    region: String,
    endpoint: Endpoint,
    connection: Connection,
    keys: Keys,
    /// Made at the first question.
    client: OnceCell<Client>,
}

/// A function's answer, or the error of one.
struct InvokeAnswer {
    payload: Vec<u8>,
    function_error: bool,
}

/// No answer; the status of Lambda itself, if there was one.
struct Failed {
    status: Option<u16>,
    refusal: Refusal,
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        let status = None;
        Self { status, refusal }
    }
}

impl Lambda {
    /// Checks the settings and prepares the HTTP client; nothing is sent yet.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(settings: LambdaSettings) -> Result<Self, LambdaSettingsError> {
        let region = region(&settings)?;
        let endpoint = match &settings.endpoint {
            Some(url) => {
                Endpoint::parse(url, settings.plaintext).map_err(LambdaSettingsError::Endpoint)?
            }
            None => Endpoint::parse(&own_url(&region), false)
                .map_err(|_| LambdaSettingsError::NoRegion(region.clone()))?,
        };
        Ok(Self {
            connection: Connection::new(endpoint.encrypted, settings.ca_pem.as_deref())?,
            keys: Keys::new(settings.credentials.clone(), &region),
            client: OnceCell::new(),
            settings,
            region,
            endpoint,
        })
    }

    /// Invokes the function once, within the time there is.
    async fn bounded(&self, question: &Question) -> Result<InvokeAnswer, Failed> {
        let total = self.settings.total_timeout;
        tokio::time::timeout(total, self.invoke(question))
            .await
            .unwrap_or_else(|_| {
                let detail = format!("no complete answer within {} ms", total.as_millis());
                Err(Reason::Timeout.because(&detail).into())
            })
    }

    async fn invoke(&self, question: &Question) -> Result<InvokeAnswer, Failed> {
        let event = self
            .event(question)
            .map_err(|error| Reason::Transport.because(&chain(&error)))?;
        let client = self.client().await?;
        let invoked = client
            .invoke()
            .function_name(&self.settings.function)
            .set_qualifier(self.settings.qualifier.clone())
            .invocation_type(InvocationType::RequestResponse)
            .payload(Blob::new(&**event))
            .send()
            .await;
        match invoked {
            Ok(output) => Ok(answer(output)),
            Err(error) => Err(failure::explained(&error, &self.settings.function)),
        }
    }

    async fn client(&self) -> Result<&Client, Refusal> {
        let made = self.client.get_or_try_init(|| async {
            let provider = self.keys.provider().await?;
            let region = self.region.clone();
            let endpoint = self.settings.endpoint.clone();
            let connect_timeout = self.settings.connect_timeout;
            Ok(self
                .connection
                .client(provider, region, endpoint, connect_timeout))
        });
        made.await.map_err(|error: client::CredentialsError| {
            Reason::AwsCredentials.because(&chain(&error))
        })
    }

    /// Returns where the function is invoked, for people.
    fn url(&self) -> String {
        let (origin, function) = (self.endpoint.origin(), &self.settings.function);
        let stage = &self.endpoint.path;
        let url = format!("{origin}{stage}/2015-03-31/functions/{function}/invocations");
        match &self.settings.qualifier {
            Some(qualifier) => format!("{url}?Qualifier={qualifier}"),
            None => url,
        }
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
        match self.bounded(question).await {
            Ok(answer) => self.judge(question, &answer),
            Err(failed) => Err(failed.refusal),
        }
    }
}

#[async_trait]
impl Examined for Lambda {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        let began = clock.now();
        let answered = self.bounded(question).await;
        let total = clock.now().saturating_duration_since(began);
        let (status, body, judged) = match answered {
            Ok(answer) => {
                let judged = self.judge(question, &answer);
                (Some(200), answer.payload, judged)
            }
            Err(failed) => (failed.status, Vec::new(), Err(failed.refusal)),
        };
        Exchange {
            url: self.url(),
            status,
            body,
            judged,
            // The SDK hands out answers that are complete.
            first_byte: status.map(|_| total),
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

fn answer(output: InvokeOutput) -> InvokeAnswer {
    InvokeAnswer {
        function_error: output.function_error.is_some(),
        payload: output.payload.map(Blob::into_inner).unwrap_or_default(),
    }
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

/// Returns AWS's own endpoint: to be shown, and to measure the way there.
fn own_url(region: &str) -> String {
    let partition = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://lambda.{region}.amazonaws.com{partition}")
}

#[cfg(test)]
mod tests;
