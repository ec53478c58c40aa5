//! `portcullis serve`: the configuration becomes the gateway's parts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::host_keys::HostKeyFiles;
use super::providers::{self, Commit, Opened, Port, Reopening};
use super::stores::{self, HeldKeys, OpenStores};
use super::value_files::FollowedValues;
use super::{Failure, memory, partial_state, proxies, signals};
use crate::admin::{
    Admin, AdminLimits, AdminServices, AdminTokens, Aws, AwsKey, Scope, Server, Servers,
};
use crate::auth::ThrottleSettings;
use crate::aws::{AccessKey, Credentials};
use crate::clock::{Clock as _, SystemClock, written};
use crate::config::{self, Config, LogFormat, Origin};
use crate::gateway::{Entrance, Gateway, GatewayParts};
use crate::idp::blocks::Blocks;
use crate::idp::follow::{Followed, follow};
use crate::idp::history::LoginHistory;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::ssh::{Listener, ProxyProtocol, Transport};
use crate::storage::credentials::Stores;
use crate::storage::s3::{Encryption, Settings, Timeouts};
use crate::tasks;
use crate::telemetry::{self, Format};

/// Serves until told to stop.
///
/// # Errors
/// Something that the configuration names cannot be used, or serving failed.
pub fn run(origin: Origin, config: &Config) -> Result<(), Failure> {
    telemetry::start(
        config.log.format.into(),
        &config.server_id,
        &config.log.filter,
    )?;
    // What is wrong with a provider is wrong with the configuration.
    let opened = providers::open(config)?;
    let throttle = providers::throttle(&config.login)?;
    let proxies = proxies::proxies(config)?;
    signals::run(|stop| serve(config, origin, opened, throttle, proxies, stop))
}

async fn serve(
    config: &Config,
    origin: Origin,
    opened: Vec<Opened<'_>>,
    throttle: ThrottleSettings,
    proxies: Vec<(SocketAddr, ProxyProtocol)>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    begin(&config.limits, memory::Limit::read(""));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let host_key_files = HostKeyFiles::of(config)?;
    let host_keys = host_key_files.read()?;
    let metrics = Arc::new(Metrics::default());
    let held_keys = HeldKeys::of(config);
    let OpenStores { stores, own } = stores::open(config, &opened, &held_keys, &metrics).await?;
    let upload_records = partial_state::open(config, own, &metrics)?;
    let mut following = JoinSet::new();
    for followed in opened.iter().flat_map(Opened::followed) {
        begin_following(&mut following, followed, &metrics)?;
    }
    let history = Arc::new(LoginHistory::new(config.login.failure_window));
    let blocks = Arc::new(blocks(config, &opened)?);
    let (ports, caches) = providers::ports(config, &opened, &history, &blocks, &metrics)?;
    let admin_ports = AdminPorts::bind(&config.admin).await?;
    let entrances = entrances(ports, &proxies).await?;
    let aws = aws(config, &opened, &stores, &blocks, &metrics);
    let gateway = Gateway::start(GatewayParts {
        entrances,
        caches,
        throttle,
        history,
        blocks,
        transport: Transport {
            host_keys,
            algorithms: config.ssh.algorithms,
            rekey_bytes: config.ssh.rekey_bytes,
        },
        stores,
        limits: config.limits.clone(),
        metrics: Arc::clone(&metrics),
        sftp: config.sftp.clone(),
        upload_records,
        signing_keys: opened.iter().filter_map(|one| one.keys.clone()).collect(),
    })?;
    let followed = Arc::new(host_key_files.followed(Arc::clone(gateway.ssh())));
    begin_following(&mut following, followed, &metrics)?;
    let services = AdminServices {
        admin_status: gateway.admin_status(),
        actions: gateway.actions(),
        tokens: Arc::new(AdminTokens::new(tokens(&config.admin))),
        aws,
    };
    let held = Arc::new(HeldValues {
        providers: opened.iter().filter_map(Opened::reopening).collect(),
        keys: held_keys,
        tokens: Arc::clone(&services.tokens),
        aws: services.aws.clone(),
    });
    let followed = FollowedValues::new(origin, config, move |new, old| held.prepare(new, old));
    begin_following(&mut following, Arc::new(followed), &metrics)?;
    announce(&gateway);
    let admin_stop = CancellationToken::new();
    let mut admin_tasks = admin_ports.serve(services, &metrics, &admin_stop)?;
    stop.cancelled().await;
    gateway.drain().await;
    admin_stop.cancel();
    while admin_tasks.join_next().await.is_some() {}
    tracing::info!("portcullis ends");
    Ok(())
}

