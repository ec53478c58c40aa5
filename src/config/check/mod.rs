//! Values that are right alone and wrong together.

use std::time::Duration;

use super::problem::Problem;
use super::provider::{Around, Finishing, ProviderSettings};
use super::s3_place;
use super::settings::{API_KEYS, PROVIDERS, join};
use super::source::Sources;
use super::url::Url;
use super::value::show_size;
use super::{
    Config, Identity, ListTimes, Listener, Modes, Mtime, NamedStore, NextKey, Purpose, Roles,
    StatTimes, StoreRoles,
};

mod identity;
pub(super) mod listeners;
mod roles;
mod stores;

/// Lets times of identity providers that nobody set give way to what was written: nobody is refused
/// for a value that they did not set.
fn fit_identities(config: &mut Config, sources: &Sources) {
    let unset = |path: &str| is_unset(sources, path);
    let grace = config.limits.login_grace;
    let mut longest = Duration::ZERO;
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
        longest = longest.max(identity.total_timeout);
    }
    let left = grace.saturating_sub(longest) / 2;
    at_most(unset("sts.timeout_ms"), &mut config.sts.timeout, left);
}

/// Takes of each provider what its kind has.
fn finish_providers(config: &mut Config, sources: &Sources, problems: &mut Vec<Problem>) {
    let has_state_directory = config.state_directory.is_some();
    let has_conditional_put = config.storage.capabilities.conditional_put;
    let mut finish = |section: &str, identity: &mut Identity| {
        let mut finishing = Finishing {
            section,
            around: Around {
                methods: identity.methods,
                has_state_directory,
                has_conditional_put,
            },
            refuse: &mut |key, message| {
                problems.push(refused(sources, &join(section, key), message));
            },
        };
        if let Some(settings) = ProviderSettings::finish(&identity.table, &mut finishing) {
            identity.settings = settings;
        }
    };
    if config.providers.is_empty() {
        finish(PROVIDERS.section, &mut config.identity);
    }
    for named in &mut config.providers {
        finish(&join(PROVIDERS.table, &named.name), &mut named.identity);
    }
}

/// Finds everything that cannot work together, or is missing.
pub(super) fn combinations(
    config: &mut Config,
    sources: &Sources,
    purpose: Purpose,
    problems: &mut Vec<Problem>,
) {
    limits(config, sources, problems);
    fit_identities(config, sources);
    finish_providers(config, sources, problems);
    let config = &*config;
    let mut refuse = |path: &str, message: String| problems.push(refused(sources, path, message));
    match purpose {
        Purpose::Serve => host_keys(config, &mut refuse),
        Purpose::Login => {}
    }
    identity::check(config, sources, &mut refuse);
    listeners::check(config, sources, &mut refuse);
    identity::proxy("", &config.proxy, &mut refuse);
    roles::check(config, &mut refuse);
    stores::check(config, &mut refuse);
    admin(config, &mut refuse);
    api_keys(config, &mut refuse);
    if config.sftp.list_times == ListTimes::Kept && config.sftp.stat_times == StatTimes::Store {
        let message = "allowed: \"store\" with sftp.stat_times = \"store\": STAT and listings \
                       would show different times";
        refuse("sftp.list_times", message.to_owned());
    }
    partial_state(config, &mut refuse);
    if config.sftp.mtime == Mtime::Copy && config.sftp.stat_times == StatTimes::Store {
        let message = "allowed: kept, unless mtime = \"skip\": STAT would not show the times that mtime = \"copy\" keeps";
        refuse("sftp.stat_times", message.to_owned());
    }
    if config.sftp.modes == Modes::Keep && config.sftp.stat_times == StatTimes::Store {
        let message = "allowed: kept, unless modes = \"ignore\": STAT would not show the modes that modes = \"keep\" stores";
        refuse("sftp.stat_times", message.to_owned());
    }
}

