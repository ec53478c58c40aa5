//! Errors in AWS's words: what its tools read out of an answer.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::idp::service_managed::{Fault, Resource};

/// Says no.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: &'static str,
    message: String,
    resource: Option<(Resource, String)>,
}

impl Refusal {
    pub(super) fn new(kind: &'static str, message: &str) -> Self {
        Self {
            kind,
            message: message.to_owned(),
            resource: None,
        }
    }

    pub(super) fn invalid(message: &str) -> Self {
        Self::new("InvalidRequestException", message)
    }

    /// A value of the wrong type.
    pub(super) fn of_type(key: &str, expected: &str) -> Self {
        Self::new(
            "SerializationException",
            &format!("{key} must be {expected}"),
        )
    }

    pub(super) fn not_found(what: Resource, name: &str) -> Self {
        let name = name.to_owned();
        Fault::NotFound { what, name }.into()
    }

    /// Returns the status: AWS's tools try again where it is the service's fault.
    pub(super) fn status(&self) -> StatusCode {
        match self.kind {
            "ServiceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
            "InternalServiceError" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the body. Clients look for the message under either name.
    pub(super) fn body(&self) -> Value {
        let Self { kind, message, .. } = self;
        let mut body = json!({"__type": kind, "message": message, "Message": message});
        if let (Some((what, name)), Some(body)) = (&self.resource, body.as_object_mut()) {
            body.insert("Resource".to_owned(), name.as_str().into());
            body.insert("ResourceType".to_owned(), what.as_str().into());
        }
        body
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        let (kind, resource) = match fault {
            Fault::Invalid(_) => ("InvalidRequestException", None),
            Fault::Exists { what, name } => ("ResourceExistsException", Some((what, name))),
            Fault::NotFound { what, name } => ("ResourceNotFoundException", Some((what, name))),
            Fault::Contended => ("ThrottlingException", None),
            Fault::NextToken => ("InvalidNextTokenException", None),
            Fault::Unavailable(_) => ("ServiceUnavailableException", None),
            Fault::Document { .. } => ("InternalServiceError", None),
        };
        Self {
            kind,
            message,
            resource,
        }
    }
}
