//! Whose credentials sessions have at S3: what each way needs, and what has no effect in another.

use std::collections::BTreeSet;

use super::{Url, next_key};
use crate::config::settings::{ROLES, join};
use crate::config::{Config, PathHomes, Roles};
use crate::limits::{
    SESSION_TAG_KEY_CHARS_MAX, SESSION_TAG_VALUE_CHARS_MAX, SESSION_TAGS_MAX,
    SOURCE_IDENTITY_CHARS_MAX,
};
use crate::storage::credentials::{USER_VARIABLE, is_of_sts_name};

type Refuse<'r> = &'r mut dyn FnMut(&str, String);

pub(super) fn check(config: &Config, refuse: Refuse<'_>) {
    let roles = config.identity.roles;
    if roles == Roles::Gateway && config.identity.default_role.is_some() {
        let message = "has no effect with roles = \"gateway\"; leave it out".to_owned();
        refuse("identity.default_role", message);
    }
    if config.identity.path_homes == PathHomes::Role && roles != Roles::Assume {
        let message = format!(
            "with \"role\" only the user's own role confines a session: allowed only with roles = \
             \"assume\", found roles = {:?}",
            roles.as_str()
        );
        refuse("identity.path_homes", message);
    }
    tables(config, refuse);
    if roles == Roles::Assume {
        sts(config, refuse);
    } else {
        no_sts(config, refuse);
    }
}

fn tables(config: &Config, refuse: Refuse<'_>) {
    if config.identity.roles != Roles::Map {
        if !config.roles.is_empty() {
            let message = "has no effect; set roles = \"map\" under [identity] as well".to_owned();
            refuse(ROLES.table, message);
        }
        return;
    }
    if config.roles.is_empty() {
        let message = "\"map\" needs a table [role.NAME] for each role, with arn, access_key_id \
            and secret_access_key";
        refuse("identity.roles", message.to_owned());
    }
    let mut seen = BTreeSet::new();
    for role in &config.roles {
        let refuse_at: Refuse<'_> = &mut *refuse;
        let mut refuse = |key: &str, message: &str| {
            let path = join(&join(ROLES.table, &role.name), key);
            refuse_at(&path, message.to_owned());
        };
        if role.arn.is_empty() {
            refuse("arn", "missing: the role, as in answers");
        } else if !seen.insert(&role.arn) {
            refuse("arn", "another table has the same role");
        }
        if role.access_key_id.is_empty() {
            refuse("access_key_id", "missing");
        }
        if role.secret_access_key.is_none() {
            refuse("secret_access_key", "missing (or secret_access_key_file)");
        }
        next_key(&join(ROLES.table, &role.name), &role.next, true, refuse_at);
    }
    let default = config.identity.default_role.as_ref();
    if default.is_some_and(|role| !seen.contains(role)) {
        let message = "no table [role.NAME] has this arn".to_owned();
        refuse("identity.default_role", message);
    }
}

fn sts(config: &Config, refuse: Refuse<'_>) {
    let sts = &config.sts;
    sts_endpoint(
        ("sts.endpoint", sts.endpoint.as_deref()),
        ("storage.endpoint", config.storage.endpoint.as_deref()),
        refuse,
    );
    let asked = config.providers.iter().map(|named| &named.identity);
    let longest = asked
        .chain([&config.identity])
        .map(|identity| identity.total_timeout)
        .max()
        .unwrap_or_default();
    if sts.timeout.saturating_add(longest) >= config.limits.login_grace {
        let grace = config.limits.login_grace.as_secs();
        let message = format!(
            "allowed: with identity.total_timeout_ms less than limits.login_grace_seconds, which \
             is {grace}"
        );
        refuse("sts.timeout_ms", message);
    }
    let default = config.identity.default_role.as_deref();
    // Other services than AWS's have names of their own.
    let of_aws = sts.endpoint.is_none() && config.storage.endpoint.is_none();
    if of_aws && default.is_some_and(|role| !role.starts_with("arn:")) {
        let message =
            "allowed: a role's full ARN, such as arn:aws:iam::123456789012:role/sftp-users";
        refuse("identity.default_role", message.to_owned());
    }
    tags(config, refuse);
    source_identity(config, refuse);
}

/// Checks the URL of an STS beside that of its store.
pub(super) fn sts_endpoint(
    (path, endpoint): (&str, Option<&str>),
    (store_path, store): (&str, Option<&str>),
    refuse: Refuse<'_>,
) {
    let is_plain = store.is_some_and(|url| url.starts_with("http://"));
    match endpoint.map(Url::parse) {
        Some(Err(message)) => refuse(path, message.to_owned()),
        Some(Ok(url)) if !url.is_private() && !is_plain => {
            let message = format!(
                "keys would be sent unencrypted; allowed: https://, or a {store_path} that is \
                 http:// as well"
            );
            refuse(path, message);
        }
        // The keys of another store are nothing to AWS.
        None if store.is_some() => {
            let message = format!(
                "missing: {store_path} requires it (many stores have STS at the same URL; AWS's \
                 is https://sts.REGION.amazonaws.com)"
            );
            refuse(path, message);
        }
        Some(Ok(_)) | None => {}
    }
}

fn tags(config: &Config, refuse: Refuse<'_>) {
    let mut keys = BTreeSet::new();
    for tag in &config.sts.tags {
        let (key, value) = tag.split_once('=').unwrap_or((tag, ""));
        let long = key.chars().count() > SESSION_TAG_KEY_CHARS_MAX
            || value.chars().count() > SESSION_TAG_VALUE_CHARS_MAX;
        if key.is_empty() || !tag.contains('=') || long {
            let message = format!(
                "found {tag:?}; allowed: \"key=value\", up to {SESSION_TAG_KEY_CHARS_MAX} and \
                 {SESSION_TAG_VALUE_CHARS_MAX} characters"
            );
            refuse("sts.tags", message);
        } else if !keys.insert(key) {
            refuse("sts.tags", format!("{key:?} occurs twice"));
        }
    }
    if config.sts.tags.len() > SESSION_TAGS_MAX {
        let message = format!("allowed: up to {SESSION_TAGS_MAX}");
        refuse("sts.tags", message);
    }
    for key in &config.sts.transitive_tags {
        if !keys.contains(&**key) {
            let message = format!("{key:?} is not a key of sts.tags");
            refuse("sts.transitive_tags", message);
        }
    }
}

fn source_identity(config: &Config, refuse: Refuse<'_>) {
    let Some(template) = &config.sts.source_identity else {
        return;
    };
    let fixed = template.replace(USER_VARIABLE, "");
    let short = fixed == *template && fixed.len() < 2;
    if short || fixed.len() > SOURCE_IDENTITY_CHARS_MAX || !fixed.chars().all(is_of_sts_name) {
        let message = format!(
            "found {template:?}; allowed: 2 to {SOURCE_IDENTITY_CHARS_MAX} letters, digits and \
             _+=,.@-, and ${{transfer:UserName}}"
        );
        refuse("sts.source_identity", message);
    }
}

fn no_sts(config: &Config, refuse: Refuse<'_>) {
    let sts = &config.sts;
    for (key, written) in [
        ("endpoint", sts.endpoint.is_some()),
        ("region", sts.region.is_some()),
        ("external_id", sts.external_id.is_some()),
        ("source_identity", sts.source_identity.is_some()),
        ("tags", !sts.tags.is_empty()),
        ("transitive_tags", !sts.transitive_tags.is_empty()),
    ] {
        if written {
            let message = "has no effect; set roles = \"assume\" under [identity] as well";
            refuse(&format!("sts.{key}"), message.to_owned());
        }
    }
}
