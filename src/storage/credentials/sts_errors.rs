//! What STS's refusals mean: the one table from its codes to the reasons of the log.

use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;

use super::{GrantError, GrantFault};
use crate::storage::causes::{chain, line, needs_credentials};

/// Classifies why a role could not be assumed.
pub(super) fn refused(error: &SdkError<AssumeRoleError, HttpResponse>, role: &str) -> GrantError {
    let (fault, reason, why) = match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            let message = answer.err().message().unwrap_or("no message");
            let (fault, reason) = by_code(code, status);
            (fault, reason, format!("{status} {code}: {message}"))
        }
        SdkError::ConstructionFailure(_)
        | SdkError::TimeoutError(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | _ => {
            let reason = if needs_credentials(error) {
                "sts-credentials"
            } else {
                "sts-unavailable"
            };
            (GrantFault::Unavailable, reason, chain(error))
        }
    };
    GrantError {
        fault,
        reason,
        detail: line(&format!("AssumeRole {role}: {why}")).into(),
    }
}

fn by_code(code: &str, status: u16) -> (GrantFault, &'static str) {
    match code {
        "AccessDenied" | "AccessDeniedException" | "NoSuchEntity" => {
            (GrantFault::Invalid, "role-not-assumable")
        }
        "MalformedPolicyDocument" => (GrantFault::Invalid, "policy-malformed"),
        "PackedPolicyTooLarge" => (GrantFault::Invalid, "policy-too-large-packed"),
        "ValidationError" | "InvalidParameterValue" => (GrantFault::Invalid, "sts-refused"),
        // The gateway's own keys, not the user's role.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "UnrecognizedClientException" => (GrantFault::Unavailable, "sts-credentials"),
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "RegionDisabledException" => (GrantFault::Unavailable, "sts-unavailable"),
        _ => by_status(status),
    }
}

fn by_status(status: u16) -> (GrantFault, &'static str) {
    match status {
        403 => (GrantFault::Invalid, "role-not-assumable"),
        429 => (GrantFault::Unavailable, "sts-unavailable"),
        400..=499 => (GrantFault::Invalid, "sts-refused"),
        _ => (GrantFault::Unavailable, "sts-unavailable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_blame_is_told_by_the_code() {
        let invalid = |reason| (GrantFault::Invalid, reason);
        let unavailable = |reason| (GrantFault::Unavailable, reason);
        for (code, status, expected) in [
            ("AccessDenied", 403, invalid("role-not-assumable")),
            ("", 403, invalid("role-not-assumable")),
            ("MalformedPolicyDocument", 400, invalid("policy-malformed")),
            (
                "PackedPolicyTooLarge",
                400,
                invalid("policy-too-large-packed"),
            ),
            ("ValidationError", 400, invalid("sts-refused")),
            ("InvalidClientTokenId", 403, unavailable("sts-credentials")),
            ("ExpiredToken", 403, unavailable("sts-credentials")),
            ("Throttling", 400, unavailable("sts-unavailable")),
            ("InternalFailure", 500, unavailable("sts-unavailable")),
            ("", 503, unavailable("sts-unavailable")),
        ] {
            assert_eq!(by_code(code, status), expected, "{code} {status}");
        }
    }
}
