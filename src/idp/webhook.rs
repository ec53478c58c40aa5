//! The webhook provider: one POST per question.
//!
//! A question with a password goes out at most once. Two layers could repeat it: reqwest's retry
//! policy, which is off here, and hyper-util's pool, which repeats a request only when its
//! connection was found closed before it took the request, that is, before a byte was written.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use zeroize::Zeroizing;

pub use self::client::ClientError;
use self::client::{ClientSettings, encoding};
use self::reach::Reach;
use super::signature::{self, Signing};
use super::wire::{self, Asked, Transport};
use super::{
    AuthMethod, Examined, Exchange, IdentityProvider, Judged, PathHomes, Question, UserConfig,
};
use crate::causes::chain;
use crate::clock::{Clock, SystemClock};
use crate::endpoint::{may_carry_passwords, without_brackets};
use crate::limits;
use crate::refusal::{Reason, Refusal, Verdict};
use crate::secret::Secret;

mod body;
pub(super) mod client;
mod reach;

/// The keys of the question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Event {
    /// Our own contract.
    #[default]
    Plain,
    /// Exactly the five keys of Transfer Family's event.
    TransferFamily,
}

/// What stands for the password in Transfer Family's event where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LookUpPassword {
    #[default]
    Empty,
    Absent,
}

/// What the operator set.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    pub url: String,
    /// Asked in order when `url` cannot be reached.
    pub more_urls: Vec<String>,
    pub server_id: Box<str>,
    pub event: Event,
    /// Sent with every question, such as `Authorization`.
    pub headers: Vec<(String, Secret)>,
    pub connect_timeout: Duration,
    /// From the first byte out to the last byte in, whatever the server does in between.
    pub total_timeout: Duration,
    /// The only roots to trust, instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The gateway's own certificate and its private key, in PEM.
    pub identity_pem: Option<Secret>,
    pub signing: Option<Signing>,
    pub hmac_secret: Option<Secret>,
    /// Signs as well, while it replaces the other one.
    pub hmac_secret_next: Option<Secret>,
    /// Lets passwords travel over `http://` to other hosts.
    pub plaintext: bool,
    /// Takes a password answer that lists keys.
    pub accept_keys_with_password: bool,
    pub path_homes: PathHomes,
    /// File systems that are served, by their ids.
    pub fs_ids: Arc<[Box<str>]>,
    /// Adds `sessionId` to the plain question.
    pub send_session_id: bool,
    pub look_up_password: LookUpPassword,
}

impl WebhookSettings {
    /// Returns the defaults for a URL.
    #[must_use]
    pub fn new(url: &str, server_id: &str) -> Self {
        Self {
            url: url.to_owned(),
            more_urls: Vec::new(),
            server_id: server_id.into(),
            event: Event::Plain,
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(8),
            ca_pem: None,
            identity_pem: None,
            signing: None,
            hmac_secret: None,
            hmac_secret_next: None,
            plaintext: false,
            accept_keys_with_password: false,
            path_homes: PathHomes::default(),
            fs_ids: Arc::default(),
            send_session_id: false,
            look_up_password: LookUpPassword::default(),
        }
    }
}

/// Says which setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookSettingsError {
    #[error("the webhook's url is not a URL: {0}")]
    Url(String),
    #[error("the webhook's url must begin with https:// or http://, found {0:?}")]
    Scheme(String),
    #[error("the webhook's url must not contain credentials: put them into a header")]
    Credentials,
    #[error(
        "passwords would be sent to {0} unencrypted: use https://, or set `plaintext = true` if \
         the connection is protected by other means"
    )]
    Plaintext(String),
    #[error("{0:?} is not a header that can be sent")]
    Header(String),
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Asks an HTTP endpoint.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    /// At least one.
    urls: Vec<Url>,
    reach: Mutex<Reach>,
    headers: HeaderMap,
    settings: WebhookSettings,
    clock: Arc<dyn Clock>,
}

/// What is seen of a question that is under way.
struct Watch<'w> {
    body: Vec<u8>,
    /// Hears of the place of the URL that answered and of the status, before the body comes.
    headed: &'w mut (dyn FnMut(usize, u16) + Send),
}

/// A question that one URL did not answer.
struct Miss {
    refusal: Refusal,
    /// There was no connection, so nothing was sent.
    unsent: bool,
}

