//! Defaults give way to what was written: nobody is refused for a value that they did not set.

use std::time::Duration;

use super::Config;
use super::problem::Place;
use super::settings::{PROVIDERS, join};
use super::source::Sources;

/// Fits what nobody set to what somebody did.
pub(super) fn give_way(config: &mut Config, sources: &Sources) {
    let unset = |path: &str| sources.place(path) == Place::Nowhere;
    let limits = &mut config.limits;
    let connections = limits.connections_max;
    for (path, bound) in [
        (
            "limits.unauthenticated_connections_max",
            &mut limits.unauthenticated_connections_max,
        ),
        (
            "limits.connections_per_source_max",
            &mut limits.connections_per_source_max,
        ),
        (
            "limits.connections_per_user_max",
            &mut limits.connections_per_user_max,
        ),
    ] {
        at_most(unset(path), bound, connections);
    }
    at_most(
        unset("limits.part_bytes"),
        &mut limits.part_bytes,
        limits.upload_memory_bytes_max,
    );
    at_most(
        unset("limits.read_ahead_per_handle_bytes_max"),
        &mut limits.read_ahead_per_handle_bytes_max,
        limits.download_memory_bytes_max,
    );
    at_most(
        unset("limits.hello_timeout_seconds"),
        &mut limits.hello_timeout,
        limits.login_grace,
    );
    if unset("limits.keepalive_interval_seconds") {
        limits.keepalive_interval = limits.keepalive_interval.max(limits.login_grace);
    }
    let retries = &mut config.storage.retries;
    at_most(
        unset("storage.look_timeout_seconds"),
        &mut retries.look,
        retries.under_way,
    );
    let grace = config.limits.login_grace;
    let own = std::iter::once((String::new(), &mut config.identity));
    let named = config.providers.iter_mut().map(|named| {
        let section = join(PROVIDERS.table, &named.name);
        (section, &mut named.identity)
    });
    for (section, identity) in own.chain(named) {
        // What stands in [identity] is meant for all providers.
        let unset = |key: &str| {
            let own = section.is_empty() || unset(&join(&section, key));
            own && unset(&join(PROVIDERS.section, key))
        };
        let most = grace.saturating_sub(AFTER_AN_ANSWER).max(grace / 2);
        at_most(unset("total_timeout_ms"), &mut identity.total_timeout, most);
        at_most(
            unset("connect_timeout_ms"),
            &mut identity.connect_timeout,
            identity.total_timeout,
        );
    }
}

fn at_most<T: Ord + Copy>(unset: bool, bound: &mut T, most: T) {
    if unset {
        *bound = most.min(*bound);
    }
}

/// What a login has left when its provider has taken all of its time.
const AFTER_AN_ANSWER: Duration = Duration::from_secs(2);
