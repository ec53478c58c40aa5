//! Whose credentials sessions have at S3, as the configuration says.

use std::sync::Arc;

use anyhow::Context as _;

use super::{providers, serve};
use crate::aws::{AccessKey, Credentials};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::storage::SharedStore;
use crate::storage::credentials::{Assumed, Keyring, Own, RoleKeys, Stores, StsSettings, Tag};
use crate::storage::metered::Meter;
use crate::storage::retry::{Persistent, Retries, Retrying};
use crate::storage::s3::{S3Store, Settings};

/// Sets S3 up, and STS where roles are assumed; neither is asked yet.
///
/// # Errors
/// A setting, or a file that it names, cannot be used.
pub(super) async fn open(
    config: &Config,
    keys: &HeldKeys,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Arc<dyn Stores>> {
    let mut settings: Settings = serve::storage(&config.storage);
    if let Some(key) = &keys.own.first {
        settings.credentials = Credentials::Static(key.clone());
    }
    let store = S3Store::connect(settings).await;
    let store = store.context("[storage] cannot be used")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let meter = Meter::new(Arc::clone(&clock), Arc::<Metrics>::clone(metrics));
    let default_role = config.identity.default_role.as_deref().map(Into::into);
    let observer = Arc::<Metrics>::clone(metrics);
    let retries = Retries::new(config.storage.retries.clone(), Arc::clone(&clock), observer);
    let stores: Arc<dyn Stores> = match config.identity.roles {
        config::Roles::Gateway => {
            Arc::new(Own::rotating(store, keys.own.next.as_ref(), meter, clock))
        }
        config::Roles::Map => {
            let roles = config.roles.iter().zip(&keys.roles);
            let roles = roles.filter_map(|(role, keys)| role_keys(role, keys));
            Arc::new(Keyring::new(&store, roles, default_role, &meter, &clock))
        }
        config::Roles::Assume => {
            let settings = StsSettings {
                default_role,
                ..sts(config)
            };
            let next = keys.own.next.as_ref();
            let assumed = Assumed::rotating(store, next, settings, meter, clock);
            Arc::new(assumed.context("[sts] cannot be used")?)
        }
    };
    Ok(Arc::new(Persistent::new(stores, retries)))
}

/// Gives the providers that keep their users in a bucket the gateway's own view of S3.
///
/// # Errors
/// A setting, or a file that it names, cannot be used.
pub(super) async fn connect_users(
    config: &Config,
    opened: &[providers::Opened<'_>],
    keys: &HeldKeys,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<()> {
    let mut buckets = opened
        .iter()
        .filter_map(providers::Opened::users_bucket)
        .peekable();
    if buckets.peek().is_none() {
        return Ok(());
    }
    let mut settings: Settings = serve::storage(&config.storage);
    if let Some(key) = &keys.own.first {
        settings.credentials = Credentials::Static(key.clone());
    }
    let store = S3Store::connect(settings).await;
    let store = store.context("[storage] cannot be used")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let meter = Meter::new(Arc::clone(&clock), Arc::<Metrics>::clone(metrics));
    let observer = Arc::<Metrics>::clone(metrics);
    let retries = Retries::new(config.storage.retries.clone(), Arc::clone(&clock), observer);
    let own = Own::rotating(store, keys.own.next.as_ref(), meter, clock);
    let store: SharedStore = Arc::new(Retrying::new(own.store(), retries));
    for bucket in buckets {
        bucket.connect(store.clone());
    }
    Ok(())
}

/// The access keys of the configuration, in the hands of those who sign with them.
#[derive(Debug)]
pub(super) struct HeldKeys {
    own: Pair,
    /// In the order of the tables.
    roles: Vec<Pair>,
}

/// A key and the one that replaces it.
#[derive(Debug)]
struct Pair {
    first: Option<AccessKey>,
    next: Option<AccessKey>,
}

/// The same as the configuration has it.
type Written<'c> = [(Option<&'c str>, Option<&'c Secret>, Option<&'c Secret>); 2];

impl HeldKeys {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            own: Pair::of(own(config)),
            roles: config
                .roles
                .iter()
                .map(|role| Pair::of(of_role(role)))
                .collect(),
        }
    }

    /// Signs with the secrets of another configuration, whose keys are the same.
    pub(super) fn replace(&self, config: &Config) {
        self.own.replace(own(config));
        for (pair, role) in self.roles.iter().zip(&config.roles) {
            pair.replace(of_role(role));
        }
    }
}

impl Pair {
    /// Half a key is refused by the configuration.
    fn of(written: Written<'_>) -> Self {
        let [first, next] = written.map(|(id, secret, token)| {
            let (id, secret) = (id?, secret?);
            Some(AccessKey::new(id, secret, token))
        });
        Self { first, next }
    }

    fn replace(&self, written: Written<'_>) {
        for (held, (_, secret, token)) in [&self.first, &self.next].into_iter().zip(written) {
            if let (Some(held), Some(secret)) = (held, secret) {
                held.replace(secret, token);
            }
        }
    }
}

fn own(config: &Config) -> Written<'_> {
    let storage = &config.storage;
    let (id, secret) = (&storage.access_key_id, &storage.secret_access_key);
    [
        (
            id.as_deref(),
            secret.as_ref(),
            storage.session_token.as_ref(),
        ),
        second(&storage.next),
    ]
}

fn of_role(role: &config::RoleKeys) -> Written<'_> {
    let (id, secret) = (&role.access_key_id, &role.secret_access_key);
    [
        (Some(&**id), secret.as_ref(), role.session_token.as_ref()),
        second(&role.next),
    ]
}

fn second(next: &config::NextKey) -> (Option<&str>, Option<&Secret>, Option<&Secret>) {
    let (id, secret) = (&next.access_key_id, &next.secret_access_key);
    (id.as_deref(), secret.as_ref(), None)
}

/// Returns the keys of one table; the configuration refuses one that is not complete.
fn role_keys(role: &config::RoleKeys, keys: &Pair) -> Option<RoleKeys> {
    Some(RoleKeys {
        role: role.arn.as_str().into(),
        key: keys.first.clone()?,
        next: keys.next.clone(),
        section: format!("role.{}", role.name),
    })
}

fn sts(config: &Config) -> StsSettings {
    let sts = &config.sts;
    let named = config.providers.iter();
    StsSettings {
        endpoint: sts.endpoint.clone(),
        region: sts.region.clone(),
        external_id: sts.external_id.clone(),
        source_identity: sts.source_identity.clone(),
        duration: sts.duration,
        tags: sts.tags.iter().filter_map(|tag| tag_of(tag)).collect(),
        transitive_tags: sts.transitive_tags.clone(),
        timeout: sts.timeout,
        default_role: None,
        server_id: providers::server_id(config, &config.identity).into(),
        server_ids: named
            .map(|named| {
                let id = providers::server_id(config, &named.identity);
                (named.name.as_str().into(), id.into())
            })
            .collect(),
    }
}

fn tag_of(text: &str) -> Option<Tag> {
    let (key, value) = text.split_once('=')?;
    Some(Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}
