//! `provider = "api-gateway"`: AWS Transfer Family's GET, in its exact form.

use super::super::words::Sign;
use super::finishing::Finishing;
use super::table::{Aws, ProviderTable};
use crate::secret::Secret;

/// An API at AWS.
#[derive(Debug, Clone)]
pub struct ApiGateway {
    pub url: String,
    pub headers: Vec<(String, Secret)>,
    /// Whose signature requests have; `None`: none.
    pub sign: Option<Aws>,
    pub ca_pem: Option<String>,
    pub plaintext: bool,
    pub accept_keys_with_password: bool,
}

pub(super) const KEYS: &[&str] = &[
    "url",
    "headers",
    "sign",
    "aws_region",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
];

impl ApiGateway {
    pub(super) fn finish(table: &ProviderTable, finishing: &mut Finishing<'_>) -> Option<Self> {
        let url = finishing.required_url(&table.url, table.plaintext);
        finishing.headers(&table.headers);
        finishing.keys(&table.aws);
        Some(Self {
            url: url?,
            headers: table.headers.clone(),
            sign: match table.sign {
                Sign::None => None,
                Sign::Aws => Some(table.aws.clone()),
            },
            ca_pem: table.ca_pem.clone(),
            plaintext: table.plaintext,
            accept_keys_with_password: table.accept_keys_with_password,
        })
    }
}
