//! What Lambda's refusals mean: the one table from the SDK's errors to the reason of a login.

use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_lambda::operation::invoke::InvokeError;

use super::Failed;
use super::client::Encoded;
use crate::aws::{has_no_connection, needs_credentials};
use crate::causes::{causes, chain};
use crate::idp::failure::by_status;
use crate::idp::wire;
use crate::refusal::{Reason, Refusal};

type Failure = SdkError<InvokeError, HttpResponse>;

/// Says why there is no answer, and what to change.
pub(super) fn explained(error: &Failure, function: &str) -> Failed {
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    let worded = |reason: Reason| reason.because(&chain(error));
    let refusal = match error {
        _ if causes(error).any(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) => {
            Reason::AnswerTooLarge.because("the payload is over the bound")
        }
        _ if causes(error).any(<dyn std::error::Error>::is::<Encoded>) => {
            wire::encoded(&Encoded.to_string())
        }
        _ if needs_credentials(error) => worded(Reason::AwsCredentials),
        SdkError::TimeoutError(_) => worded(Reason::Timeout),
        // The only time that the SDK takes is the one for connecting.
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            worded(Reason::ConnectTimeout)
        }
        SdkError::DispatchFailure(_) if has_no_connection(error) => worded(Reason::Connect),
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            let message = answer.err().message().unwrap_or_default();
            by_code(code, message, status.unwrap_or_default(), function)
        }
        SdkError::ConstructionFailure(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | _ => worded(Reason::Transport),
    };
    Failed { status, refusal }
}

fn by_code(code: &str, message: &str, status: u16, function: &str) -> Refusal {
    match (code, status) {
        (
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "ExpiredToken"
            | "ExpiredTokenException",
            _,
        ) => Reason::AwsCredentials.because(&format!("{code}: {message}")),
        ("ResourceNotFoundException", _) => {
            let detail = format!(
                "there is no function {function:?}, or no such qualifier, in this region and \
                 account: check function, qualifier and aws_region ({message})"
            );
            Reason::FunctionNotFound.because(&detail)
        }
        ("AccessDeniedException" | "AccessDenied", _) | (_, 401 | 403) => {
            let detail = format!(
                "allow lambda:InvokeFunction on {function:?} for the gateway's own identity \
                 ({message})"
            );
            Reason::FunctionAccessDenied.because(&detail)
        }
        (_, 429) => {
            let detail = format!("Lambda answered {status} {code}: too many invocations at once");
            Reason::FunctionThrottled.because(&detail)
        }
        // The message of a refused request may quote it.
        _ => by_status(status).because(&format!("Lambda answered {status} {code}")),
    }
}