impl Webhook {
    /// Checks the settings and prepares the client; nothing is sent yet.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(settings: WebhookSettings) -> Result<Self, WebhookSettingsError> {
        let urls = std::iter::once(&settings.url).chain(&settings.more_urls);
        let urls: Vec<Url> = urls
            .map(|url| endpoint(url, &settings))
            .collect::<Result<_, _>>()?;
        let headers = headers(&settings.headers)?;
        let client = client::client(&ClientSettings {
            connect_timeout: settings.connect_timeout,
            ca_pem: settings.ca_pem.as_deref(),
            identity_pem: settings.identity_pem.as_ref(),
            encrypted: urls.iter().any(|url| url.scheme() == "https"),
        })?;
        Ok(Self {
            client,
            reach: Mutex::new(Reach::new(urls.len())),
            urls,
            headers,
            settings,
            clock: Arc::new(SystemClock),
        })
    }

    /// Takes another clock, for the times of signatures and of URLs that are out of reach.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Asks once, within the time there is.
    async fn bounded(&self, question: &Question, watch: &mut Watch<'_>) -> Judged {
        let total = self.settings.total_timeout;
        let late = || {
            let detail = format!("no complete answer within {} ms", total.as_millis());
            Reason::Timeout.because(&detail)
        };
        let deadline = tokio::time::Instant::now() + total;
        let order = self.reach().order(self.clock.now());
        let may_repeat = question.credential.method() == AuthMethod::PublicKey;
        let mut left = u32::try_from(order.len()).unwrap_or(u32::MAX);
        let mut failed = None;
        for at in order {
            watch.body.clear();
            let remaining = deadline.saturating_duration_since(tokio::time::Instant::now());
            // One that may be asked elsewhere leaves time for it.
            let share = if may_repeat {
                remaining.checked_div(left).unwrap_or(remaining)
            } else {
                remaining
            };
            left = left.saturating_sub(1);
            let asked = tokio::time::timeout(share, self.ask_at(at, question, watch)).await;
            let miss = match asked {
                Ok(Ok(config)) => return Ok(config),
                Ok(Err(miss)) => miss,
                Err(_) => Miss {
                    refusal: late(),
                    unsent: false,
                },
            };
            if miss.unsent {
                self.reach().note(at, false, self.clock.now());
            }
            // A password goes to another server only if this one cannot have seen it.
            let unanswered = miss.refusal.verdict() == Verdict::Unavailable;
            if !(miss.unsent || may_repeat && unanswered) {
                return Err(miss.refusal);
            }
            failed = Some(miss.refusal);
        }
        Err(failed.unwrap_or_else(late))
    }

    async fn ask_at(
        &self,
        at: usize,
        question: &Question,
        watch: &mut Watch<'_>,
    ) -> Result<Arc<UserConfig>, Miss> {
        let sent = |refusal| Miss {
            refusal,
            unsent: false,
        };
        let mut response = self.send(at, question).await?;
        self.reach().note(at, true, self.clock.now());
        let status = response.status();
        (watch.headed)(at, status.as_u16());
        if status == StatusCode::OK {
            if let Some(how) = encoding(&response) {
                return Err(sent(wire::encoded(&how)));
            }
            let read = read_body(&mut response, &mut watch.body).await;
            read.map_err(sent)?;
        }
        let asked = Asked {
            username: &question.username,
            method: question.credential.method(),
            accept_keys_with_password: self.settings.accept_keys_with_password,
            path_homes: self.settings.path_homes,
            fs_ids: &self.settings.fs_ids,
            transport: Transport::Http,
            function_error: false,
        };
        wire::parse(asked, status.as_u16(), &watch.body).map_err(sent)
    }

    async fn send(&self, at: usize, question: &Question) -> Result<Response, Miss> {
        let url = self.urls.get(at).expect("the order names URLs there are");
        let body = body::body(question, &self.settings).map_err(|error| Miss {
            refusal: transport(&error),
            unsent: true,
        })?;
        let headers = self.signed(url, question, &body)?;
        let miss = |error: reqwest::Error| Miss {
            unsent: error.is_connect(),
            refusal: failure(error),
        };
        match self.post(url, headers.clone(), body.clone()).await {
            Ok(response) => Ok(response),
            // The server closed the connection while the question was on its way. Only a look-up
            // may be asked again: a repeated password could lock its user out.
            Err(error)
                if question.credential.method() == AuthMethod::PublicKey
                    && !error.is_timeout()
                    && !error.is_connect() =>
            {
                self.post(url, headers, body).await.map_err(miss)
            }
            Err(error) => Err(miss(error)),
        }
    }

    /// Adds to the headers what proves that the question is the gateway's.
    fn signed(&self, url: &Url, question: &Question, body: &[u8]) -> Result<HeaderMap, Miss> {
        let mut headers = self.headers.clone();
        let now = self.clock.wall();
        let mut insert = |name: HeaderName, text: &str| {
            // What is made of base64 and digits always fits.
            let mut value = HeaderValue::from_str(text).expect("a signature is one line of ASCII");
            value.set_sensitive(true);
            headers.insert(name, value);
        };
        if let Some(signing) = &self.settings.signing {
            let origin = url.origin().ascii_serialization();
            let token = signing.token(&origin, &question.request_id, body, now);
            let token = token.map_err(|error| Miss {
                refusal: Reason::Signing.because(&error.to_string()),
                unsent: false,
            })?;
            let value = Zeroizing::new(format!("Bearer {}", token.expose()));
            insert(AUTHORIZATION, &value);
        }
        if let Some(secret) = &self.settings.hmac_secret {
            insert(SIGNATURE, &signature::hmac(secret, body, now));
        }
        if let Some(secret) = &self.settings.hmac_secret_next {
            insert(SIGNATURE_NEXT, &signature::hmac(secret, body, now));
        }
        Ok(headers)
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, reqwest::Error> {
        let request = self.client.post(url.clone());
        request.headers(headers).body(body).send().await
    }
}

