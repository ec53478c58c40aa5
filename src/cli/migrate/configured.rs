//! What of a configuration a move depends on: the only place of `migrate` that reads it.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::{ConfigSource, Failure, load, signals};
use crate::compose::users;
use crate::config::{
    Algorithms, Config, Event, Identity, Listener, ProviderSettings, Purpose, ServiceManaged,
};
use crate::idp::service_managed::{Fault, User, Users};
use crate::limits::MOVED_USERS_MAX;
use crate::migrate::{Configured, Descriptions, Gateway, KeptUsers, Principal, Served};
use crate::ssh::{self, HostKey, HostKeyError};

/// Reads the configuration, its host keys and the users that were described.
///
/// # Errors
/// The configuration is wrong, or a file that it names.
pub(super) fn gateway(
    source: &ConfigSource,
    found: &Descriptions,
    principal: Option<Principal>,
) -> Result<Gateway, Failure> {
    let config = load(source, Purpose::Serve)?;
    let providers = if config.providers.is_empty() {
        vec![configured(&config, (None, &config.identity), found)?]
    } else {
        let named = config.providers.iter();
        let each = named.map(|named| {
            let named = (Some(&*named.name), &named.identity);
            configured(&config, named, found)
        });
        each.collect::<Result<_, _>>()?
    };
    let fs_ids = config.stores.iter().flat_map(|named| &named.table.fs_ids);
    Ok(Gateway {
        providers,
        roles: config.identity.roles,
        path_homes: config.identity.path_homes,
        external_id: config.sts.external_id.clone(),
        has_session_tags: !config.sts.tags.is_empty(),
        has_source_identity: config.sts.source_identity.is_some(),
        role_tables: config.roles.iter().map(|role| role.arn.clone()).collect(),
        partial_uploads: config.sftp.partial_uploads,
        main: served(&config, config.listeners.iter().take(1))?,
        macs: ssh::macs(),
        fs_ids: fs_ids.cloned().collect(),
        principal,
    })
}

/// Returns what clients meet at the first of the listeners.
fn served<'c>(
    config: &Config,
    mut listeners: impl Iterator<Item = &'c Listener>,
) -> Result<Served, Failure> {
    let Some(listener) = listeners.next() else {
        return Ok(Served::default());
    };
    let mut paths = listener.host_key_files.clone();
    if paths.is_empty()
        && let Some(state) = &config.state_directory
    {
        paths.extend(HostKey::found_in(state));
    }
    let named = |one: &Listener| format!("{} ({})", one.name, one.listen);
    Ok(Served {
        listener: named(listener),
        others: listeners.map(named).collect(),
        port: listener.listen.port(),
        proxy: listener.proxy.protocol,
        banner: listener.banner.clone(),
        host_keys: fingerprints(&paths)?,
        host_keys_next: fingerprints(&listener.host_key_next_files)?,
        is_compatible: listener.algorithms == Algorithms::Compatible,
        key_exchanges: ssh::key_exchanges(listener.algorithms),
    })
}

/// Reads keys; a directory of state whose keys are not made yet has none.
fn fingerprints(paths: &[String]) -> Result<Vec<String>, Failure> {
    let fingerprint = |path: &String| match HostKey::load(path) {
        Ok(key) => Ok(key.fingerprint()),
        Err(source) => Err(unreadable(path.clone(), source)),
    };
    paths.iter().map(fingerprint).collect()
}

const fn unreadable(path: String, source: HostKeyError) -> Failure {
    Failure::HostKey { path, source }
}

fn configured(
    config: &Config,
    (name, identity): (Option<&str>, &Identity),
    found: &Descriptions,
) -> Result<Configured, Failure> {
    let server_id = identity.server_id.as_ref().unwrap_or(&config.server_id);
    // The only provider has no name, and every listener has it.
    let serves = |listener: &&Listener| {
        name.is_none_or(|name| listener.providers.iter().any(|one| one == name))
    };
    let (mut function, mut url) = (None, String::new());
    let (mut asks_as_aws, mut users) = (false, KeptUsers::None);
    match &identity.settings {
        ProviderSettings::Webhook(webhook) => {
            url.clone_from(&webhook.url);
            asks_as_aws = webhook.event == Event::TransferFamily;
        }
        ProviderSettings::ApiGateway(api) => url.clone_from(&api.url),
        ProviderSettings::Lambda(lambda) => function = Some(lambda.function.clone()),
        ProviderSettings::ServiceManaged(of_users) => {
            users = kept(config, identity, of_users, (server_id, found))?;
        }
        ProviderSettings::Static(_) | ProviderSettings::Token(_) => {}
    }
    Ok(Configured {
        server_id: server_id.clone(),
        provider: identity.provider(),
        asks_as_aws,
        function,
        url,
        methods: identity.methods,
        served: served(config, config.listeners.iter().filter(serves))?,
        users,
    })
}

/// Reads the documents of the users that were described, and the names of all; those in a bucket
/// are not asked for.
fn kept(
    config: &Config,
    identity: &Identity,
    of_users: &ServiceManaged,
    (server_id, found): (&str, &Descriptions),
) -> Result<KeptUsers, Failure> {
    let open = users::open(config, identity, of_users, server_id);
    let open = open.map_err(Failure::Setting)?;
    if open.bucket.is_some() {
        return Ok(KeptUsers::Elsewhere(open.place.into()));
    }
    let names: BTreeSet<_> = found.users_of(server_id).map(|(name, _)| name).collect();
    signals::run(|_| async {
        let users = describe(&open.users, &names).await?;
        let all = open.users.names(MOVED_USERS_MAX).await;
        let mut others = all.map_err(|fault| anyhow::Error::msg(fault.to_string()))?;
        others.retain(|name| !names.contains(&**name));
        Ok(KeptUsers::Read { users, others })
    })
}

async fn describe(
    users: &Users,
    names: &BTreeSet<&str>,
) -> anyhow::Result<BTreeMap<String, Result<User, String>>> {
    let mut kept = BTreeMap::new();
    for name in names {
        let described = match users.describe(name).await {
            Ok(user) => Ok(user),
            Err(Fault::NotFound { .. }) => continue,
            Err(Fault::Document { why, .. }) => Err(why),
            Err(other) => return Err(anyhow::Error::msg(other.to_string())),
        };
        kept.insert((*name).to_owned(), described);
    }
    Ok(kept)
}
