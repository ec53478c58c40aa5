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
    /// File that holds the gateway's `admin.token`.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<String>,
}

/// What the gateway is to do.
#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// End a user's sessions at once, commit none of their open uploads, forget their answers.
    Revoke {
        #[arg(long, value_name = "NAME")]
        user: String,
    },
    /// Forget the remembered answers about one user, or all of them.
    Forget {
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Let a user, a source, or both together try again after too many wrong passwords.
    Unlock {
        #[arg(long, value_name = "NAME", required_unless_present = "source")]
        user: Option<String>,
        #[arg(long, value_name = "ADDRESS")]
        source: Option<IpAddr>,
    },
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
        }
    }

    fn said(&self, done: &Value) -> String {
        let count = |key: &str| done.get(key).and_then(Value::as_u64).unwrap_or(0);
        match self {
            Self::Revoke { .. } => format!(
                "connections ended: {} · answers forgotten: {}\n",
                count("connections"),
                count("answers")
            ),
            Self::Forget { .. } => format!("answers forgotten: {}\n", count("answers")),
            Self::Unlock { .. } => format!("entries removed: {}\n", count("entries")),
        }
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
            Err(error) => return Err(error).context("this is no operator's port"),
        },
    };
    let Ok(done) = serde_json::from_slice::<Value>(&body) else {
        bail!("this is no operator's port: it answered {status} without JSON");
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

const PATIENCE: Duration = Duration::from_secs(15);
const EXAMPLES: &str = "\
Examples:
  portcullis admin revoke --user ann
  portcullis admin forget
  portcullis admin unlock --user ann --source 203.0.113.7
  portcullis admin revoke --user ann --at 10.0.0.7:9090 --token-file token

Where several gateways run, each has to be told.";
