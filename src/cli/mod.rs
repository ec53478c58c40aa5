//! The command line: parse, load the configuration, run, and turn the result into an exit code.

pub mod bundled_webhook;
mod contract;
pub mod output;
pub mod probe;
pub mod quickstart;
pub mod remedies;
mod secrets;
pub mod serve;
mod signals;
pub mod test_identity_provider;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, ConfigErrors};
use crate::ssh::{HostKey, HostKeyError};
use crate::telemetry;

/// An SFTP gateway over S3 that asks your own identity provider who may enter.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the process is asked to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve SFTP until told to stop (SIGTERM drains, a second signal cuts).
    Serve(ConfigSource),
    /// Say what is wrong with a configuration, all at once, and serve nothing.
    CheckConfig(CheckConfig),
    /// Try everything out: S3 in memory, a demo user, nothing to configure.
    Quickstart(quickstart::Options),
    /// Ask the identity provider about one user and say what a login would come to.
    TestIdentityProvider(test_identity_provider::Options),
    /// Log in as a client, move a file there and back, and leave nothing behind.
    Probe(probe::Options),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
struct ConfigSource {
    /// TOML file; without it the PORTCULLIS_… variables are everything there is.
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
}

/// Options of `check-config`.
#[derive(Debug, Args)]
struct CheckConfig {
    #[command(flatten)]
    source: ConfigSource,
    /// Print a file with every setting at its default, and check nothing.
    #[arg(long, conflicts_with = "config")]
    print_default: bool,
}

/// How a run ended; usage and configuration as `sysexits.h` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// A login would be refused because its answer, or its place, is not to be had.
    Unavailable,
    /// A login would be refused because its answer cannot be used.
    Invalid,
    /// A probe did not get past this step.
    Step(probe::Step),
    Usage,
    Configuration,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Configuration(#[from] ConfigErrors),
    #[error("log.filter: {0}")]
    Telemetry(#[from] telemetry::TelemetryError),
    #[error("host_key_files: {path}: {source}")]
    HostKey { path: String, source: HostKeyError },
    /// While running; the text has the chain of causes.
    #[error("{0}")]
    Run(String),
    /// Options that do not go together, or name what cannot be used.
    #[error("{0}")]
    Usage(String),
    /// A setting that is well-formed and cannot be used.
    #[error("{0}")]
    Setting(String),
}

/// Runs the process's command line.
#[must_use]
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return refused(&refusal),
    };
    let result = match cli.command {
        Command::Serve(source) => load(&source).and_then(serve::run).map(done),
        Command::CheckConfig(options) => check_config(&options).map(done),
        Command::Quickstart(options) => quickstart::run(options).map(done),
        Command::TestIdentityProvider(options) => test_identity_provider::run(&options),
        Command::Probe(options) => probe::run(options),
    };
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            output::error(&failure.to_string());
            failure.exit()
        }
    }
}

const fn done((): ()) -> Exit {
    Exit::Done
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Unavailable => 2,
            Exit::Invalid => 3,
            Exit::Step(step) => step.exit_code(),
            Exit::Usage => 64,
            Exit::Configuration => 78,
        })
    }
}

impl Failure {
    const fn exit(&self) -> Exit {
        match self {
            Self::Configuration(_)
            | Self::Telemetry(_)
            | Self::HostKey { .. }
            | Self::Setting(_) => Exit::Configuration,
            Self::Run(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
        }
    }
}

/// Shows what clap has to say: help and version are no failures.
fn refused(refusal: &clap::Error) -> Exit {
    // A closed pipe is the reader's choice.
    drop(refusal.print());
    if refusal.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}

fn load(source: &ConfigSource) -> Result<Config, Failure> {
    let config = Config::load(source.config.as_deref())?;
    drop(telemetry::parse_filter(&config.log.filter)?);
    Ok(config)
}

fn check_config(options: &CheckConfig) -> Result<(), Failure> {
    if options.print_default {
        output::print(&config::example());
        return Ok(());
    }
    let config = load(&options.source)?;
    for path in &config.host_key_files {
        let key = HostKey::load(path).map_err(|source| Failure::HostKey {
            path: path.clone(),
            source,
        })?;
        let (algorithm, fingerprint) = (key.algorithm(), key.fingerprint());
        output::print(&format!("host key {algorithm} {fingerprint}\n"));
    }
    let admin = config
        .admin_listen
        .map_or_else(|| "off".to_owned(), |address| address.to_string());
    output::print(&format!(
        "configuration is good · ssh on {} · admin {admin} · identity provider {}\n",
        config.listen,
        origin(&config.identity.url),
    ));
    Ok(())
}

/// Returns a URL without its path and query: those may carry a key.
fn origin(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

const EXAMPLES: &str = "\
Examples:
  portcullis quickstart
  portcullis check-config --print-default > portcullis.toml
  portcullis check-config --config portcullis.toml
  portcullis serve --config portcullis.toml
  portcullis test-identity-provider --config portcullis.toml --user ann --password-stdin
  portcullis probe sftp://ann@sftp.example.com/in --identity key --known-hosts known_hosts

Exit codes: 0 done, 1 failed while running, 64 wrong usage, 78 wrong configuration.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_shown_url_has_no_path() {
        assert_eq!(
            origin("https://idp.example.com:8443/x?key=1"),
            "https://idp.example.com:8443"
        );
        assert_eq!(origin("http://localhost"), "http://localhost");
    }
}
