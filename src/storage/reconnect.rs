//! Connections to S3 that died while nobody used them.
//!
//! A connection whose path has died says nothing: a call that is sent over it waits for its whole
//! time-out. So what a call is sent over depends on what becomes of it if there is no answer:
//!
//! - A read may take what was used a while ago. If no answer has begun soon, it is sent again over
//!   another connection, and the first answer counts.
//! - Everything else takes what was in use a moment ago, or a new connection: a change whose
//!   connection dies has an unknown outcome, and a part has minutes.
//! - Reads and parts whose connection the store closes are sent again at once.
//!
//! Only connections that have answered before are suspected. A store that is slow on a new one is
//! slow, and is not asked twice.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::{ConfigBag, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock::{Clock as _, SystemClock};
use crate::limits;
use crate::seldom::Seldom;

/// An HTTP client that does not wait for dead connections.
#[derive(Debug)]
pub(super) struct Reconnecting {
    /// Keeps connections for as long as reads may use them.
    lasting: SharedHttpClient,
    /// Keeps them only for a moment.
    recent: SharedHttpClient,
    known: Arc<Known>,
}

impl Reconnecting {
    /// Puts two clients together, which keep idle connections for
    /// [`limits::S3_CONNECTION_IDLE`] and for [`limits::S3_CONNECTION_RECENT`].
    pub(super) fn between(lasting: SharedHttpClient, recent: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Self {
            lasting,
            recent,
            known: Arc::new(Known::default()),
        })
    }
}

impl HttpClient for Reconnecting {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            lasting: self.lasting.http_connector(settings, components),
            recent: self.recent.http_connector(settings, components),
            known: Arc::clone(&self.known),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.lasting.validate_base_client_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.lasting.connector_metadata()
    }
}

#[derive(Debug, Clone)]
struct Connector {
    lasting: SharedHttpConnector,
    recent: SharedHttpConnector,
    known: Arc<Known>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            match Repeat::of(request.method(), request.uri()) {
                Repeat::Always => connector.read(request).await,
                Repeat::IfClosed => connector.part(request).await,
                Repeat::Never => {
                    let (sent, connection) = send(&connector.recent, request);
                    connector.known.noted(sent.await, &connection)
                }
            }
        })
    }
}

impl Connector {
    async fn read(&self, request: HttpRequest) -> Outcome {
        let again = request.try_clone();
        let (sent, connection) = send(&self.lasting, request);
        let mut sent = pin!(sent);
        let begun = timeout(limits::S3_SILENCE_MAX, &mut sent).await;
        match (begun, again) {
            (Ok(outcome), Some(again)) => self.unless_closed(outcome, &connection, again).await,
            (Err(_silent), Some(again)) if self.known.has_answered(&connection) => {
                let Ok(_place) = self.known.repeats.try_acquire() else {
                    return sent.await;
                };
                self.known.log("no answer");
                let (repeated, other) = send(&self.recent, again);
                let mut repeated = pin!(repeated);
                tokio::select! {
                    outcome = &mut sent => match outcome {
                        Ok(_) => self.known.noted(outcome, &connection),
                        Err(_dead) => self.known.noted(repeated.await, &other),
                    },
                    outcome = &mut repeated => match outcome {
                        Ok(_) => self.known.noted(outcome, &other),
                        Err(_) => self.known.noted(sent.await, &connection),
                    },
                }
            }
            (Ok(outcome), None) => self.known.noted(outcome, &connection),
            (Err(_silent), _) => self.known.noted(sent.await, &connection),
        }
    }

    async fn part(&self, request: HttpRequest) -> Outcome {
        let again = request.try_clone();
        let (sent, connection) = send(&self.recent, request);
        let outcome = sent.await;
        match again {
            Some(again) => self.unless_closed(outcome, &connection, again).await,
            None => self.known.noted(outcome, &connection),
        }
    }

    /// Sends a request again whose connection was closed before an answer came.
    async fn unless_closed(
        &self,
        outcome: Outcome,
        connection: &CaptureSmithyConnection,
        again: HttpRequest,
    ) -> Outcome {
        match outcome {
            Err(error) if !error.is_timeout() && self.known.has_answered(connection) => {
                let Ok(_place) = self.known.repeats.try_acquire() else {
                    return Err(error);
                };
                self.known.log("closed");
                let (repeated, other) = send(&self.recent, again);
                self.known.noted(repeated.await, &other)
            }
            outcome => self.known.noted(outcome, connection),
        }
    }
}

