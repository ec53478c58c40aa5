//! `quickstart --transfer-api`: a Transfer Family on this machine. AWS's tools make servers, each of
//! which listens on a port of its own and serves the files of `quickstart`.

mod asked;
mod kept;
mod made_servers;
mod one;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::made_servers::MadeServers;
use super::listen::{first_free, reachable};
use crate::admin::{Admin, AdminLimits, Aws, AwsKey, Scope, ServerActions, Servers};
use crate::aws::AccessKey;
use crate::clock::SystemClock;
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::storage::credentials::Stores;
use crate::tasks;

/// Answers AWS's tools until it is stopped.
#[derive(Debug)]
pub(super) struct TransferApi {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// How it is started.
#[derive(Debug)]
pub(super) struct TransferApiParts<'a> {
    /// Port 0 is any; `None` is the first free one of those that are tried.
    pub(super) listen: Option<SocketAddr>,
    /// Where servers listen.
    pub(super) servers_on: IpAddr,
    /// Where servers are remembered for the next start.
    pub(super) state: Option<&'a str>,
    /// Where functions are invoked.
    pub(super) lambda_endpoint: Option<String>,
    /// What requests are signed with.
    pub(super) key: (&'a str, Secret),
    pub(super) stores: Arc<dyn Stores>,
    pub(super) metrics: Arc<Metrics>,
}

impl TransferApi {
    /// Starts the servers that are remembered, then the API.
    ///
    /// # Errors
    /// The port is taken, or what is remembered cannot be read.
    pub(super) async fn start(
        parts: TransferApiParts<'_>,
        gateway: &Gateway,
    ) -> anyhow::Result<Self> {
        let (id, secret) = parts.key;
        let settings = made_servers::Settings {
            ip: parts.servers_on,
            state: parts.state.map(str::to_owned),
            lambda_endpoint: parts.lambda_endpoint,
            key: AccessKey::new(id, &secret, None),
        };
        let made = MadeServers::open(settings, Arc::clone(gateway.listeners()))?;
        let made = Arc::new(made);
        made.start_remembered().await;
        let actions: Arc<dyn ServerActions> = Arc::<MadeServers>::clone(&made);
        let key = AwsKey {
            access_key_id: id.into(),
            secret_access_key: secret,
            scope: Scope::All,
        };
        let servers = Servers {
            all: Vec::new(),
            stores: parts.stores,
            blocks: Arc::default(),
            clock: Arc::new(SystemClock),
        };
        let metrics = Arc::clone(&parts.metrics);
        let aws = Aws::new(vec![key], servers, metrics, gateway.account()).with_made(actions);
        let admin = bind(parts.listen).await?;
        let address = admin.local_addr()?;
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let serving = admin.serve_aws(Arc::new(aws), None, parts.metrics, stop.clone());
        tasks::spawn(&mut tasks, serving);
        Ok(Self {
            address,
            stop,
            tasks,
        })
    }

    /// Returns what AWS's tools are given as `--endpoint-url`.
    pub(super) fn endpoint(&self) -> String {
        let host = reachable(self.address);
        format!("http://{host}:{}", self.address.port())
    }

    /// Answers nobody any more.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn bind(asked: Option<SocketAddr>) -> anyhow::Result<Admin> {
    if let Some(address) = asked {
        let bound = Admin::bind(address, AdminLimits::for_aws()).await;
        return bound.with_context(|| format!("failed to listen on {address} (--transfer-api)"));
    }
    first_free(FIRST_PORT, |address| {
        Admin::bind(address, AdminLimits::for_aws())
    })
    .await
    .context("name an address with --transfer-api=ADDRESS")
}

/// Where the API is, unless it is told.
const FIRST_PORT: u16 = 8022;
