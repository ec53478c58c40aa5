//! `portcullis rehearse`: what a log of the past would come to with a configuration.

mod asking;
mod lines;

use std::fs::File;

use clap::Args;
use tokio_util::sync::CancellationToken;

use self::asking::Asking;
use self::lines::{LineRead, Lines};
use super::chosen_listener::ChosenListener;
use super::{ConfigSource, Exit, Failure, load, output, signals};
use crate::causes;
use crate::clock::{Clock as _, SystemClock};
use crate::compose::Composition;
use crate::config::Purpose;
use crate::rehearse::{Event, Replay};

/// Options of `rehearse`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    source: ConfigSource,
    /// Look up users at the configured identity providers, once each; never with a password.
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    listener: ChosenListener,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Logs; `-` reads standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

/// Replays logs, and says with the exit status whether anything changes.
///
/// # Errors
/// A log cannot be read, or the configuration is wrong.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let config = load(&options.source, Purpose::Login)?;
    let composition = Composition::of(&config)?;
    let listener = options.listener.of(&config)?.map_err(|wanted| {
        Failure::Usage(format!("--listen {wanted}: no provider listens there"))
    })?;
    let composition = &composition;
    for file in options.files.iter().filter(|file| *file != "-") {
        let open = File::open(file).map(drop);
        let unusable = |error| Failure::Usage(format!("{file}: {}", causes::system(&error)));
        open.map_err(unusable)?;
    }
    let replay = signals::run(|stop| async move {
        let asking = Asking::open(composition, listener, options.ask).await?;
        let mut replay = Replay::new(asking.rules(SystemClock.wall()));
        for file in &options.files {
            let mut lines = Lines::open(file)?;
            loop {
                match lines.next()? {
                    LineRead::Line(text) => {
                        if let Some(event) = replay.read(text) {
                            take(&mut replay, &asking, event, &stop).await?;
                        }
                    }
                    LineRead::TooLong => replay.too_long(),
                    LineRead::End => break,
                }
                if replay.tally().lines.is_multiple_of(LINES_PER_TURN) {
                    output::progress(&format!("{} lines", replay.tally().lines));
                    tokio::task::yield_now().await;
                    if stop.is_cancelled() {
                        anyhow::bail!(STOPPED);
                    }
                }
            }
        }
        output::progress("");
        Ok(replay)
    })?;
    let tally = replay.tally();
    if tally.events == 0 {
        let message = "no line is one of Transfer Family's log or of the gateway's own";
        return Err(Failure::Usage(message.to_owned()));
    }
    output::print(&if options.json {
        tally.json()
    } else {
        tally.text()
    });
    Ok(match (tally.changed(), tally.not_judged()) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Unavailable,
        (_, _) => Exit::Failed,
    })
}

async fn take(
    replay: &mut Replay,
    asking: &Asking,
    event: Event,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(user) = replay.wanted(&event) {
        let source = match &event {
            Event::Allowed(login) | Event::Refused(login) => login.source,
            Event::NoAlgorithm | Event::Did { .. } | Event::Ended { .. } | Event::Other => None,
        };
        // Each may take as long as a login may.
        let known = tokio::select! {
            biased;
            () = stop.cancelled() => anyhow::bail!(STOPPED),
            known = asking.look_up(&user, source) => known,
        };
        replay.know(user, known);
    }
    replay.judge(event);
    Ok(())
}

const STOPPED: &str = "stopped by a signal";
const LINES_PER_TURN: u64 = 20_000;

const EXAMPLES: &str = "\
Examples:
  aws logs filter-log-events --log-group-name /aws/transfer/s-0123456789abcdef0 > log.json
  portcullis rehearse --config portcullis.toml log.json
  zcat export/*.gz | portcullis rehearse --config portcullis.toml --ask -

Reads Transfer Family's log in its structured and its older form, as CloudWatch exports it, and
the gateway's own log in JSON. Without --ask nothing is asked: users of a file and service-managed
users of a directory are known, those of other providers count as not asked. Passwords are never
tried.

With identity.methods = \"key-and-password\" a login counts as not asked unless the log shows both.

Exit codes: 0 nothing changes, 1 something changes, 2 nothing that was judged changes, but not
everything was judged: a user was not asked, a session began before the log, or a line could not be
read; 64 a log cannot be used, 78 wrong configuration.";
