//! The HTTP side: connections, faults and the request log around the protocol adapter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::dto::{Timestamp, TimestampFormat};
use s3s::service::S3Service;
use s3s::{Body, HttpError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::alteration::alter;
use crate::faults::{Action, CutShort, Faults};
use crate::region::Placements;
use crate::request_log::RequestLog;
use crate::{conditions, operation};

/// Everything the connections of one server share.
pub(crate) struct Shared {
    pub(crate) service: S3Service,
    pub(crate) faults: Faults,
    /// None unless the log was asked for.
    pub(crate) log: Option<RequestLog>,
    pub(crate) down: AtomicBool,
    /// Buckets in a region.
    pub(crate) placements: Placements,
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the server is set to be down")]
    Down,
    #[error("the answer is lost as scripted")]
    Lost,
    #[error("the request could not be served: {0:?}")]
    Failed(HttpError),
}

/// Accepts connections until `stop` is dropped or used, then closes them all.
#[expect(
    clippy::disallowed_methods,
    reason = "a connection of a server for tests has no span"
)]
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            accepted = listener.accept() => {
                // A failed accept concerns one client, or a shortage of descriptors that passes.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&shared)));
                } else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    // Without it an answer may wait for an acknowledgement; a failure costs only speed.
    stream.set_nodelay(true).unwrap_or_default();
    let serve = service_fn(|request| answer(Arc::clone(&shared), request));
    let connection = http1::Builder::new()
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), serve);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, NoAnswer> {
    if shared.down.load(Ordering::Relaxed) {
        return Err(NoAnswer::Down);
    }
    let (parts, body) = request.into_parts();
    let record = operation::describe(&parts);
    let method = parts.method.clone();
    let fault = shared.faults.strike(&record);
    let misplaced = shared.placements.refusal(&parts, &record);
    let number = shared.log.as_ref().map(|log| log.arrived(record));
    let request = Request::from_parts(parts, Body::from(body));

    if let Some(refusal) = misplaced {
        request.into_body().collect().await.ok();
        if let (Some(log), Some(number)) = (&shared.log, number) {
            log.answered(number, refusal.status().as_u16(), 0);
        }
        return Ok(refusal);
    }

    let serve = async |request| shared.service.call(request).await.map_err(NoAnswer::Failed);
    let response = match fault {
        None => serve(request).await,
        Some((Action::Status(status, code), _)) => {
            // Read to the end, so that the client is there to hear the refusal.
            request.into_body().collect().await.ok();
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(refusal(status, &code))
        }
        Some((Action::RetryAfter(seconds), _)) => {
            request.into_body().collect().await.ok();
            let mut refusal = refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
            refusal.headers_mut().insert(RETRY_AFTER, seconds.into());
            Ok(refusal)
        }
        Some((Action::ClockAhead(seconds), _)) => {
            request.into_body().collect().await.ok();
            let mut refusal = refusal(StatusCode::FORBIDDEN, "RequestTimeTooSkewed");
            refusal.headers_mut().extend(date_in(seconds));
            Ok(refusal)
        }
        Some((Action::ErrorIn200, _)) => {
            request.into_body().collect().await.ok();
            Ok(refusal(StatusCode::OK, "InternalError"))
        }
        Some((Action::Delay(delay), _)) => {
            tokio::time::sleep(delay).await;
            serve(request).await
        }
        Some((Action::Hang, mut cleared)) => {
            cleared.changed().await.ok();
            serve(request).await
        }
        Some((Action::CutBody { after }, _)) => serve(request).await.map(|response| {
            response.map(|body| Body::http_body_unsync(CutShort::new(body, after)))
        }),
        Some((Action::Alter(alterations), _)) => match serve(request).await {
            Ok(response) => Ok(alter(response, &method, &alterations).await),
            Err(error) => Err(error),
        },
        Some((Action::LoseAnswer, _)) => serve(request).await.and(Err(NoAnswer::Lost)),
    }?;
    if let (Some(log), Some(number)) = (&shared.log, number) {
        log.answered(number, response.status().as_u16(), announced(&response));
    }
    Ok(response)
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>Scripted fault.</Message></Error>"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Returns the date of so many seconds from now.
fn date_in(seconds: u64) -> Option<(HeaderName, HeaderValue)> {
    let time = Timestamp::from(conditions::now() + Duration::from_secs(seconds));
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    Some((DATE, HeaderValue::from_bytes(&text).ok()?))
}

fn announced(response: &Response<Body>) -> u64 {
    let header = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = header.and_then(|value| value.parse().ok());
    announced
        .or_else(|| response.body().size_hint().exact())
        .unwrap_or(0)
}

/// How long a failed accept waits, lest a lasting shortage keeps a core busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Large reads make few and large frames.
const READ_BUFFER_BYTES_MAX: usize = 1 << 20;