type Outcome = Result<HttpResponse, ConnectorError>;

/// Sends a request, and returns besides what will tell the connection that it is sent over.
fn send(
    connector: &SharedHttpConnector,
    mut request: HttpRequest,
) -> (HttpConnectorFuture, CaptureSmithyConnection) {
    let captured = request.extension::<CaptureSmithyConnection>().cloned();
    let connection = captured.unwrap_or_else(|| {
        let connection = CaptureSmithyConnection::new();
        request.add_extension(connection.clone());
        connection
    });
    (connector.call(request), connection)
}

/// When a request may be sent twice.
#[derive(Debug, PartialEq, Eq)]
enum Repeat {
    Always,
    /// It carries much, or has the store do much; so not while the first may still be at work.
    IfClosed,
    Never,
}

impl Repeat {
    fn of(method: &str, uri: &str) -> Self {
        match method {
            "GET" | "HEAD" => Self::Always,
            "PUT" if names_a_part(uri) => Self::IfClosed,
            _ => Self::Never,
        }
    }
}

fn names_a_part(uri: &str) -> bool {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let mut fields = query.split('&');
    fields.any(|field| field.starts_with("partNumber="))
}

/// The connections that have answered.
#[derive(Debug)]
struct Known {
    /// By their own end. One that is forgotten is taken for new.
    answered: Mutex<HashSet<SocketAddr>>,
    /// Requests that are on their way twice.
    repeats: Semaphore,
    line: Seldom,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            answered: Mutex::default(),
            repeats: Semaphore::new(limits::S3_SENT_TWICE_MAX),
            line: Seldom::default(),
        }
    }
}

impl Known {
    fn has_answered(&self, connection: &CaptureSmithyConnection) -> bool {
        let answered = self.answered.lock();
        let answered = answered.unwrap_or_else(PoisonError::into_inner);
        own_end(connection).is_some_and(|address| answered.contains(&address))
    }

    /// Remembers a connection if it answered, and forgets it if it did not.
    fn noted(&self, outcome: Outcome, connection: &CaptureSmithyConnection) -> Outcome {
        if let Some(address) = own_end(connection) {
            let answered = self.answered.lock();
            let mut answered = answered.unwrap_or_else(PoisonError::into_inner);
            if outcome.is_err() {
                answered.remove(&address);
            } else {
                if answered.len() >= limits::S3_CONNECTIONS_KNOWN_MAX {
                    answered.clear();
                }
                answered.insert(address);
            }
        }
        outcome
    }

    fn log(&self, found: &str) {
        if let Some(unlogged) = self.line.due(SystemClock.now(), limits::LOG_INTERVAL) {
            tracing::info!(
                found,
                unlogged,
                "a connection to S3 was dead: the request is retried over another"
            );
        }
    }
}

fn own_end(connection: &CaptureSmithyConnection) -> Option<SocketAddr> {
    connection.get()?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_nothing_or_one_part_is_sent_twice() {
        let rows = [
            ("GET", "/k", Repeat::Always),
            ("GET", "/?list-type=2", Repeat::Always),
            ("HEAD", "/k", Repeat::Always),
            ("PUT", "/k?partNumber=3&uploadId=u", Repeat::IfClosed),
            ("PUT", "/k?x-id=UploadPart&partNumber=3", Repeat::IfClosed),
            ("PUT", "/k?x-id=PutObject", Repeat::Never),
            ("PUT", "/k", Repeat::Never),
            ("PUT", "/partNumber=3", Repeat::Never),
            ("PUT", "/a%3F&partNumber=3?x-id=PutObject", Repeat::Never),
            ("POST", "/k?uploads", Repeat::Never),
            ("POST", "/k?uploadId=u", Repeat::Never),
            ("DELETE", "/k", Repeat::Never),
            ("DELETE", "/k?uploadId=u", Repeat::Never),
        ];
        for (method, uri, expected) in rows {
            assert_eq!(Repeat::of(method, uri), expected, "{method} {uri}");
        }
    }
}
