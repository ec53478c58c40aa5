//! What AWS's tools may ask on the operator's port, as the configuration says.

use std::sync::Arc;

use super::providers::{self, Opened};
use crate::admin::{Aws, AwsKey, Scope, Server, Servers};
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::idp::blocks::Blocks;
use crate::metrics::Metrics;
use crate::storage::credentials::Stores;

/// What AWS's tools may ask, if they have a key.
pub(super) fn aws(
    config: &Config,
    opened: &[Opened<'_>],
    stores: &Arc<dyn Stores>,
    blocks: &Arc<Blocks>,
    metrics: &Arc<Metrics>,
) -> Option<Arc<Aws>> {
    let keys = aws_keys(config);
    if keys.is_empty() {
        return None;
    }
    let server = |opened: &Opened<'_>| Server {
        id: providers::server_id(config, opened.identity).into(),
        name: opened.name.into(),
        provider: Arc::clone(&opened.provider),
        provider_type: match opened.identity.provider() {
            config::Provider::Webhook | config::Provider::ApiGateway => Some("API_GATEWAY"),
            config::Provider::Lambda => Some("AWS_LAMBDA"),
            config::Provider::ServiceManaged => Some("SERVICE_MANAGED"),
            config::Provider::Static | config::Provider::Token => None,
        },
        users: opened
            .kept_users
            .as_ref()
            .map(|kept| Arc::clone(&kept.users)),
        auth: providers::auth(opened.identity),
        user_prefix: opened.identity.user_prefix.as_deref().map(Into::into),
        user_suffix: opened.identity.user_suffix.as_deref().map(Into::into),
        made: None,
    };
    let servers = Servers {
        all: opened.iter().map(server).collect(),
        stores: Arc::clone(stores),
        blocks: Arc::clone(blocks),
        clock: Arc::new(SystemClock),
    };
    Some(Arc::new(Aws::new(keys, servers, Arc::clone(metrics))))
}

/// Returns the keys with which requests of AWS's tools may be signed.
pub(super) fn aws_keys(config: &Config) -> Vec<AwsKey> {
    let admin = &config.admin;
    let first = admin
        .access_key_id
        .as_deref()
        .zip(admin.secret_access_key.clone());
    let first = first.map(|(id, secret)| (id, secret, Scope::Test));
    let others = config.api_keys.iter().filter_map(|key| {
        let scope = match key.scope {
            config::ApiScope::Test => Scope::Test,
            config::ApiScope::Read => Scope::Read,
            config::ApiScope::Users => Scope::Users,
            config::ApiScope::All => Scope::All,
        };
        Some((&*key.access_key_id, key.secret_access_key.clone()?, scope))
    });
    let keys = first.into_iter().chain(others);
    keys.map(|(id, secret, scope)| AwsKey {
        access_key_id: id.into(),
        secret_access_key: secret,
        scope,
    })
    .collect()
}
