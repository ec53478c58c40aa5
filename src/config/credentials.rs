//! Whether AWS credentials can come from anywhere, as far as that shows without asking the network.

use std::fs;

use super::{Config, Identity, ProviderSettings, Roles};

/// Says whether somebody needs credentials from AWS's chain, and none of its links is there.
#[must_use]
pub fn are_plainly_absent(config: &Config) -> bool {
    let set = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
    need_the_chain(config) && !has_link(&set, &|path| fs::exists(path).unwrap_or(true))
}

fn need_the_chain(config: &Config) -> bool {
    let storage = config.storage.access_key_id.is_none() && config.identity.roles != Roles::Map;
    let named = config.providers.iter().map(|named| &named.identity);
    let alone = config.providers.is_empty().then_some(&config.identity);
    storage || named.chain(alone).any(asks_aws)
}

fn asks_aws(identity: &Identity) -> bool {
    let aws = match &identity.settings {
        ProviderSettings::Lambda(lambda) => Some(&lambda.aws),
        ProviderSettings::ApiGateway(api) => api.sign.as_ref(),
        ProviderSettings::Webhook(_)
        | ProviderSettings::Token(_)
        | ProviderSettings::Static(_)
        | ProviderSettings::ServiceManaged(_) => None,
    };
    aws.is_some_and(|aws| aws.access_key_id.is_none())
}

/// Looks for what the chain looks at, in its order. Whether this is a machine of EC2 says the name
/// of its maker; where that cannot be read, it may be one.
fn has_link(set: &dyn Fn(&str) -> Option<String>, exists: &dyn Fn(&str) -> bool) -> bool {
    let is_set = |name: &&str| set(name).is_some_and(|value| !value.is_empty());
    if LINKS.iter().any(is_set) {
        return true;
    }
    let home = set("HOME").filter(|home| !home.is_empty());
    let files = home
        .iter()
        .flat_map(|home| FILES.map(|file| format!("{home}/.aws/{file}")));
    if files.into_iter().any(|file| exists(&file)) {
        return true;
    }
    let disabled = set("AWS_EC2_METADATA_DISABLED");
    if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return false;
    }
    let maker = fs::read_to_string("/sys/class/dmi/id/sys_vendor");
    maker.map_or(true, |maker| maker.starts_with("Amazon EC2"))
}

/// Variables that say where credentials are.
const LINKS: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
];

/// In the folder `.aws` of whoever runs the gateway.
const FILES: [&str; 2] = ["credentials", "config"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ApiGateway, Aws};

    #[test]
    fn only_who_asks_aws_without_keys_needs_the_chain() {
        let mut config = Config::default();
        assert!(need_the_chain(&config));
        config.storage.access_key_id = Some("AKIAEXAMPLE".to_owned());
        assert!(!need_the_chain(&config));
        let mut api = ApiGateway {
            url: "https://a.example.com".to_owned(),
            headers: Vec::new(),
            sign: None,
            ca_pem: None,
            plaintext: false,
            accept_keys_with_password: false,
        };
        config.identity.settings = ProviderSettings::ApiGateway(api.clone());
        assert!(!need_the_chain(&config));
        api.sign = Some(Aws::default());
        config.identity.settings = ProviderSettings::ApiGateway(api.clone());
        assert!(need_the_chain(&config));
        api.sign = Some(Aws {
            access_key_id: Some("AKIAEXAMPLE".to_owned()),
            ..Aws::default()
        });
        config.identity.settings = ProviderSettings::ApiGateway(api);
        assert!(!need_the_chain(&config));
    }

    #[test]
    fn each_link_of_the_chain_is_seen() {
        let disabled = ("AWS_EC2_METADATA_DISABLED", "true");
        let links = |set: &[(&str, &str)], files: &[&str]| {
            let value = |name: &str| {
                let found = set.iter().chain([&disabled]).find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            has_link(&value, &|path| files.contains(&path))
        };
        assert!(!links(&[], &[]));
        assert!(!links(&[("HOME", "/srv"), ("AWS_PROFILE", "")], &[]));
        assert!(links(&[("HOME", "/srv")], &["/srv/.aws/config"]));
        for name in LINKS {
            assert!(links(&[(name, "x")], &[]), "{name}");
        }
    }
}
