//! `portcullis explain`: what one operation on one path comes to for one user, and which S3 calls
//! it makes.

mod noted;
mod rehearsal;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;

use self::rehearsal::Rehearsed;
use super::chosen_listener::ChosenListener;
use super::test_identity_provider::{self, Login, row};
use super::{ConfigSource, Exit, Failure, load, output, secrets, signals};
use crate::auth;
use crate::compose::Composition;
use crate::config::{Purpose, read_text};
use crate::idp::wire::{self, Asked, Transport};
use crate::idp::{AuthMethod, PathHomes, UserConfig};
use crate::limits;
use crate::refusal::Refusal;
use crate::storage::Location;
use crate::storage::history::version_at;
use crate::vfs::{Mapping, Place, VirtualPath};

/// Options of `explain`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    source: ConfigSource,
    /// The name to log in with.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Path that the client sends; relative to the session's first directory if it does not begin
    /// with `/`.
    #[arg(long, value_name = "PATH")]
    path: String,
    /// Operation of the client.
    #[arg(long, value_name = "OPERATION", value_enum)]
    op: Act,
    /// With `--op rename`: the new name.
    #[arg(long, value_name = "PATH", required_if_eq("op", "rename"))]
    to: Option<String>,
    /// Use the identity provider's answer in this file instead of a request.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "password_stdin"])]
    answer: Option<String>,
    /// What a PATH home of that answer can reach, as in the setting of the same name.
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value_t,
        requires = "answer"
    )]
    path_homes: PathHomesOption,
    /// Send the password on standard input; without it, look up the user's keys.
    #[arg(long)]
    password_stdin: bool,
    /// Client address to report.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    source_ip: IpAddr,
    #[command(flatten)]
    listener: ChosenListener,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Act {
    Get,
    Put,
    Ls,
    Stat,
    Rm,
    Mkdir,
    Rmdir,
    Rename,
}

/// The setting `identity.path_homes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum PathHomesOption {
    #[default]
    Confined,
    Role,
}

impl From<PathHomesOption> for PathHomes {
    fn from(option: PathHomesOption) -> Self {
        match option {
            PathHomesOption::Confined => Self::Confined,
            PathHomesOption::Role => Self::Role,
        }
    }
}

/// Explains, and says with the exit status whether the gateway would do it.
///
/// # Errors
/// A file cannot be read, or the configuration is wrong.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let Some(file) = &options.answer else {
        return ask(options);
    };
    let text = read_text(file, ANSWER_BYTES_MAX)
        .map_err(|error| Failure::Usage(format!("--answer {file}: {error}")))?;
    let asked = Asked {
        username: &options.user,
        method: AuthMethod::Password,
        accept_keys_with_password: true,
        path_homes: options.path_homes.into(),
        fs_ids: &[],
        transport: Transport::Http,
        function_error: false,
    };
    match wire::parse(asked, 200, text.as_bytes()) {
        Ok(user) => {
            let explained = async { explain(options, &user).await.map_err(Into::into) };
            signals::run(|stop| signals::until(stop, explained))
        }
        Err(refusal) => Ok(no_session(&refusal)),
    }
}

/// Asks the configured provider.
fn ask(options: &Options) -> Result<Exit, Failure> {
    let password = if options.password_stdin {
        Some(secrets::from_stdin()?)
    } else {
        None
    };
    let login = Login {
        user: options.user.clone(),
        password,
        key: None,
        source_ip: options.source_ip,
    };
    let config = load(&options.source, Purpose::Login)?;
    let composition = Composition::of(&config)?;
    let place = options.listener.of(&config)?;
    let explained = async {
        let stores = composition.stores(&Arc::default()).await?;
        let judged = test_identity_provider::judge(&composition, &stores, place, &login);
        let findings = Box::pin(judged).await;
        match (&findings.user, &findings.refusal) {
            (Some(user), _) => {
                let user = auth::with_history(Arc::clone(user), config.sftp.history);
                explain(options, &user).await.map_err(Into::into)
            }
            (None, Some(refusal)) => Ok(no_session(refusal)),
            (None, None) => Ok(test_identity_provider::exit(&findings)),
        }
    };
    signals::run(|stop| signals::until(stop, explained))
}

fn no_session(refusal: &Refusal) -> Exit {
    let (verdict, reason) = (refusal.verdict().as_str(), refusal.reason);
    let cause = reason.cause();
    let mut text = format!("no session: {verdict} · {reason}: {cause}\n");
    if let Some(detail) = &refusal.detail {
        row(&mut text, "detail", detail);
    }
    row(&mut text, "change", reason.remedy());
    output::print(&text);
    test_identity_provider::exit_of(refusal)
}

async fn explain(options: &Options, user: &Arc<UserConfig>) -> Result<Exit, Failure> {
    let landing = user.home.landing();
    let resolved = |option: &str, text: &str| {
        VirtualPath::resolve(landing, text.as_bytes())
            .map_err(|error| Failure::Usage(format!("{option} {text:?}: {error}")))
    };
    let path = resolved("--path", &options.path)?;
    let to = options.to.as_deref().map(|to| resolved("--to", to));
    let to = to.transpose()?;
    let rehearsed = rehearsal::rehearse(user, options.op, &path, to.as_ref()).await;
    let told = Transcript {
        user,
        act: options.op,
        path,
        rehearsed,
    };
    output::print(&if options.json {
        told.json()
    } else {
        told.text()
    });
    Ok(match told.rehearsed.refusal {
        None => Exit::Done,
        Some(_) => Exit::Failed,
    })
}

