//! `portcullis serve`: the configuration becomes the gateway's parts.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Failure, signals};
use crate::admin::{Admin, AdminLimits};
use crate::auth::{AuthSettings, Methods, Roles, UserNameRule};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, LogFormat};
use crate::gateway::{Gateway, GatewayParts};
use crate::idp::IdentityProvider;
use crate::idp::cache::{CacheSettings, Cached};
use crate::idp::metered::Metered;
use crate::idp::static_file::StaticFile;
use crate::idp::webhook::{Event, Webhook, WebhookSettings};
use crate::metrics::Metrics;
use crate::ssh::{HostKey, HostKeys, Listener};
use crate::storage::s3::{Credentials, Encryption, S3Store, Settings, Timeouts};
use crate::telemetry::{self, Format};

/// Serves until told to stop.
///
/// # Errors
/// Something that the configuration names cannot be used, or serving failed.
pub fn run(config: Config) -> Result<(), Failure> {
    telemetry::start(config.log.format.into(), &config.log.filter)?;
    let users = users(&config.identity)?;
    signals::run(|stop| serve(config, users, stop))
}

/// Reads the static provider's users, where there are some.
pub(super) fn users(identity: &config::Identity) -> Result<Option<Arc<StaticFile>>, Failure> {
    match (identity.provider, &identity.users_file) {
        (config::Provider::Static, Some(path)) => Ok(Some(Arc::new(StaticFile::open(path)?))),
        // The configuration refuses a static provider without a file.
        (config::Provider::Static, None) | (config::Provider::Webhook, _) => Ok(None),
    }
}

async fn serve(
    config: Config,
    users: Option<Arc<StaticFile>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "portcullis starts");
    let host_keys = host_keys(&config)?;
    for key in host_keys.iter() {
        tracing::info!(
            algorithm = key.algorithm(),
            fingerprint = key.fingerprint(),
            "host key"
        );
    }
    let metrics = Arc::new(Metrics::default());
    let store = S3Store::connect(storage(&config.storage))
        .await
        .context("[storage] cannot be used")?;
    let mut following = JoinSet::new();
    let provider = match users {
        Some(users) => {
            let hangup = signal(SignalKind::hangup())?;
            following.spawn(Arc::clone(&users).follow(hangup));
            metered(users, &metrics)
        }
        None => cached_webhook(&config, &metrics)?,
    };
    let admin = match config.admin_listen {
        Some(address) => {
            let bound = Admin::bind(address, AdminLimits::default()).await;
            Some(bound.with_context(|| format!("failed to listen on {address} (admin.listen)"))?)
        }
        None => None,
    };
    let listener = Listener::bind(config.listen)
        .await
        .with_context(|| format!("failed to listen on {} (listen)", config.listen))?;
    let gateway = Gateway::start(GatewayParts {
        listener,
        host_keys,
        provider,
        auth: auth(&config.identity),
        store: Arc::new(store),
        limits: config.limits.clone(),
        metrics: Arc::clone(&metrics),
        banner: config.sftp.banner.clone().map(Into::into),
    })?;
    tracing::info!(address = %gateway.address(), "listening");
    let (mut admin_tasks, admin_stop) = (JoinSet::new(), CancellationToken::new());
    if let Some(admin) = admin {
        tracing::info!(address = %admin.local_addr()?, "admin listening");
        admin_tasks.spawn(admin.serve(gateway.watched(), admin_stop.clone()));
    }
    stop.cancelled().await;
    gateway.drain().await;
    admin_stop.cancel();
    while admin_tasks.join_next().await.is_some() {}
    tracing::info!("portcullis ends");
    Ok(())
}

/// Loads the host keys; with a state directory and none configured, one is made and kept there.
fn host_keys(config: &Config) -> anyhow::Result<HostKeys> {
    let mut keys = Vec::new();
    for path in &config.host_key_files {
        keys.push(HostKey::load(path).with_context(|| format!("host key {path}"))?);
    }
    if keys.is_empty() {
        let Some(state) = &config.state_directory else {
            bail!("no host key: set host_key_files, or state_directory to have one made");
        };
        keys.push(HostKey::kept_in(state)?);
    }
    Ok(HostKeys::new(keys)?)
}

