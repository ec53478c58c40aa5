//! `scp -t`: the client sends files and directories.
//!
//! A file is confirmed when it is in the store, not before. Where the client says that it could not
//! read a file to its end, or does not keep to the protocol, nothing of that file becomes visible.

use super::command::Receive;
use super::expand::expand;
use super::fault::Fault;
use super::peer::{Peer, Word};
use super::record::{Record, complaint, parse, sentence};
use super::remote::{Remote, Upload};
use super::tally::Tally;
use crate::limits::SCP_SKIPPED_BYTES_MAX;
use crate::session::Outbound;
use crate::sftp::{Status, StatusCode};

/// What is received, and where it goes.
struct Receiving<'a, O> {
    peer: &'a mut Peer<O>,
    remote: &'a mut Remote,
    tally: &'a mut Tally,
    is_recursive: bool,
    /// The directory that what comes goes into, or the name that it gets.
    path: Vec<u8>,
    is_directory: bool,
    /// How long the path was before each directory that was entered, and whether it was a
    /// directory.
    outer: Vec<(usize, bool)>,
    /// Of what comes next: access and modification.
    times: Option<(u32, u32)>,
}

/// Serves `scp -t`.
pub(super) async fn receive<O: Outbound>(
    peer: &mut Peer<O>,
    remote: &mut Remote,
    command: Receive,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let shown = command.target.text.clone();
    let target = match expand(peer, remote, vec![command.target]).await? {
        Ok(expanded) => expanded.paths,
        Err(status) => return refuse(peer, tally, &shown, status.sentence).await,
    };
    let [target] = &*target else {
        return refuse(peer, tally, &shown, "ambiguous target").await;
    };
    let is_directory = match remote.stat(target).await? {
        Ok(attrs) if attrs.names_directory() => true,
        Ok(_) if command.into_directory => {
            return refuse(peer, tally, target, NOT_A_DIRECTORY).await;
        }
        Ok(_) => false,
        // Only then it is known that no directory is there: otherwise what comes would go to a
        // place that the client does not mean.
        Err(status) if is_missing(status) && !command.into_directory => false,
        Err(status) => return refuse(peer, tally, target, status.sentence).await,
    };
    peer.confirm().await?;
    let mut receiving = Receiving {
        is_recursive: command.is_recursive,
        path: target.clone(),
        is_directory,
        outer: Vec::new(),
        times: None,
        peer,
        remote,
        tally,
    };
    receiving.all().await
}

/// Refuses everything: the client goes on with nothing.
async fn refuse<O: Outbound>(
    peer: &mut Peer<O>,
    tally: &mut Tally,
    path: &[u8],
    reason: &str,
) -> Result<(), Fault> {
    tally.failed();
    peer.send(complaint(path, reason)).await
}

impl<O: Outbound> Receiving<'_, O> {
    async fn all(&mut self) -> Result<(), Fault> {
        while let Some(line) = self.peer.line().await? {
            let record = parse(&line).map_err(|bad| Fault::Protocol(bad.sentence()))?;
            match record {
                Record::Times { modified, accessed } => {
                    self.times = Some((accessed, modified));
                    self.peer.confirm().await?;
                }
                Record::Directory { name } => self.enter(&name).await?,
                Record::End => {
                    let (length, is_directory) =
                        self.outer.pop().ok_or(Fault::Protocol("unexpected E"))?;
                    self.path.truncate(length);
                    self.is_directory = is_directory;
                    self.peer.confirm().await?;
                }
                Record::File { size, name } => self.file(size, &name).await?,
                Record::Warning => self.tally.failed(),
                Record::Fatal => {
                    self.tally.failed();
                    return Ok(());
                }
            }
        }
        if self.outer.is_empty() {
            Ok(())
        } else {
            Err(Fault::Gone)
        }
    }

    /// Makes the path that of a name in it; returns how long it was.
    fn step_into(&mut self, name: &[u8]) -> usize {
        let length = self.path.len();
        if self.is_directory {
            if !self.path.is_empty() && !self.path.ends_with(b"/") {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
        }
        length
    }

    async fn complain(&mut self, reason: &str) -> Result<(), Fault> {
        self.tally.failed();
        self.peer.send(complaint(&self.path, reason)).await
    }

    async fn enter(&mut self, name: &[u8]) -> Result<(), Fault> {
        // A directory in S3 has no time that could be set.
        self.times = None;
        if !self.is_recursive {
            return Err(Fault::Protocol("received directory without -r"));
        }
        let was = (self.path.len(), self.is_directory);
        self.step_into(name);
        let refused = match self.remote.stat(&self.path).await? {
            Ok(attrs) if attrs.names_directory() => None,
            Ok(_) => Some(NOT_A_DIRECTORY),
            Err(status) if !is_missing(status) => Some(status.sentence),
            Err(_) => {
                let made = self.remote.make_directory(&self.path).await?;
                made.err().map(|status| status.sentence)
            }
        };
        if let Some(reason) = refused {
            self.complain(reason).await?;
            self.path.truncate(was.0);
            return Ok(());
        }
        self.outer.push(was);
        self.is_directory = true;
        self.peer.confirm().await
    }

    async fn file(&mut self, size: u64, name: &[u8]) -> Result<(), Fault> {
        let times = self.times.take();
        let length = self.step_into(name);
        let outcome = match self.remote.open_to_write(&self.path, times).await? {
            Ok(upload) => self.contents(upload, size).await,
            Err(status) => self.complain(status.sentence).await,
        };
        self.path.truncate(length);
        outcome
    }

    /// Takes the bytes of a file, and what the client says of them.
    async fn contents(&mut self, mut upload: Upload, size: u64) -> Result<(), Fault> {
        let withdrawal = self.remote.withdrawal(&upload);
        self.peer.watch_verdict(size, withdrawal);
        self.peer.confirm().await?;
        let mut left = size;
        while left > 0 {
            let bytes = self.peer.bytes(left).await?.ok_or(Fault::Gone)?;
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            left = left.saturating_sub(length);
            self.tally.moved(length);
            if upload.failed.is_none() {
                self.remote.write(&mut upload, bytes).await?;
            }
            if let Some(status) = upload.failed
                && left > SCP_SKIPPED_BYTES_MAX
            {
                return self.abandon(upload, status).await;
            }
        }
        match self.peer.word().await {
            Ok(Word::Good) => {}
            Ok(word) => {
                self.remote.withdraw(upload).await?;
                self.tally.failed();
                return match word {
                    Word::Fatal => Err(Fault::Gone),
                    Word::Good | Word::Bad => self.peer.confirm().await,
                };
            }
            Err(fault @ Fault::Protocol(_)) => {
                self.remote.withdraw(upload).await?;
                return Err(fault);
            }
            Err(fault) => return Err(fault),
        }
        match self.remote.close_written(upload).await? {
            Ok(()) => {
                self.tally.file();
                self.peer.confirm().await
            }
            Err(status) => self.complain(status.sentence).await,
        }
    }

    /// Ends where the client would send much that nobody wants.
    async fn abandon(&mut self, upload: Upload, status: Status) -> Result<(), Fault> {
        self.tally.failed();
        self.remote.close_written(upload).await?.unwrap_or_default();
        let line = sentence("scp", &self.path, status.sentence);
        self.peer.say(line).await?;
        Err(Fault::Abandoned)
    }
}

fn is_missing(status: Status) -> bool {
    status.code == StatusCode::NoSuchFile
}

const NOT_A_DIRECTORY: &str = "Not a directory";