/// Reads files again when they change, and at SIGHUP.
fn begin_following(
    following: &mut JoinSet<()>,
    followed: Arc<dyn Followed>,
    metrics: &Arc<Metrics>,
) -> io::Result<()> {
    let hangup = signal(SignalKind::hangup())?;
    tasks::spawn(following, follow(followed, hangup, Arc::clone(metrics)));
    Ok(())
}

/// Everything that takes new values of settings while the gateway runs.
struct HeldValues {
    providers: Vec<Reopening>,
    keys: HeldKeys,
    tokens: Arc<AdminTokens>,
    aws: Option<Arc<Aws>>,
}

impl HeldValues {
    /// Prepares the values of another configuration: all of them can be used, or none is.
    fn prepare(self: &Arc<Self>, config: &Config, held: &Config) -> Result<Commit, Failure> {
        let providers = self.providers.iter();
        let providers = providers.map(|provider| provider.prepare(config, held));
        let providers: Vec<Commit> = providers.collect::<Result<_, _>>()?;
        let (all, config) = (Arc::clone(self), config.clone());
        Ok(Box::new(move || {
            for provider in providers {
                provider();
            }
            all.keys.replace(&config);
            all.tokens.replace(tokens(&config.admin));
            if let Some(aws) = &all.aws {
                aws.replace_keys(aws_keys(&config));
            }
        }))
    }
}

fn tokens(admin: &config::Admin) -> [Option<Secret>; 2] {
    [admin.token.clone(), admin.token_next.clone()]
}

fn announce(gateway: &Gateway) {
    for address in gateway.addresses() {
        tracing::info!(%address, "listening");
    }
}

/// Takes up whom the operator keeps out.
fn blocks(config: &Config, opened: &[Opened<'_>]) -> anyhow::Result<Blocks> {
    let kept = config.state_directory.as_deref().map(Blocks::kept_in);
    let blocks = kept.transpose().context("blocks")?.unwrap_or_default();
    let blocks = blocks.with_providers(opened.iter().map(|one| one.name.into()));
    for (blocked, until) in blocks.list(SystemClock.wall()) {
        let (kind, until) = (blocked.kind(), until.map(written));
        tracing::warn!(kind, %blocked, until, "blocks from before the restart");
    }
    Ok(blocks)
}

/// Says that the gateway starts, and how much memory it may take and has.
fn begin(limits: &Limits, limit: Option<memory::Limit>) {
    let memory_bytes_max = limits.process_bytes_max();
    let version = env!("CARGO_PKG_VERSION");
    let memory_limit_bytes = limit.as_ref().map(|limit| limit.bytes);
    tracing::info!(
        version,
        memory_bytes_max,
        memory_limit_bytes,
        "portcullis starts"
    );
    // One that ran before must not stop running: its clients may never take so much.
    if let Some(Err(problem)) = limit.map(|limit| limit.check(limits)) {
        tracing::warn!(
            problem,
            "the memory limit is too low: the process may be killed"
        );
    }
}

/// The operator's ports.
struct AdminPorts {
    admin: Option<Admin>,
    probes: Option<Admin>,
}

impl AdminPorts {
    async fn bind(settings: &config::Admin) -> anyhow::Result<Self> {
        Ok(Self {
            admin: bind(settings.listen, "admin.listen").await?,
            probes: bind(settings.probe_listen, "admin.probe_listen").await?,
        })
    }

    /// Answers until `stop` is cancelled.
    fn serve(
        self,
        services: AdminServices,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
    ) -> io::Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        let status = Arc::clone(&services.admin_status);
        if let Some(admin) = self.admin {
            tracing::info!(address = %admin.local_addr()?, "admin listening");
            let serving = admin.serve(services, Arc::clone(metrics), stop.clone());
            tasks::spawn(&mut tasks, serving);
        }
        if let Some(probes) = self.probes {
            tracing::info!(address = %probes.local_addr()?, "listening for health checks");
            let serving = probes.serve_probes(status, Arc::clone(metrics), stop.clone());
            tasks::spawn(&mut tasks, serving);
        }
        Ok(tasks)
    }
}

/// Takes one of the operator's ports.
async fn bind(address: Option<SocketAddr>, setting: &str) -> anyhow::Result<Option<Admin>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = Admin::bind(address, AdminLimits::default()).await;
    let bound = bound.with_context(|| format!("failed to listen on {address} ({setting})"))?;
    Ok(Some(bound))
}

