//! The providers that a configuration names: each opened, behind its cache, and asked at listeners.

use std::sync::Arc;
use std::time::Duration;

use super::unusable::Unusable;
use super::users::{self, KeptUsers};
use crate::auth::{AuthSettings, Methods, Roles, UserNameRule};
use crate::aws::AccessKey;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Identity, ProviderSettings};
use crate::idp::api_gateway::{self, ApiGateway, ApiGatewaySettings};
use crate::idp::blocks::Blocks;
use crate::idp::breaker::Guarded;
use crate::idp::cache::{CacheSettings, Cached};
use crate::idp::follow::Followed;
use crate::idp::history::LoginHistory;
use crate::idp::lambda::{Lambda, LambdaSettings};
use crate::idp::metered::Metered;
use crate::idp::places::{Bounded, PlacesSettings};
use crate::idp::replaceable::Replaceable;
use crate::idp::router::{Route, Router};
use crate::idp::service_managed::{InBucket, ServiceManaged};
use crate::idp::signature::{Keys, Signing};
use crate::idp::static_file::StaticFile;
use crate::idp::switched::Switched;
use crate::idp::token::{KeySource, KeyTimes, Token, TokenSettings};
use crate::idp::webhook::{Event, LookUpPassword, Webhook, WebhookSettings};
use crate::idp::{AwsCredentials, Examined, IdentityProvider, Oddity, PathHomes};
use crate::limits;
use crate::metrics::Metrics;
use crate::secret::Secret;

/// A provider that has been opened and not been asked yet.
#[derive(Debug)]
pub(crate) struct Opened<'c> {
    /// Empty for the only provider.
    pub(crate) name: &'c str,
    pub(crate) identity: &'c Identity,
    pub(crate) provider: Arc<dyn Examined>,
    pub(crate) file: Option<Arc<StaticFile>>,
    /// What its questions are signed with.
    pub(crate) keys: Option<Arc<Keys>>,
    /// Users that the gateway keeps.
    pub(crate) kept_users: Option<KeptUsers>,
    /// What comes from files that may change.
    followed: Option<Arc<dyn Followed>>,
    reopened: Option<Reopened>,
}

/// What takes the new values of its settings, once they are known to be usable.
#[derive(Debug, Clone)]
enum Reopened {
    Provider(Arc<Replaceable>),
    /// Keeps the keys that it fetched.
    Token(Arc<Token>),
}

/// A provider whose settings may have values from files.
#[derive(Debug)]
pub(crate) struct Reopening {
    name: String,
    keys: Option<Arc<Keys>>,
    reopened: Reopened,
}

impl Opened<'_> {
    /// Returns the bucket of the provider's users, if they are in one.
    pub(crate) fn users_bucket(&self) -> Option<&InBucket> {
        self.kept_users.as_ref()?.bucket.as_deref()
    }

    /// Says where the provider keeps its users.
    pub(crate) fn users_place(&self) -> &str {
        self.kept_users.as_ref().map_or("", |kept| &kept.place)
    }

    /// Returns everything that follows its files.
    pub(crate) fn followed(&self) -> impl Iterator<Item = Arc<dyn Followed>> {
        let keys = self.keys.clone().map(|keys| -> Arc<dyn Followed> { keys });
        self.followed.clone().into_iter().chain(keys)
    }

    /// Returns what takes new values of its settings.
    pub(crate) fn reopening(&self) -> Option<Reopening> {
        Some(Reopening {
            name: self.name.to_owned(),
            keys: self.keys.clone(),
            reopened: self.reopened.clone()?,
        })
    }
}

