//! What Lambda's refusals mean: the one table from its errors to the reason of a login.

use super::client::NotInvoked;
use super::error::LambdaError;
use crate::idp::failure::by_status;
use crate::refusal::{Reason, Refusal};

/// Says why there is no answer, and what to change.
pub(super) fn explained(why: NotInvoked, function: &str) -> Refusal {
    match why {
        NotInvoked::Credentials(detail) => Reason::AwsCredentials.because(&detail),
        NotInvoked::Http(failure) => failure.refusal(),
        NotInvoked::Refused(error) => by_code(&error, function),
    }
}

fn by_code(error: &LambdaError, function: &str) -> Refusal {
    let LambdaError {
        status,
        code,
        message,
    } = error;
    match (&**code, *status) {
        (
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
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
        (_, status) => by_status(status).because(&format!("Lambda answered {status} {code}")),
    }
}
