//! `md5sum` and its kin: as the store keeps the sums, or the files are read, as a download reads
//! them, and summed up.
//!
//! A sum costs processor time: of one user one piece is summed up at a time, and of all users as
//! many as leave half of the processors to others.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::command::Sums;
use super::expand::expand;
use super::fault::Fault;
use super::peer::Peer;
use super::record::sentence;
use super::remote::{Answer, Remote};
use super::sum::{line, program};
use super::tally::Tally;
use super::words::Word;
use crate::limits::SUM_INPUT_BYTES_MAX;
use crate::metrics::Metrics;
use crate::session::Outbound;
use crate::sftp::Status;
use crate::transfer::Sum;

/// What the process has for sums.
pub(super) struct Summing {
    pub(super) turns: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
}

/// Whose turn it is to compute.
struct Turns {
    of_user: Arc<Semaphore>,
    of_process: Arc<Semaphore>,
}

impl Turns {
    async fn add(&self, sum: &mut Sum, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE_BYTES_MAX) {
            // Neither is ever closed.
            let _of_user = self.of_user.acquire().await;
            let _of_process = self.of_process.acquire().await;
            sum.add(piece);
            tokio::task::yield_now().await;
        }
    }
}

/// Serves `md5sum` and its kin.
pub(super) async fn sums<O: Outbound>(
    peer: &mut Peer<O>,
    remote: &mut Remote,
    of_process: Summing,
    mut command: Sums,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let turns = Turns {
        of_user: Arc::clone(remote.sums()),
        of_process: of_process.turns,
    };
    let (algorithm, is_binary) = (command.algorithm, command.is_binary);
    if command.paths.is_empty() {
        command.paths.push(Word::dash());
    }
    let first = command.paths.first().map(|word| word.text.clone());
    let program = program(algorithm);
    let expanded = match expand(peer, remote, command.paths).await? {
        Ok(expanded) => expanded,
        Err(status) => {
            tally.failed();
            let path = first.unwrap_or_default();
            return peer.say(sentence(program, &path, status.sentence)).await;
        }
    };
    for path in &expanded.paths {
        let summed = if path == b"-" {
            of_input(peer, &turns, algorithm.begin(), tally).await?
        } else if let Some(sum) = remote.stored_sum(path, algorithm).await? {
            Ok(hex::encode(sum))
        } else {
            let read = of_file(peer, remote, &turns, path, algorithm.begin(), tally).await?;
            if read.is_ok() {
                of_process.metrics.checksum_told(algorithm.name(), false);
            }
            read
        };
        match summed {
            Ok(digits) => {
                tally.file();
                peer.send(line(&digits, is_binary, path)).await?;
            }
            Err(status) => {
                tally.failed();
                peer.say(sentence(program, path, status.sentence)).await?;
            }
        }
    }
    Ok(())
}

/// Sums up what the client sends: a little, since it is nowhere counted or slowed down as a file is.
async fn of_input<O: Outbound>(
    peer: &mut Peer<O>,
    turns: &Turns,
    mut sum: Sum,
    tally: &mut Tally,
) -> Answer<String> {
    let mut left = SUM_INPUT_BYTES_MAX;
    while let Some(bytes) = peer.bytes(u64::MAX).await? {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let Some(rest) = left.checked_sub(length) else {
            return Ok(Err(TOO_MUCH));
        };
        left = rest;
        turns.add(&mut sum, &bytes).await;
        tally.moved(length);
    }
    Ok(Ok(hex::encode(sum.finish())))
}

async fn of_file<O: Outbound>(
    peer: &Peer<O>,
    remote: &mut Remote,
    turns: &Turns,
    path: &[u8],
    mut sum: Sum,
    tally: &mut Tally,
) -> Answer<String> {
    let mut file = match remote.open_to_read(path).await? {
        Ok(file) => file,
        Err(status) => return Ok(Err(status)),
    };
    let outcome = loop {
        let slices: Vec<Bytes> = match remote.next_bytes(&mut file).await? {
            Ok(Some(slices)) => slices,
            Ok(None) => break Ok(hex::encode(sum.finish())),
            Err(status) => break Err(status),
        };
        for bytes in slices {
            turns.add(&mut sum, &bytes).await;
            tally.moved(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        // Nothing is sent meanwhile, and all the same the connection is not idle.
        peer.is_under_way();
    };
    let closed = remote.close_read(file).await?;
    Ok(outcome.and_then(|digits| closed.map(|()| digits)))
}

const TOO_MUCH: Status =
    Status::failure("More than 4 MiB: upload it as a file, and name that instead");
/// What is summed up without a pause: a fraction of a millisecond.
const PIECE_BYTES_MAX: usize = 64 * 1024;