/// Refuses a place where no records could be kept, or none would be.
fn partial_state(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    let Some(place) = config.sftp.partial_state.as_deref() else {
        return;
    };
    let mut refuse = |message: String| refuse("sftp.partial_state", message);
    if place.is_empty() {
        refuse("is empty; allowed: a directory, or s3://bucket/prefix".to_owned());
    }
    let conditional = config.storage.capabilities.conditional_put;
    let otherwise = "two replicas could finish the same upload";
    for message in s3_place::problems(place, conditional, otherwise) {
        refuse(message);
    }
    for named in &config.stores {
        let root = named
            .table
            .root
            .as_deref()
            .map(|root| root.trim_end_matches('/'));
        let there = place.trim_end_matches('/');
        let overlaps =
            |root: &str| stores::is_within(there, root) || stores::is_within(root, there);
        if place.starts_with('/') && root.is_some_and(overlaps) {
            let name = &named.name;
            refuse(format!(
                "{place:?} is the root of [store.{name}], in it or around it: clients would see \
                 the records, or be seen in them; allowed: directories beside each other"
            ));
        }
    }
    let own = |named: &NamedStore| named.table.roles == StoreRoles::Gateway;
    if config.identity.roles != Roles::Gateway && !config.stores.iter().any(own) {
        let message = "has no effect: with identity.roles = \"map\" or \"assume\" the gateway has \
                       no credentials with which it could finish an upload of a user who is not \
                       there. A lifecycle rule (AbortIncompleteMultipartUpload) removes the parts";
        refuse(message.to_owned());
    }
}

/// Says what was found besides what is allowed.
fn refused(sources: &Sources, path: &str, message: String) -> Problem {
    let found = sources
        .found(path)
        .filter(|_| message.starts_with("allowed: "));
    let message = match found {
        Some(found) => format!("found {found}; {message}"),
        None => message,
    };
    Problem::new(sources.place(path), path, message)
}

fn host_keys(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    let none = |listener: &Listener| listener.host_key_files.is_empty();
    let any_without = config.listeners.iter().any(none);
    if any_without && config.state_directory.is_none() {
        let message = "no host key: clients need the same one after a restart. Set host_key_files \
                       = [\"host_key\"] (make one: ssh-keygen -t ed25519 -N '' -f host_key), or \
                       state_directory for a key that the gateway generates and keeps";
        refuse("host_key_files", message.to_owned());
    }
}

/// Refuses half a second key, and one without a first.
fn next_key(section: &str, next: &NextKey, has_first: bool, refuse: &mut dyn FnMut(&str, String)) {
    let (missing, message) = match (&next.access_key_id, &next.secret_access_key) {
        (None, None) => return,
        (Some(_), Some(_)) if has_first => return,
        (Some(_), Some(_)) => (
            "access_key_id_next",
            "has no effect without access_key_id and secret_access_key",
        ),
        (Some(_), None) => (
            "secret_access_key_next",
            "missing: access_key_id_next needs it (or secret_access_key_next_file)",
        ),
        (None, Some(_)) => (
            "access_key_id_next",
            "missing: secret_access_key_next needs it",
        ),
    };
    refuse(&format!("{section}.{missing}"), message.to_owned());
}

fn admin(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    let admin = &config.admin;
    if admin.probe_listen.is_some() && admin.probe_listen == admin.listen {
        let message = "found the address of admin.listen; allowed: another one, or off, since \
            admin.listen answers health checks as well";
        refuse("admin.probe_listen", message.to_owned());
    }
    aws_port(config, refuse);
    let half = match (&admin.access_key_id, &admin.secret_access_key) {
        (Some(_), None) => "secret_access_key",
        (None, Some(_)) => "access_key_id",
        (Some(_), Some(_)) | (None, None) => return,
    };
    let message = "missing: access_key_id and secret_access_key belong together".to_owned();
    refuse(&format!("admin.{half}"), message);
}