fn metered(
    provider: Arc<dyn IdentityProvider>,
    metrics: &Arc<Metrics>,
) -> Arc<dyn IdentityProvider> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Arc::new(Metered::new(provider, Arc::clone(metrics), clock))
}

fn cached_webhook(
    config: &Config,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Arc<dyn IdentityProvider>> {
    let identity = &config.identity;
    let webhook = Webhook::new(webhook(config)).context("[identity] cannot be used")?;
    let cache = CacheSettings {
        provider: format!("webhook {}", identity.url).into(),
        server_id: config.server_id.as_str().into(),
        allowed_for: identity.cache.allowed_for,
        denied_for: identity.cache.denied_for,
        stale_for: identity.cache.stale_for,
        bytes_max: identity.cache.bytes_max,
    };
    let counted = metered(Arc::new(webhook), metrics);
    Ok(Arc::new(Cached::new(
        counted,
        cache,
        Arc::clone(metrics),
        Arc::new(SystemClock),
    )?))
}

/// Returns what the configuration says about the webhook.
pub(super) fn webhook(config: &Config) -> WebhookSettings {
    let identity = &config.identity;
    WebhookSettings {
        url: identity.url.clone(),
        server_id: config.server_id.as_str().into(),
        event: match identity.event {
            config::Event::Plain => Event::Plain,
            config::Event::TransferFamily => Event::TransferFamily,
        },
        headers: identity.headers.clone(),
        connect_timeout: identity.connect_timeout,
        total_timeout: identity.total_timeout,
        ca_pem: identity.ca_pem.clone().map(String::into_bytes),
        plaintext: identity.plaintext,
        accept_keys_with_password: identity.accept_keys_with_password,
        send_session_id: identity.send_session_id,
    }
}

/// Returns what the configuration says about logging in.
pub(super) const fn auth(identity: &config::Identity) -> AuthSettings {
    AuthSettings {
        methods: match identity.methods {
            config::Methods::KeyOrPassword => Methods::KeyOrPassword,
            config::Methods::Password => Methods::Password,
            config::Methods::Key => Methods::Key,
            config::Methods::KeyAndPassword => Methods::KeyAndPassword,
        },
        user_names: match identity.user_names {
            config::UserNames::Open => UserNameRule::Open,
            config::UserNames::Aws => UserNameRule::Aws,
        },
        roles: match identity.roles {
            config::Roles::Gateway => Roles::Gateway,
        },
    }
}

/// Returns what the configuration says about S3.
pub(super) fn storage(storage: &config::Storage) -> Settings {
    let credentials = match (&storage.access_key_id, &storage.secret_access_key) {
        (Some(access_key), Some(secret_key)) => Credentials::Static {
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            session_token: storage.session_token.clone(),
        },
        // Half a pair is refused by the configuration.
        (Some(_) | None, _) => Credentials::DefaultChain,
    };
    Settings {
        region: storage.region.clone(),
        endpoint: storage.endpoint.clone(),
        path_style: storage.path_style,
        storage_class: storage.storage_class.clone(),
        encryption: match storage.encryption {
            config::Encryption::None => Encryption::None,
            config::Encryption::S3 => Encryption::S3,
            config::Encryption::Kms => Encryption::Kms {
                key_id: storage.kms_key_id.clone().unwrap_or_default(),
            },
        },
        capabilities: storage.capabilities,
        credentials,
        ca_pem: storage.ca_pem.clone().map(String::into_bytes),
        timeouts: Timeouts {
            connect: storage.connect_timeout,
            call: storage.call_timeout,
            ..Timeouts::default()
        },
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  portcullis serve --config portcullis.toml
  PORTCULLIS_STATE_DIRECTORY=state \\
    PORTCULLIS_IDENTITY_URL=https://idp.example.com/sftp portcullis serve

Signals: SIGTERM and SIGINT drain, a second one cuts; with provider = \"static\" SIGHUP
reads the file of users again.";

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text => Self::Text,
        }
    }
}
