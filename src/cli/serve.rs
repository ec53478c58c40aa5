//! `portcullis serve`.

use super::Failure;
use crate::config::{Config, LogFormat};
use crate::telemetry::{self, Format};

/// Serves until told to stop.
///
/// # Errors
/// Something that the configuration names cannot be used, or serving failed.
pub fn run(config: Config) -> Result<(), Failure> {
    telemetry::start(config.log.format.into(), &config.log.filter)?;
    drop(config);
    Err(Failure::Run("serve is not built yet".to_owned()))
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text => Self::Text,
        }
    }
}
