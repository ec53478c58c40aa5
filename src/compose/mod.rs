//! FROM A CONFIGURATION TO RUNNING PARTS: stores, providers, listeners, the operator's ports.
//!
//! Every command that needs a part of a gateway has it from here, so that `check-config` and
//! `test-identity-provider` judge by the parts that `serve` runs.
//!
//! ```text
//! Config ──▶ Composition: providers opened ──▶ stores ──▶ listeners bound ──▶ Running: all of it
//! ```

mod aws_api;
mod directories;
pub(crate) mod host_keys;
pub(crate) mod listeners;
pub(crate) mod open_files;
pub(crate) mod partial_state;
pub(crate) mod providers;
mod running;
pub(crate) mod stores;
mod unusable;
pub(crate) mod users;
mod value_files;

use std::sync::Arc;

use self::providers::Opened;
use self::stores::{HeldKeys, OpenStores};
use crate::auth::ThrottleSettings;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::ssh::ProxyProtocol;
use crate::storage::credentials::Stores;

pub use self::running::Running;
pub use self::unusable::Unusable;

/// A configuration that can be used, with its providers opened; nobody was asked yet.
#[derive(Debug)]
pub struct Composition<'c> {
    pub(crate) config: &'c Config,
    /// In the order in which they are asked.
    pub(crate) opened: Vec<Opened<'c>>,
    throttle: ThrottleSettings,
    /// What each listener expects of a load balancer, in their order.
    proxies: Vec<ProxyProtocol>,
}

impl<'c> Composition<'c> {
    /// Opens what the configuration names, and finds what cannot be used.
    ///
    /// # Errors
    /// A setting, or a file that it names, cannot be used.
    pub fn of(config: &'c Config) -> Result<Self, Unusable> {
        let throttle = listeners::throttle(&config.login)?;
        let proxies = config.listeners.iter().map(listeners::proxy);
        let proxies = proxies.collect::<Result<_, _>>()?;
        drop(aws_api::certificate(config)?);
        Ok(Self {
            opened: providers::open(config)?,
            throttle,
            proxies,
            config,
        })
    }

    /// Sets the stores up; S3 and STS are not asked yet.
    ///
    /// # Errors
    /// A setting, or a file that it names, cannot be used.
    pub async fn stores(&self, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<dyn Stores>> {
        let keys = HeldKeys::of(self.config);
        Ok(self.stores_with(&keys, metrics).await?.stores)
    }

    async fn stores_with(
        &self,
        keys: &HeldKeys,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<OpenStores> {
        stores::open(self.config, &self.opened, keys, metrics).await
    }
}
