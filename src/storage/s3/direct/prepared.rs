//! What the SDK prepared for one kind of call of one bucket.

use std::time::SystemTime;

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::{ConfigBag, FrozenLayer};
use aws_sdk_s3::error::{BoxError, SdkError};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat, SdkBody};
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::interceptors::context::{Error, Input, Output};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::ser_de::{
    DeserializeResponse as _, SerializeRequest as _, SharedRequestSerializer,
    SharedResponseDeserializer,
};
use http_body_util::BodyExt as _;

use super::failed::Failed;
use super::sign::Scope;
use crate::causes::chain;
use crate::storage::Operation;
use crate::storage::s3::whole::{refuse_cut, refuse_part};

/// Clones nothing: one serves all calls of its kind.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) operation: Operation,
    /// The SDK's serializer and deserializer.
    pub(super) codec: FrozenLayer,
    /// The endpoint's URL, without a slash at its end.
    pub(super) base: Box<str>,
    /// Headers that are signed.
    pub(super) signed: Vec<(&'static str, String)>,
    /// Of headers that are not signed: those with a number for each call, and those that stay.
    pub(super) numbered: Option<&'static str>,
    pub(super) unsigned: Vec<(&'static str, String)>,
    pub(super) scope: Scope,
    pub(super) connector: SharedHttpConnector,
    /// What the SDK's parts ask for: how long credentials may take.
    pub(super) bag: ConfigBag,
}

impl Prepared {
    /// Writes a request that is not signed yet.
    pub(super) fn request(&self, input: Input) -> Result<HttpRequest, BoxError> {
        let serializer = self.codec.load::<SharedRequestSerializer>();
        let serializer = serializer.ok_or(NoCodec)?;
        let mut request = serializer.serialize_input(input, &mut ConfigBag::base())?;
        let uri = [&*self.base, request.uri()].concat();
        request.set_uri(uri)?;
        add(&self.signed, &mut request)?;
        Ok(request)
    }

    pub(super) fn sign(
        &self,
        request: &mut HttpRequest,
        identity: &Identity,
        at: SystemTime,
    ) -> Result<(), BoxError> {
        self.scope.sign(request, identity, at)?;
        add(&self.unsigned, request)
    }

    /// Adds the header that tells this call from others.
    pub(super) fn number(&self, request: &mut HttpRequest, number: impl FnOnce() -> String) {
        if let Some(name) = self.numbered {
            // It was not there before.
            let _was = request.headers_mut().try_insert(name, number());
        }
    }

    /// Reads an answer; of a GET that succeeded, its head.
    pub(super) async fn read(
        &self,
        mut response: HttpResponse,
        connection: CaptureSmithyConnection,
    ) -> Result<Output, Failed> {
        let name = self.operation.name();
        if let Err(error) = refuse_part(name, &response) {
            return Err(Failed::Other(SdkError::response_error(error, response)));
        }
        if matches!(self.operation, Operation::Get | Operation::Head) {
            keep_expires(&mut response);
        }
        let Some(deserializer) = self.codec.load::<SharedResponseDeserializer>() else {
            return Err(Failed::Other(SdkError::response_error(NoCodec, response)));
        };
        let streamed = deserializer.deserialize_streaming_with_config(&mut response, &self.bag);
        let outcome = if let Some(outcome) = streamed {
            outcome
        } else {
            match response.take_body().collect().await {
                Ok(body) => *response.body_mut() = SdkBody::from(body.to_bytes()),
                Err(error) => {
                    // As the SDK does.
                    if let Some(connection) = connection.get() {
                        connection.poison();
                    }
                    return Err(Failed::Other(SdkError::response_error(error, response)));
                }
            }
            deserializer.deserialize_nonstreaming_with_config(&response, &self.bag)
        };
        match outcome {
            Ok(output) => match refuse_cut(name, &response) {
                Ok(()) => Ok(output),
                Err(error) => Err(Failed::Other(SdkError::response_error(error, response))),
            },
            Err(error) => Err(failed(error, response, connection)),
        }
    }
}

/// The draft has seen to it that this does not occur.
#[derive(Debug, thiserror::Error)]
#[error("the SDK has no code for this call")]
struct NoCodec;

fn add(headers: &[(&'static str, String)], request: &mut HttpRequest) -> Result<(), BoxError> {
    for (name, value) in headers {
        // Nobody else sets them.
        let _was = request.headers_mut().try_insert(*name, value.clone())?;
    }
    Ok(())
}

fn failed(
    error: OrchestratorError<Error>,
    response: HttpResponse,
    connection: CaptureSmithyConnection,
) -> Failed {
    let mut of_service = None;
    let other = error.map_operation_error(|error| {
        of_service = Some(error);
        std::fmt::Error
    });
    match of_service {
        Some(error) => Failed::Service(error, response, connection),
        None => Failed::Other(SdkError::response_error(chain(&other), response)),
    }
}

/// Keeps `Expires` as it was written, and has only a date read as one, as the SDK does for S3.
fn keep_expires(response: &mut HttpResponse) {
    let headers = response.headers_mut();
    let Some(expires) = headers.get("expires").map(ToOwned::to_owned) else {
        return;
    };
    if DateTime::from_str(&expires, DateTimeFormat::HttpDate).is_err() {
        drop(headers.remove("expires"));
    }
    let _was = headers.try_insert("expiresstring", expires);
}

pub(super) const SCHEME: AuthSchemeId = AuthSchemeId::new("sigv4");
