//! What each store needs, and which of them serves what.

use std::collections::BTreeMap;

use super::roles::sts_endpoint;
use super::{Url, next_key};
use crate::config::settings::{STORES, join};
use crate::config::{Config, Encryption, NamedStore, Roles, Storage, StoreKind, StoreRoles};
use crate::limits::{NAMED_STORES_MAX, PART_BYTES_MIN};
use crate::storage::Bucket;
use crate::storage::routes::Pattern;

type Refuse<'r> = &'r mut dyn FnMut(&str, String);

pub(super) fn check(config: &Config, refuse: Refuse<'_>) {
    storage("storage", &config.storage, refuse);
    if (1..PART_BYTES_MIN).contains(&config.storage.object_bytes_max) {
        let message = "allowed: 0, or at least 5MiB".to_owned();
        refuse("storage.object_bytes_max", message);
    }
    if config.stores.len() > NAMED_STORES_MAX {
        let message = format!("allowed: up to {NAMED_STORES_MAX} of them");
        refuse(STORES.table, message);
    }
    let mut served = BTreeMap::new();
    for named in &config.stores {
        let section = join(STORES.table, &named.name);
        match named.table.kind {
            StoreKind::S3 => of_s3(named, &section, refuse),
            StoreKind::Directory => of_directory(named, &section, refuse),
        }
        roles(config, named, &section, refuse);
        patterns(named, &section, &mut served, refuse);
    }
    roots(&config.stores, refuse);
}

/// Refuses a root in another one, as far as their paths tell; the start compares the directories.
fn roots(stores: &[NamedStore], refuse: Refuse<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for named in stores {
        let root = named.table.root.as_deref();
        let Some(root) = root.and_then(|root| root.strip_prefix('/')) else {
            continue;
        };
        let root = root.trim_end_matches('/');
        for (other, there) in &seen {
            if is_within(root, there) || is_within(there, root) {
                let found = format!("/{root}");
                let message = format!(
                    "{found:?} is the root of [store.{other}], in it or around it; allowed: \
                     directories beside each other"
                );
                refuse(&join(&join(STORES.table, &named.name), "root"), message);
            }
        }
        seen.push((&named.name, root));
    }
}

