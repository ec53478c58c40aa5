//! Runs the in-memory S3 alone:
//! `embedded-s3 [--listen 127.0.0.1:9000] [--bucket NAME]... [--access-key KEY] [--secret-key KEY]`

use std::io::Write as _;
use std::process::ExitCode;

use embedded_s3::{EmbeddedS3, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args()
        .skip(1)
        .any(|word| word == "--help" || word == "-h")
    {
        write!(std::io::stdout(), "{HELP}").unwrap_or_default();
        return ExitCode::SUCCESS;
    }
    let started = match settings(std::env::args().skip(1)) {
        Ok(settings) => EmbeddedS3::start(settings)
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    let server = match started {
        Ok(server) => server,
        Err(error) => {
            writeln!(std::io::stderr(), "embedded-s3: {error}").unwrap_or_default();
            return ExitCode::FAILURE;
        }
    };
    writeln!(std::io::stdout(), "listening on {}", server.endpoint()).unwrap_or_default();
    let stopped = tokio::signal::ctrl_c().await;
    server.shutdown().await;
    if stopped.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn settings(mut arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
    let mut settings = Settings {
        listen: ([127, 0, 0, 1], 9000).into(),
        ..Settings::default()
    };
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--listen" => {
                settings.listen = value
                    .parse()
                    .map_err(|_| format!("--listen {value} is not an address and port"))?;
            }
            "--bucket" => settings.buckets.push(value),
            "--access-key" => settings.access_key = value,
            "--secret-key" => settings.secret_key = value,
            _ => return Err(format!("unknown option {name}; see embedded-s3 --help")),
        }
    }
    Ok(settings)
}

const HELP: &str = "\
An in-memory S3 server for tests and demonstrations; its data is gone when it ends.

Usage: embedded-s3 [OPTIONS]

Options:
  --listen ADDRESS:PORT  Address and port to listen on [default: 127.0.0.1:9000]
  --bucket NAME          A bucket to create at start; may be repeated
  --access-key KEY       Access key that clients must use
  --secret-key KEY       Secret key that clients must use
  -h, --help             Print this help

Example:
  embedded-s3 --bucket my-bucket
  aws s3 ls --endpoint-url http://127.0.0.1:9000 s3://my-bucket
";