async fn entrances(
    ports: Vec<Port>,
    proxies: &[(SocketAddr, ProxyProtocol)],
) -> anyhow::Result<Vec<Entrance>> {
    let mut entrances = Vec::with_capacity(ports.len());
    for port in ports {
        let Port {
            address,
            provider,
            auth,
        } = port;
        let bound = Listener::bind(address).await;
        let listener = bound.with_context(|| format!("failed to listen on {address} (listen)"))?;
        let proxy = proxies.iter().find(|(port, _)| *port == address);
        let proxy = proxy.map(|(_, proxy)| proxy.clone()).unwrap_or_default();
        entrances.push(Entrance {
            listener: listener.with_proxy(proxy),
            provider,
            auth,
        });
    }
    Ok(entrances)
}

/// What AWS's tools may ask, if they have a key.
fn aws(
    config: &Config,
    opened: &[Opened<'_>],
    stores: &Arc<dyn Stores>,
    blocks: &Arc<Blocks>,
    metrics: &Arc<Metrics>,
) -> Option<Arc<Aws>> {
    let keys = aws_keys(config);
    if keys.is_empty() {
        return None;
    }
    let server = |opened: &Opened<'_>| Server {
        id: providers::server_id(config, opened.identity).into(),
        name: opened.name.into(),
        provider: Arc::clone(&opened.provider),
        provider_type: match opened.identity.provider {
            config::Provider::Webhook | config::Provider::ApiGateway => Some("API_GATEWAY"),
            config::Provider::Lambda => Some("AWS_LAMBDA"),
            config::Provider::ServiceManaged => Some("SERVICE_MANAGED"),
            config::Provider::Static | config::Provider::Token => None,
        },
        users: opened
            .kept_users
            .as_ref()
            .map(|kept| Arc::clone(&kept.users)),
        auth: providers::auth(opened.identity),
        user_prefix: opened.identity.user_prefix.as_deref().map(Into::into),
        user_suffix: opened.identity.user_suffix.as_deref().map(Into::into),
    };
    let servers = Servers {
        all: opened.iter().map(server).collect(),
        stores: Arc::clone(stores),
        blocks: Arc::clone(blocks),
        clock: Arc::new(SystemClock),
    };
    Some(Arc::new(Aws::new(keys, servers, Arc::clone(metrics))))
}

/// Returns the keys with which requests of AWS's tools may be signed.
fn aws_keys(config: &Config) -> Vec<AwsKey> {
    let admin = &config.admin;
    let first = admin
        .access_key_id
        .as_deref()
        .zip(admin.secret_access_key.clone());
    let first = first.map(|(id, secret)| (id, secret, Scope::Test));
    let others = config.api_keys.iter().filter_map(|key| {
        let scope = match key.scope {
            config::ApiScope::Test => Scope::Test,
            config::ApiScope::Read => Scope::Read,
            config::ApiScope::Users => Scope::Users,
            config::ApiScope::All => Scope::All,
        };
        Some((&*key.access_key_id, key.secret_access_key.clone()?, scope))
    });
    let keys = first.into_iter().chain(others);
    keys.map(|(id, secret, scope)| AwsKey {
        access_key_id: id.into(),
        secret_access_key: secret,
        scope,
    })
    .collect()
}

/// Returns what the configuration says about S3.
pub(super) fn storage(storage: &config::Storage) -> Settings {
    let credentials = match (&storage.access_key_id, &storage.secret_access_key) {
        (Some(id), Some(secret)) => {
            Credentials::Static(AccessKey::new(id, secret, storage.session_token.as_ref()))
        }
        // Half a pair is refused by the configuration.
        (Some(_) | None, _) => Credentials::DefaultChain,
    };
    Settings {
        region: storage.region.clone(),
        endpoint: storage.endpoint.clone(),
        follow_regions: storage.endpoint.is_none(),
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
            store_work: storage.work_timeout,
            ..Timeouts::default()
        },
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  portcullis serve --config portcullis.toml
  PORTCULLIS_STATE_DIRECTORY=state \\
    PORTCULLIS_IDENTITY_URL=https://idp.example.com/sftp portcullis serve

Signals: SIGTERM and SIGINT drain, a second one ends the gateway at once;
SIGHUP reloads the files that settings name: users, keys, secrets, certificates.";

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text => Self::Text,
        }
    }
}