impl Reopening {
    /// Opens the provider with the values of another configuration, if they are others than those
    /// of `held`; what it returns puts them in use.
    ///
    /// # Errors
    /// A value cannot be used.
    pub(crate) fn prepare(&self, config: &Config, held: &Config) -> Result<Commit, Unusable> {
        let nothing: Commit = Box::new(|| {});
        let Some(identity) = identity_of(config, &self.name) else {
            return Ok(nothing);
        };
        if identity_of(held, &self.name).is_some_and(|held| identity.has_values_of(held)) {
            return Ok(nothing);
        }
        let name = &self.name;
        let (provider, next) = match (&self.reopened, &identity.settings) {
            (Reopened::Token(token), ProviderSettings::Token(settings)) => {
                let (token, next) = (Arc::clone(token), open_token(name, identity, settings)?);
                return Ok(Box::new(move || token.take_connection_of(&next)));
            }
            (Reopened::Provider(provider), ProviderSettings::Webhook(webhook)) => {
                let keys = self.keys.clone();
                let next = open_webhook(config, name, identity, webhook, keys)?;
                (Arc::clone(provider), next)
            }
            (Reopened::Provider(provider), ProviderSettings::ApiGateway(api)) => {
                let next = open_api_gateway(config, name, identity, api)?;
                (Arc::clone(provider), next)
            }
            (Reopened::Provider(provider), ProviderSettings::Lambda(lambda)) => {
                let next = open_lambda(config, name, identity, lambda)?;
                (Arc::clone(provider), next)
            }
            // A provider keeps its kind as long as the process runs.
            (
                Reopened::Token(_) | Reopened::Provider(_),
                ProviderSettings::Webhook(_)
                | ProviderSettings::ApiGateway(_)
                | ProviderSettings::Lambda(_)
                | ProviderSettings::Token(_)
                | ProviderSettings::Static(_)
                | ProviderSettings::ServiceManaged(_),
            ) => return Ok(nothing),
        };
        Ok(Box::new(move || provider.replace(next)))
    }
}

fn identity_of<'c>(config: &'c Config, name: &str) -> Option<&'c Identity> {
    if name.is_empty() {
        return Some(&config.identity);
    }
    let named = config.providers.iter().find(|named| named.name == name);
    named.map(|named| &named.identity)
}

/// Puts what was prepared in use.
pub(crate) type Commit = Box<dyn FnOnce() + Send>;

/// Opens every provider, in the order of asking.
///
/// # Errors
/// A setting, or a file that it names, cannot be used.
pub(crate) fn open(config: &Config) -> Result<Vec<Opened<'_>>, Unusable> {
    if config.providers.is_empty() {
        return Ok(vec![open_one(config, "", &config.identity)?]);
    }
    let named = config.providers.iter();
    named
        .map(|named| open_one(config, &named.name, &named.identity))
        .collect()
}

fn open_one<'c>(
    config: &Config,
    name: &'c str,
    identity: &'c Identity,
) -> Result<Opened<'c>, Unusable> {
    let opened = |provider| Opened {
        name,
        identity,
        provider,
        file: None,
        keys: None,
        kept_users: None,
        followed: None,
        reopened: None,
    };
    let remote = |first, keys| {
        let provider = Arc::new(Replaceable::new(first));
        Opened {
            keys,
            reopened: Some(Reopened::Provider(Arc::clone(&provider))),
            ..opened(provider)
        }
    };
    Ok(match &identity.settings {
        ProviderSettings::Webhook(webhook) => {
            let keys = open_keys(name, &webhook.signing.key_files)?;
            let first = open_webhook(config, name, identity, webhook, keys.clone())?;
            remote(first, keys)
        }
        ProviderSettings::ApiGateway(api) => {
            remote(open_api_gateway(config, name, identity, api)?, None)
        }
        ProviderSettings::Lambda(lambda) => {
            remote(open_lambda(config, name, identity, lambda)?, None)
        }
        ProviderSettings::Token(settings) => {
            let token = Arc::new(open_token(name, identity, settings)?);
            let has_file = matches!(settings.keys, config::KeySource::File(_));
            Opened {
                followed: has_file.then(|| -> Arc<dyn Followed> { token.clone() }),
                reopened: (!has_file).then(|| Reopened::Token(Arc::clone(&token))),
                ..opened(token)
            }
        }
        ProviderSettings::ServiceManaged(settings) => {
            let kept = users::open(config, identity, settings, server_id(config, identity))
                .map_err(|why| unusable(name, &*anyhow::Error::msg(why)))?;
            let provider = Arc::new(ServiceManaged::new(Arc::clone(&kept.users)));
            Opened {
                kept_users: Some(kept),
                ..opened(provider)
            }
        }
        ProviderSettings::Static(settings) => {
            let file = Arc::new(StaticFile::open(&settings.users_file)?);
            Opened {
                file: Some(Arc::clone(&file)),
                followed: Some(file.clone()),
                ..opened(file)
            }
        }
    })
}

