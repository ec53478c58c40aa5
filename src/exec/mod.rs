//! COMMANDS BESIDE SFTP: `scp` in its old protocol, checksums of files, and what programs look for.
//!
//! No shell and no program is behind any of them: a line is understood or refused
//! ([`Command::parse`]). One that is understood is carried out by asking a session, as an SFTP
//! client would ([`TypedSession`](crate::session::TypedSession)), so that what may be seen and
//! changed, limits, memory and lines in the log are those of SFTP. Bytes are never gathered here:
//! what the client sends goes on to the session, which takes it as fast as it has memory, and what
//! it receives is asked for as fast as it takes it.

mod arrived;
mod command;
mod expand;
mod fault;
mod look;
mod peer;
mod receive;
mod record;
mod remote;
mod send;
mod sum;
mod summing;
mod tally;
mod wildcard;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::auth::AuthenticatedUser;
use crate::budget::Gate;
use crate::limits::{COMMAND_BYTES_KEPT, LOG_INTERVAL};
use crate::session::{self, Environment, Inbound, Outbound};

pub use self::command::{Command, NotRun};

use self::arrived::Arrived;
use self::command::Act;
use self::fault::Fault;
use self::peer::Peer;
use self::remote::{NO_MEMORY, Remote};
use self::summing::Summing;
use self::tally::Tally;

/// Runs a command on one channel to its end, and returns its exit status.
///
/// `gate` belongs to the connection: the session closes it when it holds too many bytes.
pub async fn serve<I: Inbound, O: Outbound>(
    environment: Environment,
    user: AuthenticatedUser,
    command: Command,
    gate: Arc<Gate>,
    inbound: I,
    mut outbound: O,
) -> u32 {
    let (metrics, clock) = (
        Arc::clone(&environment.metrics),
        Arc::clone(&environment.clock),
    );
    let (name, began) = (command.name(), clock.now());
    let summing = Summing {
        turns: Arc::clone(&environment.summing),
        metrics: Arc::clone(&metrics),
    };
    let gone = inbound.gone();
    let admitted = session::admitted(environment, user, Arc::clone(&gate), gone.clone());
    let (admitted, serving) = match admitted {
        Ok(admitted) => admitted,
        Err(sentence) => {
            metrics.command(name, "refused");
            let sentence = Bytes::from_static(sentence.as_bytes());
            // Whether it is heard or not, the command is over.
            outbound.send_stderr(sentence).await.unwrap_or_default();
            return FAILED;
        }
    };
    let over = CancellationToken::new();
    let arrived = Arc::new(Arrived::new(command.input()));
    let taking = arrived::take(Arc::clone(&arrived), inbound, gate);
    let now = Arc::clone(&clock);
    let mut peer = Peer::new(arrived, outbound, clock, gone, over.clone());
    let running = async move {
        let mut tally = Tally::default();
        let lines = Arc::clone(&admitted.lines);
        let mut remote = Remote::new(admitted);
        let done = run(&mut peer, &mut remote, command, summing, &mut tally).await;
        let outcome = end(&mut peer, &mut remote, done, tally).await;
        let took = now.now().saturating_duration_since(began);
        metrics.command(name, outcome);
        let totals = (tally.files, tally.bytes, tally.failures);
        // Any number of commands that do nothing can be run.
        let unlogged = if tally.files == 0 && tally.bytes == 0 {
            lines.due(now.now(), LOG_INTERVAL)
        } else {
            Some(0)
        };
        if let Some(unlogged) = unlogged {
            let unlogged = (unlogged > 0).then_some(unlogged);
            audit::command_ended(name, outcome, totals, took, unlogged);
        }
        if outcome == DONE { 0 } else { FAILED }
    };
    let serving = async move {
        serving.await;
        over.cancel();
    };
    // The session ends when nobody asks it any more.
    let both = async { tokio::join!(running, Box::pin(serving)) };
    tokio::select! {
        biased;
        (exit_status, ()) = both => exit_status,
        never = taking => match never {},
    }
}

async fn run<O: Outbound>(
    peer: &mut Peer<O>,
    remote: &mut Remote,
    command: Command,
    summing: Summing,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let mut held = remote.held();
    let bytes = command.bytes();
    if bytes > COMMAND_BYTES_KEPT && !held.hold(bytes) {
        tally.failed();
        let line = format!("{}: {}\n", command.name(), NO_MEMORY.sentence);
        return peer.say(line.into_bytes()).await;
    }
    if let Act::Receive(_) = &command.0 {
        // Its end is that of its bytes: what came before is stored.
        return act(peer, remote, command, summing, tally).await;
    }
    let gone = peer.gone().clone();
    tokio::select! {
        biased;
        done = act(peer, remote, command, summing, tally) => done,
        () = gone.cancelled() => Err(Fault::Gone),
    }
}

async fn act<O: Outbound>(
    peer: &mut Peer<O>,
    remote: &mut Remote,
    command: Command,
    summing: Summing,
    tally: &mut Tally,
) -> Result<(), Fault> {
    match command.0 {
        Act::Receive(command) => receive::receive(peer, remote, command, tally).await,
        Act::Send(command) => send::send(peer, remote, command, tally).await,
        Act::Sums(command) => summing::sums(peer, remote, summing, command, tally).await,
        Act::WorkingDirectory => look::working_directory(peer, remote, tally).await,
        Act::List(command) => look::list(peer, remote, command, tally).await,
        Act::ShellProbe => look::shell_probe(peer).await,
    }
}

/// Tells the client what there is to be told at the end; returns the outcome for the log.
async fn end<O: Outbound>(
    peer: &mut Peer<O>,
    remote: &mut Remote,
    done: Result<(), Fault>,
    tally: Tally,
) -> &'static str {
    for sentence in remote.sentences() {
        peer.say(sentence).await.unwrap_or_default();
    }
    match done {
        Ok(()) if tally.failures == 0 => DONE,
        Ok(()) | Err(Fault::Abandoned) => "failed",
        // Nobody may be there to hear it.
        Err(Fault::Gone) => "disconnected",
        // The session saw it first.
        Err(Fault::Ended) if peer.gone().is_cancelled() => "disconnected",
        Err(Fault::Ended) => {
            let told = peer.say(&b"The session ended\n"[..]).await;
            told.unwrap_or_default();
            "session-ended"
        }
        Err(Fault::Protocol(reason)) => {
            let line = format!("\x01scp: protocol error: {reason}\n");
            peer.send(line.into_bytes()).await.unwrap_or_default();
            "protocol-error"
        }
    }
}

const DONE: &str = "done";
const FAILED: u32 = 1;
