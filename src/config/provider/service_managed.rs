//! `provider = "service-managed"`: users that the gateway keeps.

use std::time::Duration;

use super::super::s3_place;
use super::super::words::Methods;
use super::finishing::Finishing;
use super::table::ProviderTable;

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
    let conditional = finishing.around.has_conditional_put;
    let otherwise = "changes of two replicas at once would undo each other";
    for message in s3_place::problems(place, conditional, otherwise) {
        finishing.refuse("users_store", message);
    }
}