fn open_webhook(
    config: &Config,
    name: &str,
    identity: &Identity,
    settings: &config::Webhook,
    keys: Option<Arc<Keys>>,
) -> Result<Arc<dyn Examined>, Unusable> {
    let webhook = Webhook::new(signed_webhook(config, identity, settings, keys));
    Ok(Arc::new(webhook.map_err(|error| unusable(name, &error))?))
}

fn open_api_gateway(
    config: &Config,
    name: &str,
    identity: &Identity,
    settings: &config::ApiGateway,
) -> Result<Arc<dyn Examined>, Unusable> {
    let provider = ApiGateway::new(api_gateway(config, identity, settings));
    Ok(Arc::new(provider.map_err(|error| unusable(name, &error))?))
}

fn open_lambda(
    config: &Config,
    name: &str,
    identity: &Identity,
    settings: &config::Lambda,
) -> Result<Arc<dyn Examined>, Unusable> {
    let provider = Lambda::new(lambda(config, identity, settings));
    Ok(Arc::new(provider.map_err(|error| unusable(name, &error))?))
}

/// Opens the keys that questions are signed with.
fn open_keys(name: &str, files: &[String]) -> Result<Option<Arc<Keys>>, Unusable> {
    if files.is_empty() {
        return Ok(None);
    }
    let keys = Keys::open(files).map_err(|error| unusable(name, &error))?;
    Ok(Some(Arc::new(keys)))
}

fn open_token(
    name: &str,
    identity: &Identity,
    settings: &config::Token,
) -> Result<Token, Unusable> {
    let token = Token::new(&token(identity, settings), Arc::new(SystemClock));
    token.map_err(|error| unusable(name, &error))
}

/// Returns what the configuration says about a webhook, with the keys that sign its questions.
pub(crate) fn signed_webhook(
    config: &Config,
    identity: &Identity,
    settings: &config::Webhook,
    keys: Option<Arc<Keys>>,
) -> WebhookSettings {
    let mut asked = webhook(config, identity, settings);
    let signing = &settings.signing;
    asked.signing = keys.map(|keys| Signing {
        keys,
        issuer: match &signing.issuer {
            Some(issuer) => issuer.as_str().into(),
            None => asked.server_id.clone(),
        },
        audience: signing.audience.as_deref().map(Into::into),
        lifetime: signing.lifetime,
    });
    asked
}

fn unusable(name: &str, error: &dyn std::error::Error) -> Unusable {
    let section = match name {
        "" => "identity".to_owned(),
        name => format!("provider.{name}"),
    };
    Unusable::Setting(format!("[{section}] cannot be used: {error}"))
}

/// Puts each provider behind its cache.
///
/// # Errors
/// The system gives no randomness.
pub(crate) fn ask<'a, 'c>(
    config: &Config,
    opened: &'a [Opened<'c>],
    history: &Arc<LoginHistory>,
    blocks: &Arc<Blocks>,
    metrics: &Arc<Metrics>,
) -> std::io::Result<(Vec<Asked<'a, 'c>>, Vec<Arc<Cached>>)> {
    let (mut caches, mut asked) = (Vec::new(), Vec::new());
    for opened in opened {
        let (provider, cache) = remembered(config, opened, history, metrics)?;
        let (blocks, clock) = (Arc::clone(blocks), Arc::new(SystemClock));
        let provider = Switched::new(provider, opened.name, blocks, clock);
        caches.extend(cache);
        asked.push((opened, Arc::new(provider) as Arc<dyn IdentityProvider>));
    }
    Ok((asked, caches))
}

