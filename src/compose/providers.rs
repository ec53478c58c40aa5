//! The providers that a configuration names: each opened, behind its cache, and asked at listeners.

use std::sync::Arc;
use std::time::Duration;

use super::unusable::Unusable;
use super::users::{self, KeptUsers};
use crate::auth::{AuthSettings, Methods, Roles, UserNameRule};
use crate::aws::AccessKey;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Identity};
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
        Ok(match &self.reopened {
            Reopened::Provider(provider) => {
                let next = asked_over_the_network(config, &self.name, identity, self.keys.clone())?;
                let provider = Arc::clone(provider);
                match next {
                    Some(next) => Box::new(move || provider.replace(next)),
                    None => nothing,
                }
            }
            Reopened::Token(token) => {
                let (token, next) = (Arc::clone(token), open_token(&self.name, identity)?);
                Box::new(move || token.take_connection_of(&next))
            }
        })
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
    let keys = open_keys(name, identity)?;
    if let Some(first) = asked_over_the_network(config, name, identity, keys.clone())? {
        let provider = Arc::new(Replaceable::new(first));
        return Ok(Opened {
            keys,
            reopened: Some(Reopened::Provider(Arc::clone(&provider))),
            ..opened(provider)
        });
    }
    if identity.provider == config::Provider::Token {
        let token = Arc::new(open_token(name, identity)?);
        let has_file = identity.token.jwks_url.is_none();
        return Ok(Opened {
            followed: has_file.then(|| -> Arc<dyn Followed> { token.clone() }),
            reopened: (!has_file).then(|| Reopened::Token(Arc::clone(&token))),
            ..opened(token)
        });
    }
    if identity.provider == config::Provider::ServiceManaged {
        let kept = users::open(config, identity, server_id(config, identity))
            .map_err(|why| unusable(name, &*anyhow::Error::msg(why)))?;
        let provider = Arc::new(ServiceManaged::new(Arc::clone(&kept.users)));
        return Ok(Opened {
            kept_users: Some(kept),
            ..opened(provider)
        });
    }
    // The configuration refuses a static provider without a file.
    let path = identity.users_file.as_deref().unwrap_or_default();
    let file = Arc::new(StaticFile::open(path)?);
    Ok(Opened {
        file: Some(Arc::clone(&file)),
        followed: Some(file.clone()),
        ..opened(file)
    })
}

/// Opens a provider that is asked over the network; `None`: it is none.
fn asked_over_the_network(
    config: &Config,
    name: &str,
    identity: &Identity,
    keys: Option<Arc<Keys>>,
) -> Result<Option<Arc<dyn Examined>>, Unusable> {
    Ok(Some(match identity.provider {
        config::Provider::Webhook => Arc::new(open_webhook(config, name, identity, keys)?),
        config::Provider::ApiGateway => {
            let provider = ApiGateway::new(api_gateway(config, identity));
            Arc::new(provider.map_err(|error| unusable(name, &error))?)
        }
        config::Provider::Lambda => {
            let provider = Lambda::new(lambda(config, identity));
            Arc::new(provider.map_err(|error| unusable(name, &error))?)
        }
        config::Provider::Static | config::Provider::Token | config::Provider::ServiceManaged => {
            return Ok(None);
        }
    }))
}

fn open_token(name: &str, identity: &Identity) -> Result<Token, Unusable> {
    let token = Token::new(&token(identity), Arc::new(SystemClock));
    token.map_err(|error| unusable(name, &error))
}

fn open_keys(name: &str, identity: &Identity) -> Result<Option<Arc<Keys>>, Unusable> {
    let files = &identity.signing.key_files;
    if files.is_empty() {
        return Ok(None);
    }
    let keys = Keys::open(files).map_err(|error| unusable(name, &error))?;
    Ok(Some(Arc::new(keys)))
}

fn open_webhook(
    config: &Config,
    name: &str,
    identity: &Identity,
    keys: Option<Arc<Keys>>,
) -> Result<Webhook, Unusable> {
    let settings = signed_webhook(config, identity, keys);
    Webhook::new(settings).map_err(|error| unusable(name, &error))
}