pub(super) fn is_within(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| above.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

fn of_s3(named: &NamedStore, section: &str, refuse: Refuse<'_>) {
    let table = &named.table;
    storage(section, &named.storage, refuse);
    if table.buckets.is_empty() {
        let message = "missing: the buckets that it serves, such as [\"archive-*\", \"partner\"]";
        refuse(&join(section, "buckets"), message.to_owned());
    }
    for (key, written) in [
        ("root", table.root.is_some()),
        ("fs_ids", !table.fs_ids.is_empty()),
    ] {
        if written {
            let message = "has no effect; set kind = \"directory\" as well";
            refuse(&join(section, key), message.to_owned());
        }
    }
}

fn of_directory(named: &NamedStore, section: &str, refuse: Refuse<'_>) {
    let (table, storage) = (&named.table, &named.storage);
    match table.root.as_deref() {
        None => {
            let message = "missing: kind = \"directory\" needs it";
            refuse(&join(section, "root"), message.to_owned());
        }
        Some(root) if !root.starts_with('/') => {
            let message = "allowed: a path from the root on, such as /srv/data";
            refuse(&join(section, "root"), message.to_owned());
        }
        Some(_) => {}
    }
    for (key, written) in [
        ("buckets", !table.buckets.is_empty()),
        ("endpoint", storage.endpoint.is_some()),
        ("access_key_id", storage.access_key_id.is_some()),
        ("secret_access_key", storage.secret_access_key.is_some()),
        ("encryption", storage.encryption != Encryption::None),
        ("storage_class", storage.storage_class.is_some()),
    ] {
        if written {
            let message = "has no effect with kind = \"directory\"; leave it out";
            refuse(&join(section, key), message.to_owned());
        }
    }
    for id in &table.fs_ids {
        if Bucket::parse(id).is_err() {
            let message = format!("found {id:?}; allowed: names such as fs-0123456789abcdef0");
            refuse(&join(section, "fs_ids"), message);
        }
    }
}

/// Checks whose roles sessions have there, and where those come from.
fn roles(config: &Config, named: &NamedStore, section: &str, refuse: Refuse<'_>) {
    let (table, roles) = (&named.table, config.identity.roles);
    match table.roles {
        StoreRoles::Refuse | StoreRoles::Gateway => {
            let written = [
                ("sts_endpoint", &table.sts_endpoint),
                ("sts_region", &table.sts_region),
            ];
            for (key, _) in written.iter().filter(|(_, value)| value.is_some()) {
                let message = "has no effect; set roles = \"assume\" as well".to_owned();
                refuse(&join(section, key), message);
            }
        }
        StoreRoles::Assume if table.kind == StoreKind::Directory => {
            let message = "a directory has no roles; allowed: \"refuse\" and \"gateway\"";
            refuse(&join(section, "roles"), message.to_owned());
        }
        StoreRoles::Assume if roles != Roles::Assume => {
            let message = format!(
                "\"assume\" is allowed only with identity.roles = \"assume\", found {:?}",
                roles.as_str()
            );
            refuse(&join(section, "roles"), message);
        }
        StoreRoles::Assume => {
            let of = |key| join(section, key);
            sts_endpoint(
                (&of("sts_endpoint"), table.sts_endpoint.as_deref()),
                (&of("endpoint"), named.storage.endpoint.as_deref()),
                refuse,
            );
        }
    }
}

/// Each pattern belongs to one store: of two that differ the longer one decides.
fn patterns<'c>(
    named: &'c NamedStore,
    section: &str,
    served: &mut BTreeMap<&'c str, &'c str>,
    refuse: Refuse<'_>,
) {
    let path = match named.table.kind {
        StoreKind::S3 => join(section, "buckets"),
        StoreKind::Directory => join(section, "fs_ids"),
    };
    for pattern in named.patterns() {
        if let Err(error) = Pattern::parse(pattern) {
            let message = format!(
                "found {pattern:?}: {error}; allowed: names of buckets, or beginnings of names \
                 with * after them"
            );
            refuse(&path, message);
        }
        if let Some(other) = served.insert(pattern, &named.name) {
            let message = format!("{pattern:?} is in [store.{other}] as well; allowed: once");
            refuse(&path, message);
        }
    }
}

fn storage(section: &str, storage: &Storage, refuse: Refuse<'_>) {
    let refuse_at: Refuse<'_> = &mut *refuse;
    let mut refuse = |key: &str, message: &str| refuse_at(&join(section, key), message.to_owned());
    if let Some(Err(message)) = storage.endpoint.as_deref().map(Url::parse) {
        refuse("endpoint", message);
    }
    match (storage.encryption, &storage.kms_key_id) {
        (Encryption::Kms, None) => {
            refuse("kms_key_id", "missing: encryption = \"kms\" needs it");
        }
        (Encryption::None | Encryption::S3, Some(_)) => refuse(
            "kms_key_id",
            "has no effect; set encryption = \"kms\" as well",
        ),
        (Encryption::Kms, Some(_)) | (Encryption::None | Encryption::S3, None) => {}
    }
    match (&storage.access_key_id, &storage.secret_access_key) {
        (Some(_), None) => refuse(
            "secret_access_key",
            "missing: access_key_id needs it (or secret_access_key_file)",
        ),
        (None, Some(_)) => refuse("access_key_id", "missing: secret_access_key needs it"),
        (None, None) if storage.session_token.is_some() => refuse(
            "session_token",
            "has no effect without access_key_id and secret_access_key",
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let has_first = storage.access_key_id.is_some() && storage.secret_access_key.is_some();
    next_key(section, &storage.next, has_first, refuse_at);
}
