//! `portcullis serve`: the gateway as its configuration describes it, until a signal.

use tokio_util::sync::CancellationToken;

use super::{Failure, memory, signals};
use crate::compose::{Composition, Running};
use crate::config::{Config, LogFormat, Origin};
use crate::limits::Limits;
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
    let composition = Composition::of(config)?;
    signals::run(|stop| serve(composition, origin, stop))
}

async fn serve(
    composition: Composition<'_>,
    origin: Origin,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let config = composition.config;
    begin(&config.limits, memory::Limit::read(""));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let running = Box::pin(Running::start(&composition, origin)).await?;
    stop.cancelled().await;
    running.drain().await;
    tracing::info!("portcullis ends");
    Ok(())
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
