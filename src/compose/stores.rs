//! Whose credentials sessions have at S3, as the configuration says.

use std::sync::Arc;

use anyhow::Context as _;

use super::directories::Directories;
use super::providers;
use crate::aws::{AccessKey, Credentials};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Storage, StoreKind, StoreRoles};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::storage::credentials::{
    Assumed, Confines, Keyring, NamedStore, Own, RoleKeys, Several, Stores, StsSettings, Tag,
};
use crate::storage::directory::{DirectoryStore, are_nested};
use crate::storage::health::StoreHealth;
use crate::storage::metered::Meter;
use crate::storage::retry::{Persistent, Retries, Retrying};
use crate::storage::routes::{Pattern, Routes};
use crate::storage::s3::{Encryption, S3Store, Settings, Timeouts};
use crate::storage::{Bucket, SharedStore};

/// What was set up.
pub(crate) struct OpenStores {
    pub(crate) stores: Arc<dyn Stores>,
    /// The main store with the gateway's own credentials.
    pub(crate) own: SharedStore,
    /// Which stores answer.
    pub(crate) health: StoreHealth,
}

/// Sets S3 up, also for the providers that keep their users there, and STS where roles are assumed;
/// neither is asked yet. All of it repeats calls within one bound.
///
/// # Errors
/// A setting, or a file that it names, cannot be used.
pub(crate) async fn open(
    config: &Config,
    opened: &[providers::Opened<'_>],
    keys: &HeldKeys,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<OpenStores> {
    let store = connect("storage", &config.storage, &keys.own).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let meter = Meter::new(Arc::clone(&clock), Arc::<Metrics>::clone(metrics));
    let observer = Arc::<Metrics>::clone(metrics);
    let retries = Retries::new(config.storage.retries.clone(), Arc::clone(&clock), observer);
    let next = keys.own.next.as_ref();
    let (first, second) = (store.clone(), (next, "storage"));
    let own = Own::rotating(first, second, meter.clone(), clock.clone());
    let own_store: SharedStore = Arc::new(Retrying::new(own.store(), retries.clone()));
    connect_users(opened, &own_store);
    let stores: Arc<dyn Stores> = match config.identity.roles {
        config::Roles::Gateway => Arc::new(own),
        config::Roles::Map => {
            let roles = config.roles.iter().zip(&keys.roles);
            let roles = roles.filter_map(|(role, keys)| role_keys(role, keys));
            let default_role = config.identity.default_role.as_deref().map(Into::into);
            Arc::new(Keyring::new(&store, roles, default_role, &meter, &clock))
        }
        config::Roles::Assume => {
            let next = (next, "storage");
            let settings = sts(config);
            let assumed = Assumed::rotating(store, next, settings, meter.clone(), clock.clone());
            Arc::new(assumed.context("[sts] cannot be used")?)
        }
    };
    let stores = beside(config, stores, keys, (&meter, &clock)).await?;
    Ok(OpenStores {
        stores: Arc::new(Persistent::new(stores, retries)),
        own: own_store,
        health: meter.health().clone(),
    })
}

/// Sets one S3 store up.
async fn connect(section: &str, storage: &Storage, keys: &Pair) -> anyhow::Result<S3Store> {
    let mut settings = settings(storage);
    if let Some(key) = &keys.first {
        settings.credentials = Credentials::Static(key.clone());
    }
    let store = S3Store::connect(settings).await;
    store.with_context(|| format!("[{section}] cannot be used"))
}

/// Returns what the configuration says about S3.
pub(crate) fn settings(storage: &Storage) -> Settings {
    let credentials = match (&storage.access_key_id, &storage.secret_access_key) {
        (Some(id), Some(secret)) => {
            Credentials::Static(AccessKey::new(id, secret, storage.session_token.as_ref()))
        }
        // Half a pair is refused by the configuration.
        (Some(_) | None, _) => Credentials::DefaultChain,
    };
    Settings {
        region: storage.region.clone(),
        endpoint: storage.endpoint.clone(),
        follow_regions: storage.endpoint.is_none(),
        path_style: storage.path_style,
        storage_class: storage.storage_class.clone(),
        encryption: match storage.encryption {
            config::Encryption::None => Encryption::None,
            config::Encryption::S3 => Encryption::S3,
            config::Encryption::Kms => Encryption::Kms {
                key_id: storage.kms_key_id.clone().unwrap_or_default(),
            },
        },
        capabilities: storage.capabilities,
        credentials,
        ca_pem: storage.ca_pem.clone().map(String::into_bytes),
        timeouts: Timeouts {
            connect: storage.connect_timeout,
            call: storage.call_timeout,
            store_work: storage.work_timeout,
            ..Timeouts::default()
        },
    }
}

/// Puts the stores of `[store.NAME]` beside the main one.
async fn beside(
    config: &Config,
    main: Arc<dyn Stores>,
    keys: &HeldKeys,
    (meter, clock): (&Meter, &Arc<dyn Clock>),
) -> anyhow::Result<Arc<dyn Stores>> {
    if config.stores.is_empty() {
        return Ok(main);
    }
    let without_roles = config.identity.roles == config::Roles::Gateway;
    let mut all = Vec::with_capacity(config.stores.len());
    let (directories, mut roots) = (Directories::default(), Vec::new());
    for (named, keys) in config.stores.iter().zip(&keys.stores) {
        let section = format!("store.{}", named.name);
        let meter = meter.of_store(&named.name);
        let (stores, bucket): (Arc<dyn Stores>, _) = match named.table.kind {
            StoreKind::S3 => {
                let store = connect(&section, &named.storage, keys).await?;
                let next = (keys.next.as_ref(), &*section);
                let around = (meter, Arc::clone(clock));
                (of_s3(config, named, store, next, around)?, None)
            }
            StoreKind::Directory => {
                let store = directory(named)?;
                let bucket = Bucket::parse(&named.name).ok();
                apart(named, &mut roots)?;
                let opening = directories.directory(&named.name, store, meter);
                (Arc::new(opening), bucket)
            }
        };
        let confines = match named.table.roles {
            StoreRoles::Refuse if !without_roles => Confines::Nothing,
            StoreRoles::Refuse | StoreRoles::Gateway => Confines::Mappings,
            StoreRoles::Assume => Confines::Role,
        };
        all.push(NamedStore {
            name: named.name.as_str().into(),
            stores,
            confines,
            bucket,
        });
    }
    Ok(Arc::new(Several::new(main, all, routes(&config.stores)?)))
}

/// Opens logins at an S3 store beside the main one.
fn of_s3(
    config: &Config,
    named: &config::NamedStore,
    store: S3Store,
    next: (Option<&AccessKey>, &str),
    (meter, clock): (Meter, Arc<dyn Clock>),
) -> anyhow::Result<Arc<dyn Stores>> {
    match named.table.roles {
        StoreRoles::Refuse | StoreRoles::Gateway => {
            Ok(Arc::new(Own::rotating(store, next, meter, clock)))
        }
        StoreRoles::Assume => {
            let settings = StsSettings {
                endpoint: named.table.sts_endpoint.clone(),
                region: named.table.sts_region.clone(),
                ..sts(config)
            };
            let assumed = Assumed::rotating(store, next, settings, meter, clock);
            let place = || format!("[store.{}]: its STS cannot be used", named.name);
            Ok(Arc::new(assumed.with_context(place)?))
        }
    }
}

/// Refuses a directory that is in another one: what is written to the one would be seen half in the
/// other.
fn apart<'c>(
    named: &'c config::NamedStore,
    others: &mut Vec<&'c config::NamedStore>,
) -> anyhow::Result<()> {
    let root = |named: &'c config::NamedStore| named.table.root.as_deref().unwrap_or_default();
    for there in &*others {
        let (name, other) = (&named.name, &there.name);
        let place = || format!("[store.{name}] and [store.{other}] cannot be compared");
        if are_nested(root(named), root(there)).with_context(place)? {
            anyhow::bail!(
                "the roots of [store.{name}] and [store.{other}] are the same directory, or one \
                 is in the other; allowed: directories beside each other"
            );
        }
    }
    others.push(named);
    Ok(())
}

/// Opens a directory that is a store.
///
/// # Errors
/// It cannot be used as one.
pub(crate) fn directory(named: &config::NamedStore) -> anyhow::Result<DirectoryStore> {
    let root = named.table.root.as_deref().unwrap_or_default();
    let buckets = named.patterns().map(Bucket::parse);
    let buckets = buckets.collect::<Result<Vec<_>, _>>();
    let place = || format!("[store.{}]: {root:?} cannot be used", named.name);
    DirectoryStore::open(root, &buckets.with_context(place)?).with_context(place)
}

/// Says which store serves which buckets, by its place among the tables, from 1 on.
fn routes(stores: &[config::NamedStore]) -> anyhow::Result<Routes> {
    let mut routes = Routes::default();
    for (number, named) in (1..).zip(stores) {
        for pattern in named.patterns() {
            // One that is none is refused by the configuration.
            let pattern = Pattern::parse(pattern);
            let pattern = pattern.with_context(|| format!("[store.{}]", named.name))?;
            routes.add(pattern, number);
        }
    }
    Ok(routes)
}

/// Returns the table of the store that serves a bucket; `None`: it is `[storage]`.
///
/// # Errors
/// A pattern cannot be used.
pub(crate) fn of_bucket<'c>(
    config: &'c Config,
    bucket: &Bucket,
) -> anyhow::Result<Option<&'c config::NamedStore>> {
    let number = usize::from(routes(&config.stores)?.of(bucket));
    Ok(number.checked_sub(1).and_then(|at| config.stores.get(at)))
}

