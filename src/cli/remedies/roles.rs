//! Reasons that come from whose credentials a session has at S3.

use super::{Remedy, row};

pub(super) const REMEDIES: &[Remedy] = &[
    row(
        "role-missing",
        "roles are mapped or assumed, and the answer names none",
        "answer with a `role` (`Role`), or set `identity.default_role`",
    ),
    row(
        "role-unknown",
        "no table `[role.NAME]` has the answer's role",
        "add one, or correct the role; it is compared letter by letter",
    ),
    row(
        "role-not-assumable",
        "STS does not let the gateway assume the role",
        "the role's trust policy must name the gateway's role as principal, with the external id if there is one, and the gateway needs `sts:AssumeRole` on it (docs/security.md)",
    ),
    row(
        "policy-malformed",
        "STS does not understand the session policy",
        "the detail says where; try the document with IAM's policy simulator",
    ),
    row(
        "policy-too-large-packed",
        "policy and tags together are more than STS takes in its packed form",
        "shorten the policy, or use fewer `sts.tags`",
    ),
    row(
        "session-tag",
        "the user's name cannot stand in a session tag",
        "answer with a `user` of letters, digits, spaces and `_.:/=+-@`, or leave the variable out of `sts.tags`",
    ),
    row(
        "sts-refused",
        "STS refuses the request",
        "the detail says why: a role that is no ARN, or `sts.duration_seconds` above the role's maximum",
    ),
    row(
        "sts-credentials",
        "the gateway's own credentials do not work at STS",
        "check those of `[storage]`, or the AWS chain (service account, instance role)",
    ),
    row(
        "sts-unavailable",
        "STS did not answer in time, or answered with an error of its own",
        "check `sts.endpoint` and the way there; see `sts.timeout_ms`",
    ),
    row(
        "sts-answer",
        "STS's answer cannot be used",
        "is `sts.endpoint` an STS?",
    ),
];