/// A provider and what stands before it.
pub(crate) type Asked<'a, 'c> = (&'a Opened<'c>, Arc<dyn IdentityProvider>);

/// Returns who decides about logins at a listener, and how: where it has several providers, a
/// router stands before them.
pub(crate) fn at(
    listener: &config::Listener,
    asked: &[Asked<'_, '_>],
) -> (Arc<dyn IdentityProvider>, AuthSettings) {
    let mut there: Vec<&Asked<'_, '_>> = Vec::new();
    if let [only] = asked
        && only.0.name.is_empty()
    {
        let (opened, provider) = only;
        let identity = opened.identity;
        let auth = auth(identity).without_passwords(has_keys_only(identity));
        return (Arc::clone(provider), auth);
    }
    for name in &listener.providers {
        there.extend(asked.iter().find(|(opened, _)| opened.name == name));
    }
    let routes: Vec<Route> = there.iter().map(|asked| route(asked)).collect();
    let longest = routes.iter().map(|route| route.password_bytes_max).max();
    // A listener whose providers all have keys alone asks nobody for a password.
    let keys_only = there
        .iter()
        .all(|(opened, _)| has_keys_only(opened.identity));
    // The configuration refuses a listener without providers, and methods that differ.
    let first = there.first().map(|(opened, _)| auth(opened.identity));
    let auth = AuthSettings {
        // Each provider has a rule and a bound of its own.
        user_names: UserNameRule::Open,
        password_bytes_max: longest.unwrap_or_default(),
        ..first.unwrap_or_default().without_passwords(keys_only)
    };
    (Arc::new(Router::new(routes)), auth)
}

fn route((opened, provider): &Asked<'_, '_>) -> Route {
    let identity = opened.identity;
    Route {
        provider: Arc::clone(provider),
        user_names: user_names(identity),
        suffix: identity.user_suffix.as_deref().map(Into::into),
        prefix: identity.user_prefix.as_deref().map(Into::into),
        password_bytes_max: password_bytes_max(identity),
    }
}

/// Counts what a provider is asked, names its answers, and remembers them if that was set.
fn remembered(
    config: &Config,
    opened: &Opened<'_>,
    history: &Arc<LoginHistory>,
    metrics: &Arc<Metrics>,
) -> std::io::Result<(Arc<dyn IdentityProvider>, Option<Arc<Cached>>)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let asked: Arc<dyn IdentityProvider> = opened.provider.clone();
    metrics.expect_provider(
        opened.name,
        Oddity::ALL.iter().map(|oddity| oddity.as_str()),
    );
    let counted: Arc<dyn IdentityProvider> = Arc::new(Metered::new(
        opened.name,
        asked,
        Arc::clone(metrics),
        Arc::clone(&clock),
    ));
    let identity = opened.identity;
    // Nobody is asked about a file: it does not fail, and is as quick as the cache.
    let is_file = opened.file.is_some() || opened.kept_users.is_some();
    let guarded: Arc<dyn IdentityProvider> = if is_file {
        counted
    } else {
        Arc::new(Guarded::new(
            counted,
            opened.name,
            identity.breaker_failures,
            Arc::clone(history),
            Arc::clone(metrics),
            Arc::clone(&clock),
        ))
    };
    let places = PlacesSettings {
        questions_max: identity.questions_max,
        total_timeout: if opened.file.is_some() {
            Duration::ZERO
        } else {
            identity.total_timeout
        },
    };
    let bounded: Arc<dyn IdentityProvider> = Arc::new(Bounded::new(
        guarded,
        opened.name,
        places,
        Arc::clone(metrics),
        Arc::clone(&clock),
    ));
    if is_file {
        return Ok((bounded, None));
    }
    let settings = CacheSettings {
        provider: opened.name.into(),
        server_id: server_id(config, identity).into(),
        user_prefix: identity.user_prefix.as_deref().map(Into::into),
        user_suffix: identity.user_suffix.as_deref().map(Into::into),
        allowed_for: identity.cache.allowed_for,
        denied_for: identity.cache.denied_for,
        stale_for: identity.cache.stale_for,
        spread_percent: SPREAD_PERCENT,
        bytes_max: identity.cache.bytes_max,
    };
    let cached = Arc::new(Cached::new(bounded, settings, Arc::clone(metrics), clock)?);
    Ok((cached.clone(), Some(cached)))
}

