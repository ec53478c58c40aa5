//! Reasons of the provider that takes tokens for passwords.

use super::{Remedy, row};

pub(super) const REMEDIES: &[Remedy] = &[
    row(
        "token-only",
        "the provider takes tokens, and knows no keys of users",
        "log in with a token as the password",
    ),
    row(
        "token-malformed",
        "the password is no signed JWT, or one without an end",
        "`detail` says what is wrong; `exp` must be there, and no claim twice",
    ),
    row(
        "token-algorithm",
        "the token is signed in a way that is not allowed",
        "check `identity.token_algorithms`; symmetric ones and `none` are never allowed",
    ),
    row(
        "token-key",
        "the token is of a key that is not known, or not for its algorithm",
        "is it of the right issuer? A new key is known after `identity.token_jwks_refetch_seconds`",
    ),
    row(
        "token-signature",
        "the token was changed, or is of somebody else",
        "get a new token",
    ),
    row(
        "token-expired",
        "the token's time is over",
        "get a new token; compare the clocks of gateway and issuer",
    ),
    row(
        "token-not-yet-valid",
        "the token's time has not come",
        "compare the clocks of gateway and issuer; see `identity.token_clock_skew_seconds`",
    ),
    row(
        "token-issuer",
        "the token is of another issuer",
        "check `identity.token_issuer` against `iss`, to the last slash",
    ),
    row(
        "token-audience",
        "the token is for somebody else",
        "check `identity.token_audience` against `aud`; ask the issuer for a token for the gateway",
    ),
    row(
        "token-user",
        "the token is of another user, or does not say of whom",
        "log in with the name in the claim `identity.token_user_claim`, in the same case",
    ),
    row(
        "token-claim",
        "a claim that the settings refer to is missing, or cannot stand where it is put",
        "`detail` names the claim; see docs/token.md",
    ),
    row(
        "token-keys",
        "the keys of tokens cannot be had",
        "check `identity.token_jwks_url`; `detail` says what went wrong",
    ),
];
