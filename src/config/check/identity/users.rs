//! Users that the gateway keeps: where, and how they may log in.

use super::Refuse;
use crate::config::{Config, Identity, Methods};
use crate::storage::Bucket;

pub(super) fn check(config: &Config, identity: &Identity, refuse: Refuse<'_>) {
    match identity.methods {
        Methods::KeyOrPassword | Methods::Key => {}
        Methods::Password | Methods::KeyAndPassword => {
            let message = "allowed: \"key\" with provider = \"service-managed\", whose users have \
                           no passwords";
            refuse("methods", message.to_owned());
        }
    }
    let Some(place) = &identity.users.place else {
        if config.state_directory.is_none() {
            let message = "missing: a directory, or s3://bucket/prefix; or set state_directory";
            refuse("users_store", message.to_owned());
        }
        return;
    };
    let Some(rest) = place.strip_prefix("s3://") else {
        return;
    };
    let bucket = rest.split('/').next().unwrap_or_default();
    if let Err(error) = Bucket::parse(bucket) {
        refuse(
            "users_store",
            format!("found {place:?}: {error}; allowed: s3://bucket/prefix"),
        );
    }
    if !config.storage.capabilities.conditional_put {
        let message = "needs conditions on PutObject: changes of two replicas at once would undo \
                       each other. Set storage.conditional_put = true, if the store has them, or \
                       use a directory";
        refuse("users_store", message.to_owned());
    }
}