/// Returns the name of the server that a provider is asked for.
pub(crate) fn server_id<'c>(config: &'c Config, identity: &'c Identity) -> &'c str {
    identity.server_id.as_deref().unwrap_or(&config.server_id)
}

/// Returns what the configuration says about a webhook.
fn webhook(config: &Config, identity: &Identity, settings: &config::Webhook) -> WebhookSettings {
    WebhookSettings {
        url: settings.url.clone(),
        more_urls: settings.more_urls.clone(),
        server_id: server_id(config, identity).into(),
        event: match settings.event {
            config::Event::Plain => Event::Plain,
            config::Event::TransferFamily => Event::TransferFamily,
        },
        headers: settings.headers.clone(),
        connect_timeout: identity.connect_timeout,
        total_timeout: identity.total_timeout,
        ca_pem: settings.ca_pem.clone().map(String::into_bytes),
        identity_pem: settings.client_certificate.as_ref().map(client_identity),
        // The keys are opened by themselves.
        signing: None,
        hmac_secret: settings.hmac_secret.clone(),
        hmac_secret_next: settings.hmac_secret_next.clone(),
        plaintext: settings.plaintext,
        accept_keys_with_password: settings.accept_keys_with_password,
        path_homes: path_homes(config),
        fs_ids: fs_ids(config),
        send_session_id: settings.send_session_id,
        look_up_password: match settings.omit_blank_password {
            true => LookUpPassword::Absent,
            false => LookUpPassword::Empty,
        },
    }
}

fn api_gateway(
    config: &Config,
    identity: &Identity,
    settings: &config::ApiGateway,
) -> ApiGatewaySettings {
    let signing = settings.sign.as_ref().map(|aws| api_gateway::Signing {
        region: aws.region.clone(),
        credentials: credentials(aws),
    });
    ApiGatewaySettings {
        url: settings.url.clone(),
        server_id: server_id(config, identity).into(),
        headers: settings.headers.clone(),
        signing,
        connect_timeout: identity.connect_timeout,
        total_timeout: identity.total_timeout,
        ca_pem: settings.ca_pem.clone().map(String::into_bytes),
        plaintext: settings.plaintext,
        accept_keys_with_password: settings.accept_keys_with_password,
        path_homes: path_homes(config),
        fs_ids: fs_ids(config),
    }
}

fn lambda(config: &Config, identity: &Identity, settings: &config::Lambda) -> LambdaSettings {
    LambdaSettings {
        function: settings.function.clone(),
        qualifier: settings.qualifier.clone(),
        server_id: server_id(config, identity).into(),
        region: settings.aws.region.clone(),
        endpoint: settings.aws.endpoint.clone(),
        credentials: credentials(&settings.aws),
        ca_pem: settings.ca_pem.clone().map(String::into_bytes),
        connect_timeout: identity.connect_timeout,
        total_timeout: identity.total_timeout,
        plaintext: settings.plaintext,
        accept_keys_with_password: settings.accept_keys_with_password,
        path_homes: path_homes(config),
        fs_ids: fs_ids(config),
        omit_blank_password: settings.omit_blank_password,
    }
}

fn credentials(aws: &config::Aws) -> AwsCredentials {
    match (&aws.access_key_id, &aws.secret_access_key) {
        (Some(id), Some(secret)) => {
            AwsCredentials::Static(AccessKey::new(id, secret, aws.session_token.as_ref()))
        }
        _ => AwsCredentials::DefaultChain,
    }
}

