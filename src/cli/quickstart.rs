//! `portcullis quickstart`: the whole gateway in one command.

use std::net::SocketAddr;

use clap::Args;

use super::Failure;
use crate::telemetry::{self, Format};

/// Options of `quickstart`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Address and port for SSH; port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2222")]
    pub listen: SocketAddr,
    /// Keep the host key here, so that clients recognise the gateway next time.
    #[arg(long, value_name = "DIRECTORY")]
    pub state: Option<String>,
    /// Name of the demo user.
    #[arg(long, value_name = "NAME", default_value = "demo")]
    pub user: String,
    /// Take the demo user's password from a file instead of making one up.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<String>,
    /// Print where it listens as JSON, for scripts.
    #[arg(long)]
    pub json: bool,
    /// Ask this URL who may enter, instead of the built-in demo user.
    #[arg(long, value_name = "URL", conflicts_with_all = ["user", "password_file"])]
    pub webhook: Option<String>,
}

/// Serves from memory until Ctrl-C.
///
/// # Errors
/// The port is taken, a file cannot be read, or serving failed.
pub fn run(options: Options) -> Result<(), Failure> {
    telemetry::start(Format::Readable, "info")?;
    drop(options);
    Err(Failure::Run("quickstart is not built yet".to_owned()))
}

const EXAMPLES: &str = "\
Examples:
  portcullis quickstart
  portcullis quickstart --listen 127.0.0.1:0 --json
  portcullis quickstart --webhook http://127.0.0.1:8000";
