//! The API Gateway provider: AWS Transfer Family's question over HTTP, as its own servers send it.
//!
//! `GET {url}/servers/{serverId}/users/{username}/config?protocol=SFTP&sourceIp=…`, with the
//! password in headers. Their names must arrive letter by letter, which HTTP libraries do not
//! promise: hence a client of our own ([`super::http1`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::aws::{self, Keys};
use super::http1::failure::Failure;
use super::http1::{Bodies, Client, HttpAnswer, TlsError};
use super::sigv4::{Signer, Unsigned};
use super::wire::{self, Asked, Transport};
use super::{
    AwsCredentials, Credential, Examined, Exchange, IdentityProvider, Judged, PathHomes, Question,
};
use crate::causes::chain;
use crate::clock::Clock;
use crate::endpoint::{Endpoint, EndpointError};
use crate::refusal::{Reason, Refusal, Verdict};
use crate::secret::Secret;

pub mod request;

/// As API Gateway is called in signatures.
const SERVICE: &str = "execute-api";

/// What the operator set.
#[derive(Debug, Clone)]
pub struct ApiGatewaySettings {
    /// The invoke URL, with its stage.
    pub url: String,
    pub server_id: Box<str>,
    /// Sent with every question, as they are spelled here.
    pub headers: Vec<(String, Secret)>,
    /// Signs the questions, for an API with `AWS_IAM`.
    pub signing: Option<Signing>,
    pub connect_timeout: Duration,
    /// From the first byte out to the last byte in, whatever the server does in between.
    pub total_timeout: Duration,
    /// The only roots to trust, instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Lets passwords travel over `http://` to other hosts.
    pub plaintext: bool,
    /// Takes a password answer that lists keys.
    pub accept_keys_with_password: bool,
    pub path_homes: PathHomes,
    /// File systems that are served, by their ids.
    pub fs_ids: Arc<[Box<str>]>,
}

/// As whom questions are signed.
#[derive(Debug, Clone)]
pub struct Signing {
    /// `None` = the one in the url's host.
    pub region: Option<String>,
    pub credentials: AwsCredentials,
}

impl ApiGatewaySettings {
    /// Returns the defaults for a URL.
    #[must_use]
    pub fn new(url: &str, server_id: &str) -> Self {
        Self {
            url: url.to_owned(),
            server_id: server_id.into(),
            headers: Vec::new(),
            signing: None,
            connect_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(8),
            ca_pem: None,
            plaintext: false,
            accept_keys_with_password: false,
            path_homes: PathHomes::default(),
            fs_ids: Arc::default(),
        }
    }
}

/// Says which setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiGatewaySettingsError {
    #[error(transparent)]
    Url(#[from] EndpointError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0:?} is not a header that can be added")]
    Header(String),
    #[error("sign = \"aws\" needs aws_region: the url's host does not name one")]
    Region,
}

/// Asks an API in AWS's form.
#[derive(Debug)]
pub struct ApiGateway {
    client: Client,
    endpoint: Endpoint,
    signer: Option<Signer>,
    settings: ApiGatewaySettings,
}

