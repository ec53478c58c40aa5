//! `portcullis admin`: gives a running gateway a command, on its operator's port.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Failure, output, signals};
use crate::config::read_text;
use crate::idp::Network;
use crate::limits::{ADMIN_BODY_BYTES_MAX, CONFIG_FILE_BYTES_MAX};
use crate::secret::Secret;

/// Options of `admin`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
    /// Address and port of the gateway's `admin.listen`.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9090",
        global = true
    )]
    at: String,
    /// File with the gateway's `admin.token`.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<String>,
}

/// What the gateway is to do.
#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Disconnect a user within two seconds, discard unfinished uploads, clear cached answers.
    Revoke {
        #[arg(long, value_name = "NAME")]
        user: String,
    },
    /// Clear the cached answers of one user, or all.
    Forget {
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// End lock-outs of a user, a source, or a user at a source.
    Unlock {
        #[arg(long, value_name = "NAME", required_unless_present = "source")]
        user: Option<String>,
        #[arg(long, value_name = "ADDRESS")]
        source: Option<IpAddr>,
    },
    /// Refuse logins of a user or a network and end their sessions, or stop using a provider.
    Block {
        #[command(flatten)]
        whom: Whom,
        /// Duration, such as 30m, 8h or 7d; without it until `unblock`.
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        lasts: Option<u64>,
    },
    /// Lift a block.
    Unblock {
        #[command(flatten)]
        whom: Whom,
    },
    /// List the blocks.
    Blocks,
}

/// Whom a block is about.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Network, such as 203.0.113.0/24, or one address.
    #[arg(long, value_name = "NETWORK")]
    network: Option<Network>,
    /// NAME of `[provider.NAME]`; "" if there is only one provider.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
}

impl Whom {
    fn order(&self) -> Value {
        let network = self.network.as_ref().map(ToString::to_string);
        json!({"user": self.user, "network": network, "provider": self.provider})
    }
}

/// Reads seconds, or a number with `s`, `m`, `h` or `d`.
fn duration(text: &str) -> Result<u64, String> {
    let allowed = || "allowed: for example 90s, 30m, 8h or 7d".to_owned();
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match text.strip_prefix(digits) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        _ => return Err(allowed()),
    };
    let number: u64 = digits.parse().map_err(|_| allowed())?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds > 0);
    seconds.ok_or_else(allowed)
}

/// Sends the command and says what came of it.
///
/// # Errors
/// The gateway cannot be reached, or refuses.
pub(super) fn run(options: Options) -> Result<(), Failure> {
    let token = match &options.token_file {
        Some(path) => Some(token(path)?),
        None => None,
    };
    signals::run(|stop| async move {
        tokio::select! {
            said = tokio::time::timeout(PATIENCE, send(&options, token)) => {
                output::print(&said.context("no answer in time")??);
                Ok(())
            }
            () = stop.cancelled() => bail!("stopped by a signal"),
        }
    })
}

fn token(path: &str) -> Result<Secret, Failure> {
    let text = read_text(path, CONFIG_FILE_BYTES_MAX)
        .map_err(|error| Failure::Usage(format!("--token-file {path}: {error}")))?;
    Ok(Secret::new(text.trim_end().to_owned()))
}

impl Command {
    fn order(&self) -> (&'static str, Value) {
        match self {
            Self::Revoke { user } => ("/revoke", json!({"user": user})),
            Self::Forget { user } => ("/forget", json!({"user": user})),
            Self::Unlock { user, source } => ("/unlock", json!({"user": user, "source": source})),
            Self::Block { whom, lasts } => {
                let mut order = whom.order();
                if let (Some(order), Some(seconds)) = (order.as_object_mut(), lasts) {
                    order.insert("seconds".to_owned(), (*seconds).into());
                }
                ("/block", order)
            }
            Self::Unblock { whom } => ("/unblock", whom.order()),
            Self::Blocks => ("/blocks", json!({})),
        }
    }

