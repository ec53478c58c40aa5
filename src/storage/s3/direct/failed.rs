//! A call that brought nothing, before its error has the operation's own type.

use std::convert::Infallible;
use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::interceptors::context::Error;

/// Why a call brought nothing.
pub(super) enum Failed {
    Other(SdkError<Infallible, HttpResponse>),
    /// The store says so.
    Service(Error, HttpResponse, CaptureSmithyConnection),
}

impl Failed {
    /// Returns the same as the operation's own error.
    pub(super) fn typed<E>(self) -> SdkError<E, HttpResponse>
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let (error, response, connection) = match self {
            Self::Other(error) => return error.map_service_error(|never| match never {}),
            Self::Service(error, response, connection) => (error, response, connection),
        };
        let error = match error.downcast::<E>() {
            Ok(error) => error,
            Err(error) => return SdkError::response_error(error, response),
        };
        // As the SDK does: the server behind such a connection may be about to go.
        let status = response.status().as_u16();
        let passes = matches!(status, 500 | 502 | 503 | 504)
            || matches!(error.code(), Some("RequestTimeout" | "InternalError"));
        if let Some(connection) = connection.get().filter(|_| passes) {
            connection.poison();
        }
        SdkError::service_error(error, response)
    }
}