/// Returns what the configuration says about a webhook, with the keys that sign its questions.
pub(crate) fn signed_webhook(
    config: &Config,
    identity: &Identity,
    keys: Option<Arc<Keys>>,
) -> WebhookSettings {
    let mut settings = webhook(config, identity);
    settings.signing = keys.map(|keys| Signing {
        keys,
        issuer: match &identity.signing.issuer {
            Some(issuer) => issuer.as_str().into(),
            None => settings.server_id.clone(),
        },
        audience: identity.signing.audience.as_deref().map(Into::into),
        lifetime: identity.signing.lifetime,
    });
    settings
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
pub(crate) fn webhook(config: &Config, identity: &Identity) -> WebhookSettings {
    WebhookSettings {
        url: identity.url.clone(),
        more_urls: identity.more_urls.clone(),
        server_id: server_id(config, identity).into(),
        event: match identity.event {
            config::Event::Plain => Event::Plain,
            config::Event::TransferFamily => Event::TransferFamily,
        },
        headers: identity.headers.clone(),
        connect_timeout: identity.connect_timeout,
        total_timeout: identity.total_timeout,
        ca_pem: identity.ca_pem.clone().map(String::into_bytes),
        identity_pem: client_identity(identity),
        // The keys are opened by themselves.
        signing: None,
        hmac_secret: identity.hmac_secret.clone(),
        hmac_secret_next: identity.hmac_secret_next.clone(),
        plaintext: identity.plaintext,
        accept_keys_with_password: identity.accept_keys_with_password,
        path_homes: path_homes(config),
        fs_ids: fs_ids(config),
        send_session_id: identity.send_session_id,
        look_up_password: match identity.function.omit_blank_password {
            true => LookUpPassword::Absent,
            false => LookUpPassword::Empty,
        },
    }
}

fn api_gateway(config: &Config, identity: &Identity) -> ApiGatewaySettings {
    let signing = || api_gateway::Signing {
        region: identity.aws.region.clone(),
        credentials: credentials(&identity.aws),
    };
    ApiGatewaySettings {
        url: identity.url.clone(),
        server_id: server_id(config, identity).into(),
        headers: identity.headers.clone(),
        signing: match identity.sign {
            config::Sign::None => None,
            config::Sign::Aws => Some(signing()),
        },
        connect_timeout: identity.connect_timeout,
        total_timeout: identity.total_timeout,
        ca_pem: identity.ca_pem.clone().map(String::into_bytes),
        plaintext: identity.plaintext,
        accept_keys_with_password: identity.accept_keys_with_password,
        path_homes: path_homes(config),
        fs_ids: fs_ids(config),
    }
}

fn lambda(config: &Config, identity: &Identity) -> LambdaSettings {
    LambdaSettings {
        // The configuration refuses a provider of this kind without a function.
        function: identity.function.name.clone().unwrap_or_default(),
        qualifier: identity.function.qualifier.clone(),
        server_id: server_id(config, identity).into(),
        region: identity.aws.region.clone(),
        endpoint: identity.aws.endpoint.clone(),
        credentials: credentials(&identity.aws),
        ca_pem: identity.ca_pem.clone().map(String::into_bytes),
        connect_timeout: identity.connect_timeout,
        total_timeout: identity.total_timeout,
        plaintext: identity.plaintext,
        accept_keys_with_password: identity.accept_keys_with_password,
        path_homes: path_homes(config),
        fs_ids: fs_ids(config),
        omit_blank_password: identity.function.omit_blank_password,
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
fn client_identity(identity: &Identity) -> Option<Secret> {
    let certificate = identity.client_certificate_pem.as_deref()?;
    let key = identity.client_key_pem.as_ref()?.expose();
    Some(Secret::new(format!("{certificate}\n{key}\n")))
}

/// Returns what the configuration says about tokens.
fn token(identity: &Identity) -> TokenSettings {
    let token = &identity.token;
    let keys = match (&token.jwks_url, &token.jwks_file) {
        (Some(url), _) => KeySource::Url {
            url: url.clone(),
            connect_timeout: identity.connect_timeout,
            total_timeout: identity.total_timeout,
            ca_pem: identity.ca_pem.clone().map(String::into_bytes),
            times: KeyTimes {
                fresh_for: token.jwks_fresh_for,
                stale_for: token.jwks_stale_for,
                refetch_after: token.jwks_refetch_after,
            },
        },
        // The configuration refuses a token provider without keys.
        (None, file) => KeySource::File(file.clone().unwrap_or_default()),
    };
    TokenSettings {
        keys,
        issuer: token.issuer.clone().unwrap_or_default(),
        audience: token.audience.clone().unwrap_or_default(),
        algorithms: token.algorithms.clone(),
        clock_skew: token.clock_skew,
        user_claim: token.user_claim.clone(),
        mappings: token.mappings.clone(),
        home: token.home.clone(),
        role: token.role.clone(),
        policy: token.policy.clone(),
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
    }
}

fn has_keys_only(identity: &Identity) -> bool {
    identity.provider == config::Provider::ServiceManaged
}

pub(crate) const fn password_bytes_max(identity: &Identity) -> usize {
    match identity.provider {
        config::Provider::Token => limits::TOKEN_BYTES_MAX,
        config::Provider::Webhook
        | config::Provider::ApiGateway
        | config::Provider::Lambda
        | config::Provider::Static
        | config::Provider::ServiceManaged => limits::PASSWORD_BYTES_MAX,
    }
}

pub(crate) const fn user_names(identity: &Identity) -> UserNameRule {
    match (identity.user_names, identity.provider) {
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
