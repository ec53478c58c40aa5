//! Where the service-managed provider keeps its users, as the configuration says.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Identity};
use crate::idp::PathHomes;
use crate::idp::service_managed::{Directory, Documents, InBucket, Users, UsersSettings};

/// Users, and the bucket that waits for credentials, if they are in one.
#[derive(Debug, Clone)]
pub(crate) struct KeptUsers {
    pub(crate) users: Arc<Users>,
    pub(crate) bucket: Option<Arc<InBucket>>,
    /// For people.
    pub(crate) place: Box<str>,
}

/// Opens the users of one server; nothing is read yet.
///
/// # Errors
/// The place cannot be one.
pub(crate) fn open(
    config: &Config,
    identity: &Identity,
    kept: &config::ServiceManaged,
    server_id: &str,
) -> Result<KeptUsers, String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let place = kept.place.as_deref();
    let (documents, bucket): (Arc<dyn Documents>, _) = match place.and_then(InBucket::place) {
        Some(place) => {
            let (bucket, prefix) = place.map_err(|error| format!("users_store: {error}"))?;
            let bucket = InBucket::of(bucket, prefix, server_id, Arc::clone(&clock));
            let bucket = Arc::new(bucket);
            let documents: Arc<dyn Documents> = Arc::<InBucket>::clone(&bucket);
            (documents, Some(bucket))
        }
        None => {
            let of_state = || format!("{}/users", config.state_directory.as_deref().unwrap_or("."));
            let root = place.map_or_else(of_state, str::to_owned);
            (
                Arc::new(Directory::of(root.trim_end_matches('/'), server_id)),
                None,
            )
        }
    };
    let settings = UsersSettings {
        path_homes: match config.identity.path_homes {
            config::PathHomes::Confined => PathHomes::Confined,
            config::PathHomes::Role => PathHomes::Role,
        },
        cached_for: kept.cached_for,
        stale_for: kept.stale_for,
        // Half of what a login has is left for what comes after.
        read_timeout: identity.total_timeout / 2,
    };
    Ok(KeptUsers {
        users: Arc::new(Users::new(documents, settings, clock)),
        bucket,
        place: place.unwrap_or("state_directory").into(),
    })
}
