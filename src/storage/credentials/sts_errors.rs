//! What STS's refusals mean: the one table from its codes to the reasons of the log.

use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;

use crate::aws::needs_credentials;
use crate::causes::chain;
use crate::refusal::{Reason, Refusal};

/// Classifies why a role could not be assumed.
pub(super) fn refused(error: &SdkError<AssumeRoleError, HttpResponse>, role: &str) -> Refusal {
    let (reason, why) = match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            let message = answer.err().message().unwrap_or("no message");
            let reason = by_code(code, status);
            (reason, format!("{status} {code}: {message}"))
        }
        SdkError::ConstructionFailure(_)
        | SdkError::TimeoutError(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | _ => {
            let reason = if needs_credentials(error) {
                Reason::StsCredentials
            } else {
                Reason::StsUnavailable
            };
            (reason, chain(error))
        }
    };
    reason.because(&format!("AssumeRole {role}: {why}"))
}

fn by_code(code: &str, status: u16) -> Reason {
    match code {
        "AccessDenied" | "AccessDeniedException" | "NoSuchEntity" => Reason::RoleNotAssumable,
        "MalformedPolicyDocument" => Reason::PolicyMalformed,
        "PackedPolicyTooLarge" => Reason::PolicyTooLargePacked,
        "ValidationError" | "InvalidParameterValue" => Reason::StsRefused,
        // The gateway's own keys, not the user's role.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "UnrecognizedClientException" => Reason::StsCredentials,
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "RegionDisabledException" => Reason::StsUnavailable,
        _ => by_status(status),
    }
}

fn by_status(status: u16) -> Reason {
    match status {
        403 => Reason::RoleNotAssumable,
        429 => Reason::StsUnavailable,
        400..=499 => Reason::StsRefused,
        _ => Reason::StsUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_blame_is_told_by_the_code() {
        for (code, status, expected) in [
            ("AccessDenied", 403, Reason::RoleNotAssumable),
            ("", 403, Reason::RoleNotAssumable),
            ("MalformedPolicyDocument", 400, Reason::PolicyMalformed),
            ("PackedPolicyTooLarge", 400, Reason::PolicyTooLargePacked),
            ("ValidationError", 400, Reason::StsRefused),
            ("InvalidClientTokenId", 403, Reason::StsCredentials),
            ("ExpiredToken", 403, Reason::StsCredentials),
            ("Throttling", 400, Reason::StsUnavailable),
            ("InternalFailure", 500, Reason::StsUnavailable),
            ("", 503, Reason::StsUnavailable),
        ] {
            assert_eq!(by_code(code, status), expected, "{code} {status}");
        }
    }
}
