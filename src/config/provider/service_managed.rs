//! `provider = "service-managed"`: users that the gateway keeps.

use std::time::Duration;

use super::super::words::Methods;
use super::finishing::Finishing;
use super::table::ProviderTable;
use crate::storage::Bucket;

/// Where the gateway keeps users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceManaged {
    /// A directory or `s3://bucket/prefix`; `None` = a directory of the state.
    pub place: Option<String>,
    pub cached_for: Duration,
    pub stale_for: Duration,
}

pub(super) const KEYS: &[&str] = &["users_store", "users_cached_seconds", "users_stale_seconds"];

impl ServiceManaged {
    pub(super) fn finish(table: &ProviderTable, finishing: &mut Finishing<'_>) -> Self {
        match finishing.around.methods {
            Methods::KeyOrPassword | Methods::Key => {}
            Methods::Password | Methods::KeyAndPassword => {
                let message = "allowed: \"key\" with provider = \"service-managed\", whose users \
                               have no passwords";
                finishing.refuse("methods", message);
            }
        }
        check_place(table.users_place.as_deref(), finishing);
        Self {
            place: table.users_place.clone(),
            cached_for: table.users_cached_for,
            stale_for: table.users_stale_for,
        }
    }
}

fn check_place(place: Option<&str>, finishing: &mut Finishing<'_>) {
    let Some(place) = place else {
        if !finishing.around.has_state_directory {
            let message = "missing: a directory, or s3://bucket/prefix; or set state_directory";
            finishing.refuse("users_store", message);
        }
        return;
    };
    let Some(rest) = place.strip_prefix("s3://") else {
        return;
    };
    let bucket = rest.split('/').next().unwrap_or_default();
    if let Err(error) = Bucket::parse(bucket) {
        let message = format!("found {place:?}: {error}; allowed: s3://bucket/prefix");
        finishing.refuse("users_store", message);
    }
    if !finishing.around.has_conditional_put {
        let message = "needs conditions on PutObject: changes of two replicas at once would \
                       undo each other. Set storage.conditional_put = true, if the store has \
                       them, or use a directory";
        finishing.refuse("users_store", message);
    }
}
