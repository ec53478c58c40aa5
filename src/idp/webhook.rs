//! The webhook provider: one POST per question.
//!
//! A question with a password goes out at most once. Two layers could repeat it: reqwest's retry
//! policy, which is off here, and hyper-util's pool, which repeats a request only when its
//! connection was found closed before it took the request, that is, before a byte was written.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect, retry};
use serde::Serialize;
use zeroize::Zeroizing;

use super::failure::{chain, unavailable};
use super::wire::{self, Asked, Transport};
use super::{
    AuthMethod, Credential, Examined, Exchange, IdentityProvider, IdpError, Question, Verdict,
    endpoint,
};
use crate::clock::Clock;
use crate::limits;
use crate::secret::Secret;

/// Shorter than what servers commonly allow (Node's 5 s is the shortest), since a question sent on
/// a connection that the server is about to close is lost and must not be repeated.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The keys of the question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Event {
    /// Our own contract.
    #[default]
    Plain,
    /// Exactly the five keys of Transfer Family's event.
    TransferFamily,
}

/// What the operator set.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    pub url: String,
    pub server_id: Box<str>,
    pub event: Event,
    /// Sent with every question, such as `Authorization`.
    pub headers: Vec<(String, Secret)>,
    pub connect_timeout: Duration,
    /// From the first byte out to the last byte in, whatever the server does in between.
    pub total_timeout: Duration,
    /// The only roots to trust, instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Lets passwords travel over `http://` to other hosts.
    pub plaintext: bool,
    /// Takes a password answer that lists keys.
    pub accept_keys_with_password: bool,
    /// Adds `sessionId` to the plain question.
    pub send_session_id: bool,
}

impl WebhookSettings {
    /// Returns the defaults for a URL.
    #[must_use]
    pub fn new(url: &str, server_id: &str) -> Self {
        Self {
            url: url.to_owned(),
            server_id: server_id.into(),
            event: Event::Plain,
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(8),
            ca_pem: None,
            plaintext: false,
            accept_keys_with_password: false,
            send_session_id: false,
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
    #[error("the webhook's url must not carry credentials: put them into a header")]
    Credentials,
    #[error(
        "passwords would travel in clear text to {0}: use https://, or set `plaintext = true` if \
         the way there is protected by other means"
    )]
    Plaintext(String),
    #[error("{0:?} is not a header that can be sent")]
    Header(String),
    #[error("the webhook's certificates: {0}")]
    Certificates(#[source] reqwest::Error),
    #[error("the webhook's certificates: no PEM block `CERTIFICATE` found")]
    NoCertificate,
    #[error("the webhook's client: {0}")]
    Client(#[source] reqwest::Error),
}

/// Asks an HTTP endpoint.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    url: Url,
    headers: HeaderMap,
    settings: WebhookSettings,
}

impl Webhook {
    /// Checks the settings and prepares the client; nothing is sent yet.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(settings: WebhookSettings) -> Result<Self, WebhookSettingsError> {
        let url = endpoint(&settings)?;
        let headers = headers(&settings.headers)?;
        let mut client = Client::builder()
            .http1_only()
            .retry(retry::never())
            .redirect(redirect::Policy::none())
            // A proxy taken silently from the environment would see the passwords.
            .no_proxy()
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT);
        if let Some(pem) = &settings.ca_pem {
            let roots =
                Certificate::from_pem_bundle(pem).map_err(WebhookSettingsError::Certificates)?;
            // To trust nobody is surely not what was meant.
            if roots.is_empty() {
                return Err(WebhookSettingsError::NoCertificate);
            }
            client = client.tls_certs_only(roots);
        } else if url.scheme() == "http" {
            // Nobody is to be trusted, so a machine without certificate authorities will do.
            client = client.tls_certs_only([]);
        }
        Ok(Self {
            client: client.build().map_err(WebhookSettingsError::Client)?,
            url,
            headers,
            settings,
        })
    }

    /// Asks once, within the time there is; `headed` hears of the status before the body comes.
    async fn bounded(
        &self,
        question: &Question,
        body: &mut Vec<u8>,
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Result<Verdict, IdpError> {
        let total = self.settings.total_timeout;
        let exchange = self.exchange(question, body, headed);
        tokio::time::timeout(total, exchange)
            .await
            .unwrap_or_else(|_| {
                let detail = format!("no complete answer within {} ms", total.as_millis());
                Err(unavailable("timeout", &detail))
            })
    }

    async fn exchange(
        &self,
        question: &Question,
        body: &mut Vec<u8>,
        headed: &mut (dyn FnMut(u16) + Send),
    ) -> Result<Verdict, IdpError> {
        let mut response = self.send(question).await?;
        let status = response.status();
        headed(status.as_u16());
        if status == StatusCode::OK {
            read_body(&mut response, body).await?;
        }
        let asked = Asked {
            username: &question.username,
            method: question.credential.method(),
            accept_keys_with_password: self.settings.accept_keys_with_password,
            transport: Transport::Http,
            function_error: false,
        };
        wire::parse(asked, status.as_u16(), body)
    }

    async fn send(&self, question: &Question) -> Result<Response, IdpError> {
        let body = self.body(question).map_err(|error| transport(&error))?;
        match self.post(body.clone()).await {
            Ok(response) => Ok(response),
            // The server closed the connection while the question was on its way. Only a look-up
            // may be asked again: a repeated password could lock its user out.
            Err(error)
                if question.credential.method() == AuthMethod::PublicKey
                    && !error.is_timeout()
                    && !error.is_connect() =>
            {
                self.post(body).await.map_err(failure)
            }
            Err(error) => Err(failure(error)),
        }
    }

    async fn post(&self, body: Bytes) -> Result<Response, reqwest::Error> {
        let request = self.client.post(self.url.clone());
        request
            .headers(self.headers.clone())
            .body(body)
            .send()
            .await
    }

    /// Writes the question into memory that is wiped when the last copy is dropped. hyper's own
    /// buffer is out of reach.
    fn body(&self, question: &Question) -> io::Result<Bytes> {
        let (method, password) = match &question.credential {
            Credential::Password(password) => ("password", Some(password.expose())),
            Credential::PublicKey => ("public-key", None),
        };
        let settings = &self.settings;
        let plain = settings.event == Event::Plain;
        let body = Body {
            contract: plain.then_some(1),
            request_id: plain.then_some(&*question.request_id),
            method: plain.then_some(method),
            session_id: (plain && settings.send_session_id).then_some(&*question.session_id),
            username: &question.username,
            // Handlers for Transfer Family tell a key look-up by the blank password.
            password: if plain {
                password
            } else {
                password.or(Some(""))
            },
            protocol: "SFTP",
            server_id: &settings.server_id,
            source_ip: question.source_ip.to_canonical(),
        };
        // Large enough not to grow: growing would leave a copy behind.
        let escaped = |text: &str| text.len().saturating_mul(6);
        let room = escaped(&question.username)
            .saturating_add(password.map_or(0, escaped))
            .saturating_add(escaped(&settings.server_id))
            .saturating_add(escaped(&question.session_id))
            .saturating_add(escaped(&question.request_id))
            .saturating_add(512);
        let mut text = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *text, &body)?;
        Ok(Bytes::from_owner(text))
    }
}

