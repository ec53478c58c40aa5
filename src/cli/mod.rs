//! The command line: parse, load the configuration, run, and turn the result into an exit code.

mod admin;
pub mod bundled_webhook;
mod check_config;
mod completions;
mod contract;
mod explain;
mod hash_password;
mod host_keys;
mod memory;
pub mod output;
mod partial_state;
pub mod probe;
mod providers;
mod proxies;
pub mod quickstart;
mod secrets;
pub mod serve;
mod signals;
mod store_probe;
mod stores;
pub mod test_identity_provider;
mod users;
mod value_files;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigErrors, Origin, Purpose};
use crate::ssh::HostKeyError;
use crate::telemetry;

/// An SFTP gateway for S3 with your own login service.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the process is asked to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (SIGTERM drains, a second signal ends it at once).
    #[command(after_help = serve::EXAMPLES)]
    Serve(ConfigSource),
    /// Check a configuration and report all mistakes at once.
    CheckConfig(check_config::Options),
    /// Try the gateway: in-memory S3, a demo user, no configuration.
    Quickstart(quickstart::Options),
    /// Make the password hash for the users file.
    HashPassword(hash_password::Options),
    /// Print a shell completion script.
    Completions(completions::Options),
    /// Test the identity provider with one user and show what a login would do.
    TestIdentityProvider(test_identity_provider::Options),
    /// Show what an operation on a path would do for a user, and the S3 calls it would make.
    Explain(explain::Options),
    /// Send a command to the admin port: revoke, forget, unlock, block.
    Admin(admin::Options),
    /// Monitor a server: log in as a client, transfer a file both ways, clean up.
    Probe(probe::Options),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
struct ConfigSource {
    /// TOML file; without it only the PORTCULLIS_… variables are read.
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
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
    #[error("{0}")]
    Telemetry(#[from] telemetry::TelemetryError),
    #[error("host_key_files: {path}: {source}")]
    HostKey { path: String, source: HostKeyError },
    /// The command line is well formed, and still not one that can be done.
    #[error("{0}")]
    Usage(String),
    /// While running; the text has the chain of causes.
    #[error("{0}")]
    Run(String),
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
        Command::Serve(source) => load_to_serve(&source)
            .and_then(|(origin, config)| serve::run(origin, &config))
            .map(done),
        Command::CheckConfig(options) => check_config::run(&options).map(done),
        Command::Quickstart(options) => quickstart::run(options).map(done),
        Command::HashPassword(options) => hash_password::run(&options).map(done),
        Command::Completions(options) => {
            completions::run(&options);
            Ok(Exit::Done)
        }
        Command::TestIdentityProvider(options) => test_identity_provider::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Admin(options) => admin::run(options).map(done),
        Command::Probe(options) => probe::run(options),
    };
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            output::error(&failure.to_string());
            failure.exit()
        }
    };
    telemetry::end();
    exit
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
            Self::Usage(_) => Exit::Usage,
            Self::Run(_) => Exit::Failed,
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

fn load(source: &ConfigSource, purpose: Purpose) -> Result<Config, Failure> {
    checked(&Origin::read(source.config.as_deref())?, purpose)
}

fn load_to_serve(source: &ConfigSource) -> Result<(Origin, Config), Failure> {
    let origin = Origin::read(source.config.as_deref())?;
    let config = checked(&origin, Purpose::Serve)?;
    Ok((origin, config))
}

fn checked(origin: &Origin, purpose: Purpose) -> Result<Config, Failure> {
    let config = origin.config(purpose)?;
    let filter = telemetry::parse_filter(&config.log.filter);
    drop(filter.map_err(telemetry::TelemetryError::from)?);
    Ok(config)
}

const EXAMPLES: &str = "\
Examples:
  portcullis quickstart
  portcullis check-config --print-default > portcullis.toml
  portcullis check-config --config portcullis.toml
  portcullis serve --config portcullis.toml
  portcullis hash-password
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis test-identity-provider --config portcullis.toml --user ann --password-stdin
  portcullis admin revoke --user ann
  portcullis probe sftp://ann@sftp.example.com/in --identity key --known-hosts known_hosts

Each command has its own examples: portcullis help check-config

Exit codes: 0 done, 1 failed while running, 64 wrong usage, 78 wrong configuration.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