/// What is told.
struct Transcript<'a> {
    user: &'a UserConfig,
    act: Act,
    path: VirtualPath,
    rehearsed: Rehearsed,
}

impl Transcript<'_> {
    /// Returns the mapping, and the place in its bucket.
    fn place(&self) -> (Option<Cow<'_, Mapping>>, Option<String>) {
        match self.user.home.place(&self.path) {
            Ok(Place::Inside { mapping, location }) => (Some(mapping), Some(shown(&location))),
            Ok(Place::File { mapping, location }) => {
                (Some(Cow::Borrowed(mapping)), Some(shown(&location)))
            }
            Ok(Place::MappingRoot { mapping }) => {
                let place = format!("s3://{}/{}", mapping.bucket, mapping.prefix);
                (Some(mapping), Some(place))
            }
            Ok(Place::Bucket { bucket, .. }) => (None, Some(format!("s3://{bucket}/"))),
            Ok(Place::Buckets) => (None, Some("s3://".to_owned())),
            Ok(Place::Virtual | Place::Nowhere) | Err(_) => (None, None),
        }
    }

    /// Returns the mapping that confines the session there: where the role alone does, none.
    fn mapping(&self) -> Option<Cow<'_, Mapping>> {
        let (mapping, _) = self.place();
        mapping.filter(|_| !self.user.home.is_of_role())
    }

    fn word(&self) -> &'static str {
        match self.act {
            Act::Get => "get",
            Act::Put => "put",
            Act::Ls => "ls",
            Act::Stat => "stat",
            Act::Rm => "rm",
            Act::Mkdir => "mkdir",
            Act::Rmdir => "rmdir",
            Act::Rename => "rename",
        }
    }

    fn text(&self) -> String {
        let outcome = match &self.rehearsed.refusal {
            None => "allowed by the gateway, if S3 allows it".to_owned(),
            Some((_, sentence)) => format!("refused: {sentence}"),
        };
        let mut text = format!("{} {}: {outcome}\n", self.word(), self.path.as_str());
        let mut row = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {name:<9} {value}");
        };
        let (_, place) = self.place();
        match self.mapping() {
            Some(mapping) => {
                let (entry, access) = (mapping.entry.as_str(), mapping.access.as_str());
                row("mapping", &format!("{entry} ({access})"));
            }
            None if self.user.home.is_of_role() => {
                row("mapping", "none: the role decides (path_homes = \"role\")");
            }
            None => row(
                "mapping",
                "none: the path is virtual, or outside the mappings",
            ),
        }
        row("place", place.as_deref().unwrap_or("none"));
        row("role", self.user.role.as_deref().unwrap_or("none"));
        let policy = self.user.policy.as_deref();
        row("policy", policy.unwrap_or("none"));
        for call in &self.rehearsed.calls {
            row("call", &format!("{} {}", call.operation.name(), call.place));
        }
        text
    }

    fn json(&self) -> String {
        let (_, place) = self.place();
        let refusal = self.rehearsed.refusal.as_ref();
        let calls = self.rehearsed.calls.iter();
        let told = json!({
            "user": self.user.user,
            "operation": self.word(),
            "path": self.path.as_str(),
            "allowed": refusal.is_none(),
            "status": refusal.map_or(0, |(code, _)| *code),
            "why": refusal.map(|(_, sentence)| sentence),
            "mapping": self.mapping().map(|mapping| json!({
                "entry": mapping.entry.as_str(),
                "bucket": mapping.bucket.as_str(),
                "prefix": mapping.prefix,
                "access": mapping.access.as_str(),
            })),
            "pathHomes": test_identity_provider::path_homes(&self.user.home),
            "place": place,
            "role": self.user.role,
            "policy": self.user.policy,
            "calls": calls.map(|call| json!({
                "operation": call.operation.name(),
                "place": call.place,
            })).collect::<Vec<_>>(),
        });
        format!("{told:#}\n")
    }
}

fn shown(location: &Location) -> String {
    match version_at(location) {
        Some(version) => version.to_string(),
        None => format!("s3://{}/{}", location.bucket, location.key),
    }
}

/// As much as an answer may have.
const ANSWER_BYTES_MAX: u64 = limits::ANSWER_BYTES_MAX as u64;

const EXAMPLES: &str = "\
Examples:
  portcullis explain --user ann --path /in/x.txt --op put --answer answer.json
  portcullis explain --config portcullis.toml --user ann --path x.txt --op get \\
    --password-stdin < password

The calls are those of a real session of the gateway, over an in-memory store that has the file
(of one byte) or directory that the operation needs. A larger file would need a multipart upload
instead of PutObject. It keeps no versions: of those below /.history only the place is told, and
what cannot be done there. IAM decides whether S3 allows the calls.

Exit codes: 0 the gateway would allow it, 1 it would refuse it (or the login is denied), 2 the
provider is unavailable, 3 its answer is invalid.";