#[async_trait]
impl IdentityProvider for Webhook {
    async fn ask(&self, question: &Question) -> Judged {
        let mut watch = Watch {
            body: Vec::new(),
            headed: &mut |_, _| {},
        };
        self.bounded(question, &mut watch).await
    }
}

#[async_trait]
impl Examined for Webhook {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        let began = clock.now();
        let elapsed = || clock.now().saturating_duration_since(began);
        let mut head = None;
        let mut headed = |at, status| head = Some((at, status, elapsed()));
        let mut watch = Watch {
            body: Vec::new(),
            headed: &mut headed,
        };
        let judged = self.bounded(question, &mut watch).await;
        let body = watch.body;
        let url = self.urls.get(head.map_or(0, |(at, ..)| at));
        Exchange {
            // The path and the query may carry a key.
            url: url.map_or_else(String::new, |url| url.origin().ascii_serialization()),
            status: head.map(|(_, status, _)| status),
            body,
            judged,
            first_byte: head.map(|(.., after)| after),
            total: elapsed(),
        }
    }

    fn place(&self) -> Option<(String, u16)> {
        let url = self.urls.first()?;
        let host = url.host_str()?;
        Some((
            without_brackets(host).to_owned(),
            url.port_or_known_default()?,
        ))
    }
}

/// Where the HMAC of a question stands.
const SIGNATURE: HeaderName = HeaderName::from_static("x-portcullis-signature");
const SIGNATURE_NEXT: HeaderName = HeaderName::from_static("x-portcullis-signature-next");

fn endpoint(text: &str, settings: &WebhookSettings) -> Result<Url, WebhookSettingsError> {
    let url = Url::parse(text).map_err(|error| WebhookSettingsError::Url(error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(WebhookSettingsError::Credentials);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if may_carry(&url, settings.plaintext) => Ok(url),
        "http" => {
            let host = url.host_str().unwrap_or_default().to_owned();
            Err(WebhookSettingsError::Plaintext(host))
        }
        other => Err(WebhookSettingsError::Scheme(other.to_owned())),
    }
}

pub(super) fn may_carry(url: &Url, plaintext: bool) -> bool {
    let host = url.host_str().unwrap_or_default();
    may_carry_passwords(false, host, plaintext)
}

fn headers(extra: &[(String, Secret)]) -> Result<HeaderMap, WebhookSettingsError> {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, json.clone());
    headers.insert(ACCEPT, json);
    for (name, value) in extra {
        let bad = || WebhookSettingsError::Header(name.clone());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// Reads an answer of bounded length, whatever its `Content-Length` says.
async fn read_body(response: &mut Response, body: &mut Vec<u8>) -> Result<(), Refusal> {
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len().saturating_add(chunk.len()) > limits::ANSWER_BYTES_MAX {
            let detail = format!("the body is longer than {} bytes", limits::ANSWER_BYTES_MAX);
            return Err(Reason::AnswerTooLarge.because(&detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
}

/// Explains a failed exchange without the URL, whose query may hold a secret.
fn failure(error: reqwest::Error) -> Refusal {
    let error = error.without_url();
    let reason = match (error.is_connect(), error.is_timeout()) {
        (true, true) => Reason::ConnectTimeout,
        (true, false) => Reason::Connect,
        (false, true) => Reason::Timeout,
        (false, false) => Reason::Transport,
    };
    reason.because(&chain(&error))
}

fn transport(error: &(dyn Error + 'static)) -> Refusal {
    Reason::Transport.because(&chain(error))
}

#[cfg(test)]
mod tests;
