//! The service that `--contract` tries: one of the configuration's, or one at a URL.

use std::sync::Arc;

use super::Options;
use crate::auth::UserNameRule;
use crate::cli::contract::Service;
use crate::cli::providers::{self, Opened};
use crate::cli::{Failure, load};
use crate::config::{Provider, Purpose};
use crate::idp::webhook::{Event, Webhook, WebhookSettings};

/// Says who is asked, and how.
pub(super) fn asked(options: &Options, url: Option<&str>) -> Result<Service, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("--contract: {why}"));
    let url = match (url, &options.source.config) {
        (Some(url), None) => {
            return at(WebhookSettings::new(url, "s-contract"), None, options);
        }
        (url, _) => url,
    };
    let config = load(&options.source, Purpose::Login)?;
    let opened = providers::open(&config)?;
    let one = chosen(&opened, options).map_err(|why| wrong(&why))?;
    let user_names = Some(providers::user_names(one.identity));
    match one.identity.provider {
        Provider::Webhook => {
            let keys = one.keys.clone();
            let mut settings = providers::signed_webhook(&config, one.identity, keys);
            if let Some(url) = url {
                url.clone_into(&mut settings.url);
                settings.more_urls.clear();
            }
            at(settings, user_names, options)
        }
        Provider::ApiGateway | Provider::Lambda if url.is_some() || options.transfer_family => {
            Err(wrong(
                "a URL and --transfer-family go with a webhook; the configured provider is \
                 another and is asked as configured",
            ))
        }
        Provider::ApiGateway | Provider::Lambda => Ok(Service {
            provider: Arc::clone(&one.provider),
            webhook: None,
            user_names,
            total_timeout: one.identity.total_timeout,
        }),
        Provider::Static | Provider::Token => Err(wrong(
            "this provider asks no service; a webhook, an API gateway or a function can be tried",
        )),
    }
}

/// A webhook, which may be given a URL and Transfer Family's event here.
fn at(
    mut settings: WebhookSettings,
    user_names: Option<UserNameRule>,
    options: &Options,
) -> Result<Service, Failure> {
    if options.transfer_family {
        settings.event = Event::TransferFamily;
    }
    let webhook = Webhook::new(settings.clone());
    let webhook = webhook.map_err(|error| Failure::Usage(format!("--contract: {error}")))?;
    Ok(Service {
        provider: Arc::new(webhook),
        total_timeout: settings.total_timeout,
        webhook: Some(settings),
        user_names,
    })
}

/// The provider that is meant.
fn chosen<'o, 'c>(opened: &'o [Opened<'c>], options: &Options) -> Result<&'o Opened<'c>, String> {
    let names = || {
        let names: Vec<_> = opened.iter().map(|one| one.name).collect();
        names.join(", ")
    };
    match (&options.provider, opened) {
        (Some(name), _) => {
            let mut all = opened.iter();
            all.find(|one| one.name == name)
                .ok_or_else(|| format!("no provider {name:?}; there are: {}", names()))
        }
        (None, [only]) => Ok(only),
        (None, _) => Err(format!("say which with --provider: {}", names())),
    }
}
