//! `portcullis`: parse, run, map the result to an exit code.

use std::process::ExitCode;

use portcullis::cli::quickstart::{QuickstartOptions, run};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut options = QuickstartOptions::default();
    let mut args = std::env::args().skip(2);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => options.json = true,
            "--listen" => options.listen = args.next().and_then(|a| a.parse().ok()),
            "--state" => options.state = args.next(),
            "--user" => options.user = args.next(),
            "--password-file" => options.password_file = args.next(),
            "--webhook" => options.webhook = args.next(),
            _ => return ExitCode::from(64),
        }
    }
    let stop = CancellationToken::new();
    let wait = async {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        outcome = run(options, stop.clone()) => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => { eprintln!("{error:#}"); ExitCode::FAILURE }
        },
        () = wait => ExitCode::FAILURE,
    }
}