/// Gives the providers that keep their users in a bucket the gateway's own view of S3.
fn connect_users(opened: &[providers::Opened<'_>], own: &SharedStore) {
    for bucket in opened.iter().filter_map(providers::Opened::users_bucket) {
        bucket.connect(own.clone());
    }
}

/// The access keys of the configuration, in the hands of those who sign with them.
#[derive(Debug)]
pub(crate) struct HeldKeys {
    own: Pair,
    /// In the order of the tables.
    roles: Vec<Pair>,
    /// The same.
    stores: Vec<Pair>,
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
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            own: Pair::of(of_storage(&config.storage)),
            roles: config
                .roles
                .iter()
                .map(|role| Pair::of(of_role(role)))
                .collect(),
            stores: config
                .stores
                .iter()
                .map(|named| Pair::of(of_storage(&named.storage)))
                .collect(),
        }
    }

    /// Signs with the secrets of another configuration, whose keys are the same.
    pub(crate) fn replace(&self, config: &Config) {
        self.own.replace(of_storage(&config.storage));
        for (pair, named) in self.stores.iter().zip(&config.stores) {
            pair.replace(of_storage(&named.storage));
        }
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

fn of_storage(storage: &Storage) -> Written<'_> {
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
        default_role: config.identity.default_role.as_deref().map(Into::into),
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