impl ApiGateway {
    /// Checks the settings and prepares the client; nothing is sent yet.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(settings: ApiGatewaySettings) -> Result<Self, ApiGatewaySettingsError> {
        let endpoint = Endpoint::parse(&settings.url, settings.plaintext)?;
        for (name, value) in &settings.headers {
            if !request::may_be_added(name, value.expose(), settings.signing.is_some()) {
                return Err(ApiGatewaySettingsError::Header(name.clone()));
            }
        }
        let signer = match &settings.signing {
            None => None,
            Some(signing) => {
                let named = signing.region.as_deref();
                let region = named.or_else(|| aws::region_of_api(&endpoint.host));
                let region = region.ok_or(ApiGatewaySettingsError::Region)?.to_owned();
                Some(Signer {
                    service: SERVICE,
                    keys: Keys::new(signing.credentials.clone(), &region),
                    region,
                })
            }
        };
        let ca_pem = settings.ca_pem.as_deref();
        let patience = settings.connect_timeout;
        Ok(Self {
            client: Client::new(endpoint.clone(), Bodies::OfOk, ca_pem, patience)?,
            endpoint,
            signer,
            settings,
        })
    }

    /// Asks within the time there is, and keeps the answer that came.
    async fn bounded(
        &self,
        question: &Question,
        seen: &mut Option<HttpAnswer>,
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Judged {
        let total = self.settings.total_timeout;
        let judged = self.judge(question, seen, headed);
        tokio::time::timeout(total, judged)
            .await
            .unwrap_or_else(|_| {
                let detail = format!("no complete answer within {} ms", total.as_millis());
                Err(Reason::Timeout.because(&detail))
            })
    }

    async fn judge(
        &self,
        question: &Question,
        seen: &mut Option<HttpAnswer>,
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Judged {
        let password = match &question.credential {
            Credential::Password(password) => Some(password.expose()),
            Credential::PublicKey => None,
        };
        let encoded_alone = password.is_some_and(|password| !request::header_carries(password));
        let answer = self.exchange(question, password, headed).await?;
        let judged = self.read(question, &answer, encoded_alone);
        *seen = Some(answer);
        if !encoded_alone {
            return judged;
        }
        let config = judged.map_err(hinted)?;
        self.make_sure_it_was_read(question).await?;
        Ok(config)
    }

    fn read(&self, question: &Question, answer: &HttpAnswer, encoded_alone: bool) -> Judged {
        let asked = Asked {
            username: &question.username,
            method: question.credential.method(),
            accept_keys_with_password: self.settings.accept_keys_with_password && !encoded_alone,
            path_homes: self.settings.path_homes,
            fs_ids: &self.settings.fs_ids,
            transport: Transport::Http,
            function_error: false,
        };
        wire::parse(asked, answer.status, &answer.body)
    }

    /// A function that does not know `PasswordBase64` takes a password that comes in it alone for
    /// a key look-up. Some answer look-ups with a `Role` and no key, which is harmless there and
    /// would let anybody in here: so the function has to answer a true look-up otherwise.
    async fn make_sure_it_was_read(&self, question: &Question) -> Result<(), Refusal> {
        let answer = self.exchange(question, None, &mut |_| {}).await?;
        let Err(refusal) = self.read(question, &answer, true) else {
            let detail = "the service allows the login with and without the password, which only \
                          PasswordBase64 can carry";
            return Err(Reason::PasswordNotRead.because(detail));
        };
        match refusal.verdict() {
            // What stands before the function may have refused, and that says nothing about it.
            Verdict::Denied if !refusal.reason.may_be_cached() => {
                let detail = format!("the status of the second request was {}", answer.status);
                Err(Reason::Status.because(&detail))
            }
            Verdict::Denied | Verdict::Invalid => Ok(()),
            Verdict::Unavailable => Err(refusal),
        }
    }

    /// Asks once; a question without a password may be asked once more.
    async fn exchange(
        &self,
        question: &Question,
        password: Option<&str>,
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Result<HttpAnswer, Refusal> {
        let path = self.path(question);
        let target = format!("{path}?{}", request::query(question.source_ip));
        let signature = match &self.signer {
            None => Vec::new(),
            Some(signer) => signer
                .headers(&self.endpoint, signed(&target))
                .await
                .map_err(|error| Reason::AwsCredentials.because(&chain(&*error)))?,
        };
        let headers = &self.settings.headers;
        let request = request::write(&self.endpoint, &target, password, headers, &signature);
        let again = password.is_none();
        self.client
            .send(&request, again, headed)
            .await
            .map_err(Failure::refusal)
    }

    fn path(&self, question: &Question) -> String {
        request::path(&self.endpoint, &self.settings.server_id, &question.username)
    }
}

#[async_trait]
impl IdentityProvider for ApiGateway {
    async fn ask(&self, question: &Question) -> Judged {
        self.bounded(question, &mut None, &mut |_| {}).await
    }
}

#[async_trait]
impl Examined for ApiGateway {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        let began = clock.now();
        let elapsed = || clock.now().saturating_duration_since(began);
        let (mut seen, mut head) = (None, None);
        let mut headed = |status| head = Some((status, elapsed()));
        let judged = self.bounded(question, &mut seen, &mut headed).await;
        Exchange {
            url: format!("{}{}", self.endpoint.origin(), self.path(question)),
            status: head.map(|(status, _)| status),
            body: seen.map_or_else(Vec::new, |answer| answer.body),
            judged,
            first_byte: head.map(|(_, after)| after),
            total: elapsed(),
        }
    }

    fn place(&self) -> Option<(String, u16)> {
        Some((self.endpoint.host.to_string(), self.endpoint.port))
    }
}

/// Says what else may be wrong than the password, where only one header had it.
fn hinted(refusal: Refusal) -> Refusal {
    match refusal.verdict() {
        Verdict::Denied | Verdict::Invalid => refusal.with_hint(
            "this password was only in the header PasswordBase64, since the header Password \
             cannot carry it: check that the function reads PasswordBase64",
        ),
        Verdict::Unavailable => refusal,
    }
}

/// Returns what is signed of a question: its place, its path and query; the password is not shown
/// to the signer.
const fn signed(target: &str) -> Unsigned<'_> {
    Unsigned {
        method: "GET",
        target,
        headers: &[],
        body: &[],
    }
}
