//! `portcullis migrate`: what a move from AWS Transfer Family still needs, and its users.

mod configured;
mod files;
mod written;

use clap::{Args, Subcommand, ValueEnum};

use self::written::Written;
use super::{ConfigSource, Exit, Failure, output, signals};
use crate::migrate::{self, Descriptions, Places, Principal, Sftpgo, SftpgoPlaces, State};

/// Options of `migrate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Clone, Subcommand)]
enum Step {
    /// Compare descriptions of the old server with a configuration, and list what is left to do.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckOptions),
    /// Write users and a configuration from the same descriptions, or from a dump of SFTPGo.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportOptions),
}

#[derive(Debug, Clone, Args)]
struct CheckOptions {
    #[command(flatten)]
    source: ConfigSource,
    /// ARN of the gateway's own role or user, which the users' roles have to trust.
    #[arg(long, value_name = "ARN", value_parser = Principal::parse)]
    gateway_role: Option<Principal>,
    /// Accept what is open under this name: a topic such as algorithms, or difference-NUMBER.
    #[arg(long, value_name = "NAME")]
    accept: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Descriptions, Terraform state files, or directories of them; `-` reads standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

#[derive(Debug, Clone, Args)]
struct ImportOptions {
    /// What the files are.
    #[arg(long, value_name = "SERVER", value_enum, default_value_t)]
    from: Source,
    /// Directory to write: `portcullis.toml`, and `users/SERVER_ID/NAME.json` or `users.toml`.
    #[arg(long, value_name = "DIRECTORY")]
    into: String,
    /// Port of the first server; further servers get the ports after it.
    #[arg(long, value_name = "PORT", default_value_t = 2222)]
    port: u16,
    /// With `--from sftpgo`: give users whose permissions have no counterpart wider ones.
    #[arg(long)]
    widen: bool,
    /// Replace users that are there and differ; a configuration is never replaced.
    #[arg(long)]
    replace: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Descriptions, Terraform state files, or directories of them; `-` reads standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

/// Where users come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Source {
    /// AWS Transfer Family: what its command line prints, or a Terraform state.
    #[default]
    Aws,
    /// SFTPGo: its JSON dump.
    Sftpgo,
}

/// Does one step of a move.
///
/// # Errors
/// A file cannot be read or written, or is no description.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    match &options.step {
        Step::Check(options) => check(options),
        Step::Import(options) => import(options),
    }
}

fn check(options: &CheckOptions) -> Result<Exit, Failure> {
    let found = read(&options.files)?;
    let principal = options.gateway_role.clone();
    let gateway = configured::gateway(&options.source, &found, principal)?;
    let mut report = migrate::check(&found, &gateway);
    for name in &options.accept {
        if !report.accept(name) {
            let topics = migrate::Topic::ALL.map(migrate::Topic::as_str).join(", ");
            let message = format!("--accept {name}: allowed: {topics}, difference-NUMBER");
            return Err(Failure::Usage(message));
        }
    }
    if options.json {
        output::print(&report.json());
    } else {
        output::print_verdicts(&report.text());
    }
    Ok(match report.count(State::Open) {
        0 => Exit::Done,
        _ => Exit::Failed,
    })
}

fn import(options: &ImportOptions) -> Result<Exit, Failure> {
    let into = options.into.trim_end_matches('/');
    let (users_file, imported, moved) = match options.from {
        Source::Aws => {
            let found = read(&options.files)?;
            let port = options.port;
            (None, migrate::import(&found, Places { into, port }), 0)
        }
        Source::Sftpgo => {
            let places = SftpgoPlaces {
                into,
                port: options.port,
                may_widen: options.widen,
            };
            let mut dump = Sftpgo::default();
            files::each(&options.files, |file, text| {
                let read = dump.read(file, text, places);
                read.map_err(|error| Failure::Usage(error.to_string()))
            })?;
            let (users, imported, moved) = dump.import(places);
            (Some(users), imported, moved)
        }
    };
    let mut written = signals::run(|_| async {
        let users_file = users_file.as_deref();
        let written = Written::write(&imported, users_file, into, options.replace);
        written.await.map_err(anyhow::Error::msg)
    })?;
    written.new = written.new.saturating_add(moved);
    if options.json {
        output::print(&written.json(&imported));
    } else {
        output::print(&written.text(&imported));
    }
    for left_out in &imported.left_out {
        output::warning(&format!("left out: {}", migrate::plain(left_out)));
    }
    Ok(if imported.left_out.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn read(paths: &[String]) -> Result<Descriptions, Failure> {
    let mut found = Descriptions::default();
    files::each(paths, |file, text| {
        let read = found.read(file, text);
        read.map_err(|error| Failure::Usage(error.to_string()))
    })?;
    Ok(found)
}

const EXAMPLES: &str = "\
Examples:
  portcullis migrate import --into /etc/portcullis aws/
  portcullis migrate check --config portcullis.toml --gateway-role ARN aws/

Read docs/transfer-family.md first.";

const CHECK_EXAMPLES: &str = "\
Examples:
  aws transfer describe-server --server-id s-0123456789abcdef0 > aws/server.json
  aws transfer list-users --server-id s-0123456789abcdef0 > aws/users.json
  aws transfer describe-user --server-id s-0123456789abcdef0 --user-name ann > aws/ann.json
  aws transfer list-host-keys --server-id s-0123456789abcdef0 > aws/host-keys.json
  aws iam get-role --role-name sftp-users > aws/role.json
  portcullis migrate check --config portcullis.toml \\
    --gateway-role arn:aws:iam::123456789012:role/portcullis aws/
  portcullis migrate check --config portcullis.toml --accept algorithms terraform.tfstate

Nothing is asked and nothing is changed. Names of files mean nothing: what a file describes, its
members say. One file may hold several descriptions.

Exit codes: 0 nothing is open, 1 something is open, 64 a file cannot be used, 78 wrong configuration.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  portcullis migrate import --into /etc/portcullis aws/
  portcullis migrate import --into /etc/portcullis --replace terraform.tfstate
  portcullis migrate import --from sftpgo --into /etc/portcullis sftpgo-backup.json

Users that are there already and say the same stay; if one differs, nothing is written without
--replace. A configuration that is there and differs stays in any case: the new one is written
beside it as portcullis.toml.new. Check the result: portcullis check-config, then portcullis migrate check.

Exit codes: 0 done, 1 something was left out, or users differ; 64 a file cannot be used.";
