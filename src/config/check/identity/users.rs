//! Users that the gateway keeps: where, and how they may log in.

use crate::config::Methods;
use crate::storage::Bucket;

/// What the configuration says of them.
pub(super) struct Kept<'c> {
    pub(super) place: Option<&'c str>,
    pub(super) methods: Methods,
    pub(super) has_state_directory: bool,
    pub(super) has_conditional_put: bool,
}

impl Kept<'_> {
    pub(super) fn check(&self, refuse: &mut dyn FnMut(&str, String)) {
        match self.methods {
            Methods::KeyOrPassword | Methods::Key => {}
            Methods::Password | Methods::KeyAndPassword => {
                let message = "allowed: \"key\" with provider = \"service-managed\", whose users \
                               have no passwords";
                refuse("methods", message.to_owned());
            }
        }
        let Some(place) = self.place else {
            if !self.has_state_directory {
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
            let message = format!("found {place:?}: {error}; allowed: s3://bucket/prefix");
            refuse("users_store", message);
        }
        if !self.has_conditional_put {
            let message = "needs conditions on PutObject: changes of two replicas at once would \
                           undo each other. Set storage.conditional_put = true, if the store has \
                           them, or use a directory";
            refuse("users_store", message.to_owned());
        }
    }
}
