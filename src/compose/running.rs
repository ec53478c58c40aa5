//! A gateway as a configuration describes it, from its start to the end of its drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::providers::{self, Commit, Opened, Reopening};
use super::stores::HeldKeys;
use super::unusable::Unusable;
use super::value_files::FollowedValues;
use super::{Composition, aws_api, listeners, open_files, partial_state};
use crate::admin::{Admin, AdminLimits, AdminServices, AdminTokens, Aws, Tls};
use crate::clock::{Clock as _, SystemClock, written};
use crate::config::{self, Config, Origin};
use crate::gateway::{Gateway, GatewayParts};
use crate::idp::blocks::Blocks;
use crate::idp::follow::{Followed, follow};
use crate::idp::history::LoginHistory;
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::tasks;

/// A gateway with everything around it.
#[derive(Debug)]
pub struct Running {
    gateway: Gateway,
    /// Files that are read again when they change; ends with this value.
    _following: JoinSet<()>,
    admin: AdminTasks,
}

/// What answers on the operator's ports.
#[derive(Debug)]
struct AdminTasks {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// Starts everything: the operator's ports are bound first, and answer once clients are
    /// received.
    ///
    /// # Errors
    /// Something that the configuration names cannot be used, or an address is taken.
    pub async fn start(composition: &Composition<'_>, origin: Origin) -> anyhow::Result<Self> {
        let Composition { config, opened, .. } = composition;
        open_files::prepare(config);
        let (opening, host_keys) = listeners::open(config, &composition.proxies)?;
        let metrics = Arc::new(Metrics::default());
        let held_keys = HeldKeys::of(config);
        let open = composition.stores_with(&held_keys, &metrics).await?;
        let upload_records = partial_state::open(config, open.own, &metrics)?;
        let mut following = JoinSet::new();
        for followed in opened.iter().flat_map(Opened::followed) {
            begin_following(&mut following, followed, &metrics)?;
        }
        let history = Arc::new(LoginHistory::new(config.login.failure_window));
        let blocks = Arc::new(blocks(config, opened)?);
        let (asked, caches) = providers::ask(config, opened, &history, &blocks, &metrics)?;
        let admin_ports = AdminPorts::bind(&config.admin).await?;
        let mut bound = Vec::with_capacity(opening.len());
        for listener in opening {
            bound.push(listener.bind(config, &asked).await?);
        }
        let certificate = aws_api::certificate(config)?;
        let shared = (Arc::clone(&open.stores), Arc::clone(&blocks));
        let gateway = Gateway::new(GatewayParts {
            caches,
            throttle: composition.throttle.clone(),
            history,
            blocks,
            stores: open.stores,
            store_health: open.health,
            limits: config.limits.clone(),
            metrics: Arc::clone(&metrics),
            sftp: config.sftp.clone(),
            upload_records,
            signing_keys: opened.iter().filter_map(|one| one.keys.clone()).collect(),
        });
        for listener in bound {
            gateway.listeners().start(listener)?;
        }
        for shared in host_keys {
            let listeners = Arc::clone(gateway.listeners());
            let followed = shared.files.followed(&shared.labels, listeners);
            begin_following(&mut following, Arc::new(followed), &metrics)?;
        }
        let aws = aws_api::aws(config, opened, &shared.0, &shared.1, &gateway, &metrics);
        let tls = certificate.map(|certificate| Arc::new(Tls::new(certificate)));
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
            tls: tls.clone(),
        });
        let followed = FollowedValues::new(origin, config, move |new, old| held.prepare(new, old));
        begin_following(&mut following, Arc::new(followed), &metrics)?;
        announce(&gateway);
        Ok(Self {
            admin: admin_ports.serve(services, tls, &metrics)?,
            gateway,
            _following: following,
        })
    }

    /// Returns the gateway, whose listeners can be started and stopped.
    #[must_use]
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Ends all listeners within the drain time-out, then the operator's ports, which can be
    /// watched until then.
    pub async fn drain(self) {
        self.gateway.drain().await;
        let AdminTasks { stop, mut tasks } = self.admin;
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }
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
    tls: Option<Arc<Tls>>,
}

impl HeldValues {
    /// Prepares the values of another configuration: all of them can be used, or none is.
    fn prepare(self: &Arc<Self>, config: &Config, held: &Config) -> Result<Commit, Unusable> {
        let providers = self.providers.iter();
        let providers = providers.map(|provider| provider.prepare(config, held));
        let providers: Vec<Commit> = providers.collect::<Result<_, _>>()?;
        let certificate = aws_api::certificate(config)?;
        let (all, config) = (Arc::clone(self), config.clone());
        Ok(Box::new(move || {
            for provider in providers {
                provider();
            }
            all.keys.replace(&config);
            all.tokens.replace(tokens(&config.admin));
            if let Some(aws) = &all.aws {
                aws.replace_keys(aws_api::aws_keys(&config));
            }
            if let Some((tls, certificate)) = all.tls.as_ref().zip(certificate) {
                tls.replace(certificate);
            }
        }))
    }
}

fn tokens(admin: &config::Admin) -> [Option<Secret>; 2] {
    [admin.token.clone(), admin.token_next.clone()]
}

fn announce(gateway: &Gateway) {
    for status in gateway.listeners().all() {
        let address = status.address;
        let listener = Some(&*status.name).filter(|name| !name.is_empty());
        tracing::info!(%address, listener, "listening");
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

/// The operator's ports.
struct AdminPorts {
    admin: Option<Admin>,
    api: Option<Admin>,
    probes: Option<Admin>,
}

impl AdminPorts {
    async fn bind(settings: &config::Admin) -> anyhow::Result<Self> {
        let (limits, for_aws) = (AdminLimits::default(), AdminLimits::for_aws());
        Ok(Self {
            admin: bind(settings.listen, "admin.listen", limits).await?,
            api: bind(settings.api_listen, "admin.api_listen", for_aws).await?,
            probes: bind(settings.probe_listen, "admin.probe_listen", limits).await?,
        })
    }

    /// Answers until what it returns is stopped.
    fn serve(
        self,
        mut services: AdminServices,
        tls: Option<Arc<Tls>>,
        metrics: &Arc<Metrics>,
    ) -> io::Result<AdminTasks> {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let status = Arc::clone(&services.admin_status);
        // Behind a port of their own AWS's tools are answered there alone.
        if let Some(api) = self.api
            && let Some(aws) = services.aws.take()
        {
            let (address, tls_on) = (api.local_addr()?, tls.is_some());
            tracing::info!(%address, tls = tls_on, "listening for AWS's tools");
            let serving = api.serve_aws(aws, tls, Arc::clone(metrics), stop.clone());
            tasks::spawn(&mut tasks, serving);
        }
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
        Ok(AdminTasks { stop, tasks })
    }
}

/// Takes one of the operator's ports.
async fn bind(
    address: Option<SocketAddr>,
    setting: &str,
    limits: AdminLimits,
) -> anyhow::Result<Option<Admin>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = Admin::bind(address, limits).await;
    let bound = bound.with_context(|| format!("failed to listen on {address} ({setting})"))?;
    Ok(Some(bound))
}
