//! What AWS's tools may ask, and at which port, as the configuration says.

use std::sync::Arc;

use super::listeners::label;
use super::providers::{self, Opened};
use super::unusable::Unusable;
use crate::admin::{
    Aws, AwsKey, Certificate, CertificateError, Scope, Server, Servers, Shown, Transports,
};
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::gateway::{Gateway, Listeners};
use crate::idp::blocks::Blocks;
use crate::metrics::Metrics;
use crate::storage::credentials::Stores;

/// What AWS's tools may ask, if they have a key.
pub(super) fn aws(
    config: &Config,
    opened: &[Opened<'_>],
    stores: &Arc<dyn Stores>,
    blocks: &Arc<Blocks>,
    gateway: &Gateway,
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
        transports: Arc::new(Named {
            names: names(config, opened.name),
            listeners: Arc::clone(gateway.listeners()),
        }),
        made: None,
    };
    let servers = Servers {
        all: opened.iter().map(server).collect(),
        stores: Arc::clone(stores),
        blocks: Arc::clone(blocks),
        clock: Arc::new(SystemClock),
    };
    let aws = Aws::new(keys, servers, Arc::clone(metrics), gateway.account());
    Some(Arc::new(aws))
}

/// The listeners at which the users of a provider log in.
#[derive(Debug)]
struct Named {
    names: Vec<Box<str>>,
    listeners: Arc<Listeners>,
}

impl Transports for Named {
    fn shown(&self) -> Vec<Shown> {
        // One that was stopped shows nothing.
        let shown = self.names.iter().filter_map(|name| {
            Some(Shown {
                listener: name.clone(),
                transport: self.listeners.transport(name)?,
            })
        });
        shown.collect()
    }
}

fn names(config: &Config, provider: &str) -> Vec<Box<str>> {
    let there = config.listeners.iter().filter(|listener| {
        let named = &listener.providers;
        provider.is_empty() || named.iter().any(|name| name == provider)
    });
    there
        .map(|listener| label(config, listener).into())
        .collect()
}

/// Reads the certificate of the port for AWS's tools; `None`: it has none.
///
/// # Errors
/// The certificate or its key is none, or they do not belong together.
pub(super) fn certificate(config: &Config) -> Result<Option<Certificate>, Unusable> {
    let admin = &config.admin;
    let files = admin.api_certificate_pem.as_deref();
    let Some((chain, key)) = files.zip(admin.api_certificate_key.as_ref()) else {
        return Ok(None);
    };
    let wrong =
        |error: CertificateError| Unusable::Setting(format!("admin.api_certificate_file: {error}"));
    Certificate::parse(chain, key).map(Some).map_err(wrong)
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
