//! COMMANDS BESIDE SFTP: `scp` in its old protocol, checksums of files, and what programs look for.
//!
//! No shell and no program is behind any of them: a line is understood or refused
//! ([`Command::parse`]). One that is understood is carried out by asking a session, as an SFTP
//! client would ([`TypedSession`](crate::session::TypedSession)), so that what may be seen and
//! changed, limits, memory and lines in the log are those of SFTP. Bytes are never gathered here:
//! what the client sends goes on to the session, which takes it as fast as it has memory, and what
//! it receives is asked for as fast as it takes it.

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
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::auth::AuthenticatedUser;
use crate::budget::Gate;
use crate::session::{self, Environment, Inbound, Outbound};

pub use self::command::{Command, NotRun};

use self::command::Act;
use self::fault::Fault;
use self::peer::Peer;
use self::remote::Remote;
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
    let of_process = Arc::clone(&environment.summing);
    let (admitted, serving) = match session::admitted(environment, user, gate, inbound.gone()) {
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
    let mut peer = Peer::new(inbound, outbound, over.clone());
    let running = async move {
        let mut tally = Tally::default();
        let mut remote = Remote::new(admitted);
        let done = run(&mut peer, &mut remote, command, of_process, &mut tally).await;
        let outcome = end(&mut peer, &mut remote, done, tally).await;
        let took = clock.now().saturating_duration_since(began);
        metrics.command(name, outcome);
        let Tally {
            files,
            bytes,
            failures,
        } = tally;
        audit::command_ended(name, outcome, (files, bytes, failures), took);
        if outcome == DONE { 0 } else { FAILED }
    };
    let serving = async move {
        serving.await;
        over.cancel();
    };
    // The session ends when nobody asks it any more.
    let (exit_status, ()) = tokio::join!(running, Box::pin(serving));
    exit_status
}

async fn run<I: Inbound, O: Outbound>(
    peer: &mut Peer<I, O>,
    remote: &mut Remote,
    command: Command,
    of_process: Arc<Semaphore>,
    tally: &mut Tally,
) -> Result<(), Fault> {
    match command.0 {
        Act::Receive(command) => receive::receive(peer, remote, command, tally).await,
        Act::Send(command) => send::send(peer, remote, command, tally).await,
        Act::Sums(command) => summing::sums(peer, remote, of_process, command, tally).await,
        Act::WorkingDirectory => look::working_directory(peer, remote, tally).await,
        Act::List(command) => look::list(peer, remote, command, tally).await,
        Act::ShellProbe => look::shell_probe(peer).await,
    }
}

/// Tells the client what there is to be told at the end; returns the outcome for the log.
async fn end<I: Inbound, O: Outbound>(
    peer: &mut Peer<I, O>,
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