/// Puts the gateway's certificate and its key into one text.
fn client_identity(pair: &config::ClientCertificate) -> Secret {
    let (certificate, key) = (&pair.certificate_pem, pair.key_pem.expose());
    Secret::new(format!("{certificate}\n{key}\n"))
}

/// Returns what the configuration says about tokens.
fn token(identity: &Identity, settings: &config::Token) -> TokenSettings {
    let keys = match &settings.keys {
        config::KeySource::Url {
            url,
            fresh_for,
            stale_for,
            refetch_after,
            ca_pem,
        } => KeySource::Url {
            url: url.clone(),
            connect_timeout: identity.connect_timeout,
            total_timeout: identity.total_timeout,
            ca_pem: ca_pem.clone().map(String::into_bytes),
            times: KeyTimes {
                fresh_for: *fresh_for,
                stale_for: *stale_for,
                refetch_after: *refetch_after,
            },
        },
        config::KeySource::File(file) => KeySource::File(file.clone()),
    };
    TokenSettings {
        keys,
        issuer: settings.issuer.clone(),
        audience: settings.audience.clone(),
        algorithms: settings.algorithms.clone(),
        clock_skew: settings.clock_skew,
        user_claim: settings.user_claim.clone(),
        mappings: settings.mappings.clone(),
        home: settings.home.clone(),
        role: settings.role.clone(),
        policy: settings.policy.clone(),
    }
}

/// Returns the ids of the file systems that are stores.
fn fs_ids(config: &Config) -> Arc<[Box<str>]> {
    let stores = config.stores.iter().map(|named| &named.table.fs_ids);
    stores.flatten().map(|id| id.as_str().into()).collect()
}

pub(crate) const fn path_homes(config: &Config) -> PathHomes {
    match config.identity.path_homes {
        config::PathHomes::Confined => PathHomes::Confined,
        config::PathHomes::Role => PathHomes::Role,
    }
}

/// Returns what the configuration says about logging in.
pub(crate) fn auth(identity: &Identity) -> AuthSettings {
    AuthSettings {
        methods: match identity.methods {
            config::Methods::KeyOrPassword => Methods::KeyOrPassword,
            config::Methods::Password => Methods::Password,
            config::Methods::Key => Methods::Key,
            config::Methods::KeyAndPassword => Methods::KeyAndPassword,
        },
        user_names: user_names(identity),
        roles: match identity.roles {
            config::Roles::Gateway => Roles::Gateway,
            config::Roles::Map => Roles::Map,
            config::Roles::Assume => Roles::Assume,
        },
        password_bytes_max: password_bytes_max(identity),
        history: false,
    }
}

fn has_keys_only(identity: &Identity) -> bool {
    identity.provider() == config::Provider::ServiceManaged
}

pub(crate) const fn password_bytes_max(identity: &Identity) -> usize {
    match identity.provider() {
        config::Provider::Token => limits::TOKEN_BYTES_MAX,
        config::Provider::Webhook
        | config::Provider::ApiGateway
        | config::Provider::Lambda
        | config::Provider::Static
        | config::Provider::ServiceManaged => limits::PASSWORD_BYTES_MAX,
    }
}

pub(crate) const fn user_names(identity: &Identity) -> UserNameRule {
    match (identity.user_names, identity.provider()) {
        (config::UserNames::Open, _)
        | (
            config::UserNames::Auto,
            config::Provider::Webhook | config::Provider::Static | config::Provider::Token,
        ) => UserNameRule::Open,
        (config::UserNames::Aws, _)
        | (
            config::UserNames::Auto,
            config::Provider::ApiGateway
            | config::Provider::Lambda
            | config::Provider::ServiceManaged,
        ) => UserNameRule::Aws,
    }
}

/// How far apart the ends of answers of the same moment are.
const SPREAD_PERCENT: u8 = 10;
