//! Whose credentials sessions have at S3, as the configuration says.

use std::sync::Arc;

use anyhow::Context as _;

use super::{providers, serve};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::storage::credentials::{
    Assumed, Keyring, NextKey, Own, RoleKeys, Stores, StsSettings, Tag,
};
use crate::storage::metered::Meter;
use crate::storage::retry::{Persistent, Retries};
use crate::storage::s3::S3Store;

/// Sets S3 up, and STS where roles are assumed; neither is asked yet.
///
/// # Errors
/// A setting, or a file that it names, cannot be used.
pub(super) async fn open(
    config: &Config,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Arc<dyn Stores>> {
    let store = S3Store::connect(serve::storage(&config.storage)).await;
    let store = store.context("[storage] cannot be used")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let meter = Meter::new(Arc::clone(&clock), Arc::<Metrics>::clone(metrics));
    let default_role = config.identity.default_role.as_deref().map(Into::into);
    let observer = Arc::<Metrics>::clone(metrics);
    let retries = Retries::new(config.storage.retries.clone(), Arc::clone(&clock), observer);
    let stores: Arc<dyn Stores> = match config.identity.roles {
        config::Roles::Gateway => {
            let next = next(&config.storage.next);
            Arc::new(Own::rotating(store, next.as_ref(), meter, clock))
        }
        config::Roles::Map => {
            let roles = config.roles.iter().filter_map(keys);
            Arc::new(Keyring::new(&store, roles, default_role, &meter, &clock))
        }
        config::Roles::Assume => {
            let settings = StsSettings {
                default_role,
                ..sts(config)
            };
            let next = next(&config.storage.next);
            let assumed = Assumed::rotating(store, next.as_ref(), settings, meter, clock);
            Arc::new(assumed.context("[sts] cannot be used")?)
        }
    };
    Ok(Arc::new(Persistent::new(stores, retries)))
}

/// Returns the keys of one table; the configuration refuses one that is not complete.
fn keys(role: &config::RoleKeys) -> Option<RoleKeys> {
    Some(RoleKeys {
        role: role.arn.as_str().into(),
        access_key: role.access_key_id.clone(),
        secret_key: role.secret_access_key.clone()?,
        session_token: role.session_token.clone(),
        next: next(&role.next),
        section: format!("role.{}", role.name),
    })
}

/// Returns a second key, where there is one.
fn next(next: &config::NextKey) -> Option<NextKey> {
    Some(NextKey {
        access_key: next.access_key_id.clone()?,
        secret_key: next.secret_access_key.clone()?,
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