/// AWS's tools send no secrets, but new keys of users: not in the clear where others listen.
fn aws_port(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    let admin = &config.admin;
    let (certificate, key) = (&admin.api_certificate_pem, &admin.api_certificate_key);
    let Some(listen) = admin.api_listen else {
        let without = "has no effect without admin.api_listen";
        for (is_set, path) in [
            (certificate.is_some(), "admin.api_certificate_file"),
            (key.is_some(), "admin.api_certificate_key"),
            (admin.api_plaintext, "admin.api_plaintext"),
        ] {
            if is_set {
                refuse(path, without.to_owned());
            }
        }
        return;
    };
    // Port 0 is another one each time.
    if listen.port() != 0 && [admin.listen, admin.probe_listen].contains(&Some(listen)) {
        let message = "found the address of another admin port; allowed: another one, or off";
        refuse("admin.api_listen", message.to_owned());
    }
    if config.api_keys.is_empty() && admin.access_key_id.is_none() {
        let message = "has no effect without an access key: add a table [api_key.NAME]";
        refuse("admin.api_listen", message.to_owned());
    }
    let both = "missing: api_certificate_file and api_certificate_key belong together";
    match (certificate, key) {
        (Some(_), None) => refuse("admin.api_certificate_key", both.to_owned()),
        (None, Some(_)) => refuse("admin.api_certificate_file", both.to_owned()),
        (Some(_), Some(_)) if admin.api_plaintext => {
            let message = "has no effect with api_certificate_file";
            refuse("admin.api_plaintext", message.to_owned());
        }
        (None, None) if !admin.api_plaintext && !listen.ip().is_loopback() => {
            let message = "missing: api_certificate_file and api_certificate_key; without TLS only \
                on an address of this machine alone, or with api_plaintext = true";
            refuse("admin.api_listen", message.to_owned());
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// Each key is whole, and tells its caller from all others.
fn api_keys(config: &Config, refuse: &mut dyn FnMut(&str, String)) {
    let mut seen: Vec<&str> = config.admin.access_key_id.as_deref().into_iter().collect();
    for key in &config.api_keys {
        let section = join(API_KEYS.table, &key.name);
        if key.access_key_id.is_empty() {
            refuse(&join(&section, "access_key_id"), "missing".to_owned());
        } else if seen.contains(&&*key.access_key_id) {
            let message = "allowed: one that no other table, and not admin.access_key_id, has";
            refuse(&join(&section, "access_key_id"), message.to_owned());
        }
        seen.push(&key.access_key_id);
        if key.secret_access_key.is_none() {
            let message = "missing (or secret_access_key_file)".to_owned();
            refuse(&join(&section, "secret_access_key"), message);
        }
        if !config.admin.answers_aws() {
            let message = "has no effect with admin.listen = \"off\"".to_owned();
            refuse(&section, message);
        }
    }
}

/// Holds bounds against each other: one that nobody set gives way, another is refused.
fn limits(config: &mut Config, sources: &Sources, problems: &mut Vec<Problem>) {
    let mut refuse = |path: &str, message: String| problems.push(refused(sources, path, message));
    let (limits, retries) = (&mut config.limits, &mut config.storage.retries);
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
        let most = (limits.connections_max, "limits.connections_max");
        hold(sources, path, bound, most, &mut refuse);
    }
    for (path, bound, most) in [
        (
            "limits.part_bytes",
            &mut limits.part_bytes,
            (
                limits.upload_memory_bytes_max,
                "limits.upload_memory_bytes_max",
            ),
        ),
        (
            "limits.read_ahead_per_handle_bytes_max",
            &mut limits.read_ahead_per_handle_bytes_max,
            (
                limits.download_memory_bytes_max,
                "limits.download_memory_bytes_max",
            ),
        ),
    ] {
        hold(sources, path, bound, most, &mut refuse);
    }
    for (path, bound, most) in [
        (
            "limits.hello_timeout_seconds",
            &mut limits.hello_timeout,
            (limits.login_grace, "limits.login_grace_seconds"),
        ),
        (
            "storage.look_timeout_seconds",
            &mut retries.look,
            (retries.under_way, "storage.retry_timeout_seconds"),
        ),
    ] {
        hold(sources, path, bound, most, &mut refuse);
    }
    let path = "limits.keepalive_interval_seconds";
    if is_unset(sources, path) {
        limits.keepalive_interval = limits.keepalive_interval.max(limits.login_grace);
    }
    if limits.keepalive_interval < limits.login_grace {
        let message = "allowed: at least limits.login_grace_seconds, because keep-alives start \
                       after the login";
        refuse(path, message.to_owned());
    }
}

/// Holds one bound to another, which has a name.
fn hold<T: Bound>(
    sources: &Sources,
    path: &str,
    bound: &mut T,
    (most, other): (T, &str),
    refuse: &mut dyn FnMut(&str, String),
) {
    at_most(is_unset(sources, path), bound, most);
    if *bound > most {
        let most = most.show();
        refuse(path, format!("allowed: up to {other}, which is {most}"));
    }
}

/// A bound that can be held to another, and shown as the file has it.
trait Bound: Ord + Copy {
    fn show(self) -> String;
}

impl Bound for usize {
    fn show(self) -> String {
        self.to_string()
    }
}

impl Bound for u64 {
    fn show(self) -> String {
        show_size(self)
    }
}

impl Bound for Duration {
    fn show(self) -> String {
        self.as_secs().to_string()
    }
}

fn is_unset(sources: &Sources, path: &str) -> bool {
    !sources.has(path)
}

fn at_most<T: Ord + Copy>(unset: bool, bound: &mut T, most: T) {
    if unset {
        *bound = most.min(*bound);
    }
}

/// What a login has left when its provider has taken all of its time.
const AFTER_AN_ANSWER: Duration = Duration::from_secs(2);