#[async_trait]
impl IdentityProvider for Webhook {
    async fn ask(&self, question: &Question) -> Result<Verdict, IdpError> {
        self.bounded(question, &mut Vec::new(), &mut |_| {}).await
    }
}

#[async_trait]
impl Examined for Webhook {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        let began = clock.now();
        let elapsed = || clock.now().saturating_duration_since(began);
        let (mut body, mut head) = (Vec::new(), None);
        let mut headed = |status| head = Some((status, elapsed()));
        let judged = self.bounded(question, &mut body, &mut headed).await;
        Exchange {
            // The path and the query may carry a key.
            url: self.url.origin().ascii_serialization(),
            status: head.map(|(status, _)| status),
            body,
            judged,
            first_byte: head.map(|(_, after)| after),
            total: elapsed(),
        }
    }

    fn place(&self) -> Option<(String, u16)> {
        let host = self.url.host_str()?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), self.url.port_or_known_default()?))
    }
}

/// The question on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    contract: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    protocol: &'static str,
    server_id: &'a str,
    source_ip: IpAddr,
}

fn endpoint(settings: &WebhookSettings) -> Result<Url, WebhookSettingsError> {
    let url =
        Url::parse(&settings.url).map_err(|error| WebhookSettingsError::Url(error.to_string()))?;
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

fn may_carry(url: &Url, plaintext: bool) -> bool {
    let host = url.host_str().unwrap_or_default();
    endpoint::may_carry_passwords(false, host, plaintext)
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
async fn read_body(response: &mut Response, body: &mut Vec<u8>) -> Result<(), IdpError> {
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len().saturating_add(chunk.len()) > limits::ANSWER_BYTES_MAX {
            let detail = format!("the body is longer than {} bytes", limits::ANSWER_BYTES_MAX);
            return Err(unavailable("answer-too-large", &detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
}

/// Explains a failed exchange without the URL, whose query may hold a secret.
fn failure(error: reqwest::Error) -> IdpError {
    let error = error.without_url();
    if error.is_timeout() {
        unavailable("timeout", &chain(&error))
    } else if error.is_connect() {
        unavailable("connect", &chain(&error))
    } else {
        transport(&error)
    }
}

fn transport(error: &(dyn Error + 'static)) -> IdpError {
    unavailable("transport", &chain(error))
}

#[cfg(test)]
mod tests;
