//! `provider = "lambda"`: AWS Transfer Family's event, given to a function.

use super::finishing::Finishing;
use super::table::{Aws, ProviderTable};

/// A function at AWS.
#[derive(Debug, Clone)]
pub struct Lambda {
    /// Its name, its ARN, or a part of that.
    pub function: String,
    pub qualifier: Option<String>,
    pub omit_blank_password: bool,
    pub aws: Aws,
    pub ca_pem: Option<String>,
    pub plaintext: bool,
    pub accept_keys_with_password: bool,
}

pub(super) const KEYS: &[&str] = &[
    "function",
    "qualifier",
    "omit_blank_password",
    "aws_region",
    "aws_endpoint",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
];

impl Lambda {
    pub(super) fn finish(table: &ProviderTable, finishing: &mut Finishing<'_>) -> Option<Self> {
        let function = finishing.required("function", table.function.as_ref());
        if let Some(endpoint) = &table.aws.endpoint {
            finishing.url("aws_endpoint", endpoint, table.plaintext);
        }
        let named = function.as_deref().unwrap_or_default();
        if !named.is_empty() && !named.starts_with("arn:") && table.aws.region.is_none() {
            finishing.region();
        }
        finishing.keys(&table.aws);
        Some(Self {
            function: function?,
            qualifier: table.qualifier.clone(),
            omit_blank_password: table.omit_blank_password,
            aws: table.aws.clone(),
            ca_pem: table.ca_pem.clone(),
            plaintext: table.plaintext,
            accept_keys_with_password: table.accept_keys_with_password,
        })
    }
}
