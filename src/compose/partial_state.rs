//! Where uploads are recorded, as `sftp.partial_state` says.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::SystemClock;
use crate::config::{self, Config, StoreRoles};
use crate::idp::service_managed::InBucket;
use crate::metrics::Metrics;
use crate::session::{RecordSettings, UploadRecords};
use crate::storage::directory::{DirectoryStore, are_nested};
use crate::storage::{Bucket, SharedStore};

/// Opens the place where uploads are recorded; nothing is asked yet.
///
/// # Errors
/// It cannot be one.
pub(crate) fn open(
    config: &Config,
    own: SharedStore,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<UploadRecords> {
    let Some(place) = config.sftp.partial_state.as_deref() else {
        return Ok(UploadRecords::default());
    };
    let settings = |store, bucket| RecordSettings {
        store,
        bucket,
        of_roles: of_roles(config),
        metrics: Arc::clone(metrics),
        clock: Arc::new(SystemClock),
    };
    let what = || format!("sftp.partial_state: {place:?} cannot be used");
    if let Some(parsed) = InBucket::place(place) {
        let (bucket, prefix) = parsed.with_context(what)?;
        return Ok(UploadRecords::in_bucket(settings(own, bucket), prefix));
    }
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(place);
    made.with_context(what)?;
    is_beside_roots(config, place)?;
    let (store, bucket) = directory(place).with_context(what)?;
    let settings = settings(Arc::new(store), bucket);
    Ok(UploadRecords::in_directory(settings, place))
}

/// Returns the numbers of the stores that sessions reach with the credentials of a role.
fn of_roles(config: &Config) -> BTreeSet<u16> {
    let main = (config.identity.roles != config::Roles::Gateway).then_some(0);
    let named = (1..).zip(&config.stores);
    let assuming = named.filter(|(_, named)| named.table.roles == StoreRoles::Assume);
    main.into_iter()
        .chain(assuming.map(|(number, _)| number))
        .collect()
}

fn directory(place: &str) -> anyhow::Result<(DirectoryStore, Bucket)> {
    let bucket = Bucket::parse(RECORDS)?;
    let store = DirectoryStore::open(place, std::slice::from_ref(&bucket))?;
    Ok((store, bucket))
}

/// Checks a directory that is there: one that is missing is made at the start.
///
/// # Errors
/// It cannot be written to.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    let place = config.sftp.partial_state.as_deref();
    match place.filter(|place| InBucket::place(place).is_none()) {
        Some(place) if std::fs::exists(place).unwrap_or(true) => {
            is_beside_roots(config, place).map_err(|error| format!("{error:#}"))?;
            let opened = directory(place).map(drop);
            opened.map_err(|error| format!("sftp.partial_state: {place:?}: {error:#}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Compares the directories themselves: a path may lead elsewhere.
fn is_beside_roots(config: &Config, place: &str) -> anyhow::Result<()> {
    for named in &config.stores {
        let root = named.table.root.as_deref();
        // A root that is not there is refused elsewhere.
        let Some(root) = root.filter(|root| std::fs::exists(root).unwrap_or(true)) else {
            continue;
        };
        let name = &named.name;
        let compared = || format!("sftp.partial_state: {place:?} and the root of [store.{name}]");
        if are_nested(place, root).with_context(compared)? {
            anyhow::bail!(
                "sftp.partial_state: {place:?} is the root of [store.{name}], in it or around it; \
                 allowed: directories beside each other"
            );
        }
    }
    Ok(())
}

/// Returns the bucket of the records and their prefix, if they are in one.
pub(crate) fn in_bucket(config: &Config) -> Option<&str> {
    let place = config.sftp.partial_state.as_deref();
    place.filter(|place| InBucket::place(place).is_some())
}

/// What the directory is called as a bucket.
const RECORDS: &str = "upload-records";