    fn said(&self, done: &Value) -> String {
        let count = |key: &str| done.get(key).and_then(Value::as_u64).unwrap_or(0);
        match self {
            Self::Revoke { .. } => format!(
                "connections ended: {} · cached answers cleared: {}\n",
                count("connections"),
                count("answers")
            ),
            Self::Forget { .. } => format!("cached answers cleared: {}\n", count("answers")),
            Self::Unlock { .. } => format!(
                "lock-outs and failure counts cleared: {}\n",
                count("entries")
            ),
            Self::Block { .. } => {
                let until = done.get("until").and_then(Value::as_str);
                let until = until.unwrap_or("unblock");
                let why = done.get("why").and_then(Value::as_str);
                let kept = match (done.get("kept").and_then(Value::as_bool), why) {
                    (Some(true), _) => String::new(),
                    (_, Some(why)) => format!(", not over a restart ({why})"),
                    (_, None) => ", not over a restart (no state_directory)".to_owned(),
                };
                format!(
                    "blocked until {until}{kept} · connections ended: {}\n{ONLY_HERE}\n",
                    count("connections")
                )
            }
            Self::Unblock { .. } => {
                let lifted = done.get("lifted").and_then(Value::as_bool) == Some(true);
                let word = if lifted { "lifted" } else { "there was none" };
                let why = done.get("why").and_then(Value::as_str);
                let why = why.map(|why| format!("until a restart: {why}\n"));
                format!("{word}\n{}{ONLY_HERE}\n", why.unwrap_or_default())
            }
            Self::Blocks => listed(done),
        }
    }
}

/// Writes a line for each block.
fn listed(done: &Value) -> String {
    let blocks = done.get("blocks").and_then(Value::as_array);
    let lines = blocks.into_iter().flatten().map(|row| {
        let text = |key: &str| row.get(key).and_then(Value::as_str);
        let kinds = ["user", "network", "provider"];
        let mut whom = kinds.iter().filter_map(|kind| Some((kind, text(kind)?)));
        let (kind, name) = whom.next().unwrap_or((&"", ""));
        // Names come from anybody's login.
        let name = name.replace(char::is_control, "\u{FFFD}");
        format!(
            "{kind} {name} until {}\n",
            text("until").unwrap_or("unblock")
        )
    });
    let lines: String = lines.collect();
    if lines.is_empty() {
        "nobody is blocked\n".to_owned()
    } else {
        lines
    }
}

async fn send(options: &Options, token: Option<Secret>) -> anyhow::Result<String> {
    let at = &options.at;
    let stream = TcpStream::connect(at).await;
    let stream = stream.with_context(|| format!("failed to connect to {at} (--at)"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let (path, order) = options.command.order();
    let mut request = Request::post(path)
        .header(HOST, at)
        .header(CONTENT_TYPE, "application/json");
    if let Some(token) = &token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let request = request.body(Full::new(Bytes::from(order.to_string())));
    let request = request.context("the token cannot be sent in a header")?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ADMIN_BODY_BYTES_MAX);
        let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok((status, body.to_bytes()))
    };
    let (status, body) = tokio::select! {
        exchange = exchange => exchange?,
        ended = connection => match ended {
            Ok(()) => bail!("the connection was closed without an answer"),
            Err(error) => return Err(error).context("this is not an admin port"),
        },
    };
    let Ok(done) = serde_json::from_slice::<Value>(&body) else {
        bail!("this is not an admin port: it answered {status} without JSON");
    };
    if status != StatusCode::OK {
        bail!(
            "refused: {}",
            done.get("error")
                .and_then(Value::as_str)
                .unwrap_or("no reason given")
        );
    }
    Ok(options.command.said(&done))
}

const ONLY_HERE: &str = "this affects only this gateway: run the command against every replica";
const PATIENCE: Duration = Duration::from_secs(15);
const EXAMPLES: &str = "\
Examples:
  portcullis admin revoke --user ann
  portcullis admin forget
  portcullis admin unlock --user ann --source 203.0.113.7
  portcullis admin block --user ann --for 8h
  portcullis admin block --network 203.0.113.0/24
  portcullis admin unblock --network 203.0.113.0/24
  portcullis admin blocks
  portcullis admin revoke --user ann --at 10.0.0.7:9090 --token-file token

Run it against every replica; there is no broadcast.";
